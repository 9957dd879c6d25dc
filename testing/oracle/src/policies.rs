//! Random policies over a small world.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Policy, Rule, Stage, Tier};
use gabion_policy_model::service::{FlagMatch, FragmentMatch, PortMatch, Service, Vlan};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::site::{DefaultAction, Defaults, Site, SubjectDefault};
use gabion_policy_model::subject::{
    Any, AnySubject, Cidr, InterfaceName, LabelSelector, LabelTest, Labels, Mac, Namespaces, ServiceAccount,
    SpiffeMatch, SpiffePath,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::choices::Choices;

/// Interfaces that policies and packets speak of.
pub const INTERFACES: [&str; 4] = ["eth0", "eth1", "eth2", "tun0"];

/// An IPv4 address of the small world.
pub(crate) fn v4<R: Choices>(rng: &mut R) -> Ipv4Addr {
    if rng.strays() {
        return Ipv4Addr::from_bits(rng.u32(..));
    }
    Ipv4Addr::new(10, rng.u8(0..2), rng.u8(0..2), rng.u8(0..8))
}

/// An IPv6 address of the small world.
pub(crate) fn v6<R: Choices>(rng: &mut R) -> Ipv6Addr {
    if rng.strays() {
        return Ipv6Addr::from_bits((0..4).fold(0, |bits, _| bits << 32 | u128::from(rng.u32(..))));
    }
    Ipv6Addr::new(0xfd00, 0, rng.u16(0..2), 0, 0, 0, 0, rng.u16(0..8))
}

/// An IPv6 address that is of one link only, or looks like it: the first and last of the blocks, and their neighbours.
pub(crate) fn link<R: Choices>(rng: &mut R) -> Ipv6Addr {
    let first = [0xff02, 0xff02, 0xfe80, 0xfe80, 0xfebf, 0xfec0, 0xff05, 0xff12][rng.usize(0..8)];
    Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, rng.u16(0..8))
}

/// A MAC of the small world.
pub(crate) fn mac<R: Choices>(rng: &mut R) -> Mac {
    if rng.strays() {
        return Mac([rng.u8(..), 0, 0, 0, rng.u8(..), rng.u8(1..)]);
    }
    Mac([2, 0, 0, 0, 0, rng.u8(1..7)])
}

/// A port of the small world.
pub(crate) fn port<R: Choices>(rng: &mut R) -> u16 {
    if rng.strays() {
        return rng.u16(..);
    }
    [22, 80, 102, 443, 502, 503, 504, 2404, 8080, 65_535, 0, 1][rng.usize(0..12)]
}

/// A protocol of the small world.
pub(crate) fn protocol<R: Choices>(rng: &mut R) -> u8 {
    if rng.strays() {
        return rng.u8(..);
    }
    [1, 6, 6, 6, 17, 17, 58, 132, 47, 50, 112, 2][rng.usize(0..12)]
}

/// An EtherType that is not IP, unless it strays.
pub(crate) fn ethertype<R: Choices>(rng: &mut R) -> u16 {
    if rng.strays() {
        return rng.u16(0x0600..);
    }
    [0x88b8, 0x88ba, 0x8892, 0x88f7, 0x88cc, 0x0806, 0x0004][rng.usize(0..7)]
}

/// An LLC value of the small world.
pub(crate) fn llc<R: Choices>(rng: &mut R) -> u16 {
    if rng.strays() {
        return rng.u16(..);
    }
    [0x4242, 0xe0e0, 0xfefe][rng.usize(0..3)]
}

/// A VID of the small world.
pub(crate) fn vid<R: Choices>(rng: &mut R) -> u16 {
    if rng.strays() {
        return rng.u16(0..4096);
    }
    [0, 10, 11, 12, 4095][rng.usize(0..5)]
}

fn label<R: Choices>(rng: &mut R) -> (String, String) {
    (["role", "zone", "env"][rng.usize(0..3)].to_owned(), ["a", "b", "c"][rng.usize(0..3)].to_owned())
}

fn namespace<R: Choices>(rng: &mut R) -> String {
    ["default", "plant", "it"][rng.usize(0..3)].to_owned()
}

fn some<R: Choices, T>(rng: &mut R, one_in: usize, make: impl FnOnce(&mut R) -> T) -> Option<T> {
    (rng.usize(0..one_in) == 0).then(|| make(rng))
}

fn several<R: Choices, T>(rng: &mut R, most: usize, mut make: impl FnMut(&mut R) -> T) -> Vec<T> {
    (0..rng.usize(0..=most)).map(|_| make(rng)).collect()
}

fn entry<R: Choices>(rng: &mut R, number: usize) -> Entry {
    let addresses = several(rng, 2, |rng| if rng.bool() { IpAddr::V4(v4(rng)) } else { IpAddr::V6(v6(rng)) });
    Entry {
        name: format!("entry-{number}"),
        namespace: namespace(rng),
        labels: several(rng, 3, label).into_iter().collect(),
        service_account: some(rng, 3, |rng| ["sa-a", "sa-b"][rng.usize(0..2)].to_owned()),
        spiffe_id: some(rng, 3, |rng| {
            ["spiffe://plant/a", "spiffe://plant/a/b", "spiffe://plant/ab", "spiffe://other/a"][rng.usize(0..4)]
                .to_owned()
        }),
        addresses,
        macs: several(rng, 2, mac),
        interfaces: several(rng, 1, |rng| INTERFACES[rng.usize(0..4)].to_owned()),
        ports: several(rng, 2, |rng| NamedPort {
            name: ["modbus", "web"][rng.usize(0..2)].to_owned(),
            protocol: if rng.strays() { [132, 33, 136][rng.usize(0..3)] } else { [6, 17][rng.usize(0..2)] },
            port: port(rng),
        }),
    }
}

fn selector<R: Choices>(rng: &mut R) -> LabelSelector {
    let match_labels: BTreeMap<_, _> = several(rng, 1, label).into_iter().collect();
    let match_expressions = several(rng, 1, |rng| {
        let (key, value) = label(rng);
        match rng.usize(0..4) {
            0 => LabelTest::In(key, vec![value, "c".to_owned()]),
            1 => LabelTest::NotIn(key, vec![value]),
            2 => LabelTest::Exists(key),
            _ => LabelTest::DoesNotExist(key),
        }
    });
    LabelSelector { match_labels, match_expressions }
}

fn v4_block<R: Choices>(rng: &mut R, narrower: bool) -> IpNet {
    let lengths = [0, 8, 15, 16, 24, 30, 31, 32];
    let address = v4(rng);
    let length = if rng.strays() { rng.u8(0..=32) } else { lengths[rng.usize(if narrower { 3..8 } else { 0..8 })] };
    IpNet::V4(Ipv4Net::new_assert(address, length).trunc())
}

fn v6_block<R: Choices>(rng: &mut R, narrower: bool) -> IpNet {
    let lengths = [0, 16, 47, 48, 126, 127, 128];
    let address = v6(rng);
    let length = if rng.strays() { rng.u8(0..=128) } else { lengths[rng.usize(if narrower { 3..7 } else { 0..7 })] };
    IpNet::V6(Ipv6Net::new_assert(address, length).trunc())
}

fn cidr<R: Choices>(rng: &mut R) -> Cidr {
    if rng.usize(0..3) > 0 {
        Cidr { block: v4_block(rng, false), except: several(rng, 2, |rng| v4_block(rng, true)) }
    } else {
        Cidr { block: v6_block(rng, false), except: several(rng, 2, |rng| v6_block(rng, true)) }
    }
}

fn subject<R: Choices>(rng: &mut R) -> AnySubject {
    match rng.usize(0..12) {
        0 => AnySubject::Any(Any),
        1..=4 => AnySubject::Labels(Labels {
            selector: selector(rng),
            namespaces: match rng.usize(0..3) {
                0 => Namespaces::All,
                1 => Namespaces::Named(namespace(rng)),
                _ => Namespaces::Matching(selector(rng)),
            },
        }),
        5 => AnySubject::ServiceAccount(ServiceAccount {
            namespace: some(rng, 2, namespace),
            name: ["sa-a", "sa-b"][rng.usize(0..2)].to_owned(),
        }),
        6 => AnySubject::Spiffe(SpiffeMatch {
            trust_domain: "plant".to_owned(),
            path: match rng.usize(0..3) {
                0 => SpiffePath::Any,
                1 => SpiffePath::Exact("/a".to_owned()),
                _ => SpiffePath::Prefix("/a".to_owned()),
            },
        }),
        7..=9 => AnySubject::Cidr(cidr(rng)),
        10 => AnySubject::Mac(mac(rng)),
        _ => AnySubject::Interface(InterfaceName(INTERFACES[rng.usize(0..4)].to_owned())),
    }
}

fn ports<R: Choices>(rng: &mut R) -> RangeSet {
    let mut set = RangeSet::new();
    for _ in 0..rng.usize(1..3) {
        let (a, b) = (u32::from(port(rng)), u32::from(port(rng)));
        set.insert(if rng.bool() { a..=a } else { a.min(b)..=a.max(b) });
    }
    set
}

fn one(value: u32) -> RangeSet {
    RangeSet::from_range(value..=value)
}

fn vlan<R: Choices>(rng: &mut R) -> Vlan {
    if rng.usize(0..3) == 0 {
        return Vlan::Untagged;
    }
    let (a, b) = (u32::from(vid(rng)), u32::from(vid(rng)));
    Vlan::Ids(RangeSet::from_range(a.min(b)..=a.max(b)))
}

/// Any fields beside each other, whether they can all be met or not.
fn any_service<R: Choices>(rng: &mut R) -> Service {
    let between = |rng: &mut R, most: u32| {
        let (a, b) = (rng.u32(0..=most), rng.u32(0..=most));
        RangeSet::from_range(a.min(b)..=a.max(b))
    };
    Service {
        ether_types: some(rng, 4, |rng| {
            let mut set = between(rng, 0xffff);
            set.insert(0x0800..=0x0800);
            set
        }),
        llc: some(rng, 12, llc),
        vlan: some(rng, 4, vlan),
        inner_vlan: some(rng, 8, vlan),
        protocols: some(rng, 3, |rng| between(rng, 255)),
        ports: some(rng, 3, |rng| match rng.usize(0..3) {
            0 => PortMatch::Named("modbus".to_owned()),
            _ => PortMatch::Numbers(ports(rng)),
        }),
        source_ports: some(rng, 4, ports),
        icmp: some(rng, 4, |rng| between(rng, 0xffff)),
        tcp_flags: some(rng, 4, |rng| {
            let mask = rng.u8(..);
            FlagMatch { mask, value: rng.u8(..) & mask }
        }),
        fragments: some(rng, 4, fragments),
        unparsed: some(rng, 8, |rng| between(rng, 13)),
    }
}

fn fragments<R: Choices>(rng: &mut R) -> FragmentMatch {
    [FragmentMatch::None, FragmentMatch::Any, FragmentMatch::First, FragmentMatch::Later][rng.usize(0..4)]
}

fn service<R: Choices>(rng: &mut R) -> Service {
    if rng.strays() {
        return any_service(rng);
    }
    let mut service = Service::default();
    if rng.usize(0..5) == 0 {
        service.vlan = Some(vlan(rng));
        service.inner_vlan = some(rng, 2, vlan);
    }
    match rng.usize(0..12) {
        0 => service.unparsed = Some(if rng.bool() { RangeSet::from_range(1..=12) } else { one(rng.u32(1..13)) }),
        1 => service.ether_types = Some(one(u32::from(ethertype(rng)))),
        2 => service.llc = Some(llc(rng)),
        3 => {
            let kind = [8, 0, 128, 135, 3][rng.usize(0..5)] << 8;
            service.icmp = Some(RangeSet::from_range(kind..=if rng.bool() { kind } else { kind | 255 }));
            service.protocols = some(rng, 2, |rng| one([1, 58][rng.usize(0..2)]));
        }
        4 => {
            service.fragments = Some(fragments(rng));
            service.protocols = some(rng, 2, |rng| one(u32::from(protocol(rng))));
        }
        5 => {
            service.protocols = Some(one(6));
            let mask = rng.u8(1..64);
            service.tcp_flags = Some(FlagMatch { mask, value: rng.u8(..) & mask });
        }
        6 => {
            service.ports = Some(PortMatch::Named(["modbus", "web", "nobody"][rng.usize(0..3)].to_owned()));
            service.protocols = some(rng, 2, |rng| one([6, 17][rng.usize(0..2)]));
        }
        7 => service.ether_types = Some(one([0x0800, 0x86dd][rng.usize(0..2)])),
        _ => {
            service.protocols = some(rng, 3, |rng| one(u32::from(protocol(rng))));
            service.ports = some(rng, 2, |rng| PortMatch::Numbers(ports(rng)));
            service.source_ports = some(rng, 5, ports);
        }
    }
    service
}

fn rule<R: Choices>(rng: &mut R, number: usize, actions: &[Action]) -> Rule {
    Rule {
        name: format!("rule-{number}"),
        action: actions[rng.usize(0..actions.len())],
        from: some(rng, 2, |rng| several(rng, 3, subject)),
        to: some(rng, 4, |rng| several(rng, 3, subject)),
        services: several(rng, 3, service),
        stateless: rng.usize(0..5) == 0,
        log: rng.usize(0..5) == 0,
    }
}

fn rules<R: Choices>(rng: &mut R, most: usize, actions: &[Action]) -> Vec<Spanned<Rule>> {
    (0..rng.usize(0..=most)).map(|number| rule(rng, number, actions).into()).collect()
}

fn default_action<R: Choices>(rng: &mut R) -> DefaultAction {
    if rng.bool() { DefaultAction::Allow } else { DefaultAction::Deny }
}

/// A random policy set of moderate size.
#[must_use]
pub fn policy_set<R: Choices>(rng: &mut R) -> PolicySet {
    let size = [1, 3, 8][rng.usize(0..3)];
    let in_policy = [Action::Allow, Action::Allow, Action::Deny, Action::Audit];
    let in_tier = [Action::Allow, Action::Deny, Action::Pass, Action::Audit];
    let policies = (0..rng.usize(0..=size))
        .map(|number| Policy {
            name: format!("policy-{number}"),
            namespace: namespace(rng),
            subject: subject(rng).into(),
            ingress: some(rng, 2, |rng| rules(rng, size, &in_policy)),
            egress: some(rng, 2, |rng| rules(rng, size, &in_policy)),
            location: Location::default(),
        })
        .collect::<Vec<_>>();
    let mut cluster_policies: Vec<ClusterPolicy> = (0..rng.usize(0..=4))
        .map(|number| {
            let tier = rng.u32(0..5);
            ClusterPolicy {
                name: format!("cluster-{number}"),
                tier: Tier {
                    name: format!("tier-{tier}"),
                    stage: [Stage::Admin, Stage::Admin, Stage::Baseline, Stage::Baseline, Stage::Emergency]
                        [tier as usize],
                    order: tier % 2 * 10,
                },
                order: rng.u32(0..3),
                subject: subject(rng),
                ingress: rules(rng, 4, &in_tier),
                egress: rules(rng, 4, &in_tier),
                location: Location::default(),
            }
        })
        .collect();
    let key = |p: &ClusterPolicy| (p.tier.stage, p.tier.order, p.tier.name.clone(), p.order, p.name.clone());
    cluster_policies.sort_by_key(key);
    let mut policies = policies;
    policies.sort_by_key(|p| (p.namespace.clone(), p.name.clone()));
    let inventory = Inventory {
        entries: (0..rng.usize(0..12)).map(|number| entry(rng, number).into()).collect(),
        namespaces: [("plant".to_owned(), several(rng, 2, label).into_iter().collect())].into(),
    };
    let site = some(rng, 2, |rng| Site {
        defaults: Defaults {
            ingress: default_action(rng),
            egress: default_action(rng),
            subjects: several(rng, 2, |rng| SubjectDefault {
                subject: subject(rng),
                ingress: some(rng, 2, default_action),
                egress: some(rng, 2, default_action),
                location: Location::default(),
            }),
            link_control: default_action(rng),
            unparsed: default_action(rng),
        },
        ..Site::default()
    });
    PolicySet { policies, cluster_policies, inventory: inventory.into(), site }
}

/// Takes out of a policy set what tells MACs apart, or nothing would take the short way.
pub fn without_macs(set: &mut PolicySet) {
    for entry in &mut Arc::make_mut(&mut set.inventory).entries {
        entry.macs.clear();
    }
    let has_mac = |subject: &AnySubject| matches!(subject, AnySubject::Mac(_));
    let names_mac = |rule: &Rule| rule.from.iter().chain(&rule.to).flatten().any(has_mac);
    for rules in set.policies.iter_mut().flat_map(|Policy { ingress, egress, .. }| ingress.iter_mut().chain(egress)) {
        rules.retain(|rule| !names_mac(rule));
    }
    for ClusterPolicy { ingress, egress, .. } in &mut set.cluster_policies {
        ingress.retain(|rule| !names_mac(rule));
        egress.retain(|rule| !names_mac(rule));
    }
    set.policies.retain(|policy| !has_mac(&policy.subject));
    set.cluster_policies.retain(|policy| !has_mac(&policy.subject));
    if let Some(site) = &mut set.site {
        site.defaults.subjects.retain(|default| !has_mac(&default.subject));
    }
}
