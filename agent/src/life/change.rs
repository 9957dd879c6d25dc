//! A built policy becomes a change that is decided about, or is refused and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gabion_abi::event::{FAILSAFE_LIMIT, Settings};
use gabion_abi::tables::entry;
use gabion_life::{Change, Event, OnDeath, Refusal};
use gabion_policy_compile::Compiled;
use gabion_policy_model::site::{FailsafePort, Mode, Site};
use gabion_store::Batch;
use sha2::{Digest as _, Sha256};

use super::emergency::Again;
use super::{Agent, Built, Trigger, kernel_problem, problem, store_problem};
use crate::api::wire::{Apply, Problem};
use crate::counters::{RuleName, key_of};
use crate::emergency::ids;
use crate::events::timestamp;
use crate::policy::{Loaded, hex};
use crate::record::{Limits, Line, MadeOf, ModeOverride, Record};

/// How somebody wants a change to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// It is taken although it failed before.
    pub insisted: bool,
    /// How long it is on trial; as the site says when nobody says otherwise.
    pub window: Option<Duration>,
    /// Interfaces that it is for; all when there are none.
    pub only: BTreeSet<String>,
    /// Where it came from, when what made the agent look does not say it.
    pub origin: Option<String>,
    /// It is what is in force, with other deny lists.
    pub again: Option<Again>,
}

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Prepared {
    pub made_of: MadeOf,
    pub loaded: Loaded,
    pub site: Site,
    pub record: Record,
}

impl Agent {
    pub(super) fn unchanged(&self, since: Instant, trigger: Trigger) -> Apply {
        let time = timestamp(SystemTime::now());
        Apply { unchanged: true, ..self.succeeded(time, trigger, micros(since.elapsed()), Vec::new()) }
    }

    fn succeeded(&self, time: String, trigger: Trigger, took_us: u64, warnings: Vec<String>) -> Apply {
        Apply {
            time,
            trigger: trigger.name().to_owned(),
            ok: true,
            generation: self.number(),
            took_us,
            warnings,
            ..Apply::default()
        }
    }

    pub(super) fn refused(&mut self, trigger: Trigger, problem: Problem) -> Apply {
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
        if let Err(error) = self.note("refused", &problem.message) {
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

    /// Changes the tables of the generation in force, when nothing but the inventory is another, the site wants that,
    /// and nothing is on trial; gives the built policy back when that cannot be.
    pub(super) fn change_in_place(&mut self, built: Box<Built>, trigger: Trigger) -> Result<Apply, Box<Built>> {
        // A bundle is tried, and what it lets the node trust is written down, on the way of a change.
        let signed = built.bundle.is_some() || self.seal.is_some();
        let alone = self.life.live.is_none() && self.life.committed.ahead.is_empty() && self.life.pinned.is_none();
        let site = built.loaded.set.site.as_ref();
        let in_place = site.is_none_or(|site| site.health.inventory_in_place || site.health.window.is_zero());
        let inventory_only = self.current().is_some_and(|current| {
            let set = current.set.as_ref();
            !current.adopted && set.is_some_and(|set| set.differs_in_inventory_only(&built.loaded.set))
        });
        if signed || !alone || !in_place || !inventory_only || trigger == Trigger::Room {
            return Err(built);
        }
        match self.kernel.patch(&built.loaded.compiled) {
            Ok(true) => {}
            Ok(false) => return Err(built),
            Err(error) => {
                tracing::warn!("the tables cannot be changed in place, a generation is made: {}", error.message);
                return Err(built);
            }
        }
        let Built { made_of, digest, loaded, since, .. } = *built;
        let took_us = micros(since.elapsed());
        let time = timestamp(SystemTime::now());
        let number = self.number();
        if let Some(kept) = self.kept.get_mut(&number) {
            kept.record.digest.clone_from(&digest);
            kept.set = Some(loaded.set);
            kept.compiled = Some(Arc::new(loaded.compiled));
            kept.unsaved = Some(made_of);
        }
        // What it is compared with has the tables of before.
        self.ready_for = None;
        if let Err(error) = self.note("changed in place", &digest) {
            tracing::warn!("generation {number} has another inventory, which is not recorded: {error}");
        }
        if let Err(error) = self.drive(Event::ChangedInPlace { digest }) {
            tracing::warn!("{}", error.message);
        }
        tracing::info!(generation = number, trigger = trigger.name(), took_us, "inventory in force");
        Ok(Apply { in_place: true, ..self.succeeded(time, trigger, took_us, loaded.warnings) })
    }

    /// Has it decided what becomes of a policy, and says what did.
    pub(super) fn change(&mut self, built: Built, trigger: Trigger, how: How) -> Result<Apply, Problem> {
        let Built { made_of, digest, loaded, since, lists, bundle } = self.with_lists_of_now(built)?;
        let site = loaded.set.site.clone().unwrap_or_default();
        let limits = self.limits_of(&site)?;
        let time = timestamp(SystemTime::now());
        let own = || self.kernel.programs();
        let programs = made_of.object.as_ref().map_or_else(own, |object| digest_of(object));
        let unchanged = self
            .current()
            .is_some_and(|current| current.record.digest == digest && current.record.programs == programs)
            && how.again.is_none();
        // The same again, for its room or after a restart: what was on trial stays so, and nothing else is.
        let again = self.life.live.as_ref().filter(|_| unchanged).map(|trial| trial.change.clone());
        let window = match (&again, unchanged) {
            (Some(again), _) => again.window_ms,
            (None, true) => 0,
            (None, false) => milliseconds(how.window.unwrap_or(site.health.window)),
        };
        for name in how.only.iter().filter(|_| how.again.is_none()) {
            let guarded = |index: &u32| self.links.get(index).is_some_and(|link| link.name == *name);
            if !self.guards.iter().any(|(index, guard)| guard.problem.is_none() && guarded(index)) {
                let message = format!("{name} is no guarded interface; `gabion status` lists them");
                return Err(problem("no-such-interface", "input", message));
            }
        }
        let keeps = how.again.is_some() || site.health.keep_on_death;
        let vouched = || match (&how.again, &bundle) {
            (Some(again), _) => again.vouched.clone(),
            (None, Some(bundle)) => bundle.vouched.clone(),
            (None, None) => String::from("the owner of this node"),
        };
        let change = Change {
            vouched: vouched(),
            digest: digest.clone(),
            origin: how.origin.unwrap_or_else(|| match &bundle {
                Some(bundle) => format!("bundle {}", bundle.bundled),
                None => format!("files, by {}", trigger.name()),
            }),
            window_ms: window,
            only: again.map_or(how.only, |again| again.only),
            on_death: if keeps { OnDeath::Keep } else { OnDeath::RollBack },
            insisted: how.insisted || unchanged,
            emergency: how.again.is_some(),
        };
        let mut warnings = loaded.warnings.clone();
        warnings.extend(super::gate::warning(&site));
        let record = Record {
            since: time.clone(),
            digest,
            origin: how.again.map_or_else(|| change.origin.clone(), |again| again.origin),
            emergencies: lists,
            programs,
            rules: rule_names(&loaded.compiled).into(),
            classes: loaded.compiled.interfaces.clone(),
            site: site.name.clone(),
            interfaces: site.interfaces.iter().map(|it| (it.name.clone(), it.role.clone())).collect(),
            audit: site.mode == Mode::Audit,
            seal: site.gatekeeper.seal,
            limits,
            ..Record::default()
        };
        let rules = record.rules.len();
        let before = self.life.last_number;
        for alarm in bundle.iter().flat_map(|bundle| &bundle.alarms) {
            tracing::error!("ALARM: {alarm}");
            self.note("alarm", alarm).map_err(store_problem)?;
        }
        self.preparing = Some(Prepared { made_of, loaded, site, record });
        (self.golden, self.trusting) = match bundle {
            Some(bundle) => (bundle.golden, Some(bundle.next)),
            None => (Vec::new(), None),
        };
        self.trouble = None;
        let expedited = self.kernel.expedite();
        let outcome = self.drive(Event::Wanted(change));
        drop(expedited);
        self.preparing = None;
        self.trusting = None;
        outcome?;
        let number = self.life.last_number;
        let in_force = number != before && self.life.wanted().numbers().any(|it| it == number);
        if !in_force {
            let unknown = || problem("change", "ours", String::from("the change was undone, and nobody said why"));
            return Err(self.trouble.take().unwrap_or_else(unknown));
        }
        // What is written down and cleared away afterwards changes nothing for any packet.
        let took_us = micros(self.pointed.saturating_duration_since(since));
        tracing::info!(generation = number, trigger = trigger.name(), rules, took_us, "policy in force");
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let trial_ms = self.life.live.as_ref().map_or(0, |trial| trial.change.window_ms);
        Ok(Apply { generation: number, trial_ms, ..self.succeeded(time, trigger, took_us, warnings) })
    }

    /// What was built while a deny list came or ended is built again.
    pub(super) fn with_lists_of_now(&self, built: Built) -> Result<Built, Problem> {
        if built.lists == ids(&self.source.lists) {
            return Ok(built);
        }
        let Built { made_of, digest, since, bundle, .. } = built;
        Ok(Built { bundle, ..self.source.build_from(made_of, digest, since)? })
    }

    pub(super) fn limits_of(&self, site: &Site) -> Result<Limits, Problem> {
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
        Ok(Limits {
            denied_rate: site.events.denied_rate,
            denied_burst: site.events.denied_burst,
            allowed_rate: site.events.allowed_rate,
            allowed_sample: site.events.allowed_sample,
            failsafe: ports.iter().map(|port| u32::from(port.protocol) << 16 | u32::from(port.port)).collect(),
        })
    }

    /// What goes with the generation in force.
    pub(super) fn settings_in_force(&self) -> Settings {
        let Some(current) = self.current() else { return self.settings };
        let chosen = self.mode_override.as_ref().map(|chosen| chosen.audit);
        if !current.record.is_known() {
            // Nothing of it is changed but what somebody wants.
            return Settings { audit_mode: chosen.map_or(self.settings.audit_mode, u32::from), ..self.settings };
        }
        let audit = chosen.unwrap_or(current.record.audit);
        current.record.limits.settings(audit)
    }

    /// Switches between enforce and audit: `Some(audit)` overrides the policy, none goes back to what it says.
    pub fn set_mode(&mut self, choice: Option<bool>) -> Result<(), Problem> {
        let policy = self.current().is_some_and(|current| current.record.audit);
        let audit = choice.unwrap_or(policy);
        let settings = Settings { audit_mode: u32::from(audit), ..self.settings };
        self.kernel.set_settings(&settings).map_err(kernel_problem)?;
        self.settings = settings;
        let since = timestamp(SystemTime::now());
        self.mode_override =
            choice.filter(|audit| *audit != policy).map(|audit| ModeOverride { audit, since: since.clone() });
        let name = if audit { "mode audit" } else { "mode enforce" };
        let number = self.number();
        tracing::warn!(generation = number, "{name}");
        let mut batch = Batch::default();
        match &self.mode_override {
            Some(chosen) => batch.put("mode", chosen),
            None => batch.remove("mode"),
        };
        let line = Line::note(&since, name, number, "");
        self.record(&mut batch, vec![line]).map_err(store_problem)
    }
}

/// As [`crate::kernel::Kernel::programs`] says it of the agent's own.
pub(crate) fn digest_of(object: &[u8]) -> String {
    hex(Sha256::digest(object).as_slice())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Names and actions by rule number, the actions from the entries of both directions.
fn rule_names(compiled: &Compiled) -> Vec<RuleName> {
    let mut actions: Vec<Option<&'static str>> = vec![None; compiled.rules.len()];
    for word in compiled.entries() {
        let action = match entry::action(word) {
            entry::ALLOW => "allow",
            entry::DENY => "deny",
            _ => "audit",
        };
        if let Some(known) = actions.get_mut(entry::rule(word) as usize) {
            *known = Some(known.map_or(action, |before| if before == action { action } else { "mixed" }));
        }
    }
    let named = compiled.rules.iter().zip(actions);
    named.map(|(rule, action)| RuleName { key: key_of(rule), action: action.unwrap_or("unused").into() }).collect()
}

/// Why a change is not even tried.
pub(super) fn refusal_problem(refusal: &Refusal) -> Problem {
    let (code, blame) = match refusal {
        Refusal::Pinned { .. } => ("generations-pinned", "input"),
        Refusal::Condemned { .. } => ("failed-before", "input"),
        Refusal::NothingOnTrial { .. } => ("nothing-on-trial", "input"),
        Refusal::NothingCommitted => ("nothing-committed", "input"),
        Refusal::Exhausted { .. } => ("generation-numbers", "system"),
        Refusal::OutOfTurn { .. } => ("generation-defect", "ours"),
    };
    problem(code, blame, refusal.to_string())
}
