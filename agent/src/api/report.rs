//! What the API says, gathered from the agent's state.

use std::collections::BTreeMap;
use std::time::SystemTime;

use gabion_abi::event::suppressed;
use gabion_abi::verdict::{Count, reason};

use super::wire::{
    Amount, EventCounts, Generation, Interface, Interfaces, Mode, Processes, ReasonTotal, Rule, Rules, Status,
    Suppressed, Totals,
};
use crate::counters::{RuleKey, amount};
use crate::events::{protocol_name, timestamp};
use crate::interfaces::{is_l3, name_matches};
use crate::life::Agent;

impl Agent {
    /// `GET /v1/status`.
    pub fn status(&self) -> Status {
        let current = self.current.clone().unwrap_or_default();
        let interfaces = self.interfaces();
        let warnings = self.warnings(&interfaces);
        let trouble = self.adopted
            || self.last_apply.as_ref().is_none_or(|apply| !apply.ok)
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
                adopted: self.adopted,
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
            warnings,
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
        if self.adopted {
            warnings.push(format!(
                "generation {} of an earlier agent is still in force: the policy on disk could not replace it",
                self.number()
            ));
        }
        if let Some(problem) = self.last_apply.as_ref().filter(|apply| !apply.ok).and_then(|apply| apply.error.as_ref())
        {
            warnings.push(format!("the policy on disk is not in force: {}", problem.message));
        }
        if let Some(problem) = &self.local_problem {
            warnings.push(format!("the kernel programs do not know all addresses of the node: {problem}"));
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
        if self.current.as_ref().is_some_and(|current| current.interfaces.is_empty()) {
            warnings.push(String::from("the site lists no interfaces: nothing is guarded"));
        }
        if self.hub.malformed != 0 {
            warnings.push(format!("{} events made no sense (a defect: please report it)", self.hub.malformed));
        }
        warnings
    }

    /// `GET /v1/interfaces`.
    pub fn interfaces(&self) -> Interfaces {
        let patterns = self.current.as_ref().map(|current| current.interfaces.as_slice()).unwrap_or_default();
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
        let counts: Vec<Count> = self.kernel.rule_counts().unwrap_or_else(|error| {
            tracing::error!("cannot read the counts of the rules: {error}");
            Vec::new()
        });
        let mut place: BTreeMap<&RuleKey, usize> = BTreeMap::new();
        let mut rules: Vec<Rule> = Vec::new();
        for (number, name) in self.names().iter().enumerate() {
            let counted = counts.get(number).copied().map(amount).unwrap_or_default();
            let at = *place.entry(&name.key).or_insert_with(|| {
                rules.push(rule_of(&name.key, &name.action, true, self.base.amount(&name.key)));
                rules.len() - 1
            });
            rules[at].amount += counted;
            if rules[at].action != name.action {
                rules[at].action = String::from("mixed");
            }
        }
        for (key, amount) in self.base.iter() {
            if !place.contains_key(key) {
                rules.push(rule_of(key, "", false, amount));
            }
        }
        Rules { generation: self.number(), rules }
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
