//! Any octets, as an Ethernet frame and as a packet of an L3 device: facts that contradict
//! themselves, offsets outside of the packet, keys that should not exist.
#![no_main]

use gabion_abi::facts::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, FRAGMENT_NONE,
    Facts, TRANSPORT_ICMP, TRANSPORT_NONE, TRANSPORT_PORTS, VLAN_NONE, protocol, unparsed,
};
use gabion_kernel_core::key::{conn_key, is_icmp_error, quoted, reversed};
use gabion_kernel_core::parse::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    for layer3 in [false, true] {
        let facts = parse(&packet, layer3);
        check_link(&facts, layer3);
        check_network(&facts);
        check_transport(&facts, packet);
        check_keys(&facts, packet);
    }
});

fn check_link(facts: &Facts, layer3: bool) {
    assert!(facts.unparsed < unparsed::COUNT);
    assert_eq!((facts.node, facts.padding), (0, [0; 2]));
    assert!(facts.hop_limit == 0 || facts.family == FAMILY_V6);
    for vid in [facts.vlan_outer, facts.vlan_inner] {
        assert!(vid < 4096 || vid == VLAN_NONE);
    }
    assert!(facts.vlan_inner == VLAN_NONE || facts.vlan_outer != VLAN_NONE);
    assert!(facts.llc == 0 || facts.ethertype == ETHERTYPE_LLC);
    if layer3 {
        assert_eq!((facts.source_mac, facts.destination_mac, facts.vlan_outer), (0, 0, VLAN_NONE));
        assert!([0, ETHERTYPE_IPV4, ETHERTYPE_IPV6].contains(&facts.ethertype));
    }
    if facts.unparsed == unparsed::LINK_TRUNCATED {
        assert_eq!(facts.ethertype, 0);
    }
}

fn check_network(facts: &Facts) {
    match facts.family {
        FAMILY_NONE => {
            assert_eq!((facts.protocol, facts.fragment, facts.transport), (0, FRAGMENT_NONE, TRANSPORT_NONE));
            assert_eq!((facts.source.words, facts.destination.words), ([0; 4], [0; 4]));
        }
        FAMILY_V4 => {
            assert_eq!(facts.ethertype, ETHERTYPE_IPV4);
            assert_eq!((&facts.source.words[1..], &facts.destination.words[1..]), (&[0; 3][..], &[0; 3][..]));
        }
        FAMILY_V6 => assert_eq!(facts.ethertype, ETHERTYPE_IPV6),
        other => panic!("family {other}"),
    }
    assert!(facts.fragment_id == 0 || facts.fragment != FRAGMENT_NONE);
    if facts.fragment == FRAGMENT_LATER {
        assert_eq!(facts.transport, TRANSPORT_NONE);
    }
    if [unparsed::FRAGMENT_OVERLAP, unparsed::FRAGMENT_MALFORMED].contains(&facts.unparsed) {
        assert_eq!(facts.fragment, FRAGMENT_LATER);
    }
}

fn check_transport(facts: &Facts, packet: &[u8]) {
    let at = usize::from(facts.transport_offset);
    match facts.transport {
        TRANSPORT_NONE => assert_eq!(at, 0),
        TRANSPORT_PORTS => {
            let ports = [facts.source_port.to_be_bytes(), facts.destination_port.to_be_bytes()].concat();
            assert_eq!(packet[at..at + 4], ports[..]);
        }
        TRANSPORT_ICMP => assert_eq!(packet[at..at + 2], [facts.icmp_type, facts.icmp_code]),
        other => panic!("transport {other}"),
    }
    if facts.transport != TRANSPORT_PORTS {
        assert_eq!((facts.source_port, facts.destination_port), (0, 0));
    }
    if facts.transport != TRANSPORT_ICMP {
        assert_eq!((facts.icmp_type, facts.icmp_code, facts.icmp_id), (0, 0, 0));
    }
    assert!(facts.tcp_flags == 0 || (facts.transport == TRANSPORT_PORTS && facts.protocol == protocol::TCP));
}

fn check_keys(facts: &Facts, packet: &[u8]) {
    let own = conn_key(facts);
    if let Some(key) = own {
        assert_eq!(facts.unparsed, unparsed::NONE);
        assert_ne!(facts.family, FAMILY_NONE);
        assert_eq!(reversed(&reversed(&key)), key);
    }
    if let Some(key) = quoted(&packet, facts) {
        assert!(own.is_none() && is_icmp_error(facts.family, facts.icmp_type));
        assert_eq!((key.source, key.family, key.padding), (facts.destination, facts.family, 0));
    }
}
