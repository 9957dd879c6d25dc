//! The text against records whose layout C prescribes, and the digest against the standard library's SipHash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate std;

use std::string::String;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::boundary;

#[repr(C)]
#[derive(Contract)]
struct Flow {
    source: [u8; 6],
    source_port: u16,
    #[contract(unit = "ns")]
    age_ns: u64,
}

#[repr(C, align(8))]
#[derive(Contract)]
struct Pair<T, const N: usize> {
    first: T,
    rest: [T; N],
}

fn signature(shape: &Shape) -> String {
    let mut out = vec![0; shape.signature_length()];
    signature::Sink::new(&mut out).signature(shape);
    String::from_utf8(out).unwrap()
}

fn text(set: &Set<'_>) -> String {
    let mut out = vec![0; set.length()];
    assert_eq!(set.write(&mut out), out.len());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_signature_says_names_types_places_and_units() {
    let expected =
        "Flow\n  size 16 align 8\n  source: [u8; 6] at 0\n  source_port: u16 at 6\n  age_ns: u64 at 8 unit ns\n";
    assert_eq!(signature(Flow::SHAPE), expected);
}

#[test]
fn a_generic_type_has_a_contract_for_each_of_its_arguments() {
    let flow =
        "    size 16 align 8\n    source: [u8; 6] at 0\n    source_port: u16 at 6\n    age_ns: u64 at 8 unit ns\n";
    let pair = "Pair<Flow, 2>\n  size 48 align 8\n  first: Flow at 0\n";
    let expected = std::format!("{pair}{flow}  rest: [Flow; 2] at 16\n{flow}");
    assert_eq!(signature(Pair::<Flow, 2>::SHAPE), expected);
    assert!(signature(Pair::<[i32; 2], 1>::SHAPE).starts_with("Pair<[i32; 2], 1>\n  size 16 align 8\n"));
    let digests = [Pair::<u64, 2>::SHAPE.digest(), Pair::<i64, 2>::SHAPE.digest(), Pair::<u64, 3>::SHAPE.digest()];
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
}

#[test]
#[allow(deprecated, reason = "the standard library's SipHash-2-4, whose successor promises no algorithm")]
fn a_digest_is_the_siphash_of_the_signature() {
    use std::hash::{Hasher, SipHasher};
    let oracle = |bytes: &[u8]| {
        let mut hasher = SipHasher::new();
        hasher.write(bytes);
        hasher.finish()
    };
    for shape in boundary::RECORDS {
        assert_eq!(shape.digest(), oracle(signature(shape).as_bytes()));
    }
    let bytes: Vec<u8> = (0..=200).collect();
    for length in 0..bytes.len() {
        let mut hash = digest::SipHash::new();
        bytes[..length].iter().for_each(|&byte| hash.byte(byte));
        assert_eq!(hash.finish(), oracle(&bytes[..length]), "{length} bytes");
    }
}

#[test]
fn what_is_worked_out_in_const_is_the_same() {
    const LENGTH: usize = Flow::SHAPE.signature_length();
    const TEXT: [u8; LENGTH] = Flow::SHAPE.signature();
    assert_eq!(TEXT, signature(Flow::SHAPE).as_bytes());
    const SET: [u8; boundary::OBJECT.length()] = boundary::OBJECT.text();
    assert_eq!(SET, text(&boundary::OBJECT).as_bytes());
}

#[test]
fn a_set_names_every_record_map_and_service() {
    let text = text(&boundary::OBJECT);
    assert!(text.starts_with("gabion contracts 1\nset object version 1\ncontract "));
    for line in [
        "map ESTABLISHED lru-hash of ConnKey to ConnValue",
        "map PARAMS global of [u32; 256]",
        "service events version 1 of Event",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let numbers = Set { name: "n", version: u32::MAX, records: &[], places: &[], services: &[] };
    assert_eq!(self::text(&numbers), "gabion contracts 1\nset n version 4294967295\n");
}

/// Who adds a record adds it to the list.
#[test]
fn every_record_of_this_crate_is_in_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        // The words of contracts are not records.
        if path.is_file() && !path.ends_with("contract.rs") {
            let source = std::fs::read_to_string(path).unwrap();
            let declared = source.lines().filter_map(|line| line.strip_prefix("pub struct "));
            names.extend(declared.map(|rest| String::from(rest.split([' ', '<', '(', ';']).next().unwrap())));
        }
    }
    let others = boundary::OWNERS.records.iter().chain(boundary::GATEKEEPER.records);
    let records = boundary::RECORDS.iter().chain(others);
    let listed: Vec<String> = records.map(|shape| String::from(signature(shape).lines().next().unwrap())).collect();
    names.sort();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(names, sorted);
}

#[test]
fn an_event_that_no_program_sends_is_not_let_in() {
    use crate::event::Event;
    let event = Event::default();
    assert_eq!(boundary::EVENTS.admit(event), Ok(event));
    let mut odd = [event; 12];
    odd[0].hook = 2;
    odd[1].verdict.action = 2;
    odd[2].verdict.reason = 8;
    odd[3].verdict.direction = 2;
    odd[4].facts.unparsed = 13;
    odd[5].facts.fragment = 3;
    odd[6].facts.transport = 3;
    odd[7].facts.node = 2;
    odd[8].facts.family = 5;
    odd[9].facts.family = 7;
    odd[10].facts.source_mac = 1 << 48;
    odd[11].facts.destination_mac = 1 << 63;
    let refused = odd.map(|event| boundary::EVENTS.admit(event).unwrap_err().field);
    let fields = [
        "hook",
        "verdict.action",
        "verdict.reason",
        "verdict.direction",
        "facts.unparsed",
        "facts.fragment",
        "facts.transport",
        "facts.node",
        "facts.family",
        "facts.family",
        "facts.source_mac",
        "facts.destination_mac",
    ];
    assert_eq!(refused.map(|field| field.strip_prefix("Event.").unwrap()), fields);
    let odd = odd[0];
    let refused = boundary::EVENTS.admit(odd).unwrap_err();
    assert_eq!(std::format!("{refused}"), "Event.hook is 2, and must be 0 (ingress) or 1 (egress)");
}
