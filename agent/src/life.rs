//! The life of a policy on this node: from files to a generation in force, and what is true about it.
//!
//! [`Agent`] holds all state; it does nothing by itself. `run` hands it what happens (signals, links, files,
//! requests), and every change of the kernel goes through [`Kernel`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gabion_abi::event::{FAILSAFE_LIMIT, Settings};
use gabion_abi::tables::{self, entry};
use gabion_abi::verdict::{Count, Interface as KernelInterface};
use gabion_policy_compile::Compiled;
use gabion_policy_model::PolicySet;
use gabion_policy_model::site::{FailsafePort, Mode, Site};

use crate::api::wire::{Apply, Problem};
use crate::counters::{Base, RuleName, key_of};
use crate::events::{Clock, Hub, timestamp};
use crate::interfaces::{Links, guarded, kernel_view};
use crate::journal::{Current, Journal, JournalError, ModeOverride, Opened, State};
use crate::kernel::{Attachment, Kernel, KernelError, Plan};
use crate::policy::{self, LoadPolicy, Loaded, SourceFile};

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
    /// Text → tables.
    pub load: LoadPolicy,
}

/// A policy that is ready to go into force.
#[derive(Debug)]
pub struct Built {
    files: Vec<SourceFile>,
    digest: String,
    loaded: Loaded,
    since: Instant,
}

impl Source {
    /// Reads and compiles. Slow; touches no state, so it may run on another thread.
    pub fn build(&self) -> Result<Built, Problem> {
        let since = Instant::now();
        let files = policy::read(&self.paths)?;
        self.build_from(files, since)
    }

    fn build_from(&self, files: Vec<SourceFile>, since: Instant) -> Result<Built, Problem> {
        let digest = policy::digest(&files);
        let loaded = (self.load)(&files)?;
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
                names = record.rules.clone().into();
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
        let outcome = self.source.build().and_then(|built| self.commit(built, Trigger::Start));
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
        let fallback =
            self.source.build_from(files, Instant::now()).and_then(|built| self.commit(built, Trigger::Start));
        match fallback {
            Ok(apply) => {
                self.last_apply = Some(Apply { generation: apply.generation, ..refused });
                Ok(())
            }
            // The operator's policy is what needs a hand; the old one is only of interest to us.
            Err(_) => Err(problem),
        }
    }

    /// Puts a built policy into force, or says why the old one stays.
    pub fn apply(&mut self, built: Result<Built, Problem>, trigger: Trigger) -> Apply {
        let outcome = built.and_then(|built| {
            let same = self.current.as_ref().is_some_and(|current| current.digest == built.digest);
            if same && !self.adopted && trigger != Trigger::Room {
                Ok(self.unchanged(&built, trigger))
            } else {
                self.commit(built, trigger)
            }
        });
        let apply = outcome.unwrap_or_else(|problem| self.refused(trigger, problem));
        // A file that was touched, but says the same, is no attempt that anybody wants to read about.
        let touched = apply.unchanged && trigger == Trigger::File;
        if !touched || self.last_apply.as_ref().is_none_or(|last| !last.ok) {
            self.last_apply = Some(apply.clone());
        }
        apply
    }

    fn unchanged(&self, built: &Built, trigger: Trigger) -> Apply {
        Apply {
            time: timestamp(SystemTime::now()),
            trigger: trigger.name().to_owned(),
            ok: true,
            generation: self.number(),
            unchanged: true,
            took_us: micros(built.since),
            error: None,
            warnings: built.loaded.warnings.clone(),
        }
    }

    fn refused(&mut self, trigger: Trigger, problem: Problem) -> Apply {
        let time = timestamp(SystemTime::now());
        tracing::error!(
            trigger = trigger.name(),
            code = problem.code,
            generation = self.number(),
            "policy refused, the old one stays in force: {}",
            problem.message
        );
        if problem.details.trim() != problem.message.trim() {
            tracing::error!("{}", problem.details.trim_end());
        }
        if let Err(error) = self.journal.note(&time, "refused", self.number(), &problem.message) {
            tracing::warn!("{error}");
        }
        Apply {
            time,
            trigger: trigger.name().to_owned(),
            ok: false,
            generation: self.number(),
            error: Some(problem),
            ..Apply::default()
        }
    }

    /// The generation in force; 0 while none is.
    pub fn number(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.number)
    }

    fn commit(&mut self, built: Built, trigger: Trigger) -> Result<Apply, Problem> {
        let Built { files, digest, loaded, since } = built;
        let site = loaded.set.site.clone().unwrap_or_default();
        let settings = self.settings_for(&site)?;
        let time = timestamp(SystemTime::now());

        // The number is spent before it is used: a crash from here on skips it, and never gives it out twice.
        let number = self.last_number.checked_add(1).ok_or_else(|| exhausted(self.last_number))?;
        self.last_number = number;
        self.save_state().map_err(journal_problem)?;
        self.journal.note(&time, "staged", number, &digest).map_err(journal_problem)?;

        let patterns: Vec<(String, Option<String>)> =
            site.interfaces.iter().map(|interface| (interface.name.clone(), interface.role.clone())).collect();
        let classes = loaded.compiled.interfaces.clone();
        // Only hooks that stay count as having judged: those of interfaces that the new site does not guard come off
        // next.
        let staying: BTreeSet<u32> = self.guarded_by(&patterns).filter(|index| self.is_attached(*index)).collect();
        let view = kernel_view(&self.links, &|index| staying.contains(&index), &classes);
        let plan = Plan {
            number,
            compiled: &loaded.compiled,
            connections: site.connections,
            interfaces: &view,
            settings: &settings,
        };
        let _expedited = self.kernel.expedite();
        let swapped = self.kernel.install(&plan).map_err(kernel_problem)?;

        self.base.fold(&self.names, &swapped.previous_counts);
        if self.current.is_none() {
            // The state was made just now.
            self.write_local();
        }
        self.names = rule_names(&loaded.compiled).into();
        self.hub.name_generation(number, Arc::clone(&self.names));
        self.view = view;
        self.settings = settings;
        self.set = Some(Arc::clone(&loaded.set));
        self.adopted = false;
        self.current = Some(Current {
            number,
            since: time.clone(),
            digest,
            rules: self.names.to_vec(),
            classes,
            site: site.name.clone(),
            interfaces: patterns,
            audit: site.mode == Mode::Audit,
            counted: Vec::new(),
        });
        self.sync_interfaces();
        // It is in force: from here on, trouble with the disk is a warning, not a refusal.
        let recorded = self
            .save_state()
            .and_then(|()| self.journal.save_last_good(&files))
            .and_then(|()| self.journal.note(&time, "live", number, ""));
        if let Err(error) = recorded {
            tracing::warn!("generation {number} is in force, but not recorded: {error}");
        }
        let took_us = micros(since);
        tracing::info!(
            generation = number,
            trigger = trigger.name(),
            rules = self.names.len(),
            took_us,
            "policy in force"
        );
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Apply {
            time,
            trigger: trigger.name().to_owned(),
            ok: true,
            generation: number,
            unchanged: false,
            took_us,
            error: None,
            warnings: loaded.warnings,
        })
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
            current.counted = counts.into_iter().map(crate::counters::amount).collect();
        }
        let number = self.number();
        let saved = self.save_state().and_then(|()| {
            self.journal.note(&timestamp(SystemTime::now()), "agent stopped", number, "enforcement stays")
        });
        if let Err(error) = saved {
            tracing::warn!("{error}");
        }
    }

    fn settings_for(&self, site: &Site) -> Result<Settings, Problem> {
        let mut ports = site.failsafe.clone();
        ports.extend(self.api_port.map(|port| FailsafePort { protocol: gabion_abi::facts::protocol::TCP, port }));
        ports.sort_unstable();
        ports.dedup();
        let need = ports.len();
        if need > FAILSAFE_LIMIT {
            let message =
                format!("{need} fail-safe ports (with the agent's own), the limit is {FAILSAFE_LIMIT}: list fewer");
            return Err(problem("failsafe-limit", "input", message));
        }
        let mut failsafe = [0; FAILSAFE_LIMIT];
        for (slot, port) in failsafe.iter_mut().zip(&ports) {
            *slot = u32::from(port.protocol) << 16 | u32::from(port.port);
        }
        let audit = self.mode_override.as_ref().map_or(site.mode == Mode::Audit, |chosen| chosen.audit);
        Ok(Settings {
            denied_rate: site.events.denied_rate,
            denied_burst: site.events.denied_burst,
            allowed_rate: site.events.allowed_rate,
            allowed_sample: site.events.allowed_sample,
            audit_mode: u32::from(audit),
            // At most FAILSAFE_LIMIT, as just checked.
            failsafe_count: need as u32,
            failsafe,
        })
    }

    /// Switches between enforce and audit: `Some(audit)` overrides the policy, none goes back to what it says.
    pub fn set_mode(&mut self, choice: Option<bool>) -> Result<(), Problem> {
        let policy = self.current.as_ref().is_some_and(|current| current.audit);
        let audit = choice.unwrap_or(policy);
        let settings = Settings { audit_mode: u32::from(audit), ..self.settings };
        self.kernel.set_settings(&settings).map_err(kernel_problem)?;
        self.settings = settings;
        let since = timestamp(SystemTime::now());
        self.mode_override =
            choice.filter(|audit| *audit != policy).map(|audit| ModeOverride { audit, since: since.clone() });
        let name = if audit { "mode audit" } else { "mode enforce" };
        tracing::warn!(generation = self.number(), "{name}");
        let number = self.number();
        self.save_state().and_then(|()| self.journal.note(&since, name, number, "")).map_err(journal_problem)
    }

    fn guarded_by(&self, patterns: &[(String, Option<String>)]) -> impl Iterator<Item = u32> + use<> {
        let patterns: Vec<String> = patterns.iter().map(|(name, _)| name.clone()).collect();
        let indices: Vec<u32> = guarded(&self.links, &patterns).map(|(index, _)| index).collect();
        indices.into_iter()
    }

    pub(crate) fn is_attached(&self, index: u32) -> bool {
        self.guards.get(&index).is_some_and(|guard| guard.problem.is_none())
    }

    /// Brings hooks and the kernel's view of the interfaces in line with the links that are there and the site in
    /// force.
    pub fn sync_interfaces(&mut self) {
        let Some(current) = &self.current else { return };
        let wanted: BTreeSet<u32> = self.guarded_by(&current.interfaces).collect();
        let classes = current.classes.clone();

        let mut standing: BTreeSet<u32> = self.kernel.attached().into_iter().collect();
        standing.extend(self.guards.keys());
        let superfluous: Vec<u32> = standing.difference(&wanted).copied().collect();
        let missing = wanted.iter().any(|index| !self.is_attached(*index));
        let _expedited = if missing || !superfluous.is_empty() { self.kernel.expedite() } else { None };
        // First nobody relies on their verdicts any more, then they go.
        for index in &superfluous {
            self.guards.remove(index);
        }
        self.write_view(&classes);
        for index in superfluous {
            match self.kernel.detach(index) {
                Ok(()) => tracing::info!(ifindex = index, "interface no longer guarded"),
                Err(error) => {
                    // Of an interface that is gone the hooks went with it.
                    if self.links.contains_key(&index) {
                        tracing::error!(ifindex = index, "cannot detach: {error}");
                    }
                }
            }
        }
        let missing: Vec<u32> = wanted.into_iter().filter(|index| !self.is_attached(*index)).collect();
        if missing.len() > 1 {
            for index in &missing {
                let name = self.links.get(index).map(|link| link.name.clone()).unwrap_or_default();
                // What is refused here is refused again below, and reported there.
                let _ = self.kernel.attach_arrival(*index, &name);
            }
            tracing::info!(interfaces = missing.len(), "what arrives is judged");
        }
        for index in missing {
            self.attach(index);
        }
        self.write_view(&classes);
    }

    fn attach(&mut self, index: u32) {
        let Some(link) = self.links.get(&index) else { return };
        let name = link.name.clone();
        let guard = match self.kernel.attach(index, &name) {
            Ok(attachment) => {
                tracing::info!(
                    interface = name,
                    ifindex = index,
                    ingress = attachment.ingress,
                    egress = attachment.egress,
                    "interface guarded"
                );
                if let Some(warning) = &attachment.warning {
                    tracing::warn!(interface = name, "{warning}");
                }
                Guard { attachment, problem: None }
            }
            Err(error) => {
                self.wants_room |= error.wants_room;
                let known = self.guards.get(&index).and_then(|guard| guard.problem.as_deref());
                if known != Some(error.message.as_str()) {
                    tracing::error!(interface = name, ifindex = index, "NOT GUARDED: {error}");
                }
                Guard { attachment: Attachment::default(), problem: Some(error.message) }
            }
        };
        self.guards.insert(index, guard);
    }

    fn write_view(&mut self, classes: &[String]) {
        let view = kernel_view(&self.links, &|index| self.is_attached(index), classes);
        let indices: BTreeSet<u32> = view.keys().chain(self.view.keys()).copied().collect();
        for index in indices {
            let new = view.get(&index).copied();
            if self.view.get(&index).copied() == new {
                continue;
            }
            if let Err(error) = self.kernel.set_interface(index, new) {
                tracing::error!(ifindex = index, "the kernel does not take what is known of this interface: {error}");
                self.wants_room |= error.wants_room;
                if let Some(guard) = self.guards.get_mut(&index) {
                    guard.attachment.warning = Some(error.message);
                }
            }
        }
        self.view = view;
    }

    /// A link is there, or has changed. Whether that calls for [`Self::sync_interfaces`].
    pub fn link_changed(&mut self, index: u32, link: crate::interfaces::Link) -> bool {
        let again = self.guards.get(&index).is_some_and(|guard| guard.problem.is_some());
        let before = self.links.insert(index, link);
        let Some(link) = self.links.get(&index) else { return true };
        if before.as_ref().is_some_and(|before| before.name != link.name) && self.is_attached(index) {
            let name = link.name.clone();
            tracing::info!(ifindex = index, name, "interface renamed");
            if let Err(error) = self.kernel.rename(index, &name) {
                tracing::error!(ifindex = index, name, "the pins keep the old name: {error}");
            }
        }
        again || before.as_ref() != self.links.get(&index)
    }

    /// Whether the tables have no room for an interface, so that a new generation is wanted. Asked once.
    pub fn take_wants_room(&mut self) -> bool {
        std::mem::take(&mut self.wants_room)
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

    /// A link is gone.
    pub fn link_gone(&mut self, index: u32) {
        self.links.remove(&index);
        let before = self.addresses.len();
        self.addresses.retain(|(at, _)| *at != index);
        if self.addresses.len() != before {
            self.write_local();
        }
    }

    /// An address of the node came or went.
    pub fn address_changed(&mut self, index: u32, address: IpAddr, present: bool) {
        let changed = match present {
            true => self.addresses.insert((index, address)),
            false => self.addresses.remove(&(index, address)),
        };
        if changed {
            self.write_local();
        }
    }

    /// All links and addresses, listed afresh: what is not among them is gone.
    pub fn relist(&mut self, links: Links, addresses: BTreeSet<(u32, IpAddr)>) {
        self.links = links;
        self.addresses = addresses;
        self.write_local();
    }

    fn write_local(&mut self) {
        // Several interfaces may have the same address.
        let addresses: BTreeSet<IpAddr> = self.addresses.iter().map(|(_, address)| *address).collect();
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        self.local_problem = self.kernel.set_local(&addresses).err().map(|error| {
            tracing::error!("the kernel does not take the node's own addresses: {error}");
            error.message
        });
    }

    /// Takes at most `limit` events from the ring; whether there may be more.
    pub fn take_events(&mut self, limit: usize) -> bool {
        let clock = Clock::now();
        let Self { kernel, hub, links, .. } = self;
        let taken = kernel.take_events(limit, &mut |event| {
            hub.take(event, clock, &|index| links.get(&index).map(|link| link.name.clone()));
        });
        taken == limit
    }

    /// What the rule numbers of the generation in force mean.
    pub(crate) fn names(&self) -> &[RuleName] {
        &self.names
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Names and actions by rule number, the actions from the entries of both directions.
fn rule_names(compiled: &Compiled) -> Vec<RuleName> {
    let mut actions: Vec<Option<&'static str>> = vec![None; compiled.rules.len()];
    for at in [tables::EGRESS, tables::INGRESS] {
        let first = compiled.params[at + tables::direction::ENTRIES] as usize;
        let last = first.saturating_add(compiled.params[at + tables::direction::LAST_RANK] as usize);
        for word in compiled.words.iter().take(last.saturating_add(1)).skip(first) {
            let action = match entry::action(*word) {
                entry::ALLOW => "allow",
                entry::DENY => "deny",
                _ => "audit",
            };
            if let Some(known) = actions.get_mut(entry::rule(*word) as usize) {
                *known = Some(known.map_or(action, |before| if before == action { action } else { "mixed" }));
            }
        }
    }
    let named = compiled.rules.iter().zip(actions);
    named.map(|(rule, action)| RuleName { key: key_of(rule), action: action.unwrap_or("unused").to_owned() }).collect()
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

fn exhausted(last: u32) -> Problem {
    problem(
        "generation-numbers",
        "system",
        format!("generation numbers are used up at {last}; start a new state folder"),
    )
}
