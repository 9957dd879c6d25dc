//! The short way: frames of the usual form, whose fate the tables decide, or a connection that was looked at a moment
//! ago.
//!
//! Most packets are whole TCP segments or UDP datagrams without tag, options or extension headers, between two others
//! than the node. For these everything stays in registers, no table of connections is asked, and nothing is reported.
//! Whatever is not so, or is to be reported, takes the long way ([`crate::judge`]), which decides alike: a frame may
//! always be sent there.

use gabion_abi::conn::{asked, state};
use gabion_abi::facts::{
    Address, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FAMILY_V4, FAMILY_V6, FRAGMENT_NONE, Facts, TRANSPORT_PORTS, protocol,
    tcp, unparsed,
};
use gabion_abi::tables::{self as t, end, scramble};
use gabion_abi::verdict::{PASS, Verdict, reason};

use crate::bytes::Bytes;
use crate::classify::{Tables, classify_by_lane};
use crate::conn;
use crate::judge::{Case, weigh};
use crate::parse::ipv6::address;
use crate::track::task;

/// What the short way asks.
pub trait Memory {
    /// False when the address is surely not one of the node's own.
    fn may_be_local(&self, family: u8, address: &Address) -> bool;
    /// Whether audit mode is on.
    fn audit_mode(&self) -> bool;
    /// What was noted last at a slot of [`Mark`]s.
    fn noted(&self, slot: u32) -> u64;
    /// A clock that may be some milliseconds late, nanoseconds.
    fn about_ns(&self) -> u64;
}

/// Ethernet, then IPv4 without options or IPv6.
const NETWORK: usize = 14;
const TRANSPORT_V4: usize = NETWORK + 20;
const TRANSPORT_V6: usize = NETWORK + 40;
/// TCP and UDP headers.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// The facts of a frame of the usual form, as [`crate::parse::parse_into`] finds them, but for the MACs. False when the
/// frame is not of that form; the facts are of no use then.
#[inline(always)]
pub fn usual<B: Bytes>(bytes: &B, facts: &mut Facts) -> bool {
    let Some(ethertype) = bytes.u16(12) else { return false };
    facts.ethertype = ethertype;
    let held = bytes.len() - NETWORK;
    let (at, length) = match ethertype {
        ETHERTYPE_IPV4 => {
            let Some(h) = bytes.read::<20>(NETWORK) else { return false };
            let source = u32::from_be_bytes([h[12], h[13], h[14], h[15]]);
            let total = u16::from_be_bytes([h[2], h[3]]) as usize;
            // Options, or a fragment, or a sender that nobody can be.
            let odd = h[0] != 0x45 || h[6] & 0x3f | h[7] != 0 || source >> 28 == 0xe || source == u32::MAX;
            if odd || total < 20 || total > held {
                return false;
            }
            facts.family = FAMILY_V4;
            facts.protocol = h[9];
            facts.source.words[0] = source;
            facts.destination.words[0] = u32::from_be_bytes([h[16], h[17], h[18], h[19]]);
            (TRANSPORT_V4, total - 20)
        }
        ETHERTYPE_IPV6 => {
            let Some(h) = bytes.read::<40>(NETWORK) else { return false };
            let length = u16::from_be_bytes([h[4], h[5]]) as usize;
            if h[0] >> 4 != 6 || h[8] == 0xff || length + 40 > held {
                return false;
            }
            facts.family = FAMILY_V6;
            facts.protocol = h[6];
            facts.hop_limit = h[7];
            let mut one = [0; 16];
            one.copy_from_slice(&h[8..24]);
            facts.source = address(one);
            one.copy_from_slice(&h[24..40]);
            facts.destination = address(one);
            (TRANSPORT_V6, length)
        }
        _ => return false,
    };
    facts.transport = TRANSPORT_PORTS;
    match facts.protocol {
        protocol::TCP => {
            let Some(h) = bytes.read::<TCP_HEADER>(at) else { return false };
            let header = (h[12] >> 4) as usize * 4;
            facts.source_port = u16::from_be_bytes([h[0], h[1]]);
            facts.destination_port = u16::from_be_bytes([h[2], h[3]]);
            facts.tcp_flags = h[13];
            header >= TCP_HEADER && header <= length
        }
        protocol::UDP => {
            let Some(h) = bytes.read::<UDP_HEADER>(at) else { return false };
            let datagram = u16::from_be_bytes([h[4], h[5]]) as usize;
            facts.source_port = u16::from_be_bytes([h[0], h[1]]);
            facts.destination_port = u16::from_be_bytes([h[2], h[3]]);
            datagram >= UDP_HEADER && datagram <= length
        }
        _ => false,
    }
}

/// Whether the short way serves for these tables: they have lanes, and tell no MACs apart, which it does not read.
#[must_use]
#[inline(always)]
pub fn serves<T: Tables>(tables: &T) -> bool {
    tables.param(t::HAS_LANES) != 0
        && tables.param(t::SOURCE + end::MAC_BASE) == 0
        && tables.param(t::DESTINATION + end::MAC_BASE) == 0
}

/// Decides a [`usual`] frame on arrival. False when it must take the long way; the verdict is of no use then.
#[inline(always)]
pub fn decide<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    seed: u64,
    facts: &Facts,
    interface: u32,
    verdict: &mut Verdict,
) -> bool {
    if memory.may_be_local(facts.family, &facts.destination) {
        return false;
    }
    let entries = classify_by_lane(tables, facts, interface);
    let answer = weigh(&entries, asked::BOTH);
    *verdict = answer.verdict;
    if answer.denied && memory.audit_mode() {
        return false;
    }
    let wanted = if answer.denied { task::REPLY } else { task::KEEP };
    if answer.denied {
        // Nothing opens connections, but what the node itself sends or receives.
        let closed = tables.param(t::OPENS) == 0 && !memory.may_be_local(facts.family, &facts.source);
        if closed || !conn::answers(facts) {
            return true;
        }
    } else if answer.stateless {
        return true;
    }
    if !is_plain(facts) {
        return false;
    }
    let mark = Mark::of(facts, seed);
    if !mark.is(memory.noted(mark.slot), wanted, memory.about_ns()) {
        return false;
    }
    if answer.denied {
        verdict.action = PASS;
        verdict.reason = reason::REPLY;
    }
    true
}

/// Whether the packet changes nothing about a connection that goes on.
#[inline(always)]
fn is_plain(facts: &Facts) -> bool {
    facts.protocol != protocol::TCP || facts.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0
}

/// Slots for notes, a power of two.
pub const SLOTS: u32 = 1 << 16;
/// Nanoseconds that a note holds, in units of [`AGE_SHIFT`]: a second, the step in which connections are kept anyway
/// ([`conn::SEEN_STEP_NS`]).
const AGE_LIMIT: u32 = 15;
const AGE_SHIFT: u32 = 26;
/// Bits of a note: the age in the lowest, then what the connection was looked at for, then the mark.
const AGE_BITS: u32 = 20;
const TASK_BITS: u32 = 1;
const _: () = assert!(task::KEEP == 0 && task::REPLY == 1);

/// What a flow is noted under: where, and by what it is told from others there. Both come from a hash under a secret
/// seed, so that nobody can choose who shares a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The slot.
    pub slot: u32,
    mark: u64,
}

impl Mark {
    /// The mark of a packet with ports.
    #[must_use]
    #[inline(always)]
    pub fn of(facts: &Facts, seed: u64) -> Self {
        let word = |address: &Address, at: usize| (address.words[at] as u64) << 32 | address.words[at + 1] as u64;
        let mut sum = scramble(seed ^ (facts.source.words[0] as u64) << 32 ^ facts.destination.words[0] as u64);
        if facts.family == FAMILY_V6 {
            for rest in [word(&facts.source, 2), word(&facts.destination, 2)] {
                sum = scramble(sum.rotate_left(23) ^ rest);
            }
            let second = (facts.source.words[1] as u64) << 32 | facts.destination.words[1] as u64;
            sum = scramble(sum.rotate_left(23) ^ second);
        }
        let ports = (facts.source_port as u64) << 32 | (facts.destination_port as u64) << 16 | facts.protocol as u64;
        let sum = scramble(sum.rotate_left(23) ^ ports);
        Self { slot: (sum >> 48) as u32 & (SLOTS - 1), mark: sum << (AGE_BITS + TASK_BITS) }
    }

    /// A note.
    #[must_use]
    #[inline(always)]
    pub fn note(&self, of: u8, about_ns: u64) -> u64 {
        self.mark | (of as u64) << AGE_BITS | (about_ns >> AGE_SHIFT) & ((1 << AGE_BITS) - 1)
    }

    /// Whether a note is of this flow and task, and fresh.
    #[inline(always)]
    fn is(&self, note: u64, of: u8, about_ns: u64) -> bool {
        let age = (about_ns >> AGE_SHIFT).wrapping_sub(note) & ((1 << AGE_BITS) - 1);
        note >> AGE_BITS == self.mark >> AGE_BITS | of as u64 && age < AGE_LIMIT as u64
    }
}

/// Whether packets like this one may take the short way for a while: its connection was found, and they change nothing
/// about it.
#[must_use]
#[inline(always)]
pub fn lasts(case: &Case) -> bool {
    let facts = &case.facts;
    let goes_on = case.value.state == state::ESTABLISHED || case.task == task::KEEP && case.value.state == state::OPENING;
    case.known != 0
        && case.task <= task::REPLY
        && goes_on
        && facts.unparsed == unparsed::NONE
        && facts.fragment == FRAGMENT_NONE
        && (facts.protocol == protocol::TCP || facts.protocol == protocol::UDP)
        && is_plain(facts)
}
