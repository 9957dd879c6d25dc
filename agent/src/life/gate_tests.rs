//! When the gate is sealed and opened, with a fake kernel and a fake gatekeeper.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use gabion_abi::gate::{Attempt, attempt};

use crate::gatekeeper::tests::{FakeKeeper, standing};
use crate::life::Agent;
use crate::life_tests::{Node, apply, watched};
use crate::record::Line;

fn policy(seal: bool, rule: &str, window: u32) -> String {
    // Flow maps go on where the first ends: the health block is the last of its line.
    let gate = if seal { "\n  gatekeeper: {seal: true}" } else { "" };
    watched(&["eth0"], &[rule], &format!("{{windowSeconds: {window}}}{gate}"))
}

fn stands(agent: &mut Agent) -> FakeKeeper {
    let keeper = FakeKeeper::default();
    agent.gate_stands(Ok(standing(&keeper)));
    keeper
}

fn noted(agent: &mut Agent, step: &str) -> Vec<String> {
    let lines = agent.store.journal::<Line>(100).unwrap();
    lines.into_iter().filter(|(_, line)| line.step == step).map(|(_, line)| line.detail).collect()
}

#[test]
fn it_is_sealed_while_a_generation_that_counts_wants_it() {
    let now = Instant::now();
    let node = Node::new(&policy(false, "poll", 0));
    let mut agent = node.started();
    assert!(!agent.gate_wants_keeper(now));
    assert_eq!(agent.status().gate.state, "open");
    node.write(&policy(true, "poll", 0));
    assert!(apply(&mut agent).ok);
    assert_eq!(agent.status().gate.state, "sealing");
    assert!(agent.gate_wants_keeper(now));
    let keeper = stands(&mut agent);
    let status = agent.status();
    assert_eq!((status.gate.state.as_str(), status.gate.programs), ("sealed", 2));
    assert_eq!(status.state, "enforcing");
    assert!(!agent.gate_wants_keeper(now + Duration::from_secs(600)));
    // What loosens it counts when it is committed.
    node.write(&policy(false, "poll", 30));
    assert!(apply(&mut agent).ok);
    assert_eq!(agent.status().gate.state, "sealed", "on trial");
    agent.commit_now().unwrap();
    assert_eq!(agent.status().gate.state, "open");
    assert_eq!(keeper.0.lock().unwrap().calls.last().unwrap(), "open");
    assert_eq!((noted(&mut agent, "gate sealed").len(), noted(&mut agent, "gate opened").len()), (1, 1));
}

#[test]
fn what_tightens_it_counts_at_once_and_goes_with_a_roll_back() {
    let now = Instant::now();
    let node = Node::new(&policy(false, "poll", 0));
    let mut agent = node.started();
    node.write(&policy(true, "poll", 30));
    assert!(apply(&mut agent).ok);
    assert!(agent.gate_wants_keeper(now));
    let keeper = stands(&mut agent);
    agent.roll_back(String::from("a test")).unwrap();
    assert_eq!(agent.status().gate.state, "open");
    assert_eq!(keeper.0.lock().unwrap().calls.last().unwrap(), "open");
}

#[test]
fn a_gate_that_cannot_be_sealed_is_an_alarm_and_stops_nothing() {
    let now = Instant::now();
    let node = Node::new(&policy(true, "poll", 0));
    let mut agent = node.started();
    assert!(agent.gate_wants_keeper(now));
    agent.gate_stands(Err(String::from("boot with lsm=...,bpf")));
    let status = agent.status();
    assert_eq!((status.state.as_str(), status.gate.state.as_str()), ("degraded", "failed"));
    assert!(status.warnings.iter().any(|it| it == "the gate is NOT SEALED: boot with lsm=...,bpf"), "{status:?}");
    assert_eq!(status.generation.number, 1);
    // It is tried again, and said once.
    assert!(agent.gate_wants_keeper(now + Duration::from_secs(60)));
    agent.gate_stands(Err(String::from("boot with lsm=...,bpf")));
    assert_eq!(noted(&mut agent, "alarm"), ["the gate is not sealed: boot with lsm=...,bpf"]);
    assert!(agent.gate_wants_keeper(now + Duration::from_secs(120)));
    stands(&mut agent);
    assert_eq!(agent.status().state, "enforcing");
    // Or nobody wants it any more.
    node.write(&policy(false, "poll", 0));
    assert!(apply(&mut agent).ok);
    assert_eq!(agent.status().gate.problem, None);
}

#[test]
fn attempts_are_in_journal_status_and_metrics() {
    let node = Node::new(&policy(true, "poll", 0));
    let mut agent = node.started();
    let now = Instant::now();
    assert!(agent.gate_wants_keeper(now));
    let keeper = stands(&mut agent);
    let mut follower = agent.hub.follow();
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"evil");
    keeper.0.lock().unwrap().attempts = vec![Attempt { pid: 9, reason: attempt::WHO, comm, ..Attempt::default() }; 3];
    agent.watch_gate(now);
    let lines = noted(&mut agent, "refused at the gate");
    assert!(lines.len() == 1 && lines[0].starts_with("process 9 (evil)") && lines[0].ends_with("3 times"), "{lines:?}");
    assert!(follower.try_recv().is_ok(), "followers of events are told");
    let status = agent.status();
    let caller = &status.gate.callers[0];
    assert_eq!((status.gate.attempts, caller.count, caller.reason.as_str()), (3, 3, "not-the-agent"));
    let metrics = crate::api::metrics::render(&status, &agent.rules());
    assert!(metrics.contains("gabion_gate_attempts_total 3\n") && metrics.contains("gabion_gate_sealed 1\n"));
}

#[test]
fn whoever_takes_everything_away_opens_it() {
    let node = Node::new(&policy(true, "poll", 0));
    let mut agent = node.started();
    assert!(agent.gate_wants_keeper(Instant::now()));
    let keeper = stands(&mut agent);
    agent.detach_everything().unwrap();
    assert_eq!(keeper.0.lock().unwrap().calls.last().unwrap(), "open");
    assert_eq!(agent.status().gate.state, "open");
}
