//! Which messages of the neighbour discovery types can be genuine (RFC 4861), octet by octet.

use gabion_abi::facts::{Facts, unparsed};

use crate::frames::{V6_DESTINATION, V6_SOURCE, facts_l3, octets};

/// The solicited-node group of 2001:db8::2 (RFC 4291 §2.7.1).
const SOLICITED: &str = "ff0200000000000000000001ff000002";

/// A message of 24 octets: type, code, checksum, reserved, target.
fn message(hop_limit: u8, destination: &str, kind: u8, code: u8) -> Facts {
    let payload = format!("{kind:02x}{code:02x} 0000 00000000 {V6_DESTINATION}");
    facts_l3(&format!("60000000 0018 3a {hop_limit:02x} {V6_SOURCE}{destination}{payload}"))
}

#[test]
fn the_hop_limit_is_the_octet_behind_the_next_header() {
    for hop_limit in [0, 1, 64, 254, 255] {
        assert_eq!(message(hop_limit, SOLICITED, 135, 0).hop_limit, hop_limit);
    }
}

#[test]
fn a_message_of_this_link_is_genuine_with_code_0_and_hop_limit_255_only() {
    for kind in 133..=137 {
        assert!(message(255, SOLICITED, kind, 0).is_link_control(), "{kind}");
        for (hop_limit, code) in [(254, 0), (64, 0), (1, 0), (0, 0), (255, 1), (255, 255)] {
            let found = message(hop_limit, SOLICITED, kind, code);
            assert!(!found.is_link_control(), "type {kind} code {code} hop limit {hop_limit}");
            assert!(found.has_discovery_type() && found.unparsed == unparsed::NONE);
        }
    }
    // Echo and its answer, the listener messages (MLD) in front, what came after RFC 4861 behind.
    for kind in [1, 128, 129, 130, 131, 132, 138, 143, 148] {
        assert!(!message(255, SOLICITED, kind, 0).is_link_control(), "{kind}");
    }
}

#[test]
fn an_address_beyond_the_link_makes_it_an_ordinary_packet_unless_an_end_is_the_node() {
    let rest = "0000000000000000000000000001";
    for (first, of_link) in [
        ("fe80", true),
        ("febf", true),
        ("fe7f", false),
        ("fec0", false),
        ("ff02", true),
        ("ff01", false),
        ("ff03", false),
        ("ff05", false),
        ("ff0e", false),
        ("ff12", false),
        ("2001", false),
        ("fd00", false),
    ] {
        let mut found = message(255, &format!("{first}{rest}"), 136, 0);
        assert_eq!(found.is_link_control(), of_link, "{first}");
        found.node = 1;
        assert!(found.is_link_control(), "{first}: for the node itself, or from it");
        found.hop_limit = 254;
        assert!(!found.is_link_control(), "{first}: forwarded to the node");
    }
}

#[test]
fn a_fragment_is_not_neighbour_discovery() {
    // RFC 6980 §5. The first fragment of a solicitation, identification 7, more to come.
    let first =
        format!("60000000 0020 2c ff {V6_SOURCE}{SOLICITED} 3a000001 00000007 87000000 00000000 {V6_DESTINATION}");
    let found = facts_l3(&first);
    assert!(found.has_discovery_type() && !found.is_link_control(), "{found:?}");
    // Behind other extension headers it is what it is.
    let options =
        format!("60000000 0020 3c ff {V6_SOURCE}{SOLICITED} 3a00 010400000000 87000000 00000000 {V6_DESTINATION}");
    assert!(facts_l3(&options).is_link_control());
}

#[test]
fn what_is_cut_is_unparsed_and_nothing_else() {
    let whole = octets(&format!("60000000 0018 3a ff {V6_SOURCE}{SOLICITED} 87000000 00000000 {V6_DESTINATION}"));
    for length in 1..whole.len() {
        assert!(!gabion_kernel_core::parse::parse(&&whole[..length], true).is_link_control(), "{length}");
    }
}
