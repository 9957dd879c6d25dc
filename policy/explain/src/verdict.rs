//! What happens to a packet, and the sentence that says why.

use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action, Decision, Judgement};
use gabion_policy_model::site::FailsafePort;
use gabion_policy_model::subject::Subject;
use gabion_policy_model::trace::{Direction, RuleRef};

use crate::directory::Directory;
use crate::names;
use crate::packet::Packet;

/// Something that can be asked what policy says about a packet.
pub trait Judge {
    /// What the policies of both ends say.
    fn judge(&self, packet: &Packet<'_>) -> Judgement;
}

/// The definition: rule by rule, as the documents read.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'s, S: Subject>(pub &'s PolicySet<S>);

impl<S: Subject> Judge for Oracle<'_, S> {
    fn judge(&self, packet: &Packet<'_>) -> Judgement {
        oracle::judge(self.0, &packet.facts, packet.source_interface, packet.destination_interface)
    }
}

/// What happens to a packet: the decisions of the ends that were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What the source may send, where that was asked.
    pub egress: Option<Decision>,
    /// What the destination may receive, where that was asked.
    pub ingress: Option<Decision>,
    /// The port of the node that lets the packet pass although policy denies it.
    pub failsafe: Option<FailsafePort>,
}

/// Asks for the verdict on a packet.
pub fn verdict<J: Judge + ?Sized>(judge: &J, directory: &Directory<'_>, packet: &Packet<'_>) -> Verdict {
    let judgement = judge.judge(packet);
    let mut verdict = Verdict {
        egress: packet.asked.egress.then_some(judgement.egress),
        ingress: packet.asked.ingress.then_some(judgement.ingress),
        failsafe: None,
    };
    if verdict.is_denied_by_policy() {
        verdict.failsafe = directory.failsafe(packet);
    }
    verdict
}

impl Verdict {
    /// What was asked, and what was said.
    pub fn decisions(&self) -> impl Iterator<Item = (Direction, Decision)> {
        let ingress = self.ingress.map(|decision| (Direction::Ingress, decision));
        let egress = self.egress.map(|decision| (Direction::Egress, decision));
        ingress.into_iter().chain(egress)
    }

    fn is_denied_by_policy(&self) -> bool {
        self.decisions().any(|(_, decision)| decision.action == Action::Deny)
    }

    /// Whether the packet passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.failsafe.is_some() || !self.is_denied_by_policy()
    }

    /// The decision that is reported: a denial before an audit before an allow, of two alike the ingress.
    #[must_use]
    pub fn deciding(&self) -> Option<(Direction, Decision)> {
        match (self.egress, self.ingress) {
            (Some(egress), Some(ingress)) => {
                let both = Judgement { egress, ingress };
                let (direction, decision) = both.deciding();
                Some((direction, *decision))
            }
            (Some(egress), None) => Some((Direction::Egress, egress)),
            (None, ingress) => ingress.map(|ingress| (Direction::Ingress, ingress)),
        }
    }

    /// Why, in a sentence.
    #[must_use]
    pub fn reason<S: Subject>(&self, set: &PolicySet<S>) -> String {
        let said = |wanted: Option<Action>| {
            let decisions = self.decisions().filter(|(_, d)| wanted.is_none_or(|action| d.action == action));
            let sentences: Vec<_> = decisions.map(|(direction, d)| sentence(set, direction, &d)).collect();
            sentences.join("; ")
        };
        if !self.is_denied_by_policy() {
            return said(None);
        }
        match self.failsafe {
            None => said(Some(Action::Deny)),
            Some(FailsafePort { protocol, port }) => format!(
                "{} {port} of the node is a fail-safe port, which no policy closes (else: {})",
                names::protocol_name(protocol),
                said(Some(Action::Deny))
            ),
        }
    }
}

/// What one end's decision goes back to, in words.
pub(crate) fn sentence<S: Subject>(set: &PolicySet<S>, direction: Direction, decision: &Decision) -> String {
    let name = decision.rule.name(set, direction);
    let (may, who) = match direction {
        Direction::Egress => ("send", "the source"),
        Direction::Ingress => ("receive", "the destination"),
    };
    let says = match decision.action {
        Action::Allow => format!("lets {who} {may} it"),
        Action::Deny => format!("forbids {who} to {may} it"),
        Action::Audit => format!("lets {who} {may} it, but reports that it would have been denied"),
    };
    match decision.rule {
        RuleRef::Cluster { .. } => format!("rule {name} of tier {} {says}", decision.rule.tier(set)),
        RuleRef::Policy { .. } => format!("rule {name} {says}"),
        RuleRef::Isolation { .. } => {
            let policy = name.strip_suffix("/isolation").unwrap_or(&name);
            format!("policy {policy} isolates {who}, and no rule lets it {may} this")
        }
        RuleRef::SubjectDefault { index } => {
            let defaults = set.site.as_ref().and_then(|site| site.defaults.subjects.get(index as usize));
            let subject = defaults.map_or_else(|| "its subject".to_owned(), |d| d.subject.describe());
            format!("no rule speaks of it, and the site's default for {subject} {says}")
        }
        RuleRef::LinkControlDefault => {
            format!("no rule names this ARP or neighbour discovery, and the site's default for link control {says}")
        }
        RuleRef::UnparsedDefault => {
            format!("no rule names this unparsed packet, and the site's default for unparsed packets {says}")
        }
        RuleRef::Default => format!("no rule speaks of it, and the site's default {says}"),
    }
}
