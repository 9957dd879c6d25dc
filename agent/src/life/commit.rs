//! A built policy goes into force, or is refused and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gabion_abi::event::{FAILSAFE_LIMIT, Settings};
use gabion_abi::tables::entry;
use gabion_policy_compile::Compiled;
use gabion_policy_model::site::{FailsafePort, Mode, Site};

use super::{Agent, Built, Trigger, journal_problem, kernel_problem, problem};
use crate::api::wire::{Apply, Problem};
use crate::counters::{RuleName, key_of};
use crate::events::timestamp;
use crate::interfaces::kernel_view;
use crate::journal::{Current, ModeOverride};
use crate::kernel::Plan;

impl Agent {
    pub(super) fn unchanged(&self, since: Instant, trigger: Trigger) -> Apply {
        let time = timestamp(SystemTime::now());
        Apply { unchanged: true, ..self.succeeded(time, trigger, micros(since), Vec::new()) }
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

    /// Changes the tables of the generation in force, when nothing but the inventory is another; gives the built policy
    /// back when that cannot be.
    pub(super) fn change_in_place(&mut self, built: Built, trigger: Trigger) -> Result<Apply, Box<Built>> {
        let possible = !self.adopted
            && trigger != Trigger::Room
            && self.set.as_ref().is_some_and(|set| set.differs_in_inventory_only(&built.loaded.set));
        let Some(current) = self.current.as_mut().filter(|_| possible) else { return Err(Box::new(built)) };
        match self.kernel.patch(&built.loaded.compiled) {
            Ok(true) => {}
            Ok(false) => return Err(Box::new(built)),
            Err(error) => {
                tracing::warn!("the tables cannot be changed in place, a generation is made: {}", error.message);
                return Err(Box::new(built));
            }
        }
        let Built { files, digest, loaded, since } = built;
        let took_us = micros(since);
        let time = timestamp(SystemTime::now());
        let number = current.number;
        current.digest.clone_from(&digest);
        self.set = Some(loaded.set);
        let recorded = self
            .journal
            .note(&time, "changed in place", number, &digest)
            .and_then(|()| self.save_state())
            .and_then(|()| self.journal.save_last_good(&files));
        if let Err(error) = recorded {
            tracing::warn!("generation {number} has another inventory, which is not recorded: {error}");
        }
        tracing::info!(generation = number, trigger = trigger.name(), took_us, "inventory in force");
        Ok(Apply { in_place: true, ..self.succeeded(time, trigger, took_us, loaded.warnings) })
    }

    pub(super) fn commit(&mut self, built: Built, trigger: Trigger) -> Result<Apply, Problem> {
        let Built { files, digest, loaded, since } = built;
        let site = loaded.set.site.clone().unwrap_or_default();
        let settings = self.settings_for(&site)?;
        let time = timestamp(SystemTime::now());

        let number = self.last_number.checked_add(1).ok_or_else(|| exhausted(self.last_number))?;
        self.last_number = number;
        self.journal.stage(&time, number, &digest).map_err(journal_problem)?;

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
        let took_us = micros(since);

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
            rules: Arc::clone(&self.names),
            classes,
            site: site.name.clone(),
            interfaces: patterns,
            audit: site.mode == Mode::Audit,
            counted: Vec::new(),
        });
        // Before hooks come and go: those that stay may stand otherwise now.
        for (&index, guard) in self.guards.iter_mut().filter(|(_, guard)| guard.problem.is_none()) {
            guard.attachment = self.kernel.attachment(index);
        }
        self.sync_interfaces();
        // It is in force: from here on, trouble with the disk is a warning, not a refusal.
        let recorded = self
            .save_state()
            .and_then(|()| self.journal.save_last_good(&files))
            .and_then(|()| self.journal.note(&time, "live", number, ""));
        if let Err(error) = recorded {
            tracing::warn!("generation {number} is in force, but not recorded: {error}");
        }
        tracing::info!(
            generation = number,
            trigger = trigger.name(),
            rules = self.names.len(),
            took_us,
            recorded_us = micros(since),
            "policy in force"
        );
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(self.succeeded(time, trigger, took_us, loaded.warnings))
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
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
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

fn exhausted(last: u32) -> Problem {
    problem(
        "generation-numbers",
        "system",
        format!("generation numbers are used up at {last}; start a new state folder"),
    )
}
