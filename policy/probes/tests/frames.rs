//! Facts become frames that a parser reads back as the same facts, or a refusal that names the field.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use fastrand::Rng;
use gabion_abi::event::Event;
use gabion_abi::facts::{
    Address, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC, FAMILY_V4, FAMILY_V6, Facts, unparsed,
};
use gabion_kernel_core::parse::parse;
use gabion_policy_explain::Directory;
use gabion_policy_model::PolicySet;
use gabion_policy_probes::live::{Link, probe};
use gabion_policy_probes::{Document, NotFramed, Place, Sender, frame, golden};
use gabion_testing_oracle::{follow_up, packet};

/// What a parser finds, without what it cannot know or counts by itself.
fn read(bytes: &[u8]) -> Facts {
    Facts { node: 0, transport_offset: 0, ..parse(&bytes, false) }
}

#[test]
fn every_packet_that_can_be_parsed_has_a_frame() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..20_000 {
        let facts = Facts { node: 0, unparsed: unparsed::NONE, ..packet(&mut rng).facts };
        let facts = Facts { icmp_id: 0, ..facts };
        let bytes = frame(&facts, false).unwrap_or_else(|error| panic!("{error} {facts:#?}"));
        assert_eq!(read(&bytes), facts);
    }
}

/// The facts of broken frames, as a node reports them.
#[test]
fn faults_of_broken_frames_can_be_made_again() {
    let mut rng = Rng::with_seed(2);
    let mut made = [[0; 2]; unparsed::COUNT as usize];
    for _ in 0..60_000 {
        let facts = Facts { unparsed: unparsed::NONE, ..packet(&mut rng).facts };
        let mut bytes = if rng.bool() { follow_up(&mut rng, &facts) } else { frame(&facts, false).unwrap() };
        if rng.bool() {
            bytes.truncate(rng.usize(14..bytes.len()));
        }
        for _ in 0..rng.usize(0..3) {
            let at = rng.usize(12..bytes.len().max(13)).min(bytes.len() - 1);
            bytes[at] = rng.u8(..);
        }
        let wanted = read(&bytes);
        let reason = usize::from(wanted.unparsed);
        match frame(&wanted, false) {
            Err(_) => made[reason][1] += 1,
            Ok(again) => {
                made[reason][0] += 1;
                let again = read(&again);
                let seen = |f: &Facts| {
                    (
                        f.source_mac,
                        f.destination_mac,
                        f.ethertype,
                        f.vlan_outer,
                        f.vlan_inner,
                        f.family,
                        f.source,
                        f.destination,
                    )
                };
                assert_eq!((seen(&again), again.unparsed), (seen(&wanted), wanted.unparsed));
            }
        }
    }
    for (reason, [made, refused]) in made.iter().enumerate() {
        println!("{:20} made {made:6} refused {refused:6}", unparsed::NAMES[reason]);
        assert_eq!(*refused, 0, "{}", unparsed::NAMES[reason]);
    }
}

#[test]
fn each_fault_has_a_frame() {
    let v4 = Facts {
        ethertype: ETHERTYPE_IPV4,
        family: FAMILY_V4,
        source: Address::v4(0x0a00_0001),
        destination: Address::v4(0x0a00_0002),
        ..Facts::UNKNOWN
    };
    let v6 = Facts {
        ethertype: ETHERTYPE_IPV6,
        family: FAMILY_V6,
        source: Address::v6(0xfd00 << 112 | 1),
        destination: Address::v6(0xfd00 << 112 | 2),
        ..Facts::UNKNOWN
    };
    let none = Facts::UNKNOWN;
    let all = [
        (unparsed::LINK_TRUNCATED, none),
        (unparsed::LINK_TRUNCATED, Facts { vlan_outer: 7, ..none }),
        (unparsed::VLAN_DEPTH, Facts { vlan_outer: 7, vlan_inner: 8, ..none }),
        (unparsed::LLC_TRUNCATED, Facts { ethertype: ETHERTYPE_LLC, ..none }),
        (unparsed::NETWORK_TRUNCATED, v4),
        (unparsed::NETWORK_TRUNCATED, v6),
        (unparsed::NETWORK_TRUNCATED, Facts { ethertype: ETHERTYPE_IPV4, ..none }),
        (unparsed::NETWORK_TRUNCATED, Facts { ethertype: ETHERTYPE_IPV6, ..none }),
        (unparsed::NETWORK_MALFORMED, v4),
        (unparsed::NETWORK_MALFORMED, Facts { ethertype: ETHERTYPE_IPV4, ..none }),
        (unparsed::NETWORK_MALFORMED, Facts { ethertype: ETHERTYPE_IPV6, ..none }),
        (unparsed::EXTENSION_MALFORMED, v6),
        (unparsed::EXTENSION_DEPTH, v6),
        (unparsed::TRANSPORT_TRUNCATED, v4),
        (unparsed::TRANSPORT_TRUNCATED, v6),
        (unparsed::TRANSPORT_MALFORMED, v4),
        (unparsed::TRANSPORT_MALFORMED, v6),
        (unparsed::FRAGMENT_OVERLAP, v4),
        (unparsed::FRAGMENT_OVERLAP, v6),
        (unparsed::FRAGMENT_MALFORMED, v4),
        (unparsed::FRAGMENT_MALFORMED, v6),
        (unparsed::ADDRESS_MALFORMED, Facts { source: Address::v4(0xe000_0001), ..v4 }),
        (unparsed::ADDRESS_MALFORMED, Facts { source: Address::v6(0xff02 << 112 | 1), ..v6 }),
    ];
    for reason in 1..unparsed::COUNT {
        assert!(all.iter().any(|(known, _)| *known == reason), "{}", unparsed::NAMES[usize::from(reason)]);
    }
    for (reason, facts) in all {
        let facts = Facts { unparsed: reason, ..facts };
        let bytes = frame(&facts, false).unwrap_or_else(|error| panic!("{error} {facts:#?}"));
        assert_eq!(read(&bytes).unparsed, reason);
    }
}

#[test]
fn a_refusal_names_what_a_parser_would_find() {
    let facts = Facts {
        ethertype: ETHERTYPE_IPV6,
        family: FAMILY_V6,
        source: Address::v6(1),
        unparsed: unparsed::NETWORK_MALFORMED,
        ..Facts::UNKNOWN
    };
    let NotFramed { field, wanted, found, .. } = frame(&facts, false).unwrap_err();
    assert_eq!((field, wanted.as_str(), found.as_str()), ("addresses", "::1 to ::", "none to none"));
}

#[test]
fn events_say_where_a_packet_met_the_node() {
    let mut rng = Rng::with_seed(3);
    let mut event = Event { ifindex: 7, ..Event::default() };
    event.facts = loop {
        let facts = packet(&mut rng).facts;
        if facts.unparsed == unparsed::NONE && facts.family == FAMILY_V6 {
            break Facts { icmp_id: 0, ..facts };
        }
    };
    event.facts.node = 1;
    let link = Link { name: Some("lan"), layer3: false };
    let arrived = probe(&event, link).unwrap();
    assert_eq!(arrived.place, Place::Arrival { on: Some("lan".to_owned()) });
    assert_eq!(arrived.node, Some((FAMILY_V6, event.facts.destination)));
    event.hook = 1;
    let sent = probe(&event, link).unwrap();
    assert_eq!(sent.place, Place::Departure { from: Sender::Node, by: Some("lan".to_owned()) });
    assert_eq!(sent.node, Some((FAMILY_V6, event.facts.source)));
    event.facts.node = 0;
    let forwarded = probe(&event, Link { name: None, layer3: false }).unwrap();
    assert_eq!(forwarded.place, Place::Departure { from: Sender::Behind(None), by: None });
    assert_eq!(forwarded.node, None);
}

fn golden_error(case: &str) -> String {
    let text =
        format!("apiVersion: gabion.dev/v1alpha1\nkind: PolicyTest\ntests:\n  - {{name: odd, expect: deny, {case}}}\n");
    let set: PolicySet = PolicySet::default();
    let documents = Document::read(&text).unwrap();
    let directory = Directory::new(&set);
    golden(&directory, &documents[0]).unwrap_err().to_string()
}

#[test]
fn cases_that_no_frame_can_stand_for_are_named() {
    let arrives = "in: lan, from: 10.0.0.1, to: 10.0.0.2";
    let error = golden_error(&format!("{arrives}, protocol: nonsense"));
    assert!(error.starts_with("4:5: odd: ") && error.contains("nonsense"), "{error}");
    let error = golden_error("in: lan, from: \"fd00::1\", to: \"fd00::2\", unparsed: network-malformed");
    assert!(error.contains("addresses would be none to none, not fd00::1 to fd00::2"), "{error}");
    let error = golden_error(&format!("{arrives}, unparsed: vlan-depth"));
    assert!(error.contains("unparsed would be llc-truncated, not vlan-depth"), "{error}");
    let error = golden_error("in: lan, from: \"fd00::1\", to: \"fd00::2\", protocol: 43");
    assert!(error.contains("no frame says this"), "{error}");
}
