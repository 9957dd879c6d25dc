//! The whole answer to a question, for people and programs.

use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{Action, Decision};
use gabion_policy_model::rule::{ClusterPolicy, Policy, Rule};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::site::Mode;
use gabion_policy_model::subject::AnySubject;
use gabion_policy_model::trace::Direction;
use serde::Serialize;

use crate::directory::Directory;
pub use crate::missed::Missed;
use crate::missed::{Comparison, at_ends};
pub use crate::near::NearMiss;
use crate::near::{direction_name, near_misses};
use crate::packet::{Packet, Place};
pub use crate::remedy::Remedy;
use crate::remedy::{place, remedy};
use crate::verdict::{Verdict, sentence};

/// What one end's policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// `allow`, `deny` or `audit`.
    pub verdict: &'static str,
    /// Full name of the rule or default.
    pub rule: String,
    /// Its tier, `policy` or `default`.
    pub tier: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Where the text says so, `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whether return traffic has to be allowed by rules of its own.
    pub stateless: bool,
}

/// The packet that was judged, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Source: address, MAC or interface.
    pub src: String,
    /// Destination, likewise.
    pub dst: String,
    /// Protocol, ports, flags, or what the frame carries.
    pub content: String,
    /// `end-to-end`, `arrival` or `departure`.
    pub place: &'static str,
    /// Interface that it arrives on.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub arrives: Option<String>,
    /// Interface that it leaves by.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub leaves: Option<String>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// Full name of the rule or default that is reported for the packet.
    pub rule: String,
    /// Its tier.
    pub tier: String,
    /// Why, in a sentence.
    pub reason: String,
    /// `egress` or `ingress`: whose rule that is.
    pub direction: &'static str,
    /// The packet.
    pub packet: Judged,
    /// What the source may send, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<End>,
    /// What the destination may receive, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<End>,
    /// Rules that came close to deciding otherwise, nearest first.
    pub close: Vec<NearMiss>,
    /// What would have let the packet pass; all of these together.
    pub would_allow: Vec<Remedy>,
    /// What was filled in, and what the answer does not say.
    pub notes: Vec<String>,
}

/// Whether a packet passes, as answers write it.
#[must_use]
pub const fn verdict_name(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Audit => "audit",
    }
}

/// Explains a verdict that was given about a packet.
#[must_use]
pub fn explain(set: &PolicySet, directory: &Directory<'_>, packet: &Packet<'_>, verdict: &Verdict) -> Answer {
    let known = at_ends(&set.inventory, packet);
    let comparison = Comparison::new(set, directory.index(), &known, packet);
    let end = |direction, decision: Decision| End {
        verdict: action_name(decision.action),
        rule: decision.rule.name(set, direction),
        tier: decision.rule.tier(set).to_owned(),
        reason: sentence(set, direction, &decision),
        location: place(set, direction, &decision),
        stateless: decision.stateless,
    };
    // Only what could turn the verdict round is of interest: an allowed end of a denied packet is not.
    let denied = verdict.decisions().any(|(_, decision)| decision.action == Action::Deny);
    let interesting = verdict.decisions().filter(|(_, d)| !denied || d.action == Action::Deny);
    let close = interesting.flat_map(|(direction, d)| near_misses(&comparison, direction, &d)).collect();
    let refused = verdict.decisions().filter(|(_, d)| !verdict.is_allowed() && d.action == Action::Deny);
    let would_allow = refused.map(|(direction, d)| remedy(&comparison, direction, &d)).collect();

    let (direction, deciding) = match verdict.deciding() {
        Some((direction, decision)) => (direction, Some(decision)),
        None => (Direction::Ingress, None),
    };
    Answer {
        verdict: verdict_name(verdict.is_allowed()),
        rule: deciding.map_or_else(String::new, |decision| decision.rule.name(set, direction)),
        tier: deciding.map_or_else(String::new, |decision| decision.rule.tier(set).to_owned()),
        reason: verdict.reason(set),
        direction: direction_name(direction),
        packet: Judged {
            src: packet.end_name(Direction::Egress),
            dst: packet.end_name(Direction::Ingress),
            content: packet.content(),
            place: match packet.place {
                Place::EndToEnd => "end-to-end",
                Place::Arrival => "arrival",
                Place::Departure => "departure",
            },
            arrives: packet.source_interface.map(str::to_owned),
            leaves: packet.destination_interface.map(str::to_owned),
        },
        egress: verdict.egress.map(|decision| end(Direction::Egress, decision)),
        ingress: verdict.ingress.map(|decision| end(Direction::Ingress, decision)),
        close,
        would_allow,
        notes: notes(set, directory, packet, verdict),
    }
}

fn notes(set: &PolicySet, directory: &Directory<'_>, packet: &Packet<'_>, verdict: &Verdict) -> Vec<String> {
    let mut notes: Vec<_> = packet.assumed.iter().map(ToString::to_string).collect();
    let audit = set.site.as_ref().is_some_and(|site| site.mode == Mode::Audit);
    if audit && !verdict.is_allowed() {
        notes.push("the site starts in audit mode: there the packet passes, and is reported".to_owned());
    }
    let placed = packet.source_interface.or(packet.destination_interface).is_some();
    if packet.place == Place::EndToEnd && !placed && speaks_of_interfaces(set) {
        notes.push("rules of this policy speak of interfaces: without --in and --out they see none".to_owned());
    }
    if packet.place == Place::Arrival && packet.asked.ingress && !packet.asked.egress && !directory.knows_node() {
        let text = "the site lists no addresses of the node, so that the packet counts as meant for the node itself; \
                    with --out it counts as forwarded";
        notes.push(text.to_owned());
    }
    notes
}

fn speaks_of_interfaces(set: &PolicySet) -> bool {
    let is_interface = |subject: &AnySubject| matches!(subject, AnySubject::Interface(_));
    let in_rules =
        |rules: &[Spanned<Rule>]| rules.iter().flat_map(|r| r.from.iter().chain(&r.to).flatten()).any(is_interface);
    let in_cluster =
        |policy: &ClusterPolicy| is_interface(&policy.subject) || in_rules(&policy.ingress) || in_rules(&policy.egress);
    let in_policy = |policy: &Policy| {
        is_interface(&policy.subject) || policy.ingress.iter().chain(&policy.egress).any(|rules| in_rules(rules))
    };
    set.cluster_policies.iter().any(in_cluster) || set.policies.iter().any(in_policy)
}
