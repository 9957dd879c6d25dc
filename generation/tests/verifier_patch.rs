//! Tables are changed in place while packets are judged: each packet meets the old ones or the new ones, whole. Needs
//! root; says so and passes without, unless `./x test` demands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bpffs;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use bpffs::Bpffs;
use gabion_abi::tables::STATELESS;
use gabion_generation::{Node, Programs, Sizes};
use gabion_kernel_object::INGRESS;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};

const LOOPBACK: u32 = 1;
/// Packets that are judged while tables change.
const PACKETS: u32 = 10_000_000;

/// Clients and servers in two zones; `swapped`, everyone is in the other one. What the two inventories forbid alike is
/// allowed by rules of their own, `mixed`: a packet that met the client by one inventory and the server by the other
/// would be counted there.
fn policies(swapped: bool) -> PolicySet {
    let zones = if swapped { ["right", "left"] } else { ["left", "right"] };
    let mut text =
        String::from("apiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {name: i}\nspec:\n  entries:\n");
    for (number, zone) in zones.into_iter().enumerate() {
        for (kind, net) in [("client", 0), ("server", 1)] {
            text += &format!(
                "    - {{name: {kind}{number}, labels: {{{kind}: {zone}}}, addresses: [10.0.{net}.{number}, \"fd00::{net}:{number}\"]}}\n"
            );
        }
    }
    for (zone, own, other) in [("left", "left", "right"), ("right", "right", "left")] {
        text += &format!(
            "---\napiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {zone}}}\nspec:\n  \
             subject: {{labels: {{server: {zone}}}}}\n  ingress:\n"
        );
        for (name, client) in [(own, own), ("mixed", other)] {
            for (port, stateless) in [(502, true), (503, false)] {
                text += &format!(
                    "    - {{name: {name}-{port}, action: allow, stateless: {stateless}, \
                     from: [{{labels: {{client: {client}}}}}], services: [{{protocol: tcp, ports: [{port}]}}]}}\n"
                );
            }
        }
    }
    parse(&[Source::new("policy.yaml", text)]).unwrap()
}

/// A TCP segment with ACK from the first client to the first server.
fn segment(v6: bool, port: u16) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
        for net in [0, 1] {
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, net, 0, 0]);
        }
    } else {
        frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([10, 0, 0, 0, 10, 0, 1, 0]);
    }
    frame.extend(40_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// Packets by the last part of the names of the rules that let them pass.
fn counted(node: &Node, compiled: &Compiled, name: &str) -> u64 {
    let counts = node.live().unwrap().rule_counts();
    let of_rule = compiled.rules.iter().zip(&counts).filter(|(rule, _)| rule.name.contains(name));
    of_rule.map(|(_, count)| count.packets).sum()
}

#[test]
fn every_packet_meets_the_old_tables_or_the_new_ones() {
    let Some(bpffs) = Bpffs::new("patch") else { return };
    let tables = [false, true].map(|swapped| compile(&policies(swapped), &Options::default()).unwrap());
    assert_ne!(tables[0].words, tables[1].words);
    let (mut node, _) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    let staged = node.stage(&tables[0], &[]).unwrap();
    node.commit(staged).unwrap();

    let done = AtomicBool::new(false);
    let (mut patches, start) = (0, Instant::now());
    std::thread::scope(|scope| {
        let pin = bpffs.root().join("generations/1").join(INGRESS);
        scope.spawn(|| {
            let program = Xdp::from_pin(pin, XdpAttachType::Interface).unwrap();
            let kinds = [(false, 502), (false, 503), (true, 502), (true, 503)];
            // In turns, so that each kind meets many changes.
            for _ in 0..10 {
                for (v6, port) in kinds {
                    let frame = segment(v6, port);
                    let context: Vec<u8> = [0, frame.len() as u32, 0, LOOPBACK, 0, 0]
                        .iter()
                        .flat_map(|field| field.to_ne_bytes())
                        .collect();
                    let repeat = PACKETS / kinds.len() as u32 / 10;
                    let options = TestRunOptions {
                        data_in: Some(&frame),
                        ctx_in: Some(&context),
                        repeat,
                        ..TestRunOptions::new()
                    };
                    // XDP_PASS is 2.
                    assert_eq!(program.test_run(options).unwrap().return_value, 2);
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            patches += 1;
            if !node.patch(&tables[patches % 2]).unwrap() {
                // The generation has no number left for another change: the test was slow, and saw enough.
                assert!(patches > 4_000, "refused after {patches} changes");
                break;
            }
        }
    });
    let by = |name| counted(&node, &tables[0], name);
    let (left, right, mixed) = (by("left/left"), by("right/right"), by("mixed"));
    println!(
        "{patches} changes in {:?}: {left} packets by the one, {right} by the other, {mixed} by both",
        start.elapsed()
    );
    assert_eq!((left + right, mixed), (u64::from(PACKETS), 0));
    assert!(patches >= 20 && left.min(right) > u64::from(PACKETS) / 100);
}

#[test]
fn a_connection_that_the_new_tables_forbid_is_over() {
    let Some(bpffs) = Bpffs::new("over") else { return };
    let text = |client: &str| {
        let inventory = format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: i}}\nspec:\n  entries:\n    \
             - {{name: client, labels: {{role: {client}}}, addresses: [10.0.0.0]}}\n    \
             - {{name: hmi, labels: {{role: hmi}}, addresses: [10.0.0.9]}}\n    \
             - {{name: guest, labels: {{role: guest}}, addresses: [10.0.0.8]}}\n"
        );
        let policy = "---\napiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: both}\nspec:\n  \
                      subject: {cidr: 10.0.0.0/16}\n  ingress:\n    \
                      - {name: poll, action: allow, from: [{labels: {role: hmi}}], to: [{cidr: 10.0.1.0/24}]}\n";
        let set = parse(&[Source::new("policy.yaml", inventory + policy)]).unwrap();
        compile(&set, &Options::default()).unwrap()
    };
    let (before, after) = (text("hmi"), text("guest"));
    let (mut node, _) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    let staged = node.stage(&before, &[]).unwrap();
    node.commit(staged).unwrap();
    let there = segment(false, 502);
    let mut back = there.clone();
    back[26..34].copy_from_slice(&[10, 0, 1, 0, 10, 0, 0, 0]);
    back[34..38].copy_from_slice(&[502u16.to_be_bytes(), 40_000u16.to_be_bytes()].concat());
    let passes = |node: &Node, frame: &[u8]| node.live().unwrap().run_ingress(frame, LOOPBACK).unwrap();
    // Twice: the second time by a note that the short way left.
    for frame in [&there, &back, &there, &back] {
        assert!(passes(&node, frame));
    }
    assert!(node.patch(&after).unwrap());
    assert!(!passes(&node, &back), "the answer to what the new inventory forbids");
    assert!(!passes(&node, &there));
    assert!(node.patch(&before).unwrap());
    assert!(!passes(&node, &back), "a connection that was over does not come back");
    assert!(passes(&node, &there) && passes(&node, &back));
}

#[test]
fn what_has_another_form_is_refused_and_changes_nothing() {
    let Some(bpffs) = Bpffs::new("form") else { return };
    let before = compile(&policies(false), &Options::default()).unwrap();
    let (mut node, _) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    assert!(!node.patch(&before).unwrap(), "nothing is in force");
    let staged = node.stage(&before, &[]).unwrap();
    node.commit(staged).unwrap();
    let frame = segment(false, 502);
    let mut others = [(); 4].map(|()| before.clone());
    others[0].params[STATELESS] ^= 1;
    others[1].rules.swap(0, 1);
    others[2].interfaces.push(String::from("eth0"));
    others[3].words.resize(1 << 20, 0);
    for other in &others {
        assert!(!node.patch(other).unwrap());
        assert!(node.live().unwrap().run_ingress(&frame, LOOPBACK).unwrap());
    }
    // Another process adopts the generation, and does not know its form.
    drop(node);
    let (mut node, _) = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
    assert!(!node.patch(&before).unwrap());
}
