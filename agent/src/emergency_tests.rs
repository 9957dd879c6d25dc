//! Deny lists with a fake kernel: what they are in force beside, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gabion_bundle::Time;
use gabion_trust::Clock;

use crate::api::wire::Apply;
use crate::emergency::{Brought, Emergency};
use crate::events::Told;
use crate::kernel::fake::World;
use crate::life::{Agent, How, Read, Trigger};
use crate::life_tests::{Node, apply, policy, watched};
use crate::load::deny_list;
use crate::policy::SourceFile;
use crate::record::Line;

const AT: &str = "2027-03-01T12:00:00Z";
const UNTIL: &str = "2027-03-02T12:00:00Z";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// A clock that nobody vouches for.
fn unset() -> Clock {
    Clock { now: time("2027-03-09T00:00:00Z").moment(), trusted: false }
}

fn during() -> Clock {
    Clock { now: time("2027-03-02T11:59:59Z").moment(), trusted: true }
}

fn after() -> Clock {
    Clock { now: time(UNTIL).moment(), trusted: true }
}

fn agent(node: &Node) -> Agent {
    let mut agent = node.agent();
    agent.emergencies.time = during;
    agent.start().unwrap();
    agent
}

fn list(name: &str, version: u64, rules: &str) -> Brought {
    let tier = "tier: {name: t, order: 0}";
    let text = format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: infected}}\nspec:\n  {tier}\n  \
         subject: {{cidr: 10.0.0.66/32}}\n{rules}"
    );
    let files = vec![SourceFile { name: "deny.yaml".into(), text: text.into() }];
    let denials = deny_list(&files).unwrap().cluster_policies.iter().map(|it| it.egress.len()).sum();
    let emergency = Emergency {
        name: name.into(),
        version,
        id: format!("sha256:{name}{version}"),
        vouched: "emergency: anna".into(),
        since: AT.into(),
        at: time(AT),
        until: time(UNTIL),
        denials,
        files,
    };
    Brought { emergency, trust: None, alarms: Vec::new(), since: Instant::now() }
}

const OUT: &str = "  egress: [{name: out, action: deny}]\n";

fn take(agent: &mut Agent, brought: Brought) -> Apply {
    agent.apply(Ok(Read::Emergency(Box::new(brought))), Trigger::Api, How::default())
}

fn denies(agent: &Agent, name: &str) -> bool {
    let rule = format!("{name}:infected/out");
    agent.rules().rules.iter().any(|it| it.name == rule && it.active && it.action == "deny" && it.tier == "emergency")
}

fn journal(agent: &mut Agent) -> Vec<String> {
    let lines = agent.store.journal::<Line>(1_000).unwrap();
    lines.into_iter().map(|(_, line)| line.step).filter(|step| step.starts_with("emergency")).collect()
}

#[test]
fn a_list_is_in_force_at_once_until_its_time_is_over() {
    let node = Node::new(&watched(&["eth0"], &["poll"], "{windowSeconds: 10}"));
    let mut agent = agent(&node);
    let mut follower = agent.hub.follow();
    let taken = take(&mut agent, list("worm", 1, OUT));
    assert_eq!((taken.ok, taken.generation, taken.trial_ms), (true, 2, 0), "{taken:?}");
    assert!(denies(&agent, "worm") && agent.life().live.is_none());
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll" && rule.active), "the policy is as before");
    let status = agent.status();
    let known = &status.emergencies[0];
    assert_eq!((known.name.as_str(), known.version, known.until.as_str(), known.denials), ("worm", 1, UNTIL, 1));
    assert!(known.in_force && status.state == "enforcing", "{status:?}");
    assert!(take(&mut agent, list("worm", 1, OUT)).unchanged, "the same again");
    assert_eq!(apply(&mut agent).generation, 2, "the files are what is in force");

    agent.end_emergencies(Instant::now());
    assert_eq!(agent.number(), 2, "not yet");
    agent.emergencies.time = after;
    agent.end_emergencies(Instant::now());
    assert_eq!((agent.number(), denies(&agent, "worm"), agent.status().emergencies.len()), (3, false, 0));
    assert_eq!(journal(&mut agent), ["emergency", "emergency over"]);
    agent.end_emergencies(Instant::now());
    assert_eq!(agent.number(), 3, "once");
    assert!(apply(&mut agent).unchanged);
    let told: Vec<String> = std::iter::from_fn(|| follower.try_recv().ok())
        .filter_map(|told| match told {
            Told::Journal(line) => Some(line.step.clone()),
            Told::Verdict(_) => None,
        })
        .collect();
    let times = |step: &str| told.iter().filter(|it| *it == step).count();
    assert_eq!((times("emergency"), times("emergency over")), (1, 1), "{told:?}");
}

#[test]
fn a_list_ends_without_a_clock_by_the_time_that_was_counted() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = agent(&node);
    agent.emergencies.time = unset;
    assert!(take(&mut agent, list("worm", 1, OUT)).ok);
    let now = Instant::now();
    agent.end_emergencies(now + DAY - Duration::from_secs(60));
    assert!(denies(&agent, "worm"), "a clock that nobody vouches for ends nothing");
    agent.end_emergencies(now + DAY + Duration::from_secs(60));
    assert!(!denies(&agent, "worm"));
}

#[test]
fn a_list_survives_agents_and_reboots_and_ends_in_their_absence() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut first = agent(&node);
    assert!(take(&mut first, list("worm", 1, OUT)).ok);
    assert!(take(&mut first, list("flood", 7, OUT)).ok);
    drop(first);
    let second = agent(&node);
    assert!(denies(&second, "worm") && denies(&second, "flood"));
    assert_eq!(second.status().emergencies.len(), 2);
    drop(second);
    *node.world.borrow_mut() = World::default();
    let third = agent(&node);
    assert!(denies(&third, "worm") && denies(&third, "flood"), "after a reboot");
    drop(third);
    let mut fourth = node.agent();
    fourth.emergencies.time = after;
    fourth.start().unwrap();
    assert!(!denies(&fourth, "worm") && fourth.status().emergencies.is_empty());
    assert_eq!(journal(&mut fourth), ["emergency", "emergency", "emergency over", "emergency over"]);
}

#[test]
fn other_changes_come_and_go_beside_a_list() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = agent(&node);
    assert!(take(&mut agent, list("worm", 1, OUT)).ok);
    node.write(&watched(&["eth0"], &["poll", "write"], "{windowSeconds: 10}"));
    let changed = apply(&mut agent);
    assert_eq!((changed.ok, changed.trial_ms), (true, 10_000));
    assert!(denies(&agent, "worm") && agent.rules().rules.iter().any(|rule| rule.name == "plc/write"));
    agent.roll_back("a test".into()).unwrap();
    assert!(denies(&agent, "worm"), "what is undone is the change");
    let before = agent.committed_before(None).unwrap_err();
    assert_eq!(before.code, "no-such-generation", "one policy was committed, with and without the list");
}

#[test]
fn a_list_does_not_wait_for_a_trial_or_a_pin() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = agent(&node);
    node.write(&watched(&["eth0"], &["poll", "write"], "{windowSeconds: 10}"));
    assert_eq!(apply(&mut agent).generation, 2);
    let taken = take(&mut agent, list("worm", 1, OUT));
    assert!(taken.ok && denies(&agent, "worm"));
    assert_eq!((agent.life().committed.all, taken.trial_ms), (Some(3), 10_000), "the trial begins again");
    let trial = agent.status().generation.trial.unwrap();
    assert_eq!((trial.number, trial.back_to), (4, 3));
    agent.roll_back("a test".into()).unwrap();
    assert!(denies(&agent, "worm") && !agent.rules().rules.iter().any(|rule| rule.name == "plc/write"));

    agent.pin(Some("harvest".into())).unwrap();
    assert!(take(&mut agent, list("flood", 1, OUT)).ok && denies(&agent, "flood"));
    agent.emergencies.time = after;
    agent.end_emergencies(Instant::now());
    assert!(!denies(&agent, "worm") && !denies(&agent, "flood"));
    assert_eq!(agent.life().pinned.as_deref(), Some("harvest"));
}

#[test]
fn a_list_is_for_ports_that_run_ahead_too() {
    let node = Node::new(&policy(&["eth0", "eth1"], &["poll"]));
    let mut agent = agent(&node);
    node.write(&policy(&["eth0", "eth1"], &["poll", "write"]));
    let read = agent.source.build(None);
    let how = How { only: BTreeSet::from(["eth1".to_owned()]), ..How::default() };
    assert!(agent.apply(read, Trigger::Api, how.clone()).ok);
    assert!(take(&mut agent, list("worm", 1, OUT)).ok);
    assert_eq!(node.world.borrow().attached.values().copied().collect::<Vec<_>>(), [3, 4]);
    assert!(agent.status().emergencies[0].in_force);
    let refused = agent.apply(Ok(Read::Emergency(Box::new(list("flood", 1, OUT)))), Trigger::Api, how);
    assert_eq!(refused.error.unwrap().code, "emergency-how");
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_before_and_an_empty_one_lifts_it() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = agent(&node);
    assert!(take(&mut agent, list("worm", 1, OUT)).ok);
    assert!(take(&mut agent, list("worm", 2, "  egress: [{name: other, action: deny}]\n")).ok);
    assert!(!denies(&agent, "worm"));
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "worm:infected/other" && rule.active));
    assert!(take(&mut agent, list("worm", 3, "")).ok);
    assert!(agent.status().emergencies.is_empty());
    assert!(!agent.rules().rules.iter().any(|rule| rule.name.starts_with("worm") && rule.active));
    assert_eq!(journal(&mut agent), ["emergency", "emergency", "emergency lifted"]);
}

#[test]
fn what_the_kernel_refuses_is_not_remembered_or_is_tried_again() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = agent(&node);
    node.world.borrow_mut().refuse_stage = true;
    let refused = take(&mut agent, list("worm", 1, OUT));
    assert_eq!(refused.error.unwrap().message, "the verifier says no");
    assert!(agent.status().emergencies.is_empty());
    node.world.borrow_mut().refuse_stage = false;

    // It was decided, and one driver did not follow.
    node.world.borrow_mut().refuse_point = true;
    assert!(!take(&mut agent, list("worm", 1, OUT)).ok);
    let status = agent.status();
    assert!(!status.emergencies[0].in_force && status.state == "degraded", "{:?}", status.warnings);
    let now = Instant::now();
    agent.end_emergencies(now);
    assert!(!denies(&agent, "worm"), "not at once");
    agent.end_emergencies(now + Duration::from_secs(31));
    assert!(denies(&agent, "worm") && agent.status().emergencies[0].in_force);
}

#[test]
fn a_list_may_come_before_any_policy() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.agent();
    let taken = take(&mut agent, list("worm", 1, OUT));
    assert!(taken.ok && taken.warnings[0].contains("nothing is in force"), "{taken:?}");
    drop(agent);
    let mut agent = node.agent();
    agent.emergencies.time = during;
    agent.start().unwrap();
    assert_eq!((agent.number(), denies(&agent, "worm")), (1, true));
}
