//! Kinds of packet: IPv4, IPv6, and frames without an IP header. Whether a rule speaks of one at all.

use gabion_abi::facts::{self, protocol};

use crate::rule::Rule;
use crate::service::Service;
use crate::subject::AnySubject;
use crate::trace::Direction;

/// Kinds as bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kinds(u8);

const V4: Kinds = Kinds(1);
const V6: Kinds = Kinds(2);
const FRAME: Kinds = Kinds(4);
const NONE: Kinds = Kinds(0);
const ALL: Kinds = Kinds(7);

impl Kinds {
    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn describe(self) -> &'static str {
        match (self.and(V4) == V4, self.and(V6) == V6, self.and(FRAME) == FRAME) {
            (true, false, false) => "IPv4",
            (false, true, false) => "IPv6",
            (true, true, false) => "IP",
            (false, false, true) => "frames without an IP header",
            (false, false, false) => "no one kind",
            _ => "several kinds",
        }
    }
}

/// Why no packet can match a rule of a document for `subject`: what it says about the source, the destination and the
/// packet is never true together.
pub(super) fn apart(rule: &Rule, direction: Direction, subject: &AnySubject) -> Option<String> {
    let own = std::slice::from_ref(subject);
    let (mut source, mut destination) = (peers(rule.from.as_deref()), peers(rule.to.as_deref()));
    match direction {
        Direction::Egress => source = source.and(peers(Some(own))),
        Direction::Ingress => destination = destination.and(peers(Some(own))),
    }
    let service = if rule.services.is_empty() {
        ALL
    } else {
        let possible = rule.services.iter().filter(|service| !service.matches_nothing());
        possible.map(kinds_of).fold(NONE, Kinds::or)
    };
    // Peers that name nobody are reported as that.
    let nobody = |peers: &Option<Vec<AnySubject>>| peers.as_ref().is_some_and(Vec::is_empty);
    if nobody(&rule.from) || nobody(&rule.to) || source.and(destination).and(service) != NONE {
        return None;
    }
    Some(format!(
        "its source is of {}, its destination of {}, its services of {}",
        source.describe(),
        destination.describe(),
        service.describe()
    ))
}

/// Kinds of packet whose end one of these can be. Who carries an identity changes, so that it can be any.
fn peers(peers: Option<&[AnySubject]>) -> Kinds {
    let Some(peers) = peers else { return ALL };
    let one = |subject: &AnySubject| match subject {
        AnySubject::Cidr(cidr) if cidr.block.addr().is_ipv4() => V4,
        AnySubject::Cidr(_) => V6,
        _ => ALL,
    };
    peers.iter().map(one).fold(NONE, Kinds::or)
}

fn kinds_of(service: &Service) -> Kinds {
    let mut kinds = ALL;
    if let Some(types) = &service.ether_types {
        let of = |number: u16, kind: Kinds| if types.contains(number.into()) { kind } else { NONE };
        let ip = of(facts::ETHERTYPE_IPV4, V4).or(of(facts::ETHERTYPE_IPV6, V6));
        let others = types.iter().any(|(low, high)| {
            (low..=high)
                .any(|number| number != u32::from(facts::ETHERTYPE_IPV4) && number != u32::from(facts::ETHERTYPE_IPV6))
        });
        kinds = if others { ip.or(FRAME) } else { ip };
    }
    if service.unparsed.is_some() {
        // What could be read of such a packet depends on where its fault is.
        return ALL;
    }
    if service.llc.is_some() {
        return kinds.and(FRAME);
    }
    let transport = service.ports.is_some() || service.source_ports.is_some() || service.tcp_flags.is_some();
    if transport || service.icmp.is_some() || service.protocols.is_some() || service.fragments.is_some() {
        kinds = kinds.and(V4.or(V6));
    }
    if service.icmp.is_some()
        && let Some(protocols) = &service.protocols
    {
        let of = |number: u8, kind: Kinds| if protocols.contains(number.into()) { kind } else { NONE };
        kinds = kinds.and(of(protocol::ICMP, V4).or(of(protocol::ICMPV6, V6)));
    }
    kinds
}
