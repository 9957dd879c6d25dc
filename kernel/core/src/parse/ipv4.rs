//! IPv4 with options and fragments (RFC 791).

use gabion_abi::facts::{Address, FAMILY_V4, FRAGMENT_FIRST, FRAGMENT_LATER, Facts, unparsed};

use super::{Payload, Reason, later_fragment};
use crate::bytes::{Bytes, Fields};

/// The header without options.
pub(crate) const HEADER: usize = 20;
/// Of the flags and fragment offset field: more fragments, and the offset in units of 8 octets.
const MORE_FRAGMENTS: u16 = 0x2000;
pub(crate) const OFFSET: u16 = 0x1fff;

/// The network header; what remains is the transport segment or the fragment's data.
#[inline(always)]
pub(super) fn header<B: Bytes>(bytes: &B, packet: Payload, facts: &mut Facts) -> Result<Payload, Reason> {
    let h = packet.head::<HEADER, B>(bytes).ok_or(unparsed::NETWORK_TRUNCATED)?;
    if h.u8::<0>() >> 4 != 4 {
        return Err(unparsed::NETWORK_MALFORMED);
    }
    let source = h.u32::<12>();
    facts.family = FAMILY_V4;
    facts.protocol = h.u8::<9>();
    facts.source = Address::v4(source);
    facts.destination = Address::v4(h.u32::<16>());

    let header_length = (h.u8::<0>() & 0xf) as usize * 4;
    let total = match h.u16::<2>() as usize {
        // BIG TCP, see the module's description.
        0 if packet.len() > 0xffff => packet.len(),
        total => total,
    };
    if header_length < HEADER || total < header_length {
        return Err(unparsed::NETWORK_MALFORMED);
    }
    if total > packet.len() {
        return Err(unparsed::NETWORK_TRUNCATED);
    }
    if source >> 28 == 0xe || source == u32::MAX {
        return Err(unparsed::ADDRESS_MALFORMED);
    }
    let segment = Payload { start: packet.start + header_length, end: packet.start + total };

    let fragment = h.u16::<6>();
    if fragment & (MORE_FRAGMENTS | OFFSET) != 0 {
        facts.fragment_id = h.u16::<4>() as u32;
        if fragment & OFFSET == 0 {
            facts.fragment = FRAGMENT_FIRST;
        } else {
            facts.fragment = FRAGMENT_LATER;
            let offset = (fragment & OFFSET) as usize * 8;
            later_fragment(FAMILY_V4, facts.protocol, offset, segment.len(), header_length)?;
        }
    }
    Ok(segment)
}
