//! IPv6 and its extension headers (RFC 8200, IANA "IPv6 Extension Header Types").

use gabion_abi::facts::{
    Address, EXTENSION_LIMIT, FAMILY_V6, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Facts, protocol, unparsed,
};

use super::{Payload, Reason, bounded, later_fragment};
use crate::bytes::{Bytes, Fields};

/// The fixed header.
pub(crate) const HEADER: usize = 40;
/// The smallest extension header.
pub(super) const EXTENSION_MINIMUM: usize = 8;

/// Whether another header follows by a length that we can read. ESP hides what follows, and
/// "no next header" says that nothing does.
#[inline(always)]
pub(crate) fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AH
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
    )
}

/// An address as it stands on the wire.
#[inline(always)]
pub(crate) fn address(h: impl Fields<16>) -> Address {
    Address { words: [h.u32::<0>(), h.u32::<4>(), h.u32::<8>(), h.u32::<12>()] }
}

/// The network header with its extensions; what remains is the transport segment or the fragment's data.
#[inline(always)]
pub(super) fn header<B: Bytes>(bytes: &B, packet: Payload, facts: &mut Facts) -> Result<Payload, Reason> {
    // The fixed header in pieces, so that no more than one piece lives on the stack.
    let h = packet.head::<8, B>(bytes).ok_or(unparsed::NETWORK_TRUNCATED)?;
    if h.u8::<0>() >> 4 != 6 {
        return Err(unparsed::NETWORK_MALFORMED);
    }
    if packet.len() < HEADER {
        return Err(unparsed::NETWORK_TRUNCATED);
    }
    let source = bytes.fields::<16>(packet.start + 8).ok_or(unparsed::NETWORK_TRUNCATED)?;
    let destination = bytes.fields::<16>(packet.start + 24).ok_or(unparsed::NETWORK_TRUNCATED)?;
    facts.family = FAMILY_V6;
    facts.hop_limit = h.u8::<7>();
    facts.source = address(source);
    facts.destination = address(destination);

    let available = packet.len() - HEADER;
    let length = match h.u16::<4>() as usize {
        // BIG TCP, see the module's description.
        0 if available > 0xffff => available,
        length => length,
    };
    if length > available {
        return Err(unparsed::NETWORK_TRUNCATED);
    }
    if source.u8::<0>() == 0xff {
        return Err(unparsed::ADDRESS_MALFORMED);
    }
    let start = packet.start + HEADER;
    extensions(bytes, h.u8::<6>(), Payload { start, end: start + length }, facts)
}

/// How far the walk along the extension headers has come. Words only: of smaller fields the compiler makes stores that
/// are not aligned, which the verifier does not take on the stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Offset of the next header.
    start: u32,
    /// Offset at which the packet's payload ends.
    end: u32,
    /// Offset of the first header behind the fixed one.
    first: u32,
    /// Type of the next header.
    next: u32,
    /// 1 behind a fragment header.
    fragmented: u32,
    /// 1 behind any extension header.
    later: u32,
}

/// What the next step of a walk found, when no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another extension header follows.
    More,
    /// The transport header or the fragment's data follows.
    Last,
}

/// Follows the extension headers. Sets the protocol and the fragment fields.
#[inline(always)]
fn extensions<B: Bytes>(bytes: &B, next: u8, whole: Payload, facts: &mut Facts) -> Result<Payload, Reason> {
    if !is_extension(next) {
        facts.protocol = next;
        return Ok(whole);
    }
    let (start, end) = (whole.start as u32, whole.end as u32);
    let mut walk = Walk { start, end, first: start, next: next as u32, fragmented: 0, later: 0 };
    for _ in 0..EXTENSION_LIMIT {
        if bytes.extension(&mut walk, facts)? == Step::Last {
            return Ok(Payload { start: bounded(walk.start as usize), end: whole.end });
        }
    }
    Err(unparsed::EXTENSION_DEPTH)
}

/// One extension header: [`Bytes::extension`].
#[inline(always)]
pub fn extension<B: Bytes>(bytes: &B, walk: &mut Walk, facts: &mut Facts) -> Result<Step, Reason> {
    let next = walk.next as u8;
    let rest = Payload { start: bounded(walk.start as usize), end: walk.end as usize };
    let h = rest.head::<EXTENSION_MINIMUM, B>(bytes).ok_or(unparsed::EXTENSION_MALFORMED)?;
    let length = extension_length(next, h.u8::<1>())?;
    if length > rest.len() || (next == protocol::HOP_BY_HOP && walk.later != 0) {
        return Err(unparsed::EXTENSION_MALFORMED);
    }
    walk.later = 1;
    walk.next = h.u8::<0>() as u32;
    walk.start = (rest.start + length) as u32;
    if next == protocol::FRAGMENT {
        // A second one would need two rounds of reassembly; no sender makes that.
        if walk.fragmented != 0 {
            return Err(unparsed::EXTENSION_MALFORMED);
        }
        walk.fragmented = 1;
        fragment(h, walk, facts)?;
        if facts.fragment == FRAGMENT_LATER {
            return Ok(Step::Last);
        }
    }
    if is_extension(h.u8::<0>()) {
        return Ok(Step::More);
    }
    facts.protocol = h.u8::<0>();
    Ok(Step::Last)
}

/// Octets of an extension header, by its type and length field.
#[inline(always)]
pub(crate) fn extension_length(kind: u8, length: u8) -> Result<usize, Reason> {
    match kind {
        // The length field is reserved: the header is always 8 octets.
        protocol::FRAGMENT => Ok(8),
        // In units of 4 octets minus 2, and 12 octets are fixed (RFC 4302 §2).
        protocol::AH if length == 0 => Err(unparsed::EXTENSION_MALFORMED),
        protocol::AH => Ok((length as usize + 2) * 4),
        _ => Ok((length as usize + 1) * 8),
    }
}

#[inline(always)]
fn fragment(h: impl Fields<EXTENSION_MINIMUM>, walk: &Walk, facts: &mut Facts) -> Result<(), Reason> {
    let field = h.u16::<2>();
    let offset = (field & 0xfff8) as usize;
    let more = field & 1 != 0;
    if offset == 0 && !more {
        // Atomic: a fragment in form only (RFC 6946).
        facts.fragment = FRAGMENT_NONE;
        return Ok(());
    }
    facts.fragment_id = h.u32::<4>();
    if offset == 0 {
        facts.fragment = FRAGMENT_FIRST;
        return Ok(());
    }
    facts.fragment = FRAGMENT_LATER;
    // The first fragment of such a datagram is out of order, so this one is as well.
    if matches!(h.u8::<0>(), protocol::HOP_BY_HOP | protocol::FRAGMENT) {
        return Err(unparsed::EXTENSION_MALFORMED);
    }
    facts.protocol = h.u8::<0>();
    // The reassembled payload length counts the headers before the fragment header, not that one.
    let before = (walk.start.saturating_sub(walk.first) as usize).saturating_sub(EXTENSION_MINIMUM);
    later_fragment(FAMILY_V6, h.u8::<0>(), offset, walk.end.saturating_sub(walk.start) as usize, before)
}
