//! What a rule says about the packet itself.

use crate::range::RangeSet;

/// One way to match a packet: every field that is there must match.
///
/// Three kinds of packet are judged only by services that name them, so that a broad rule never
/// decides about them by accident: unparsed packets (`unparsed`), ARP (`ether_types`) and IPv6
/// neighbour discovery (`icmp`). See `docs/policy.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// EtherTypes after VLAN tags.
    pub ether_types: Option<RangeSet>,
    /// DSAP << 8 | SSAP of LLC frames.
    pub llc: Option<u16>,
    /// Outer VLAN tag.
    pub vlan: Option<Vlan>,
    /// Inner VLAN tag (QinQ).
    pub inner_vlan: Option<Vlan>,
    /// IP protocol numbers; IP packets only.
    pub protocols: Option<RangeSet>,
    /// Destination ports; matches only packets that carry ports.
    pub ports: Option<PortMatch>,
    /// Source ports.
    pub source_ports: Option<RangeSet>,
    /// ICMP (1) and ICMPv6 (58) type and code, as `type << 8 | code`.
    pub icmp: Option<RangeSet>,
    /// TCP flags: `flags & mask == value`.
    pub tcp_flags: Option<FlagMatch>,
    /// Fragment states.
    pub fragments: Option<FragmentMatch>,
    /// Unparsed packets, by reason (numbers of [`gabion_abi::facts::unparsed`]).
    pub unparsed: Option<RangeSet>,
}

/// A VLAN tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Vlan {
    /// No such tag.
    Untagged,
    /// One of these VIDs; 0 is a priority tag.
    Ids(RangeSet),
}

/// Destination ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortMatch {
    /// By number.
    Numbers(RangeSet),
    /// By the name that the destination's inventory entry gives it, with the protocol that it names
    /// there. If `protocols` of the service is there too, it must agree.
    Named(String),
}

/// TCP flags under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagMatch {
    /// Bits that are looked at.
    pub mask: u8,
    /// What they must be.
    pub value: u8,
}

/// Fragment states that a service matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FragmentMatch {
    /// Whole packets only.
    None,
    /// Fragments of either kind.
    Any,
    /// First fragments.
    First,
    /// Later fragments.
    Later,
}
