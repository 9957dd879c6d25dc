//! Which rule, or which default, a verdict goes back to.

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
