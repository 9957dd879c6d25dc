//! Which rule, or which default, a verdict goes back to.

use crate::inventory::DEFAULT_NAMESPACE;
use crate::rule::{Policy, Rule};
use crate::set::{PolicySet, Spanned};
use crate::subject::Subject;

/// Which end's policy is consulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// What the source may send.
    Egress,
    /// What the destination may receive.
    Ingress,
}

/// What decided about one end of a packet. Indices are positions in the [`crate::PolicySet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleRef {
    /// A rule of a `ClusterPolicy`.
    Cluster {
        /// Index in `cluster_policies`.
        policy: u32,
        /// Index in its `ingress` or `egress`.
        rule: u32,
    },
    /// A rule of a `Policy`.
    Policy {
        /// Index in `policies`.
        policy: u32,
        /// Index in its `ingress` or `egress`.
        rule: u32,
    },
    /// The end is isolated by this `Policy` (the first that selects it), and no rule allows the packet.
    Isolation {
        /// Index in `policies`.
        policy: u32,
    },
    /// A subject's default of the site.
    SubjectDefault {
        /// Index in `site.defaults.subjects`.
        index: u32,
    },
    /// The default for ARP and neighbour discovery.
    LinkControlDefault,
    /// The default for unparsed packets.
    UnparsedDefault,
    /// The default for everyone.
    Default,
}

impl RuleRef {
    /// Full name, as events and answers write it: `policy/rule`, `namespace/policy/rule` outside
    /// the default namespace, `policy/isolation`, `default/ingress`, `default/egress`,
    /// `default/link-control`, `default/unparsed`, `default/subject-N` with N counting from 0.
    #[must_use]
    pub fn name<S: Subject>(self, set: &PolicySet<S>, direction: Direction) -> String {
        let of_policy = |policy: &Policy<S>, rest: &str| {
            if policy.namespace == DEFAULT_NAMESPACE {
                [&policy.name, "/", rest].concat()
            } else {
                [&policy.namespace, "/", &policy.name, "/", rest].concat()
            }
        };
        let named = match self {
            Self::Cluster { policy, .. } => set
                .cluster_policies
                .get(policy as usize)
                .and_then(|policy| Some([&policy.name, "/", &self.rule(set, direction)?.name].concat())),
            Self::Policy { policy, .. } => set
                .policies
                .get(policy as usize)
                .and_then(|policy| Some(of_policy(policy, &self.rule(set, direction)?.name))),
            Self::Isolation { policy } => {
                set.policies.get(policy as usize).map(|policy| of_policy(policy, "isolation"))
            }
            Self::SubjectDefault { index } => Some(format!("default/subject-{index}")),
            Self::LinkControlDefault => Some("default/link-control".to_owned()),
            Self::UnparsedDefault => Some("default/unparsed".to_owned()),
            Self::Default => Some(match direction {
                Direction::Egress => "default/egress".to_owned(),
                Direction::Ingress => "default/ingress".to_owned(),
            }),
        };
        // Only a reference into another set gets here.
        named.unwrap_or_else(|| format!("unknown/{self:?}"))
    }

    /// Tier: that of the `ClusterPolicy`, `policy` for `Policy` documents, `default` for defaults.
    #[must_use]
    pub fn tier<S: Subject>(self, set: &PolicySet<S>) -> &str {
        match self {
            Self::Cluster { policy, .. } => {
                set.cluster_policies.get(policy as usize).map_or("unknown", |policy| &policy.tier.name)
            }
            Self::Policy { .. } | Self::Isolation { .. } => POLICY_TIER,
            Self::SubjectDefault { .. } | Self::LinkControlDefault | Self::UnparsedDefault | Self::Default => {
                DEFAULT_TIER
            }
        }
    }

    /// The rule, where one is meant.
    #[must_use]
    pub fn rule<S: Subject>(self, set: &PolicySet<S>, direction: Direction) -> Option<&Spanned<Rule<S>>> {
        match self {
            Self::Cluster { policy, rule } => {
                set.cluster_policies.get(policy as usize)?.rules(direction).get(rule as usize)
            }
            Self::Policy { policy, rule } => set.policies.get(policy as usize)?.rules(direction)?.get(rule as usize),
            _ => None,
        }
    }
}

/// What [`RuleRef::tier`] says of `Policy` documents.
pub const POLICY_TIER: &str = "policy";

/// What [`RuleRef::tier`] says of defaults.
pub const DEFAULT_TIER: &str = "default";

/// What the tier of deny lists is called.
pub const EMERGENCY_TIER: &str = "emergency";
