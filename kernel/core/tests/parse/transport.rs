use gabion_abi::facts::{Facts, TRANSPORT_ICMP, TRANSPORT_NONE, TRANSPORT_PORTS, unparsed};

use crate::frames::{TCP_SYN, UDP, ipv4, ipv6};

/// The payload under a protocol number, in IPv4 and in IPv6.
fn both(protocol: u8, payload: &str) -> [Facts; 2] {
    [v4(protocol, payload), ipv6(protocol, payload)]
}

fn v4(protocol: u8, payload: &str) -> Facts {
    ipv4(&format!("12340000 40{protocol:02x} 0000 0a000001 0a000002"), payload)
}

#[test]
fn tcp_gives_ports_and_every_flag() {
    for flags in 0..=255u8 {
        for found in both(6, &format!("c00101f6 00000001 00000000 50{flags:02x} 2000 0000 0000")) {
            assert_eq!((found.transport, found.source_port, found.destination_port), (TRANSPORT_PORTS, 0xc001, 502));
            assert_eq!((found.tcp_flags, found.unparsed), (flags, unparsed::NONE));
        }
    }
}

#[test]
fn tcp_data_offset_below_5_is_transport_malformed() {
    for offset in 0..5 {
        for found in both(6, &format!("c00101f6 00000001 00000000 {offset:x}0 12 2000 0000 0000")) {
            assert_eq!((found.unparsed, found.destination_port), (unparsed::TRANSPORT_MALFORMED, 502), "{offset}");
            assert_eq!(found.tcp_flags, 0x12);
        }
    }
}

#[test]
fn tcp_options_beyond_the_packet_are_transport_truncated() {
    for found in both(6, "c00101f6 00000001 00000000 6002 2000 0000 0000") {
        assert_eq!((found.unparsed, found.destination_port), (unparsed::TRANSPORT_TRUNCATED, 502));
    }
    for found in both(6, "c00101f6 00000001 00000000 6002 2000 0000 0000 020405b4") {
        assert_eq!(found.unparsed, unparsed::NONE);
    }
}

#[test]
fn headers_below_their_minimum_are_transport_truncated() {
    let long = "c00101f6 00000001 00000000 5002 2000 0000 0000".replace(' ', "");
    for (protocol, minimum) in [(6, 20), (17, 8), (136, 8), (132, 12), (33, 12)] {
        for length in 0..minimum {
            for found in both(protocol, &long[..2 * length]) {
                assert_eq!(found.unparsed, unparsed::TRANSPORT_TRUNCATED, "{protocol} with {length}");
                assert_eq!((found.transport, found.source_port, found.transport_offset), (TRANSPORT_NONE, 0, 0));
                assert_eq!(found.protocol, protocol);
            }
        }
    }
    for length in 0..8 {
        let (icmp, icmp6) = (v4(1, &long[..2 * length]), ipv6(58, &long[..2 * length]));
        assert_eq!((icmp.unparsed, icmp6.unparsed), (unparsed::TRANSPORT_TRUNCATED, unparsed::TRANSPORT_TRUNCATED));
        assert_eq!((icmp.icmp_type, icmp6.icmp_type), (0, 0));
    }
}

#[test]
fn udp_gives_ports_and_its_length_is_held_to_the_packet() {
    for found in both(17, UDP) {
        assert_eq!((found.transport, found.source_port, found.destination_port), (TRANSPORT_PORTS, 5353, 53));
        assert_eq!(found.unparsed, unparsed::NONE);
    }
    for (length, expected) in [
        ("0000", unparsed::TRANSPORT_MALFORMED),
        ("0007", unparsed::TRANSPORT_MALFORMED),
        ("0008", unparsed::NONE), // octets behind the datagram: UDP options (RFC 9868)
        ("000d", unparsed::TRANSPORT_MALFORMED),
        ("ffff", unparsed::TRANSPORT_MALFORMED),
    ] {
        for found in both(17, &format!("14e90035 {length} 0000 01020304")) {
            assert_eq!((found.unparsed, found.destination_port), (expected, 53), "{length}");
        }
    }
}

#[test]
fn udp_lite_coverage_is_0_or_at_least_the_header() {
    for (coverage, expected) in [
        ("0000", unparsed::NONE),
        ("0001", unparsed::TRANSPORT_MALFORMED),
        ("0007", unparsed::TRANSPORT_MALFORMED),
        ("0008", unparsed::NONE),
        ("000c", unparsed::NONE),
        ("000d", unparsed::TRANSPORT_MALFORMED),
    ] {
        for found in both(136, &format!("14e90035 {coverage} 0000 01020304")) {
            assert_eq!((found.unparsed, found.destination_port), (expected, 53), "{coverage}");
        }
    }
}

#[test]
fn sctp_gives_ports() {
    for found in both(132, "0b590b5a 00000000 00000000 01000014") {
        assert_eq!((found.transport, found.source_port, found.destination_port), (TRANSPORT_PORTS, 2905, 2906));
        assert_eq!((found.unparsed, found.tcp_flags), (unparsed::NONE, 0));
    }
}

#[test]
fn dccp_data_offset_is_held_to_its_kind_of_header() {
    // The lowest bit of the ninth octet says that sequence numbers are extended (RFC 4340 §5.1).
    for (header, expected) in [
        ("03 000000 00000000", unparsed::NONE),
        ("02 000000 00000000", unparsed::TRANSPORT_MALFORMED),
        ("03 000000 01000000 00000000", unparsed::TRANSPORT_MALFORMED),
        ("04 000000 01000000 00000000", unparsed::NONE),
        ("04 000000 01000000", unparsed::TRANSPORT_TRUNCATED),
        ("05 000000 01000000 00000000", unparsed::TRANSPORT_TRUNCATED),
    ] {
        for found in both(33, &format!("0b590b5a {header}")) {
            assert_eq!((found.unparsed, found.destination_port), (expected, 2906), "{header}");
        }
    }
}

#[test]
fn icmp_gives_type_and_code_in_its_own_family_only() {
    for (kind, code) in [(0u8, 0u8), (3, 1), (3, 3), (8, 0), (11, 1), (255, 255)] {
        let payload = format!("{kind:02x}{code:02x} 0000 1234 0001");
        for found in [v4(1, &payload), ipv6(58, &payload)] {
            assert_eq!((found.transport, found.icmp_type, found.icmp_code), (TRANSPORT_ICMP, kind, code));
            assert_eq!((found.unparsed, found.source_port, found.destination_port), (unparsed::NONE, 0, 0));
        }
        for found in [v4(58, &payload), ipv6(1, &payload)] {
            assert_eq!((found.transport, found.icmp_type, found.icmp_id), (TRANSPORT_NONE, 0, 0));
            assert_eq!(found.unparsed, unparsed::NONE);
        }
    }
    let found = v4(1, "0800 0000 beef 0001");
    assert_eq!(found.transport_offset, 20);
}

#[test]
fn icmp_identifiers_are_those_of_queries() {
    for kind in 0..=255u8 {
        let payload = format!("{kind:02x}00 0000 beef 0001");
        let query = [0, 8, 13, 14, 17, 18].contains(&kind);
        assert_eq!(v4(1, &payload).icmp_id, if query { 0xbeef } else { 0 }, "ICMP {kind}");
        assert_eq!(ipv6(58, &payload).icmp_id, if [128, 129].contains(&kind) { 0xbeef } else { 0 }, "ICMPv6 {kind}");
    }
}

#[test]
fn a_fragmented_syn_has_ports_and_flags() {
    let found = ipv4("12342000 4006 0000 0a000001 0a000002", &format!("{TCP_SYN} 00000000"));
    assert_eq!((found.destination_port, found.tcp_flags), (502, 2));
}
