use gabion_abi::facts::{Address, FAMILY_NONE, FAMILY_V4, TRANSPORT_NONE, unparsed};

use crate::frames::{MACS, TCP_SYN, UDP, V4_TCP, V4_UDP, facts, facts_l3, ipv4, ipv4_hex, octets};

#[test]
fn addresses_and_protocol_are_read() {
    let found = ipv4(V4_TCP, TCP_SYN);
    assert_eq!((found.family, found.protocol, found.unparsed), (FAMILY_V4, 6, unparsed::NONE));
    assert_eq!((found.source, found.destination), (Address::v4(0x0a00_0001), Address::v4(0x0a00_0002)));
    assert_eq!((found.fragment, found.fragment_id), (0, 0), "identification counts for fragments only");
}

#[test]
fn options_are_skipped_up_to_the_longest_header() {
    for words in [1, 5, 10] {
        let found = ipv4(&format!("{V4_TCP}{}", "01010101".repeat(words)), TCP_SYN);
        assert_eq!((found.destination_port, found.unparsed), (502, unparsed::NONE));
        assert_eq!(usize::from(found.transport_offset), 20 + 4 * words);
    }
}

#[test]
fn every_protocol_without_ports_is_carried_by_number() {
    for protocol in (0..=255u8).filter(|p| ![1, 6, 17, 33, 132, 136].contains(p)) {
        let found = ipv4(&format!("12340000 40{protocol:02x} 0000 0a000001 0a000002"), "c00101f6");
        assert_eq!((found.protocol, found.transport, found.unparsed), (protocol, TRANSPORT_NONE, 0));
        assert_eq!((found.source_port, found.destination_port, found.transport_offset), (0, 0, 0));
    }
}

#[test]
fn ethernet_padding_is_not_part_of_the_packet() {
    let plain = format!("{MACS} 0800 {}", ipv4_hex(V4_UDP, UDP));
    assert_eq!(facts(&format!("{plain}{}", "ff".repeat(14))), facts(&plain));
    // 4 octets of UDP header are in the packet, the rest of it only in the padding.
    let short = format!("{MACS} 0800 {} {}", ipv4_hex(V4_UDP, "14e90035"), "000c 0000 01020304");
    assert_eq!(facts(&short).unparsed, unparsed::TRANSPORT_TRUNCATED);
}

#[test]
fn a_header_that_is_cut_is_network_truncated() {
    let whole = octets(&ipv4_hex(&format!("{V4_TCP} 94040000"), TCP_SYN));
    for length in 1..whole.len() {
        let found = gabion_kernel_core::parse::parse(&&whole[..length], true);
        assert_eq!(found.unparsed, unparsed::NETWORK_TRUNCATED, "{length}");
        assert_eq!(found.family, if length < 20 { FAMILY_NONE } else { FAMILY_V4 }, "{length}");
        assert_eq!((found.transport, found.source_port), (TRANSPORT_NONE, 0));
    }
}

#[test]
fn a_total_length_beyond_the_frame_keeps_the_addresses() {
    let found = facts_l3("45000029 12340000 40060000 0a000001 0a000002 c00101f6 00000001 00000000 50022000 00000000");
    assert_eq!((found.unparsed, found.protocol), (unparsed::NETWORK_TRUNCATED, 6));
    assert_eq!(found.source, Address::v4(0x0a00_0001));
}

#[test]
fn version_ihl_and_total_length_that_contradict_are_network_malformed() {
    let rest = "12340000 40060000 0a000001 0a000002 c00101f6 00000001 00000000 50022000 00000000";
    for (start, what) in [
        ("44000028", "IHL 4"),
        ("40000028", "IHL 0"),
        ("45000013", "total length 19"),
        ("45000000", "total length 0"),
        ("46000017", "total length below IHL"),
    ] {
        assert_eq!(facts_l3(&format!("{start}{rest}")).unparsed, unparsed::NETWORK_MALFORMED, "{what}");
    }
    let found = facts(&format!("{MACS} 0800 65000028 {rest}"));
    assert_eq!((found.unparsed, found.family, found.ethertype), (unparsed::NETWORK_MALFORMED, FAMILY_NONE, 0x0800));
}

#[test]
fn sources_that_nobody_can_have_are_address_malformed() {
    for source in ["e0000001", "efffffff", "ffffffff"] {
        let found = ipv4(&V4_UDP.replace("0a000001", source), UDP);
        assert_eq!((found.unparsed, found.protocol, found.transport), (unparsed::ADDRESS_MALFORMED, 17, 0), "{source}");
        assert_eq!(found.source, Address::v4(u32::from_str_radix(source, 16).unwrap()));
    }
}

#[test]
fn sources_that_look_odd_but_are_legitimate_parse() {
    // DHCP and IGMP before an address is known (RFC 2131, RFC 3376), class E, loopback, link-local.
    for source in ["00000000", "f0000001", "fffffffe", "7f000001", "a9fe0001"] {
        assert_eq!(ipv4(&V4_UDP.replace("0a000001", source), UDP).unparsed, unparsed::NONE, "{source}");
    }
    for destination in ["ffffffff", "e0000016"] {
        assert_eq!(ipv4(&V4_UDP.replace("0a000002", destination), UDP).unparsed, unparsed::NONE);
    }
}

#[test]
fn total_length_0_is_taken_from_segments_above_64_kib_only() {
    let mut segment =
        octets("45000000 12340000 40060000 0a000001 0a000002 c00101f6 00000001 00000000 50022000 00000000");
    segment.resize(65_535, 0);
    assert_eq!(gabion_kernel_core::parse::parse(&segment.as_slice(), true).unparsed, unparsed::NETWORK_MALFORMED);
    segment.resize(65_536, 0);
    let found = gabion_kernel_core::parse::parse(&segment.as_slice(), true);
    assert_eq!((found.unparsed, found.destination_port), (unparsed::NONE, 502));
}
