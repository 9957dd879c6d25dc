//! The life of a policy on this node: from files to a generation in force, and what is true about it.
//!
//! [`Agent`] holds all state; it does nothing by itself. `run` hands it what happens (signals, links, files,
//! requests), every change of the kernel goes through [`Kernel`], and what becomes of a generation is decided by
//! [`gabion_life`]: `drive` remembers what it decides and does it, `change` makes what it is to decide about.

mod change;
mod drive;
mod dry;
mod emergency;
mod gate;
mod hooks;
mod sealed;
mod tried;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use gabion_abi::event::Settings;
use gabion_abi::verdict::{Count, Interface as KernelInterface};
use gabion_generation::ProgramDigest;
use gabion_life::{Event, Life, Number};
use gabion_policy_compile::Compiled;
use gabion_policy_model::PolicySet;
use gabion_policy_probes::Comparison;
use gabion_store::{Batch, Opened, Store, StoreError};
use gabion_trust::Trust;

use crate::api::wire::{Amount, Apply, Problem};
use crate::counters::{Base, RuleName};
use crate::emergency::{Brought, Ids, Lists, ids};
use crate::events::{Clock, Hub, timestamp};
use crate::gatekeeper::Gate;
use crate::health::{Before, Watching};
use crate::interfaces::Links;
use crate::kernel::{Attachment, Kernel, KernelError};
use crate::load::deny_list;
use crate::policy::{self, Known, LoadPolicy, Loaded, SourceFile};
use crate::processes::Processes;
use crate::record::{Line, MadeOf, ModeOverride, Record, Remembered, made_of};
use crate::sealed::{Judged, Seal};

pub use change::How;
pub(crate) use change::digest_of;
use emergency::Emergencies;

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
    /// A deny list came into force, or is over.
    Emergency,
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
            Self::Emergency => "emergency",
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
    /// Deny lists in force: whatever is built is built with them.
    pub lists: Arc<Lists>,
}

/// A policy that is ready to go into force.
#[derive(Debug)]
pub struct Built {
    made_of: MadeOf,
    digest: String,
    loaded: Loaded,
    since: Instant,
    /// Deny lists that it was built with.
    lists: Ids,
    /// The bundle that it came in.
    bundle: Option<Box<Judged>>,
}

/// A generation that is in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) record: Record,
    /// Its policy, when this agent knows it.
    pub(crate) set: Option<Arc<PolicySet>>,
    /// Its tables, likewise.
    compiled: Option<Arc<Compiled>>,
    /// Its kernel programs, when they are not the agent's own.
    object: Option<Arc<[u8]>>,
    /// Digests of them, likewise.
    programs: Vec<ProgramDigest>,
    /// An earlier agent made it.
    pub(crate) adopted: bool,
    /// What it was told of interfaces.
    view: BTreeMap<u32, KernelInterface>,
    /// What it is made of, while that is not remembered yet.
    unsaved: Option<MadeOf>,
}

/// Which policy is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// The files on disk.
    #[default]
    Files,
    /// What was committed before, by number; the one before the one in force when there is none.
    Committed(Option<Number>),
    /// A bundle.
    Bundle(PathBuf),
}

/// What the text of a policy came to.
#[derive(Debug)]
pub enum Read {
    /// It is what is in force; when it was read.
    InForce(Instant),
    /// It is ready to go into force.
    Built(Box<Built>),
    /// It is a deny list, for beside what is in force.
    Emergency(Box<Brought>),
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
        let made_of = MadeOf { files, ..MadeOf::default() };
        self.build_from(made_of, digest, since).map(Box::new).map(Read::Built)
    }

    /// Opens a bundle, has it judged by what is trusted, and compiles what is in it.
    ///
    /// # Errors
    /// It may not be taken, or is not what it says.
    pub fn build_bundle(&self, path: &Path, seal: &Seal, trust: &Trust) -> Result<Read, Problem> {
        let since = Instant::now();
        let judged = seal.judge(path, trust)?;
        if let Some(mut emergency) = judged.emergency.clone() {
            let list = deny_list(&emergency.files)?;
            emergency.denials = list.cluster_policies.iter().map(|it| it.ingress.len() + it.egress.len()).sum();
            let alone = (self.load)(&emergency.files, &Lists::new(), self.table_bytes, &mut Known::default())?;
            judged.hold(&alone.compiled)?;
            let brought = Brought { emergency, trust: Some(judged.next), alarms: judged.alarms, since };
            return Ok(Read::Emergency(Box::new(brought)));
        }
        let (files, object, bundle) = (judged.files.clone(), judged.object.clone(), Some(judged.bundled.clone()));
        let made_of = MadeOf { files, object, bundle };
        // Who signed it signed what it says alone.
        let alone = Self { lists: Arc::default(), ..self.clone() };
        let mut built = alone.build_from(made_of, judged.bundled.id.clone(), since)?;
        judged.hold(&built.loaded.compiled)?;
        if !self.lists.is_empty() {
            built = self.build_from(built.made_of, built.digest, since)?;
        }
        Ok(Read::Built(Box::new(Built { bundle: Some(Box::new(judged)), ..built })))
    }

    /// Compiles a text.
    pub(crate) fn build_from(&self, made_of: MadeOf, digest: String, since: Instant) -> Result<Built, Problem> {
        // Whatever a panic left there, it is what was parsed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = (self.load)(&made_of.files, &self.lists, self.table_bytes, &mut known)?;
        Ok(Built { made_of, digest, loaded, since, lists: ids(&self.lists), bundle: None })
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
    /// What was decided about generations.
    pub(crate) life: Life,
    /// Those that are in the kernel.
    pub(crate) kept: BTreeMap<Number, Kept>,
    pub(crate) settings: Settings,
    pub(crate) last_apply: Option<Apply>,
    pub(crate) mode_override: Option<ModeOverride>,
    pub(crate) standing_warnings: Vec<String>,
    /// When hooks were brought to what they are to run.
    pointed: Instant,
    /// The generation after which the next one is ready to be made.
    ready_for: Option<Number>,
    /// Generations that were rolled back.
    pub(crate) rolled_back: u64,
    /// Who may load programs.
    pub(crate) gate: Gate,
    /// Connections that the API turned away.
    pub(crate) connections_refused: u64,
    /// How bundles are judged, on a node that takes nothing else.
    pub(crate) seal: Option<Seal>,
    /// What is trusted, and the digest of the root by which that began.
    trust: (Option<Trust>, String),
    /// What was dropped before.
    before: Before,
    /// What is on trial, and since when.
    pub(crate) watching: Option<Watching>,
    /// Why hooks do not run what they are to run.
    pub(crate) astray: Option<String>,
    /// Why what happened is not on disk.
    pub(crate) unrecorded: Option<String>,
    /// Generations of which the text is on disk, and of no use.
    forgettable: BTreeSet<Number>,
    pub(crate) store: Store,
    /// What rules of generations in the kernel had counted when an agent stopped last, in case the kernel is lost.
    counted: BTreeMap<Number, Vec<Amount>>,
    /// What is to be loaded next.
    preparing: Option<change::Prepared>,
    /// Packets with the verdicts that it must give.
    golden: Vec<SourceFile>,
    /// How the last change differed from what was before, by the packets on which both were tried.
    pub(crate) comparison: Option<Comparison>,
    /// What is trusted once that is live.
    trusting: Option<Trust>,
    /// What is known of deny lists in force.
    pub(crate) emergencies: Emergencies,
    /// Why the last step of a change came to nothing.
    trouble: Option<Problem>,
    addresses: BTreeSet<(u32, IpAddr)>,
    api_port: Option<u16>,
    wants_room: bool,
    /// Why the kernel programs do not know the node's own addresses.
    pub(crate) local_problem: Option<String>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Agent {
    /// Takes over what an earlier agent left in the kernel and in the state folder. Changes nothing yet.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn new(
        kernel: Box<dyn Kernel>,
        opened: Opened,
        source: Source,
        api_port: Option<u16>,
    ) -> Result<Self, StoreError> {
        let Opened { mut store, warning } = opened;
        let Remembered { life, mut records, base, counted, mode, trust, lists } = Remembered::read(&mut store)?;
        // The agent before went back, and had no time to forget what from.
        let forgettable = records.keys().copied().filter(|number| !life.remembered().contains(number)).collect();
        let mut base = Base::from_entries(base);
        let found = kernel.found();
        // The maps of some generations are gone, and with them what they counted after the agent stopped.
        let (counted, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            counted.into_iter().partition(|(number, _)| found.generations.contains(number));
        for (number, amounts) in &lost {
            let count = |amount: &Amount| Count { packets: amount.packets, bytes: amount.bytes };
            if let Some(record) = records.get(number) {
                base.fold(&record.rules, &amounts.iter().map(count).collect::<Vec<_>>());
            }
        }
        if !lost.is_empty() {
            store.write(Batch::default().put("base", &base.entries()).put("counted", &counted))?;
        }
        let mut hub = Hub::default();
        let mut kept = BTreeMap::new();
        for &number in &found.generations {
            let unknown = || Record { number, since: timestamp(SystemTime::now()), ..Record::default() };
            let record = records.remove(&number).unwrap_or_else(unknown);
            hub.name_generation(number, Arc::clone(&record.rules));
            kept.insert(number, Kept { record, adopted: true, ..Kept::default() });
        }
        let settings = kernel.settings().unwrap_or_default();
        let mut agent = Self {
            kernel,
            hub,
            processes: Processes::default(),
            source,
            started: SystemTime::now(),
            links: Links::new(),
            guards: BTreeMap::new(),
            base,
            life,
            kept,
            settings,
            last_apply: None,
            mode_override: mode,
            standing_warnings: warning.into_iter().collect(),
            pointed: Instant::now(),
            ready_for: None,
            rolled_back: 0,
            gate: Gate::default(),
            connections_refused: 0,
            seal: None,
            trust: trust.map(|(trust, root)| (Some(trust), root)).unwrap_or_default(),
            before: Before::default(),
            watching: None,
            astray: None,
            unrecorded: None,
            forgettable,
            store,
            counted,
            preparing: None,
            golden: Vec::new(),
            comparison: None,
            trusting: None,
            emergencies: Emergencies::default(),
            trouble: None,
            addresses: BTreeSet::new(),
            api_port,
            wants_room: false,
            local_problem: None,
        };
        agent.remember_lists(lists);
        Ok(agent)
    }

    /// Undoes or completes what an earlier agent left half done, then puts the policy into force. When that is bad,
    /// what an earlier agent left stays in force, or the last good policy goes into force, and the agent runs on; the
    /// error is for a node that has neither.
    ///
    /// # Errors
    /// Nothing is in force, and nothing could be put into force.
    pub fn start(&mut self) -> Result<(), Problem> {
        let _expedited = self.kernel.expedite();
        let found = self.kernel.found();
        let last_number = found.last_number.max(self.life.last_number);
        self.drive(Event::Started { there: found.generations, running: found.running, last_number })?;
        self.end_emergencies(Instant::now());
        if self.seal.is_some() {
            return self.start_sealed();
        }
        let outcome = self.source.build(None).and_then(|read| self.begin(read));
        let problem = match outcome {
            Ok(apply) => {
                self.last_apply = Some(apply);
                return Ok(());
            }
            Err(problem) => problem,
        };
        let refused = self.refused(Trigger::Start, problem.clone());
        if self.current().is_none() && self.restore().is_err() {
            // The operator's policy is what needs a hand; the old one is only of interest to us.
            return Err(problem);
        }
        self.last_apply = Some(Apply { generation: self.number(), ..refused });
        self.remember_policy();
        Ok(())
    }

    /// Puts the policy into force at the start. A node that lost its kernel, and whose policy was changed since it was
    /// committed, first enforces what was committed: the change has something to go back to, as at any other time.
    fn begin(&mut self, read: Read) -> Result<Apply, Problem> {
        if let (None, Read::Built(built)) = (self.current(), &read) {
            let last = self.life.history.last().copied();
            let known = last.and_then(|number| self.made_of(number));
            let other = known.is_some_and(|known| policy::digest(&known.files) != built.digest);
            if other && let Err(error) = self.restore() {
                tracing::warn!("what was committed last cannot be put into force again: {}", error.message);
            }
        }
        self.take(read, Trigger::Start, How::default())
    }

    /// The text of a generation that was committed before, and its number.
    ///
    /// # Errors
    /// There is none, or nobody may put it into force again without a grant.
    pub fn committed_before(&mut self, number: Option<Number>) -> Result<(Number, MadeOf), Problem> {
        let in_force = self.life.committed.all;
        let history = &self.life.history;
        let before = history.iter().rev().copied().find(|number| Some(*number) != in_force);
        let known = history.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let wanted = match number {
            Some(number) => history.contains(&number).then_some(number),
            None => before,
        };
        let unknown = || {
            let message = match number {
                Some(number) => format!("generation {number} is not remembered; these are: {known}"),
                None => String::from("no generation was committed before the one in force"),
            };
            problem("no-such-generation", "input", message)
        };
        let number = wanted.ok_or_else(unknown)?;
        self.may_go_back_to(number)?;
        Ok((number, self.made_of(number).ok_or_else(unknown)?))
    }

    /// What is in force, to be made anew as it is.
    ///
    /// # Errors
    /// Nothing is, or what it was made of is gone.
    pub fn in_force_again(&mut self) -> Result<(MadeOf, String), Problem> {
        let gone = || problem("nothing-in-force", "system", String::from("what is in force cannot be made anew"));
        let number = self.life.wanted().all.ok_or_else(gone)?;
        let kept = self.kept.get(&number).ok_or_else(gone)?;
        let digest = kept.record.digest.clone();
        Ok((self.text_of(number).ok_or_else(gone)?, digest))
    }

    /// What a generation is made of, if the disk still has it.
    fn made_of(&mut self, number: Number) -> Option<MadeOf> {
        made_of(&mut self.store, number).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        })
    }

    /// Puts into force what was committed last.
    fn restore(&mut self) -> Result<Apply, Problem> {
        let missing = || problem("nothing-committed", "system", String::from("no policy was ever committed here"));
        let number = *self.life.history.last().ok_or_else(missing)?;
        let made_of = self.made_of(number).ok_or_else(missing)?;
        let digest = made_of.digest();
        let built = self.source.build_from(made_of, digest, Instant::now())?;
        let how =
            How { insisted: true, origin: Some(format!("generation {number}, committed before")), ..How::default() };
        self.change(built, Trigger::Start, how)
    }

    /// What an adopted generation says, for explanations, when nothing else will tell.
    fn remember_policy(&mut self) {
        let Some(number) = self.life.wanted().all else { return };
        if self.kept.get(&number).is_none_or(|kept| kept.set.is_some()) {
            return;
        }
        let Some(made_of) = self.made_of(number) else { return };
        // Tables are known when the programs that read them are this agent's own.
        let own = self.kept.get(&number).is_some_and(|kept| kept.record.programs == self.kernel.programs());
        if let Ok(built) = self.source.build_from(made_of, String::new(), Instant::now())
            && let Some(kept) = self.kept.get_mut(&number)
        {
            kept.set = Some(built.loaded.set);
            kept.compiled = own.then(|| Arc::new(built.loaded.compiled));
        }
    }

    /// The generation in force wherever no other runs ahead.
    pub(crate) fn current(&self) -> Option<&Kept> {
        self.kept.get(&self.life.wanted().all?)
    }

    /// Digest of a text for which nothing needs to change.
    pub fn digest_in_force(&self, trigger: Trigger) -> Option<String> {
        let current = self.current().filter(|current| !current.adopted && trigger != Trigger::Room)?;
        Some(current.record.digest.clone())
    }

    fn take(&mut self, read: Read, trigger: Trigger, how: How) -> Result<Apply, Problem> {
        match read {
            // It was taken out of force while it was read.
            Read::InForce(_) if self.digest_in_force(trigger).is_none() => {
                self.source.build(None).and_then(|read| self.take(read, trigger, how))
            }
            Read::InForce(since) => Ok(self.unchanged(since, trigger)),
            Read::Emergency(brought) => self.take_emergency(*brought, trigger, &how),
            Read::Built(built) => match self.change_in_place(built, trigger) {
                Ok(apply) => Ok(apply),
                Err(built) => self.change(*built, trigger, how),
            },
        }
    }

    /// Puts a policy that was read into force, or says why the old one stays.
    pub fn apply(&mut self, read: Result<Read, Problem>, trigger: Trigger, how: How) -> Apply {
        let outcome = read.and_then(|read| self.take(read, trigger, how));
        let apply = outcome.unwrap_or_else(|problem| self.refused(trigger, problem));
        // A file that was touched, but says the same, is no attempt that anybody wants to read about.
        let touched = apply.unchanged && trigger == Trigger::File;
        if !touched || self.last_apply.as_ref().is_none_or(|last| !last.ok) {
            self.last_apply = Some(apply.clone());
        }
        apply
    }

    /// The generation in force; 0 while none is.
    pub fn number(&self) -> Number {
        self.current().map_or(0, |current| current.record.number)
    }

    /// Says something in the journal.
    fn note(&mut self, step: &str, detail: &str) -> Result<(), StoreError> {
        let time = timestamp(SystemTime::now());
        let line = Line::note(&time, step, self.number(), detail);
        self.record(&mut Batch::default(), vec![line])
    }

    /// Writes lines of the journal with what belongs to them, and tells followers: also of what the disk does not take.
    fn record(&mut self, batch: &mut Batch, lines: Vec<Line>) -> Result<(), StoreError> {
        for line in &lines {
            batch.note(line);
        }
        let outcome = self.store.write(batch);
        for line in lines {
            self.hub.tell(line);
        }
        outcome
    }

    /// Undoes what is on trial, since nobody watches it any more, and writes down what would be lost with the maps.
    /// Enforcement stays.
    pub fn stop(&mut self) {
        if self.life.live.is_some() {
            let _expedited = self.kernel.expedite();
            if let Err(problem) = self.drive(Event::Stopping) {
                tracing::error!("{}", problem.message);
            }
        }
        for (&number, kept) in &self.kept {
            if let Ok(counts) = self.kernel.rule_counts(number) {
                let counts = counts.into_iter().take(kept.record.rules.len());
                self.counted.insert(number, counts.map(crate::counters::amount).collect());
            }
        }
        let time = timestamp(SystemTime::now());
        let line = Line::note(&time, "agent stopped", self.number(), "enforcement stays");
        let mut batch = Batch::default();
        batch.put("counted", &self.counted).put("base", &self.base.entries()).note(&line);
        if let Err(error) = self.store.write(&batch) {
            tracing::warn!("{error}");
        }
    }

    /// Takes everything out of the kernel: hooks, tables, state. The node is open afterwards.
    ///
    /// # Errors
    /// The disk or the kernel refused.
    pub fn detach_everything(&mut self) -> Result<(), Problem> {
        let number = self.number();
        self.note("detaching", "").map_err(store_problem)?;
        // What was counted is folded first: the maps go.
        let counts: Vec<(Number, Vec<Count>)> =
            self.kept.keys().map(|&number| (number, self.kernel.rule_counts(number).unwrap_or_default())).collect();
        let expedited = self.kernel.expedite();
        self.kernel.remove().map_err(kernel_problem)?;
        drop(expedited);
        tracing::warn!(generation = number, "detached: nothing is enforced any more");
        for (number, counts) in counts {
            if let Some(kept) = self.kept.remove(&number) {
                self.base.fold(&kept.record.rules, &counts);
            }
        }
        self.guards.clear();
        self.kept.clear();
        self.watching = None;
        self.drive(Event::Detached)
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
        self.current().map_or(&[], |current| &current.record.rules)
    }
}

pub(crate) fn problem(code: &str, blame: &str, message: String) -> Problem {
    Problem { code: code.to_owned(), blame: blame.to_owned(), details: message.clone(), message }
}

pub(crate) fn kernel_problem(error: KernelError) -> Problem {
    problem(&error.code, error.blame, error.message)
}

pub(crate) fn store_problem(error: StoreError) -> Problem {
    problem("state-folder", "system", error.to_string())
}
