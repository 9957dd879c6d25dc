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

impl Service {
    /// Whether a field says something about what stands behind EtherType and VLAN tags. Beside `unparsed` such a field
    /// matches nothing: what stands behind the fault is not known.
    #[must_use]
    pub const fn speaks_beyond_link(&self) -> bool {
        self.llc.is_some()
            || self.protocols.is_some()
            || self.ports.is_some()
            || self.source_ports.is_some()
            || self.icmp.is_some()
            || self.tcp_flags.is_some()
            || self.fragments.is_some()
    }

    /// Whether the fields contradict each other, so that no packet can match. Says nothing about
    /// named ports, which depend on the inventory.
    #[must_use]
    pub fn matches_nothing(&self) -> bool {
        use gabion_abi::facts::{self, protocol};

        let empty = |set: &Option<RangeSet>| set.as_ref().is_some_and(RangeSet::is_empty);
        let lacks = |set: &Option<RangeSet>, wanted: &[u32]| {
            set.as_ref().is_some_and(|set| !wanted.iter().any(|&number| set.contains(number)))
        };
        let no_vlan = |vlan: &Option<Vlan>| matches!(vlan, Some(Vlan::Ids(ids)) if ids.is_empty());
        let no_port = matches!(&self.ports, Some(PortMatch::Numbers(numbers)) if numbers.is_empty());
        if [&self.ether_types, &self.protocols, &self.source_ports, &self.icmp, &self.unparsed].into_iter().any(empty)
            || no_vlan(&self.vlan)
            || no_vlan(&self.inner_vlan)
            || no_port
            || (self.vlan == Some(Vlan::Untagged) && matches!(self.inner_vlan, Some(Vlan::Ids(_))))
            || self.tcp_flags.is_some_and(|flags| flags.value & !flags.mask != 0)
        {
            return true;
        }
        let ports = self.ports.is_some() || self.source_ports.is_some();
        let transport = ports || self.icmp.is_some() || self.tcp_flags.is_some();
        let ip = transport || self.protocols.is_some() || self.fragments.is_some();
        if self.unparsed.is_some() {
            let reasons = 1..u32::from(facts::unparsed::COUNT);
            return ip || self.llc.is_some() || lacks(&self.unparsed, &reasons.collect::<Vec<_>>());
        }
        let with_ports =
            [protocol::TCP, protocol::UDP, protocol::DCCP, protocol::SCTP, protocol::UDPLITE].map(u32::from);
        (ip && (self.llc.is_some()
            || lacks(&self.ether_types, &[facts::ETHERTYPE_IPV4.into(), facts::ETHERTYPE_IPV6.into()])))
            || (self.llc.is_some() && lacks(&self.ether_types, &[facts::ETHERTYPE_LLC.into()]))
            || (transport && self.fragments == Some(FragmentMatch::Later))
            || (self.icmp.is_some() && (ports || self.tcp_flags.is_some()))
            || (self.icmp.is_some() && lacks(&self.protocols, &[protocol::ICMP.into(), protocol::ICMPV6.into()]))
            || (ports && lacks(&self.protocols, &with_ports))
            || (self.tcp_flags.is_some() && lacks(&self.protocols, &[protocol::TCP.into()]))
    }
}
