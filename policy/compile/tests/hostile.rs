//! Policies made to explode are refused with need, limit and the rules that are the reason, or fit.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod recipes;

use gabion_policy_compile::{Compiled, Excess, Options, Refused, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::rule::{Action, Rule};

use crate::recipes::{RECIPES, block, noise, port_range, rule, set, tier};

fn made(name: &str) -> Result<Compiled, Refused> {
    let (_, make) = RECIPES.iter().find(|(known, _)| *known == name).unwrap();
    compile(&make(), &Options::default())
}

fn refused(name: &str) -> Refused {
    made(name).unwrap_err()
}

#[test]
fn crossing_port_ranges_are_refused_with_the_rules_that_cross() {
    assert_eq!(
        refused("crossing port ranges").to_string(),
        "the policy's service combinations need more than 400000000 steps to work out (at least 3531230523); \
         most of it comes from ClusterPolicy policy-0 at hostile.yaml:1 (3000 rules, 21000 ranges in \
         services, above all rule-0 at hostile.yaml:10); use fewer distinct conditions, or conditions that \
         overlap less",
    );
}

#[test]
fn blocks_that_overlap_everywhere_are_refused() {
    assert_eq!(
        refused("holes of their own").to_string(),
        "the policy's overlapping subjects need more than 134217728 bytes of memory to work out (at least \
         134286204); most of it comes from ClusterPolicy policy-0 at hostile.yaml:1 (20000 rules, 40000 \
         addresses, MACs and interfaces, above all rule-0 at hostile.yaml:10); use fewer distinct conditions, \
         or conditions that overlap less",
    );
}

#[test]
fn subjects_that_are_each_nearly_everyone_are_refused() {
    assert_eq!(
        refused("nearly everyone, many times").to_string(),
        "the policy's subjects need more than 400000000 steps to work out (at least 406937000); most of it \
         comes from ClusterPolicy policy-0 at hostile.yaml:1 (42 rules, 398937000 steps, above all rule-0 at \
         hostile.yaml:10); use fewer distinct conditions, or conditions that overlap less",
    );
}

#[test]
fn rules_that_are_crowded_at_pairs_are_refused() {
    assert_eq!(
        refused("pairs with many rules each").to_string(),
        "the policy's pairs of ends need more than 400000000 steps to work out (at least 3024492202); most of \
         it comes from ClusterPolicy policy-0 at hostile.yaml:1 (6000 rules, 446925195 pairs of ends of 4 \
         bytes or more each, above all rule-4892 at hostile.yaml:4902); use fewer distinct conditions, or \
         conditions that overlap less",
    );
}

#[test]
fn services_that_multiply_behind_passes_are_refused() {
    assert_eq!(
        refused("services behind passes").to_string(),
        "the policy's services behind `pass` need more than 134217728 bytes of memory to work out (at least \
         134217792); most of it comes from ClusterPolicy policy-0 at hostile.yaml:1 (1 rule, 306576216 steps, \
         above all rule-0 at hostile.yaml:10), then ClusterPolicy policy-1 at hostile.yaml:2 (1 rule, \
         306557616 steps, above all rule-0 at hostile.yaml:10), then ClusterPolicy policy-2 at hostile.yaml:3 \
         (1 rule, 299519016 steps, above all rule-0 at hostile.yaml:10); use fewer distinct conditions, or \
         conditions that overlap less",
    );
}

#[test]
fn passes_that_multiply_are_refused() {
    assert_eq!(
        refused("passes that multiply").to_string(),
        "the policy's plain rules need more than 400000000 steps to work out (at least 400000078); most of it \
         comes from ClusterPolicy policy-0 at hostile.yaml:1 (1 rule, 399999478 steps, above all rule-0 at \
         hostile.yaml:10), then ClusterPolicy policy-1 at hostile.yaml:2 (1 rule, 399998818 steps, above all \
         rule-0 at hostile.yaml:10), then ClusterPolicy policy-2 at hostile.yaml:3 (1 rule, 399998080 steps, \
         above all rule-0 at hostile.yaml:10); use fewer distinct conditions, or conditions that overlap less",
    );
}

#[test]
fn tiers_that_pass_without_end_are_refused() {
    assert_eq!(
        refused("tiers that pass without end").to_string(),
        "more than 64 tiers `pass` to one another; most of it comes from ClusterPolicy policy-0 at \
         hostile.yaml:1 (1 rule, 40352 steps, above all rule-0 at hostile.yaml:10), then ClusterPolicy \
         policy-1 at hostile.yaml:2 (1 rule, 39752 steps, above all rule-0 at hostile.yaml:10), then \
         ClusterPolicy policy-2 at hostile.yaml:3 (1 rule, 39090 steps, above all rule-0 at hostile.yaml:10); \
         use fewer tiers, or fewer `pass` rules that others follow in their tier",
    );
}

#[test]
fn tables_beyond_the_budget_are_refused_with_need_and_limit() {
    let mut seed = 3;
    let rules = (0..2_000).map(|number| {
        let host = |seed: &mut u32| Some(vec![block(noise(seed) << 8, 32)]);
        Rule { from: host(&mut seed), to: host(&mut seed), ..rule(number, Action::Deny) }
    });
    let set = set(vec![tier(0, rules.collect())]);
    let fits = compile(&set, &Options::default()).unwrap();
    let options = Options { table_bytes: fits.stats.bytes / 2, ..Options::default() };
    let refused = compile(&set, &options).unwrap_err();
    assert!(matches!(refused.excess, Excess::TooManyBytes { need, limit, .. } if need > limit), "{refused}");
    assert_eq!(refused.causes[0].document, "ClusterPolicy policy-0");
}

/// The documents that are named are those that weigh most, whatever stands beside them.
#[test]
fn the_innocent_are_not_named() {
    let mut seed = 6;
    let crossing = |number| {
        let service = gabion_policy_model::service::Service {
            source_ports: Some(port_range(&mut seed)),
            ports: Some(gabion_policy_model::service::PortMatch::Numbers(port_range(&mut seed))),
            ..Default::default()
        };
        Rule { services: vec![service], ..rule(number, Action::Deny) }
    };
    let rules = (0..3_000).map(crossing).collect();
    let quiet = |order| tier(order, (0..10).map(|number| rule(number, Action::Deny)).collect());
    let set: PolicySet = set(vec![quiet(0), quiet(1), tier(2, rules), quiet(3)]);
    let refused = compile(&set, &Options::default()).unwrap_err();
    let named: Vec<&str> = refused.causes.iter().map(|cause| cause.document.as_str()).collect();
    assert_eq!(named, ["ClusterPolicy policy-2"], "{refused}");
}

/// The same policy is refused for the same reason, to the letter.
#[test]
fn refusals_are_deterministic() {
    for name in ["many label tests", "every field crosses", "named ports"] {
        assert_eq!(refused(name), refused(name));
    }
}
