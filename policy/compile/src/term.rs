//! Services as products of sets over the index spaces of [`gabion_abi::tables`].

use gabion_abi::facts::{ETHERTYPE_ARP, ETHERTYPE_LLC, protocol};
use gabion_abi::tables::{FLAGS_NONE, VID_NONE, detail, kind};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{FragmentMatch, PortMatch, Service, Vlan};

/// Fields of a term, in the order of [`Term::fields`].
pub(crate) const FIELDS: usize = 7;
/// Sizes of the index spaces, by field.
pub(crate) const SPACES: [u32; FIELDS] =
    [kind::COUNT, detail::COUNT, 65_537, FLAGS_NONE + 1, VID_NONE + 1, VID_NONE + 1, 65_536];

pub(crate) const KIND: usize = 0;
pub(crate) const DETAIL: usize = 1;
pub(crate) const SOURCE_PORT: usize = 2;
pub(crate) const FLAGS: usize = 3;
pub(crate) const VLAN_OUTER: usize = 4;
pub(crate) const VLAN_INNER: usize = 5;
pub(crate) const ETHERTYPE: usize = 6;

/// A product of sets: all fields must be in theirs; `None` is the whole space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Term {
    pub fields: [Option<RangeSet>; FIELDS],
}

impl Term {
    fn narrow(&mut self, field: usize, set: &RangeSet) {
        let slot = &mut self.fields[field];
        *slot = Some(slot.as_ref().map_or_else(|| set.clone(), |old| old.intersection(set)));
    }

    /// Ranges of all fields.
    pub fn ranges(&self) -> usize {
        self.fields.iter().flatten().map(|set| set.iter().count()).sum()
    }

    /// What is in both; none when nothing is.
    pub fn intersection(mut self, other: &Self) -> Option<Self> {
        for (field, set) in other.fields.iter().enumerate() {
            if let Some(set) = set {
                self.narrow(field, set);
            }
        }
        self.possible()
    }

    fn possible(self) -> Option<Self> {
        let empty = self.fields.iter().flatten().any(RangeSet::is_empty);
        (!empty).then_some(self)
    }
}

fn range(low: u32, high: u32) -> RangeSet {
    RangeSet::from_range(low..=high)
}

fn kinds_of(protocols: &RangeSet, fragments: &[u32]) -> RangeSet {
    let mut kinds = RangeSet::new();
    for &fragment in fragments {
        for (low, high) in protocols.iter() {
            kinds.insert(kind::IP + fragment * 256 + low..=kind::IP + fragment * 256 + high.min(255));
        }
    }
    // Neighbour discovery is ICMPv6 in one piece.
    if fragments.contains(&0) && protocols.contains(u32::from(protocol::ICMPV6)) {
        kinds.insert(kind::DISCOVERY..=kind::DISCOVERY);
    }
    kinds
}

/// All packets that could not be parsed.
pub(crate) fn unparsed() -> Term {
    let mut term = Term::default();
    term.narrow(KIND, &range(kind::UNPARSED, kind::OTHER - 1));
    term
}

/// ARP and neighbour discovery.
pub(crate) fn link_control() -> Vec<Term> {
    let mut arp = Term::default();
    arp.narrow(ETHERTYPE, &range(u32::from(ETHERTYPE_ARP), u32::from(ETHERTYPE_ARP)));
    arp.narrow(KIND, &parsed_kinds());
    let mut discovery = Term::default();
    discovery.narrow(KIND, &range(kind::DISCOVERY, kind::DISCOVERY));
    vec![arp, discovery]
}

fn parsed_kinds() -> RangeSet {
    let mut kinds = range(0, kind::COUNT - 1);
    kinds.remove(kind::UNPARSED..=kind::OTHER - 1);
    kinds
}

fn not_arp() -> RangeSet {
    let mut set = range(0, 65_535);
    set.remove(u32::from(ETHERTYPE_ARP)..=u32::from(ETHERTYPE_ARP));
    set
}

fn vids(vlan: &Vlan) -> RangeSet {
    match vlan {
        Vlan::Untagged => range(VID_NONE, VID_NONE),
        Vlan::Ids(ids) => ids.intersection(&range(0, VID_NONE - 1)),
    }
}

/// The term of a service, as `docs/policy.md` defines it; none when nothing matches. `named` is what a port
/// name stands for at the destinations in question: protocol and number.
pub(crate) fn of_service(service: &Service, named: Option<(u8, RangeSet)>) -> Option<Term> {
    let mut term = Term::default();
    if let Some(ethertypes) = &service.ether_types {
        term.narrow(ETHERTYPE, ethertypes);
    }
    if let Some(vlan) = &service.vlan {
        term.narrow(VLAN_OUTER, &vids(vlan));
    }
    if let Some(vlan) = &service.inner_vlan {
        term.narrow(VLAN_INNER, &vids(vlan));
    }
    if let Some(reasons) = &service.unparsed {
        if service.speaks_beyond_link() {
            return None;
        }
        let mut kinds = RangeSet::new();
        for (low, high) in reasons.iter() {
            kinds.insert(kind::UNPARSED + low.min(63)..=kind::UNPARSED + high.min(63));
        }
        term.narrow(KIND, &kinds);
        return term.possible();
    }
    let mut kinds = parsed_kinds();
    if service.icmp.is_none() {
        kinds.remove(kind::DISCOVERY..=kind::DISCOVERY);
    }
    term.narrow(KIND, &kinds);
    if service.ether_types.is_none() {
        term.narrow(ETHERTYPE, &not_arp());
    }
    if let Some(llc) = service.llc {
        term.narrow(ETHERTYPE, &range(u32::from(ETHERTYPE_LLC), u32::from(ETHERTYPE_LLC)));
        term.narrow(DETAIL, &range(detail::LLC + u32::from(llc), detail::LLC + u32::from(llc)));
    }
    let all_protocols = range(0, 255);
    if let Some(protocols) = &service.protocols {
        term.narrow(KIND, &kinds_of(protocols, &[0, 1, 2]));
    }
    if let Some((protocol, numbers)) = &named {
        let protocol = u32::from(*protocol);
        term.narrow(KIND, &kinds_of(&range(protocol, protocol), &[0, 1]));
        term.narrow(DETAIL, &ports(numbers));
    } else if let Some(PortMatch::Numbers(numbers)) = &service.ports {
        term.narrow(DETAIL, &ports(numbers));
    }
    if let Some(numbers) = &service.source_ports {
        term.narrow(SOURCE_PORT, &numbers.intersection(&range(0, 65_535)));
    }
    if let Some(icmp) = &service.icmp {
        let mut details = RangeSet::new();
        for (low, high) in icmp.iter() {
            details.insert(detail::ICMP + low.min(65_535)..=detail::ICMP + high.min(65_535));
        }
        term.narrow(DETAIL, &details);
    }
    if let Some(flags) = &service.tcp_flags {
        let mut bytes = RangeSet::new();
        for byte in (0..=255u8).filter(|byte| byte & flags.mask == flags.value) {
            bytes.insert(u32::from(byte)..=u32::from(byte));
        }
        term.narrow(FLAGS, &bytes);
    }
    if let Some(fragments) = service.fragments {
        let states: &[u32] = match fragments {
            FragmentMatch::None => &[0],
            FragmentMatch::Any => &[1, 2],
            FragmentMatch::First => &[1],
            FragmentMatch::Later => &[2],
        };
        term.narrow(KIND, &kinds_of(&all_protocols, states));
    }
    term.possible()
}

fn ports(numbers: &RangeSet) -> RangeSet {
    let mut details = RangeSet::new();
    for (low, high) in numbers.iter() {
        details.insert(detail::PORT + low.min(65_535)..=detail::PORT + high.min(65_535));
    }
    details
}
