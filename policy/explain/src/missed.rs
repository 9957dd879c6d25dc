//! In which fields a rule misses a packet.
//!
//! A field is tried by asking the oracle about a service that has this field only, so that there is
//! no second opinion about what a field means.

use gabion_abi::facts::{self, Facts};
use gabion_policy_model::PolicySet;
use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::Inventory;
use gabion_policy_model::oracle::{self, service_matches};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::service::{FragmentMatch, PortMatch, Service, Vlan};
use gabion_policy_model::subject::{End, Extent, Subject};
use gabion_policy_model::trace::Direction;
use serde::Serialize;

use crate::names;
use crate::packet::Packet;

/// A field of a rule that does not match the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Field as policy text writes it: `subject`, `from`, `to`, `ports`, `protocol`, ...
    pub field: &'static str,
    /// What the rule wants there.
    pub wants: String,
    /// What the packet has there.
    pub has: String,
}

/// How far a miss keeps a rule from matching: who counts for more than one field of what.
pub(crate) fn distance(missed: &[Missed]) -> usize {
    missed.iter().map(|missed| if matches!(missed.field, "subject" | "from" | "to") { 2 } else { 1 }).sum()
}

/// What rules are compared with.
pub(crate) struct Comparison<'a, 'i, S: Subject> {
    pub set: &'a PolicySet<S>,
    pub packet: &'a Packet<'a>,
    pub typed: oracle::Packet<'a>,
    pub index: &'a Index<'i>,
    /// What the inventory says of the packet's ends.
    known: &'a Inventory,
}

/// What the inventory says of a packet's ends, to be kept beside a [`Comparison`].
pub(crate) fn at_ends(inventory: &Inventory, packet: &Packet<'_>) -> Inventory {
    oracle::at_ends(inventory, &packet.facts, packet.source_interface, packet.destination_interface)
}

impl<'a, 'i, S: Subject> Comparison<'a, 'i, S> {
    pub fn new(set: &'a PolicySet<S>, index: &'a Index<'i>, known: &'a Inventory, packet: &'a Packet<'a>) -> Self {
        let typed = oracle::Packet::new(known, &packet.facts, packet.source_interface, packet.destination_interface);
        Self { set, packet, typed, index, known }
    }

    /// Whether a policy speaks about the end that is asked in a direction.
    pub fn subject(&self, subject: &S, direction: Direction) -> Option<Missed> {
        (!subject.carried_by(self.typed.end(direction), self.known)).then(|| Missed {
            field: "subject",
            wants: subject.describe(),
            has: self.end_as(std::slice::from_ref(subject), direction),
        })
    }

    /// All fields of a rule that miss; none when the rule matches.
    pub fn rule(&self, rule: &Rule<S>) -> Vec<Missed> {
        let mut missed = Vec::new();
        missed.extend(self.peers("from", rule.from.as_deref(), &self.typed.source, Direction::Egress));
        missed.extend(self.peers("to", rule.to.as_deref(), &self.typed.destination, Direction::Ingress));
        if rule.services.is_empty() {
            missed.extend(self.unnamed());
        } else if !rule.services.iter().any(|service| service_matches(service, &self.typed)) {
            let nearest = rule.services.iter().map(|service| self.service(service)).min_by_key(Vec::len);
            missed.extend(nearest.unwrap_or_default());
        }
        missed
    }

    fn peers(&self, field: &'static str, peers: Option<&[S]>, end: &End<'_>, side: Direction) -> Option<Missed> {
        const SHOWN: usize = 4;
        let peers = peers?;
        if peers.iter().any(|peer| peer.carried_by(end, self.known)) {
            return None;
        }
        let mut wants: Vec<_> = peers.iter().take(SHOWN).map(Subject::describe).collect();
        if peers.is_empty() {
            wants.push("nobody".to_owned());
        } else if peers.len() > SHOWN {
            wants.push(format!("{} more", peers.len() - SHOWN));
        }
        Some(Missed { field, wants: wants.join(" or "), has: self.end_as(peers, side) })
    }

    /// An end as subjects look at it: only interfaces are compared with interfaces.
    fn end_as(&self, subjects: &[S], side: Direction) -> String {
        let by_interface = |subject: &S| {
            let extents = subject.extents(self.index);
            let plain = Extent::default();
            !extents.is_empty()
                && extents.iter().all(|e| *e == Extent { interfaces: e.interfaces.clone(), ..plain.clone() })
        };
        if subjects.is_empty() || !subjects.iter().all(by_interface) {
            return self.packet.end_name(side);
        }
        match self.typed.end(side).interface {
            Some(name) => format!("interface {name}"),
            None => "no interface that is known".to_owned(),
        }
    }

    /// A rule without services is not asked about packets that must be named.
    fn unnamed(&self) -> Option<Missed> {
        let f = self.typed.facts;
        let (field, wants) = if f.unparsed != facts::unparsed::NONE {
            ("unparsed", "a service that names it (any rule without one leaves unparsed packets to the default)")
        } else if !f.is_link_control() {
            return None;
        } else if f.ethertype == facts::ETHERTYPE_ARP {
            ("etherType", "a service that names it (any rule without one leaves ARP to the default)")
        } else {
            ("icmp", "a service that names it (any rule without one leaves neighbour discovery to the default)")
        };
        Some(Missed { field, wants: wants.to_owned(), has: self.packet.content() })
    }

    fn service(&self, service: &Service) -> Vec<Missed> {
        let named = naming(self.typed.facts);
        let unnamed = match (&named, service) {
            (Some(Named::Unparsed), Service { unparsed: None, .. })
            | (Some(Named::Arp), Service { ether_types: None, .. })
            | (Some(Named::Discovery), Service { icmp: None, .. }) => self.unnamed(),
            _ => None,
        };
        let parts = parts(service).into_iter().filter(|(_, part)| {
            let mut part = part.clone();
            let all = |highest| Some(RangeSet::from_range(0..=highest));
            match named {
                Some(Named::Unparsed) if part.unparsed.is_none() => part.unparsed = all(u32::from(u8::MAX)),
                Some(Named::Arp) if part.ether_types.is_none() => part.ether_types = all(u32::from(u16::MAX)),
                Some(Named::Discovery) if part.icmp.is_none() => part.icmp = all(u32::from(u16::MAX)),
                _ => {}
            }
            !service_matches(&part, &self.typed)
        });
        let missed = parts.map(|(field, part)| Missed {
            field,
            wants: wanted(&part),
            has: found(field, self.typed.facts, self.packet),
        });
        unnamed.into_iter().chain(missed).collect()
    }
}

enum Named {
    Unparsed,
    Arp,
    Discovery,
}

fn naming(facts: &Facts) -> Option<Named> {
    if facts.unparsed != facts::unparsed::NONE {
        Some(Named::Unparsed)
    } else if !facts.is_link_control() {
        None
    } else if facts.ethertype == facts::ETHERTYPE_ARP {
        Some(Named::Arp)
    } else {
        Some(Named::Discovery)
    }
}

/// A service for each field of a service.
fn parts(service: &Service) -> Vec<(&'static str, Service)> {
    let Service {
        ether_types,
        llc,
        vlan,
        inner_vlan,
        protocols,
        ports,
        source_ports,
        icmp,
        tcp_flags,
        fragments,
        unparsed,
    } = service.clone();
    let mut parts = Vec::new();
    macro_rules! part {
        ($name:literal, $field:ident) => {
            if $field.is_some() {
                parts.push(($name, Service { $field, ..Service::default() }));
            }
        };
    }
    part!("unparsed", unparsed);
    part!("etherType", ether_types);
    part!("llc", llc);
    part!("vlan", vlan);
    part!("innerVlan", inner_vlan);
    part!("protocol", protocols);
    part!("ports", ports);
    part!("sourcePorts", source_ports);
    part!("icmp", icmp);
    part!("tcpFlags", tcp_flags);
    part!("fragments", fragments);
    parts
}

fn ranges(set: &RangeSet, show: impl Fn(u32) -> String) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<_> = set
        .iter()
        .take(SHOWN)
        .map(|(low, high)| if low == high { show(low) } else { format!("{}-{}", show(low), show(high)) })
        .collect();
    if set.iter().nth(SHOWN).is_some() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// The only field of a service, as people read it.
fn wanted(part: &Service) -> String {
    let vlan = |vlan: &Vlan| match vlan {
        Vlan::Untagged => "untagged".to_owned(),
        Vlan::Ids(ids) => ranges(ids, |id| id.to_string()),
    };
    if let Some(set) = &part.unparsed {
        let name = |reason: u32| (*facts::unparsed::NAMES.get(reason as usize).unwrap_or(&"unknown")).to_owned();
        ranges(set, name)
    } else if let Some(set) = &part.ether_types {
        ranges(set, |number| names::ether_type_name(number as u16))
    } else if let Some(llc) = part.llc {
        format!("0x{:02x}/0x{:02x}", llc >> 8, llc & 0xff)
    } else if let Some(tag) = part.vlan.as_ref().or(part.inner_vlan.as_ref()) {
        vlan(tag)
    } else if let Some(set) = &part.protocols {
        ranges(set, |number| names::protocol_name(number as u8))
    } else if let Some(PortMatch::Named(name)) = &part.ports {
        format!("the destination's port {name}")
    } else if let Some(PortMatch::Numbers(set)) = &part.ports {
        ranges(set, |port| port.to_string())
    } else if let Some(set) = &part.source_ports {
        ranges(set, |port| port.to_string())
    } else if let Some(set) = &part.icmp {
        ranges(set, |number| format!("{}/{}", number >> 8, number & 0xff))
    } else if let Some(flags) = part.tcp_flags {
        format!("{} of {}", names::flag_names(flags.value), names::flag_names(flags.mask))
    } else {
        match part.fragments {
            Some(FragmentMatch::None) => "whole packets",
            Some(FragmentMatch::Any) => "fragments",
            Some(FragmentMatch::First) => "first fragments",
            Some(FragmentMatch::Later) => "later fragments",
            None => "anything",
        }
        .to_owned()
    }
}

/// What the packet has where a field looks.
fn found(field: &str, f: &Facts, packet: &Packet<'_>) -> String {
    let vlan = |vid: u16| if vid == facts::VLAN_NONE { "untagged".to_owned() } else { vid.to_string() };
    let with_ports = f.transport == facts::TRANSPORT_PORTS;
    match field {
        "etherType" => names::ether_type_name(f.ethertype),
        "vlan" => vlan(f.vlan_outer),
        "innerVlan" => vlan(f.vlan_inner),
        "protocol" if f.family != facts::FAMILY_NONE => names::protocol_name(f.protocol),
        "ports" if with_ports => f.destination_port.to_string(),
        "sourcePorts" if with_ports => f.source_port.to_string(),
        "icmp" if f.transport == facts::TRANSPORT_ICMP => format!("{}/{}", f.icmp_type, f.icmp_code),
        "tcpFlags" if f.protocol == facts::protocol::TCP => names::flag_names(f.tcp_flags),
        "fragments" if f.family != facts::FAMILY_NONE => match f.fragment {
            facts::FRAGMENT_FIRST => "a first fragment".to_owned(),
            facts::FRAGMENT_LATER => "a later fragment".to_owned(),
            _ => "a whole packet".to_owned(),
        },
        _ => packet.content(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use gabion_policy_model::oracle::rule_matches;

    use super::*;
    use crate::packet::{Asked, Place};

    /// A rule misses in some field exactly when the oracle says that it does not match.
    #[test]
    fn a_rule_matches_exactly_when_it_misses_nowhere() {
        let mut tried = [0usize; 2];
        for seed in 1..=400 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let set = gabion_testing_oracle::policy_set(&mut rng);
            let index = Index::new(&set.inventory);
            for _ in 0..40 {
                let sent = gabion_testing_oracle::packet(&mut rng);
                let packet = Packet {
                    facts: sent.facts,
                    source_interface: sent.source_interface,
                    destination_interface: sent.destination_interface,
                    asked: Asked::BOTH,
                    place: Place::EndToEnd,
                    assumed: Vec::new(),
                };
                let known = super::at_ends(&set.inventory, &packet);
                let comparison = Comparison::new(&set, &index, &known, &packet);
                let of_policies = set.policies.iter().flat_map(|p| p.ingress.iter().chain(&p.egress).flatten());
                let of_tiers = set.cluster_policies.iter().flat_map(|p| p.ingress.iter().chain(&p.egress));
                for rule in of_policies.chain(of_tiers) {
                    let matches = rule_matches(rule, &comparison.typed);
                    let missed = comparison.rule(rule);
                    assert_eq!(missed.is_empty(), matches, "seed {seed}: {missed:?} of {rule:#?}\nfor {sent:#?}");
                    tried[usize::from(matches)] += 1;
                }
            }
        }
        assert!(tried.iter().all(|&count| count > 1_000), "{tried:?}");
    }
}
