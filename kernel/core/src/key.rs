//! Which connection a packet belongs to, and which one an ICMP error speaks about.

use gabion_abi::conn::ConnKey;
use gabion_abi::facts::{
    Address, EXTENSION_LIMIT, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, protocol,
    unparsed,
};

use crate::bytes::{Bytes, Fields};
use crate::parse::{has_ports, ipv4, ipv6, is_icmp, joined};

/// Packets quoted further in than this are not looked at: with the longest chain of extension headers
/// the offset must stay below what [`joined`] keeps. No error has so much before its quote.
const QUOTE_LIMIT: usize = 0x2000;
/// Octets of an ICMP error before the packet that it quotes.
const ERROR_HEADER: usize = 8;

/// Whether the ICMP or ICMPv6 message is a query or its answer and carries an identifier: echo,
/// timestamp, address mask (RFC 792, RFC 950, RFC 4443).
#[must_use]
#[inline(always)]
pub const fn is_icmp_query(family: u8, icmp_type: u8) -> bool {
    match family {
        FAMILY_V4 => matches!(icmp_type, 0 | 8 | 13 | 14 | 17 | 18),
        FAMILY_V6 => matches!(icmp_type, 128 | 129),
        _ => false,
    }
}

/// Whether the ICMP or ICMPv6 message quotes the packet that it is about.
#[must_use]
#[inline(always)]
pub const fn is_icmp_error(family: u8, icmp_type: u8) -> bool {
    match family {
        FAMILY_V4 => matches!(icmp_type, 3 | 4 | 5 | 11 | 12),
        FAMILY_V6 => matches!(icmp_type, 1..=4),
        _ => false,
    }
}

/// The key of the packet, as if its sender were the initiator. None for what has no connection: no IP,
/// unparsed, later fragments, ICMP that is not a query.
#[must_use]
#[inline(always)]
pub fn conn_key(facts: &Facts) -> Option<ConnKey> {
    if facts.unparsed != unparsed::NONE || facts.family == FAMILY_NONE || facts.fragment == FRAGMENT_LATER {
        return None;
    }
    if facts.transport == TRANSPORT_ICMP && !is_icmp_query(facts.family, facts.icmp_type) {
        return None;
    }
    Some(ConnKey {
        source: facts.source,
        destination: facts.destination,
        // A packet has ports, or an identifier, or neither; what it has not is 0.
        source_port: facts.source_port | facts.icmp_id,
        destination_port: facts.destination_port | facts.icmp_id,
        protocol: facts.protocol,
        family: facts.family,
        padding: 0,
    })
}

/// The key of the same connection seen from the other end.
#[must_use]
#[inline(always)]
pub fn reversed(key: &ConnKey) -> ConnKey {
    let mut other = *key;
    other.source = key.destination;
    other.destination = key.source;
    other.source_port = key.destination_port;
    other.destination_port = key.source_port;
    other
}

/// The key of the packet that an ICMP or ICMPv6 error quotes, as that packet was sent: its source is the
/// receiver of the error. None when the packet is no error, when the quote holds no ports, or when the
/// quoted source is somebody else, who would not have been told.
#[must_use]
#[inline(always)]
pub fn quoted<B: Bytes>(bytes: &B, facts: &Facts) -> Option<ConnKey> {
    if facts.unparsed != unparsed::NONE
        || facts.transport != TRANSPORT_ICMP
        || !is_icmp_error(facts.family, facts.icmp_type)
    {
        return None;
    }
    let at = facts.transport_offset as usize + ERROR_HEADER;
    if at > QUOTE_LIMIT {
        return None;
    }
    let at = joined(bytes, at);
    let mut key = ConnKey { family: facts.family, ..ConnKey::default() };
    let at = if facts.family == FAMILY_V4 { quoted_v4(bytes, at, &mut key)? } else { quoted_v6(bytes, at, &mut key)? };
    if key.source != facts.destination {
        return None;
    }
    if has_ports(key.protocol) {
        let h = bytes.fields::<4>(at)?;
        key.source_port = h.u16::<0>();
        key.destination_port = h.u16::<2>();
    } else if is_icmp(key.family, key.protocol) {
        let h = bytes.fields::<6>(at)?;
        if !is_icmp_query(key.family, h.u8::<0>()) {
            return None;
        }
        key.source_port = h.u16::<4>();
        key.destination_port = key.source_port;
    }
    Some(key)
}

/// Reads the quoted IPv4 header; says where its transport header starts. Its total length is that of
/// the packet that was sent, not of the quote.
#[inline(always)]
fn quoted_v4<B: Bytes>(bytes: &B, at: usize, key: &mut ConnKey) -> Option<usize> {
    let h = bytes.fields::<{ ipv4::HEADER }>(at)?;
    let length = (h.u8::<0>() & 0xf) as usize * 4;
    if h.u8::<0>() >> 4 != 4 || length < ipv4::HEADER || h.u16::<6>() & ipv4::OFFSET != 0 {
        return None;
    }
    key.protocol = h.u8::<9>();
    key.source = Address::v4(h.u32::<12>());
    key.destination = Address::v4(h.u32::<16>());
    Some(at + length)
}

#[inline(always)]
fn quoted_v6<B: Bytes>(bytes: &B, at: usize, key: &mut ConnKey) -> Option<usize> {
    let h = bytes.fields::<8>(at)?;
    if h.u8::<0>() >> 4 != 6 {
        return None;
    }
    key.source = ipv6::address(bytes.fields::<16>(at + 8)?);
    key.destination = ipv6::address(bytes.fields::<16>(at + 24)?);
    let mut at = at + ipv6::HEADER;
    let mut next = h.u8::<6>();
    for _ in 0..EXTENSION_LIMIT {
        if !ipv6::is_extension(next) {
            break;
        }
        let h = bytes.fields::<8>(at)?;
        if next == protocol::FRAGMENT && h.u16::<2>() & 0xfff8 != 0 {
            return None;
        }
        at = joined(bytes, at + ipv6::extension_length(next, h.u8::<1>()).ok()?);
        next = h.u8::<0>();
    }
    if ipv6::is_extension(next) {
        return None;
    }
    key.protocol = next;
    Some(at)
}
