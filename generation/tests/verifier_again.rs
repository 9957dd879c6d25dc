//! Programs that the kernel took once are used again for a policy of the same constants: as a generation like any
//! other, in which nothing is left of the one before. Needs root; says so and passes without, unless `./x test`
//! demands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bpffs;

use std::collections::BTreeSet;

use bpffs::Bpffs;
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4};
use gabion_generation::{Node, Programs, Sizes, Staged, Surroundings, Twin};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::text::{Source, parse};

const LOOPBACK: u32 = 1;
const NODE: [u8; 4] = [10, 0, 1, 1];
const CLIENT: [u8; 4] = [10, 0, 0, 7];
const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// What arrives from the client on these ports passes, and keeps state; `more` are rules besides.
fn policy(ports: &[u16], more: &str) -> Compiled {
    let text = format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n  subject: {{cidr: 10.0.1.0/24}}\n  \
         ingress:\n    - {{name: open, action: allow, from: [{{cidr: 10.0.0.7/32}}], \
         services: [{{protocol: tcp, ports: {ports:?}}}]}}\n{more}"
    );
    compile(&parse(&[Source::new("policy", text)]).unwrap(), &Options::default()).unwrap()
}

fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(CLIENT);
    frame.extend(NODE);
    frame.extend([40_000u16.to_be_bytes(), port.to_be_bytes()].concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

fn open(bpffs: &Bpffs) -> Node {
    let mut node = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap().0;
    node.set_local(&[(FAMILY_V4, Address::v4(u32::from_be_bytes(NODE)))]).unwrap();
    node.set_settings(&Settings { denied_rate: 100, denied_burst: 100, ..Settings::default() }).unwrap();
    node
}

fn ids(staged: &Staged) -> [u32; 2] {
    staged.programs().unwrap().map(|info| info.id())
}

fn passes(staged: &Staged, port: u16, flags: u8) -> bool {
    staged.run_ingress(&segment(port, flags), LOOPBACK).unwrap()
}

fn packets(staged: &Staged) -> u64 {
    staged.rule_counts().iter().map(|count| count.packets).sum()
}

/// Names of what is kept of generations.
fn folders(bpffs: &Bpffs) -> BTreeSet<String> {
    let entries = std::fs::read_dir(bpffs.root().join("generations")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Numbers of the programs that are kept for the next generation.
fn programs_of(bpffs: &Bpffs) -> [u32; 2] {
    let folder = bpffs.root().join("generations/spare");
    let id = |name: &str| aya::programs::ProgramInfo::from_pin(folder.join(name)).unwrap().id();
    [id("gabion_ingress"), id("gabion_egress")]
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn a_generation_of_programs_that_were_there_has_nothing_of_the_one_before() {
    let Some(bpffs) = Bpffs::new("again") else { return };
    let mut node = open(&bpffs);
    let first = node.stage(&policy(&[502, 503], ""), &[]).unwrap();
    let first_ids = ids(&first);
    assert!(passes(&first, 502, SYN) && passes(&first, 502, ACK) && passes(&first, 503, SYN));
    assert_eq!(packets(&first), 3);
    node.commit(first).unwrap();
    let second = node.stage(&policy(&[502, 504], ""), &[]).unwrap();
    let second_ids = ids(&second);
    assert_ne!(first_ids, second_ids, "those of the one in force stay as they are");
    let gone = node.commit(second).unwrap().unwrap();
    assert_eq!((gone.number, gone.counts.iter().map(|count| count.packets).sum::<u64>()), (1, 3));
    assert_eq!(folders(&bpffs), set(["2", "spare"]));

    // Rules and addresses more: other tables, in other places, and the same programs.
    let more = "    - {name: others, action: allow, from: [{cidr: 10.9.0.0/16}, {cidr: 10.0.0.9/32}], \
                services: [{protocol: tcp, ports: [\"7000-7100\"]}]}\n    \
                - {name: not, action: deny, from: [{cidr: 10.8.1.0/24}]}\n";
    let third = node.stage(&policy(&[502, 8080], more), &[]).unwrap();
    assert_eq!((ids(&third), third.number()), (first_ids, 3));
    assert_eq!(folders(&bpffs), set(["2", "3"]));
    assert_eq!(packets(&third), 0);
    assert!(passes(&third, 8080, SYN));
    assert!(!passes(&third, 504, SYN));
    assert!(!passes(&third, 503, ACK), "a connection that the first generation opened, and this one forbids");
    assert!(passes(&third, 502, ACK), "one that this one lets go on");
    let mut events = node.events().unwrap();
    let event = std::iter::from_fn(|| Some(gabion_generation::event(&events.next()?))).last().unwrap().unwrap();
    assert_eq!(event.generation, 3);
    assert!(passes(node.live().unwrap(), 504, SYN), "what is in force is another");

    // It changes in place like any other.
    node.commit(third).unwrap();
    assert!(node.patch(&policy(&[502, 9090], more)).unwrap());
    assert!(passes(node.live().unwrap(), 9090, SYN) && !passes(node.live().unwrap(), 8080, SYN));

    // Given up before it is in force, it goes.
    let fourth = node.stage(&policy(&[1], ""), &[]).unwrap();
    assert_eq!(ids(&fourth), second_ids);
    drop(fourth);
    assert_eq!(folders(&bpffs), set(["3"]));
    let fifth = node.stage(&policy(&[1], ""), &[]).unwrap();
    assert!(ids(&fifth).iter().all(|id| !first_ids.contains(id) && !second_ids.contains(id)));
}

#[test]
fn what_has_other_constants_is_loaded_and_what_is_kept_stays() {
    let Some(bpffs) = Bpffs::new("again-form") else { return };
    let mut node = open(&bpffs);
    let mut known = Vec::new();
    for ports in [[1, 2], [3, 4]] {
        let staged = node.stage(&policy(&ports, ""), &[]).unwrap();
        known.extend(ids(&staged));
        node.commit(staged).unwrap();
    }
    // A field that no rule spoke of, and room that the programs do not have.
    let vlan = policy(&[1], "    - {name: vlan, action: allow, services: [{vlan: 7}]}\n");
    let mut large = policy(&[1], "");
    large.words.resize(1 << 20, 0);
    let mut last = [0; 2];
    for other in [&vlan, &large] {
        let staged = node.stage(other, &[]).unwrap();
        assert!(ids(&staged).iter().all(|id| !known.contains(id)));
        last = ids(&staged);
        node.keep(staged);
        assert_eq!(node.prune(&[2].into()).unwrap().len(), 1);
        assert_eq!(folders(&bpffs), set(["2", "spare"]));
    }
    let again = node.stage(&policy(&[5], ""), &[]).unwrap();
    let number = again.number();
    assert_eq!(ids(&again), last, "what has more room does as well");
    node.commit(again).unwrap();
    assert_eq!(folders(&bpffs), set([&number.to_string(), "spare"]));

    // The next agent begins without: what it finds it did not make.
    std::mem::forget(node);
    let (node, adopted) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    assert_eq!(adopted.generations, [number].into());
    assert_eq!(folders(&bpffs), set([&number.to_string()]));
    drop(node);
}

#[test]
fn what_is_made_ready_is_what_the_next_generation_is_made_of() {
    let Some(bpffs) = Bpffs::new("again-ready") else { return };
    let mut node = open(&bpffs);
    let first = node.stage(&policy(&[502], ""), &[]).unwrap();
    node.commit(first).unwrap();
    std::mem::forget(node);
    // Another agent: it has made nothing yet.
    let mut node = open(&bpffs);
    let next = policy(&[502, 503], "");
    assert!(!node.is_ready(&next, &[]));
    node.make_ready(&policy(&[502], ""), &[]).unwrap();
    assert!(node.is_ready(&next, &[]));
    assert_eq!(folders(&bpffs), set(["1", "spare"]));
    let known = programs_of(&bpffs);
    let second = node.stage(&next, &[]).unwrap();
    assert_eq!((ids(&second), second.number()), (known, 2));
    assert!(passes(&second, 503, SYN));
    assert_eq!(packets(&second), 1);
    node.commit(second).unwrap();
    // What is made ready already is left as it is; another form takes its place.
    node.make_ready(&next, &[]).unwrap();
    let known = programs_of(&bpffs);
    node.make_ready(&policy(&[8080], ""), &[]).unwrap();
    assert_eq!(programs_of(&bpffs), known);
    let vlan = policy(&[1], "    - {name: vlan, action: allow, services: [{vlan: 7}]}\n");
    node.make_ready(&vlan, &[]).unwrap();
    assert!(programs_of(&bpffs).iter().all(|id| !known.contains(id)));
    assert!(node.is_ready(&vlan, &[]) && passes(node.live().unwrap(), 503, SYN));
}

#[test]
fn a_twin_takes_another_policy_of_the_same_constants_and_no_other() {
    if Bpffs::new("again-twin").is_none() {
        return;
    }
    let programs = Programs::parse().unwrap();
    let around = Surroundings { interfaces: &[], settings: &Settings::ZERO };
    let twin = Twin::load(&programs, &policy(&[502], ""), &around).unwrap();
    let made = twin.programs().unwrap();
    let other = policy(&[503], "    - {name: not, action: deny, from: [{cidr: 10.8.1.0/24}]}\n");
    assert!(twin.suits(&programs, &other, &around));
    let twin = twin.again(&other, &around).unwrap();
    assert_eq!(twin.programs().unwrap(), made);
    let vlan = policy(&[1], "    - {name: vlan, action: allow, services: [{vlan: 7}]}\n");
    assert!(!twin.suits(&programs, &vlan, &around));
}
