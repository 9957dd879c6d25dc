//! Rules and the documents that hold them.

use std::sync::Arc;

use crate::service::Service;
use crate::set::{Location, Spanned};
use crate::subject::{AnySubject, Subject};

/// What happens to a packet that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It may go.
    Allow,
    /// It is refused.
    Deny,
    /// The next tier decides. Only in a `ClusterPolicy`.
    Pass,
    /// It may go, and is reported as "would have been denied".
    Audit,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<S: Subject = AnySubject> {
    /// Name, unique in its document; made from direction and index when the text gives none
    /// (`ingress-0`).
    pub name: String,
    /// What happens.
    pub action: Action,
    /// Who sends; none for anyone. An empty list matches nobody.
    pub from: Option<Vec<S>>,
    /// Who receives; likewise. In an ingress rule this narrows the policy's own subject, in an
    /// egress rule `from` does.
    pub to: Option<Vec<S>>,
    /// What is sent: any of these; empty for anything.
    pub services: Vec<Service>,
    /// Return traffic is not admitted for what this rule allows, nor let through what it denies.
    pub stateless: bool,
    /// Every packet that the rule decides is reported, within the rate limit.
    pub log: bool,
}

/// The NetworkPolicy model, plus deny: isolates whom it selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy<S: Subject = AnySubject> {
    /// Name, unique in its namespace.
    pub name: String,
    /// Namespace; label subjects without namespaces search this one only.
    pub namespace: String,
    /// Whom it selects.
    pub subject: Arc<S>,
    /// What the selected may receive; none leaves ingress alone, empty isolates entirely.
    pub ingress: Option<Vec<Spanned<Rule<S>>>>,
    /// What the selected may send.
    pub egress: Option<Vec<Spanned<Rule<S>>>>,
    /// Where the text says so.
    pub location: Location,
}

/// When a tier is consulted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Before all others: deny lists that are in force for a while ([`crate::emergency`]). No document says it.
    Emergency,
    /// Before any `Policy`.
    #[default]
    Admin,
    /// After them, for ends that no `Policy` isolates.
    Baseline,
}

/// A tier: its policies are consulted as one ordered list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Name.
    pub name: String,
    /// Stage.
    pub stage: Stage,
    /// Lower is consulted first, within the stage. All documents of a tier agree on it.
    pub order: u32,
}

/// The AdminNetworkPolicy model: tiers in order, rules in order, first match decides.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPolicy<S: Subject = AnySubject> {
    /// Name, unique among cluster policies.
    pub name: String,
    /// Tier it belongs to.
    pub tier: Tier,
    /// Lower is consulted first, within the tier; equal orders by name.
    pub order: u32,
    /// Whom it applies to: the destination of ingress rules, the source of egress rules.
    pub subject: S,
    /// What the subject may receive.
    pub ingress: Vec<Spanned<Rule<S>>>,
    /// What the subject may send.
    pub egress: Vec<Spanned<Rule<S>>>,
    /// Where the text says so.
    pub location: Location,
}
