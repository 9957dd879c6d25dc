//! The corners of a policy: the first and last values that its rules speak of, and their neighbours.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gabion_abi::facts::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC};
use gabion_policy_model::PolicySet;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::service::{PortMatch, Service, Vlan};
use gabion_policy_model::subject::AnySubject;
use ipnet::IpNet;

use crate::choices::Choices;
use crate::policies::{ethertype, llc, mac, port, protocol, v4, v6, vid};

/// Values that packets take where they should meet the corners of a policy. Without any, values are those of the small
/// world.
#[derive(Clone, Debug, Default)]
pub struct Corners {
    v4: Vec<u32>,
    v6: Vec<u128>,
    macs: Vec<u64>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    ethertypes: Vec<u16>,
    llcs: Vec<u16>,
    vids: Vec<u16>,
    icmp: Vec<u16>,
    flags: Vec<u8>,
    reasons: Vec<u8>,
}

/// One of the corners, three times in four; none when there is none.
fn corner<R: Choices, T: Copy>(rng: &mut R, corners: &[T]) -> Option<T> {
    if corners.is_empty() || rng.usize(0..4) == 0 {
        return None;
    }
    Some(corners[rng.usize(0..corners.len())])
}

impl Corners {
    /// The corners of a policy.
    #[must_use]
    pub fn of(set: &PolicySet) -> Self {
        let mut found = Found::default();
        for entry in &set.inventory.entries {
            entry.addresses.iter().for_each(|&address| found.block(address.into()));
            found.macs.extend(entry.macs.iter().map(|mac| mac.to_bits()));
            found.ports.extend(entry.ports.iter().flat_map(|named| around(u32::from(named.port), 0xffff)));
            found.protocols.extend(entry.ports.iter().map(|named| u32::from(named.protocol)));
        }
        for policy in &set.policies {
            found.subject(&policy.subject);
            policy.ingress.iter().chain(&policy.egress).flatten().for_each(|rule| found.rule(rule));
        }
        for policy in &set.cluster_policies {
            found.subject(&policy.subject);
            policy.ingress.iter().chain(&policy.egress).for_each(|rule| found.rule(rule));
        }
        for default in set.site.iter().flat_map(|site| &site.defaults.subjects) {
            found.subject(&default.subject);
        }
        found.ethertypes.retain(|&ethertype| is_no_other(ethertype));
        let halves = |set: BTreeSet<u32>| set.into_iter().map(|value| value as u16).collect();
        let octets = |set: BTreeSet<u32>| set.into_iter().map(|value| value as u8).collect();
        Self {
            v4: found.v4.into_iter().collect(),
            v6: found.v6.into_iter().collect(),
            macs: found.macs.into_iter().collect(),
            ports: halves(found.ports),
            protocols: octets(found.protocols),
            ethertypes: halves(found.ethertypes),
            llcs: halves(found.llcs),
            vids: halves(found.vids),
            icmp: halves(found.icmp),
            flags: octets(found.flags),
            reasons: octets(found.reasons),
        }
    }

    pub(crate) fn v4<R: Choices>(&self, rng: &mut R) -> Ipv4Addr {
        corner(rng, &self.v4).map_or_else(|| v4(rng), Ipv4Addr::from_bits)
    }

    pub(crate) fn v6<R: Choices>(&self, rng: &mut R) -> Ipv6Addr {
        corner(rng, &self.v6).map_or_else(|| v6(rng), Ipv6Addr::from_bits)
    }

    pub(crate) fn mac<R: Choices>(&self, rng: &mut R) -> u64 {
        corner(rng, &self.macs).unwrap_or_else(|| mac(rng).to_bits())
    }

    pub(crate) fn port<R: Choices>(&self, rng: &mut R) -> u16 {
        corner(rng, &self.ports).unwrap_or_else(|| port(rng))
    }

    pub(crate) fn protocol<R: Choices>(&self, rng: &mut R) -> u8 {
        corner(rng, &self.protocols).unwrap_or_else(|| protocol(rng))
    }

    pub(crate) fn ethertype<R: Choices>(&self, rng: &mut R) -> u16 {
        let found = corner(rng, &self.ethertypes).unwrap_or_else(|| ethertype(rng));
        // A frame of another kind than those that say what stands in it.
        if is_no_other(u32::from(found)) { found } else { 0x88b9 }
    }

    pub(crate) fn llc<R: Choices>(&self, rng: &mut R) -> u16 {
        corner(rng, &self.llcs).unwrap_or_else(|| llc(rng))
    }

    pub(crate) fn vid<R: Choices>(&self, rng: &mut R) -> u16 {
        corner(rng, &self.vids).unwrap_or_else(|| vid(rng))
    }

    pub(crate) fn icmp<R: Choices>(&self, rng: &mut R, otherwise: impl FnOnce(&mut R) -> (u8, u8)) -> (u8, u8) {
        let corner = corner(rng, &self.icmp).map(|number| ((number >> 8) as u8, number as u8));
        corner.unwrap_or_else(|| otherwise(rng))
    }

    pub(crate) fn flags<R: Choices>(&self, rng: &mut R) -> u8 {
        corner(rng, &self.flags).unwrap_or_else(|| [0x02, 0x10, 0x12, 0x18, 0x11, 0x04][rng.usize(0..6)])
    }

    pub(crate) fn reason<R: Choices>(&self, rng: &mut R) -> u8 {
        corner(rng, &self.reasons).unwrap_or_else(|| rng.u8(1..gabion_abi::facts::unparsed::COUNT))
    }
}

/// Whether an EtherType is neither IP nor a tag nor a length.
fn is_no_other(ethertype: u32) -> bool {
    let known = [u32::from(ETHERTYPE_IPV4), u32::from(ETHERTYPE_IPV6), 0x8100, 0x88a8, 0x9100];
    ethertype == u32::from(ETHERTYPE_LLC) || (ethertype >= 0x0600 && !known.contains(&ethertype))
}

fn around(value: u32, most: u32) -> impl Iterator<Item = u32> {
    let all = [value.checked_sub(1), Some(value), value.checked_add(1)];
    all.into_iter().flatten().filter(move |&value| value <= most)
}

/// Corners while they are gathered: sorted, so that they do not depend on the order of rules.
#[derive(Default)]
struct Found {
    v4: BTreeSet<u32>,
    v6: BTreeSet<u128>,
    macs: BTreeSet<u64>,
    ports: BTreeSet<u32>,
    protocols: BTreeSet<u32>,
    ethertypes: BTreeSet<u32>,
    llcs: BTreeSet<u32>,
    vids: BTreeSet<u32>,
    icmp: BTreeSet<u32>,
    flags: BTreeSet<u32>,
    reasons: BTreeSet<u32>,
}

fn ends_of(set: &RangeSet, most: u32) -> impl Iterator<Item = u32> {
    set.iter().flat_map(move |(low, high)| around(low, most).chain(around(high, most)))
}

impl Found {
    fn block(&mut self, block: IpNet) {
        match (block.network(), block.broadcast()) {
            (IpAddr::V4(low), IpAddr::V4(high)) => {
                self.v4.extend([low.to_bits(), high.to_bits()]);
                self.v4.extend([low.to_bits().wrapping_sub(1), high.to_bits().wrapping_add(1)]);
            }
            (IpAddr::V6(low), IpAddr::V6(high)) => {
                self.v6.extend([low.to_bits(), high.to_bits()]);
                self.v6.extend([low.to_bits().wrapping_sub(1), high.to_bits().wrapping_add(1)]);
            }
            _ => {}
        }
    }

    fn subject(&mut self, subject: &AnySubject) {
        match subject {
            AnySubject::Cidr(cidr) => {
                self.block(cidr.block);
                cidr.except.iter().for_each(|&hole| self.block(hole));
            }
            AnySubject::Mac(mac) => {
                self.macs.insert(mac.to_bits());
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule) {
        rule.from.iter().chain(&rule.to).flatten().for_each(|subject| self.subject(subject));
        rule.services.iter().for_each(|service| self.service(service));
    }

    fn service(&mut self, service: &Service) {
        self.ethertypes.extend(service.ether_types.iter().flat_map(|set| ends_of(set, 0xffff)));
        self.llcs.extend(service.llc.iter().flat_map(|&llc| around(u32::from(llc), 0xffff)));
        for vlan in [&service.vlan, &service.inner_vlan] {
            if let Some(Vlan::Ids(ids)) = vlan {
                self.vids.extend(ends_of(ids, 4095));
            }
        }
        self.protocols.extend(service.protocols.iter().flat_map(|set| ends_of(set, 255)));
        if let Some(PortMatch::Numbers(ports)) = &service.ports {
            self.ports.extend(ends_of(ports, 0xffff));
        }
        self.ports.extend(service.source_ports.iter().flat_map(|set| ends_of(set, 0xffff)));
        self.icmp.extend(service.icmp.iter().flat_map(|set| ends_of(set, 0xffff)));
        if let Some(flags) = service.tcp_flags {
            self.flags.extend([flags.value, flags.value | !flags.mask, flags.value ^ flags.mask].map(u32::from));
        }
        let last = u32::from(gabion_abi::facts::unparsed::COUNT) - 1;
        self.reasons.extend(service.unparsed.iter().flat_map(|set| ends_of(set, last)).filter(|&reason| reason > 0));
    }
}
