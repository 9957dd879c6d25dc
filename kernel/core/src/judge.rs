//! The decision of one hook: `docs/policy.md`, "A hook" and "State".
//!
//! [`judge`] asks policy about the ends that this hook answers for, looks up why a denied packet may
//! pass all the same, and keeps the connection that an allowed one belongs to. What the kernel or the
//! host supplies stands behind [`World`].

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey, asked};
use gabion_abi::event::FAILSAFE_LIMIT;
use gabion_abi::facts::{
    Address, FAMILY_NONE, FAMILY_V6, FRAGMENT_FIRST, FRAGMENT_LATER, Facts, TRANSPORT_PORTS, unparsed,
};
use gabion_abi::tables::entry;
use gabion_abi::verdict::{DROP, Interface, NO_RULE, PASS, Verdict, direction, hook, interface, reason};

use crate::bytes::Bytes;
use crate::classify::Entries;
use crate::conn;
use crate::key::{conn_key, quoted};
use crate::track::{find, found, renewal, sender, task, track};

/// The tables of connections. A flood that nobody answers fills only the first, and one of questions that are
/// answered, each in a packet, not the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Nobody has answered yet, or nothing that proves the initiator's address.
    Opening,
    /// Both sides have sent, and are there: protocols that open and close their connections.
    Established,
    /// Both sides have sent: all other protocols.
    Datagrams,
}

impl Table {
    /// Where a connection lives once it was answered.
    #[must_use]
    #[inline(always)]
    pub const fn answered(protocol: u8) -> Self {
        if conn::is_connection_oriented(protocol) { Self::Established } else { Self::Datagrams }
    }
}

/// What the kernel, or the host in its place, supplies beside the packet.
pub trait World: Sized {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Number of the tables in force: it changes with each generation, and with each change of its tables.
    fn revision(&self) -> u32;
    /// Whether the address is one of the node's own.
    fn is_local(&self, family: u8, address: &Address) -> bool;
    /// What is known of an interface; all zero when it is not the site's.
    fn interface(&self, ifindex: u32) -> Interface;
    /// Whether audit mode is on.
    fn audit_mode(&self) -> bool;
    /// Whether a port (protocol << 16 | port) is among the fail-safe ones: [`lists`].
    fn is_failsafe_port(&self, wanted: u32) -> bool;
    /// Where a connection `case.at` may be, bits of [`place`]: [`crate::marks`].
    fn places(&self, case: &Case) -> u8;
    /// What is known of a connection; whether there is one.
    fn connection(&self, table: Table, key: &ConnKey, into: &mut ConnValue) -> bool;
    /// Replaces what is known of a connection in place; one that is gone stays gone.
    fn replace(&self, table: Table, key: &ConnKey, value: &ConnValue);
    /// Adds a connection, or replaces it. A table that is full forgets its oldest.
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue);
    /// Removes a connection.
    fn remove(&self, table: Table, key: &ConnKey);
    /// When the first fragment of this datagram passed.
    fn fragment(&self, key: &FragmentKey) -> Option<u64>;
    /// Remembers that the first fragment of this datagram passed.
    fn remember_fragment(&self, key: &FragmentKey, now_ns: u64);

    /// False when nothing that policy allows keeps state. No connection is looked for then: of those that an older
    /// generation opened none is allowed any more. In the kernel a constant to the verifier.
    #[inline(always)]
    fn keeps_state(&self) -> bool {
        true
    }

    /// Finds the entries that decide: [`crate::classify::classify`]. The kernel program puts it into a function of its
    /// own, as it does with [`World::track`], because the verifier looks at such a function once and gives it a stack
    /// of its own.
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries);

    /// Looks for the connection `case.at`, one of [`place`]: [`find`].
    fn find(&self, case: &mut Case) -> u32 {
        find(self, case)
    }

    /// Looks at the connection of a case, one of [`found`]: [`track`].
    fn track(&self, case: &mut Case) -> u32 {
        track(self, case)
    }
}

/// Where a packet is judged.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// One of [`hook`].
    pub hook: u32,
    /// ifindex the packet arrived on; 0 when the node itself sends it.
    pub source_ifindex: u32,
    /// ifindex it leaves by; 0 on arrival, where nobody knows it yet.
    pub destination_ifindex: u32,
}

/// Whether a departing packet was judged when it arrived, so that it goes without a second look.
#[must_use]
#[inline(always)]
pub fn was_judged<W: World>(world: &W, place: Place) -> bool {
    place.hook == hook::EGRESS as u32
        && place.source_ifindex != 0
        && world.interface(place.source_ifindex).flags & interface::JUDGED != 0
}

/// The verdict on a packet that [`was_judged`].
pub const JUDGED: Verdict = Verdict {
    rule: NO_RULE,
    egress_rule: NO_RULE,
    ingress_rule: NO_RULE,
    action: PASS,
    reason: reason::JUDGED,
    direction: direction::INGRESS,
    log: 0,
};

/// Rules that a verdict counts for, [`NO_RULE`] where there is none: all that were asked when they let
/// the packet go, the one that denies when it was denied (or would have been, in audit mode). What
/// passes for another reason counts for that reason only.
#[must_use]
#[inline(always)]
pub const fn counted_rules(verdict: &Verdict) -> [u32; 2] {
    if verdict.action == DROP || verdict.reason == reason::AUDIT_MODE {
        [verdict.rule, NO_RULE]
    } else if verdict.reason == reason::RULE || verdict.reason == reason::AUDIT_RULE {
        [verdict.egress_rule, verdict.ingress_rule]
    } else {
        [NO_RULE, NO_RULE]
    }
}

/// One packet while it is judged. The kernel programs keep it in a map, because their stack is 512 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What the packet is.
    pub facts: Facts,
    /// What the first packet of its connection was.
    pub first: Facts,
    /// What is known of its connection.
    pub value: ConnValue,
    /// The packet's key; of an ICMP error the quoted packet's, when [`Self::quoted`] says so.
    pub key: ConnKey,
    /// The key that is looked at.
    pub at: ConnKey,
    /// What policy says.
    pub entries: Entries,
    /// What was decided.
    pub verdict: Verdict,
    /// Where.
    pub place: Place,
    /// Whose policy is asked: bits of [`asked`].
    pub ends: u8,
    /// What the connection is looked at for: one of [`task`].
    pub task: u8,
    /// What policy says about a connection of an older generation: one of [`renewal`].
    pub renewal: u8,
    /// 1 when the packet is an ICMP error that quotes a packet which can have a connection: [`quote`].
    pub quoted: u8,
    /// Who sent the packet of the connection that is looked at, one of [`sender`].
    pub sender: u8,
    /// 1 when the connection that was looked for was found, or opened.
    pub known: u8,
    /// Where a connection `at` may be: bits of [`place`].
    pub places: u8,
    /// Explicit padding.
    pub padding: u8,
    /// `CLOCK_BOOTTIME` when the connection was looked at.
    pub now_ns: u64,
    /// Length of the packet in bytes as the hook saw it.
    pub length: u32,
    /// [`World::revision`] when the packet came.
    pub revision: u32,
    /// Where the kernel programs send a number through memory: [`Bytes::forget`].
    pub forgotten: u64,
}

impl Case {
    /// A packet of which nothing is decided yet.
    #[must_use]
    pub fn new(place: Place, facts: Facts) -> Self {
        Self {
            facts,
            first: Facts::UNKNOWN,
            value: ConnValue::default(),
            key: ConnKey::default(),
            at: ConnKey::default(),
            entries: Entries { egress: 0, ingress: 0 },
            verdict: Verdict::default(),
            place,
            ends: 0,
            task: 0,
            renewal: renewal::UNKNOWN,
            quoted: 0,
            sender: sender::INITIATOR,
            known: 0,
            places: 0,
            padding: 0,
            now_ns: 0,
            length: 0,
            revision: 0,
            forgotten: 0,
        }
    }
}

/// What policy says, before state is asked.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub verdict: Verdict,
    pub denied: bool,
    /// What is allowed opens no connection; what is refused is so although it belongs to one.
    pub stateless: bool,
}

/// Without a branch: the verifier would follow each way through the many yes and no of two ends.
#[inline(always)]
pub(crate) fn weigh(entries: &Entries, ends: u8) -> Answer {
    const _: () = assert!(asked::EGRESS == 1 && asked::INGRESS == 2 && entry::DENY == 1 && entry::AUDIT == 2);
    const _: () = assert!(PASS == 0 && DROP == 1 && reason::RULE == 0 && direction::EGRESS == 0 && NO_RULE == u32::MAX);
    let ends = ends as u64;
    // All ones for an end that was asked, and what its entry says then.
    let egress = (ends & 1).wrapping_neg();
    let ingress = (ends >> 1 & 1).wrapping_neg();
    let bit = |word: u64, of: u32| word >> of & 1;
    let (from, to) = (entries.egress & egress, entries.ingress & ingress);

    let denied_ingress = bit(to, entry::DENY_BIT);
    let denied = denied_ingress | bit(from, entry::DENY_BIT);
    let audit_ingress = bit(to, entry::AUDIT_BIT);
    let audit = audit_ingress | bit(from, entry::AUDIT_BIT);
    // Who is named: the denying end before the auditing one before the one that was asked, and of two the ingress.
    let names_ingress = denied_ingress | (denied ^ 1) & (audit_ingress | (audit ^ 1) & ingress & 1);
    let named = names_ingress.wrapping_neg();
    let decisive = to & named | from & !named;
    let log = bit(decisive, entry::LOG_BIT) | (denied ^ 1) & (bit(from, entry::LOG_BIT) | bit(to, entry::LOG_BIT));
    let audited = (audit & (denied ^ 1)) as u8;
    let stateless = |word: u64| bit(word, entry::STATELESS_BIT);
    // Of a packet that is refused only an end counts that refuses it.
    let cut = stateless(from) & bit(from, entry::DENY_BIT) | stateless(to) & denied_ingress;
    Answer {
        verdict: Verdict {
            rule: entry::rule(decisive),
            egress_rule: entry::rule(from) | !egress as u32,
            ingress_rule: entry::rule(to) | !ingress as u32,
            action: denied as u8,
            reason: audited * reason::AUDIT_RULE,
            direction: names_ingress as u8,
            log: log as u8,
        },
        denied: denied != 0,
        stateless: (denied & cut | (denied ^ 1) & stateless(from | to)) != 0,
    }
}

/// Looks at the connection of a case; asks policy about one of an older generation.
#[inline(always)]
fn look<W: World>(world: &W, case: &mut Case) -> bool {
    case.renewal = renewal::UNKNOWN;
    let mut answer = world.track(case);
    if answer == found::STALE {
        let source = world.interface(case.value.source_ifindex).class as u32;
        let destination = world.interface(case.value.destination_ifindex).class as u32;
        world.entries(&case.first, source, destination, &mut case.entries);
        let weighed = weigh(&case.entries, case.value.asked);
        let over = weighed.denied || weighed.stateless;
        case.renewal = if over { renewal::REFUSED } else { renewal::ALLOWED };
        answer = world.track(case);
    }
    answer == found::CONNECTION
}

/// Whether [`quote`] has to look into the packet before it is judged.
#[must_use]
#[inline(always)]
pub fn may_quote(case: &Case) -> bool {
    conn::is_icmp_error(&case.facts)
}

/// Notes the key of the packet that an ICMP error quotes. The last that is read of a packet: [`judge`] goes by the
/// case.
#[inline(always)]
pub fn quote<B: Bytes>(packet: &B, case: &mut Case) {
    let key = quoted(packet, &case.facts);
    case.quoted = key.is_some() as u8;
    if let Some(key) = key {
        case.key = key;
    }
}

/// Whether a denied packet is to or from a fail-safe port of the node itself: on arrival by its
/// destination, on departure by its source. The other way round anybody could forge it.
#[inline(always)]
fn is_failsafe<W: World>(world: &W, place: Place, facts: &Facts) -> bool {
    if facts.unparsed != unparsed::NONE || facts.transport != TRANSPORT_PORTS {
        return false;
    }
    let (address, port) = if place.hook == hook::INGRESS as u32 {
        (&facts.destination, facts.destination_port)
    } else {
        (&facts.source, facts.source_port)
    };
    let wanted = (facts.protocol as u32) << 16 | port as u32;
    world.is_failsafe_port(wanted) && world.is_local(facts.family, address)
}

/// Whether `wanted` is in the list, which is 0 beyond its end. Without a branch for each element: the verifier would
/// follow every pattern of hits and misses.
#[must_use]
#[inline(always)]
pub fn lists(ports: &[u32; FAILSAFE_LIMIT], wanted: u32) -> bool {
    let mut hits = 0;
    for port in ports {
        // 0 alone borrows through to the highest bit.
        hits |= u64::from(port ^ wanted).wrapping_sub(1) >> 63;
    }
    hits != 0
}

#[inline(always)]
fn fragment_key(facts: &Facts) -> FragmentKey {
    FragmentKey {
        source: facts.source,
        destination: facts.destination,
        id: facts.fragment_id,
        // IPv4 identifies a datagram by its protocol too (RFC 791); IPv6 does not, and behind a fragment header
        // more extension headers may stand, which only the first fragment shows.
        protocol: if facts.family == FAMILY_V6 { 0 } else { facts.protocol },
        family: facts.family,
        padding: 0,
    }
}

/// Whether the packet is the rest of a datagram whose first fragment passed.
#[inline(always)]
fn follows_first_fragment<W: World>(world: &W, facts: &Facts) -> bool {
    facts.unparsed == unparsed::NONE
        && facts.fragment == FRAGMENT_LATER
        && world
            .fragment(&fragment_key(facts))
            .is_some_and(|seen_ns| world.now_ns().saturating_sub(seen_ns) <= conn::FRAGMENT_LIFE_NS)
}

/// Whose policy is asked here: on arrival the destination's, and the source's unless the destination is the
/// node itself; on departure the source's, and the destination's when the packet is forwarded.
#[inline(always)]
fn ends_asked<W: World>(world: &W, place: Place, facts: &Facts) -> u8 {
    if place.hook == hook::INGRESS as u32 {
        if facts.family != FAMILY_NONE && world.is_local(facts.family, &facts.destination) {
            asked::INGRESS
        } else {
            asked::BOTH
        }
    } else if place.source_ifindex == 0 {
        asked::EGRESS
    } else {
        asked::BOTH
    }
}

/// Judges one packet at one hook: `case.facts` at `case.place`, into `case.verdict`. An ICMP error was [`quote`]d.
///
/// One look at the connection, whatever it is asked for: each would be a copy of the same way for the verifier.
#[inline(always)]
pub fn judge<W: World>(world: &W, case: &mut Case) {
    case.ends = ends_asked(world, case.place, &case.facts);
    // One end is asked alone when the other's policy has no say: the node itself receives, or sends.
    case.facts.node = (case.ends != asked::BOTH) as u8;
    let source = world.interface(case.place.source_ifindex).class as u32;
    let destination = world.interface(case.place.destination_ifindex).class as u32;
    world.entries(&case.facts, source, destination, &mut case.entries);
    let answer = weigh(&case.entries, case.ends);
    case.verdict = answer.verdict;
    case.task = question(world, case, answer.denied, answer.stateless);
    let known = world.keeps_state() && case.task != task::NONE && look(world, case);
    case.known = known as u8;
    if case.verdict.action == DROP {
        if known {
            pardon(case, if case.task == task::RELATED { reason::RELATED } else { reason::REPLY });
        } else if world.audit_mode() {
            return pardon(case, reason::AUDIT_MODE);
        }
    }
    // In audit mode the rest of a datagram is reported as its first fragment was.
    if case.verdict.action == PASS && is_first_fragment(&case.facts) {
        world.remember_fragment(&fragment_key(&case.facts), world.now_ns());
    }
}

/// A packet that passed is refused after all, at a place that knew more of it: it opens no connection.
#[inline(always)]
pub fn retract<W: World>(world: &W, case: &Case) {
    if let Some(key) = conn_key(&case.facts) {
        world.remove(Table::Opening, &key);
    }
}

#[inline(always)]
fn pardon(case: &mut Case, reason: u8) {
    case.verdict.action = PASS;
    case.verdict.reason = reason;
}

#[inline(always)]
fn is_first_fragment(facts: &Facts) -> bool {
    facts.unparsed == unparsed::NONE && facts.fragment == FRAGMENT_FIRST
}

/// What the connection of a packet is to be looked at for, its key in `case.key`. Pardons what passes without one.
#[inline(always)]
fn question<W: World>(world: &W, case: &mut Case, denied: bool, stateless: bool) -> u8 {
    if denied {
        if is_failsafe(world, case.place, &case.facts) {
            pardon(case, reason::FAILSAFE);
            return task::NONE;
        }
        if stateless {
            return task::NONE;
        }
        if follows_first_fragment(world, &case.facts) {
            pardon(case, reason::FRAGMENT);
            return task::NONE;
        }
    }
    if !world.keeps_state() {
        return task::NONE;
    }
    if denied {
        if conn::is_icmp_error(&case.facts) {
            // An error does not keep the connection alive: anybody on the way can send one.
            return if case.quoted != 0 { task::RELATED } else { task::NONE };
        }
        if !conn::answers(&case.facts) {
            return task::NONE;
        }
    } else if stateless {
        return task::NONE;
    }
    let Some(key) = conn_key(&case.facts) else { return task::NONE };
    case.key = key;
    if denied { task::REPLY } else { task::KEEP }
}
