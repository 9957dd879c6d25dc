//! The connection that a packet belongs to: finds it, has policy asked about it again when the generation changed,
//! and moves it along. `docs/policy.md`, "State".

use gabion_abi::conn::{ConnValue, state};
use gabion_abi::facts::tcp;

use crate::conn::{self, Sender};
use crate::judge::{Case, Table, World};
use crate::key::reversed;

/// What the connection of a packet is looked at for.
pub mod task {
    /// Policy allows the packet: note it, or open a connection. The key is the packet's own.
    pub const KEEP: u8 = 0;
    /// Policy denies the packet: is it return traffic? The key is the packet's own.
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

/// Who sent the packet of a connection.
pub mod sender {
    /// Who sent its first packet.
    pub const INITIATOR: u8 = 0;
    /// Who answers.
    pub const RESPONDER: u8 = 1;
}

/// Where [`find`] found a connection; each a bit of its own.
pub mod place {
    /// In no table.
    pub const NOWHERE: u32 = 0;
    /// In the table of answered connections of its protocol.
    pub const ANSWERED: u32 = 1;
    /// Among those that nobody answered yet.
    pub const OPENING: u32 = 2;
}

#[inline(always)]
fn table(place: u32, protocol: u8) -> Table {
    if place == place::ANSWERED { Table::answered(protocol) } else { Table::Opening }
}

/// Looks at the connection of `case` for `case.task`: one of [`found`].
#[inline(always)]
pub fn track<W: World>(world: &W, case: &mut Case) -> u32 {
    case.now_ns = world.now_ns();
    let place = search(world, case);
    if place != place::NOWHERE {
        let stale = case.value.revision != world.revision();
        if !stale || case.sender == sender::INITIATOR || case.renewal == renewal::ALLOWED {
            note(world, case, place);
            return found::CONNECTION;
        }
        if case.renewal == renewal::UNKNOWN {
            case.first = conn::first_direction(&case.at, &case.value);
            return found::STALE;
        }
        let key = case.at;
        world.remove(table(place, key.protocol), &key);
    }
    if case.task != task::KEEP || !conn::opens(&case.facts) {
        return found::NOTHING;
    }
    case.value = opened(world, case);
    case.value.seen_ns = case.now_ns;
    case.value.born_ns = case.now_ns;
    case.value.state = conn::first_state(&case.facts);
    case.at = case.key;
    insert(world, case, Table::Opening);
    found::CONNECTION
}

/// Finds a connection whose time is not over, one of [`place`]. Its key is left in `case.at`, what is known of it in
/// `case.value`, and who sent the packet in `case.sender`.
#[inline(always)]
fn search<W: World>(world: &W, case: &mut Case) -> u32 {
    let keep = case.task == task::KEEP;
    case.at = if case.task == task::REPLY { reversed(&case.key) } else { case.key };
    case.sender = if keep { sender::INITIATOR } else { sender::RESPONDER };
    case.places = world.places(case);
    let place = world.find(case);
    if place != place::NOWHERE {
        return place;
    }
    // A packet that is allowed by itself may still be the answer to an older connection, and the packet that an
    // error quotes may have gone either way.
    let both_ways = if keep { conn::answers(&case.facts) } else { case.task == task::RELATED };
    if !both_ways {
        return place::NOWHERE;
    }
    case.at = reversed(&case.at);
    case.sender = sender::RESPONDER;
    case.places = world.places(case);
    world.find(case)
}

/// Looks for the connection `case.at`: one of [`place`], and what is known of it in `case.value`. `case.places` says
/// which tables may hold it. What is over is
/// removed.
#[inline(always)]
pub fn find<W: World>(world: &W, case: &mut Case) -> u32 {
    for place in [place::ANSWERED, place::OPENING] {
        if u32::from(case.places) & place == 0 {
            continue;
        }
        let key = case.at;
        let table = table(place, key.protocol);
        if !world.connection(table, &key, &mut case.value) {
            continue;
        }
        let initiator = case.sender == sender::INITIATOR;
        let starts_over = initiator && case.value.state == state::CLOSED && conn::is_bare_syn(&case.facts);
        if !starts_over && !conn::is_over(&case.value, key.protocol, place == place::ANSWERED, case.now_ns) {
            return place;
        }
        world.remove(table, &key);
    }
    place::NOWHERE
}

/// Notes a packet of a connection. The responder's first that [`conn::establishes`] it moves it to the other table.
#[inline(always)]
fn note<W: World>(world: &W, case: &mut Case, place: u32) {
    let initiator = case.sender == sender::INITIATOR;
    let stale = case.value.revision != world.revision();
    let before = case.value.state;
    let seen_ns = case.value.seen_ns;
    if stale && initiator {
        // Policy was asked about this very packet: it takes the place of the first one.
        let born_ns = case.value.born_ns;
        case.value = opened(world, case);
        case.value.born_ns = born_ns;
        case.value.seen_ns = seen_ns;
    }
    case.value.revision = world.revision();
    // An ICMP error says nothing about the connection's state: anybody on the way can send one.
    let related = case.task == task::RELATED;
    let sender = if initiator { Sender::Initiator } else { Sender::Responder };
    let next =
        if related { before } else { conn::next_state(before, sender, case.facts.protocol, case.facts.tcp_flags) };
    case.value.state = next;
    let flags = case.facts.tcp_flags;
    let answers = !initiator && !related && conn::establishes(case.facts.protocol, flags);
    let moves = place == place::OPENING && answers && next != state::CLOSED;
    // A closed connection's time runs from its end. Who goes on sending, though, closed nothing: somebody forged that.
    let goes_on = before != state::CLOSED || (initiator && flags & (tcp::FIN | tcp::RST) == 0);
    let old = goes_on && case.now_ns.saturating_sub(seen_ns) >= conn::SEEN_STEP_NS;
    if !related && (next != before || moves || old) {
        case.value.seen_ns = case.now_ns;
    } else if !stale {
        return;
    }
    let key = case.at;
    if moves {
        insert(world, case, Table::answered(key.protocol));
        world.remove(Table::Opening, &key);
    } else {
        let value = case.value;
        world.replace(table(place, key.protocol), &key, &value);
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
        revision: world.revision(),
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
