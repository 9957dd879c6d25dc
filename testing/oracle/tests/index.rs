//! Who is looked up = who carries a subject by its definition, for random inventories.
#![allow(missing_docs)]

use fastrand::Rng;
use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::{Entry, Inventory};
use gabion_policy_model::rule::Rule;
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{AnySubject, End, Subject};
use gabion_testing_oracle::policy_set;

/// Whether an entry, if it were the only one, would carry a subject with something that it has.
fn carries(subject: &AnySubject, entry: &Spanned<Entry>, inventory: &Inventory) -> bool {
    let alone = Inventory { entries: vec![entry.clone()], namespaces: inventory.namespaces.clone() };
    let addresses = entry.addresses.iter().map(|&a| End { address: Some(a), ..End::default() });
    let macs = entry.macs.iter().map(|&mac| End { mac: Some(mac), ..End::default() });
    let interfaces = entry.interfaces.iter().map(|name| End { interface: Some(name), ..End::default() });
    addresses.chain(macs).chain(interfaces).any(|end| subject.carried_by(&end, &alone))
}

fn peers(rule: &Spanned<Rule>) -> impl Iterator<Item = &AnySubject> {
    rule.from.iter().chain(&rule.to).flatten()
}

#[test]
fn those_are_found_who_carry_a_subject() {
    let (mut found, mut others) = (0, 0);
    for seed in 0..2_000 {
        let set = policy_set(&mut Rng::with_seed(seed));
        let inventory = &set.inventory;
        let index = Index::new(inventory);
        let of_policies = set.policies.iter().flat_map(|policy| {
            let rules = policy.ingress.iter().chain(&policy.egress).flatten();
            std::iter::once(&*policy.subject).chain(rules.flat_map(peers))
        });
        let of_tiers = set.cluster_policies.iter().flat_map(|policy| {
            let rules = policy.ingress.iter().chain(&policy.egress);
            std::iter::once(&policy.subject).chain(rules.flat_map(peers))
        });
        for subject in of_policies.chain(of_tiers) {
            let listed = subject.entries(&index);
            assert!(listed.is_sorted_by(|a, b| a < b), "seed {seed}: {listed:?}");
            for (position, entry) in (0..).zip(&inventory.entries) {
                // Who has nothing to be known by is no end of any packet.
                if entry.addresses.is_empty() && entry.macs.is_empty() && entry.interfaces.is_empty() {
                    continue;
                }
                let expected = carries(subject, entry, inventory);
                assert_eq!(listed.contains(&position), expected, "seed {seed}: {subject:?} of {entry:#?}");
                if expected { found += 1 } else { others += 1 }
            }
        }
    }
    assert!(found > 10_000 && others > 10_000, "{found} found, {others} not");
}
