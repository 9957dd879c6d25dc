//! The life of a connection, as pure functions: which packets open one, which answer one, what each
//! does to its state, and how long it lives. Nothing here reads a clock or a map.

use gabion_abi::conn::{ConnKey, ConnValue, state};
use gabion_abi::facts::{self, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, protocol, tcp, unparsed};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// How stale `seen_ns` may become before a packet writes it again. A write for each packet would
/// bounce the cache line between the CPUs that carry the two directions.
pub const SEEN_STEP_NS: u64 = SECOND_NS;

/// How long a datagram's first fragment is remembered (RFC 8200 allows 60 s, Linux waits 30 s).
pub const FRAGMENT_LIFE_NS: u64 = 30 * SECOND_NS;

/// Who sent a packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Who sent the first packet.
    Initiator,
    /// Who answers.
    Responder,
}

/// ICMP messages that ask, and what answers them: echo, timestamp, address mask (RFC 792, RFC 950),
/// ICMPv6 echo (RFC 4443).
const fn is_icmp_query(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        protocol::ICMP => icmp_type == 8 || icmp_type == 13 || icmp_type == 17,
        protocol::ICMPV6 => icmp_type == 128,
        _ => false,
    }
}

const fn is_icmp_answer(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        protocol::ICMP => icmp_type == 0 || icmp_type == 14 || icmp_type == 18,
        protocol::ICMPV6 => icmp_type == 129,
        _ => false,
    }
}

/// Whether the packet is an ICMP or ICMPv6 error, which quotes the packet that it is about.
#[must_use]
#[inline(always)]
pub const fn is_icmp_error(packet: &Facts) -> bool {
    if packet.unparsed != unparsed::NONE || packet.transport != TRANSPORT_ICMP {
        return false;
    }
    match packet.protocol {
        // Destination unreachable, source quench, time exceeded, parameter problem. A redirect (5)
        // changes routes and is nobody's related traffic.
        protocol::ICMP => {
            packet.icmp_type == 3 || packet.icmp_type == 4 || packet.icmp_type == 11 || packet.icmp_type == 12
        }
        protocol::ICMPV6 => packet.icmp_type >= 1 && packet.icmp_type <= 4,
        _ => false,
    }
}

#[inline(always)]
const fn has_state(packet: &Facts) -> bool {
    packet.unparsed == unparsed::NONE && packet.family != facts::FAMILY_NONE && packet.fragment != FRAGMENT_LATER
}

/// Whether the packet, allowed by policy, opens a connection when none is known.
#[must_use]
#[inline(always)]
pub const fn opens(packet: &Facts) -> bool {
    if !has_state(packet) {
        return false;
    }
    match packet.protocol {
        protocol::TCP => packet.tcp_flags & tcp::RST == 0,
        protocol::ICMP | protocol::ICMPV6 => is_icmp_query(packet.protocol, packet.icmp_type),
        _ => true,
    }
}

/// Whether the packet can be return traffic. A SYN without ACK asks for a connection of its own, and
/// no segment of an answer is without both ACK and RST (RFC 9293, 3.10.7).
#[must_use]
#[inline(always)]
pub const fn answers(packet: &Facts) -> bool {
    if !has_state(packet) {
        return false;
    }
    match packet.protocol {
        protocol::TCP => {
            let ack = packet.tcp_flags & tcp::ACK != 0;
            let syn = packet.tcp_flags & tcp::SYN != 0;
            ack || (packet.tcp_flags & tcp::RST != 0 && !syn)
        }
        protocol::ICMP | protocol::ICMPV6 => is_icmp_answer(packet.protocol, packet.icmp_type),
        _ => true,
    }
}

/// Whether the protocol opens and closes its connections itself.
#[must_use]
#[inline(always)]
pub const fn is_connection_oriented(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::SCTP | protocol::DCCP)
}

/// Whether the packet asks for a new TCP connection.
#[must_use]
#[inline(always)]
pub const fn is_bare_syn(packet: &Facts) -> bool {
    packet.protocol == protocol::TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
}

/// State of a connection that this packet opens.
#[must_use]
#[inline(always)]
pub const fn first_state(packet: &Facts) -> u8 {
    if packet.protocol == protocol::TCP && packet.tcp_flags & tcp::FIN != 0 {
        state::CLOSING_INITIATOR
    } else {
        state::OPENING
    }
}

/// Whether a packet of the responder shows that the initiator is there, so that the connection works. A SYN-ACK does
/// not: it answers whoever wrote the initiator's address into a SYN. What follows it answers somebody who has seen it.
#[must_use]
#[inline(always)]
pub const fn establishes(protocol: u8, tcp_flags: u8) -> bool {
    protocol != protocol::TCP || tcp_flags & (tcp::SYN | tcp::RST) == 0
}

/// State after a packet of the connection. A connection that is [`state::CLOSED`] stays so: the
/// caller starts over on a bare SYN of the initiator.
#[must_use]
#[inline(always)]
pub const fn next_state(before: u8, sender: Sender, protocol: u8, tcp_flags: u8) -> u8 {
    let works = matches!(sender, Sender::Responder) && establishes(protocol, tcp_flags);
    let answered = if before == state::OPENING && works { state::ESTABLISHED } else { before };
    if protocol != protocol::TCP || before == state::CLOSED {
        return answered;
    }
    if tcp_flags & tcp::RST != 0 {
        return state::CLOSED;
    }
    let initiator = matches!(sender, Sender::Initiator);
    if tcp_flags & tcp::SYN != 0 && initiator && before != state::OPENING {
        // The port is used again, or a SYN came late. To forget the FINs is safe; to move an established
        // connection back among the opening ones would let spoofed SYNs push it out.
        return state::ESTABLISHED;
    }
    if tcp_flags & tcp::FIN != 0 {
        let (own, other) = if initiator {
            (state::CLOSING_INITIATOR, state::CLOSING_RESPONDER)
        } else {
            (state::CLOSING_RESPONDER, state::CLOSING_INITIATOR)
        };
        return if answered == other { state::CLOSED } else { own };
    }
    answered
}

/// How long a connection lives after its last packet, nanoseconds. `answered`: it has left the opening
/// table.
#[must_use]
#[inline(always)]
pub const fn life_ns(protocol: u8, connection_state: u8, answered: bool) -> u64 {
    if connection_state == state::CLOSED {
        return 10 * SECOND_NS;
    }
    let seconds = match (protocol, answered) {
        (oriented, true) if is_connection_oriented(oriented) => 24 * 3600,
        (protocol::UDP | protocol::UDPLITE, true) => 180,
        (protocol::UDP | protocol::UDPLITE, false) => 30,
        (protocol::ICMP | protocol::ICMPV6, _) => 30,
        (_, true) => 600,
        (_, false) => 60,
    };
    seconds * SECOND_NS
}

/// Whether the connection's time is over. Clocks of two CPUs may differ: the future is not old.
#[must_use]
#[inline(always)]
pub const fn is_over(value: &ConnValue, protocol: u8, answered: bool, now_ns: u64) -> bool {
    now_ns.saturating_sub(value.seen_ns) > life_ns(protocol, value.state, answered)
}

/// The initiator's packet as policy saw it, to ask another generation about it.
#[must_use]
#[inline(always)]
pub fn first_direction(key: &ConnKey, value: &ConnValue) -> Facts {
    let icmp = key.protocol == protocol::ICMP || key.protocol == protocol::ICMPV6;
    let ports =
        matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP);
    Facts {
        source: key.source,
        destination: key.destination,
        source_mac: value.source_mac,
        destination_mac: value.destination_mac,
        ethertype: if key.family == facts::FAMILY_V4 { facts::ETHERTYPE_IPV4 } else { facts::ETHERTYPE_IPV6 },
        vlan_outer: value.vlan_outer,
        vlan_inner: value.vlan_inner,
        source_port: if ports { key.source_port } else { 0 },
        destination_port: if ports { key.destination_port } else { 0 },
        family: key.family,
        protocol: key.protocol,
        fragment: value.fragment,
        transport: if ports {
            facts::TRANSPORT_PORTS
        } else if icmp {
            TRANSPORT_ICMP
        } else {
            facts::TRANSPORT_NONE
        },
        icmp_type: value.icmp_type,
        icmp_code: value.icmp_code,
        tcp_flags: value.tcp_flags,
        icmp_id: if icmp { key.source_port } else { 0 },
        ..Facts::UNKNOWN
    }
}
