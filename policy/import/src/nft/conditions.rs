//! What a rule asks of a packet, as sets that can be joined: the conditions of a rule, and of the
//! rule that jumps to its chain.

use gabion_abi::facts::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{FlagMatch, PortMatch, Service, Vlan};
use gabion_policy_model::subject::{AnySubject, Cidr, InterfaceName, Mac};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// All conditions of a rule; all must hold.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub v4: bool,
    pub v6: bool,
    pub source: Side,
    pub destination: Side,
    pub protocols: Option<RangeSet>,
    pub ports: Option<RangeSet>,
    pub source_ports: Option<RangeSet>,
    pub icmp: Option<RangeSet>,
    /// One of these.
    pub flags: Option<Vec<FlagMatch>>,
    pub vlan: Option<RangeSet>,
}

/// What is asked of one end.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// In one of these, ...
    pub blocks: Option<Vec<IpNet>>,
    /// ... and in none of these.
    pub except: Vec<IpNet>,
    pub interfaces: Option<Vec<String>>,
    pub not_interfaces: Vec<String>,
    pub macs: Option<Vec<Mac>>,
    pub not_macs: Vec<Mac>,
}

impl Conditions {
    pub fn new(v4: bool, v6: bool) -> Self {
        Self {
            v4,
            v6,
            source: Side::default(),
            destination: Side::default(),
            protocols: None,
            ports: None,
            source_ports: None,
            icmp: None,
            flags: None,
            vlan: None,
        }
    }

    /// Both; none when they say `tcp flags` twice, which has no single form.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let flags = match (&self.flags, &other.flags) {
            (Some(_), Some(_)) => return None,
            (mine, others) => mine.clone().or_else(|| others.clone()),
        };
        Some(Self {
            v4: self.v4 && other.v4,
            v6: self.v6 && other.v6,
            source: self.source.and(&other.source),
            destination: self.destination.and(&other.destination),
            protocols: both(self.protocols.as_ref(), other.protocols.as_ref()),
            ports: both(self.ports.as_ref(), other.ports.as_ref()),
            source_ports: both(self.source_ports.as_ref(), other.source_ports.as_ref()),
            icmp: both(self.icmp.as_ref(), other.icmp.as_ref()),
            flags,
            vlan: both(self.vlan.as_ref(), other.vlan.as_ref()),
        })
    }

    /// Whether no packet can meet them, as far as a look at single fields tells.
    pub fn impossible(&self) -> bool {
        let empty = |set: &Option<RangeSet>| set.as_ref().is_some_and(RangeSet::is_empty);
        !(self.v4 || self.v6)
            || [&self.protocols, &self.ports, &self.source_ports, &self.icmp, &self.vlan].into_iter().any(empty)
            || self.flags.as_ref().is_some_and(Vec::is_empty)
            || [&self.source, &self.destination].into_iter().any(Side::impossible)
    }

    /// Whether they are met by every packet that meets `within`, which is unconditional but for the families.
    pub fn unconditional(&self, within: &Self) -> bool {
        (self.v4, self.v6) == (within.v4, within.v6)
            && self.protocols.is_none()
            && self.ports.is_none()
            && self.source_ports.is_none()
            && self.icmp.is_none()
            && self.flags.is_none()
            && self.vlan.is_none()
            && self.source.is_open()
            && self.destination.is_open()
    }

    /// The services: one, or one for each way to meet the TCP flags.
    pub fn services(&self) -> Vec<Service> {
        let mut ether_types = RangeSet::new();
        for (wanted, number) in [(self.v4, ETHERTYPE_IPV4), (self.v6, ETHERTYPE_IPV6)] {
            if wanted {
                ether_types.insert(number.into()..=number.into());
            }
        }
        let service = Service {
            // Chains of these families see IP only, so that a rule without conditions is still about IP.
            ether_types: Some(ether_types),
            vlan: self.vlan.clone().map(Vlan::Ids),
            protocols: self.protocols.clone(),
            ports: self.ports.clone().map(PortMatch::Numbers),
            source_ports: self.source_ports.clone(),
            icmp: self.icmp.clone(),
            ..Service::default()
        };
        match &self.flags {
            None => vec![service],
            Some(ways) => ways.iter().map(|&way| Service { tcp_flags: Some(way), ..service.clone() }).collect(),
        }
    }
}

fn both(one: Option<&RangeSet>, other: Option<&RangeSet>) -> Option<RangeSet> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.intersection(other)),
        (one, other) => one.or(other).cloned(),
    }
}

/// The values that both lists hold.
fn common<T: Clone + PartialEq>(one: &Option<Vec<T>>, other: &Option<Vec<T>>) -> Option<Vec<T>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.iter().filter(|value| other.contains(value)).cloned().collect()),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

impl Side {
    fn and(&self, other: &Self) -> Self {
        let blocks = match (&self.blocks, &other.blocks) {
            (Some(mine), Some(others)) => {
                // Of two blocks that overlap, the smaller is the intersection.
                let smaller = |a: &IpNet, b: &IpNet| match (a.contains(b), b.contains(a)) {
                    (true, _) => Some(*b),
                    (_, true) => Some(*a),
                    _ => None,
                };
                Some(mine.iter().flat_map(|a| others.iter().filter_map(move |b| smaller(a, b))).collect())
            }
            (mine, others) => mine.clone().or_else(|| others.clone()),
        };
        let joined = |a: &Vec<IpNet>, b: &Vec<IpNet>| a.iter().chain(b).copied().collect();
        Self {
            blocks,
            except: joined(&self.except, &other.except),
            interfaces: common(&self.interfaces, &other.interfaces),
            not_interfaces: self.not_interfaces.iter().chain(&other.not_interfaces).cloned().collect(),
            macs: common(&self.macs, &other.macs),
            not_macs: self.not_macs.iter().chain(&other.not_macs).copied().collect(),
        }
    }

    fn is_open(&self) -> bool {
        self.blocks.is_none()
            && self.except.is_empty()
            && self.interfaces.is_none()
            && self.not_interfaces.is_empty()
            && self.macs.is_none()
            && self.not_macs.is_empty()
    }

    fn impossible(&self) -> bool {
        self.blocks.as_ref().is_some_and(Vec::is_empty)
            || self.interfaces.as_ref().is_some_and(Vec::is_empty)
            || self.macs.as_ref().is_some_and(Vec::is_empty)
    }

    /// The subjects of this end, and the subjects that must not be there. A rule's `from` is a union, so that of
    /// several conditions one becomes subjects and each other one its complement. None when
    /// two of them have no complement.
    pub fn subjects(&self, v4: bool, v6: bool) -> Option<(Option<Vec<AnySubject>>, Vec<AnySubject>)> {
        let interface = |name: &String| AnySubject::Interface(InterfaceName(name.clone()));
        let mut absent: Vec<_> = self.not_interfaces.iter().map(interface).collect();
        absent.extend(self.not_macs.iter().copied().map(AnySubject::Mac));
        let positive = match (&self.interfaces, &self.macs) {
            (Some(_), Some(_)) => return None,
            (Some(names), None) => Some(names.iter().map(interface).collect()),
            (None, Some(macs)) => Some(macs.iter().copied().map(AnySubject::Mac).collect()),
            (None, None) => None,
        };
        let addressed = self.blocks.is_some() || !self.except.is_empty();
        if !addressed {
            return Some((positive, absent));
        }
        let everything: Vec<IpNet> = [v4.then(|| Ipv4Net::default().into()), v6.then(|| Ipv6Net::default().into())]
            .into_iter()
            .flatten()
            .collect();
        if positive.is_none() {
            let blocks = self.blocks.as_ref().unwrap_or(&everything);
            return Some((Some(blocks.iter().filter_map(|block| without(*block, &self.except)).collect()), absent));
        }
        if let Some(blocks) = &self.blocks {
            absent.extend(everything.iter().filter_map(|whole| without(*whole, blocks)));
        }
        absent.extend(self.except.iter().map(|&block| AnySubject::Cidr(Cidr { block, except: Vec::new() })));
        Some((positive, absent))
    }
}

/// A block without others; none when nothing is left.
fn without(block: IpNet, except: &[IpNet]) -> Option<AnySubject> {
    if except.iter().any(|e| e.contains(&block)) {
        return None;
    }
    let except = except.iter().filter(|e| block.contains(*e)).copied().collect();
    Some(AnySubject::Cidr(Cidr { block, except }))
}
