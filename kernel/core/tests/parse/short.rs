//! The short way reads what the parser reads, and only what it may decide about.

use gabion_abi::facts::{FRAGMENT_NONE, Facts, VLAN_NONE, unparsed};
use gabion_kernel_core::key::is_icmp_error;
use gabion_kernel_core::parse::parse;
use gabion_kernel_core::short::usual;
use proptest::prelude::*;

use crate::frames::{
    ECHO, MACS, TCP_SYN, UDP, V4_ICMP, V4_TCP, V4_UDP, V6_SOURCE, every_kind, ipv4_hex, ipv6_hex, octets,
};
use crate::properties::hostile;

/// The facts of a frame if it is of the usual form.
fn short(frame: &[u8]) -> Option<Facts> {
    let mut facts = Facts::UNKNOWN;
    if usual::<false, _>(&frame, &mut facts) {
        assert!(!usual::<true, _>(&frame, &mut Facts::default()), "both families: {frame:02x?}");
        return Some(facts);
    }
    usual::<true, _>(&frame, &mut facts).then_some(facts)
}

/// Whether the short way took the frame; what it found is what the parser finds.
fn holds(frame: &[u8]) -> bool {
    let Some(found) = short(frame) else { return false };
    let parsed = parse(&frame, false);
    let expected = Facts { source_mac: 0, destination_mac: 0, transport_offset: 0, ..parsed };
    assert_eq!(found, expected, "{frame:02x?}");
    assert_eq!((parsed.unparsed, parsed.fragment), (unparsed::NONE, FRAGMENT_NONE), "{frame:02x?}");
    assert_eq!((parsed.vlan_outer, parsed.vlan_inner), (VLAN_NONE, VLAN_NONE), "{frame:02x?}");
    assert!(!is_icmp_error(parsed.family, parsed.icmp_type), "{frame:02x?}");
    assert!(!parsed.has_discovery_type(), "{frame:02x?}");
    true
}

#[test]
fn frames_of_every_kind_cut_and_changed_are_read_as_the_parser_does() {
    let (mut taken, mut left) = (0, 0);
    for (_, layer3, mut frame) in every_kind() {
        if layer3 {
            continue;
        }
        let mut count = |frame: &[u8]| if holds(frame) { taken += 1 } else { left += 1 };
        for length in 0..=frame.len() {
            count(&frame[..length]);
        }
        frame.extend([0; 8]);
        for at in 0..frame.len().min(60) {
            let before = frame[at];
            for octet in [0, 1, 0xff, before ^ 1, before ^ 0x80, before.wrapping_add(1), before.wrapping_sub(1)] {
                frame[at] = octet;
                count(&frame);
            }
            frame[at] = before;
        }
    }
    println!("{taken} taken, {left} left to the long way");
    assert!(taken > 1_000 && left > 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_read_as_the_parser_does(frame in hostile()) {
        holds(&frame);
    }
}

fn v4(header: &str, payload: &str) -> Vec<u8> {
    octets(&format!("{MACS} 0800 {}", ipv4_hex(header, payload)))
}

fn v6(next: u8, payload: &str) -> Vec<u8> {
    octets(&format!("{MACS} 86dd {}", ipv6_hex(next, payload)))
}

#[test]
fn whole_packets_without_tag_or_options_are_taken() {
    let no_ports = "00000001 00000001";
    for frame in [
        v4(V4_TCP, TCP_SYN),
        v4(V4_UDP, UDP),
        v4(V4_ICMP, ECHO),
        v4(&V4_TCP.replace("4006", "402f"), no_ports),
        v4(&V4_TCP.replace("4006", "4032"), ""),
        v4(&V4_TCP.replace("12340000", "12344000"), TCP_SYN),
        v6(6, TCP_SYN),
        v6(17, UDP),
        v6(58, "8000 0000 beef 0001"),
        v6(50, no_ports),
        v6(59, ""),
    ] {
        assert!(holds(&frame), "{frame:02x?}");
        let mut padded = frame;
        padded.extend([0; 20]);
        assert!(holds(&padded), "{padded:02x?}");
    }
}

#[test]
fn what_needs_a_closer_look_is_never_taken() {
    let tagged = |tag: &str| octets(&format!("{MACS} {tag} 0800 {}", ipv4_hex(V4_TCP, TCP_SYN)));
    let from = |source: &str| v4(&V4_TCP.replacen("0a000001", source, 1), TCP_SYN);
    let of = |protocol: &str, payload: &str| v4(&V4_TCP.replace("4006", &format!("40{protocol}")), payload);
    let mut frames = vec![
        ("tag", tagged("8100 0001")),
        ("priority tag", tagged("8100 0000")),
        ("service tag", tagged("88a8 0001")),
        ("two tags", tagged("88a8 0001 8100 0002")),
        ("SNAP", octets(&format!("{MACS} 0030 aaaa03 000000 0800 {}", ipv4_hex(V4_TCP, TCP_SYN)))),
        ("ARP", octets(&format!("{MACS} 0806 {}", ipv4_hex(V4_TCP, TCP_SYN)))),
        ("IPv6 under the EtherType of IPv4", octets(&format!("{MACS} 0800 {}", ipv6_hex(6, TCP_SYN)))),
        ("IPv4 under the EtherType of IPv6", octets(&format!("{MACS} 86dd {}", ipv4_hex(V4_TCP, &TCP_SYN.repeat(2))))),
        ("options", v4(&format!("{V4_TCP} 94040000"), TCP_SYN)),
        ("first fragment", v4(&V4_UDP.replace("12340000", "12342000"), UDP)),
        ("later fragment", v4(&V4_UDP.replace("12340000", "12340002"), UDP)),
        ("last fragment", v4(&V4_UDP.replace("12340000", "12341fff"), UDP)),
        ("multicast sender", from("e0000001")),
        ("last multicast sender", from("efffffff")),
        ("broadcast sender", from("ffffffff")),
        ("IPv6 multicast sender", {
            let hex = ipv6_hex(6, TCP_SYN).replacen(V6_SOURCE, "ff020000000000000000000000000001", 1);
            octets(&format!("{MACS} 86dd {hex}"))
        }),
        ("SCTP", of("84", "0b590b59 00000000 00000000 01000014")),
        ("UDP-Lite", of("88", "0b590b5a 0008 0000 01")),
        ("DCCP", of("21", "0b590b5a 0400 0000 01000001 00000000 00000000")),
        ("short TCP header", v4(V4_TCP, &TCP_SYN.replace("5002", "4002"))),
        ("long TCP header", v4(V4_TCP, &TCP_SYN.replace("5002", "6002"))),
        ("UDP length below its header", v4(V4_UDP, &UDP.replace("000c", "0007"))),
        ("UDP length 0", v4(V4_UDP, &UDP.replace("000c", "0000"))),
        ("UDP length beyond the packet", v4(V4_UDP, &UDP.replace("000c", "000d"))),
    ];
    for kind in [3, 4, 5, 11, 12] {
        frames.push(("ICMP error", v4(V4_ICMP, &ECHO.replacen("08", &format!("{kind:02x}"), 1))));
    }
    for kind in (1..=4).chain(133..=137) {
        frames.push(("ICMPv6 error or discovery", v6(58, &format!("{kind:02x}00 0000 00000000"))));
    }
    for next in [0, 43, 44, 51, 60, 135, 139, 140] {
        frames.push(("extension header", v6(next, &format!("0600 0000 00000000 {TCP_SYN}"))));
    }
    // Total length (at 16) and payload length (at 18), one less and one more than is there.
    for (frame, at) in [(v4(V4_TCP, TCP_SYN), 17), (v6(6, TCP_SYN), 19)] {
        for by in [1, 255] {
            let mut wrong = frame.clone();
            wrong[at] = wrong[at].wrapping_add(by);
            frames.push(("wrong length", wrong));
        }
    }
    for (what, frame) in frames {
        assert!(short(&frame).is_none(), "{what}: {frame:02x?}");
    }
}
