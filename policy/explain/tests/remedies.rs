//! What is proposed must work: the text, added to the policy, lets the packet pass, whatever the policy was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use gabion_policy_explain::packet::{Asked, Place};
use gabion_policy_explain::{Directory, Oracle, Packet, Tables, explain, verdict};
use gabion_policy_model::finding::Code;
use gabion_policy_model::oracle::Action;
use gabion_policy_model::rule::{ClusterPolicy, Stage};
use gabion_policy_model::text::{Source, parse};

fn random_packet(rng: &mut Rng) -> Packet<'static> {
    let sent = gabion_testing_oracle::packet(rng);
    Packet {
        facts: sent.facts,
        source_interface: sent.source_interface,
        destination_interface: sent.destination_interface,
        asked: Asked::BOTH,
        place: Place::EndToEnd,
        assumed: Vec::new(),
    }
}

fn consulted(policy: &ClusterPolicy) -> (Stage, u32, &str, u32, &str) {
    (policy.tier.stage, policy.tier.order, &policy.tier.name, policy.order, &policy.name)
}

#[test]
fn proposed_documents_let_the_packet_pass() {
    let (mut denied, mut proposed) = (0, 0);
    for seed in 1..=150 {
        let mut rng = Rng::with_seed(seed);
        let set = gabion_testing_oracle::policy_set(&mut rng);
        let directory = Directory::new(&set);
        for _ in 0..20 {
            let packet = random_packet(&mut rng);
            let before = verdict(&Oracle(&set), &directory, &packet);
            let answer = explain(&set, &directory, &packet, &before);
            assert_eq!(answer.would_allow.is_empty(), before.is_allowed(), "seed {seed}");
            if before.is_allowed() {
                continue;
            }
            denied += 1;
            let documents: Vec<_> = answer.would_allow.iter().filter_map(|remedy| remedy.yaml.clone()).collect();
            if documents.len() < answer.would_allow.len() {
                continue;
            }
            let text = documents.join("---\n");
            let added = match parse(&[Source::new("proposed", text.clone())]) {
                Ok(added) => added,
                // The random subject that is repeated there has exceptions that text would not let it have.
                Err(findings) if findings.iter().all(|finding| finding.code == Code::Except) => continue,
                Err(findings) => panic!("seed {seed}: {findings:#?}\n{text}"),
            };
            proposed += 1;
            let mut mended = set.clone();
            mended.policies.extend(added.policies);
            mended.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            mended.cluster_policies.extend(added.cluster_policies);
            mended.cluster_policies.sort_by(|a, b| consulted(a).cmp(&consulted(b)));
            let directory = Directory::new(&mended);
            let after = verdict(&Oracle(&mended), &directory, &packet);
            assert!(after.decisions().all(|(_, d)| d.action != Action::Deny), "seed {seed}: {text}");
        }
    }
    assert!(denied > 500, "{denied}");
    assert!(proposed * 10 > denied * 7, "only {proposed} of {denied} denials have a remedy");
}

#[test]
fn tables_and_oracle_give_one_verdict() {
    for seed in 1..=100 {
        let mut rng = Rng::with_seed(seed);
        let set = gabion_testing_oracle::policy_set(&mut rng);
        let compiled = gabion_policy_compile::compile(&set, &gabion_policy_compile::Options::default()).unwrap();
        let (directory, tables) = (Directory::new(&set), Tables::new(&compiled));
        for _ in 0..50 {
            let packet = random_packet(&mut rng);
            let expected = verdict(&Oracle(&set), &directory, &packet);
            assert_eq!(verdict(&tables, &directory, &packet), expected, "seed {seed}: {packet:?}");
        }
    }
}
