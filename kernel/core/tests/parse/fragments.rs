use gabion_abi::facts::{
    FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Facts, TRANSPORT_NONE, TRANSPORT_PORTS, unparsed,
};

use crate::frames::{TCP_SYN, UDP, ipv4, ipv6};

/// An IPv4 fragment; `field` holds flags and offset in units of 8 octets.
fn v4(protocol: u8, field: u16, payload: &str) -> Facts {
    ipv4(&format!("1234{field:04x} 40{protocol:02x} 0000 0a000001 0a000002"), payload)
}

/// An IPv6 fragment; `field` holds the offset in octets, whose last bit says that more follow.
fn v6(next: u8, field: u16, payload: &str) -> Facts {
    ipv6(44, &format!("{next:02x}00 {field:04x} 89abcdef {payload}"))
}

const MORE: u16 = 0x2000;
const DATA: &str = "0102030405060708";

#[test]
fn a_first_fragment_carries_the_transport_header() {
    let found = v4(17, MORE, &format!("{UDP}05060708"));
    assert_eq!((found.fragment, found.fragment_id, found.unparsed), (FRAGMENT_FIRST, 0x1234, unparsed::NONE));
    assert_eq!((found.transport, found.destination_port), (TRANSPORT_PORTS, 53));
    let found = v6(17, 1, &format!("{UDP}05060708"));
    assert_eq!((found.fragment, found.fragment_id, found.unparsed), (FRAGMENT_FIRST, 0x89ab_cdef, unparsed::NONE));
    assert_eq!((found.transport, found.destination_port, found.transport_offset), (TRANSPORT_PORTS, 53, 48));
}

#[test]
fn a_later_fragment_carries_none() {
    for found in [v4(17, 3, TCP_SYN), v4(17, MORE | 3, DATA), v6(17, 24, TCP_SYN), v6(17, 25, DATA)] {
        assert_eq!((found.fragment, found.protocol, found.unparsed), (FRAGMENT_LATER, 17, unparsed::NONE));
        assert_eq!((found.transport, found.source_port, found.transport_offset), (TRANSPORT_NONE, 0, 0));
    }
    assert_eq!((v4(17, 3, DATA).fragment_id, v6(17, 24, DATA).fragment_id), (0x1234, 0x89ab_cdef));
}

#[test]
fn dont_fragment_and_the_reserved_bit_make_no_fragment() {
    for field in [0x4000, 0x8000] {
        let found = v4(17, field, UDP);
        assert_eq!((found.fragment, found.fragment_id, found.destination_port), (FRAGMENT_NONE, 0, 53));
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    // RFC 6946; the reserved bits say nothing.
    for field in [0, 2, 4, 6] {
        let found = v6(17, field, UDP);
        assert_eq!((found.fragment, found.fragment_id, found.unparsed), (FRAGMENT_NONE, 0, unparsed::NONE));
        assert_eq!((found.protocol, found.destination_port), (17, 53));
    }
}

#[test]
fn a_tiny_first_fragment_is_transport_truncated() {
    // RFC 1858: 16 octets hold the ports, but not the flags.
    let tiny = "c00101f6 00000001 00000000 5002 2000";
    for found in [v4(6, MORE, tiny), v6(6, 1, tiny)] {
        assert_eq!((found.unparsed, found.fragment), (unparsed::TRANSPORT_TRUNCATED, FRAGMENT_FIRST));
        assert_eq!((found.transport, found.source_port), (TRANSPORT_NONE, 0));
    }
    assert_eq!(v4(132, MORE, DATA).unparsed, unparsed::TRANSPORT_TRUNCATED);
    assert_eq!(v4(33, MORE, DATA).unparsed, unparsed::TRANSPORT_TRUNCATED);
    // A DCCP header with extended sequence numbers has 16 octets; here are 12.
    assert_eq!(v4(33, MORE, "0b590b5a 0400 0000 01000000").unparsed, unparsed::TRANSPORT_TRUNCATED);
    assert_eq!(v4(6, MORE, &format!("{TCP_SYN} 01020304")).unparsed, unparsed::NONE);
}

#[test]
fn a_first_fragment_need_not_hold_the_tcp_options() {
    // Data offset 15, of which the first 24 octets are here.
    let found = v4(6, MORE, "c00101f6 00000001 00000000 f002 2000 00000000 01010101");
    assert_eq!((found.unparsed, found.tcp_flags), (unparsed::NONE, 0x02));
}

#[test]
fn a_first_fragment_without_its_extension_headers_is_extension_malformed() {
    // RFC 7112: the whole chain is in the first fragment.
    let found = v6(60, 1, "0601 010c0000 0000");
    assert_eq!((found.unparsed, found.fragment), (unparsed::EXTENSION_MALFORMED, FRAGMENT_FIRST));
    assert_eq!(found.fragment_id, 0x89ab_cdef);
}

#[test]
fn a_later_fragment_inside_the_transport_header_is_fragment_overlap() {
    // TCP has 20 octets, SCTP and DCCP 12, the others at most 8 and no offset below that.
    for (protocol, smallest) in [(6, 24), (132, 16), (33, 16), (17, 8), (136, 8), (1, 8), (58, 8), (50, 8), (2, 8)] {
        for offset in [8u16, 16, 24, 32] {
            let expected = if offset < smallest { unparsed::FRAGMENT_OVERLAP } else { unparsed::NONE };
            for found in [v4(protocol, offset / 8, DATA), v6(protocol, offset, DATA)] {
                assert_eq!((found.unparsed, found.fragment), (expected, FRAGMENT_LATER), "{protocol} at {offset}");
                assert_eq!(found.protocol, protocol);
            }
        }
    }
}

#[test]
fn a_later_fragment_behind_extension_headers_counts_as_one_of_tcp() {
    // 8 octets of extension header and 20 of TCP at least.
    for (offset, expected) in [(8, unparsed::FRAGMENT_OVERLAP), (24, unparsed::FRAGMENT_OVERLAP), (32, unparsed::NONE)]
    {
        assert_eq!(v6(60, offset, DATA).unparsed, expected, "{offset}");
    }
    // In IPv4 that number is a protocol like any other.
    assert_eq!(v4(60, 1, DATA).unparsed, unparsed::NONE);
}

#[test]
fn a_fragment_past_65535_octets_is_fragment_malformed() {
    // IPv4 counts its header: 20 + 65,504 + 8 = 65,532, and 16 octets of data make 65,540.
    assert_eq!(v4(17, 8188, DATA).unparsed, unparsed::NONE);
    let found = v4(17, 8188, &DATA.repeat(2));
    assert_eq!((found.unparsed, found.fragment), (unparsed::FRAGMENT_MALFORMED, FRAGMENT_LATER));
    // The ping of death: the largest offset.
    assert_eq!(v4(1, 0x1fff, DATA).unparsed, unparsed::FRAGMENT_MALFORMED);
    // IPv6 counts the payload: 65,520 + 8 = 65,528 fits, 65,528 + 8 does not.
    assert_eq!(v6(17, 65_520, DATA).unparsed, unparsed::NONE);
    assert_eq!(v6(17, 65_528, DATA).unparsed, unparsed::FRAGMENT_MALFORMED);
    // And the headers before the fragment header, which come back in the reassembled packet.
    let found = ipv6(60, &format!("2c00 010400000000 1100 fff0 00000001 {DATA}"));
    assert_eq!(found.unparsed, unparsed::FRAGMENT_MALFORMED);
}

#[test]
fn a_second_fragment_header_is_extension_malformed() {
    for first in ["0000", "0001"] {
        let found = ipv6(44, &format!("2c00 {first} 00000001 1100 0010 00000002 {DATA}"));
        assert_eq!(found.unparsed, unparsed::EXTENSION_MALFORMED);
    }
}

#[test]
fn a_later_fragment_of_what_no_first_one_may_hold_is_extension_malformed() {
    // Hop-by-hop options or a fragment header behind the fragment header.
    for next in [0, 44] {
        let found = v6(next, 64, DATA);
        assert_eq!((found.unparsed, found.fragment), (unparsed::EXTENSION_MALFORMED, FRAGMENT_LATER), "{next}");
        assert_eq!((found.protocol, found.fragment_id), (0, 0x89ab_cdef));
    }
}
