//! Policies made to explode, each by another product.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{DEFAULT_NAMESPACE, Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Policy, Rule, Stage, Tier};
use gabion_policy_model::service::{FlagMatch, PortMatch, Service, Vlan};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::subject::{Any, AnySubject, Cidr, LabelSelector, LabelTest, Labels, Mac, Namespaces};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A policy by name.
pub type Recipe = (&'static str, fn() -> PolicySet);

/// All of them.
pub const RECIPES: [Recipe; 19] = [
    ("crossing blocks, ports, VLANs", crossing_blocks),
    ("the same in IPv6", crossing_blocks_v6),
    ("wide blocks meet narrow ones", wide_meets_narrow),
    ("pairs with many rules each", crowded_pairs),
    ("a rule for each of many ports", ports_by_pair),
    ("crossing port ranges", crossing_ports),
    ("every field crosses", crossing_fields),
    ("giant port lists", giant_port_lists),
    ("many label tests", label_tests),
    ("huge inventory, long label sets", huge_inventory),
    ("nearly everyone, many times", nearly_everyone),
    ("holes of their own", holes),
    ("many holes each", many_holes),
    ("passes that multiply", multiplying_passes),
    ("services behind passes", services_behind_passes),
    ("tiers that pass without end", endless_passes),
    ("named ports", named_ports),
    ("MACs and labels cross", macs_and_labels),
    ("for comparison: 100,000 workloads", workloads),
];

pub fn rule(number: usize, action: Action) -> Rule {
    Rule {
        name: format!("rule-{number}"),
        action,
        from: None,
        to: None,
        services: Vec::new(),
        stateless: false,
        log: false,
    }
}

fn place(line: u32) -> Location {
    Location { source: "hostile.yaml".into(), line, ..Location::default() }
}

pub fn tier(order: u32, ingress: Vec<Rule>) -> ClusterPolicy {
    ClusterPolicy {
        name: format!("policy-{order}"),
        tier: Tier { name: format!("tier-{order}"), stage: Stage::Admin, order },
        order: 0,
        subject: AnySubject::Any(Any),
        ingress: (10..).zip(ingress).map(|(line, rule)| Spanned::new(rule, place(line))).collect(),
        egress: Vec::new(),
        location: place(1 + order),
    }
}

pub fn set(cluster_policies: Vec<ClusterPolicy>) -> PolicySet {
    PolicySet { cluster_policies, ..PolicySet::default() }
}

fn one_tier(count: usize, make: impl FnMut(usize) -> Rule) -> PolicySet {
    set(vec![tier(0, (0..count).map(make).collect())])
}

/// A fixed sequence that looks random.
pub fn noise(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 8
}

fn below(seed: &mut u32, limit: u32) -> u32 {
    noise(seed) % limit
}

pub fn port_range(seed: &mut u32) -> RangeSet {
    let (a, b) = (noise(seed) & 0xffff, noise(seed) & 0xffff);
    RangeSet::from_range(a.min(b)..=a.max(b))
}

pub fn block(address: u32, length: u8) -> AnySubject {
    let block = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(address), length).trunc());
    AnySubject::Cidr(Cidr { block, except: Vec::new() })
}

fn address(seed: &mut u32) -> u32 {
    noise(seed) << 16 | noise(seed) & 0xffff
}

fn tcp(ports: RangeSet) -> Service {
    Service {
        protocols: Some(RangeSet::from_range(6..=6)),
        ports: Some(PortMatch::Numbers(ports)),
        ..Service::default()
    }
}

fn crossing_blocks() -> PolicySet {
    let mut seed = 1;
    one_tier(10_000, |number| {
        let seed = &mut seed;
        let some = |seed: &mut u32| (0..4).map(|_| block(address(seed), 2 + below(seed, 24) as u8)).collect();
        let mut service = tcp(port_range(seed));
        service.vlan = Some(Vlan::Ids(RangeSet::from_range(below(seed, 2000)..=2000 + below(seed, 2000))));
        Rule { from: Some(some(seed)), to: Some(some(seed)), services: vec![service], ..rule(number, Action::Deny) }
    })
}

fn crossing_blocks_v6() -> PolicySet {
    let mut seed = 2;
    one_tier(10_000, |number| {
        let seed = &mut seed;
        let some = |seed: &mut u32| {
            let block = |seed: &mut u32| {
                let bits = (0..4).fold(0u128, |bits, _| bits << 32 | u128::from(address(seed)));
                let block = Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 2 + below(seed, 60) as u8).trunc();
                AnySubject::Cidr(Cidr { block: IpNet::V6(block), except: Vec::new() })
            };
            (0..4).map(|_| block(seed)).collect()
        };
        let services = vec![tcp(RangeSet::from_range(below(seed, 100)..=100 + below(seed, 100)))];
        Rule { from: Some(some(seed)), to: Some(some(seed)), services, ..rule(number, Action::Deny) }
    })
}

fn wide_meets_narrow() -> PolicySet {
    let mut seed = 3;
    one_tier(40_000, |number| {
        let seed = &mut seed;
        let (narrow, wide) = (block(address(seed), 32), block(address(seed), 3));
        let (from, to) = if number % 2 == 0 { (narrow, wide) } else { (wide, narrow) };
        let services = vec![tcp(RangeSet::from_range(number as u32 % 64..=number as u32 % 64))];
        Rule { from: Some(vec![from]), to: Some(vec![to]), services, ..rule(number, Action::Deny) }
    })
}

fn crowded_pairs() -> PolicySet {
    let mut seed = 4;
    one_tier(6_000, |number| {
        let seed = &mut seed;
        let wide = |seed: &mut u32| (0..3).map(|_| block(address(seed), 1 + below(seed, 10) as u8)).collect();
        let port = below(seed, 4_000);
        let services = vec![tcp(RangeSet::from_range(port..=port))];
        Rule { from: Some(wide(seed)), to: Some(wide(seed)), services, ..rule(number, Action::Deny) }
    })
}

fn ports_by_pair() -> PolicySet {
    let mut seed = 5;
    one_tier(60_000, |number| {
        let seed = &mut seed;
        let from = Some(vec![block(0x0a00_0000 | below(seed, 1 << 12) << 4, 28)]);
        let to = Some(vec![block(0x0b00_0000 | below(seed, 256) << 16, 16)]);
        let services = vec![tcp(RangeSet::from_range(number as u32..=number as u32))];
        Rule { from, to, services, ..rule(number, Action::Deny) }
    })
}

fn crossing_ports() -> PolicySet {
    let mut seed = 6;
    one_tier(3_000, |number| {
        let mut service = tcp(port_range(&mut seed));
        service.source_ports = Some(port_range(&mut seed));
        Rule { services: vec![service], ..rule(number, Action::Deny) }
    })
}

fn crossing_fields() -> PolicySet {
    let mut seed = 7;
    one_tier(400, |number| {
        let seed = &mut seed;
        let between = |seed: &mut u32, most: u32| {
            let (a, b) = (below(seed, most), below(seed, most));
            RangeSet::from_range(a.min(b)..=a.max(b))
        };
        let service = Service {
            ports: Some(PortMatch::Numbers(port_range(seed))),
            source_ports: Some(port_range(seed)),
            vlan: Some(Vlan::Ids(between(seed, 4096))),
            inner_vlan: Some(Vlan::Ids(between(seed, 4096))),
            protocols: Some(RangeSet::from_range(6..=6 + below(seed, 200))),
            tcp_flags: (number % 2 == 0).then(|| FlagMatch { mask: 1 << (number % 8), value: 0 }),
            ..Service::default()
        };
        Rule { services: vec![service], ..rule(number, Action::Deny) }
    })
}

fn giant_port_lists() -> PolicySet {
    let mut seed = 8;
    one_tier(400, |number| {
        let seed = &mut seed;
        let mut ports = RangeSet::new();
        // In ascending order, so that making them is quick.
        let mut at = below(seed, 8);
        while at < 65_536 {
            ports.insert(at..=at);
            at += 2 + below(seed, 8);
        }
        Rule { services: vec![tcp(ports)], ..rule(number, Action::Deny) }
    })
}

fn entries(count: u32, labels: impl Fn(u32) -> BTreeMap<String, String>) -> Vec<Spanned<Entry>> {
    let entry = |number: u32| Entry {
        name: format!("entry-{number}"),
        namespace: DEFAULT_NAMESPACE.to_owned(),
        labels: labels(number),
        service_account: None,
        spiffe_id: None,
        addresses: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))],
        macs: Vec::new(),
        interfaces: Vec::new(),
        ports: Vec::new(),
    };
    (0..count).map(|number| entry(number).into()).collect()
}

fn labelled(tests: Vec<LabelTest>) -> Option<Vec<AnySubject>> {
    let selector = LabelSelector { match_labels: BTreeMap::new(), match_expressions: tests };
    Some(vec![AnySubject::Labels(Labels { selector, namespaces: Namespaces::All })])
}

/// Tests of labels `key-0` … with values of one decimal digit.
fn random_tests(seed: &mut u32, keys: u32, count: usize) -> Vec<LabelTest> {
    let test = |seed: &mut u32| {
        let key = format!("key-{}", below(seed, keys));
        let values = (0..1 + below(seed, 5)).map(|_| below(seed, 10).to_string()).collect();
        if below(seed, 2) == 0 { LabelTest::In(key, values) } else { LabelTest::NotIn(key, values) }
    };
    (0..count).map(|_| test(seed)).collect()
}

fn random_labels(keys: u32) -> impl Fn(u32) -> BTreeMap<String, String> {
    move |number| {
        let mut seed = number;
        (0..keys).map(|key| (format!("key-{key}"), below(&mut seed, 10).to_string())).collect()
    }
}

fn with_entries(entries: Vec<Spanned<Entry>>, policies: PolicySet) -> PolicySet {
    PolicySet { inventory: Inventory { entries, namespaces: BTreeMap::new() }.into(), ..policies }
}

fn label_tests() -> PolicySet {
    let mut seed = 9;
    let policies = one_tier(2_000, |number| {
        let seed = &mut seed;
        let (from, to) = (labelled(random_tests(seed, 20, 3)), labelled(random_tests(seed, 20, 3)));
        Rule { from, to, services: vec![tcp(port_range(seed))], ..rule(number, Action::Deny) }
    });
    with_entries(entries(2_000, random_labels(20)), policies)
}

fn huge_inventory() -> PolicySet {
    let mut seed = 10;
    let policies = one_tier(1_000, |number| {
        let not_in = |seed: &mut u32| {
            let values = vec![below(seed, 10).to_string()];
            (0..30).map(|key| LabelTest::NotIn(format!("key-{key}"), values.clone())).take(2).collect()
        };
        let tests: Vec<LabelTest> = not_in(&mut seed);
        Rule { from: labelled(tests), ..rule(number, Action::Deny) }
    });
    with_entries(entries(20_000, random_labels(30)), policies)
}

fn nearly_everyone() -> PolicySet {
    let labels = |number: u32| BTreeMap::from([("app".to_owned(), (number % 1_000).to_string())]);
    let policies = one_tier(1_000, |number| {
        let others = || labelled(vec![LabelTest::NotIn("app".to_owned(), vec![number.to_string()])]);
        Rule { from: others(), to: others(), ..rule(number, Action::Deny) }
    });
    with_entries(entries(50_000, labels), policies)
}

fn holes() -> PolicySet {
    let mut seed = 11;
    one_tier(20_000, |number| {
        // A wide block with a hole of its own: every address is in nearly all of them.
        let hole = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(address(&mut seed)), 24).trunc());
        let block = IpNet::V4(Ipv4Net::new_assert(0.into(), 0));
        Rule { from: Some(vec![AnySubject::Cidr(Cidr { block, except: vec![hole] })]), ..rule(number, Action::Deny) }
    })
}

fn many_holes() -> PolicySet {
    let mut seed = 12;
    one_tier(500, |number| {
        let full = |seed: &mut u32| {
            let hole = |_| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(address(seed)), 32));
            let block = IpNet::V4(Ipv4Net::new_assert(0.into(), 0));
            Some(vec![AnySubject::Cidr(Cidr { block, except: (0..400).map(hole).collect() })])
        };
        Rule { from: full(&mut seed), to: full(&mut seed), ..rule(number, Action::Deny) }
    })
}

fn multiplying_passes() -> PolicySet {
    let tiers = (0..40u32).map(|order| {
        let rules = (0..6usize).map(|number| Rule {
            services: vec![tcp(RangeSet::from_range(number as u32..=60_000 + order))],
            ..rule(number, if number < 5 { Action::Pass } else { Action::Deny })
        });
        tier(order, rules.collect())
    });
    set(tiers.collect())
}

fn services_behind_passes() -> PolicySet {
    let mut seed = 13;
    let tiers = (0..3u32).map(|order| {
        let rules = (0..30usize).map(|number| Rule {
            services: (0..300).map(|_| tcp(port_range(&mut seed))).collect(),
            ..rule(number, if number < 29 { Action::Pass } else { Action::Deny })
        });
        tier(order, rules.collect())
    });
    set(tiers.collect())
}

fn endless_passes() -> PolicySet {
    let tiers = (0..10_000u32).map(|order| tier(order, vec![rule(0, Action::Pass), rule(1, Action::Deny)]));
    set(tiers.collect())
}

fn named_ports() -> PolicySet {
    let mut seed = 14;
    let mut entries = entries(2_000, |_| BTreeMap::new());
    for entry in &mut entries {
        let port = |_| NamedPort { name: "web".to_owned(), protocol: 6, port: below(&mut seed, 65_536) as u16 };
        entry.ports = (0..50).map(port).collect();
    }
    let policies = one_tier(500, |number| Rule {
        from: Some(vec![block(address(&mut (number as u32 + 1)), 12)]),
        services: vec![Service { ports: Some(PortMatch::Named("web".to_owned())), ..Service::default() }],
        ..rule(number, Action::Deny)
    });
    with_entries(entries, policies)
}

fn macs_and_labels() -> PolicySet {
    let mut seed = 15;
    one_tier(8_000, |number| {
        let seed = &mut seed;
        let mac = |seed: &mut u32| AnySubject::Mac(Mac::from_bits(u64::from(below(seed, 4_000)) + 1));
        let either = |seed: &mut u32| Some(vec![mac(seed), mac(seed), block(address(seed), 4 + below(seed, 20) as u8)]);
        Rule { from: either(seed), to: either(seed), ..rule(number, Action::Deny) }
    })
}

/// Nothing hostile: as many workloads and rules as a large site has, each rule from one to one.
fn workloads() -> PolicySet {
    let mut seed = 16;
    let count = 100_000;
    let identity = |number: u32| {
        AnySubject::Labels(Labels {
            selector: LabelSelector {
                match_labels: BTreeMap::from([("identity".to_owned(), number.to_string())]),
                match_expressions: Vec::new(),
            },
            namespaces: Namespaces::All,
        })
    };
    let policies = (0..count / 5).map(|server| Policy {
        name: format!("server-{server}"),
        namespace: DEFAULT_NAMESPACE.to_owned(),
        subject: identity(server).into(),
        ingress: Some(
            (0..5)
                .map(|number| {
                    let port = [80, 443, 5432, 502, 2404, 53][below(&mut seed, 6) as usize];
                    let from = Some(vec![identity(below(&mut seed, count))]);
                    Rule { from, services: vec![tcp(RangeSet::from_range(port..=port))], ..rule(number, Action::Allow) }
                        .into()
                })
                .collect(),
        ),
        egress: None,
        location: Location::default(),
    });
    let policies = PolicySet { policies: policies.collect(), ..PolicySet::default() };
    with_entries(entries(count, |number| BTreeMap::from([("identity".to_owned(), number.to_string())])), policies)
}
