//! What was compiled before changes nothing: a policy that is edited again and again becomes what it would become anew.
#![allow(missing_docs, clippy::unwrap_used)]

use fastrand::Rng;
use gabion_policy_compile::{Known, Options, compile, compile_again};
use gabion_policy_model::PolicySet;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::set::Spanned;
use gabion_testing_oracle::policy_set;

fn rules(set: &mut PolicySet) -> Vec<&mut Vec<Spanned<Rule>>> {
    let of_policies = set.policies.iter_mut().flat_map(|policy| [&mut policy.ingress, &mut policy.egress]);
    let of_tiers = set.cluster_policies.iter_mut().flat_map(|policy| [&mut policy.ingress, &mut policy.egress]);
    of_policies.flatten().chain(of_tiers).collect()
}

/// One edit, with parts of another policy.
fn edit(set: &mut PolicySet, rng: &mut Rng) {
    let mut other = policy_set(rng);
    let mut theirs: Vec<Spanned<Rule>> = rules(&mut other).into_iter().flat_map(|list| list.drain(..)).collect();
    rng.shuffle(&mut theirs);
    match rng.usize(0..10) {
        0 => set.inventory = other.inventory,
        1 => set.site = other.site,
        2 => set.policies.extend(other.policies.pop()),
        3 => drop(set.policies.pop()),
        4 => set.cluster_policies.extend(other.cluster_policies.pop()),
        5 => drop(set.cluster_policies.pop()),
        6 => {
            // The same value, not shared.
            for rule in rules(set).into_iter().flatten() {
                *rule = Spanned::new((**rule).clone(), rule.location.clone());
            }
        }
        _ => {
            let mut ours = rules(set);
            if ours.is_empty() {
                return;
            }
            let list = rng.choice(&mut ours).unwrap();
            // Only tiers pass.
            let theirs = theirs.pop().filter(|rule| rule.action != gabion_policy_model::rule::Action::Pass);
            match rng.usize(0..4) {
                0 => list.extend(theirs),
                1 if !list.is_empty() => drop(list.remove(rng.usize(..list.len()))),
                2 if !list.is_empty() => rng.choice(&mut **list).unwrap().log ^= true,
                _ => {
                    if let (Some(rule), Some(theirs)) = (rng.choice(&mut **list), theirs) {
                        match rng.usize(0..3) {
                            0 => rule.services.clone_from(&theirs.services),
                            1 => rule.from.clone_from(&theirs.from),
                            _ => rule.to.clone_from(&theirs.to),
                        }
                    }
                }
            }
        }
    }
    set.sort();
}

#[test]
fn an_edited_policy_becomes_what_it_would_become_anew() {
    let (mut compiled, mut refused) = (0, 0);
    for seed in 0..24 {
        let mut rng = Rng::with_seed(seed);
        let mut set = policy_set(&mut rng);
        // Some are refused now and then: for how long they take, for what they need, for what they are.
        let options = match seed % 4 {
            0 => Options { steps: rng.usize(1_000..40_000), ..Options::default() },
            1 => Options { scratch_bytes: rng.usize(1_000..40_000), ..Options::default() },
            2 => Options { list_length: rng.usize(4..40), single_group_bytes: 0, ..Options::default() },
            _ => Options::default(),
        };
        let mut known = Known::default();
        for step in 0..40 {
            let (again, anew) = (compile_again(&set, &options, &mut known), compile(&set, &options));
            assert_eq!(again, anew, "seed {seed}, step {step}: {set:#?}");
            if anew.is_ok() {
                compiled += 1
            } else {
                refused += 1
            }
            for _ in 0..rng.usize(0..3) {
                edit(&mut set, &mut rng);
            }
        }
    }
    assert!(compiled > 400 && refused > 80, "{compiled} compiled, {refused} refused");
}
