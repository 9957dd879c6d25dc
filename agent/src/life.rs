//! The life of a policy on this node: from files to a generation in force, and what is true about it.
//!
//! [`Agent`] holds all state; it does nothing by itself. `run` hands it what happens (signals, links, files,
//! requests), and every change of the kernel goes through [`Kernel`].

mod commit;
mod hooks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use gabion_abi::event::Settings;
use gabion_abi::verdict::{Count, Interface as KernelInterface};
use gabion_policy_model::PolicySet;

use crate::api::wire::{Apply, Problem};
use crate::counters::{Base, RuleName};
use crate::events::{Clock, Hub, timestamp};
use crate::interfaces::Links;
use crate::journal::{Current, Journal, JournalError, ModeOverride, Opened, State};
use crate::kernel::{Attachment, Kernel, KernelError};
use crate::policy::{self, Known, LoadPolicy, Loaded, SourceFile};
use crate::processes::Processes;

/// What made the agent look at its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The agent starts.
    Start,
    /// SIGHUP.
    Signal,
    /// `gabion apply`.
    Api,
    /// A file changed.
    File,
    /// The tables have no room for an interface that appeared.
    Room,
}

impl Trigger {
    /// As the API says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::File => "file",
            Self::Room => "room",
        }
    }
}

/// Where policy comes from, and how text becomes tables.
#[derive(Clone, Debug)]
pub struct Source {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Text → tables, within so many bytes.
    pub load: LoadPolicy,
    /// Most bytes that the tables may take.
    pub table_bytes: usize,
    /// What was read last, so that an edit is read quickly.
    pub known: Arc<Mutex<Known>>,
}

/// A policy that is ready to go into force.
#[derive(Debug)]
pub struct Built {
    files: Vec<SourceFile>,
    digest: String,
    loaded: Loaded,
    since: Instant,
}

/// What the text of a policy came to.
#[derive(Debug)]
pub enum Read {
    /// It is what is in force; when it was read.
    InForce(Instant),
    /// It is ready to go into force.
    Built(Box<Built>),
}

impl Source {
    /// Reads, and compiles unless the text is that of this digest. Slow; touches no state, so it may run on another
    /// thread.
    pub fn build(&self, in_force: Option<&str>) -> Result<Read, Problem> {
        let since = Instant::now();
        let files = policy::read(&self.paths)?;
        let digest = policy::digest(&files);
        if in_force == Some(digest.as_str()) {
            return Ok(Read::InForce(since));
        }
        self.build_from(files, digest, since).map(Box::new).map(Read::Built)
    }

    fn build_from(&self, files: Vec<SourceFile>, digest: String, since: Instant) -> Result<Built, Problem> {
        // Whatever a panic left there, it is what was parsed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = (self.load)(&files, self.table_bytes, &mut known)?;
        Ok(Built { files, digest, loaded, since })
    }
}

/// A hook that stands, or should.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// How it is attached.
    pub attachment: Attachment,
    /// Why it is not.
    pub problem: Option<String>,
}

/// The agent's state.
pub struct Agent {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) hub: Hub,
    pub(crate) processes: Processes,
    pub(crate) source: Source,
    pub(crate) started: SystemTime,
    pub(crate) links: Links,
    pub(crate) guards: BTreeMap<u32, Guard>,
    pub(crate) base: Base,
    pub(crate) current: Option<Current>,
    pub(crate) adopted: bool,
    pub(crate) set: Option<Arc<PolicySet>>,
    pub(crate) settings: Settings,
    pub(crate) last_apply: Option<Apply>,
    pub(crate) mode_override: Option<ModeOverride>,
    pub(crate) standing_warnings: Vec<String>,
    /// Connections that the API turned away.
    pub(crate) connections_refused: u64,
    names: Arc<[RuleName]>,
    journal: Journal,
    last_number: u32,
    view: BTreeMap<u32, KernelInterface>,
    addresses: BTreeSet<(u32, IpAddr)>,
    api_port: Option<u16>,
    wants_room: bool,
    /// Why the kernel programs do not know the node's own addresses.
    pub(crate) local_problem: Option<String>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Agent {
    /// Takes over what an earlier agent left in the kernel and in the state folder. Changes nothing yet.
    pub fn new(kernel: Box<dyn Kernel>, opened: Opened, source: Source, api_port: Option<u16>) -> Self {
        let Opened { journal, state, warning } = opened;
        let mut base = Base::from_entries(state.base);
        let adopted = kernel.adopted();
        let mut current = None;
        let mut names: Arc<[RuleName]> = Arc::new([]);
        match (state.current, adopted) {
            (Some(record), Some(number)) if record.number == number => {
                names = Arc::clone(&record.rules);
                current = Some(record);
            }
            (record, pinned) => {
                // The maps of that generation are gone, and with them what it counted after the agent stopped.
                if let Some(record) = record {
                    let counts: Vec<Count> = record
                        .counted
                        .iter()
                        .map(|amount| Count { packets: amount.packets, bytes: amount.bytes })
                        .collect();
                    base.fold(&record.rules, &counts);
                }
                if let Some(number) = pinned {
                    current = Some(Current { number, since: timestamp(SystemTime::now()), ..Current::default() });
                }
            }
        }
        let mut hub = Hub::default();
        if let Some(current) = &current {
            hub.name_generation(current.number, Arc::clone(&names));
        }
        let settings = kernel.settings().unwrap_or_default();
        Self {
            last_number: state.last_number.max(kernel.last_number()),
            adopted: adopted.is_some(),
            kernel,
            hub,
            processes: Processes::default(),
            source,
            started: SystemTime::now(),
            links: Links::new(),
            guards: BTreeMap::new(),
            base,
            current,
            set: None,
            settings,
            last_apply: None,
            mode_override: state.mode_override,
            standing_warnings: warning.into_iter().collect(),
            connections_refused: 0,
            names,
            journal,
            view: BTreeMap::new(),
            addresses: BTreeSet::new(),
            api_port,
            wants_room: false,
            local_problem: None,
        }
    }

    /// Puts the policy into force at the start of the agent. When it is bad, what an earlier agent left stays in
    /// force, or the last good policy goes into force, and the agent runs on; the error is for a node that has
    /// neither.
    pub fn start(&mut self) -> Result<(), Problem> {
        let _expedited = self.kernel.expedite();
        let outcome = self.source.build(None).and_then(|read| self.take(read, Trigger::Start));
        let problem = match outcome {
            Ok(apply) => {
                self.last_apply = Some(apply);
                return Ok(());
            }
            Err(problem) => problem,
        };
        let refused = self.refused(Trigger::Start, problem.clone());
        if self.kernel.adopted().is_some() && self.current.is_some() {
            self.last_apply = Some(refused);
            self.sync_interfaces();
            return Ok(());
        }
        let Some(files) = self.journal.last_good() else { return Err(problem) };
        let digest = policy::digest(&files);
        let fallback =
            self.source.build_from(files, digest, Instant::now()).and_then(|built| self.commit(built, Trigger::Start));
        match fallback {
            Ok(apply) => {
                self.last_apply = Some(Apply { generation: apply.generation, ..refused });
                Ok(())
            }
            // The operator's policy is what needs a hand; the old one is only of interest to us.
            Err(_) => Err(problem),
        }
    }

    /// Digest of a text for which nothing needs to change.
    pub fn digest_in_force(&self, trigger: Trigger) -> Option<String> {
        let current = self.current.as_ref().filter(|_| !self.adopted && trigger != Trigger::Room)?;
        Some(current.digest.clone())
    }

    fn take(&mut self, read: Read, trigger: Trigger) -> Result<Apply, Problem> {
        match read {
            // It was taken out of force while it was read.
            Read::InForce(_) if self.digest_in_force(trigger).is_none() => {
                self.source.build(None).and_then(|read| self.take(read, trigger))
            }
            Read::InForce(since) => Ok(self.unchanged(since, trigger)),
            Read::Built(built) => self.change_in_place(*built, trigger).or_else(|built| self.commit(*built, trigger)),
        }
    }

    /// Puts a policy that was read into force, or says why the old one stays.
    pub fn apply(&mut self, read: Result<Read, Problem>, trigger: Trigger) -> Apply {
        let outcome = read.and_then(|read| self.take(read, trigger));
        let apply = outcome.unwrap_or_else(|problem| self.refused(trigger, problem));
        // A file that was touched, but says the same, is no attempt that anybody wants to read about.
        let touched = apply.unchanged && trigger == Trigger::File;
        if !touched || self.last_apply.as_ref().is_none_or(|last| !last.ok) {
            self.last_apply = Some(apply.clone());
        }
        apply
    }

    /// The generation in force; 0 while none is.
    pub fn number(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.number)
    }

    fn save_state(&mut self) -> Result<(), JournalError> {
        let mut state = State {
            last_number: self.last_number,
            current: self.current.clone(),
            base: self.base.entries(),
            mode_override: self.mode_override.clone(),
            ..State::default()
        };
        self.journal.save(&mut state)
    }

    /// Writes down what would be lost with the maps. Enforcement stays.
    pub fn stop(&mut self) {
        if let (Some(current), Ok(counts)) = (&mut self.current, self.kernel.rule_counts()) {
            current.counted = counts.into_iter().take(current.rules.len()).map(crate::counters::amount).collect();
        }
        let number = self.number();
        let saved = self.save_state().and_then(|()| {
            self.journal.note(&timestamp(SystemTime::now()), "agent stopped", number, "enforcement stays")
        });
        if let Err(error) = saved {
            tracing::warn!("{error}");
        }
    }

    /// Takes everything out of the kernel: hooks, tables, state. The node is open afterwards.
    pub fn detach_everything(&mut self) -> Result<(), Problem> {
        let time = timestamp(SystemTime::now());
        self.journal.note(&time, "detaching", self.number(), "").map_err(journal_problem)?;
        // What was counted is folded first: the maps go.
        let counts = self.kernel.rule_counts().unwrap_or_default();
        let expedited = self.kernel.expedite();
        self.kernel.remove().map_err(kernel_problem)?;
        drop(expedited);
        tracing::warn!(generation = self.number(), "detached: nothing is enforced any more");
        self.base.fold(&self.names, &counts);
        self.guards.clear();
        self.view.clear();
        self.current = None;
        self.set = None;
        self.adopted = false;
        self.names = Arc::new([]);
        self.save_state().map_err(journal_problem)
    }

    /// Takes at most `limit` events from the ring; whether there may be more.
    pub fn take_events(&mut self, limit: usize) -> bool {
        let clock = Clock::now();
        let Self { kernel, hub, links, processes, .. } = self;
        let taken = kernel.take_events(limit, &mut |event| {
            hub.take(event, clock, &|index| links.get(&index).map(|link| link.name.clone()), processes);
        });
        taken == limit
    }

    /// What the rule numbers of the generation in force mean.
    pub(crate) fn names(&self) -> &[RuleName] {
        &self.names
    }
}

pub(crate) fn problem(code: &str, blame: &str, message: String) -> Problem {
    Problem { code: code.to_owned(), blame: blame.to_owned(), details: message.clone(), message }
}

pub(crate) fn kernel_problem(error: KernelError) -> Problem {
    problem(&error.code, error.blame, error.message)
}

pub(crate) fn journal_problem(error: JournalError) -> Problem {
    problem("state-folder", "system", error.to_string())
}
