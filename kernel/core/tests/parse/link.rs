use gabion_abi::facts::{ETHERTYPE_LLC, FAMILY_NONE, FAMILY_V4, FAMILY_V6, Facts, VLAN_NONE, unparsed};

use crate::frames::{MACS, TCP_SYN, UDP, V4_TCP, V4_UDP, facts, facts_l3, ipv4_hex, ipv6_hex, octets};

#[test]
fn ethernet_gives_macs_and_ethertype_and_nothing_else() {
    let expected =
        Facts { destination_mac: 0x010c_cd01_0001, source_mac: 0x0200_0000_0102, ethertype: 0x88b8, ..Facts::UNKNOWN };
    assert_eq!(facts(&format!("{MACS} 88b8 3001")), expected);
    assert_eq!(facts(&format!("{MACS} 88b8")), expected);
    assert_eq!(facts(&format!("{MACS} 0600")).ethertype, 0x0600);
}

#[test]
fn every_length_below_an_ethernet_header_is_link_truncated() {
    let whole = octets(&format!("{MACS} 88b8"));
    for length in 0..whole.len() {
        let found = gabion_kernel_core::parse::parse(&&whole[..length], false);
        assert_eq!(found, Facts { unparsed: unparsed::LINK_TRUNCATED, ..Facts::UNKNOWN });
    }
}

#[test]
fn one_tag_of_each_tpid_is_the_outer_one() {
    for tpid in ["8100", "88a8", "9100"] {
        let found = facts(&format!("{MACS} {tpid} b123 88b8 3001"));
        assert_eq!((found.vlan_outer, found.vlan_inner, found.ethertype), (0x123, VLAN_NONE, 0x88b8), "{tpid}");
        assert_eq!(found.unparsed, unparsed::NONE);
    }
}

#[test]
fn a_priority_tag_is_vid_0_not_untagged() {
    assert_eq!(facts(&format!("{MACS} 8100 8000 88b8")).vlan_outer, 0);
}

#[test]
fn two_tags_in_any_mixture_are_outer_and_inner() {
    for (outer, inner) in [("88a8", "8100"), ("8100", "8100"), ("9100", "9100"), ("8100", "88a8")] {
        let found = facts(&format!("{MACS} {outer} 0064 {inner} 0fff 0800 {}", ipv4_hex(V4_TCP, TCP_SYN)));
        assert_eq!((found.vlan_outer, found.vlan_inner), (100, 4095));
        assert_eq!((found.family, found.destination_port, found.transport_offset), (FAMILY_V4, 502, 42));
    }
}

#[test]
fn a_third_tag_is_vlan_depth_and_keeps_the_two() {
    for third in ["8100", "88a8", "9100"] {
        let found = facts(&format!("{MACS} 88a8 0064 8100 00c8 {third} 0001 0800 {}", ipv4_hex(V4_TCP, TCP_SYN)));
        assert_eq!(found.unparsed, unparsed::VLAN_DEPTH);
        assert_eq!((found.vlan_outer, found.vlan_inner, found.ethertype, found.family), (100, 200, 0, FAMILY_NONE));
    }
}

#[test]
fn a_tag_that_is_cut_is_link_truncated() {
    for rest in ["8100", "8100 00", "8100 0001 88", "8100 0001 8100", "8100 0001 8100 0002 08"] {
        assert_eq!(facts(&format!("{MACS} {rest}")).unparsed, unparsed::LINK_TRUNCATED, "{rest}");
    }
    let found = facts(&format!("{MACS} 8100 0001 8100 0002 08"));
    assert_eq!((found.vlan_outer, found.vlan_inner, found.ethertype), (1, VLAN_NONE, 0));
}

#[test]
fn llc_is_reported_with_dsap_and_ssap() {
    // A spanning tree BPDU (802.1D), padded to 60 octets.
    let found = facts(&format!("0180c2000000 020000000102 0026 424203 {}", "00".repeat(43)));
    assert_eq!((found.ethertype, found.llc, found.unparsed), (ETHERTYPE_LLC, 0x4242, unparsed::NONE));
    // Tagged, IS-IS.
    let found = facts(&format!("{MACS} 8100 0005 0003 fefe03"));
    assert_eq!((found.vlan_outer, found.ethertype, found.llc), (5, ETHERTYPE_LLC, 0xfefe));
    // Novell's raw 802.3 has no LLC; the kernel knows it by these two octets.
    assert_eq!(facts(&format!("{MACS} 0004 ffff0022")).llc, 0xffff);
}

#[test]
fn llc_beyond_its_length_or_the_frame_is_llc_truncated() {
    let cases = [
        ("0003 4242", "header cut by the frame"),
        ("0002 424203", "header cut by the length"),
        ("0000 424203", "length 0"),
        ("0004 424203", "length beyond the frame"),
        ("05dc 424203 00", "length 1500 beyond the frame"),
        ("0007 aaaa03 000000 0800", "SNAP cut by the length"),
        ("0007 aaaa03 000000 08", "SNAP cut by both"),
    ];
    for (rest, what) in cases {
        let found = facts(&format!("{MACS} {rest}"));
        assert_eq!((found.unparsed, found.ethertype, found.llc), (unparsed::LLC_TRUNCATED, ETHERTYPE_LLC, 0), "{what}");
    }
}

#[test]
fn snap_under_oui_0_is_its_ethertype() {
    let found = facts(&format!("{MACS} 0028 aaaa03 000000 0800 {}", ipv4_hex(V4_UDP, UDP)));
    assert_eq!((found.ethertype, found.llc, found.family), (0x0800, 0, FAMILY_V4));
    assert_eq!((found.destination_port, found.transport_offset, found.unparsed), (53, 42, unparsed::NONE));
    let found = facts(&format!("{MACS} 0008 aaaa03 000000 88b8"));
    assert_eq!((found.ethertype, found.llc), (0x88b8, 0));
}

#[test]
fn snap_that_names_no_ethertype_stays_llc() {
    // Cisco's OUI (CDP), 802.1H's OUI, and a number that is no EtherType: it could pose as `ETHERTYPE_LLC`.
    for header in ["aaaa03 00000c 2000", "aaaa03 0000f8 0800", "aaaa03 000000 0004", "aaaa00 000000 0800"] {
        let found = facts(&format!("{MACS} 0008 {header}"));
        assert_eq!((found.ethertype, found.llc, found.unparsed), (ETHERTYPE_LLC, 0xaaaa, unparsed::NONE), "{header}");
    }
}

#[test]
fn the_802_3_length_ends_the_ip_packet() {
    // The IP packet of 32 octets is all in the frame, but the length vouches for 31 of them.
    let found = facts(&format!("{MACS} 0027 aaaa03 000000 0800 {}", ipv4_hex(V4_UDP, UDP)));
    assert_eq!(found.unparsed, unparsed::NETWORK_TRUNCATED);
}

#[test]
fn l3_devices_have_no_macs_and_take_the_ethertype_from_the_version() {
    let found = facts_l3(&ipv4_hex(V4_TCP, TCP_SYN));
    assert_eq!((found.ethertype, found.source_mac, found.destination_mac), (0x0800, 0, 0));
    assert_eq!((found.family, found.transport_offset), (FAMILY_V4, 20));
    let found = facts_l3(&ipv6_hex(6, TCP_SYN));
    assert_eq!((found.ethertype, found.family, found.transport_offset), (0x86dd, FAMILY_V6, 40));
}

#[test]
fn l3_packets_of_no_or_another_version_are_unparsed() {
    assert_eq!(facts_l3(""), Facts { unparsed: unparsed::NETWORK_TRUNCATED, ..Facts::UNKNOWN });
    for first in ["00", "50", "70", "f0"] {
        let found = facts_l3(&format!("{first}{}", "00".repeat(40)));
        assert_eq!(found, Facts { unparsed: unparsed::NETWORK_MALFORMED, ..Facts::UNKNOWN });
    }
}

#[test]
fn arp_gives_its_ethertype_and_no_address() {
    let found = facts(&format!("{MACS} 0806 0001 0800 0604 0001 020000000102 0a000001 000000000000 0a000002"));
    assert_eq!((found.ethertype, found.family, found.unparsed), (0x0806, FAMILY_NONE, unparsed::NONE));
    assert_eq!((found.source.words, found.destination.words), ([0; 4], [0; 4]));
}
