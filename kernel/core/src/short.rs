//! The short way: frames of the usual form, whose fate the tables decide, or a connection that was looked at a moment
//! ago.
//!
//! Most packets are whole, without tag, options or extension headers, hold TCP, UDP, an ICMP message that is no error,
//! or what has no ports, and go between two others than the node. For these everything stays in registers, no table of
//! connections is asked, and nothing is reported. Whatever is not so, or is to be reported, takes the long way
//! ([`crate::judge`]), which decides alike: a frame may always be sent there.

use gabion_abi::conn::{ConnKey, NOTE_SLOTS as SLOTS, asked, state};
use gabion_abi::facts::{
    Address, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_NONE, Facts, TRANSPORT_ICMP,
    TRANSPORT_PORTS, VLAN_NONE, protocol, tcp, unparsed,
};
use gabion_abi::tables::{self as t, end, scramble};
use gabion_abi::verdict::{PASS, Verdict, reason};

use crate::bytes::{Bytes, Fields};
use crate::classify::{Entries, Tables};
use crate::conn;
use crate::judge::{Case, Table, weigh};
use crate::key::{is_icmp_error, is_icmp_query};
use crate::parse::ipv6::is_extension;
use crate::parse::{has_ports, is_icmp};
use crate::track::task;

/// What the short way asks.
pub trait Memory {
    /// Finds the entries that decide a packet that arrived on an interface of this class: [`classify_by_lane`] of IPv4,
    /// [`classify`] of IPv6.
    ///
    /// [`classify_by_lane`]: crate::classify::classify_by_lane
    /// [`classify`]: crate::classify::classify
    fn entries(&self, facts: &Facts, interface: u32) -> Entries;
    /// Whether any TCP or UDP that neither end of is the node itself opens a connection.
    fn opens(&self) -> bool;
    /// [`World::keeps_state`].
    ///
    /// [`World::keeps_state`]: crate::judge::World::keeps_state
    #[inline(always)]
    fn keeps_state(&self) -> bool {
        true
    }
    /// False when the address is surely not one of the node's own.
    fn may_be_local(&self, family: u8, address: &Address) -> bool;
    /// Whether audit mode is on.
    fn audit_mode(&self) -> bool;
    /// What notes are hashed under.
    fn seed(&self) -> u64;
    /// What was noted last at a slot of [`Mark`]s.
    fn noted(&self, slot: u32) -> u64;
    /// False when there is surely no such connection: [`crate::marks`].
    fn may_connect(&self, table: Table, key: &ConnKey) -> bool;
    /// Whether there is a connection, however old.
    fn connects(&self, table: Table, key: &ConnKey) -> bool;
    /// A clock that may be some milliseconds late, nanoseconds.
    fn about_ns(&self) -> u64;
    /// Whether there is a connection that the packet may be return traffic of: [`may_reply`].
    fn may_reply(&self, facts: &Facts) -> bool {
        may_reply(self, facts)
    }
}

/// Ethernet, then IPv4 without options or IPv6.
const NETWORK: usize = 14;
const TRANSPORT_V4: usize = NETWORK + 20;
const TRANSPORT_V6: usize = NETWORK + 40;
/// TCP and UDP headers.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// The facts of a frame of the usual form, as [`crate::parse::parse_into`] finds them, but for the MACs: over IPv6, or
/// over IPv4. False when the frame is not of that form; the facts are of no use then.
#[inline(always)]
pub fn usual<const V6: bool, B: Bytes>(bytes: &B, facts: &mut Facts) -> bool {
    let Some(link) = bytes.fields::<NETWORK>(0) else { return false };
    // Not `Facts::UNKNOWN`, which is copied from memory.
    *facts = Facts::default();
    (facts.vlan_outer, facts.vlan_inner) = (VLAN_NONE, VLAN_NONE);
    facts.ethertype = if V6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    facts.family = if V6 { FAMILY_V6 } else { FAMILY_V4 };
    if link.u16::<12>() != facts.ethertype {
        return false;
    }
    let held = bytes.len() - NETWORK;
    let (at, length) = if V6 {
        let Some(h) = bytes.fields::<40>(NETWORK) else { return false };
        let length = h.u16::<4>() as usize;
        if h.u8::<0>() >> 4 != 6 || h.u8::<8>() == 0xff || length + 40 > held {
            return false;
        }
        facts.protocol = h.u8::<6>();
        facts.hop_limit = h.u8::<7>();
        facts.source = Address { words: [h.u32::<8>(), h.u32::<12>(), h.u32::<16>(), h.u32::<20>()] };
        facts.destination = Address { words: [h.u32::<24>(), h.u32::<28>(), h.u32::<32>(), h.u32::<36>()] };
        (TRANSPORT_V6, length)
    } else {
        let Some(h) = bytes.fields::<20>(NETWORK) else { return false };
        let source = h.u32::<12>();
        let total = h.u16::<2>() as usize;
        // Options, or a fragment, or a sender that nobody can be.
        let odd = h.u8::<0>() != 0x45 || h.u16::<6>() & 0x3fff != 0 || source >> 28 == 0xe || source == u32::MAX;
        if odd || total < 20 || total > held {
            return false;
        }
        facts.protocol = h.u8::<9>();
        facts.source.words[0] = source;
        facts.destination.words[0] = h.u32::<16>();
        (TRANSPORT_V4, total - 20)
    };
    match facts.protocol {
        protocol::TCP => {
            facts.transport = TRANSPORT_PORTS;
            let Some(h) = bytes.fields::<TCP_HEADER>(at) else { return false };
            let header = (h.u8::<12>() >> 4) as usize * 4;
            facts.source_port = h.u16::<0>();
            facts.destination_port = h.u16::<2>();
            facts.tcp_flags = h.u8::<13>();
            header >= TCP_HEADER && header <= length
        }
        protocol::UDP => {
            facts.transport = TRANSPORT_PORTS;
            let Some(h) = bytes.fields::<UDP_HEADER>(at) else { return false };
            let datagram = h.u16::<4>() as usize;
            facts.source_port = h.u16::<0>();
            facts.destination_port = h.u16::<2>();
            datagram >= UDP_HEADER && datagram <= length
        }
        icmp if is_icmp(facts.family, icmp) => {
            facts.transport = TRANSPORT_ICMP;
            let Some(h) = bytes.fields::<ICMP_HEADER>(at) else { return false };
            facts.icmp_type = h.u8::<0>();
            facts.icmp_code = h.u8::<1>();
            facts.icmp_id = if is_icmp_query(facts.family, facts.icmp_type) { h.u16::<4>() } else { 0 };
            // An error is about another packet, and discovery has to be genuine.
            length >= ICMP_HEADER && !is_icmp_error(facts.family, facts.icmp_type) && !facts.has_discovery_type()
        }
        // What has no header that anybody looks at.
        other => {
            !has_ports(other) && !is_icmp(facts.family, other) && (facts.family == FAMILY_V4 || !is_extension(other))
        }
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
pub fn decide<M: Memory>(memory: &M, facts: &Facts, interface: u32, verdict: &mut Verdict) -> bool {
    if memory.may_be_local(facts.family, &facts.destination) {
        return false;
    }
    let answer = weigh(&memory.entries(facts, interface), asked::BOTH);
    *verdict = answer.verdict;
    if answer.denied && memory.audit_mode() {
        return false;
    }
    if !memory.keeps_state() {
        return true;
    }
    let wanted = if answer.denied { task::REPLY } else { task::KEEP };
    if answer.denied {
        // Nothing opens connections of TCP and UDP, but what the node itself sends or receives.
        let has_ports = facts.transport == TRANSPORT_PORTS;
        let closed = has_ports && !memory.opens() && !memory.may_be_local(facts.family, &facts.source);
        if closed || answer.stateless || !conn::answers(facts) {
            return true;
        }
    } else if answer.stateless || facts.transport == TRANSPORT_ICMP && !is_icmp_query(facts.family, facts.icmp_type) {
        // It opens nothing.
        return true;
    }
    if !is_plain(facts) {
        return answer.denied && !memory.may_reply(facts);
    }
    let mark = Mark::of(facts, memory.seed());
    if !mark.is(memory.noted(mark.slot), wanted, memory.about_ns()) {
        return answer.denied && !memory.may_reply(facts);
    }
    if answer.denied {
        verdict.action = PASS;
        verdict.reason = reason::REPLY;
    }
    true
}

/// Whether there is a connection that the packet may be return traffic of.
#[must_use]
#[inline(always)]
pub fn may_reply<M: Memory + ?Sized>(memory: &M, facts: &Facts) -> bool {
    if facts.family == FAMILY_V6 {
        // Its key would not find room on the stack of a kernel program beside what is there already.
        return true;
    }
    let key = ConnKey {
        source: facts.destination,
        destination: facts.source,
        source_port: facts.destination_port | facts.icmp_id,
        destination_port: facts.source_port | facts.icmp_id,
        protocol: facts.protocol,
        family: facts.family,
        padding: 0,
    };
    let asked = |table| memory.may_connect(table, &key) && memory.connects(table, &key);
    asked(Table::answered(facts.protocol)) || asked(Table::Opening)
}

/// Whether the packet changes nothing about a connection that goes on, whoever opened it: a segment without ACK is no
/// answer, and may open another.
#[inline(always)]
fn is_plain(facts: &Facts) -> bool {
    facts.protocol != protocol::TCP || facts.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) == tcp::ACK
}

/// How long a note holds, in units of `1 << AGE_SHIFT` nanoseconds: a second, the step in which connections are kept
/// anyway ([`conn::SEEN_STEP_NS`]).
const AGE_LIMIT: u64 = 15;
const AGE_SHIFT: u32 = 26;
const _: () = assert!(task::KEEP == 0 && task::REPLY == 1);

/// What a flow is noted under: where, and by what it is told from others there. Both come from a hash under a secret
/// seed, so that nobody can choose who shares a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The slot, which the highest bits of the mark say.
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
        let source = facts.source_port | facts.icmp_id;
        let kind = (facts.icmp_type as u64) << 8 | facts.protocol as u64;
        let ports = (source as u64) << 32 | (facts.destination_port as u64) << 16 | kind;
        let sum = scramble(sum.rotate_left(23) ^ ports);
        Self { slot: (sum >> 48) as u32 & (SLOTS - 1), mark: sum }
    }

    /// A note: the time under the mark, and under its complement for the other task. The time is there in full, so
    /// that no note ever looks fresh again.
    #[must_use]
    #[inline(always)]
    pub fn note(&self, of: u8, about_ns: u64) -> u64 {
        self.mark ^ (of as u64).wrapping_neg() ^ about_ns >> AGE_SHIFT
    }

    /// Whether a note is of this flow and task, and fresh. Of any other, what comes out is no time at all.
    #[inline(always)]
    fn is(&self, note: u64, of: u8, about_ns: u64) -> bool {
        let noted = self.note(of, 0) ^ note;
        (about_ns >> AGE_SHIFT).wrapping_sub(noted) < AGE_LIMIT
    }
}

/// Whether packets like this one may take the short way for a while: its connection was found, and they change nothing
/// about it.
#[must_use]
#[inline(always)]
pub fn lasts(case: &Case) -> bool {
    let facts = &case.facts;
    let goes_on =
        case.value.state == state::ESTABLISHED || case.task == task::KEEP && case.value.state == state::OPENING;
    case.known != 0
        && case.task <= task::REPLY
        && goes_on
        && facts.family != FAMILY_NONE
        && facts.unparsed == unparsed::NONE
        && facts.fragment == FRAGMENT_NONE
        && (facts.transport != TRANSPORT_PORTS || facts.protocol == protocol::TCP || facts.protocol == protocol::UDP)
        && is_plain(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x1234_5678_9abc_def0;
    const UNIT_NS: u64 = 1 << AGE_SHIFT;
    /// An odd time between units.
    const NOW_NS: u64 = 1_000_000 * UNIT_NS + 12_345;

    fn v4(source: u32, destination: u32, ports: (u16, u16)) -> Facts {
        Facts {
            source: Address::v4(source),
            destination: Address::v4(destination),
            source_port: ports.0,
            destination_port: ports.1,
            family: FAMILY_V4,
            protocol: protocol::UDP,
            transport: TRANSPORT_PORTS,
            ..Facts::UNKNOWN
        }
    }

    #[test]
    fn a_note_holds_for_a_second_and_never_again() {
        let mark = Mark::of(&v4(1, 2, (3, 4)), SEED);
        for of in [task::KEEP, task::REPLY] {
            let note = mark.note(of, NOW_NS);
            for units in 0..40 {
                let fresh = units < AGE_LIMIT;
                assert_eq!(mark.is(note, of, NOW_NS + units * UNIT_NS), fresh, "after {units} units");
            }
            assert!((1_000_000_000..1_070_000_000).contains(&(AGE_LIMIT * UNIT_NS)));
            assert!(!mark.is(note, of, NOW_NS - UNIT_NS), "from the future: two clocks, or none");
            for power in 30..63 {
                assert!(!mark.is(note, of, NOW_NS + (1 << power)), "fresh again after 2^{power} ns");
                assert!(!mark.is(mark.note(of, 1 << power), of, (1 << power) - 1), "from the future of 2^{power} ns");
                assert!(mark.is(mark.note(of, (1 << power) - 1), of, 1 << power), "bits carry at 2^{power} ns");
            }
        }
    }

    #[test]
    fn a_note_is_for_its_task_and_an_empty_slot_for_none() {
        let mark = Mark::of(&v4(1, 2, (3, 4)), SEED);
        assert!(!mark.is(mark.note(task::KEEP, NOW_NS), task::REPLY, NOW_NS));
        assert!(!mark.is(mark.note(task::REPLY, NOW_NS), task::KEEP, NOW_NS));
        for now_ns in [0, UNIT_NS, NOW_NS] {
            assert!(!mark.is(0, task::KEEP, now_ns) && !mark.is(0, task::REPLY, now_ns));
        }
    }

    #[test]
    fn other_flows_do_not_match() {
        let six = |source: [u32; 4], destination: [u32; 4]| Facts {
            source: Address { words: source },
            destination: Address { words: destination },
            family: FAMILY_V6,
            ..v4(0, 0, (3, 4))
        };
        let icmp = |icmp_type, icmp_id| Facts {
            transport: TRANSPORT_ICMP,
            protocol: protocol::ICMP,
            icmp_type,
            icmp_id,
            ..v4(1, 2, (0, 0))
        };
        for facts in [v4(1, 2, (3, 4)), six([1, 2, 3, 4], [5, 6, 7, 8]), icmp(8, 7)] {
            let mark = Mark::of(&facts, SEED);
            let note = [task::KEEP, task::REPLY].map(|of| mark.note(of, NOW_NS));
            let mut others = [facts; 200];
            let mut count = 0;
            let mut other = |change: &dyn Fn(&mut Facts)| {
                change(&mut others[count]);
                count += 1;
            };
            let words = if facts.family == FAMILY_V6 { 4 } else { 1 };
            for word in 0..words {
                for bit in [0, 1, 7, 8, 15, 16, 24, 31] {
                    other(&|facts| facts.source.words[word] ^= 1 << bit);
                    other(&|facts| facts.destination.words[word] ^= 1 << bit);
                }
            }
            for bit in 0..16 {
                if facts.transport == TRANSPORT_ICMP {
                    other(&|facts| facts.icmp_id ^= 1 << bit);
                    continue;
                }
                other(&|facts| facts.source_port ^= 1 << bit);
                other(&|facts| facts.destination_port ^= 1 << bit);
            }
            other(&|facts| facts.protocol ^= 3);
            other(&|facts| (facts.source, facts.destination) = (facts.destination, facts.source));
            if facts.transport == TRANSPORT_ICMP {
                other(&|facts| facts.icmp_type = 0);
            } else {
                other(&|facts| (facts.source_port, facts.destination_port) = (4, 3));
            }
            for other in &others[..count] {
                let theirs = Mark::of(other, SEED);
                assert_ne!(theirs, mark, "{other:?}");
                assert!(!theirs.is(note[0], task::KEEP, NOW_NS) && !theirs.is(note[1], task::REPLY, NOW_NS));
            }
            assert_ne!(Mark::of(&facts, SEED + 1), mark, "another secret");
        }
    }
}
