//! The pipeline with a fake kernel: what goes into force when, and what never does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gabion_abi::verdict::{Count, interface as flag};
use gabion_store::{Batch, Store};

use crate::api::wire::Apply;
use crate::events::Told;
use crate::interfaces::{Link, Links, Stacking};
use crate::kernel::fake::{Fake, World};
use crate::life::{Agent, How, Source, Trigger};
use crate::load::{TABLE_BYTES, load};
use crate::record::Line;

/// A node: its policy folder, its state folder, its kernel. Agents come and go.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    pub(crate) world: Rc<RefCell<World>>,
}

impl Node {
    pub(crate) fn new(policy: &str) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), world: Rc::default() };
        fs::create_dir(node.policy()).unwrap();
        node.write(policy);
        node
    }

    fn policy(&self) -> PathBuf {
        self.folder.path().join("policy")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, policy: &str) {
        fs::write(self.policy().join("site.yaml"), policy).unwrap();
    }

    pub(crate) fn agent(&self) -> Agent {
        let opened = Store::open(&self.folder.path().join("state")).unwrap();
        let (known, lists) = (Arc::default(), Arc::default());
        let source = Source { paths: vec![self.policy()], load, table_bytes: TABLE_BYTES, known, lists };
        let kernel = Box::new(Fake(Rc::clone(&self.world)));
        let mut agent = Agent::new(kernel, opened, source, None).unwrap();
        let ether = |name: &str| Link { name: name.into(), link_type: 1, up: true, ..Link::default() };
        let links = Links::from([
            (1, ether("lo")),
            (2, ether("eth0")),
            (3, ether("eth1")),
            (4, Link { parent: Some(2), stacking: Stacking::OnParent, ..ether("eth0.7") }),
        ]);
        agent.relist(links, BTreeSet::from([(2, [10, 0, 0, 1].into())]));
        agent
    }

    pub(crate) fn started(&self) -> Agent {
        let mut agent = self.agent();
        agent.start().unwrap();
        agent
    }

    fn flags(&self, index: u32) -> u16 {
        self.world.borrow().interfaces.get(&index).map_or(0, |interface| interface.flags)
    }
}

pub(crate) fn apply(agent: &mut Agent) -> Apply {
    let read = agent.source.build(agent.digest_in_force(Trigger::Api).as_deref());
    agent.apply(read, Trigger::Api, How::default())
}

/// A site that guards these interfaces, with one policy of these rules. Changes of it are not on trial.
pub(crate) fn policy(interfaces: &[&str], rules: &[&str]) -> String {
    watched(interfaces, rules, "{windowSeconds: 0}")
}

pub(crate) fn watched(interfaces: &[&str], rules: &[&str], health: &str) -> String {
    let interfaces: String = interfaces.iter().map(|name| format!("    - name: {name}\n")).collect();
    let rules: String = rules
        .iter()
        .map(|name| {
            format!("    - name: {name}\n      action: allow\n      services: [{{protocol: tcp, ports: [502]}}]\n")
        })
        .collect();
    format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {{name: plant}}\nspec:\n  health: {health}\n  interfaces:\n{interfaces}---\n\
         apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: plc}}\nspec:\n  \
         subject: {{cidr: 10.0.0.0/24}}\n  ingress:\n{rules}"
    )
}

const BROKEN: &str = "apiVersion: gabion.dev/v1alpha1\nkind: Sight\n";

#[test]
fn the_first_start_guards_the_site_and_records_it() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let agent = node.started();
    assert_eq!(node.world.borrow().calls[..3], ["stage 1", "point 1", "attach eth0"]);
    assert_eq!(node.world.borrow().attached.keys().copied().collect::<Vec<_>>(), [2]);
    assert!(node.flags(2) & flag::JUDGED != 0 && node.flags(4) & flag::JUDGED != 0);
    assert_eq!(node.flags(3), 0);
    let status = agent.status();
    assert_eq!((status.state.as_str(), status.generation.number, status.site.as_str()), ("enforcing", 1, "plant"));
    assert_eq!(status.failsafe, ["tcp/22"]);
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll" && rule.action == "allow"));
}

#[test]
fn a_bad_policy_changes_nothing_and_says_why() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    let before = node.world.borrow().calls.len();
    node.write(BROKEN);
    let refused = apply(&mut agent);
    assert!(!refused.ok);
    assert!(refused.error.as_ref().unwrap().details.contains("Sight"));
    assert_eq!((refused.generation, node.world.borrow().calls.len()), (1, before));
    let status = agent.status();
    assert_eq!(status.state, "degraded");
    assert!(status.warnings.iter().any(|warning| warning.contains("site.yaml")), "{:?}", status.warnings);
    node.write(&policy(&["eth0"], &["poll"]));
    let again = apply(&mut agent);
    assert!(again.ok && again.unchanged);
    assert_eq!(agent.status().state, "enforcing");
}

#[test]
fn another_inventory_changes_the_tables_in_place_and_survives_a_restart() {
    let inventory = |address: &str| {
        let entry = format!("spec: {{entries: [{{name: hmi, labels: {{role: hmi}}, addresses: [{address}]}}]}}");
        format!("---\napiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: i}}\n{entry}\n")
    };
    let text = |address: &str, rules: &[&str]| policy(&["eth0"], rules) + &inventory(address);
    let node = Node::new(&text("10.0.0.5", &["poll"]));
    node.world.borrow_mut().takes_patches = true;
    let mut agent = node.started();
    node.write(&text("10.0.0.6", &["poll"]));
    let changed = apply(&mut agent);
    assert_eq!((changed.ok, changed.in_place, changed.generation), (true, true, 1));
    assert_eq!(node.world.borrow().calls.last().unwrap(), "patch taken");
    assert!(apply(&mut agent).unchanged, "the digest is the new one's");

    node.write(&text("10.0.0.6", &["poll", "trip"]));
    let policy_too = apply(&mut agent);
    assert_eq!((policy_too.in_place, policy_too.generation), (false, 2), "a rule is a generation's business");
    node.world.borrow_mut().takes_patches = false;
    node.write(&text("10.0.0.7", &["poll", "trip"]));
    let refused = apply(&mut agent);
    assert_eq!((refused.ok, refused.in_place, refused.generation), (true, false, 3), "what does not fit is made anew");
    node.world.borrow_mut().takes_patches = true;
    node.write(&text("10.0.0.8", &["poll", "trip"]));
    assert!(apply(&mut agent).in_place);
    drop(agent);

    // What was changed in place is the last good policy from then on.
    node.write(BROKEN);
    *node.world.borrow_mut() = World::default();
    let mut agent = node.agent();
    agent.start().unwrap();
    let set = agent.current().unwrap().set.clone().unwrap();
    assert!(set.inventory.entries[0].addresses[0].to_string() == "10.0.0.8");
}

#[test]
fn a_generation_that_the_kernel_refuses_leaves_the_old_one_whole() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    node.write(&policy(&["eth0", "eth1"], &["poll", "write"]));
    node.world.borrow_mut().refuse_stage = true;
    let refused = apply(&mut agent);
    assert_eq!((refused.ok, refused.generation), (false, 1));
    assert_eq!(node.world.borrow().attached.len(), 1, "the new site's interface is not attached");
    assert!(!agent.rules().rules.iter().any(|rule| rule.name == "plc/write"));
    node.world.borrow_mut().refuse_stage = false;
    assert_eq!(apply(&mut agent).generation, 3, "a number that was tried is not used again");
}

#[test]
fn numbers_rise_across_agents() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    drop(node.started());
    drop(node.started());
    // A reboot: nothing is pinned any more.
    *node.world.borrow_mut() = World::default();
    assert_eq!(node.started().number(), 3);
}

#[test]
fn an_interface_that_the_site_drops_is_not_believed_before_it_is_let_go() {
    let node = Node::new(&policy(&["eth*"], &["poll"]));
    let mut agent = node.started();
    assert_eq!(node.world.borrow().attached.len(), 3, "eth0, eth1, eth0.7");
    node.write(&policy(&["eth1"], &["poll"]));
    node.world.borrow_mut().calls.clear();
    assert!(apply(&mut agent).ok);
    assert_eq!(node.world.borrow().attached.keys().copied().collect::<Vec<_>>(), [3]);
    assert_eq!((node.flags(2), node.flags(4)), (0, 0));
    let calls = node.world.borrow().calls.clone();
    assert_eq!(calls, ["stage 2", "point 2", "detach 2", "detach 4"], "generation 2 never called eth0 judged");
}

#[test]
fn status_says_how_interfaces_stand_under_the_policy_in_force() {
    let node = Node::new(&policy(&["eth1"], &["poll"]));
    let mut agent = node.started();
    let warns = |agent: &Agent| agent.status().warnings.iter().any(|warning| warning == "eth1: tags beside the frame");
    assert!(!warns(&agent));
    node.world.borrow_mut().tells_tags = true;
    node.write(&policy(&["eth1"], &["write"]));
    assert!(apply(&mut agent).ok);
    assert!(warns(&agent));
    node.world.borrow_mut().tells_tags = false;
    node.write(&policy(&["eth1"], &["poll"]));
    assert!(apply(&mut agent).ok);
    assert!(!warns(&agent));
}

#[test]
fn interfaces_come_and_go() {
    let node = Node::new(&policy(&["eth*", "tun0"], &["poll"]));
    let mut agent = node.started();
    let tun = Link { name: "tun0".into(), link_type: 0xfffe, up: true, ..Link::default() };
    assert_eq!(agent.interfaces().missing, ["tun0"]);
    assert!(agent.link_changed(9, tun.clone()));
    agent.sync_interfaces();
    assert_eq!(node.flags(9), flag::JUDGED | flag::L3);
    assert!(!agent.link_changed(9, tun), "an announcement without news");
    agent.link_gone(9);
    agent.sync_interfaces();
    assert!(!node.world.borrow().interfaces.contains_key(&9));
    assert!(!agent.interfaces().interfaces.iter().any(|interface| interface.name == "tun0"));
}

#[test]
fn an_interface_that_cannot_be_guarded_is_said_loudly_and_tried_again() {
    let node = Node::new(&policy(&["eth*"], &["poll"]));
    node.world.borrow_mut().refuse_attach = BTreeSet::from([2]);
    node.world.borrow_mut().refuse_native = BTreeSet::from([3]);
    let mut agent = node.started();
    let status = agent.status();
    assert_eq!(status.state, "degraded");
    assert!(status.warnings.iter().any(|warning| warning.contains("eth0 is NOT GUARDED")), "{:?}", status.warnings);
    assert!(status.warnings.iter().any(|warning| warning.contains("eth1: generic XDP")));
    assert_eq!(node.flags(2) & flag::JUDGED, 0, "nobody judged what arrives there");
    node.world.borrow_mut().refuse_attach.clear();
    let same = agent.links[&2].clone();
    assert!(agent.link_changed(2, same), "any news of it is a reason to try again");
    agent.sync_interfaces();
    assert_eq!(agent.status().state, "enforcing");
}

#[test]
fn counts_never_fall_when_generations_change() {
    let node = Node::new(&policy(&["eth0"], &["poll", "write"]));
    let mut agent = node.started();
    let count_all = |packets| {
        let mut world = node.world.borrow_mut();
        let in_force = world.generation.unwrap();
        for count in world.counts.get_mut(&in_force).unwrap() {
            *count = Count { packets, bytes: packets * 60 };
        }
    };
    let packets = |agent: &Agent, name: &str| {
        agent.rules().rules.iter().filter(|rule| rule.name == name).map(|rule| rule.amount.packets).sum::<u64>()
    };
    count_all(5);
    node.write(&policy(&["eth0"], &["write"]));
    assert!(apply(&mut agent).ok);
    count_all(2);
    assert_eq!((packets(&agent, "plc/poll"), packets(&agent, "plc/write")), (5, 7));
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll" && !rule.active));

    agent.stop();
    drop(agent);
    let agent = node.started();
    assert_eq!(packets(&agent, "plc/write"), 7, "the next agent adopts the maps, then swaps");
    count_all(1);
    let mut agent = agent;
    agent.stop();
    drop(agent);
    // A reboot: the maps are gone, what they held was written down.
    *node.world.borrow_mut() = World::default();
    assert_eq!(packets(&node.started(), "plc/write"), 8);
}

#[test]
fn a_bad_policy_at_start_leaves_what_is_pinned_in_force() {
    let node = Node::new(&policy(&["eth*"], &["poll"]));
    drop(node.started());
    node.write(BROKEN);
    let mut agent = node.started();
    let status = agent.status();
    assert_eq!((status.state.as_str(), status.generation.number, status.generation.adopted), ("degraded", 1, true));
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll"), "names come from the state folder");
    agent.link_changed(8, Link { name: "eth8".into(), link_type: 1, ..Link::default() });
    agent.sync_interfaces();
    assert_eq!(node.world.borrow().attached.get(&8), Some(&1), "new interfaces are guarded by the old generation");
    node.write(&policy(&["eth*"], &["poll"]));
    let repaired = apply(&mut agent);
    assert!(repaired.ok && !repaired.unchanged, "the adopted program is replaced by this agent's own");
    assert_eq!(agent.status().state, "enforcing");
}

#[test]
fn a_store_that_is_lost_takes_no_hook_off_and_changes_no_mode() {
    for text in [BROKEN.to_owned(), policy(&["eth*"], &["poll"])] {
        let node = Node::new(&policy(&["eth*"], &["poll"]));
        let mut agent = node.started();
        agent.set_mode(Some(true)).unwrap();
        drop(agent);
        fs::remove_dir_all(node.path().join("state")).unwrap();
        let before = (node.world.borrow().attached.clone(), node.world.borrow().interfaces.clone());
        let calls = node.world.borrow().calls.len();
        node.write(&text);
        let mut agent = node.started();
        agent.sync_interfaces();
        let world = node.world.borrow();
        assert!(!world.calls[calls..].iter().any(|call| call.starts_with("detach")), "{:?}", world.calls);
        assert_eq!(world.attached.keys().collect::<Vec<_>>(), before.0.keys().collect::<Vec<_>>());
        if text == BROKEN {
            assert_eq!((&world.attached, &world.interfaces), (&before.0, &before.1));
            assert_eq!(world.settings.audit_mode, 1, "nobody wanted another mode");
            assert_eq!(agent.status().interfaces.len(), before.0.len());
        }
    }
}

#[test]
fn a_bad_policy_after_a_reboot_falls_back_on_the_last_good_one() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    drop(node.started());
    *node.world.borrow_mut() = World::default();
    node.write(BROKEN);
    let agent = node.started();
    let status = agent.status();
    assert_eq!((status.state.as_str(), status.generation.number), ("degraded", 2));
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll"));
    assert!(!status.last_apply.unwrap().ok);
}

#[test]
fn a_bad_policy_with_nothing_to_fall_back_on_is_an_error() {
    let node = Node::new(BROKEN);
    let problem = node.agent().start().unwrap_err();
    assert_eq!(problem.blame, "input");
    assert!(node.world.borrow().calls.is_empty());
}

#[test]
fn an_operators_mode_outlives_policies_and_agents_until_it_is_taken_back() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    agent.set_mode(Some(true)).unwrap();
    assert_eq!(node.world.borrow().settings.audit_mode, 1);
    assert_eq!(agent.number(), 1, "switched without reloading");
    node.write(&policy(&["eth0"], &["poll", "write"]));
    assert!(apply(&mut agent).ok);
    drop(agent);
    let mut agent = node.started();
    assert_eq!((node.world.borrow().settings.audit_mode, agent.status().state.as_str()), (1, "audit"));
    assert!(agent.status().warnings.iter().any(|warning| warning.contains("gabion mode policy")));
    agent.set_mode(None).unwrap();
    assert_eq!(node.world.borrow().settings.audit_mode, 0);
    assert_eq!(agent.status().mode.overridden_since, None);
}

#[test]
fn addresses_are_the_nodes_own_while_any_interface_has_them() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let stale = [192, 168, 0, 9].into();
    node.world.borrow_mut().local.insert(stale);
    let mut agent = node.started();
    assert!(node.world.borrow().local.contains(&std::net::IpAddr::from([10, 0, 0, 1])));
    assert!(!node.world.borrow().local.contains(&stale), "an earlier agent's");
    let shared = "fe80::1".parse().unwrap();
    agent.address_changed(2, shared, true);
    agent.address_changed(3, shared, true);
    agent.address_changed(2, shared, false);
    assert!(node.world.borrow().local.contains(&shared));
    agent.link_gone(3);
    assert!(!node.world.borrow().local.contains(&shared));
}

#[test]
fn an_interface_without_room_in_the_tables_brings_a_new_generation() {
    let node = Node::new(&policy(&["eth*"], &["poll"]));
    let mut agent = node.started();
    node.world.borrow_mut().room = Some(5_000);
    agent.link_changed(7_000, Link { name: "eth7000".into(), link_type: 1, ..Link::default() });
    agent.sync_interfaces();
    assert!(agent.take_wants_room() && !agent.take_wants_room());
    let read = agent.source.build(agent.digest_in_force(Trigger::Room).as_deref());
    assert_eq!(agent.apply(read, Trigger::Room, How::default()).generation, 2, "although the policy is the same");
    assert!(node.flags(7_000) & flag::JUDGED != 0);
}

#[test]
fn a_renamed_interface_keeps_its_hooks() {
    let node = Node::new(&policy(&["eth*"], &["poll"]));
    let mut agent = node.started();
    node.world.borrow_mut().calls.clear();
    assert!(agent.link_changed(2, Link { name: "eth9".into(), link_type: 1, up: true, ..Link::default() }));
    agent.sync_interfaces();
    assert_eq!(node.world.borrow().calls, ["rename 2 eth9"]);
}

#[test]
fn detaching_takes_everything_and_keeps_the_counts() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    node.world.borrow_mut().counts.get_mut(&1).unwrap()[0] = Count { packets: 4, bytes: 240 };
    agent.detach_everything().unwrap();
    assert_eq!((node.world.borrow().generation, agent.number()), (None, 0));
    assert_eq!(agent.rules().rules.iter().map(|rule| rule.amount.packets).sum::<u64>(), 4);
    drop(agent);
    assert_eq!(node.started().number(), 2);
}

const SHORT: &str = "{windowSeconds: 10, probes: [{name: polls, rule: plc/poll, withinSeconds: 4}]}";

/// So many seconds of an agent's life, in which so many packets a second pass by every rule.
fn seconds(node: &Node, agent: &mut Agent, from: Instant, seconds: std::ops::Range<u64>, packets: u64) {
    for second in seconds {
        for counts in node.world.borrow_mut().counts.values_mut() {
            counts.iter_mut().for_each(|count| count.packets += packets);
        }
        agent.tick(from + Duration::from_secs(second));
    }
}

fn journal(agent: &mut Agent) -> Vec<String> {
    let lines = agent.store.journal::<Line>(1_000).unwrap();
    lines.into_iter().map(|(_, line)| format!("{} {}", line.generation, line.step)).collect()
}

#[test]
fn a_change_is_on_trial_until_its_window_is_over() {
    let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
    let mut agent = node.started();
    assert_eq!(agent.status().generation.trial, None, "the first has nothing to go back to");
    node.write(&watched(&["eth0"], &["poll", "write"], SHORT));
    let applied = apply(&mut agent);
    assert_eq!((applied.generation, applied.trial_ms), (2, 10_000));
    let trial = agent.status().generation.trial.unwrap();
    assert_eq!((trial.number, trial.back_to, trial.window_s), (2, 1, 10));
    let began = Instant::now();
    assert_eq!(node.world.borrow().loaded, BTreeSet::from([1, 2]));
    seconds(&node, &mut agent, began, 0..10, 1);
    assert!(agent.status().generation.trial.is_some());
    seconds(&node, &mut agent, began, 10..12, 1);
    assert_eq!((agent.status().generation.trial, agent.number()), (None, 2));
    assert_eq!(node.world.borrow().loaded, BTreeSet::from([2]));
    let life = ["1 built", "1 verified", "1 staged", "1 probed", "1 live", "1 committed"];
    let second: Vec<String> = life.iter().map(|step| step.replace('1', "2")).collect();
    assert_eq!(journal(&mut agent), [&life.map(str::to_owned)[..], &second].concat());
}

#[test]
fn the_next_change_is_made_ready_for_while_nobody_waits() {
    let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
    let mut agent = node.started();
    let ready = || -> Vec<String> {
        node.world.borrow().calls.iter().filter(|call| call.starts_with("make ready")).cloned().collect()
    };
    let began = Instant::now();
    seconds(&node, &mut agent, began, 0..4, 1);
    assert_eq!(ready(), [""; 0]);
    seconds(&node, &mut agent, began, 4..20, 1);
    assert_eq!(ready(), ["make ready 1"]);
    node.write(&watched(&["eth0"], &["poll", "write"], SHORT));
    assert!(apply(&mut agent).ok);
    let began = Instant::now();
    seconds(&node, &mut agent, began, 0..9, 1);
    assert_eq!(ready(), ["make ready 1"], "on trial");
    seconds(&node, &mut agent, began, 9..30, 1);
    assert_eq!(ready(), ["make ready 1", "make ready 2"]);
    drop(agent);
    let mut agent = node.started();
    seconds(&node, &mut agent, Instant::now(), 0..9, 1);
    assert_eq!(ready()[2..], ["make ready 3"], "another agent, which made it anew");
}

#[test]
fn a_change_that_makes_the_node_worse_is_undone_and_stays_out() {
    let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
    let mut agent = node.started();
    let good = node.world.borrow().settings;
    let bad = watched(&["eth0"], &["poll", "write"], SHORT).replace("health:", "failsafe: []\n  health:");
    node.write(&bad);
    assert!(apply(&mut agent).ok);
    assert_eq!(node.world.borrow().settings.failsafe_count, 0);
    let mut follower = agent.hub.follow();
    seconds(&node, &mut agent, Instant::now(), 0..5, 0);
    assert_eq!((agent.number(), node.world.borrow().generation), (1, Some(1)), "in force again");
    assert_eq!(node.world.borrow().loaded, BTreeSet::from([1]));
    assert_eq!(node.world.borrow().settings, good, "and its settings");
    assert!(agent.rules().rules.iter().all(|rule| rule.name != "plc/write"));
    let status = agent.status();
    let why = "generation 2 was rolled back: probe polls: nothing passed by plc/poll for 4.0 s, the bound is 4.0 s";
    assert!(status.warnings.iter().any(|warning| warning == why), "{:?}", status.warnings);

    let told = std::iter::from_fn(|| follower.try_recv().ok()).find_map(|told| match told {
        Told::Journal(line) => Some(line),
        Told::Verdict(_) => None,
    });
    let line = told.unwrap();
    assert_eq!((line.generation, line.step.as_str(), line.from.as_deref()), (2, "rolled back", Some("live")));
    assert!(why.ends_with(&line.detail), "{}", line.detail);
    assert_eq!(status.generation.rolled_back, 1);

    let again = apply(&mut agent);
    assert_eq!(again.error.unwrap().code, "failed-before");
    agent.stop();
    drop(agent);
    let mut agent = node.started();
    assert_eq!(agent.number(), 1, "also for the next agent");
    assert_eq!(agent.status().state, "degraded");
    assert!(agent.current().unwrap().set.is_some(), "what is in force can be explained");
    let read = agent.source.build(None);
    let insisted =
        agent.apply(read, Trigger::Api, How { insisted: true, window: Some(Duration::ZERO), ..How::default() });
    assert_eq!((insisted.ok, insisted.generation), (true, 3));
    assert!(agent.status().warnings.is_empty(), "{:?}", agent.status().warnings);
}

#[test]
fn the_text_of_what_was_rolled_back_is_forgotten_also_by_the_next_agent() {
    let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
    let mut agent = node.started();
    let stored = |agent: &mut Agent| agent.store.names("generation/").unwrap().len();
    node.write(&watched(&["eth0"], &["poll", "write"], SHORT));
    assert!(apply(&mut agent).ok);
    assert_eq!(stored(&mut agent), 2);
    agent.roll_back(String::from("a test")).unwrap();
    assert_eq!(stored(&mut agent), 1);
    // As if it had died between going back and forgetting.
    let left = crate::record::Record { number: 7, ..Default::default() };
    agent.store.write(crate::record::Records::record(&mut Batch::default(), &left)).unwrap();
    drop(agent);
    let mut agent = node.started();
    node.write(&policy(&["eth0"], &["poll", "write", "read"]));
    assert!(apply(&mut agent).ok);
    let names = agent.store.names("generation/").unwrap();
    assert!(!names.iter().any(|name| name.contains('7')), "{names:?}");
}

#[test]
fn an_agents_death_in_the_window_undoes_the_change_and_its_stop_tries_it_again() {
    for stops in [false, true] {
        let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
        let mut agent = node.started();
        node.write(&watched(&["eth0"], &["poll", "write"], SHORT));
        assert_eq!(apply(&mut agent).generation, 2);
        if stops {
            agent.stop();
            assert_eq!(node.world.borrow().generation, Some(1), "what nobody watches is what was committed");
        }
        drop(agent);
        assert_eq!(node.world.borrow().generation, Some(if stops { 1 } else { 2 }));
        let agent = node.started();
        assert_eq!(agent.number(), if stops { 3 } else { 1 });
        assert_eq!(agent.status().generation.trial.is_some(), stops);
    }
}

#[test]
fn after_a_reboot_a_change_has_something_to_go_back_to() {
    let node = Node::new(&watched(&["eth0"], &["poll"], SHORT));
    let mut agent = node.started();
    agent.stop();
    drop(agent);
    *node.world.borrow_mut() = World::default();
    node.write(&watched(&["eth0"], &["poll", "write"], SHORT));
    let mut agent = node.started();
    assert_eq!((agent.number(), agent.status().generation.trial.unwrap().back_to), (3, 2));
    seconds(&node, &mut agent, Instant::now(), 0..5, 0);
    assert_eq!(agent.number(), 2);
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/poll"));
}

#[test]
fn one_port_runs_ahead() {
    let node = Node::new(&policy(&["eth0", "eth1"], &["poll"]));
    let mut agent = node.started();
    node.write(&policy(&["eth0", "eth1"], &["poll", "write"]));
    let ahead = |name: &str| How { only: BTreeSet::from([name.to_owned()]), ..How::default() };
    let read = agent.source.build(None);
    assert_eq!(agent.apply(read, Trigger::Api, ahead("eth7")).error.unwrap().code, "no-such-interface");
    let read = agent.source.build(None);
    assert!(agent.apply(read, Trigger::Api, ahead("eth1")).ok);
    assert_eq!(node.world.borrow().attached.values().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((agent.number(), &agent.status().generation.ahead["eth1"]), (1, &2));
    assert!(agent.rules().rules.iter().any(|rule| rule.name == "plc/write" && rule.active));
    drop(agent);
    let mut agent = node.started();
    assert!(agent.status().generation.ahead.is_empty(), "the files are for all");
    assert!(apply(&mut agent).unchanged);
}

#[test]
fn what_the_kernel_refuses_at_the_swap_is_undone() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    node.write(&policy(&["eth0"], &["poll", "write"]));
    node.world.borrow_mut().refuse_point = true;
    let refused = apply(&mut agent);
    assert_eq!(refused.error.unwrap().message, "the driver says no");
    assert_eq!((agent.number(), node.world.borrow().loaded.len()), (1, 1));
    assert!(apply(&mut agent).ok, "nobody found it bad: it may be tried again");
}

#[test]
fn what_is_pinned_does_not_change() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    agent.pin(Some(String::from("harvest"))).unwrap();
    node.write(&policy(&["eth0"], &["poll", "write"]));
    assert!(apply(&mut agent).error.unwrap().message.contains("harvest"));
    drop(agent);
    let mut agent = node.started();
    assert_eq!((agent.number(), agent.status().generation.pinned.as_deref()), (1, Some("harvest")));
    agent.pin(None).unwrap();
    assert!(apply(&mut agent).ok);
}
