//! The decision of one hook: `docs/policy.md`, "A hook" and "State".
//!
//! [`judge`] asks policy about the ends that this hook answers for, looks up why a denied packet may
//! pass all the same, and keeps the connection that an allowed one belongs to. What the kernel or the
//! host supplies stands behind [`World`].

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey, asked, state};
use gabion_abi::event::FAILSAFE_LIMIT;
use gabion_abi::facts::{Address, FAMILY_NONE, FRAGMENT_FIRST, FRAGMENT_LATER, Facts, TRANSPORT_PORTS, unparsed};
use gabion_abi::tables::entry;
use gabion_abi::verdict::{DROP, Interface, NO_RULE, PASS, Verdict, direction, hook, interface, reason};

use crate::bytes::Bytes;
use crate::classify::{Entries, Tables, classify};
use crate::conn::{self, Sender};
use crate::key::{conn_key, quoted, reversed};

/// The two tables of connections: a flood that nobody answers fills only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Nobody has answered yet.
    Opening,
    /// Both sides have sent.
    Established,
}

/// One entry of a connection table, in place.
pub trait Slot {
    /// What is known.
    fn load(&self) -> ConnValue;
    /// Notes a packet.
    fn refresh(&self, seen_ns: u64, state: u8);
    /// Replaces what is known.
    fn replace(&self, value: &ConnValue);
}

/// What the kernel, or the host in its place, supplies beside the packet.
pub trait World: Tables + Sized {
    /// An entry of a connection table.
    type Slot<'a>: Slot
    where
        Self: 'a;

    /// `CLOCK_BOOTTIME` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Number of the generation that judges.
    fn generation(&self) -> u32;
    /// Whether the address is one of the node's own.
    fn is_local(&self, family: u8, address: &Address) -> bool;
    /// What is known of an interface; all zero when it is not the site's.
    fn interface(&self, ifindex: u32) -> Interface;
    /// Whether audit mode is on.
    fn audit_mode(&self) -> bool;
    /// Fail-safe port by its place in the list: protocol << 16 | port, 0 beyond the end.
    fn failsafe(&self, index: usize) -> u32;
    /// A connection.
    fn connection<'a>(&'a self, table: Table, key: &ConnKey) -> Option<Self::Slot<'a>>;
    /// Adds a connection, or replaces it. A table that is full forgets its oldest.
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue);
    /// Removes a connection.
    fn remove(&self, table: Table, key: &ConnKey);
    /// When the first fragment of this datagram passed.
    fn fragment(&self, key: &FragmentKey) -> Option<u64>;
    /// Remembers that the first fragment of this datagram passed.
    fn remember_fragment(&self, key: &FragmentKey, now_ns: u64);

    /// The entries that decide; the kernel program puts it into a function of its own.
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32) -> Entries {
        classify(self, facts, source_interface, destination_interface)
    }
}

/// Where a packet is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// One of [`hook`].
    pub hook: u8,
    /// ifindex the packet arrived on; 0 when the node itself sends it.
    pub source_ifindex: u32,
    /// ifindex it leaves by; 0 on arrival, where nobody knows it yet.
    pub destination_ifindex: u32,
}

/// Whether a departing packet was judged when it arrived, so that it goes without a second look.
#[must_use]
#[inline(always)]
pub fn was_judged<W: World>(world: &W, place: Place) -> bool {
    place.hook == hook::EGRESS
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

/// What policy says, before state is asked.
#[derive(Clone, Copy)]
struct Answer {
    verdict: Verdict,
    denied: bool,
    stateless: bool,
}

#[inline(always)]
fn weigh(entries: &Entries, ends: u8) -> Answer {
    let egress = ends & asked::EGRESS != 0;
    let ingress = ends & asked::INGRESS != 0;
    let is = |consulted: bool, word: u64, action: u64| consulted && entry::action(word) == action;
    let has = |consulted: bool, word: u64, flag: u64| consulted && entry::has(word, flag);

    let denied_ingress = is(ingress, entries.ingress, entry::DENY);
    let denied = denied_ingress || is(egress, entries.egress, entry::DENY);
    let audit_ingress = is(ingress, entries.ingress, entry::AUDIT);
    let audit = audit_ingress || is(egress, entries.egress, entry::AUDIT);
    // Who is named: the denying end before the auditing one before the one that was asked, and of two the ingress.
    let names_ingress = if denied {
        denied_ingress
    } else if audit {
        audit_ingress
    } else {
        ingress
    };
    let decisive = if names_ingress { entries.ingress } else { entries.egress };
    let log = if denied {
        entry::has(decisive, entry::LOG)
    } else {
        has(egress, entries.egress, entry::LOG) || has(ingress, entries.ingress, entry::LOG)
    };
    Answer {
        verdict: Verdict {
            rule: entry::rule(decisive),
            egress_rule: if egress { entry::rule(entries.egress) } else { NO_RULE },
            ingress_rule: if ingress { entry::rule(entries.ingress) } else { NO_RULE },
            action: if denied { DROP } else { PASS },
            reason: if audit && !denied { reason::AUDIT_RULE } else { reason::RULE },
            direction: if names_ingress { direction::INGRESS } else { direction::EGRESS },
            log: log as u8,
        },
        denied,
        stateless: has(egress, entries.egress, entry::STATELESS) || has(ingress, entries.ingress, entry::STATELESS),
    }
}

/// Finds a connection whose time is not over.
#[inline(always)]
fn find<'a, W: World>(world: &'a W, key: &ConnKey, now_ns: u64) -> Option<(Table, W::Slot<'a>, ConnValue)> {
    for table in [Table::Established, Table::Opening] {
        if let Some(slot) = world.connection(table, key) {
            let value = slot.load();
            if !conn::is_over(&value, key.protocol, matches!(table, Table::Established), now_ns) {
                return Some((table, slot, value));
            }
            world.remove(table, key);
        }
    }
    None
}

/// Whether the policy in force still allows the initiator's direction. A generation asks once for
/// each connection; what it no longer allows is forgotten.
#[inline(always)]
fn still_allowed<W: World>(world: &W, table: Table, key: &ConnKey, slot: &W::Slot<'_>, value: &ConnValue) -> bool {
    if value.generation == world.generation() {
        return true;
    }
    let first = conn::first_direction(key, value);
    let entries = world.entries(
        &first,
        world.interface(value.source_ifindex).class as u32,
        world.interface(value.destination_ifindex).class as u32,
    );
    let answer = weigh(&entries, value.asked);
    if answer.denied || answer.stateless {
        world.remove(table, key);
        return false;
    }
    slot.replace(&ConnValue { generation: world.generation(), ..*value });
    true
}

/// Notes a packet of a known connection, and moves the connection when it was answered.
#[inline(always)]
fn note<W: World>(
    world: &W,
    found: (Table, &W::Slot<'_>, &ConnValue),
    key: &ConnKey,
    facts: &Facts,
    sender: Sender,
    now_ns: u64,
) {
    let (table, slot, value) = found;
    let next = conn::next_state(value.state, sender, key.protocol, facts.tcp_flags);
    let answered = matches!(sender, Sender::Responder);
    if matches!(table, Table::Opening) && answered && next != state::CLOSED {
        world.insert(
            Table::Established,
            key,
            &ConnValue { seen_ns: now_ns, state: next, generation: world.generation(), ..*value },
        );
        world.remove(Table::Opening, key);
    } else if next != value.state
        || (next != state::CLOSED && now_ns.saturating_sub(value.seen_ns) >= conn::SEEN_STEP_NS)
    {
        slot.refresh(now_ns, next);
    }
}

/// Keeps the connection of a packet that policy allows.
#[inline(always)]
fn keep<W: World>(world: &W, place: Place, ends: u8, facts: &Facts, now_ns: u64) {
    let Some(key) = conn_key(facts) else { return };
    let mut born_ns = now_ns;
    if let Some((table, slot, value)) = find(world, &key, now_ns) {
        let starts_over = value.state == state::CLOSED && conn::is_bare_syn(facts);
        if value.generation == world.generation() && !starts_over {
            return note(world, (table, &slot, &value), &key, facts, Sender::Initiator, now_ns);
        }
        if !starts_over {
            // Policy was just asked about this very direction: no need to ask again for the first packet.
            let next = conn::next_state(value.state, Sender::Initiator, key.protocol, facts.tcp_flags);
            born_ns = value.born_ns;
            slot.replace(&opened(world, place, ends, facts, next, born_ns, now_ns));
            return;
        }
        world.remove(table, &key);
    } else if conn::answers(facts) {
        let back = reversed(&key);
        if let Some((table, slot, value)) = find(world, &back, now_ns) {
            // Both directions are allowed: whose connection it is stays with who sent first.
            if still_allowed(world, table, &back, &slot, &value) {
                return note(world, (table, &slot, &value), &back, facts, Sender::Responder, now_ns);
            }
        }
    }
    if conn::opens(facts) {
        let value = opened(world, place, ends, facts, conn::first_state(facts), born_ns, now_ns);
        world.insert(Table::Opening, &key, &value);
    }
}

#[inline(always)]
fn opened<W: World>(
    world: &W,
    place: Place,
    ends: u8,
    facts: &Facts,
    state: u8,
    born_ns: u64,
    now_ns: u64,
) -> ConnValue {
    ConnValue {
        seen_ns: now_ns,
        born_ns,
        source_mac: facts.source_mac,
        destination_mac: facts.destination_mac,
        generation: world.generation(),
        source_ifindex: place.source_ifindex,
        destination_ifindex: place.destination_ifindex,
        vlan_outer: facts.vlan_outer,
        vlan_inner: facts.vlan_inner,
        state,
        asked: ends,
        tcp_flags: facts.tcp_flags,
        icmp_type: facts.icmp_type,
        icmp_code: facts.icmp_code,
        fragment: facts.fragment,
        padding: [0; 2],
    }
}

/// Whether the packet is return traffic of a connection that may still be.
#[inline(always)]
fn is_reply<W: World>(world: &W, facts: &Facts, now_ns: u64) -> bool {
    if !conn::answers(facts) {
        return false;
    }
    let Some(key) = conn_key(facts) else { return false };
    let back = reversed(&key);
    let Some((table, slot, value)) = find(world, &back, now_ns) else { return false };
    if !still_allowed(world, table, &back, &slot, &value) {
        return false;
    }
    note(world, (table, &slot, &value), &back, facts, Sender::Responder, now_ns);
    true
}

/// Whether the packet is an ICMP error about a connection that may still be, sent to the one whose packet
/// it quotes. It does not keep the connection alive: anybody on the way can send one.
#[inline(always)]
fn is_related<W: World, B: Bytes>(world: &W, bytes: &B, facts: &Facts, now_ns: u64) -> bool {
    if !conn::is_icmp_error(facts) {
        return false;
    }
    let Some(mut key) = quoted(bytes, facts) else { return false };
    if key.family != facts.family || key.source != facts.destination {
        return false;
    }
    for _ in 0..2 {
        if let Some((table, slot, value)) = find(world, &key, now_ns) {
            return still_allowed(world, table, &key, &slot, &value);
        }
        key = reversed(&key);
    }
    false
}

/// Whether a denied packet is to or from a fail-safe port of the node itself: on arrival by its
/// destination, on departure by its source. The other way round anybody could forge it.
#[inline(always)]
fn is_failsafe<W: World>(world: &W, place: Place, facts: &Facts) -> bool {
    if facts.unparsed != unparsed::NONE || facts.transport != TRANSPORT_PORTS {
        return false;
    }
    let (address, port) = if place.hook == hook::INGRESS {
        (&facts.destination, facts.destination_port)
    } else {
        (&facts.source, facts.source_port)
    };
    let wanted = (facts.protocol as u32) << 16 | port as u32;
    let mut listed = false;
    for index in 0..FAILSAFE_LIMIT {
        listed |= world.failsafe(index) == wanted;
    }
    listed && world.is_local(facts.family, address)
}

#[inline(always)]
fn fragment_key(facts: &Facts) -> FragmentKey {
    FragmentKey {
        source: facts.source,
        destination: facts.destination,
        id: facts.fragment_id,
        protocol: facts.protocol,
        family: facts.family,
        padding: 0,
    }
}

/// Whether the packet is the rest of a datagram whose first fragment passed.
#[inline(always)]
fn follows_first_fragment<W: World>(world: &W, facts: &Facts, now_ns: u64) -> bool {
    facts.unparsed == unparsed::NONE
        && facts.fragment == FRAGMENT_LATER
        && world
            .fragment(&fragment_key(facts))
            .is_some_and(|seen_ns| now_ns.saturating_sub(seen_ns) <= conn::FRAGMENT_LIFE_NS)
}

/// Whose policy is asked here: on arrival the destination's, and the source's unless the destination is the
/// node itself; on departure the source's, and the destination's when the packet is forwarded.
#[inline(always)]
fn ends_asked<W: World>(world: &W, place: Place, facts: &Facts) -> u8 {
    if place.hook == hook::INGRESS {
        if facts.family != FAMILY_NONE && world.is_local(facts.family, &facts.destination) {
            asked::INGRESS
        } else {
            asked::INGRESS | asked::EGRESS
        }
    } else if place.source_ifindex == 0 {
        asked::EGRESS
    } else {
        asked::INGRESS | asked::EGRESS
    }
}

/// Judges one packet at one hook.
#[must_use]
#[inline(always)]
pub fn judge<W: World, B: Bytes>(world: &W, place: Place, bytes: &B, facts: &Facts) -> Verdict {
    let ends = ends_asked(world, place, facts);
    let entries = world.entries(
        facts,
        world.interface(place.source_ifindex).class as u32,
        world.interface(place.destination_ifindex).class as u32,
    );
    let answer = weigh(&entries, ends);
    let mut verdict = answer.verdict;
    if answer.denied {
        let why = excuse(world, place, bytes, facts);
        if let Some(reason) = why {
            verdict.action = PASS;
            verdict.reason = reason;
        }
    } else if !answer.stateless {
        keep(world, place, ends, facts, world.now_ns());
    }
    let first = facts.unparsed == unparsed::NONE && facts.fragment == FRAGMENT_FIRST;
    // In audit mode the rest of a datagram is reported as its first fragment was.
    if first && verdict.action == PASS && verdict.reason != reason::AUDIT_MODE {
        world.remember_fragment(&fragment_key(facts), world.now_ns());
    }
    verdict
}

/// Why a denied packet passes all the same.
#[inline(always)]
fn excuse<W: World, B: Bytes>(world: &W, place: Place, bytes: &B, facts: &Facts) -> Option<u8> {
    if is_failsafe(world, place, facts) {
        return Some(reason::FAILSAFE);
    }
    let now_ns = world.now_ns();
    if follows_first_fragment(world, facts, now_ns) {
        return Some(reason::FRAGMENT);
    }
    if is_related(world, bytes, facts, now_ns) {
        return Some(reason::RELATED);
    }
    if is_reply(world, facts, now_ns) {
        return Some(reason::REPLY);
    }
    if world.audit_mode() { Some(reason::AUDIT_MODE) } else { None }
}
