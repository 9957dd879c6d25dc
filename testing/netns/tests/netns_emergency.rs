//! Emergencies on a node: what they refuse, beside what, and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod people;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use gabion_testing_netns::End::{Client, Server};
use gabion_testing_netns::{Bench, Probe, Site, addresses, rules};
use gabion_testing_site::agent::Agent;
use people::{People, apply, start};
use serde_json::Value;

const PORT: u16 = 5_000;
const MODBUS: u16 = 502;
/// How long a call may wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an emergency of this test is.
const LIFE: Duration = Duration::from_secs(15);
/// One that no test sees the end of.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection between client and server, both ends of it.
fn connection(bench: &Bench) -> (TcpStream, TcpStream) {
    let address = SocketAddr::new(addresses(false)[3], MODBUS);
    let listener = bench.server.run(|| TcpListener::bind(address)).unwrap();
    let client = bench.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

fn hears(mut stream: &TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

fn hears_nothing(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let heard = stream.read(&mut [0; 1]);
    stream.set_nonblocking(false).unwrap();
    assert_eq!(heard.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A deny list, signed by one, and published.
fn emergency(people: &People, name: &str, version: u32, life: Duration, rules: &str) -> PathBuf {
    let text = format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: infected}}\nspec:\n  \
         tier: {{name: deny, order: 0}}\n  subject: {{cidr: {}/32}}\n{rules}\n",
        addresses(false)[3]
    );
    std::fs::write(people.path("deny.yaml"), text).unwrap();
    let (file, version) = (format!("{name}-{version}.tar"), version.to_string());
    let until = humantime::format_rfc3339_seconds(SystemTime::now() + life).to_string();
    let mut build = vec!["bundle", "build", "--emergency", "--name", name, "--version", &version];
    build.extend(["--expires", &until, "--policy", "deny.yaml", "--out", &file]);
    people.says(&build);
    people.says(&["bundle", "sign", "--role", "emergency", "--key", "anna.key", "--trust", "site", &file]);
    people.says(&["bundle", "publish", "--key", "server.key", "--trust", "site", &file]);
    people.path(&file)
}

fn policy(bench: &Bench, more: &str) -> String {
    let site = Site { more: "  health: {windowSeconds: 30}\n", ..Site::default() };
    let rule = format!("{{name: r, action: allow, services: [{{protocol: udp, ports: {PORT}}}]}}");
    let modbus = format!("{{name: modbus, action: allow, services: [{{protocol: tcp, ports: {MODBUS}}}]}}");
    bench.write(&site, &rules(&[&rule, &modbus], &[]));
    bench.policy_text() + more
}

#[test]
fn an_emergency_cuts_what_stands_and_is_over_by_itself() {
    let Some(bench) = Bench::new() else { return };
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let good = Probe::udp(Client, Server, false, 700, PORT);
    bench.baseline(&[&good]);
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let both = ["anna", "bert"];
    let first = people.bundle_for(1, &policy(&bench, ""), PORT, &both);
    let mut agent = start(&bench, &binary, &root);
    agent.until("up", |_| true).unwrap();
    assert_eq!(apply(&agent, &first).0, Some(0));
    agent.enforcing(2).unwrap();
    let (client, mut server) = connection(&bench);
    server.write_all(b"before").unwrap();
    hears(&client, b"before");
    bench.verify(&[(&good, true)]);

    // Nothing waits for whoever pinned. What the list names is the answers alone.
    assert!(agent.ask(&["generation", "pin", "--reason", "harvest"]).unwrap().status.success());
    let answers =
        format!("  egress: [{{name: out, action: deny, services: [{{protocol: tcp, sourcePorts: {MODBUS}}}]}}]");
    let worm = emergency(&people, "worm", 1, LIFE, &answers);
    let (code, said) = apply(&agent, &worm);
    assert_eq!((code, &said["trial_ms"]), (Some(0), &0.into()), "{said:#}");
    server.write_all(b"meanwhile").unwrap();
    bench.fence(Server, Client);
    hears_nothing(&client);
    bench.verify(&[(&good, true)]);
    let status = agent.status().unwrap();
    assert_eq!((&status["emergencies"][0]["name"], &status["state"]), (&"worm".into(), &"enforcing".into()));

    // By itself, and what stood goes on.
    let over = |status: &Value| status["emergencies"].as_array().is_some_and(Vec::is_empty);
    assert!((0..6).any(|_| agent.until("no emergency", over).is_ok()), "it is longer than one look lasts");
    hears(&client, b"meanwhile");
    assert!(agent.ask(&["generation", "unpin"]).unwrap().status.success());
    let journal = agent.ask(&["generation", "show"]).unwrap();
    let journal = String::from_utf8_lossy(&journal.stdout).into_owned();
    assert!(journal.contains("emergency over"), "{journal}");
    // It is over for good.
    let (code, said) = apply(&agent, &worm);
    assert_eq!((code, &said["error"]["code"]), (Some(7), &"bundle-expired".into()), "{said:#}");
}

#[test]
fn an_emergency_outlives_agents_and_changes_until_it_is_lifted() {
    let Some(bench) = Bench::new() else { return };
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let good = Probe::udp(Client, Server, false, 700, PORT);
    bench.baseline(&[&good]);
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let both = ["anna", "bert"];
    let first = people.bundle_for(1, &policy(&bench, ""), PORT, &both);
    let mut agent = start(&bench, &binary, &root);
    agent.until("up", |_| true).unwrap();
    assert_eq!(apply(&agent, &first).0, Some(0));
    agent.enforcing(2).unwrap();

    let all = format!("  ingress: [{{name: out, action: deny, services: [{{protocol: udp, ports: {PORT}}}]}}]");
    let flood = emergency(&people, "flood", 1, LONG, &all);
    // Looked at first, which changes nothing.
    let looked = |agent: &Agent<'_>, bundle: &Path| {
        let before = agent.status().unwrap();
        let output = agent.ask(&["generation", "diff", bundle.to_str().unwrap(), "--output", "json"]).unwrap();
        assert_eq!(agent.status().unwrap()["generation"], before["generation"]);
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    assert_eq!(looked(&agent, &first).0, Some(0), "it is in force");
    let (code, said) = looked(&agent, &flood);
    assert_eq!((code, &said["policy"][0]["name"]), (Some(1), &"flood:infected".into()), "{said:#}");
    bench.verify(&[(&good, true)]);
    assert_eq!(apply(&agent, &flood).0, Some(0));
    bench.verify(&[(&good, false)]);
    // An agent dies, and another one comes.
    agent.crash().unwrap();
    let mut agent = start(&bench, &binary, &root);
    agent.enforcing(2).unwrap();
    bench.verify(&[(&good, false)]);
    // A change whose golden packet the list refuses, on trial, undone.
    let entry = "spec: {entries: [{name: hmi, addresses: [10.1.0.99]}]}";
    let inventory = format!("---\napiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: i}}\n{entry}\n");
    let second = people.bundle_for(2, &policy(&bench, &inventory), PORT, &both);
    let (code, said) = looked(&agent, &second);
    assert_eq!((code, &said["policy"][0]["what"]), (Some(1), &"entry".into()), "{said:#}");
    let (code, said) = apply(&agent, &second);
    assert_eq!((code, &said["trial_ms"]), (Some(0), &30_000.into()), "{said:#}");
    bench.verify(&[(&good, false)]);
    assert!(agent.ask(&["generation", "rollback", "--reason", "a test"]).unwrap().status.success());
    bench.verify(&[(&good, false)]);
    // A reboot.
    agent.crash().unwrap();
    bench.forget_kernel().unwrap();
    bench.baseline(&[&good]);
    let mut agent = start(&bench, &binary, &root);
    agent.enforcing(2).unwrap();
    bench.verify(&[(&good, false)]);

    let lifted = emergency(&people, "flood", 2, LONG, "");
    assert_eq!(apply(&agent, &lifted).0, Some(0));
    bench.verify(&[(&good, true)]);
    let (code, said) = apply(&agent, &flood);
    assert_eq!(code, Some(7), "{said:#}");
    assert_eq!(looked(&agent, &flood).0, Some(7));
    bench.verify(&[(&good, true)]);
}

/// A tracer that kills a process at one of the calls by which it changes the kernel or the disk.
fn deadly(pid: u32, call: usize) -> Child {
    const STEPS: &str = "bpf,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir";
    let inject = format!("inject={STEPS}:signal=KILL:when={call}");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={STEPS}"), "-e", &inject]);
    let tracer = command.args(["-p", &pid.to_string()]).spawn().unwrap();
    let attached = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    };
    let end = Instant::now() + PATIENCE;
    while !attached() {
        assert!(Instant::now() < end, "the tracer does not come");
        std::thread::yield_now();
    }
    tracer
}

#[test]
fn an_agent_that_dies_while_it_takes_an_emergency_took_it_or_did_not() {
    let Some(bench) = Bench::new() else { return };
    if !Command::new("strace").arg("-V").output().is_ok_and(|it| it.status.success()) {
        println!("skipped: there is no strace (apt-get install strace)");
        return;
    }
    let binary = gabion_testing_netns::agent_binary().unwrap();
    let good = Probe::udp(Client, Server, false, 700, PORT);
    let people = People::new(&binary);
    let root = people.path("site/1.root.json");
    let first = people.bundle_for(1, &policy(&bench, ""), PORT, &["anna", "bert"]);
    let all = format!("  ingress: [{{name: out, action: deny, services: [{{protocol: udp, ports: {PORT}}}]}}]");
    let flood = emergency(&people, "flood", 1, LONG, &all);
    let mut agent = start(&bench, &binary, &root);
    agent.until("up", |_| true).unwrap();
    assert_eq!(apply(&agent, &first).0, Some(0));
    agent.crash().unwrap();
    let store = bench.place.state().join("store.redb");
    let before = std::fs::read(&store).unwrap();

    let (mut taken, mut not) = (0, 0);
    for call in 1.. {
        // As after a reboot, and nobody ever heard of that list.
        bench.forget_kernel().unwrap();
        std::fs::write(&store, &before).unwrap();
        let mut agent = start(&bench, &binary, &root);
        agent.enforcing(2).unwrap();
        let mut tracer = deadly(agent.pid(), call);
        let (code, _) = apply(&agent, &flood);
        agent.crash().unwrap();
        tracer.wait().unwrap();

        let mut agent = start(&bench, &binary, &root);
        let status = agent.enforcing(2).unwrap();
        let lists = status["emergencies"].as_array().unwrap();
        assert!(lists.iter().all(|it| it["in_force"] == true), "call {call}: {status:#}");
        bench.verify(&[(&good, lists.is_empty())]);
        if lists.is_empty() {
            not += 1;
            assert_eq!(apply(&agent, &flood).0, Some(0), "call {call}");
            bench.verify(&[(&good, false)]);
        } else {
            taken += 1;
        }
        agent.crash().unwrap();
        if code == Some(0) {
            break;
        }
    }
    println!("{not} deaths before it was taken, {taken} after");
    assert!(not > 3 && taken > 1, "{not} before, {taken} after");
}

#[test]
fn a_bundle_that_does_more_than_deny_is_no_emergency() {
    let Some(binary) = gabion_testing_netns::agent_binary() else { return };
    let people = People::new(&binary);
    let text = "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {name: c}\nspec:\n  \
                tier: {name: deny, order: 0}\n  subject: any\n  ingress: [{name: r, action: allow}]\n";
    std::fs::write(people.path("allow.yaml"), text).unwrap();
    let mut build = vec!["bundle", "build", "--emergency", "--name", "x", "--version", "1", "--policy", "allow.yaml"];
    build.extend(["--expires", "2099-01-01T00:00:00Z", "--out", "x.tar"]);
    let output = people.run(&build);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("GABION-P041") && said.contains("allow.yaml:7"), "{said}");
}
