use gabion_abi::facts::{Address, FAMILY_NONE, FAMILY_V6, TRANSPORT_NONE, TRANSPORT_PORTS, unparsed};

use crate::frames::{MACS, TCP_SYN, UDP, V6_DESTINATION, V6_SOURCE, facts, facts_l3, ipv6, ipv6_hex, octets};

/// A destination options header of 8 octets: PadN.
fn options(next: u8) -> String {
    format!("{next:02x}00 010400000000")
}

#[test]
fn addresses_and_protocol_are_read() {
    let found = ipv6(6, TCP_SYN);
    assert_eq!((found.family, found.protocol, found.unparsed), (FAMILY_V6, 6, unparsed::NONE));
    assert_eq!(found.source, Address::v6(0x2001_0db8_0000_0000_0000_0000_0000_0001));
    assert_eq!(found.destination.words, [0x2001_0db8, 0, 0, 2]);
    assert_eq!((found.destination_port, found.tcp_flags), (502, 0x02));
}

#[test]
fn every_extension_header_is_skipped() {
    for kind in [0, 43, 60, 135, 139, 140] {
        let found = ipv6(kind, &format!("{}{TCP_SYN}", options(6)));
        assert_eq!((found.protocol, found.destination_port, found.transport_offset), (6, 502, 48), "{kind}");
        // A length field of 2 means 24 octets.
        let found = ipv6(kind, &format!("0602 {} {TCP_SYN}", "00".repeat(22)));
        assert_eq!((found.protocol, found.destination_port, found.transport_offset), (6, 502, 64), "{kind}");
    }
    // AH counts in 4 octets, minus 2: 4 means 24 octets (RFC 4302).
    let found = ipv6(51, &format!("0604 0000 00000001 00000002 {} {TCP_SYN}", "00".repeat(12)));
    assert_eq!((found.protocol, found.destination_port, found.transport_offset), (6, 502, 64));
    // The longest one.
    let found = ipv6(60, &format!("06ff {} {TCP_SYN}", "00".repeat(2046)));
    assert_eq!((found.protocol, found.destination_port, found.transport_offset), (6, 502, 2088));
}

#[test]
fn esp_no_next_header_and_unknown_protocols_end_the_chain() {
    for protocol in [4, 41, 47, 50, 59, 89, 112, 253, 254] {
        let found = ipv6(60, &format!("{} 2c00000000000000", options(protocol)));
        assert_eq!((found.protocol, found.transport, found.unparsed), (protocol, TRANSPORT_NONE, unparsed::NONE));
    }
    assert_eq!(ipv6(59, "").unparsed, unparsed::NONE);
}

#[test]
fn eight_extension_headers_are_followed_and_a_ninth_is_extension_depth() {
    let chain = |headers: usize| options(60).repeat(headers - 1) + &options(17) + UDP;
    let found = ipv6(60, &chain(8));
    assert_eq!((found.unparsed, found.destination_port), (unparsed::NONE, 53));
    let found = ipv6(60, &chain(9));
    assert_eq!((found.unparsed, found.protocol, found.transport), (unparsed::EXTENSION_DEPTH, 0, TRANSPORT_NONE));
    assert_eq!(found.family, FAMILY_V6);
}

#[test]
fn extension_headers_that_do_not_fit_are_extension_malformed() {
    for (kind, payload, what) in [
        (60, "", "nothing there"),
        (60, "0600 0000 00", "below 8 octets"),
        (43, "0601 0000 00000000", "length beyond the packet"),
        (44, "0600 0001 0000", "fragment header cut"),
        (51, "0600 0000 00000000", "AH shorter than its fixed part"),
        (51, "0602 0000 00000000", "AH beyond the packet"),
    ] {
        let found = ipv6(kind, payload);
        assert_eq!((found.unparsed, found.protocol), (unparsed::EXTENSION_MALFORMED, 0), "{what}");
    }
    // All there in the frame, but behind the payload length.
    let padded = format!("{MACS} 86dd {} 06000000 00000000 {TCP_SYN}", ipv6_hex(60, ""));
    assert_eq!(facts(&padded).unparsed, unparsed::EXTENSION_MALFORMED);
}

#[test]
fn hop_by_hop_anywhere_but_first_is_extension_malformed() {
    // RFC 8200 §4.1 and 4.3: an unrecognized next header there.
    assert_eq!(ipv6(60, &format!("{}{}{UDP}", options(0), options(17))).unparsed, unparsed::EXTENSION_MALFORMED);
    assert_eq!(ipv6(0, &format!("{}{}{UDP}", options(0), options(17))).unparsed, unparsed::EXTENSION_MALFORMED);
}

#[test]
fn a_header_that_is_cut_is_network_truncated() {
    let whole = octets(&ipv6_hex(6, TCP_SYN));
    for length in 1..whole.len() {
        let found = gabion_kernel_core::parse::parse(&&whole[..length], true);
        assert_eq!(found.unparsed, unparsed::NETWORK_TRUNCATED, "{length}");
        assert_eq!(found.family, if length < 40 { FAMILY_NONE } else { FAMILY_V6 }, "{length}");
    }
}

#[test]
fn another_version_is_network_malformed() {
    let found = facts(&format!("{MACS} 86dd 45000028 {}", "00".repeat(40)));
    assert_eq!((found.unparsed, found.family, found.ethertype), (unparsed::NETWORK_MALFORMED, FAMILY_NONE, 0x86dd));
}

#[test]
fn a_multicast_source_is_address_malformed_and_the_unspecified_one_is_not() {
    let packet = ipv6_hex(17, UDP);
    let multicast = packet.replace(V6_SOURCE, "ff020000000000000000000000000001");
    let found = facts_l3(&multicast);
    assert_eq!((found.unparsed, found.source.words[0]), (unparsed::ADDRESS_MALFORMED, 0xff02_0000));
    // Duplicate address detection (RFC 4862).
    let unspecified = packet.replace(V6_SOURCE, &"00".repeat(16));
    assert_eq!(facts_l3(&unspecified).unparsed, unparsed::NONE);
    let to_multicast = packet.replace(V6_DESTINATION, "ff020000000000000000000000000001");
    assert_eq!(facts_l3(&to_multicast).unparsed, unparsed::NONE);
}

#[test]
fn payload_length_0_is_taken_from_segments_above_64_kib_only() {
    let mut segment = octets(&format!("60000000 0000 06 40 {V6_SOURCE}{V6_DESTINATION}{TCP_SYN}"));
    assert_eq!(gabion_kernel_core::parse::parse(&segment.as_slice(), true).unparsed, unparsed::TRANSPORT_TRUNCATED);
    segment.resize(40 + 65_536, 0);
    let found = gabion_kernel_core::parse::parse(&segment.as_slice(), true);
    assert_eq!((found.unparsed, found.transport, found.destination_port), (unparsed::NONE, TRANSPORT_PORTS, 502));
    // Kernels before 7.0 put a jumbo payload option in front (RFC 2675).
    let jumbo = format!("60000000 0000 00 40 {V6_SOURCE}{V6_DESTINATION} 0600 c204 00010014 {TCP_SYN}");
    let mut segment = octets(&jumbo);
    assert_eq!(gabion_kernel_core::parse::parse(&segment.as_slice(), true).unparsed, unparsed::EXTENSION_MALFORMED);
    segment.resize(40 + 65_556, 0);
    let found = gabion_kernel_core::parse::parse(&segment.as_slice(), true);
    assert_eq!((found.unparsed, found.destination_port, found.transport_offset), (unparsed::NONE, 502, 48));
}
