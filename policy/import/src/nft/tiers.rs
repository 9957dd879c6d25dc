//! Flat rules → cluster policies.

use std::collections::{HashMap, HashSet};

use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{Any, AnySubject};

use super::conditions::Conditions;
use super::lower::{Base, Flat};
use super::ruleset::Hook;
use crate::diagnostic::Diagnostic;
use crate::names;

type Read<T> = Result<T, Diagnostic>;

/// The policies of both directions, cut into tiers where a rule wants others to pass before it.
#[derive(Default)]
pub(super) struct Tiers {
    pub policies: Vec<ClusterPolicy>,
    numbers: HashMap<&'static str, u32>,
    /// Names of rules that are given away.
    names: HashSet<String>,
    /// The last policy takes more rules of this direction.
    open: Option<&'static str>,
}

impl Tiers {
    pub fn add(&mut self, base: &Base<'_, '_>, stateless: bool) -> Read<()> {
        let direction = if base.hook == Hook::Output { "egress" } else { "ingress" };
        for flat in &base.rules {
            self.rule(base, direction, flat, stateless)?;
        }
        if !base.accept {
            let last = Flat {
                conditions: Conditions::new(base.v4, base.v6),
                action: Action::Deny,
                log: false,
                name: format!("{}-policy", base.name),
                at: base.chain.range.clone(),
            };
            self.rule(base, direction, &last, stateless)?;
        }
        Ok(())
    }

    fn rule(&mut self, base: &Base<'_, '_>, direction: &'static str, flat: &Flat, stateless: bool) -> Read<()> {
        let Conditions { v4, v6, .. } = flat.conditions;
        let sides = [&flat.conditions.source, &flat.conditions.destination].map(|side| side.subjects(v4, v6));
        let [Some((from, not_from)), Some((to, not_to))] = sides else {
            return Err(base.lines.diagnose(
                flat.at.clone(),
                "an interface and a MAC address of one end in one rule",
                "ask for one of the two",
            ));
        };
        let rule = |name: String, action, from, to| {
            let rule = Rule {
                name,
                action,
                from,
                to,
                services: flat.conditions.services(),
                stateless: stateless && action == Action::Allow,
                log: flat.log && action != Action::Pass,
            };
            Spanned::new(rule, base.lines.locate(flat.at.clone()))
        };
        let guarded = !not_from.is_empty() || !not_to.is_empty();
        if guarded || self.open != Some(direction) {
            self.begin(base, direction);
        }
        let name = self.name(&flat.name);
        let mut rules = Vec::new();
        if !not_from.is_empty() {
            rules.push(rule(format!("{name}.not-from"), Action::Pass, Some(not_from), None));
        }
        if !not_to.is_empty() {
            rules.push(rule(format!("{name}.not-to"), Action::Pass, None, Some(not_to)));
        }
        rules.push(rule(name, flat.action, from, to));
        if let Some(policy) = self.policies.last_mut() {
            let list = if direction == "egress" { &mut policy.egress } else { &mut policy.ingress };
            list.append(&mut rules);
        }
        // What passes here is for the next tier, so that no other rule may stand in this one.
        self.open = (!guarded).then_some(direction);
        Ok(())
    }

    /// The name with what no name holds replaced, shortened, and told apart from the others. There is room
    /// for what the rules before it add.
    fn name(&mut self, wanted: &str) -> String {
        let fit = names::fit(wanted, names::RULE_NAME_LIMIT - 20, "rule");
        let mut name = fit.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{fit}.{number}");
            number += 1;
        }
        name
    }

    fn begin(&mut self, base: &Base<'_, '_>, direction: &'static str) {
        let number = self.numbers.entry(direction).or_default();
        *number += 1;
        let name = if *number == 1 { format!("nft-{direction}") } else { format!("nft-{direction}-{number}") };
        self.policies.push(ClusterPolicy {
            tier: Tier { name: name.clone(), stage: Stage::Admin, order: self.policies.len() as u32 },
            name,
            order: 0,
            subject: AnySubject::Any(Any),
            ingress: Vec::new(),
            egress: Vec::new(),
            location: base.lines.locate(base.chain.range.clone()),
        });
    }
}
