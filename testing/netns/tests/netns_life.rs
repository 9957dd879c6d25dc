//! The agent's own life: modes, edits, mistakes, crashes, and what stays in force meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use gabion_testing_netns::End::{Client, Node, Server};
use gabion_testing_netns::{ALLOWED, ARRIVAL, Bench, FORBIDDEN, Probe, Site, rules, under_traffic};
use gabion_testing_site::frame::tcp_flag::SYN;

fn allow(port: u16, extra: usize) -> String {
    // More rules make another generation of the same meaning.
    let mut list = vec![format!("{{name: r, action: allow, services: [{{protocol: udp, ports: {port}}}]}}")];
    list.extend(
        (0..extra)
            .map(|n| format!("{{name: x{n}, action: deny, services: [{{protocol: udp, ports: {}}}]}}", 20_000 + n)),
    );
    rules(&list.iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

fn pair() -> [Probe; 2] {
    [ALLOWED, FORBIDDEN].map(|port| Probe::udp(Client, Server, false, 700, port))
}

#[test]
fn modes_switch_without_a_new_generation() {
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    let generation = agent.status().unwrap()["generation"]["number"].clone();
    bench.verify(&[(&good, true), (&bad, false)]);
    let events = agent.events(&[]).unwrap();
    for (mode, passes) in [("audit", true), ("enforce", false), ("audit", true), ("policy", false)] {
        let output = agent.ask(&["mode", mode]).unwrap();
        assert!(output.status.success(), "mode {mode}: {}", String::from_utf8_lossy(&output.stderr));
        bench.verify(&[(&good, true), (&bad, passes)]);
        assert_eq!(agent.status().unwrap()["generation"]["number"], generation, "mode {mode}");
    }
    // Both were reported: what was denied, and what would have been.
    for verdict in ["deny", "audit"] {
        let port = u64::from(FORBIDDEN);
        let told = |event: &serde_json::Value| event["verdict"] == verdict && event["destination_port"] == port;
        assert!(events.wait(ARRIVAL, told), "no event with verdict {verdict}");
    }
}

#[test]
fn edits_take_effect_as_a_whole_under_traffic() {
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    let (sent, allowed, forbidden) = under_traffic(&bench, || {
        for extra in 1..=10 {
            bench.apply(&agent, &allow(ALLOWED, extra));
        }
    });
    assert_eq!(forbidden, 0, "of {sent} forbidden packets some passed during ten edits");
    assert_eq!(allowed, sent, "allowed packets were lost during ten edits");
    let number = agent.status().unwrap()["generation"]["number"].as_u64().unwrap();
    assert!(number >= 11, "generation {number} after ten edits");
}

#[test]
fn another_inventory_takes_effect_in_the_generation_in_force() {
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    // The client is an operator or a guest, whom rules allow one port each. Somebody else is the other.
    let policy = |client: &str, other: &str| {
        let rule = |who: &str, port: u16| {
            format!(
                "{{name: {who}, action: allow, from: [{{labels: {{role: {who}}}}}], services: [{{protocol: udp, ports: {port}}}]}}"
            )
        };
        let rules = rules(&[&rule("operator", ALLOWED), &rule("guest", FORBIDDEN)], &[]);
        format!(
            "{rules}---\napiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: i}}\nspec:\n  entries:\n    \
             - {{name: client, labels: {{role: {client}}}, addresses: [10.1.0.2]}}\n    \
             - {{name: other, labels: {{role: {other}}}, addresses: [10.1.0.77]}}\n"
        )
    };
    let Some(agent) = bench.guard(&policy("operator", "guest")) else { return };
    let before = agent.status().unwrap()["generation"]["number"].clone();
    bench.verify(&[(&good, true), (&bad, false)]);
    for (client, other) in [("guest", "operator"), ("operator", "guest"), ("guest", "operator")] {
        bench.apply(&agent, &policy(client, other));
        let status = agent.status().unwrap();
        assert_eq!(status["generation"]["number"], before, "{status}");
        // The agent may have seen the file before it was asked.
        let last = &status["last_apply"];
        assert!(last["in_place"] == true || last["unchanged"] == true, "{status}");
        bench.verify(&[(&good, client == "operator"), (&bad, client == "guest")]);
    }
}

#[test]
fn a_bad_policy_leaves_the_old_one_in_force() {
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    let before = agent.status().unwrap()["generation"]["number"].clone();
    for wrong in [
        "this is: [not\n",
        "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: a}\nspec: {subject: anyone}\n",
        "",
    ] {
        bench.place.write_policy(wrong).unwrap();
        let output = agent.ask(&["apply"]).unwrap();
        assert!(!output.status.success(), "{wrong:?} was accepted");
        bench.verify(&[(&good, true), (&bad, false)]);
        assert_eq!(agent.status().unwrap()["generation"]["number"], before);
    }
    bench.apply(&agent, &allow(FORBIDDEN, 0));
    bench.verify(&[(&good, false), (&bad, true)]);
}

#[test]
fn a_saved_file_and_a_hangup_are_enough() {
    let Some(bench) = Bench::new() else { return };
    let Some(mut agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    let number = |status: &serde_json::Value| status["generation"]["number"].as_u64().unwrap_or(0);
    let before = number(&agent.status().unwrap());
    bench.write(&Site::default(), &allow(FORBIDDEN, 0));
    agent.until("in force after the file changed", |status| number(status) > before).unwrap();
    let [good, bad] = pair();
    bench.verify(&[(&good, false), (&bad, true)]);
}

#[test]
fn fail_safe_ports_stay_open_whatever_a_policy_says() {
    let Some(bench) = Bench::new() else { return };
    let site = Site {
        ingress: "deny",
        egress: "deny",
        more: "  failsafe: [{protocol: tcp, port: 22}, {protocol: udp, port: 161}]\n",
        ..Site::default()
    };
    let open: Vec<Probe> = [false, true]
        .into_iter()
        .flat_map(|six| {
            [
                Probe::tcp(Client, Node, six, 900, 22, SYN),
                Probe::udp(Server, Node, six, 900, 161),
                Probe::tcp(Node, Client, six, 22, 900, 0x12),
            ]
        })
        .collect();
    let closed = [
        Probe::tcp(Client, Node, false, 900, 23, SYN),
        // The node's own ports only: not those of the machines behind it.
        Probe::tcp(Client, Server, false, 900, 22, SYN),
        Probe::udp(Server, Client, true, 900, 161),
        Probe::udp(Node, Client, false, 162, 900),
    ];
    bench.baseline(&open.iter().chain(&closed).collect::<Vec<_>>());
    let deny = "{name: shut, action: deny}";
    let Some(_agent) = bench.guard_with(&site, &rules(&[deny], &[deny])) else { return };
    let open = open.iter().map(|probe| (probe, true));
    bench.verify(&open.chain(closed.iter().map(|probe| (probe, false))).collect::<Vec<_>>());
}

#[test]
fn what_is_in_force_outlives_the_agent_until_it_is_detached() {
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    assert!(agent.stop().unwrap().success());
    bench.verify(&[(&good, true), (&bad, false)]);
    let agent = bench.start(2).unwrap();
    let status = agent.status().unwrap();
    assert!(status["generation"]["number"].as_u64() > Some(0), "{status}");
    assert!(status["warnings"].as_array().is_none_or(Vec::is_empty), "{status}");
    // Connections were adopted: this answer belongs to a question that was asked under the first agent.
    let answer = Probe::udp(Server, Client, false, ALLOWED, 700);
    bench.verify(&[(&answer, true), (&bad, false), (&good, true)]);
    let output = agent.ask(&["detach"]).unwrap();
    assert!(output.status.success(), "detach: {}", String::from_utf8_lossy(&output.stderr));
    bench.baseline(&[&good, &bad]);
    assert_eq!(pinned(&bench), Vec::<String>::new());
}

/// What is pinned below the agent's bpffs.
fn pinned(bench: &Bench) -> Vec<String> {
    fn files(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => files(&entry.path(), found),
                _ => found.push(entry.path().display().to_string()),
            }
        }
    }
    let mut found = bench.node.run(|| {
        let mut found = Vec::new();
        files(&bench.place.bpffs(), &mut found);
        found
    });
    // The kernel puts these two into every bpffs itself.
    found.retain(|path| !path.ends_with("/maps.debug") && !path.ends_with("/progs.debug"));
    found.sort();
    found
}

/// What the journal says of generations is one way from the beginning to the end for each, and what is in force is on
/// trial or committed. Its number is the answer.
fn explained(agent: &gabion_testing_site::agent::Agent<'_>) -> u64 {
    let output = agent.ask(&["generation", "show", "--output", "json"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let known: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut at = std::collections::BTreeMap::new();
    for line in known["journal"].as_array().unwrap() {
        let (number, step) = (line["generation"].as_u64().unwrap(), line["step"].as_str().unwrap());
        let from = line["from"].as_str();
        if from.is_none() && step != "built" {
            // Something else that happened.
            continue;
        }
        // The journal that is shown may begin in the middle of a life.
        if let Some(before) = at.insert(number, step) {
            assert_eq!(from, Some(before), "{line}");
        }
    }
    let in_force: Vec<u64> = known["generations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| !it["interfaces"].as_array().unwrap().is_empty())
        .map(|it| it["number"].as_u64().unwrap())
        .collect();
    assert_eq!(in_force.len(), 1, "{known:#}");
    assert!(matches!(at.get(&in_force[0]), Some(&("live" | "committed"))), "{known:#}");
    in_force[0]
}

#[test]
fn five_hundred_crashes_under_traffic_let_nothing_through() {
    const CRASHES: u32 = 500;
    const HEALTH: [&str; 3] = [
        "  health: {windowSeconds: 30}\n",
        "  health: {windowSeconds: 1, onAgentDeath: keep}\n",
        "  health: {windowSeconds: 0}\n",
    ];
    let Some(bench) = Bench::new() else { return };
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    let before = pinned(&bench);
    assert!(!before.is_empty(), "nothing is pinned");
    agent.crash().unwrap();

    let seed = RandomState::new().hash_one(Instant::now());
    let mut random = seed | 1;
    let mut next = move |below: u64| {
        // xorshift64: moments only have to differ.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    println!("seed {seed}");
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let (sent, allowed, forbidden) = under_traffic(&bench, || {
        for crash in 0..CRASHES {
            // Half of them while the agent starts or applies an edit, half while it is at rest.
            let more = HEALTH[next(HEALTH.len() as u64) as usize];
            bench.write(&Site { more, ..Site::default() }, &allow(ALLOWED, (crash % 50) as usize));
            let mut agent = gabion_testing_site::agent::Agent::start(&bench.node, &bench.place, &binary).unwrap();
            if next(2) == 0 {
                agent.until("in force", |status| status["generation"]["number"].as_u64() > Some(0)).unwrap();
                if next(4) == 0 {
                    explained(&agent);
                }
            }
            thread::sleep(Duration::from_micros(next(30_000)));
            agent.crash().unwrap();
        }
    });
    assert_eq!(forbidden, 0, "of {sent} forbidden packets some passed; seed {seed}");
    assert_eq!(allowed, sent, "allowed packets were lost; seed {seed}");
    println!("{sent} packets of each kind during {CRASHES} crashes");

    // Committed at once, so that nothing of what was before is kept for going back.
    let site = Site { more: "  health: {windowSeconds: 0}\n", ..Site::default() };
    bench.write(&site, &allow(ALLOWED, 7));
    let agent = bench.start(2).unwrap();
    let answer = Probe::udp(Server, Client, false, ALLOWED, 700);
    bench.verify(&[(&answer, true)]);
    explained(&agent);
    bench.verify(&[(&good, true), (&bad, false)]);
    // Nothing of the crashed ones is left beside what the first had pinned.
    assert_eq!(pinned(&bench).len(), before.len(), "before: {before:#?}\nafter: {:#?}", pinned(&bench));
    assert!(agent.ask(&["detach"]).unwrap().status.success());
    assert_eq!(pinned(&bench), Vec::<String>::new());
    bench.baseline(&[&good, &bad]);
}

fn there_is_strace() -> bool {
    let there = Command::new("strace").arg("-V").output().is_ok_and(|it| it.status.success());
    if !there {
        println!("skipped: there is no strace (apt-get install strace)");
    }
    there
}

/// An agent that dies at each of the system calls by which it changes the kernel or the disk, one after the other, from
/// its start to the commit of another policy; each of its successors also has to mend what the one before left.
#[test]
fn a_crash_at_any_step_leaves_the_old_generation_or_the_new_one() {
    /// What changes something: programs, maps, links, pins; the store.
    const STEPS: &str = "bpf,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir";
    let Some(bench) = Bench::new() else { return };
    if !there_is_strace() {
        return;
    }
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    agent.crash().unwrap();
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let site = |window: u32| -> Site {
        let more = if window == 0 { "  health: {windowSeconds: 0}\n" } else { "  health: {windowSeconds: 1}\n" };
        Site { more, ..Site::default() }
    };
    let mut deaths = 0;
    let (sent, allowed, forbidden) = under_traffic(&bench, || {
        let mut survived = 0;
        for step in 1.. {
            bench.write(&site(step % 4), &allow(ALLOWED, (step % 50) as usize));
            let inject = format!("inject={STEPS}:signal=KILL:when={step}");
            let trace = format!("trace={STEPS}");
            let under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let policy = [bench.place.policy()];
            let mut agent =
                gabion_testing_site::agent::Agent::start_under(&bench.node, &bench.place, &binary, &policy, &under)
                    .unwrap();
            // Until nothing is on trial any more: the commit, or the way back, is among the steps.
            let settled = |status: &serde_json::Value| {
                status["generation"]["number"].as_u64() > Some(0)
                    && status["generation"]["trial"].is_null()
                    && !status["last_apply"].is_null()
            };
            let died = agent.dies_before(settled).unwrap();
            if died {
                (deaths, survived) = (deaths + 1, 0);
            } else {
                survived += 1;
            }
            if step % 10 == 0 && !died {
                explained(&agent);
            }
            agent.crash().unwrap();
            if survived == 3 {
                break;
            }
        }
    });
    println!("{deaths} deaths, {sent} packets of each kind");
    assert!(deaths > 30, "{deaths}");
    assert_eq!(forbidden, 0, "of {sent} forbidden packets some passed");
    assert_eq!(allowed, sent, "allowed packets were lost");
    let agent = bench.start(2).unwrap();
    explained(&agent);
    bench.verify(&[(&good, true), (&bad, false)]);
    assert!(agent.ask(&["detach"]).unwrap().status.success());
    assert_eq!(pinned(&bench), Vec::<String>::new());
}

/// What goes wrong below the store, at one system call of the agent's.
const FAULTS: [(&str, &str); 4] = [
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    // The beginning of the page is not written, and nobody says so.
    ("pwrite64", "retval=64"),
    ("fdatasync,fsync", "error=EIO"),
];

/// A disk that refuses, is full, or forgets a part of what it was given, at one write after the other, from the agent's
/// start to the commit of another policy; and then the agent dies.
#[test]
fn a_disk_that_fails_leaves_the_old_generation_or_the_new_one() {
    let Some(bench) = Bench::new() else { return };
    if !there_is_strace() {
        return;
    }
    let [good, bad] = pair();
    bench.baseline(&[&good, &bad]);
    let Some(agent) = bench.guard(&allow(ALLOWED, 0)) else { return };
    agent.crash().unwrap();
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let site = Site { more: "  health: {windowSeconds: 0}\n", ..Site::default() };
    let mut made = [0; FAULTS.len()];
    let (mut given_up, mut number) = (0, 0);
    let (sent, allowed, forbidden) = under_traffic(&bench, || {
        for (kind, (calls, fault)) in FAULTS.iter().enumerate() {
            // Each third call, and with each kind others.
            for at in (1 + kind % 3..).step_by(3) {
                bench.write(&site, &allow(ALLOWED, at % 50));
                let [trace, inject] = [format!("trace={calls}"), format!("inject={calls}:{fault}:when={at}")];
                let log = bench.place.state().join("../strace.log");
                let log = log.to_str().unwrap();
                let under = ["strace", "-f", "-qq", "-o", log, "-e", &trace, "-e", &inject];
                let policy = [bench.place.policy()];
                let mut agent =
                    gabion_testing_site::agent::Agent::start_under(&bench.node, &bench.place, &binary, &policy, &under)
                        .unwrap();
                let settled = |status: &serde_json::Value| !status["last_apply"].is_null();
                if agent.dies_before(settled).unwrap() {
                    given_up += 1;
                } else {
                    let status = agent.status().unwrap();
                    assert!(status["generation"]["number"].as_u64() > Some(0), "{status:#}");
                }
                agent.crash().unwrap();
                if !std::fs::read_to_string(log).unwrap().contains("INJECTED") {
                    break;
                }
                made[kind] += 1;
                // The next one finds what that one wrote, on a disk that works.
                let next = bench.start(2).unwrap();
                let status = next.status().unwrap();
                let found = status["generation"]["number"].as_u64().unwrap();
                assert!(found >= number, "numbers go on: {found} after {number}");
                number = found;
                explained(&next);
                next.crash().unwrap();
            }
        }
    });
    println!("faults by kind: {made:?}; {given_up} agents gave up; {sent} packets of each kind");
    assert!(made.iter().all(|made| *made >= 3), "{made:?}");
    assert_eq!(given_up, 0, "no disk keeps an agent from its work");
    assert_eq!(forbidden, 0, "of {sent} forbidden packets some passed");
    assert_eq!(allowed, sent, "allowed packets were lost");
    let agent = bench.start(2).unwrap();
    bench.verify(&[(&good, true), (&bad, false)]);
    assert!(agent.ask(&["detach"]).unwrap().status.success());
    assert_eq!(pinned(&bench), Vec::<String>::new());
}
