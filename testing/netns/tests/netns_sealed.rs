//! A sealed node: what it takes from whom, what it refuses, and that refusing changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod people;

use std::path::{Path, PathBuf};

use gabion_testing_netns::End::{Client, Server};
use gabion_testing_netns::{Bench, Probe, Site, rules};
use gabion_testing_site::agent::Agent;

use people::{People, apply, start, start_with};

const ALLOWED: u16 = 5_000;
const FORBIDDEN: u16 = 5_001;

fn bundle(people: &People, version: u32, policy: &str, signers: &[&str]) -> PathBuf {
    let port = if policy.contains(&format!("ports: {ALLOWED}")) { ALLOWED } else { FORBIDDEN };
    people.bundle_for(version, policy, port, signers)
}

fn policy(bench: &Bench, port: u16, health: &'static str) -> String {
    let site = Site { more: health, ..Site::default() };
    bench.write(
        &site,
        &rules(&[&format!("{{name: r, action: allow, services: [{{protocol: udp, ports: {port}}}]}}")], &[]),
    );
    bench.policy_text()
}

#[test]
fn a_node_takes_what_enough_people_signed_and_nothing_else() {
    let Some(bench) = Bench::new() else { return };
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let [good, bad] = [ALLOWED, FORBIDDEN].map(|port| Probe::udp(Client, Server, false, 700, port));
    bench.baseline(&[&good, &bad]);
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let quick = "  health: {windowSeconds: 0}\n";
    let first = bundle(&people, 1, &policy(&bench, ALLOWED, quick), &["anna", "bert"]);

    let mut agent = start(&bench, &binary, &root);
    let status = agent.until("up", |_| true).unwrap();
    assert_eq!(status["generation"]["number"], 0, "it waits for a bundle");
    let (code, said) = apply(&agent, &first);
    assert_eq!((code, &said["generation"]), (Some(0), &1.into()), "{said:#}");
    agent.enforcing(2).unwrap();
    bench.verify(&[(&good, true), (&bad, false)]);

    // Files are not what this node listens to.
    let files = agent.ask(&["apply", "--output", "json"]).unwrap();
    assert_eq!(files.status.code(), Some(2), "{}", String::from_utf8_lossy(&files.stdout));

    // One signature of the two that it takes.
    let refused = |agent: &Agent<'_>, bundle: &Path, expected: &str| {
        let (code, said) = apply(agent, bundle);
        assert_eq!((code, said["error"]["code"].as_str()), (Some(7), Some(expected)), "{said:#}");
        bench.verify(&[(&good, true), (&bad, false)]);
    };
    let short = bundle(&people, 2, &policy(&bench, FORBIDDEN, quick), &["anna"]);
    refused(&agent, &short, "bundle-another");
    // Somebody else's root.
    let strangers = People::new(&binary);
    let foreign = bundle(&strangers, 9, &policy(&bench, FORBIDDEN, quick), &["anna", "bert"]);
    refused(&agent, &foreign, "trust-key-unknown");
    // A flipped bit.
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = people.path("flipped.tar");
    std::fs::write(&flipped, bytes).unwrap();
    refused(&agent, &flipped, "bundle-digest");

    // The draft is signed to its end, so that the next one can begin; nobody brings that bundle here.
    people.says(&["bundle", "sign", "--role", "policy", "--key", "bert.key", "--trust", "site", "bench-2.tar"]);
    // The next version, and never the one before again; also not for the next agent.
    let third = bundle(&people, 3, &policy(&bench, ALLOWED, "  health: {windowSeconds: 30}\n"), &["anna", "bert"]);
    assert_eq!(apply(&agent, &third).0, Some(0));
    assert!(agent.ask(&["generation", "commit"]).unwrap().status.success());
    refused(&agent, &first, "trust-rolled-back");
    agent.crash().unwrap();
    let mut agent = start(&bench, &binary, &root);
    let status = agent.enforcing(2).unwrap();
    assert_eq!((&status["generation"]["number"], &status["state"]), (&2.into(), &"enforcing".into()), "{status:#}");
    refused(&agent, &first, "trust-rolled-back");

    // Another inventory alone is a bundle as any other: tried, counted, and nothing older comes after it.
    let entry = "spec: {entries: [{name: hmi, addresses: [10.1.0.99]}]}";
    let inventory = format!("---\napiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: i}}\n{entry}\n");
    for (version, more) in [(10, ""), (11, inventory.as_str())] {
        let bundle = bundle(&people, version, &(policy(&bench, ALLOWED, quick) + more), &["anna", "bert"]);
        let before = agent.status().unwrap()["generation"]["number"].as_u64().unwrap();
        let (code, said) = apply(&agent, &bundle);
        assert_eq!((code, said["generation"].as_u64(), &said["in_place"]), (Some(0), Some(before + 1), &false.into()));
    }
    refused(&agent, &people.path("bench-10.tar"), "trust-rolled-back");
    // What is on trial goes back without anybody's grant, and its version stays the floor.
    let fourth = bundle(&people, 12, &policy(&bench, FORBIDDEN, "  health: {windowSeconds: 30}\n"), &["anna", "bert"]);
    assert_eq!(apply(&agent, &fourth).0, Some(0));
    bench.verify(&[(&good, false), (&bad, true)]);
    assert!(agent.ask(&["generation", "rollback", "--reason", "a test"]).unwrap().status.success());
    refused(&agent, &third, "trust-rolled-back");
    let (code, said) = apply(&agent, &fourth);
    assert_eq!((code, &said["error"]["code"]), (Some(6), &"failed-before".into()));
    // What was committed before that is an older version, and whoever sits at the node is nobody who could grant it.
    let back = agent.ask(&["generation", "rollback", "--output", "json"]).unwrap();
    let said: serde_json::Value = serde_json::from_slice(&back.stdout).unwrap_or_default();
    let words = String::from_utf8_lossy(&back.stderr);
    assert_eq!(back.status.code(), Some(7), "{said:#} {words}");
    assert!(
        words.contains("bench 10") && words.contains("version 12") && words.contains("--grant-floor 10"),
        "{words}"
    );
    bench.verify(&[(&good, true), (&bad, false)]);
    assert!(agent.ask(&["detach"]).unwrap().status.success());
    bench.baseline(&[&good, &bad]);
}

#[test]
fn a_node_takes_bundles_of_one_name_until_it_is_told_another() {
    let Some(bench) = Bench::new() else { return };
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let [good, bad] = [ALLOWED, FORBIDDEN].map(|port| Probe::udp(Client, Server, false, 700, port));
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let quick = "  health: {windowSeconds: 0}\n";
    let (ours, both) = (policy(&bench, ALLOWED, quick), ["anna", "bert"]);
    let first = bundle(&people, 1, &ours, &both);
    // Signed by the same people, for the node next door.
    let next_door = people.bundle_named("next-door", 7, &policy(&bench, FORBIDDEN, quick), FORBIDDEN, &both);
    let mut agent = start(&bench, &binary, &root);
    agent.until("up", |_| true).unwrap();
    // The newest metadata speaks of both.
    people.says(&["bundle", "publish", "--key", "server.key", "--trust", "site", "bench-1.tar"]);
    assert_eq!(apply(&agent, &first).0, Some(0));
    people.says(&["bundle", "publish", "--key", "server.key", "--trust", "site", "next-door-7.tar"]);
    let refused = |agent: &Agent<'_>, bundle: &Path| {
        let (code, said) = apply(agent, bundle);
        assert_eq!((code, said["error"]["code"].as_str()), (Some(7), Some("bundle-stranger")), "{said:#}");
        bench.verify(&[(&good, true), (&bad, false)]);
    };
    refused(&agent, &next_door);
    agent.crash().unwrap();
    let mut agent = start(&bench, &binary, &root);
    agent.enforcing(2).unwrap();
    refused(&agent, &next_door);
    agent.stop().unwrap();
    let mut agent = start_with(&bench, &binary, &root, &["--bundle", "next-door"]);
    agent.enforcing(2).unwrap();
    bench.verify(&[(&good, true), (&bad, false)]);
    assert_eq!(apply(&agent, &next_door).0, Some(0));
    bench.verify(&[(&good, false), (&bad, true)]);
    // What it was before it moved is not come back to by a slip.
    let back = agent.ask(&["generation", "rollback"]).unwrap();
    assert_eq!(back.status.code(), Some(7), "{}", String::from_utf8_lossy(&back.stderr));
    bench.verify(&[(&good, false), (&bad, true)]);
}

#[test]
fn a_sealed_node_that_lost_its_kernel_begins_with_what_was_committed() {
    let Some(bench) = Bench::new() else { return };
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let [good, bad] = [ALLOWED, FORBIDDEN].map(|port| Probe::udp(Client, Server, false, 700, port));
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let bundle = bundle(&people, 1, &policy(&bench, ALLOWED, ""), &["anna", "bert"]);
    let mut agent = start(&bench, &binary, &root);
    agent.until("up", |_| true).unwrap();
    assert_eq!(apply(&agent, &bundle).0, Some(0));
    agent.crash().unwrap();
    std::fs::remove_file(&bundle).unwrap();
    // As after a reboot: nothing is pinned any more.
    bench.forget_kernel().unwrap();
    bench.baseline(&[&good, &bad]);
    let mut agent = start(&bench, &binary, &root);
    agent.enforcing(2).unwrap();
    bench.verify(&[(&good, true), (&bad, false)]);
}
