//! Random packets of the small world: as facts, and as the frame that carries them.

use std::net::IpAddr;

use gabion_abi::facts::{self, Address, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC, Facts, protocol};
use gabion_policy_probes::assemble;

use crate::choices::Choices;
use crate::corners::Corners;
use crate::policies::{INTERFACES, link};

/// A packet and the interfaces on both sides of the node.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What a parser must find out about it.
    pub facts: Facts,
    /// Where it arrived.
    pub source_interface: Option<&'static str>,
    /// Where it will leave.
    pub destination_interface: Option<&'static str>,
}

fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::v4(v4.to_bits()),
        IpAddr::V6(v6) => Address::v6(v6.to_bits()),
    }
}

/// A random packet. All of them but the unparsed ones can be put into a [`frame`], which does not say whether an end
/// is the node itself.
#[must_use]
pub fn packet<R: Choices>(rng: &mut R) -> Sent {
    packet_near(rng, &Corners::default())
}

/// A random packet that takes its values from the corners of a policy more often than not.
#[must_use]
pub fn packet_near<R: Choices>(rng: &mut R, corners: &Corners) -> Sent {
    let mut facts = Facts::UNKNOWN;
    facts.source_mac = corners.mac(rng);
    facts.destination_mac = corners.mac(rng);
    if rng.usize(0..4) == 0 {
        facts.vlan_outer = corners.vid(rng);
        if rng.bool() {
            facts.vlan_inner = corners.vid(rng);
        }
    }
    match rng.usize(0..8) {
        0 => {
            facts.ethertype = corners.ethertype(rng);
            if facts.ethertype == ETHERTYPE_LLC {
                facts.llc = corners.llc(rng);
            }
        }
        1..=2 => network(rng, corners, &mut facts, true),
        _ => network(rng, corners, &mut facts, false),
    }
    if rng.usize(0..20) == 0 {
        facts.unparsed = corners.reason(rng);
    }
    let interface = |rng: &mut R| (rng.usize(0..3) > 0).then(|| INTERFACES[rng.usize(0..4)]);
    Sent { facts, source_interface: interface(rng), destination_interface: interface(rng) }
}

fn network<R: Choices>(rng: &mut R, corners: &Corners, facts: &mut Facts, v6_packet: bool) {
    let any = |rng: &mut R| if v6_packet { IpAddr::V6(corners.v6(rng)) } else { IpAddr::V4(corners.v4(rng)) };
    facts.source = address(any(rng));
    facts.destination = address(any(rng));
    facts.family = if v6_packet { facts::FAMILY_V6 } else { facts::FAMILY_V4 };
    facts.ethertype = if v6_packet { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    facts.protocol = corners.protocol(rng);
    facts.node = u8::from(rng.usize(0..4) == 0);
    if v6_packet {
        facts.hop_limit = [255, 255, 254, 64][rng.usize(0..4)];
    }
    if rng.usize(0..8) == 0 {
        facts.fragment = rng.u8(1..3);
        facts.fragment_id = rng.u32(1..0xffff);
    }
    if facts.fragment == facts::FRAGMENT_LATER {
        return;
    }
    match facts.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDPLITE | protocol::DCCP => {
            facts.transport = facts::TRANSPORT_PORTS;
            facts.source_port = corners.port(rng);
            facts.destination_port = corners.port(rng);
            if facts.protocol == protocol::TCP {
                facts.tcp_flags = corners.flags(rng);
            }
        }
        protocol::ICMP if !v6_packet => {
            facts.transport = facts::TRANSPORT_ICMP;
            (facts.icmp_type, facts.icmp_code) =
                corners.icmp(rng, |rng| ([0, 3, 8, 11][rng.usize(0..4)], rng.u8(0..3)));
        }
        protocol::ICMPV6 if v6_packet => {
            facts.transport = facts::TRANSPORT_ICMP;
            (facts.icmp_type, facts.icmp_code) =
                corners.icmp(rng, |rng| ([1, 3, 128, 129, 133, 135, 136][rng.usize(0..7)], rng.u8(0..4) / 3));
            if facts.has_discovery_type() && rng.bool() {
                facts.destination = Address::v6(link(rng).to_bits());
            }
        }
        _ => {}
    }
}

/// How many messages of the neighbour discovery types there were, so that a run can show that it met all sorts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discovery {
    of_link: usize,
    of_node: usize,
    forwarded: usize,
    beyond_link: usize,
}

impl Discovery {
    /// Counts a packet.
    pub fn count(&mut self, facts: &Facts) {
        if !facts.has_discovery_type() {
            return;
        }
        let sort = match (facts.is_discovery(), facts.hop_limit, facts.destination.is_of_link()) {
            (true, _, true) => &mut self.of_link,
            (true, _, false) => &mut self.of_node,
            (false, 255, _) => &mut self.beyond_link,
            (false, ..) => &mut self.forwarded,
        };
        *sort += 1;
    }

    /// # Panics
    /// When a sort was never met.
    pub fn has_everything(&self) {
        println!("{self:?}");
        let Self { of_link, of_node, forwarded, beyond_link } = *self;
        assert!([of_link, of_node, forwarded, beyond_link].iter().all(|&count| count > 0), "{self:?}");
    }
}

/// The frame of a packet that can be parsed: what [`gabion_kernel_core`] must turn back into its facts.
#[must_use]
pub fn frame(facts: &Facts) -> Vec<u8> {
    assemble(&Facts { unparsed: facts::unparsed::NONE, ..*facts })
}

/// A frame that follows on an earlier one: an answer, a later fragment, or an ICMP error about it.
#[must_use]
pub fn follow_up<R: Choices>(rng: &mut R, earlier: &Facts) -> Vec<u8> {
    let mut facts = *earlier;
    if facts.fragment == facts::FRAGMENT_FIRST {
        facts.fragment = facts::FRAGMENT_LATER;
        (facts.transport, facts.source_port, facts.destination_port) = (facts::TRANSPORT_NONE, 0, 0);
        return frame(&facts);
    }
    std::mem::swap(&mut facts.source, &mut facts.destination);
    std::mem::swap(&mut facts.source_mac, &mut facts.destination_mac);
    if facts.family != facts::FAMILY_NONE && rng.usize(0..4) == 0 {
        return error_about(&facts, earlier);
    }
    std::mem::swap(&mut facts.source_port, &mut facts.destination_port);
    match (facts.transport, facts.protocol) {
        (facts::TRANSPORT_PORTS, protocol::TCP) => facts.tcp_flags = [0x12, 0x10, 0x11, 0x14][rng.usize(0..4)],
        (facts::TRANSPORT_ICMP, protocol::ICMP) if facts.icmp_type == 8 => facts.icmp_type = 0,
        (facts::TRANSPORT_ICMP, protocol::ICMPV6) if facts.icmp_type == 128 => facts.icmp_type = 129,
        _ => {}
    }
    frame(&facts)
}

/// Destination unreachable, from the receiver of a packet to its sender, with the packet quoted.
fn error_about(back: &Facts, earlier: &Facts) -> Vec<u8> {
    let v6 = back.family == facts::FAMILY_V6;
    let untagged = Facts { vlan_outer: facts::VLAN_NONE, vlan_inner: facts::VLAN_NONE, ..*earlier };
    let quoted = &frame(&untagged)[14..];
    let mut outer = Facts { transport: facts::TRANSPORT_ICMP, fragment: facts::FRAGMENT_NONE, fragment_id: 0, ..*back };
    (outer.protocol, outer.icmp_type) = if v6 { (protocol::ICMPV6, 1) } else { (protocol::ICMP, 3) };
    outer.icmp_code = 1;
    let mut bytes = frame(&outer);
    let tags = [back.vlan_outer, back.vlan_inner].iter().filter(|&&vid| vid != facts::VLAN_NONE).count();
    let network = 14 + 4 * tags;
    bytes.truncate(network + if v6 { 48 } else { 28 });
    bytes.extend_from_slice(quoted);
    let (at, length) = if v6 { (4, quoted.len() + 8) } else { (2, quoted.len() + 28) };
    bytes[network + at..network + at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    bytes
}
