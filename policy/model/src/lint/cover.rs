//! Whether one thing certainly covers another. "No" may also mean "not known".

use gabion_abi::facts;

use crate::range::RangeSet;
use crate::service::{FragmentMatch, PortMatch, Service, Vlan};
use crate::subject::{AnySubject, Cidr, LabelSelector, Labels, Namespaces, ServiceAccount, SpiffeMatch, SpiffePath};

/// Whether everyone in `inner` is in `outer`; none is anyone.
pub(super) fn peers(outer: Option<&[AnySubject]>, inner: Option<&[AnySubject]>) -> bool {
    let Some(outer) = outer else { return true };
    match inner {
        None => outer.iter().any(is_any),
        Some(inner) => inner.iter().all(|b| outer.iter().any(|a| subject(a, b))),
    }
}

pub(super) fn is_any(subject: &AnySubject) -> bool {
    matches!(subject, AnySubject::Any(_))
}

/// Whether whoever carries `inner` carries `outer`.
pub(super) fn subject(outer: &AnySubject, inner: &AnySubject) -> bool {
    match (outer, inner) {
        (AnySubject::Any(_), _) => true,
        (AnySubject::Cidr(a), AnySubject::Cidr(b)) => cidr(a, b),
        (AnySubject::Labels(a), AnySubject::Labels(b)) => labels(a, b),
        (AnySubject::Labels(a), AnySubject::ServiceAccount(_) | AnySubject::Spiffe(_)) => *a == Labels::default(),
        (AnySubject::ServiceAccount(a), AnySubject::ServiceAccount(b)) => account(a, b),
        (AnySubject::Spiffe(a), AnySubject::Spiffe(b)) => spiffe(a, b),
        _ => outer == inner,
    }
}

fn cidr(a: &Cidr, b: &Cidr) -> bool {
    a.block.contains(&b.block)
        && a.except.iter().all(|hole| {
            let apart = !hole.contains(&b.block) && !b.block.contains(hole);
            apart || b.except.iter().any(|except| except.contains(hole))
        })
}

fn labels(a: &Labels, b: &Labels) -> bool {
    (a.namespaces == Namespaces::All || a.namespaces == b.namespaces) && selector(&a.selector, &b.selector)
}

fn selector(a: &LabelSelector, b: &LabelSelector) -> bool {
    a.match_labels.iter().all(|(key, value)| b.match_labels.get(key) == Some(value))
        && a.match_expressions.iter().all(|test| b.match_expressions.contains(test))
}

fn account(a: &ServiceAccount, b: &ServiceAccount) -> bool {
    a.name == b.name && (a.namespace.is_none() || a.namespace == b.namespace)
}

fn spiffe(a: &SpiffeMatch, b: &SpiffeMatch) -> bool {
    let below = |prefix: &str, path: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    a.trust_domain == b.trust_domain
        && match (&a.path, &b.path) {
            (SpiffePath::Any, _) => true,
            (SpiffePath::Exact(a), SpiffePath::Exact(b)) => a == b,
            (SpiffePath::Prefix(a), SpiffePath::Exact(b) | SpiffePath::Prefix(b)) => below(a, b),
            _ => false,
        }
}

/// Whether every packet that `inner` matches is matched by `outer`; empty lists match anything but
/// the three kinds that must be named.
pub(super) fn services(outer: &[Service], inner: &[Service]) -> bool {
    let anything = [Service::default()];
    let outer = if outer.is_empty() { &anything } else { outer };
    let inner = if inner.is_empty() { &anything } else { inner };
    inner.iter().all(|b| outer.iter().any(|a| service(a, b)))
}

fn ranges(a: &Option<RangeSet>, b: &Option<RangeSet>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => within(a, b),
    }
}

fn within(outer: &RangeSet, inner: &RangeSet) -> bool {
    outer.intersection(inner) == *inner
}

fn vlan(a: &Option<Vlan>, b: &Option<Vlan>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(Vlan::Untagged), Some(Vlan::Untagged)) => true,
        (Some(Vlan::Ids(a)), Some(Vlan::Ids(b))) => within(a, b),
        _ => false,
    }
}

fn service(a: &Service, b: &Service) -> bool {
    a.unparsed.is_some() == b.unparsed.is_some()
        && ranges(&a.unparsed, &b.unparsed)
        && (!names_arp(b) || a.ether_types.is_some())
        && (!names_discovery(b) || a.icmp.is_some())
        && ranges(&a.ether_types, &b.ether_types)
        && (a.llc.is_none() || a.llc == b.llc)
        && vlan(&a.vlan, &b.vlan)
        && vlan(&a.inner_vlan, &b.inner_vlan)
        && ranges(&a.protocols, &b.protocols)
        && match (&a.ports, &b.ports) {
            (None, _) => true,
            (Some(PortMatch::Numbers(a)), Some(PortMatch::Numbers(b))) => within(a, b),
            (a, b) => a == b,
        }
        && ranges(&a.source_ports, &b.source_ports)
        && ranges(&a.icmp, &b.icmp)
        && match (a.tcp_flags, b.tcp_flags) {
            (None, _) => true,
            (Some(a), Some(b)) => b.mask & a.mask == a.mask && b.value & a.mask == a.value,
            (Some(_), None) => false,
        }
        && match (a.fragments, b.fragments) {
            (None, _) => true,
            (Some(FragmentMatch::Any), Some(FragmentMatch::First | FragmentMatch::Later)) => true,
            (a, b) => a == b,
        }
}

/// Whether ARP is among what a service names.
pub(super) fn names_arp(service: &Service) -> bool {
    service.ether_types.as_ref().is_some_and(|set| set.contains(facts::ETHERTYPE_ARP.into()))
}

/// Whether neighbour discovery is among what a service names.
pub(super) fn names_discovery(service: &Service) -> bool {
    let discovery = u32::from(facts::ND_FIRST) << 8..=u32::from(facts::ND_LAST) << 8 | 0xff;
    service.icmp.as_ref().is_some_and(|set| !set.intersection(&RangeSet::from_range(discovery)).is_empty())
}
