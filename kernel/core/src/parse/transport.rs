//! Ports, TCP flags, ICMP type and code.

use gabion_abi::facts::{FRAGMENT_NONE, Facts, TRANSPORT_ICMP, TRANSPORT_PORTS, protocol, unparsed};

use super::{Payload, Reason, is_icmp};
use crate::bytes::{Bytes, Fields};
use crate::key::is_icmp_query;

/// TCP header without options (RFC 9293).
pub(super) const TCP_MINIMUM: usize = 20;
/// SCTP common header (RFC 9260), and the DCCP header with short sequence numbers (RFC 4340).
pub(super) const COMMON_HEADER: usize = 12;
/// DCCP header with extended sequence numbers.
const DCCP_EXTENDED: usize = 16;
/// UDP (RFC 768), UDP-Lite (RFC 3828), ICMP (RFC 792) and ICMPv6 (RFC 4443) headers.
const SHORT_HEADER: usize = 8;

/// The transport header, when the protocol has one that we name. The first fragment is held to the
/// same minimum as a whole packet, so that no later one can supply ports or flags.
#[inline(always)]
pub(super) fn header<B: Bytes>(bytes: &B, segment: Payload, facts: &mut Facts) -> Result<(), Reason> {
    match facts.protocol {
        protocol::TCP => tcp(bytes, segment, facts),
        protocol::UDP | protocol::UDPLITE => udp(bytes, segment, facts),
        protocol::SCTP | protocol::DCCP => sctp_or_dccp(bytes, segment, facts),
        _ if is_icmp(facts.family, facts.protocol) => icmp(bytes, segment, facts),
        _ => Ok(()),
    }
}

#[inline(always)]
fn ports(facts: &mut Facts, segment: Payload, source: u16, destination: u16) {
    facts.transport = TRANSPORT_PORTS;
    facts.transport_offset = segment.start as u16;
    facts.source_port = source;
    facts.destination_port = destination;
}

#[inline(always)]
fn tcp<B: Bytes>(bytes: &B, segment: Payload, facts: &mut Facts) -> Result<(), Reason> {
    let h = segment.head::<TCP_MINIMUM, B>(bytes).ok_or(unparsed::TRANSPORT_TRUNCATED)?;
    ports(facts, segment, h.u16::<0>(), h.u16::<2>());
    facts.tcp_flags = h.u8::<13>();
    let length = (h.u8::<12>() >> 4) as usize * 4;
    if length < TCP_MINIMUM {
        return Err(unparsed::TRANSPORT_MALFORMED);
    }
    // Options may reach into the next fragment; they decide nothing here.
    if facts.fragment == FRAGMENT_NONE && length > segment.len() {
        return Err(unparsed::TRANSPORT_TRUNCATED);
    }
    Ok(())
}

#[inline(always)]
fn udp<B: Bytes>(bytes: &B, segment: Payload, facts: &mut Facts) -> Result<(), Reason> {
    let h = segment.head::<SHORT_HEADER, B>(bytes).ok_or(unparsed::TRANSPORT_TRUNCATED)?;
    ports(facts, segment, h.u16::<0>(), h.u16::<2>());
    let length = h.u16::<4>() as usize;
    let whole = if facts.protocol == protocol::UDPLITE {
        // The checksum coverage: 0 means everything (RFC 3828 §3.1).
        length == 0
    } else {
        // A datagram above 65,535 octets cannot say its length (RFC 2675 §4).
        length == 0 && segment.len() > 0xffff
    };
    if whole {
        return Ok(());
    }
    if length < SHORT_HEADER || (facts.fragment == FRAGMENT_NONE && length > segment.len()) {
        return Err(unparsed::TRANSPORT_MALFORMED);
    }
    Ok(())
}

#[inline(always)]
fn sctp_or_dccp<B: Bytes>(bytes: &B, segment: Payload, facts: &mut Facts) -> Result<(), Reason> {
    let h = segment.head::<COMMON_HEADER, B>(bytes).ok_or(unparsed::TRANSPORT_TRUNCATED)?;
    ports(facts, segment, h.u16::<0>(), h.u16::<2>());
    if facts.protocol == protocol::SCTP {
        return Ok(());
    }
    let extended = h.u8::<8>() & 1 != 0;
    let minimum = if extended { DCCP_EXTENDED } else { COMMON_HEADER };
    let length = h.u8::<4>() as usize * 4;
    if length < minimum {
        return Err(unparsed::TRANSPORT_MALFORMED);
    }
    if minimum > segment.len() || (facts.fragment == FRAGMENT_NONE && length > segment.len()) {
        return Err(unparsed::TRANSPORT_TRUNCATED);
    }
    Ok(())
}

#[inline(always)]
fn icmp<B: Bytes>(bytes: &B, segment: Payload, facts: &mut Facts) -> Result<(), Reason> {
    let h = segment.head::<SHORT_HEADER, B>(bytes).ok_or(unparsed::TRANSPORT_TRUNCATED)?;
    facts.transport = TRANSPORT_ICMP;
    facts.transport_offset = segment.start as u16;
    facts.icmp_type = h.u8::<0>();
    facts.icmp_code = h.u8::<1>();
    if is_icmp_query(facts.family, h.u8::<0>()) {
        facts.icmp_id = h.u16::<4>();
    }
    Ok(())
}
