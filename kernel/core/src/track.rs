//! The connection that a packet belongs to: finds it, has policy asked about it again when the generation changed,
//! and moves it along. `docs/policy.md`, "State".

use gabion_abi::conn::{ConnValue, state};
use gabion_abi::facts::tcp;

use crate::conn::{self, Sender};
use crate::judge::{Case, Slot, Table, World};
use crate::key::reversed;

/// What the connection of a packet is looked at for.
pub mod task {
    /// Policy allows the packet: note it, or open a connection. The key is the packet's own.
    pub const KEEP: u8 = 0;
    /// Policy denies the packet: is it return traffic? The key is the reverse of the packet's.
    pub const REPLY: u8 = 1;
    /// Policy denies the ICMP error: is it about a connection? The key is the quoted packet's.
    pub const RELATED: u8 = 2;
    /// Nothing: the packet has no connection, or none that matters.
    pub const NONE: u8 = 3;
}

/// What policy said about the first direction of a connection that an older generation let go.
pub mod renewal {
    /// It was not asked.
    pub const UNKNOWN: u8 = 0;
    /// The connection goes on.
    pub const ALLOWED: u8 = 1;
    /// The connection is over.
    pub const REFUSED: u8 = 2;
}

/// What [`track`] found.
pub mod found {
    /// Nothing, and nothing was opened.
    pub const NOTHING: u32 = 0;
    /// A connection that the policy in force allows.
    pub const CONNECTION: u32 = 1;
    /// One that an older generation let go: ask policy about `case.first`, note the answer in `case.renewal` and
    /// track again. The verifier gives each chain of calls 512 bytes of stack, so that the asking is the caller's.
    pub const STALE: u32 = 2;
}

/// Looks at the connection of `case` for `case.task`: one of [`found`].
#[inline(always)]
pub fn track<W: World>(world: &W, case: &mut Case) -> u32 {
    let now_ns = world.now_ns();
    case.at = case.key;
    if let Some((table, slot, sender)) = search(world, case, now_ns) {
        let initiator = matches!(sender, Sender::Initiator);
        let stale = case.value.generation != world.generation();
        if !stale || initiator || case.renewal == renewal::ALLOWED {
            note(world, case, table, &slot, sender, now_ns);
            return found::CONNECTION;
        }
        if case.renewal == renewal::UNKNOWN {
            case.first = conn::first_direction(&case.at, &case.value);
            return found::STALE;
        }
        let key = case.at;
        world.remove(table, &key);
    }
    if case.task != task::KEEP || !conn::opens(&case.facts) {
        return found::NOTHING;
    }
    case.value = opened(world, case);
    case.value.seen_ns = now_ns;
    case.value.born_ns = now_ns;
    case.value.state = conn::first_state(&case.facts);
    case.at = case.key;
    insert(world, case, Table::Opening);
    found::CONNECTION
}

/// Finds a connection whose time is not over. Its key is left in `case.at`, what is known of it in `case.value`.
#[inline(always)]
fn search<'a, W: World>(world: &'a W, case: &mut Case, now_ns: u64) -> Option<(Table, W::Slot<'a>, Sender)> {
    let keep = case.task == task::KEEP;
    // A packet that is allowed by itself may still be the answer to an older connection, and the packet that an
    // error quotes may have gone either way.
    let both_ways = if keep { conn::answers(&case.facts) } else { case.task == task::RELATED };
    for turn in 0..2u32 {
        let initiator = keep && turn == 0;
        for table in [Table::answered(case.at.protocol), Table::Opening] {
            let key = case.at;
            let Some(slot) = world.connection(table, &key) else { continue };
            case.value = slot.load();
            let answered = !matches!(table, Table::Opening);
            let starts_over = initiator && case.value.state == state::CLOSED && conn::is_bare_syn(&case.facts);
            if starts_over || conn::is_over(&case.value, key.protocol, answered, now_ns) {
                world.remove(table, &key);
                continue;
            }
            return Some((table, slot, if initiator { Sender::Initiator } else { Sender::Responder }));
        }
        if !both_ways {
            break;
        }
        case.at = reversed(&case.at);
    }
    None
}

/// Notes a packet of a connection. The responder's first that [`conn::establishes`] it moves it out of the opening
/// table.
#[inline(always)]
fn note<W: World>(world: &W, case: &mut Case, table: Table, slot: &W::Slot<'_>, sender: Sender, now_ns: u64) {
    let initiator = matches!(sender, Sender::Initiator);
    let stale = case.value.generation != world.generation();
    let before = case.value.state;
    let seen_ns = case.value.seen_ns;
    if stale && initiator {
        // Policy was asked about this very packet: it takes the place of the first one.
        let born_ns = case.value.born_ns;
        case.value = opened(world, case);
        case.value.born_ns = born_ns;
        case.value.seen_ns = seen_ns;
    }
    case.value.generation = world.generation();
    // An ICMP error says nothing about the connection's state: anybody on the way can send one.
    let next = if case.task == task::RELATED {
        before
    } else {
        conn::next_state(before, sender, case.facts.protocol, case.facts.tcp_flags)
    };
    case.value.state = next;
    let changed = next != before;
    let flags = case.facts.tcp_flags;
    // An ICMP error says nothing here either.
    let answers = !initiator && case.task != task::RELATED && conn::establishes(case.facts.protocol, flags);
    let moves = matches!(table, Table::Opening) && answers && next != state::CLOSED;
    // A closed connection's time runs from its end. Who goes on sending, though, closed nothing: somebody forged that.
    let goes_on = before != state::CLOSED || (initiator && flags & (tcp::FIN | tcp::RST) == 0);
    let old = goes_on && now_ns.saturating_sub(seen_ns) >= conn::SEEN_STEP_NS;
    if case.task != task::RELATED && (changed || moves || old) {
        case.value.seen_ns = now_ns;
    } else if !stale {
        return;
    }
    if moves {
        insert(world, case, Table::answered(case.at.protocol));
        let key = case.at;
        world.remove(Table::Opening, &key);
    } else {
        slot.replace(&case.value);
    }
}

/// Copies, because kernels before 6.3 take a map's key and value from the stack or another map only by themselves,
/// not through a function's argument.
#[inline(always)]
fn insert<W: World>(world: &W, case: &Case, table: Table) {
    let key = case.at;
    let value = case.value;
    world.insert(table, &key, &value);
}

/// What is kept about the packet of `case`, but for its times and state.
#[inline(always)]
fn opened<W: World>(world: &W, case: &Case) -> ConnValue {
    let facts = &case.facts;
    ConnValue {
        seen_ns: 0,
        born_ns: 0,
        source_mac: facts.source_mac,
        destination_mac: facts.destination_mac,
        generation: world.generation(),
        source_ifindex: case.place.source_ifindex,
        destination_ifindex: case.place.destination_ifindex,
        vlan_outer: facts.vlan_outer,
        vlan_inner: facts.vlan_inner,
        state: 0,
        asked: case.ends,
        tcp_flags: facts.tcp_flags,
        icmp_type: facts.icmp_type,
        icmp_code: facts.icmp_code,
        fragment: facts.fragment,
        padding: [0; 2],
    }
}
