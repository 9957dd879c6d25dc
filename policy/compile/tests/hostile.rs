//! Policies made to explode are refused with need and limit, or fit.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use gabion_policy_compile::{Options, Refused, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{DEFAULT_NAMESPACE, Entry, Inventory};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::set::Location;
use gabion_policy_model::subject::{Any, AnySubject, Cidr, LabelSelector, LabelTest, Labels, Namespaces};
use ipnet::{IpNet, Ipv4Net};

fn rule(number: usize, action: Action) -> Rule {
    Rule {
        name: format!("rule-{number}"),
        action,
        from: None,
        to: None,
        services: Vec::new(),
        stateless: false,
        log: false,
        location: Location::default(),
    }
}

fn tier(order: u32, ingress: Vec<Rule>) -> ClusterPolicy {
    ClusterPolicy {
        name: format!("policy-{order}"),
        tier: Tier { name: format!("tier-{order}"), stage: Stage::Admin, order },
        order: 0,
        subject: AnySubject::Any(Any),
        ingress,
        egress: Vec::new(),
        location: Location::default(),
    }
}

fn set(cluster_policies: Vec<ClusterPolicy>) -> PolicySet {
    PolicySet { cluster_policies, ..PolicySet::default() }
}

/// A fixed sequence that looks random.
fn noise(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 8
}

fn port_range(seed: &mut u32) -> RangeSet {
    let (a, b) = (noise(seed) & 0xffff, noise(seed) & 0xffff);
    RangeSet::from_range(a.min(b)..=a.max(b))
}

#[test]
fn crossing_port_ranges_are_refused() {
    let mut seed = 1;
    let rules = (0..3_000).map(|number| Rule {
        services: vec![Service {
            protocols: Some(RangeSet::from_range(6..=6)),
            ports: Some(PortMatch::Numbers(port_range(&mut seed))),
            source_ports: Some(port_range(&mut seed)),
            ..Service::default()
        }],
        ..rule(number, Action::Deny)
    });
    let refused = compile(&set(vec![tier(0, rules.collect())]), &Options::default()).unwrap_err();
    assert!(matches!(refused, Refused::TooManyClasses { .. } | Refused::TooMuchWork { .. }), "{refused}");
}

#[test]
fn blocks_that_overlap_everywhere_are_refused() {
    let mut seed = 2;
    let rules = (0..20_000).map(|number| {
        // A wide block with a hole of its own: every address is in nearly all of them.
        let hole = Ipv4Net::new_assert((noise(&mut seed) << 8).into(), 24).trunc();
        let block = IpNet::V4(Ipv4Net::new_assert(0.into(), 0));
        let cidr = Cidr { block, except: vec![IpNet::V4(hole)] };
        Rule { from: Some(vec![AnySubject::Cidr(cidr)]), ..rule(number, Action::Deny) }
    });
    let refused = compile(&set(vec![tier(0, rules.collect())]), &Options::default()).unwrap_err();
    assert!(matches!(refused, Refused::TooMuchWork { what: "overlapping subjects", .. }), "{refused}");
}

#[test]
fn subjects_that_are_each_nearly_everyone_are_refused() {
    let entries = (0..200u32).map(|number| Entry {
        name: format!("entry-{number}"),
        namespace: DEFAULT_NAMESPACE.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), number.to_string())]),
        service_account: None,
        spiffe_id: None,
        addresses: (0..1_000).map(|host| IpAddr::V4((number << 16 | host).into())).collect(),
        macs: Vec::new(),
        interfaces: Vec::new(),
        ports: Vec::new(),
        location: Location::default(),
    });
    let rules = (0..200).map(|number| {
        let match_expressions = vec![LabelTest::NotIn("app".to_owned(), vec![number.to_string()])];
        let selector = LabelSelector { match_labels: BTreeMap::new(), match_expressions };
        let others = AnySubject::Labels(Labels { selector, namespaces: Namespaces::All });
        Rule { from: Some(vec![others]), ..rule(number, Action::Deny) }
    });
    let inventory = Inventory { entries: entries.collect(), namespaces: BTreeMap::new() };
    let set = PolicySet { inventory, ..set(vec![tier(0, rules.collect())]) };
    let refused = compile(&set, &Options::default()).unwrap_err();
    assert!(matches!(refused, Refused::TooMuchWork { what: "subjects", .. }), "{refused}");
}

#[test]
fn passes_that_multiply_are_refused() {
    let tiers = (0..40u32).map(|order| {
        let rules = (0..6usize).map(|number| Rule {
            services: vec![Service {
                ports: Some(PortMatch::Numbers(RangeSet::from_range(number as u32..=60_000 + order))),
                ..Service::default()
            }],
            ..rule(number, if number < 5 { Action::Pass } else { Action::Deny })
        });
        tier(order, rules.collect())
    });
    let options = Options { list_length: 100_000, ..Options::default() };
    let refused = compile(&set(tiers.collect()), &options).unwrap_err();
    assert_eq!(refused, Refused::TooManyItems { limit: 100_000 });
}

#[test]
fn tiers_that_pass_without_end_are_refused() {
    let tiers = (0..10_000u32).map(|order| tier(order, vec![rule(0, Action::Pass), rule(1, Action::Deny)]));
    let refused = compile(&set(tiers.collect()), &Options::default()).unwrap_err();
    assert!(matches!(refused, Refused::TooMuchWork { limit: 64, .. }), "{refused}");
}

#[test]
fn tables_beyond_the_budget_are_refused_with_need_and_limit() {
    let mut seed = 3;
    let rules = (0..2_000).map(|number| {
        let cidr = |seed: &mut u32| {
            let block = IpNet::V4(Ipv4Net::new_assert((noise(seed) << 8).into(), 32));
            Some(vec![AnySubject::Cidr(Cidr { block, except: Vec::new() })])
        };
        Rule { from: cidr(&mut seed), to: cidr(&mut seed), ..rule(number, Action::Deny) }
    });
    let set = set(vec![tier(0, rules.collect())]);
    let fits = compile(&set, &Options::default()).unwrap();
    let options = Options { table_bytes: fits.stats.bytes / 2, ..Options::default() };
    let refused = compile(&set, &options).unwrap_err();
    assert!(matches!(refused, Refused::TooManyBytes { need, limit, .. } if need > limit), "{refused}");
}
