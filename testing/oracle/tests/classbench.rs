//! Oracle = tables, for every ClassBench filter set that is there.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Instant;

use fastrand::Rng;
use gabion_abi::facts::{self, Address, ETHERTYPE_IPV4, Facts, protocol};
use gabion_abi::tables::{HAS_LANES, entry};
use gabion_kernel_core::classify::{SliceTables, classify, classify_by_lane};
use gabion_policy_compile::{Options, compile};
use gabion_policy_import::{Source, classbench::Actions, import_classbench};
use gabion_policy_model::oracle;
use gabion_policy_model::trace::Direction;

fn data() -> PathBuf {
    std::env::var_os("GABION_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from)
}

/// An address, a port and a protocol of a random line, or random ones.
fn header(rng: &mut Rng, lines: &[&str]) -> Facts {
    let number = |text: &str| text.trim().parse::<u32>().unwrap();
    let fields: Vec<&str> = lines[rng.usize(0..lines.len())].split('\t').collect();
    let address = |rng: &mut Rng, field: &str| {
        let (ip, length) = field.trim_start_matches('@').split_once('/').unwrap();
        let ip = ip.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
        let host = u32::MAX.checked_shr(number(length)).unwrap_or(0);
        ip | [0, host, rng.u32(..) & host][rng.usize(0..3)]
    };
    let port = |rng: &mut Rng, field: &str| {
        let (low, high) = field.split_once(':').unwrap();
        let (low, high) = (number(low), number(high));
        [low, high, rng.u32(low..=high)][rng.usize(0..3)] as u16
    };
    let mut facts = Facts { family: facts::FAMILY_V4, ethertype: ETHERTYPE_IPV4, ..Facts::UNKNOWN };
    facts.source = Address::v4(address(rng, fields[0]));
    facts.destination = Address::v4(address(rng, fields[1]));
    let (source_port, destination_port) = (port(rng, fields[2]), port(rng, fields[3]));
    let number = u8::from_str_radix(&fields[4][2..4], 16).unwrap();
    facts.protocol = if number == 0 { [6, 17, 1][rng.usize(0..3)] } else { number };
    if rng.bool() {
        facts.source = Address::v4(rng.u32(..));
        facts.protocol = [6, 17, 1, 47][rng.usize(0..4)];
    }
    match facts.protocol {
        protocol::TCP | protocol::UDP => {
            facts.transport = facts::TRANSPORT_PORTS;
            (facts.source_port, facts.destination_port) = (source_port, destination_port);
            if facts.protocol == protocol::TCP {
                facts.tcp_flags = [0x02, 0x10, 0x12, 0x04][rng.usize(0..4)];
            }
        }
        protocol::ICMP => {
            facts.transport = facts::TRANSPORT_ICMP;
            (facts.icmp_type, facts.icmp_code) = (rng.u8(0..16), rng.u8(0..4));
        }
        _ => {}
    }
    facts
}

#[test]
fn filter_sets_decide_as_the_oracle_does() {
    let Ok(folder) = std::fs::read_dir(data().join("classbench")) else {
        println!("skipped: no ClassBench filter sets at {}", data().display());
        return;
    };
    let mut files: Vec<PathBuf> = folder.map(|f| f.unwrap().path()).filter(|p| p.extension().is_none()).collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let set = import_classbench(Source { name, text: &text }, Actions::Alternate).unwrap().policies;
        let start = Instant::now();
        let compiled = compile(&set, &Options::default()).unwrap();
        println!("{name}: compiled in {:?}: {:?}", start.elapsed(), compiled.stats);
        let tables = SliceTables { params: &compiled.params, words: &compiled.words };
        let lines: Vec<&str> = text.lines().collect();
        let mut rng = Rng::with_seed(7);
        for _ in 0..4_000_000 / lines.len() {
            let facts = header(&mut rng, &lines);
            let expected = oracle::decide(&set, &facts, None, None, Direction::Ingress);
            let entries = classify(&tables, &facts, 0, 0);
            if compiled.params[HAS_LANES] != 0 {
                assert_eq!(classify_by_lane(&tables, &facts, 0), entries, "{name}: {facts:?}");
            }
            let found = entries.ingress;
            assert_eq!(compiled.rules[entry::rule(found) as usize].reference, expected.rule, "{name}: {facts:?}");
        }
    }
}
