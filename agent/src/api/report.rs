//! What the API says, gathered from the agent's state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use gabion_abi::event::suppressed;
use gabion_abi::verdict::reason;

use super::wire::{
    Amount, EventCounts, FailedGeneration, Gate, GateCaller, Generation, Generations, Interface, Interfaces,
    JournalLine, KnownGeneration, Mode, Problem, Processes, ReasonTotal, Rule, Rules, Status, Suppressed, Totals,
    Trial,
};
use crate::counters::{RuleKey, amount};
use crate::events::{Clock, protocol_name, timestamp};
use crate::gatekeeper::{self, Tries};
use crate::interfaces::{is_l3, name_matches};
use crate::life::{Agent, Kept, store_problem};
use crate::record::{Line, Remembered};

impl Agent {
    /// `GET /v1/status`.
    pub fn status(&self) -> Status {
        let unknown = Kept::default();
        let kept = self.current().unwrap_or(&unknown);
        let current = kept.record.clone();
        let interfaces = self.interfaces();
        let warnings = self.warnings(&interfaces);
        // A sealed node goes on with what was committed; there are no files that should be in force instead.
        let waiting = match &self.last_apply {
            Some(apply) => !apply.ok,
            None => self.seal.is_none() || self.current().is_none(),
        };
        let trouble = self.left_over()
            || self.astray.is_some()
            || self.unrecorded.is_some()
            || self.emergencies.trouble.is_some()
            || waiting
            || self.gate.problem.is_some()
            || interfaces.interfaces.iter().any(|interface| interface.problem.is_some());
        let audit = self.settings.audit_mode != 0;
        let state = match (trouble, audit) {
            (true, _) => "degraded",
            (false, true) => "audit",
            (false, false) => "enforcing",
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: timestamp(self.started),
            uptime_s: SystemTime::now().duration_since(self.started).map_or(0, |since| since.as_secs()),
            state: state.to_owned(),
            site: current.site,
            policy_paths: self.source.paths.iter().map(|path| path.display().to_string()).collect(),
            generation: Generation {
                number: current.number,
                since: current.since,
                rules: self.names().len(),
                digest: current.digest,
                adopted: kept.adopted,
                trial: self.trial(),
                ahead: self.life.wanted().ahead,
                pinned: self.life.pinned.clone(),
                rolled_back: self.rolled_back,
            },
            mode: Mode {
                current: mode_name(audit).to_owned(),
                policy: mode_name(current.audit).to_owned(),
                overridden_since: self.mode_override.as_ref().map(|chosen| chosen.since.clone()),
            },
            failsafe: self.failsafe(),
            interfaces: interfaces.interfaces,
            totals: self.totals(),
            last_apply: self.last_apply.clone(),
            events: self.event_counts(),
            emergencies: self.emergencies_in_force(),
            gate: self.gate_report(),
            warnings,
        }
    }

    /// What is in force is an earlier agent's, and should not be.
    fn left_over(&self) -> bool {
        self.seal.is_none() && self.current().is_some_and(|current| current.adopted)
    }

    /// Who may load programs.
    fn gate_report(&self) -> Gate {
        let gate = &self.gate;
        let state = match (gate.is_sealed(), gate.problem.is_some(), self.wants_gate()) {
            (true, ..) => "sealed",
            (false, true, _) => "failed",
            (false, false, true) => "sealing",
            (false, false, false) => "open",
        };
        let clock = Clock::now();
        let caller = |tries: &Tries| GateCaller {
            reason: gatekeeper::reason(&tries.last).to_owned(),
            pid: tries.last.pid,
            name: crate::processes::name(&tries.last.comm),
            cgroup: tries.last.cgroup,
            count: tries.count,
            last: clock.rfc3339(tries.last.time_ns),
            digest: gatekeeper::digest_of(&tries.last),
        };
        Gate {
            state: state.to_owned(),
            since: gate.since.clone(),
            problem: gate.problem.clone(),
            programs: gate.programs(),
            attempts: gate.attempts.total(),
            callers: gate.attempts.list().into_iter().map(caller).collect(),
        }
    }

    fn failsafe(&self) -> Vec<String> {
        let count = (self.settings.failsafe_count as usize).min(self.settings.failsafe.len());
        let ports = self.settings.failsafe[..count].iter();
        // Protocol and port share the word, protocol above.
        ports.map(|word| format!("{}/{}", protocol_name((word >> 16) as u8), word & 0xffff)).collect()
    }

    fn warnings(&self, interfaces: &Interfaces) -> Vec<String> {
        let mut warnings = self.standing_warnings.clone();
        if self.seal.is_some() && self.current().is_none() {
            warnings.push(String::from("nothing is in force: `gabion generation apply BUNDLE` begins"));
        }
        if self.left_over() {
            warnings.push(format!(
                "generation {} of an earlier agent is still in force: the policy on disk could not replace it",
                self.number()
            ));
        }
        if let Some(problem) = self.last_apply.as_ref().filter(|apply| !apply.ok).and_then(|apply| apply.error.as_ref())
        {
            let what = if self.seal.is_some() { "the last bundle" } else { "the policy on disk" };
            warnings.push(format!("{what} is not in force: {}", problem.message));
        }
        if let Some(problem) = &self.astray {
            warnings
                .push(format!("hooks do not run the generation that they are to run, this is tried again: {problem}"));
        }
        if let Some(problem) = &self.unrecorded {
            warnings.push(format!("what is in force is not recorded: {problem}"));
        }
        if let Some(problem) = &self.emergencies.trouble {
            warnings.push(format!("emergencies are not in force as they are to be, this is tried again: {problem}"));
        }
        if let Some(last) = self.life.condemned.last() {
            warnings.push(format!("generation {} was rolled back: {}", last.number, last.why));
        }
        if let Some(why) = &self.life.pinned {
            warnings.push(format!("generations are pinned: {why}"));
        }
        if let Some(problem) = &self.local_problem {
            warnings.push(format!("the kernel programs do not know all addresses of the node: {problem}"));
        }
        if let Some(problem) = &self.gate.problem {
            let what = if self.gate.is_sealed() { "the gate needs a look" } else { "the gate is NOT SEALED" };
            warnings.push(format!("{what}: {problem}"));
        }
        if let Some(chosen) = &self.mode_override {
            warnings.push(format!(
                "mode {} was chosen by an operator at {}; `gabion mode policy` goes back to what the policy says",
                mode_name(chosen.audit),
                chosen.since
            ));
        }
        for interface in &interfaces.interfaces {
            if let Some(problem) = &interface.problem {
                let guarded = if interface.ingress == "none" { "is NOT GUARDED" } else { "needs a look" };
                warnings.push(format!("{} {guarded}: {problem}", interface.name));
            }
        }
        for guard in self.guards.values().filter(|guard| guard.problem.is_none()) {
            warnings.extend(guard.attachment.warning.clone());
        }
        if !interfaces.missing.is_empty() {
            warnings.push(format!("no interface is there for: {}", interfaces.missing.join(", ")));
        }
        if self.current().is_some_and(|current| current.record.interfaces.is_empty()) {
            warnings.push(String::from("the site lists no interfaces: nothing is guarded"));
        }
        if self.hub.malformed != 0 {
            warnings.push(format!("{} events made no sense (a defect: please report it)", self.hub.malformed));
        }
        warnings
    }

    /// `GET /v1/interfaces`.
    pub fn interfaces(&self) -> Interfaces {
        let patterns = self.current().map(|current| current.record.interfaces.as_slice()).unwrap_or_default();
        let role_of = |name: &str| patterns.iter().find(|(pattern, _)| name_matches(pattern, name));
        let interfaces = self.guards.iter().filter_map(|(&ifindex, guard)| {
            let link = self.links.get(&ifindex)?;
            let word = |word: &'static str| if word.is_empty() { "none" } else { word }.to_owned();
            Some(Interface {
                name: link.name.clone(),
                ifindex,
                role: role_of(&link.name).and_then(|(_, role)| role.clone()),
                ingress: word(guard.attachment.ingress),
                egress: word(guard.attachment.egress),
                l3: is_l3(link.link_type),
                up: link.up,
                problem: guard.problem.clone(),
            })
        });
        let here = |pattern: &str| self.links.values().any(|link| name_matches(pattern, &link.name));
        let missing = patterns.iter().filter(|(pattern, _)| !here(pattern)).map(|(pattern, _)| pattern.clone());
        Interfaces { interfaces: interfaces.collect(), missing: missing.collect() }
    }

    /// `GET /v1/totals`.
    pub fn totals(&self) -> Totals {
        let counts = self.kernel.reason_counts().unwrap_or_else(|error| {
            tracing::error!("cannot read the totals: {error}");
            Default::default()
        });
        let mut totals = Totals::default();
        for (action, by_reason) in ["pass", "drop"].into_iter().zip(counts) {
            for (name, count) in reason::NAMES.into_iter().zip(by_reason) {
                let amount = amount(count);
                totals.seen += amount;
                if action == "pass" {
                    totals.passed += amount;
                } else {
                    totals.dropped += amount;
                }
                if amount.packets != 0 {
                    totals.reasons.push(ReasonTotal { reason: name.to_owned(), action: action.to_owned(), amount });
                }
            }
        }
        totals
    }

    /// `GET /v1/rules`.
    pub fn rules(&self) -> Rules {
        let wanted = self.life.wanted();
        let mut rules: Vec<Rule> = Vec::new();
        let mut place: BTreeMap<&RuleKey, usize> = BTreeMap::new();
        // The one in force first, then those that run ahead, then what may have to come back.
        let mut numbers: Vec<u32> = wanted.numbers().collect();
        numbers.extend(self.kept.keys());
        let mut seen = BTreeSet::new();
        for number in numbers.into_iter().filter(|number| seen.insert(*number)) {
            let Some(kept) = self.kept.get(&number) else { continue };
            let counts = self.kernel.rule_counts(number).unwrap_or_else(|error| {
                tracing::error!("cannot read the counts of the rules: {error}");
                Vec::new()
            });
            let active = wanted.numbers().any(|it| it == number);
            for (at, name) in kept.record.rules.iter().enumerate() {
                let counted = counts.get(at).copied().map(amount).unwrap_or_default();
                let rule = *place.entry(&name.key).or_insert_with(|| {
                    let action = if active { &name.action } else { "" };
                    rules.push(rule_of(&name.key, action, active, self.base.amount(&name.key)));
                    rules.len() - 1
                });
                rules[rule].amount += counted;
                if active && rules[rule].action != name.action {
                    rules[rule].action = String::from("mixed");
                }
            }
        }
        for (key, amount) in self.base.iter() {
            if !place.contains_key(key) {
                rules.push(rule_of(key, "", false, amount));
            }
        }
        // A rule of what may come back that counted nothing is of no interest.
        rules.retain(|rule| rule.active || rule.amount.packets != 0);
        Rules { generation: self.number(), rules }
    }

    /// What is on trial.
    fn trial(&self) -> Option<Trial> {
        let (trial, watching) = (self.life.live.as_ref()?, self.watching.as_ref()?);
        Some(Trial {
            number: trial.number,
            back_to: self.life.committed.all.unwrap_or(0),
            window_s: watching.window.as_secs(),
            left_s: watching.left(Instant::now()).as_secs(),
            only: trial.change.only.iter().cloned().collect(),
        })
    }

    /// `GET /v1/generations`, with so many lines of the journal.
    ///
    /// # Errors
    /// The disk does not answer.
    pub fn generations(&mut self, lines: usize) -> Result<Generations, Problem> {
        let journal = self.store.journal::<Line>(lines).map_err(store_problem)?;
        let mut records = Remembered::read(&mut self.store).map_err(store_problem)?.records;
        // What is loaded may not be remembered yet.
        records.extend(self.kept.iter().map(|(number, kept)| (*number, kept.record.clone())));
        let wanted = self.life.wanted();
        let state = |number: u32| {
            if self.life.live.as_ref().is_some_and(|trial| trial.number == number) {
                "live"
            } else if self.life.committed.all == Some(number) {
                "committed"
            } else if self.life.committed.numbers().any(|it| it == number) {
                "ahead"
            } else {
                "replaced"
            }
        };
        let guarded: Vec<&str> = self
            .guards
            .iter()
            .filter(|(_, guard)| guard.problem.is_none())
            .filter_map(|(index, _)| Some(self.links.get(index)?.name.as_str()))
            .collect();
        let generations = records.into_iter().rev().map(|(number, record)| KnownGeneration {
            number,
            state: state(number).to_owned(),
            loaded: self.kept.contains_key(&number),
            since: record.since,
            digest: record.digest,
            origin: record.origin,
            site: record.site,
            rules: record.rules.len(),
            interfaces: guarded
                .iter()
                .filter(|name| wanted.of(name) == Some(number))
                .map(|name| (*name).to_owned())
                .collect(),
            emergencies: record.emergencies.into_keys().collect(),
        });
        let failed = self.life.condemned.iter().map(|it| FailedGeneration {
            number: it.number,
            digest: it.digest.clone(),
            why: it.why.clone(),
        });
        let journal = journal.into_iter().map(|(line, it)| JournalLine {
            line,
            time: it.time,
            generation: it.generation,
            step: it.step,
            from: it.from,
            detail: it.detail,
        });
        Ok(Generations {
            generations: generations.collect(),
            trial: self.trial(),
            emergencies: self.emergencies_in_force(),
            pinned: self.life.pinned.clone(),
            failed: failed.collect(),
            journal: journal.collect(),
        })
    }

    /// `GET /v1/processes`.
    pub fn processes(&self) -> Processes {
        Processes { problem: self.processes.problem().map(str::to_owned), processes: self.hub.totals().list() }
    }

    fn event_counts(&self) -> EventCounts {
        EventCounts {
            received: self.hub.received,
            malformed: self.hub.malformed,
            suppressed: self.suppressed(),
            followers: u32::try_from(self.hub.followers()).unwrap_or(u32::MAX),
            lost_to_followers: self.hub.lost_to_followers,
            connections_refused: self.connections_refused,
            no_processes: self.processes.problem().map(str::to_owned),
        }
    }

    /// Events that were not sent, by reason.
    pub(crate) fn suppressed(&self) -> Vec<Suppressed> {
        let counts = self.kernel.suppressed().unwrap_or_else(|error| {
            tracing::error!("cannot read the counts of suppressed events: {error}");
            Default::default()
        });
        let named = suppressed::NAMES.into_iter().zip(counts);
        named.map(|(reason, count)| Suppressed { reason: reason.to_owned(), count }).collect()
    }
}

fn rule_of(key: &RuleKey, action: &str, active: bool, amount: Amount) -> Rule {
    let (name, tier, direction) = (key.name.to_string(), key.tier.to_string(), key.direction.to_string());
    Rule { name, tier, direction, action: action.to_owned(), active, amount }
}

fn mode_name(audit: bool) -> &'static str {
    if audit { "audit" } else { "enforce" }
}
