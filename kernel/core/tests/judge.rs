//! The decision of a hook with state, in a world of hash maps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey, state};
use gabion_abi::facts::{
    Address, ETHERTYPE_IPV4, FAMILY_V4, FRAGMENT_FIRST, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, TRANSPORT_PORTS,
    protocol, tcp,
};
use gabion_abi::tables::entry;
use gabion_abi::verdict::{DROP, Interface, PASS, Verdict, hook, interface, reason};
use gabion_kernel_core::classify::Entries;
use gabion_kernel_core::conn::SECOND_NS;
use gabion_kernel_core::judge::{Case, Place, Table, World, judge, lists, may_quote, retract, was_judged};
use gabion_kernel_core::key::conn_key;
use proptest::prelude::*;

const CLIENT: Address = Address::v4(0x0a00_0001);
const SERVER: Address = Address::v4(0x0a00_0002);
const NODE: Address = Address::v4(0x0a00_00fe);
const ARRIVAL: Place = Place { hook: hook::INGRESS as u32, source_ifindex: 2, destination_ifindex: 0 };
const OWN: Place = Place { hook: hook::EGRESS as u32, source_ifindex: 0, destination_ifindex: 2 };

/// A policy of pairs: what may be sent from one address to another.
#[derive(Default)]
struct Host {
    now_ns: Cell<u64>,
    generation: Cell<u32>,
    audit: Cell<bool>,
    failsafe: [u32; 16],
    allowed: RefCell<HashMap<(Address, Address), u64>>,
    connections: RefCell<HashMap<(Table, ConnKey), ConnValue>>,
    /// Connections that each table holds.
    capacity: Cell<usize>,
    fragments: RefCell<HashMap<FragmentKey, u64>>,
    quoted: Cell<Option<ConnKey>>,
    asked: Cell<u32>,
    /// What egress and ingress say, when they do not say the same.
    ends: Cell<Option<(u64, u64)>>,
}

impl World for Host {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
    fn revision(&self) -> u32 {
        self.generation.get()
    }
    fn is_local(&self, _: u8, address: &Address) -> bool {
        *address == NODE
    }
    fn interface(&self, ifindex: u32) -> Interface {
        Interface { flags: if ifindex == 2 { interface::JUDGED } else { 0 }, ..Interface::default() }
    }
    fn audit_mode(&self) -> bool {
        self.audit.get()
    }
    fn is_failsafe_port(&self, wanted: u32) -> bool {
        lists(&self.failsafe, wanted)
    }
    fn places(&self, case: &Case) -> u8 {
        let connections = self.connections.borrow();
        let holds = |table| u8::from(connections.contains_key(&(table, case.at)));
        holds(Table::answered(case.at.protocol)) | holds(Table::Opening) << 1
    }
    fn connection(&self, table: Table, key: &ConnKey, into: &mut ConnValue) -> bool {
        self.connections.borrow().get(&(table, *key)).map(|value| *into = *value).is_some()
    }
    fn replace(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        self.connections.borrow_mut().entry((table, *key)).and_modify(|known| *known = *value);
    }
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        let mut connections = self.connections.borrow_mut();
        let of_table = connections.iter().filter(|((other, _), _)| *other == table);
        if of_table.clone().count() >= self.capacity.get() {
            let oldest = of_table.min_by_key(|(_, value)| value.seen_ns).map(|(place, _)| *place).unwrap();
            connections.remove(&oldest);
        }
        connections.insert((table, *key), *value);
    }
    fn remove(&self, table: Table, key: &ConnKey) {
        self.connections.borrow_mut().remove(&(table, *key));
    }
    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        self.fragments.borrow().get(key).copied()
    }
    fn remember_fragment(&self, key: &FragmentKey, now_ns: u64) {
        self.fragments.borrow_mut().insert(*key, now_ns);
    }
    fn entries(&self, facts: &Facts, _: u32, _: u32, into: &mut Entries) {
        self.asked.set(self.asked.get() + 1);
        // Egress is rule 1, ingress rule 2; both follow the same pairs.
        let word = self.allowed.borrow().get(&(facts.source, facts.destination)).copied();
        let action = word.unwrap_or(entry::DENY);
        let (egress, ingress) = self.ends.get().unwrap_or((action, action));
        *into = Entries {
            egress: entry::pack(1, egress & 3, egress & !3),
            ingress: entry::pack(2, ingress & 3, ingress & !3),
        };
    }
}

impl Host {
    fn new() -> Self {
        let host = Self::default();
        host.now_ns.set(1000 * SECOND_NS);
        host.generation.set(1);
        host.capacity.set(usize::MAX);
        host
    }
    fn allow(&self, source: Address, destination: Address, action: u64) {
        self.allowed.borrow_mut().insert((source, destination), action);
    }
    fn judge(&self, place: Place, facts: Facts) -> Verdict {
        let mut case = Case::new(place, facts);
        if let Some(key) = self.quoted.get().filter(|_| may_quote(&case)) {
            case.quoted = 1;
            case.key = key;
        }
        judge(self, &mut case);
        case.verdict
    }
    fn after(&self, seconds: u64) {
        self.now_ns.set(self.now_ns.get() + seconds * SECOND_NS);
    }
    fn states(&self) -> Vec<(Table, u8)> {
        self.connections.borrow().iter().map(|((table, _), value)| (*table, value.state)).collect()
    }
}

fn packet(source: Address, destination: Address, protocol: u8, ports: (u16, u16), flags: u8) -> Facts {
    Facts {
        source,
        destination,
        ethertype: ETHERTYPE_IPV4,
        family: FAMILY_V4,
        protocol,
        transport: TRANSPORT_PORTS,
        source_port: ports.0,
        destination_port: ports.1,
        tcp_flags: flags,
        ..Facts::UNKNOWN
    }
}

fn to_server(flags: u8) -> Facts {
    packet(CLIENT, SERVER, protocol::TCP, (4000, 80), flags)
}

fn to_client(flags: u8) -> Facts {
    packet(SERVER, CLIENT, protocol::TCP, (80, 4000), flags)
}

fn passes(verdict: Verdict, why: u8) -> bool {
    verdict.action == PASS && verdict.reason == why
}

#[test]
fn a_handshake_moves_to_the_established_table_and_fins_close_it() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK)).action, DROP);
    assert!(passes(host.judge(ARRIVAL, to_server(tcp::SYN)), reason::RULE));
    assert_eq!(host.states(), [(Table::Opening, state::OPENING)]);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::SYN)).action, DROP, "a bare SYN is never a reply");
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK)), reason::REPLY));
    assert_eq!(host.states(), [(Table::Opening, state::OPENING)], "a SYN-ACK answers forged SYNs too");
    host.judge(ARRIVAL, to_server(tcp::ACK));
    assert_eq!(host.states(), [(Table::Opening, state::OPENING)], "and so is an ACK easily forged");
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY));
    assert_eq!(host.states(), [(Table::Established, state::ESTABLISHED)]);
    host.after(24 * 3600);
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY), "24 h are not over");
    host.judge(ARRIVAL, to_server(tcp::FIN | tcp::ACK));
    assert_eq!(host.states(), [(Table::Established, state::CLOSING_INITIATOR)]);
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::FIN | tcp::ACK)), reason::REPLY));
    assert_eq!(host.states(), [(Table::Established, state::CLOSED)]);
    host.after(10);
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY), "stragglers pass for 10 s");
    host.after(1);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP, "and stragglers do not prolong it");
}

#[test]
fn a_reset_closes_and_a_new_syn_starts_over() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::RST));
    assert!(host.states().is_empty(), "a RST opens nothing");
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK));
    host.judge(ARRIVAL, to_client(tcp::ACK));
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::RST)), reason::REPLY));
    assert_eq!(host.states(), [(Table::Established, state::CLOSED)]);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    assert_eq!(host.states(), [(Table::Opening, state::OPENING)]);
}

#[test]
fn a_connection_that_is_half_closed_early_is_an_established_one() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK));
    host.judge(ARRIVAL, to_server(tcp::FIN | tcp::ACK));
    host.judge(ARRIVAL, to_client(tcp::ACK));
    assert_eq!(host.states(), [(Table::Established, state::CLOSING_INITIATOR)]);
    host.after(3600);
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK | tcp::PSH)), reason::REPLY), "the answer took an hour");
}

#[test]
fn a_forged_reset_does_not_end_a_connection_that_goes_on() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::ACK));
    for forged in [to_client(tcp::RST), to_server(tcp::RST), to_client(tcp::FIN | tcp::ACK), to_server(tcp::FIN)] {
        host.judge(ARRIVAL, forged);
        for _ in 0..5 {
            host.after(8);
            assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY));
            host.judge(ARRIVAL, to_server(tcp::ACK));
        }
    }
    host.after(11);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP, "closed, and the initiator is gone");
}

#[test]
fn a_spoofed_syn_does_not_demote_an_established_connection() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::ACK));
    host.judge(ARRIVAL, to_server(tcp::SYN));
    assert_eq!(host.states(), [(Table::Established, state::ESTABLISHED)]);
}

#[test]
fn each_protocol_has_its_times() {
    let gre = |a, b| Facts { transport: 0, ..packet(a, b, protocol::GRE, (0, 0), 0) };
    let cases: [(u8, u64, u64); 5] = [
        (protocol::TCP, 60, 86_400),
        (protocol::UDP, 30, 180),
        (protocol::UDPLITE, 30, 180),
        (protocol::SCTP, 60, 86_400),
        (protocol::GRE, 60, 600),
    ];
    for (number, opening, established) in cases {
        let there = |a, b, flags| match number {
            protocol::GRE => gre(a, b),
            _ => packet(a, b, number, (5000, 5000), flags),
        };
        for (wait, passing) in [(opening, PASS), (opening + 1, DROP)] {
            let host = Host::new();
            host.allow(CLIENT, SERVER, entry::ALLOW);
            host.judge(ARRIVAL, there(CLIENT, SERVER, tcp::SYN));
            host.after(wait);
            assert_eq!(host.judge(ARRIVAL, there(SERVER, CLIENT, tcp::ACK)).action, passing, "{number} opening {wait}");
        }
        for (wait, passing) in [(established, PASS), (established + 1, DROP)] {
            let host = Host::new();
            host.allow(CLIENT, SERVER, entry::ALLOW);
            host.judge(ARRIVAL, there(CLIENT, SERVER, tcp::SYN));
            host.judge(ARRIVAL, there(SERVER, CLIENT, tcp::ACK));
            host.after(wait);
            assert_eq!(
                host.judge(ARRIVAL, there(SERVER, CLIENT, tcp::ACK)).action,
                passing,
                "{number} established {wait}"
            );
        }
    }
}

#[test]
fn echo_replies_answer_requests_only() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    let echo = |a, b, icmp_type| Facts {
        transport: TRANSPORT_ICMP,
        icmp_type,
        icmp_id: 7,
        source_port: 0,
        destination_port: 0,
        ..packet(a, b, protocol::ICMP, (0, 0), 0)
    };
    host.judge(ARRIVAL, echo(CLIENT, SERVER, 0));
    assert!(host.states().is_empty(), "an answer opens nothing");
    host.judge(ARRIVAL, echo(CLIENT, SERVER, 8));
    assert_eq!(host.judge(ARRIVAL, echo(SERVER, CLIENT, 8)).action, DROP, "a request is no answer");
    assert!(passes(host.judge(ARRIVAL, echo(SERVER, CLIENT, 0)), reason::REPLY));
}

#[test]
fn the_policy_in_force_decides_about_replies_and_is_asked_once() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK));
    host.generation.set(2);
    let before = host.asked.get();
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY));
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY));
    assert_eq!(host.asked.get() - before, 3, "once for each packet, once for the connection");
    host.generation.set(3);
    host.allow(CLIENT, SERVER, entry::DENY);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP);
    assert!(host.states().is_empty());
    host.allow(CLIENT, SERVER, entry::ALLOW);
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP, "what was forgotten stays forgotten");
    host.judge(ARRIVAL, to_server(tcp::ACK));
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY), "the initiator brings it back");
}

#[test]
fn stateless_rules_make_no_state() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW | entry::STATELESS);
    assert!(passes(host.judge(ARRIVAL, to_server(tcp::SYN)), reason::RULE));
    assert!(host.states().is_empty());
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK)).action, DROP);
}

#[test]
fn a_stateless_denial_holds_for_what_belongs_to_a_connection() {
    for (action, expected) in [(entry::DENY, PASS), (entry::DENY | entry::STATELESS, DROP)] {
        let host = Host::new();
        host.allow(CLIENT, SERVER, entry::ALLOW);
        host.judge(ARRIVAL, to_server(tcp::SYN));
        assert_eq!(host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK)).action, PASS);
        // What comes back is named by a rule of its own, from one packet to the next.
        host.generation.set(2);
        host.allow(SERVER, CLIENT, action);
        assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, expected);
        assert_eq!(host.states().len(), 1, "its other direction is allowed as before");

        let later = Facts { fragment: FRAGMENT_LATER, transport: 0, ..to_client(0) };
        let first = Facts { fragment: FRAGMENT_FIRST, ..to_client(tcp::ACK) };
        host.judge(ARRIVAL, first);
        assert_eq!(host.judge(ARRIVAL, later).action, expected);
        let key = conn_key(&to_server(0)).unwrap();
        host.quoted.set(Some(key));
        let error = Facts { icmp_type: 3, protocol: protocol::ICMP, transport: TRANSPORT_ICMP, ..to_client(0) };
        assert_eq!(host.judge(ARRIVAL, error).action, expected);
        // Nobody is locked out.
        let host = Host { failsafe: [u32::from(protocol::TCP) << 16 | 22; 16], ..Host::new() };
        host.allow(CLIENT, NODE, action);
        assert!(passes(
            host.judge(ARRIVAL, packet(CLIENT, NODE, protocol::TCP, (999, 22), tcp::SYN)),
            reason::FAILSAFE
        ));
    }
    // A stateless allow at one end does not make a denial at the other one stateless.
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK));
    host.ends.set(Some((entry::ALLOW | entry::STATELESS, entry::DENY)));
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::ACK)), reason::REPLY));
    host.ends.set(Some((entry::ALLOW, entry::DENY | entry::STATELESS)));
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP);
    host.ends.set(Some((entry::DENY | entry::STATELESS, entry::ALLOW)));
    assert_eq!(host.judge(ARRIVAL, to_client(tcp::ACK)).action, DROP);
}

#[test]
fn the_node_itself_is_asked_for_one_end() {
    let host = Host::new();
    host.allow(NODE, SERVER, entry::ALLOW);
    let verdict = host.judge(OWN, packet(NODE, SERVER, protocol::TCP, (4000, 80), tcp::SYN));
    assert_eq!((verdict.action, verdict.egress_rule, verdict.ingress_rule), (PASS, 1, u32::MAX));
    let verdict = host.judge(ARRIVAL, packet(SERVER, NODE, protocol::TCP, (80, 4000), tcp::SYN | tcp::ACK));
    assert_eq!(
        (verdict.action, verdict.reason, verdict.egress_rule, verdict.ingress_rule),
        (PASS, reason::REPLY, u32::MAX, 2)
    );
    let verdict = host.judge(ARRIVAL, to_client(tcp::ACK));
    assert_eq!(
        (verdict.egress_rule, verdict.ingress_rule, verdict.rule),
        (1, 2, 2),
        "forwarded: both, ingress is named"
    );
    assert!(was_judged(&host, Place { source_ifindex: 2, destination_ifindex: 3, ..OWN }));
    assert!(!was_judged(&host, Place { source_ifindex: 3, destination_ifindex: 2, ..OWN }));
    assert!(!was_judged(&host, OWN));
}

#[test]
fn failsafe_ports_are_the_nodes_own_only() {
    let mut host = Host::new();
    host.failsafe[0] = 6 << 16 | 22;
    let ssh = |a, b, ports| packet(a, b, protocol::TCP, ports, tcp::ACK);
    assert!(passes(host.judge(ARRIVAL, ssh(CLIENT, NODE, (4000, 22))), reason::FAILSAFE));
    assert!(passes(host.judge(OWN, ssh(NODE, CLIENT, (22, 4000))), reason::FAILSAFE));
    assert_eq!(host.judge(ARRIVAL, ssh(CLIENT, SERVER, (4000, 22))).action, DROP);
    assert_eq!(host.judge(ARRIVAL, ssh(NODE, SERVER, (22, 4000))).action, DROP, "a forged source opens nothing");
    assert_eq!(host.judge(ARRIVAL, packet(CLIENT, NODE, protocol::UDP, (4000, 22), 0)).action, DROP);
}

#[test]
fn later_fragments_follow_the_first() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    let piece =
        |fragment, fragment_id| Facts { fragment, fragment_id, ..packet(CLIENT, SERVER, protocol::UDP, (1, 2), 0) };
    host.judge(ARRIVAL, piece(FRAGMENT_FIRST, 9));
    host.allow(CLIENT, SERVER, entry::DENY);
    let later = |id| Facts { transport: 0, source_port: 0, destination_port: 0, ..piece(FRAGMENT_LATER, id) };
    assert!(passes(host.judge(ARRIVAL, later(9)), reason::FRAGMENT));
    assert_eq!(host.judge(ARRIVAL, later(10)).action, DROP);
    host.after(31);
    assert_eq!(host.judge(ARRIVAL, later(9)).action, DROP);
}

#[test]
fn icmp_errors_about_connections_pass_and_keep_nothing_alive() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    let error = Facts {
        transport: TRANSPORT_ICMP,
        icmp_type: 3,
        source_port: 0,
        destination_port: 0,
        ..packet(Address::v4(0x0a00_0063), CLIENT, protocol::ICMP, (0, 0), 0)
    };
    assert_eq!(host.judge(ARRIVAL, error).action, DROP);
    host.judge(ARRIVAL, to_server(tcp::SYN));
    let key = host.connections.borrow().keys().next().unwrap().1;
    host.quoted.set(Some(key));
    assert!(passes(host.judge(ARRIVAL, error), reason::RELATED));
    assert_eq!(host.judge(ARRIVAL, Facts { icmp_type: 5, ..error }).action, DROP, "redirects are nobody's");
    host.after(59);
    host.judge(ARRIVAL, error);
    host.after(2);
    assert_eq!(host.judge(ARRIVAL, error).action, DROP);
}

#[test]
fn audit_passes_and_says_so() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::AUDIT);
    assert!(passes(host.judge(ARRIVAL, to_server(tcp::SYN)), reason::AUDIT_RULE));
    assert!(passes(host.judge(ARRIVAL, to_client(tcp::SYN | tcp::ACK)), reason::REPLY), "it counts as allowed");
    host.audit.set(true);
    assert!(passes(host.judge(ARRIVAL, packet(SERVER, CLIENT, protocol::UDP, (1, 2), 0)), reason::AUDIT_MODE));
}

#[test]
fn a_packet_that_is_retracted_leaves_no_way_back() {
    let host = Host::new();
    host.allow(CLIENT, SERVER, entry::ALLOW);
    let answer = packet(SERVER, CLIENT, protocol::UDP, (53, 4000), 0);
    let mut case = Case::new(ARRIVAL, packet(CLIENT, SERVER, protocol::UDP, (4000, 53), 0));
    judge(&host, &mut case);
    assert!(passes(case.verdict, reason::RULE));
    assert_eq!(host.connections.borrow().len(), 1);
    retract(&host, &case);
    assert_eq!(host.judge(ARRIVAL, answer).action, DROP);
}

#[test]
fn questions_that_are_answered_push_out_no_connection() {
    const ROOM: u16 = 8;
    let host = Host::new();
    host.capacity.set(ROOM.into());
    host.allow(CLIENT, SERVER, entry::ALLOW);
    for protocol in [protocol::TCP, protocol::SCTP, protocol::DCCP] {
        host.judge(ARRIVAL, packet(CLIENT, SERVER, protocol, (4000, 80), tcp::SYN));
        host.judge(ARRIVAL, packet(SERVER, CLIENT, protocol, (80, 4000), tcp::ACK));
    }
    let question = |protocol, port| packet(CLIENT, SERVER, protocol, (port, 53), 0);
    let answer = |protocol, port| packet(SERVER, CLIENT, protocol, (53, port), 0);
    for port in 0..10 * ROOM {
        host.after(1);
        for protocol in [protocol::UDP, protocol::UDPLITE, protocol::ESP] {
            assert!(passes(host.judge(ARRIVAL, question(protocol, port)), reason::RULE));
            assert!(passes(host.judge(ARRIVAL, answer(protocol, port)), reason::REPLY));
        }
    }
    assert_eq!(host.judge(ARRIVAL, answer(protocol::UDP, 0)).action, DROP, "their own table overflowed long ago");
    for protocol in [protocol::TCP, protocol::SCTP, protocol::DCCP] {
        let answer = packet(SERVER, CLIENT, protocol, (80, 4000), tcp::ACK | tcp::PSH);
        assert!(passes(host.judge(ARRIVAL, answer), reason::REPLY), "{protocol}");
    }
}

#[test]
fn the_packet_says_when_an_end_is_the_node_itself() {
    let host = Host::new();
    let forwarded = Place { hook: hook::EGRESS as u32, source_ifindex: 3, destination_ifindex: 2 };
    for (place, destination, node) in
        [(ARRIVAL, NODE, 1), (ARRIVAL, SERVER, 0), (OWN, SERVER, 1), (forwarded, SERVER, 0), (forwarded, NODE, 0)]
    {
        let mut case = Case::new(place, packet(CLIENT, destination, protocol::UDP, (1, 2), 0));
        judge(&host, &mut case);
        assert_eq!(case.facts.node, node, "{place:?}");
    }
}

proptest! {
    /// Whatever is sent by whom: who was answered is where its protocol belongs, and nowhere else.
    #[test]
    fn connections_and_datagrams_share_no_table(
        steps in prop::collection::vec((any::<bool>(), 0usize..6, 0u16..3, 0u8..64, 0u64..40), 1..60)
    ) {
        let host = Host::new();
        host.allow(CLIENT, SERVER, entry::ALLOW);
        for (forth, protocol, port, flags, wait) in steps {
            host.after(wait);
            let protocol = [6, 132, 33, 17, 136, 47][protocol];
            let flags = if protocol == 6 { flags } else { 0 };
            let (from, to, ports) = if forth { (CLIENT, SERVER, (port, 9)) } else { (SERVER, CLIENT, (9, port)) };
            host.judge(ARRIVAL, packet(from, to, protocol, ports, flags));
            for (table, key) in host.connections.borrow().keys() {
                let oriented = [6, 132, 33].contains(&key.protocol);
                let fits = match table {
                    Table::Opening => true,
                    Table::Established => oriented,
                    Table::Datagrams => !oriented,
                };
                prop_assert!(fits, "{:?}: {:?}", table, key);
            }
        }
    }

    /// Whatever comes in whatever order: what policy denies passes only with a reason, and never back to somebody
    /// whom no allowed packet came from.
    #[test]
    fn nobody_answers_unasked(
        steps in prop::collection::vec((any::<bool>(), 0u8..64, 0u16..3, 0u16..3, 0u64..100), 1..60)
    ) {
        let host = Host::new();
        host.allow(CLIENT, SERVER, entry::ALLOW);
        let mut asked = HashSet::new();
        for (forth, flags, client, server, wait) in steps {
            host.after(wait);
            if forth {
                let verdict = host.judge(ARRIVAL, packet(CLIENT, SERVER, protocol::TCP, (client, server), flags));
                prop_assert!(passes(verdict, reason::RULE));
                if flags & tcp::RST == 0 {
                    asked.insert((client, server));
                }
            } else {
                let verdict = host.judge(ARRIVAL, packet(SERVER, CLIENT, protocol::TCP, (server, client), flags));
                if verdict.action == PASS {
                    prop_assert_eq!(verdict.reason, reason::REPLY);
                    prop_assert!(asked.contains(&(client, server)));
                    prop_assert!(flags & (tcp::SYN | tcp::ACK) != tcp::SYN);
                }
            }
            let connections = host.connections.borrow();
            for (table, key) in connections.keys() {
                let both = *table == Table::Opening && connections.contains_key(&(Table::Established, *key));
                prop_assert!(!both, "in both tables: {:?}", key);
            }
        }
    }
}
