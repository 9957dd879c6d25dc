//! Packet bytes → [`Facts`].
//!
//! One pass from the first byte to the transport header: `link` (Ethernet, VLAN tags, LLC and
//! SNAP, or nothing on L3 devices), `ipv4` or `ipv6`, then `transport`. The first fault ends
//! the pass; its reason stands in [`Facts::unparsed`] and what was found before it is kept. A field
//! is therefore always the one on the wire or absent, never a guess.
//!
//! What the hook owes the parser: [`Bytes::len`] is the length of the whole packet, and the headers can
//! be read. On egress these differ, because part of an skb lies outside its linear data: the hook pulls the
//! headers in first and passes the full length. A read that fails inside `len` is reported
//! like a packet that ends there; a `len` of the linear data alone makes every large segment
//! [`unparsed::NETWORK_TRUNCATED`]. A tag that the kernel holds beside the packet (`skb->vlan_tci`)
//! is added by [`crate::offload`].
//!
//! Lengths: bytes behind the IP total length are padding and never looked at. A total length of 0 is
//! what the kernel writes into segments above 65,535 bytes that it will cut later (BIG TCP); it is
//! accepted for packets of that size only, which no wire carries.
//!
//! Written for the BPF verifier as well: reads of fixed size, loops with constant bounds, offsets that are
//! masked where paths join (`docs/decisions/0005-parser-paths-meet.md` has the measurements).

use gabion_abi::facts::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, Facts, protocol, unparsed,
};

use crate::bytes::{Bytes, Fields};

pub(crate) mod ipv4;
pub mod ipv6;
mod link;
mod transport;

/// A reason of [`unparsed`].
type Reason = u8;

/// Where the next header starts, and where the data ends that its carrier vouches for.
#[derive(Clone, Copy)]
struct Payload {
    start: usize,
    end: usize,
}

impl Payload {
    /// `N` bytes from the start, or nothing when the carrier's data or the packet ends before.
    #[inline(always)]
    fn head<const N: usize, B: Bytes>(self, bytes: &B) -> Option<impl Fields<N>> {
        if self.start + N > self.end {
            return None;
        }
        bytes.fields::<N>(self.start)
    }

    /// Bytes from the start to the end.
    #[inline(always)]
    fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

/// The facts of a packet. `layer3`: it starts with the IP header (tun, raw IP), not with Ethernet.
#[must_use]
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B, layer3: bool) -> Facts {
    let mut facts = Facts::UNKNOWN;
    parse_into(bytes, layer3, &mut facts);
    facts
}

/// [`parse`] into a place that is overwritten whole. In the kernel that place is a map value: the verifier
/// does not follow what is stored there, so that the paths through the parser meet again.
#[inline(always)]
pub fn parse_into<B: Bytes>(bytes: &B, layer3: bool, facts: &mut Facts) {
    *facts = Facts::UNKNOWN;
    if let Err(reason) = headers(bytes, layer3, facts) {
        facts.unparsed = reason;
    }
}

#[inline(always)]
fn headers<B: Bytes>(bytes: &B, layer3: bool, facts: &mut Facts) -> Result<(), Reason> {
    let packet = if layer3 { link::none(bytes, facts)? } else { link::ethernet(bytes, facts)? };
    let packet = Payload { start: joined(bytes, packet.start), end: packet.end };
    let segment = match facts.ethertype {
        ETHERTYPE_IPV4 => ipv4::header(bytes, packet, facts)?,
        ETHERTYPE_IPV6 => ipv6::header(bytes, packet, facts)?,
        _ => return Ok(()),
    };
    if facts.fragment == FRAGMENT_LATER {
        return Ok(());
    }
    // All ways through the network header meet here, or each would go through the transport headers by itself.
    let segment = Payload { start: joined(bytes, segment.start), end: bytes.forget(segment.end) };
    transport::header(bytes, segment, facts)
}

/// Checks a fragment with offset above 0, or with more to come. `offset` is in octets, `length` the
/// fragment's payload, `before` what the reassembled length counts besides.
#[inline(always)]
fn later_fragment(family: u8, protocol: u8, offset: usize, length: usize, before: usize) -> Result<(), Reason> {
    if before + offset + length > 0xffff {
        return Err(unparsed::FRAGMENT_MALFORMED);
    }
    if offset < transport_minimum(family, protocol) {
        return Err(unparsed::FRAGMENT_OVERLAP);
    }
    Ok(())
}

/// Octets of the smallest transport header: what a first fragment must hold and a later one
/// must not touch (RFC 1858, RFC 3128). A later fragment has an offset of 8 at least, so that 8 means never.
#[inline(always)]
fn transport_minimum(family: u8, protocol: u8) -> usize {
    match protocol {
        protocol::TCP => transport::TCP_MINIMUM,
        protocol::SCTP | protocol::DCCP => transport::COMMON_HEADER,
        // Extension headers behind the fragment header: the first fragment holds all of them and the
        // transport header (RFC 7112), which is a TCP one for all that a later fragment can tell.
        _ if family == FAMILY_V6 && ipv6::is_extension(protocol) => ipv6::EXTENSION_MINIMUM + transport::TCP_MINIMUM,
        _ => 8,
    }
}

/// An offset at which ways through the headers meet.
#[inline(always)]
pub(crate) fn joined<B: Bytes>(bytes: &B, offset: usize) -> usize {
    bounded(bytes.forget(offset))
}

/// The mask changes nothing (the longest chain of headers ends below 16,500); it is the bound by which the
/// verifier lets an offset that it knows nothing of into a packet pointer.
#[inline(always)]
pub(crate) const fn bounded(offset: usize) -> usize {
    offset & 0x7fff
}

/// Whether the protocol is ICMP in IPv4 or ICMPv6 in IPv6.
#[inline(always)]
pub(crate) fn is_icmp(family: u8, protocol: u8) -> bool {
    (family == FAMILY_V4 && protocol == protocol::ICMP) || (family == FAMILY_V6 && protocol == protocol::ICMPV6)
}

/// Whether the protocol's header starts with source and destination port.
#[inline(always)]
pub(crate) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP)
}
