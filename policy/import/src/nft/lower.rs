//! Base chains → tiers: which chain judges what, and whose replies pass.

use std::net::IpAddr;

use gabion_policy_model::rule::{Action, ClusterPolicy};

use super::conditions::{Conditions, Side};
use super::expand::Expansion;
use super::ruleset::{Chain, Hook, Table};
use super::tiers::Tiers;
use crate::diagnostic::Diagnostic;
use crate::source::Lines;

type Read<T> = Result<T, Diagnostic>;

/// A rule of a base chain with its jumps written out.
pub(super) struct Flat {
    pub conditions: Conditions,
    pub action: Action,
    pub log: bool,
    pub name: String,
    pub at: std::ops::Range<usize>,
}

/// A base chain with its jumps written out.
pub(super) struct Base<'t, 'a> {
    pub lines: &'t Lines<'a>,
    pub chain: &'t Chain,
    /// What its rules' names start with: the chain's name, or where several tables use it, with the table's.
    pub name: String,
    pub hook: Hook,
    pub v4: bool,
    pub v6: bool,
    pub accept: bool,
    pub rules: Vec<Flat>,
    /// Return traffic is accepted without further conditions.
    pub admits_replies: bool,
}

pub(super) fn lower(tables: &[(&Lines<'_>, Table)], node: &[IpAddr]) -> Read<(Vec<ClusterPolicy>, Vec<Diagnostic>)> {
    let mut warnings = Vec::new();
    let mut bases: Vec<Base<'_, '_>> = Vec::new();
    for (lines, table) in tables {
        for chain in &table.chains {
            let shared = tables
                .iter()
                .flat_map(|(_, table)| &table.chains)
                .filter(|other| other.base.is_some() && other.name == chain.name)
                .count()
                > 1;
            let base = Expansion { lines, table, warnings: &mut warnings, count: 0 }.base(chain, shared)?;
            if let Some(base) = base {
                if let Some(other) = bases.iter().find(|o| o.hook == base.hook && (o.v4 && base.v4 || o.v6 && base.v6))
                {
                    let message = format!("a second chain at this hook, beside `{}`", other.chain.name);
                    return Err(lines.diagnose(chain.range.clone(), message, "write the rules of both into one chain"));
                }
                bases.push(base);
            }
        }
    }
    bases.sort_by_key(|base| base.hook);
    if node.is_empty() {
        keep_one_arrival(&mut bases, &mut warnings)?;
    } else {
        at_node(&mut bases, node);
    }
    warn_of_ways_out(&bases, &mut warnings);
    let stateless = stateless_hooks(&bases, &mut warnings);
    let mut tiers = Tiers::default();
    for base in &bases {
        tiers.add(base, stateless.contains(&base.hook))?;
    }
    Ok((tiers.policies, warnings))
}

/// Without the node's addresses input and forward cannot be told apart.
fn keep_one_arrival(bases: &mut Vec<Base<'_, '_>>, warnings: &mut Vec<Diagnostic>) -> Read<()> {
    let has = |bases: &[Base<'_, '_>], hook| bases.iter().any(|b| b.hook == hook && !b.rules.is_empty());
    let (input, forward) = (has(bases, Hook::Input), has(bases, Hook::Forward));
    let find = |hook| bases.iter().find(|base: &&Base<'_, '_>| base.hook == hook);
    let (Some(_), Some(transit)) = (find(Hook::Input), find(Hook::Forward)) else { return Ok(()) };
    if input && forward {
        return Err(transit.lines.diagnose(
            transit.chain.range.clone(),
            "both input and forward have rules, and which addresses are the node's is not known",
            "name the node's addresses, or import one of the chains",
        ));
    }
    let left_out = if forward { Hook::Input } else { Hook::Forward };
    if let Some(base) = find(left_out) {
        warnings.push(base.lines.diagnose(
            base.chain.range.clone(),
            "this chain has no rules and is left out: the other one judges all that arrives",
            "name the node's addresses to keep both",
        ));
    }
    bases.retain(|base| base.hook != left_out);
    Ok(())
}

/// Input is for the node's addresses, and decides for good.
fn at_node(bases: &mut [Base<'_, '_>], node: &[IpAddr]) {
    let to_node = Side { blocks: Some(node.iter().map(|&address| address.into()).collect()), ..Side::default() };
    for base in bases.iter_mut().filter(|base| base.hook == Hook::Input) {
        let name = format!("{}-policy", base.name);
        let action = if base.accept { Action::Allow } else { Action::Deny };
        base.rules.push(Flat {
            conditions: Conditions::new(base.v4, base.v6),
            action,
            log: false,
            name,
            at: base.chain.range.clone(),
        });
        base.accept = true;
        for rule in &mut base.rules {
            let narrowed = Conditions { destination: to_node.clone(), ..Conditions::new(true, true) };
            // Only a second condition on TCP flags has no conjunction, and there is none here.
            if let Some(conditions) = rule.conditions.and(&narrowed) {
                rule.conditions = conditions;
            }
        }
        base.rules.retain(|rule| !rule.conditions.impossible());
    }
}

/// A forward chain is asked when the route is known, a node that Gabion guards when the packet arrives.
fn warn_of_ways_out(bases: &[Base<'_, '_>], warnings: &mut Vec<Diagnostic>) {
    let names_way_out = |rule: &&Flat| {
        let destination = &rule.conditions.destination;
        destination.interfaces.is_some() || !destination.not_interfaces.is_empty()
    };
    for base in bases.iter().filter(|base| base.hook == Hook::Forward) {
        if let Some(first) = base.rules.iter().find(names_way_out) {
            warnings.push(base.lines.diagnose(
                first.at.clone(),
                "a forwarded packet is judged where it arrives, when the interface that it leaves by is not known: this \
                 rule, the first such, matches only what comes from an interface that is not guarded",
                "name the destination by its addresses, `ip daddr`, instead of the interface",
            ));
        }
    }
}

/// Hooks whose allowed packets get no replies, because the chain that replies take would stop them.
fn stateless_hooks(bases: &[Base<'_, '_>], warnings: &mut Vec<Diagnostic>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for base in bases {
        let restricts = !base.accept || base.rules.iter().any(|rule| rule.action == Action::Deny);
        if !restricts || base.admits_replies {
            continue;
        }
        let hook = match base.hook {
            Hook::Input => Hook::Output,
            Hook::Forward => Hook::Forward,
            Hook::Output => Hook::Input,
        };
        hooks.push(hook);
        if bases.iter().any(|other| other.hook == hook && other.rules.iter().any(|r| r.action == Action::Allow)) {
            warnings.push(base.lines.diagnose(
                base.chain.range.clone(),
                "this chain does not accept established and related connections, so rules whose replies it sees are stateless",
                "add `ct state established,related accept` if replies are to pass",
            ));
        }
    }
    hooks
}
