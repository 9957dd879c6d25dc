//! Whether two things certainly have something in common. "No" may also mean "not known".

use gabion_abi::facts;

use super::cover::{self, names_arp, names_discovery};
use crate::range::RangeSet;
use crate::service::{FlagMatch, FragmentMatch, PortMatch, Service, Vlan};
use crate::subject::{AnySubject, Cidr};

/// Whether someone is in all of these sets of subjects. Certain for address blocks, and for sets
/// that are alike; blocks and identities are not compared, because who has which address changes.
pub(super) fn ends(sets: &[&[AnySubject]]) -> bool {
    let mut narrow: Vec<&[AnySubject]> = Vec::new();
    for set in sets {
        if !set.iter().any(cover::is_any) && !narrow.contains(set) {
            narrow.push(set);
        }
    }
    match narrow[..] {
        [] => true,
        [only] => !only.is_empty(),
        _ => blocks(&narrow, None),
    }
}

/// Whether blocks, one of each set, lie inside each other with an address outside all exceptions.
fn blocks(sets: &[&[AnySubject]], inside: Option<&Cidr>) -> bool {
    let Some((first, rest)) = sets.split_first() else { return true };
    first.iter().any(|subject| {
        let AnySubject::Cidr(cidr) = subject else { return false };
        let narrower = match inside {
            None => cidr,
            Some(other) if other.block.contains(&cidr.block) => cidr,
            Some(other) if cidr.block.contains(&other.block) => other,
            Some(_) => return false,
        };
        // With exceptions near, an address in common is not certain.
        let free =
            |of: &Cidr| of.except.iter().all(|hole| !hole.contains(&narrower.block) && !narrower.block.contains(hole));
        free(cidr) && inside.is_none_or(free) && blocks(rest, Some(narrower))
    })
}

/// Whether some packet is matched by one of each of two lists of services.
pub(super) fn services(a: &[Service], b: &[Service]) -> bool {
    let anything = [Service::default()];
    let a = if a.is_empty() { &anything } else { a };
    let b = if b.is_empty() { &anything } else { b };
    a.iter().any(|a| b.iter().any(|b| service(a, b)))
}

fn service(a: &Service, b: &Service) -> bool {
    if a.unparsed.is_some() != b.unparsed.is_some() {
        return false;
    }
    // What only a service that names it matches is no common ground with one that does not.
    if (names_arp(a) || names_arp(b)) && a.ether_types.is_some() != b.ether_types.is_some() {
        return false;
    }
    if (names_discovery(a) || names_discovery(b)) && a.icmp.is_some() != b.icmp.is_some() {
        return false;
    }
    both(a, b).is_some_and(|both| !both.matches_nothing() && !both.needs_version())
}

impl Service {
    /// EtherType and protocol together might fit no version of IP: not certain enough.
    fn needs_version(&self) -> bool {
        let one_version = self.ether_types.as_ref().is_some_and(|types| {
            types.contains(facts::ETHERTYPE_IPV4.into()) != types.contains(facts::ETHERTYPE_IPV6.into())
        });
        one_version && self.icmp.is_some()
    }
}

fn both(a: &Service, b: &Service) -> Option<Service> {
    Some(Service {
        ether_types: ranges(&a.ether_types, &b.ether_types),
        llc: same(a.llc, b.llc)?,
        vlan: vlan(&a.vlan, &b.vlan)?,
        inner_vlan: vlan(&a.inner_vlan, &b.inner_vlan)?,
        protocols: ranges(&a.protocols, &b.protocols),
        ports: match (&a.ports, &b.ports) {
            (None, other) | (other, None) => other.clone(),
            (Some(PortMatch::Numbers(a)), Some(PortMatch::Numbers(b))) => Some(PortMatch::Numbers(a.intersection(b))),
            (a, b) if a == b => a.clone(),
            _ => return None,
        },
        source_ports: ranges(&a.source_ports, &b.source_ports),
        icmp: ranges(&a.icmp, &b.icmp),
        tcp_flags: match (a.tcp_flags, b.tcp_flags) {
            (None, other) | (other, None) => other,
            (Some(a), Some(b)) if (a.value ^ b.value) & a.mask & b.mask == 0 => {
                Some(FlagMatch { mask: a.mask | b.mask, value: a.value | b.value })
            }
            _ => return None,
        },
        fragments: match (a.fragments, b.fragments) {
            (None | Some(FragmentMatch::Any), Some(FragmentMatch::First)) => Some(FragmentMatch::First),
            (Some(FragmentMatch::First), None | Some(FragmentMatch::Any)) => Some(FragmentMatch::First),
            (None | Some(FragmentMatch::Any), Some(FragmentMatch::Later)) => Some(FragmentMatch::Later),
            (Some(FragmentMatch::Later), None | Some(FragmentMatch::Any)) => Some(FragmentMatch::Later),
            (a, b) => same(a, b)?,
        },
        unparsed: ranges(&a.unparsed, &b.unparsed),
    })
}

fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other),
        (a, b) if a == b => Some(a),
        _ => None,
    }
}

fn ranges(a: &Option<RangeSet>, b: &Option<RangeSet>) -> Option<RangeSet> {
    match (a, b) {
        (None, other) | (other, None) => other.clone(),
        (Some(a), Some(b)) => Some(a.intersection(b)),
    }
}

fn vlan(a: &Option<Vlan>, b: &Option<Vlan>) -> Option<Option<Vlan>> {
    match (a, b) {
        (Some(Vlan::Ids(a)), Some(Vlan::Ids(b))) => Some(Some(Vlan::Ids(a.intersection(b)))),
        (a, b) => same(a.clone(), b.clone()),
    }
}
