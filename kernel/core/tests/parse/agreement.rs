//! `etherparse` reads the same packets; the two must not differ about one that both accept.

use etherparse::{LinkExtSlice, LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use gabion_abi::facts::{
    Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, FRAGMENT_NONE, Facts, TRANSPORT_ICMP, TRANSPORT_PORTS,
    VLAN_NONE, protocol, unparsed,
};
use gabion_kernel_core::parse::parse;
use proptest::prelude::*;

use crate::properties::hostile;

fn mac(octets: [u8; 6]) -> u64 {
    octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet))
}

/// Compares what `etherparse` found with the facts of a packet that both accept.
fn agree(theirs: &SlicedPacket<'_>, ours: &Facts) -> Result<(), TestCaseError> {
    if let Some(LinkSlice::Ethernet2(ethernet)) = &theirs.link {
        prop_assert_eq!(ours.source_mac, mac(ethernet.source()));
        prop_assert_eq!(ours.destination_mac, mac(ethernet.destination()));
        let vids: Vec<u16> = theirs.vlan_ids().iter().map(|vid| vid.value()).collect();
        prop_assert_eq!(ours.vlan_outer, vids.first().copied().unwrap_or(VLAN_NONE));
        prop_assert_eq!(ours.vlan_inner, vids.get(1).copied().unwrap_or(VLAN_NONE));
    }
    let fragmented = match &theirs.net {
        Some(NetSlice::Ipv4(ip)) => {
            prop_assert_eq!(ours.family, FAMILY_V4);
            prop_assert_eq!(ours.source, Address::v4(u32::from_be_bytes(ip.header().source())));
            prop_assert_eq!(ours.destination, Address::v4(u32::from_be_bytes(ip.header().destination())));
            prop_assert_eq!(ours.protocol, ip.header().protocol().0);
            ip.is_payload_fragmented()
        }
        Some(NetSlice::Ipv6(ip)) => {
            prop_assert_eq!(ours.family, FAMILY_V6);
            prop_assert_eq!(ours.source, Address::v6(u128::from_be_bytes(ip.header().source())));
            prop_assert_eq!(ours.destination, Address::v6(u128::from_be_bytes(ip.header().destination())));
            prop_assert_eq!(ours.hop_limit, ip.header().hop_limit());
            // It does not go through the mobility, HIP and shim6 headers, but through the data of later fragments.
            let theirs = ip.payload().ip_number.0;
            if [protocol::MOBILITY, protocol::HIP, protocol::SHIM6].contains(&theirs) || ours.fragment == FRAGMENT_LATER
            {
                return Ok(());
            }
            prop_assert_eq!(ours.protocol, theirs);
            ip.is_payload_fragmented()
        }
        // LLC and SNAP it leaves alone.
        _ => return Ok(()),
    };
    prop_assert_eq!(ours.fragment != FRAGMENT_NONE, fragmented);
    match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            prop_assert_eq!((ours.source_port, ours.destination_port), (tcp.source_port(), tcp.destination_port()));
            let flags = [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()];
            prop_assert_eq!(ours.tcp_flags, flags.iter().rev().fold(0, |all, flag| all << 1 | u8::from(*flag)));
        }
        Some(TransportSlice::Udp(udp)) => {
            prop_assert_eq!((ours.source_port, ours.destination_port), (udp.source_port(), udp.destination_port()));
        }
        // It takes these for ICMP in either family.
        Some(TransportSlice::Icmpv4(icmp)) if ours.family == FAMILY_V4 => {
            prop_assert_eq!((ours.transport, ours.icmp_type), (TRANSPORT_ICMP, icmp.type_u8()));
            prop_assert_eq!(ours.icmp_code, icmp.code_u8());
        }
        Some(TransportSlice::Icmpv6(icmp)) if ours.family == FAMILY_V6 => {
            prop_assert_eq!((ours.transport, ours.icmp_type), (TRANSPORT_ICMP, icmp.type_u8()));
            prop_assert_eq!(ours.icmp_code, icmp.code_u8());
        }
        _ => {}
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum Upper {
    Tcp { ports: (u16, u16), flags: u8, options: usize },
    Udp { ports: (u16, u16) },
    Echo { id: u16, reply: bool },
}

#[derive(Debug, Clone)]
struct Packet {
    vlans: Vec<u16>,
    v6: bool,
    ends: (u128, u128),
    upper: Upper,
    data: Vec<u8>,
}

/// Unicast sources only: others are faults to us.
fn packets() -> impl Strategy<Value = Packet> {
    let ports = any::<(u16, u16)>();
    let upper = prop_oneof![
        (ports, any::<u8>(), 0..=10usize).prop_map(|(ports, flags, options)| Upper::Tcp { ports, flags, options }),
        ports.prop_map(|ports| Upper::Udp { ports }),
        any::<(u16, bool)>().prop_map(|(id, reply)| Upper::Echo { id, reply }),
    ];
    let ends = any::<(u128, u128)>().prop_map(|(a, b)| (a & !(0xff << 120) & !0xf000_0000, b));
    (prop::collection::vec(0..4096u16, 0..=2), any::<bool>(), ends, upper, prop::collection::vec(any::<u8>(), 0..100))
        .prop_map(|(vlans, v6, ends, upper, data)| Packet { vlans, v6, ends, upper, data })
}

/// The packet as `etherparse` writes it.
fn written(packet: &Packet) -> Vec<u8> {
    let vid = |value: u16| VlanId::try_new(value).unwrap();
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (a, b) = (packet.ends.0.to_be_bytes(), packet.ends.1.to_be_bytes());
    let (a4, b4) = ((packet.ends.0 as u32).to_be_bytes(), (packet.ends.1 as u32).to_be_bytes());
    let ip = match (packet.vlans.as_slice(), packet.v6) {
        ([], false) => ethernet.ipv4(a4, b4, 64),
        ([], true) => ethernet.ipv6(a, b, 64),
        ([one], false) => ethernet.single_vlan(vid(*one)).ipv4(a4, b4, 64),
        ([one], true) => ethernet.single_vlan(vid(*one)).ipv6(a, b, 64),
        (more, false) => ethernet.double_vlan(vid(more[0]), vid(more[1])).ipv4(a4, b4, 64),
        (more, true) => ethernet.double_vlan(vid(more[0]), vid(more[1])).ipv6(a, b, 64),
    };
    let mut frame = Vec::new();
    match packet.upper {
        Upper::Tcp { ports, flags, options } => {
            let mut tcp = etherparse::TcpHeader::new(ports.0, ports.1, 7, 1000);
            [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack, tcp.urg, tcp.ece, tcp.cwr] =
                std::array::from_fn(|bit| flags >> bit & 1 == 1);
            tcp.options = etherparse::TcpOptions::try_from_slice(&vec![1; 4 * options]).unwrap();
            ip.tcp_header(tcp).write(&mut frame, &packet.data).unwrap();
        }
        Upper::Udp { ports } => ip.udp(ports.0, ports.1).write(&mut frame, &packet.data).unwrap(),
        Upper::Echo { id, reply } if packet.v6 => {
            let step = if reply { ip.icmpv6_echo_reply(id, 1) } else { ip.icmpv6_echo_request(id, 1) };
            step.write(&mut frame, &packet.data).unwrap();
        }
        Upper::Echo { id, reply } => {
            let step = if reply { ip.icmpv4_echo_reply(id, 1) } else { ip.icmpv4_echo_request(id, 1) };
            step.write(&mut frame, &packet.data).unwrap();
        }
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn what_etherparse_writes_is_read_in_full(packet in packets()) {
        let frame = written(&packet);
        let facts = parse(&frame.as_slice(), false);
        let ends = if packet.v6 {
            (Address::v6(packet.ends.0), Address::v6(packet.ends.1))
        } else {
            (Address::v4(packet.ends.0 as u32), Address::v4(packet.ends.1 as u32))
        };
        let mut expected = Facts {
            source: ends.0,
            destination: ends.1,
            source_mac: 0x0200_0000_0001,
            destination_mac: 0x0200_0000_0002,
            ethertype: if packet.v6 { 0x86dd } else { 0x0800 },
            vlan_outer: packet.vlans.first().copied().unwrap_or(VLAN_NONE),
            vlan_inner: packet.vlans.get(1).copied().unwrap_or(VLAN_NONE),
            family: if packet.v6 { FAMILY_V6 } else { FAMILY_V4 },
            hop_limit: if packet.v6 { 64 } else { 0 },
            transport_offset: 14 + 4 * packet.vlans.len() as u16 + if packet.v6 { 40 } else { 20 },
            ..Facts::UNKNOWN
        };
        match packet.upper {
            Upper::Tcp { ports, flags, .. } => {
                (expected.protocol, expected.transport, expected.tcp_flags) = (6, TRANSPORT_PORTS, flags);
                (expected.source_port, expected.destination_port) = ports;
            }
            Upper::Udp { ports } => {
                (expected.protocol, expected.transport) = (17, TRANSPORT_PORTS);
                (expected.source_port, expected.destination_port) = ports;
            }
            Upper::Echo { id, reply } => {
                (expected.transport, expected.icmp_id) = (TRANSPORT_ICMP, id);
                (expected.protocol, expected.icmp_type) = match (packet.v6, reply) {
                    (false, false) => (1, 8),
                    (false, true) => (1, 0),
                    (true, false) => (58, 128),
                    (true, true) => (58, 129),
                };
            }
        }
        prop_assert_eq!(facts, expected);
        agree(&SlicedPacket::from_ethernet(&frame).unwrap(), &facts)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_both_accept_they_read_alike(frame in hostile()) {
        let facts = parse(&frame.as_slice(), false);
        let Ok(theirs) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        // MACsec is an EtherType to us, and it goes through AH in IPv4 as well.
        let macsec = theirs.link_exts.iter().any(|ext| matches!(ext, LinkExtSlice::Macsec(_)));
        let ah4 = facts.family == FAMILY_V4 && facts.protocol == protocol::AH;
        if facts.unparsed == unparsed::NONE && !macsec && !ah4 {
            agree(&theirs, &facts)?;
        }
    }

    #[test]
    fn what_it_refuses_below_the_transport_we_refuse(frame in hostile()) {
        let facts = parse(&frame.as_slice(), false);
        if facts.family != FAMILY_NONE && facts.unparsed == unparsed::NONE && facts.llc == 0 {
            let refusal = SlicedPacket::from_ethernet(&frame).err();
            prop_assert!(refusal.is_none() || known_stricter(&facts), "{refusal:?} {facts:?}");
        }
    }
}

/// Where `etherparse` refuses for reasons that are none of ours.
fn known_stricter(facts: &Facts) -> bool {
    // It wants more of IGMP and of some ICMP messages (timestamp), and takes ICMP for itself in either family.
    let longer = [protocol::ICMP, protocol::ICMPV6, protocol::IGMP].contains(&facts.protocol);
    // It goes through AH in IPv4, and for IPv6 extension headers into the data of later fragments.
    longer || (facts.family == FAMILY_V4 && facts.protocol == protocol::AH) || facts.fragment == FRAGMENT_LATER
}
