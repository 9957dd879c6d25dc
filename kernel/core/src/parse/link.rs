//! Ethernet II, 802.3 with LLC and SNAP, VLAN tags; or no link header at all.

use gabion_abi::facts::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC, Facts, unparsed};

use super::{Payload, Reason};
use crate::bytes::{Bytes, Fields};

/// Customer tag (802.1Q), service tag (802.1ad) and the number that QinQ used before it had one.
const TPID_CUSTOMER: u16 = 0x8100;
const TPID_SERVICE: u16 = 0x88a8;
const TPID_LEGACY: u16 = 0x9100;

const ETHERNET_HEADER: usize = 14;
const TAG: usize = 4;
/// Smaller values of the type field are the length of an LLC frame (802.3 clause 3.2.6). 1,501 to
/// 1,535 are undefined there; like the kernel we take them for lengths.
const ETHERTYPE_FIRST: u16 = 0x0600;
/// DSAP, SSAP and the shorter control field.
const LLC_HEADER: usize = 3;
/// LLC, OUI and protocol number (IEEE 802-2014 clause 9.5, RFC 1042).
const SNAP_HEADER: usize = 8;

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, TPID_CUSTOMER | TPID_SERVICE | TPID_LEGACY)
}

#[inline(always)]
fn mac(high: u16, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A packet that starts with its IP header: the version stands for the EtherType.
#[inline(always)]
pub(super) fn none<B: Bytes>(bytes: &B, facts: &mut Facts) -> Result<Payload, Reason> {
    let first = bytes.u8(0).ok_or(unparsed::NETWORK_TRUNCATED)?;
    facts.ethertype = match first >> 4 {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => return Err(unparsed::NETWORK_MALFORMED),
    };
    Ok(Payload { start: 0, end: bytes.len() })
}

/// The Ethernet header and up to two tags.
#[inline(always)]
pub(super) fn ethernet<B: Bytes>(bytes: &B, facts: &mut Facts) -> Result<Payload, Reason> {
    let h = bytes.fields::<ETHERNET_HEADER>(0).ok_or(unparsed::LINK_TRUNCATED)?;
    facts.destination_mac = mac(h.u16::<0>(), h.u32::<2>());
    facts.source_mac = mac(h.u16::<6>(), h.u32::<8>());
    let mut ethertype = h.u16::<12>();
    let mut start = ETHERNET_HEADER;
    if is_tag(ethertype) {
        let tag = bytes.fields::<TAG>(start).ok_or(unparsed::LINK_TRUNCATED)?;
        facts.vlan_outer = tag.u16::<0>() & 0xfff;
        ethertype = tag.u16::<2>();
        start += TAG;
        if is_tag(ethertype) {
            let tag = bytes.fields::<TAG>(start).ok_or(unparsed::LINK_TRUNCATED)?;
            facts.vlan_inner = tag.u16::<0>() & 0xfff;
            ethertype = tag.u16::<2>();
            start += TAG;
            if is_tag(ethertype) {
                return Err(unparsed::VLAN_DEPTH);
            }
        }
    }
    if ethertype < ETHERTYPE_FIRST {
        return llc(bytes, start, ethertype as usize, facts);
    }
    facts.ethertype = ethertype;
    Ok(Payload { start, end: bytes.len() })
}

#[inline(always)]
fn llc<B: Bytes>(bytes: &B, start: usize, length: usize, facts: &mut Facts) -> Result<Payload, Reason> {
    facts.ethertype = ETHERTYPE_LLC;
    let payload = Payload { start, end: start + length };
    if payload.end > bytes.len() {
        return Err(unparsed::LLC_TRUNCATED);
    }
    let h = payload.head::<LLC_HEADER, B>(bytes).ok_or(unparsed::LLC_TRUNCATED)?;
    let points = h.u16::<0>();
    if points == 0xaaaa && h.u8::<2>() == 0x03 {
        let h = payload.head::<SNAP_HEADER, B>(bytes).ok_or(unparsed::LLC_TRUNCATED)?;
        let number = h.u16::<6>();
        // Only under this OUI is the number an EtherType (RFC 1042).
        if h.u8::<3>() == 0 && h.u16::<4>() == 0 && number >= ETHERTYPE_FIRST {
            facts.ethertype = number;
            return Ok(Payload { start: start + SNAP_HEADER, end: payload.end });
        }
    }
    facts.llc = points;
    Ok(payload)
}
