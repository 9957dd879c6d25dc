//! The real object in this kernel: verifier, verdicts, swap, adoption. Needs root; says so and
//! passes without, unless `./x test` demands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bpffs;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use bpffs::Bpffs;
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4};
use gabion_abi::tables::{EGRESS, INGRESS, PARAM_COUNT, STATELESS, direction, entry};
use gabion_abi::verdict::{Interface, reason};
use gabion_generation::{InterfaceEntry, Node, Programs, Sizes};
use gabion_life::Pointers;
use gabion_policy_compile::{Compiled, RuleInfo, Stats};
use gabion_policy_model::trace::{Direction, RuleRef};

/// A policy of one entry for each direction: rule 0 is egress, rule 1 ingress.
fn policy(egress: u64, ingress: u64) -> Compiled {
    let mut params = [0; PARAM_COUNT];
    params[EGRESS + direction::ENTRIES] = 1;
    params[INGRESS + direction::ENTRIES] = 2;
    let rule = |direction, name: &str| RuleInfo {
        reference: RuleRef::Default,
        direction,
        name: name.into(),
        tier: "default".into(),
    };
    Compiled {
        params,
        words: vec![0, entry::pack(0, egress, 0), entry::pack(1, ingress, 0)],
        rules: vec![rule(Direction::Egress, "default/egress"), rule(Direction::Ingress, "default/ingress")],
        interfaces: Vec::new(),
        stats: Stats::default(),
    }
}

/// An Ethernet frame with a TCP segment over IPv4.
fn segment(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const LOOPBACK: u32 = 1;

fn open(root: &Path) -> Node {
    Node::open(root, &Sizes::default(), Programs::parse().unwrap()).unwrap().0
}

#[test]
fn loads_and_counts_instructions() {
    let Some(bpffs) = Bpffs::new("loads") else { return };
    let start = Instant::now();
    let mut node = open(&bpffs.root());
    println!("state made in {:?}", start.elapsed());
    let start = Instant::now();
    let staged = node.stage(&policy(entry::ALLOW, entry::ALLOW), &[]).unwrap();
    println!("staged in {:?}", start.elapsed());
    for info in staged.programs().unwrap() {
        // The form that the kernel matrix keeps and compares.
        println!("verified {} {}", info.name_as_str().unwrap(), info.verified_instruction_count().unwrap());
    }
    let mut large = policy(entry::ALLOW, entry::ALLOW);
    large.words.resize(1_000_000, 0);
    let start = Instant::now();
    drop(node.stage(&large, &[]).unwrap());
    println!("staged with a million words in {:?}", start.elapsed());
}

#[test]
fn denies_and_lets_replies_through_until_policy_changes() {
    let Some(bpffs) = Bpffs::new("replies") else { return };
    let mut node = open(&bpffs.root());
    // What A sends is allowed as far as egress goes; nothing may come in.
    let staged = node.stage(&policy(entry::ALLOW, entry::DENY), &[]).unwrap();
    assert!(!staged.run_ingress(&segment(A, B, (4000, 80), SYN), LOOPBACK).unwrap());
    // The node itself sends: egress alone is asked, and a connection is made.
    assert!(staged.run_egress(&segment(B, A, (5000, 443), SYN)).unwrap());
    node.set_local(&[(FAMILY_V4, Address::v4(u32::from_be_bytes(B)))]).unwrap();
    assert!(!staged.run_ingress(&segment(A, B, (443, 5000), SYN), LOOPBACK).unwrap(), "a bare SYN is no reply");
    assert!(staged.run_ingress(&segment(A, B, (443, 5000), SYN_ACK), LOOPBACK).unwrap(), "a reply passes");
    assert!(!staged.run_ingress(&segment(A, B, (443, 5001), SYN_ACK), LOOPBACK).unwrap(), "not of that connection");
    assert!(staged.run_ingress(&segment(A, B, (443, 5000), ACK), LOOPBACK).unwrap(), "the connection goes on");
    node.commit(staged).unwrap();
    let lengths = node.connections().unwrap().map(|table| table.len());
    assert_eq!(lengths, [1, 0, 0], "the answer moved the connection");

    // The same policy again: the connection goes on. Another one: it is over.
    let staged = node.stage(&policy(entry::ALLOW, entry::DENY), &[]).unwrap();
    assert!(staged.run_ingress(&segment(A, B, (443, 5000), SYN_ACK), LOOPBACK).unwrap());
    node.commit(staged).unwrap();
    assert_eq!(node.live().unwrap().number(), 2);
    let staged = node.stage(&policy(entry::DENY, entry::DENY), &[]).unwrap();
    assert!(!staged.run_ingress(&segment(A, B, (443, 5000), SYN_ACK), LOOPBACK).unwrap());
    assert!(node.connections().unwrap()[0].is_empty(), "what policy no longer allows is forgotten");

    let totals = node.reason_counts();
    assert_eq!(totals[usize::from(reason::REPLY)].packets, 3);
    assert_eq!(totals[usize::from(reason::COUNT)].packets, 4, "denied by a rule");
    assert_eq!(staged.rule_counts()[1].packets, 1);
}

/// What a policy that keeps no state leaves out of its program changes no verdict: of the connections that an older
/// generation opened it would allow none.
#[test]
fn without_state_no_older_connection_is_answered() {
    let Some(bpffs) = Bpffs::new("stateless") else { return };
    let mut node = open(&bpffs.root());
    node.set_local(&[(FAMILY_V4, Address::v4(u32::from_be_bytes(B)))]).unwrap();
    let stateful = policy(entry::ALLOW, entry::DENY);
    let answer = segment(A, B, (443, 5000), SYN_ACK);
    let staged = node.stage(&stateful, &[]).unwrap();
    assert!(staged.run_egress(&segment(B, A, (5000, 443), SYN)).unwrap());
    assert!(staged.run_ingress(&answer, LOOPBACK).unwrap(), "a reply passes");
    node.commit(staged).unwrap();

    let mut stateless = policy(entry::ALLOW, entry::DENY);
    stateless.words[1] = entry::pack(0, entry::ALLOW, entry::STATELESS);
    // The one by a constant, the other by looking for the connection, which that forgets.
    for known_to_the_verifier in [1, 0] {
        stateless.params[STATELESS] = known_to_the_verifier;
        let staged = node.stage(&stateless, &[]).unwrap();
        assert!(staged.run_egress(&segment(B, A, (5000, 443), ACK)).unwrap(), "what it sends needs no state");
        assert!(!staged.run_ingress(&answer, LOOPBACK).unwrap(), "constant {known_to_the_verifier}");
        if known_to_the_verifier == 1 {
            let again = node.stage(&stateful, &[]).unwrap();
            assert!(again.run_ingress(&answer, LOOPBACK).unwrap(), "a policy that keeps state finds it again");
        }
    }
    assert!(node.connections().unwrap().iter().all(Vec::is_empty), "nothing was opened");
}

#[test]
fn audit_mode_and_failsafe_ports_and_events() {
    let Some(bpffs) = Bpffs::new("settings") else { return };
    let mut node = open(&bpffs.root());
    let staged = node.stage(&policy(entry::DENY, entry::DENY), &[]).unwrap();
    let mut settings = Settings { denied_rate: 2, denied_burst: 2, failsafe_count: 1, ..Settings::default() };
    settings.failsafe[0] = 6 << 16 | 22;
    node.set_settings(&settings).unwrap();
    node.set_local(&[(FAMILY_V4, Address::v4(u32::from_be_bytes(B)))]).unwrap();
    assert!(staged.run_ingress(&segment(A, B, (4000, 22), SYN), LOOPBACK).unwrap());
    assert!(staged.run_egress(&segment(B, A, (22, 4000), SYN_ACK)).unwrap());
    assert!(!staged.run_ingress(&segment(B, A, (4000, 22), SYN), LOOPBACK).unwrap(), "not the node's own address");
    for _ in 0..5 {
        assert!(!staged.run_ingress(&segment(A, B, (4000, 23), SYN), LOOPBACK).unwrap());
    }
    let mut events = node.events().unwrap();
    let mut seen = Vec::new();
    while let Some(item) = events.next() {
        seen.push(gabion_generation::event(&item).unwrap());
    }
    let suppressed = node.suppressed();
    assert_eq!(seen.len() as u64 + suppressed[0], 6, "{suppressed:?}");
    assert!(seen.len() >= 2);
    assert_eq!(seen[0].facts.destination_port, 22);
    assert_eq!((seen[0].generation, seen[0].ifindex, seen[0].length), (1, LOOPBACK, 54));
    node.set_settings(&Settings { audit_mode: 1, ..settings }).unwrap();
    assert!(staged.run_ingress(&segment(A, B, (4000, 23), SYN), LOOPBACK).unwrap());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let Some(bpffs) = Bpffs::new("limits") else { return };
    let mut node = open(&bpffs.root());
    let staged = node.stage(&policy(entry::ALLOW, entry::ALLOW), &[]).unwrap();
    node.commit(staged).unwrap();
    let mut large = policy(entry::DENY, entry::DENY);
    large.words = vec![0; (1 << 25) + 1];
    let error = node.stage(&large, &[]).unwrap_err();
    assert!(error.to_string().contains("33554433 needed, the limit is 33554432"), "{error}");
    assert_eq!(node.live().unwrap().number(), 1);
    let far = InterfaceEntry { ifindex: u32::MAX, interface: Interface::default() };
    assert!(node.stage(&policy(entry::DENY, entry::DENY), &[far]).is_err());
}

#[test]
fn a_dead_agents_hooks_are_adopted_and_leftovers_removed() {
    let Some(bpffs) = Bpffs::new("adopts") else { return };
    // A network namespace of this thread's own; it goes with the thread.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let lo = InterfaceEntry { ifindex: LOOPBACK, interface: Interface::default() };
    let mut node = open(&bpffs.root());
    let staged = node.stage(&policy(entry::ALLOW, entry::DENY), &[lo]).unwrap();
    node.commit(staged).unwrap();
    let start = Instant::now();
    let attachment = node.attach("lo", lo).unwrap();
    println!("attached in {:?}: {attachment:?}", start.elapsed());
    assert!(attachment.xdp.is_some() && attachment.egress.is_some());
    let orphan = node.stage(&policy(entry::DENY, entry::DENY), &[lo]).unwrap();
    // The agent dies here: no destructor runs, descriptors close.
    std::mem::forget(orphan);
    drop(node);

    let start = Instant::now();
    let (mut node, adopted) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    println!("adopted in {:?}: {adopted:?}", start.elapsed());
    assert!(adopted.state);
    assert_eq!((adopted.running, adopted.generations), (Some(1), BTreeSet::from([1, 2])));
    assert_eq!(adopted.attachments, [attachment]);
    node.point(&Pointers::all(1)).unwrap();
    assert_eq!(node.prune(&BTreeSet::from([1])).unwrap().len(), 1);

    let staged = node.stage(&policy(entry::DENY, entry::DENY), &[lo]).unwrap();
    assert_eq!(staged.number(), 3);
    let start = Instant::now();
    node.commit(staged).unwrap();
    println!("swapped in {:?}", start.elapsed());
    drop(node);
    let (node, adopted) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    assert_eq!((adopted.running, adopted.generations), (Some(3), BTreeSet::from([3])));
    node.detach_all().unwrap();
    let left: Vec<_> = std::fs::read_dir(bpffs.root()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What another version pinned is not adopted, and the first thing that differs is named.
#[test]
fn state_of_another_contract_is_refused_and_left_alone() {
    use aya::maps::{Array, MapData};
    use gabion_abi::boundary::STATE;
    use gabion_abi::contract::{Place, Set};

    let Some(bpffs) = Bpffs::new("contract") else { return };
    drop(open(&bpffs.root()));
    drop(open(&bpffs.root()));

    let refusal = || Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap_err();
    let pin = bpffs.root().join("state/CONTRACT");
    const OLDER: Set<'static> = Set { places: &[Place::of::<u64>(".data.marks", "memory")], ..STATE };
    const SAID: [u8; OLDER.length()] = OLDER.text();
    std::fs::remove_file(&pin).unwrap();
    let mut map: Array<MapData, [u8; SAID.len()]> = Array::create(1, 0).unwrap();
    map.set(0, SAID, 0).unwrap();
    map.pin(&pin).unwrap();
    let error = refusal();
    assert!(matches!(error, gabion_generation::Error::Contract(_)), "{error:?}");
    let first = "map ESTABLISHED: expected lru-hash of ConnKey to ConnValue, found nothing (and 13 more differences)";
    assert!(error.to_string().contains(first), "{error}");
    assert!(error.to_string().contains("gabion detach"), "{error}");

    // Before contracts were texts, a number stood there.
    std::fs::remove_file(&pin).unwrap();
    let mut map: Array<MapData, u32> = Array::create(1, 0).unwrap();
    map.set(0, 5, 0).unwrap();
    map.pin(&pin).unwrap();
    assert!(matches!(refusal(), gabion_generation::Error::Contract(_)), "{:?}", refusal());
    assert!(bpffs.root().join("state/ESTABLISHED").exists());
}
