//! Oracle = tables, for random policies and packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use fastrand::Rng;
use gabion_abi::facts::{self, Facts, protocol};
use gabion_abi::tables::HAS_LANES;
use gabion_kernel_core::classify::{SliceTables, Tables, classify, classify_by_lane};
use gabion_policy_compile::{Options, compile};
use gabion_policy_model::oracle;
use gabion_policy_model::trace::Direction;
use gabion_testing_oracle::{Discovery, decoded, interface_class, packet, policy_set};

/// Random decisions in one run; `GABION_DECISIONS` changes it.
const DECISIONS: usize = 100_000;
/// Packets for each policy.
const PACKETS: usize = 250;

#[test]
fn tables_decide_as_the_oracle_does() {
    agree(&Options::default());
}

/// The same with every list split into groups, as large policies are.
#[test]
fn split_tables_decide_as_the_oracle_does() {
    agree(&Options { single_group_bytes: 0, ..Options::default() });
}

fn agree(options: &Options) {
    let first = std::env::var("GABION_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let decisions = std::env::var("GABION_DECISIONS").ok().map_or(DECISIONS, |n| n.parse().unwrap());
    let mut actions = [0usize; 3];
    let mut discovery = Discovery::default();
    for seed in first..first + (decisions / (2 * PACKETS)) as u64 {
        let mut rng = Rng::with_seed(seed);
        let set = policy_set(&mut rng);
        let compiled = compile(&set, options).unwrap();
        assert_eq!(compiled, compile(&set, options).unwrap(), "seed {seed}: not deterministic");
        let tables = SliceTables { params: &compiled.params, words: &compiled.words };
        for _ in 0..PACKETS {
            let sent = packet(&mut rng);
            discovery.count(&sent.facts);
            let judged = oracle::judge(&set, &sent.facts, sent.source_interface, sent.destination_interface);
            let found = classify(
                &tables,
                &sent.facts,
                interface_class(&compiled, sent.source_interface),
                interface_class(&compiled, sent.destination_interface),
            );
            for (direction, expected, word) in
                [(Direction::Egress, judged.egress, found.egress), (Direction::Ingress, judged.ingress, found.ingress)]
            {
                actions[expected.action as usize] += 1;
                assert_eq!(
                    decoded(&compiled, word),
                    (direction, expected),
                    "GABION_SEED={seed}: {direction:?} of {sent:#?}\n{set:#?}"
                );
            }
        }
    }
    println!("allow, deny, audit: {actions:?}");
    discovery.has_everything();
    assert!(actions.iter().all(|&count| count > 0), "{actions:?}: the world does not exercise every action");
}

/// A whole IPv4 packet in a frame without a tag, of a protocol that lanes are for.
fn in_lane(rng: &mut Rng) -> Facts {
    let sent = std::iter::repeat_with(|| packet(rng).facts).find(|facts| facts.family == facts::FAMILY_V4).unwrap();
    let Facts { source, destination, ethertype, family, source_port, destination_port, .. } = sent;
    let mut facts = Facts { source, destination, ethertype, family, ..Facts::UNKNOWN };
    facts.protocol = [protocol::TCP, protocol::TCP, protocol::UDP, protocol::ICMP, rng.u8(..)][rng.usize(0..5)];
    match facts.protocol {
        protocol::TCP | protocol::UDP => {
            facts.transport = facts::TRANSPORT_PORTS;
            facts.source_port = if rng.bool() { source_port } else { rng.u16(..) };
            facts.destination_port = if rng.bool() { destination_port } else { rng.u16(..) };
            if facts.protocol == protocol::TCP {
                facts.tcp_flags = if rng.bool() { rng.u8(..64) } else { rng.u8(..) };
            }
        }
        protocol::ICMP => {
            facts.transport = facts::TRANSPORT_ICMP;
            (facts.icmp_type, facts.icmp_code) = (rng.u8(..), rng.u8(..));
            if rng.bool() {
                (facts.icmp_type, facts.icmp_code) = ([0, 3, 8, 11, 135][rng.usize(0..5)], rng.u8(0..3));
            }
        }
        // These have ports, and no lane.
        protocol::SCTP | protocol::DCCP | protocol::UDPLITE => facts.protocol = protocol::GRE,
        _ => {}
    }
    facts
}

#[test]
fn lanes_lead_where_the_services_lead() {
    let (mut with, mut without) = (0, 0);
    for seed in 1..=60 {
        let mut rng = Rng::with_seed(seed);
        let set = policy_set(&mut rng);
        let options = Options { single_group_bytes: [0, 4 << 20][rng.usize(0..2)], ..Options::default() };
        let compiled = compile(&set, &options).unwrap();
        let tables = SliceTables { params: &compiled.params, words: &compiled.words };
        if tables.param(HAS_LANES) == 0 {
            without += 1;
            continue;
        }
        with += 1;
        for _ in 0..4 * PACKETS {
            let facts = in_lane(&mut rng);
            let class = rng.u32(0..=compiled.interfaces.len() as u32);
            let expected = classify(&tables, &facts, class, 0);
            assert_eq!(classify_by_lane(&tables, &facts, class), expected, "seed {seed}: {facts:?}\n{set:#?}");
        }
    }
    println!("{with} policies with lanes, {without} without");
    assert!(with > 50);
}
