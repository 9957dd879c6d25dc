//! Rules that came close to deciding otherwise.

use gabion_policy_model::oracle::{Action, Decision};
use gabion_policy_model::rule::{self, Rule};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::subject::Subject;
use gabion_policy_model::trace::{Direction, RuleRef};
use serde::Serialize;

use crate::missed::{Comparison, Missed, distance};

/// A rule that came close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NearMiss {
    /// Full name.
    pub rule: String,
    /// Tier.
    pub tier: String,
    /// `egress` or `ingress`.
    pub direction: &'static str,
    /// `allow`, `deny` or `audit`.
    pub action: &'static str,
    /// Where the text says so, `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Fields that do not match. None when the rule matches, but something else decides first.
    pub missed: Vec<Missed>,
}

/// Near misses that are shown for each direction.
const SHOWN: usize = 5;
/// Rules that are farther away than this are not close: two ends, or one end and two fields.
const FARTHEST_ALLOW: usize = 4;
/// What might have denied an allowed packet is of interest only where little was missing: one end, or two fields.
const FARTHEST_DENY: usize = 2;

/// `file:line:column`, where the text is known.
pub(crate) fn written(location: &Location) -> Option<String> {
    (!location.source.is_empty()).then(|| format!("{}:{}:{}", location.source, location.line, location.column))
}

pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

/// The rules that would have turned a decision round and came closest, nearest first, then in the
/// order in which they are consulted.
pub(crate) fn near_misses<S: Subject>(
    comparison: &Comparison<'_, '_, S>,
    direction: Direction,
    decision: &Decision,
) -> Vec<NearMiss> {
    let set = comparison.set;
    let wanted = |action: rule::Action| match decision.action {
        Action::Deny => matches!(action, rule::Action::Allow | rule::Action::Audit),
        Action::Allow | Action::Audit => action == rule::Action::Deny,
    };
    let farthest = if decision.action == Action::Deny { FARTHEST_ALLOW } else { FARTHEST_DENY };
    let mut close: Vec<(usize, RuleRef, Vec<Missed>)> = Vec::new();
    let mut consider = |subject: &S, rules: &[Spanned<Rule<S>>], reference: &dyn Fn(u32) -> RuleRef| {
        let mut candidates = rules.iter().enumerate().filter(|(_, rule)| wanted(rule.action)).peekable();
        if candidates.peek().is_none() {
            return;
        }
        let about = comparison.subject(subject, direction);
        for (position, rule) in candidates {
            let missed: Vec<_> = about.clone().into_iter().chain(comparison.rule(rule)).collect();
            let apart = distance(&missed);
            if apart <= farthest {
                close.push((apart, reference(position as u32), missed));
            }
        }
    };
    for (index, policy) in set.cluster_policies.iter().enumerate() {
        let reference = |rule| RuleRef::Cluster { policy: index as u32, rule };
        consider(&policy.subject, policy.rules(direction), &reference);
    }
    for (index, policy) in set.policies.iter().enumerate() {
        let reference = |rule| RuleRef::Policy { policy: index as u32, rule };
        consider(&policy.subject, policy.rules(direction).unwrap_or_default(), &reference);
    }
    close.sort_by_key(|(apart, ..)| *apart);
    close.truncate(SHOWN);
    let shown = close.into_iter().filter_map(|(_, reference, missed)| {
        let rule = reference.rule(set, direction)?;
        Some(NearMiss {
            rule: reference.name(set, direction),
            tier: reference.tier(set).to_owned(),
            direction: direction_name(direction),
            action: match rule.action {
                rule::Action::Allow => "allow",
                rule::Action::Deny => "deny",
                rule::Action::Pass => "pass",
                rule::Action::Audit => "audit",
            },
            location: written(&rule.location),
            missed,
        })
    });
    shown.collect()
}
