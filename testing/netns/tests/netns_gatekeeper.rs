//! A site that wants nobody but the agent to load programs: on kernels that can do that, and on those that cannot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gabion_testing_netns::End::{Client, Server};
use gabion_testing_netns::{Bench, Probe, Site, agent_binary, rules};
use gabion_testing_site::agent::{Agent, Workplace, json};
use serde_json::Value;

const ALLOWED: u16 = 5_000;
const OTHER: u16 = 5_001;
const REFUSED: &str = "Operation not permitted";

fn site(seal: bool) -> Site {
    let more = if seal {
        "  health: {windowSeconds: 0}\n  gatekeeper: {seal: true}\n"
    } else {
        "  health: {windowSeconds: 0}\n"
    };
    Site { more, ..Site::default() }
}

fn documents(port: u16) -> String {
    rules(&[&format!("{{name: r, action: allow, services: [{{protocol: udp, ports: {port}}}]}}")], &[])
}

fn verify(bench: &Bench, passes: u16, refused: u16) {
    let probe = |port| Probe::udp(Client, Server, false, 1000, port);
    bench.verify(&[(&probe(passes), true), (&probe(refused), false)]);
}

/// Whether this kernel was booted with BPF among its security modules.
fn keeps_gates() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    let modules = line.split_whitespace().find_map(|word| word.strip_prefix("lsm=")).unwrap_or_default();
    modules.split(',').any(|name| name == "bpf")
}

/// Another program that loads programs: the agent's own, of another file, with a policy for no interface.
struct Stranger {
    place: Workplace,
    file: PathBuf,
}

impl Stranger {
    fn new(bench: &Bench, binary: &Path) -> Self {
        let place = Workplace::new(&bench.node).unwrap();
        let file = place.state().with_file_name("stranger");
        std::fs::copy(binary, &file).unwrap();
        place
            .write_policy(
                "apiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {name: none}\nspec: {interfaces: []}\n",
            )
            .unwrap();
        Self { place, file }
    }

    /// Whether it could load something.
    fn loads(&self, bench: &Bench) -> bool {
        let before = self.place.log().len();
        let mut agent = Agent::start(&bench.node, &self.place, &self.file).unwrap();
        let died = agent.dies_before(|status| status["generation"]["number"] != 0).unwrap();
        let log = self.place.log()[before..].to_owned();
        if died {
            assert!(log.contains(REFUSED), "{log}");
        } else {
            assert!(agent.ask(&["detach"]).unwrap().status.success(), "{log}");
        }
        !died
    }
}

fn gate(agent: &Agent<'_>) -> Value {
    agent.status().unwrap()["gate"].clone()
}

fn sealed(agent: &mut Agent<'_>) -> Value {
    agent.until("the gate is sealed", |status| status["gate"]["state"] == "sealed").unwrap()
}

/// How many gatekeepers are pinned. The node sees another bpffs than we do.
fn pinned(bench: &Bench, agent: &Agent<'_>) -> usize {
    let folder = format!("/proc/{}/root{}/gatekeeper", agent.pid(), bench.place.bpffs().display());
    std::fs::read_dir(folder).unwrap().count()
}

/// Journal lines of a step, as `gabion generation show` has them.
fn noted(agent: &Agent<'_>, step: &str) -> Vec<Value> {
    let shown = json(&agent.ask(&["generation", "list", "--output", "json"]).unwrap()).unwrap();
    let journal = shown["journal"].as_array().cloned().unwrap_or_default();
    journal.into_iter().filter(|line| line["step"] == step).collect()
}

#[test]
fn a_sealed_gate_lets_in_the_agent_alone_until_it_is_opened() {
    if !keeps_gates() {
        return println!("skipped: this kernel was not booted with lsm=...,bpf");
    }
    let Some(bench) = Bench::new() else { return };
    let Some(binary) = agent_binary() else { return };
    let stranger = Stranger::new(&bench, &binary);
    assert!(stranger.loads(&bench), "before there is a gate");
    let Some(mut agent) = bench.guard_with(&site(true), &documents(ALLOWED)) else { return };
    let status = sealed(&mut agent);
    assert_ne!(status["state"], "degraded", "{status}");
    assert_eq!((&status["gate"]["attempts"], &status["gate"]["problem"]), (&Value::from(0), &Value::Null));

    // A stranger is refused, and everybody is told.
    let events = agent.events(&[]).unwrap();
    assert!(!stranger.loads(&bench), "{}", gate(&agent));
    let told = |line: &Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["step"] == "refused at the gate" && detail.contains("(stranger)") && detail.contains("is not the agent")
    };
    let status = agent.until("it is told of", |status| status["gate"]["attempts"] != 0).unwrap();
    let caller = &status["gate"]["callers"][0];
    assert_eq!((&caller["name"], &caller["reason"]), (&"stranger".into(), &"not-the-agent".into()), "{status}");
    let journal = noted(&agent, "refused at the gate");
    assert!(journal.iter().any(told), "{journal:?}");
    let end = Instant::now() + std::time::Duration::from_secs(30);
    while !events.so_far().iter().any(told) {
        assert!(Instant::now() < end, "{:?}", events.so_far());
        std::thread::yield_now();
    }
    drop(events);

    // The agent's own changes go on, and let in nobody else.
    verify(&bench, ALLOWED, OTHER);
    bench.apply_with(&agent, &site(true), &documents(OTHER));
    verify(&bench, OTHER, ALLOWED);
    assert_eq!(gate(&agent)["state"], "sealed");
    assert!(!stranger.loads(&bench));

    // It dies without a word: the gate stays, and its successor takes it over.
    agent.crash().unwrap();
    assert!(!stranger.loads(&bench), "the agent is dead, the gate is not");
    let Some(mut agent) = bench.start(2) else { return };
    let status = sealed(&mut agent);
    println!("the agent began at {}, and sealed its own gate at {}", status["started"], status["gate"]["since"]);
    assert_eq!(status["gate"]["problem"], Value::Null, "{status}");
    // The loader of these asked the kernel what it can do, under the gate of the agent that died.
    assert_eq!(status["events"]["no_processes"], Value::Null, "{status}");
    assert!(!bench.place.log().contains("does not let this one in"), "{}", bench.place.log());
    assert_eq!(pinned(&bench, &agent), 1);
    assert!(!stranger.loads(&bench));
    verify(&bench, OTHER, ALLOWED);

    // Nobody wants it any more.
    bench.apply_with(&agent, &site(false), &documents(OTHER));
    assert_eq!(gate(&agent)["state"], "open");
    assert!(stranger.loads(&bench), "{}", gate(&agent));
    assert_eq!(noted(&agent, "gate opened").len(), 1);

    // What takes everything away opens it, too.
    bench.apply_with(&agent, &site(true), &documents(OTHER));
    sealed(&mut agent);
    assert_eq!(pinned(&bench, &agent), 1);
    assert!(agent.ask(&["detach"]).unwrap().status.success());
    assert!(stranger.loads(&bench));

    // Where no agent runs any more as well.
    let Some(mut agent) = bench.start(2) else { return };
    sealed(&mut agent);
    agent.crash().unwrap();
    assert!(!stranger.loads(&bench));
    let mut detach = Command::new(&binary);
    detach.arg("detach").arg("--bpffs").arg(bench.place.bpffs()).arg("--state").arg(bench.place.state());
    detach.arg("--socket").arg(bench.place.socket());
    assert!(bench.node.start(detach).unwrap().wait().unwrap().success());
    assert!(stranger.loads(&bench));
}

#[test]
fn a_kernel_that_keeps_no_gates_enforces_all_the_same() {
    if keeps_gates() {
        return println!("skipped: this kernel was booted with lsm=...,bpf");
    }
    let Some(bench) = Bench::new() else { return };
    let Some(mut agent) = bench.guard_with(&site(true), &documents(ALLOWED)) else { return };
    let status = agent.until("the gate failed", |status| status["gate"]["state"] == "failed").unwrap();
    assert_eq!(status["state"], "degraded");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("the gate is NOT SEALED"), "{warnings}");
    let journal = noted(&agent, "alarm");
    assert!(journal.iter().any(|line| line["detail"].to_string().contains("the gate is not sealed")), "{journal:?}");
    verify(&bench, ALLOWED, OTHER);
    bench.apply_with(&agent, &site(false), &documents(OTHER));
    let status = agent.status().unwrap();
    assert_eq!((&status["gate"]["state"], &status["gate"]["problem"]), (&"open".into(), &Value::Null), "{status}");
    verify(&bench, OTHER, ALLOWED);
}
