//! Whose packets are: events name the process of this node that sent one, or would have got it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use gabion_testing_netns::End::{Client, Node, Server};
use gabion_testing_netns::{ARRIVAL, Bench, Probe, addresses, rules};
use gabion_testing_site::agent::Events;
use gabion_testing_site::frame::tcp_flag::SYN;
use serde_json::Value;

const LISTENS: u16 = 6_000;
const LATER: u16 = 6_001;
const SENDS: u16 = 7_000;

/// A program of the node that ends with its input.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(bench: &Bench, code: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = bench.host(Node).start(command).unwrap();
        // It says when it is ready.
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        Self(child)
    }

    /// Waits for a connection at a port, for ever.
    fn listening(bench: &Bench, port: u16) -> Self {
        let code = format!(
            "import socket, sys\ns = socket.socket()\ns.bind(('', {port}))\ns.listen()\nprint(1, flush=True)\nsys.stdin.read()"
        );
        Self::start(bench, &code)
    }

    fn is_named_by(&self, event: &Value) -> bool {
        let process = &event["process"];
        let started = process["started"].as_str().is_some_and(|it| it.starts_with("20") && it.ends_with('Z'));
        process["pid"] == self.0.id() && process["name"] == "python3" && started && process["cgroup"].is_u64()
    }
}

/// Sends packets until an event names the program.
fn named(events: &Events, program: &Program, port: u16, hook: &str, send: impl Fn()) -> bool {
    (0..50).any(|_| {
        send();
        events.wait(ARRIVAL / 50, |event| {
            event["destination_port"] == port && event["hook"] == hook && program.is_named_by(event)
        })
    })
}

#[test]
fn events_name_who_listens_and_who_sends() {
    let Some(bench) = Bench::new() else { return };
    let before = Program::listening(&bench, LISTENS);
    let deny = |name: &str, protocol: &str, port: u16| {
        format!("{{name: {name}, action: deny, services: [{{protocol: {protocol}, ports: {port}}}]}}")
    };
    let ingress = [deny("a", "tcp", LISTENS), deny("b", "tcp", LATER)];
    let policy = rules(&ingress.each_ref().map(String::as_str), &[&deny("c", "udp", SENDS)]);
    let Some(agent) = bench.guard(&policy) else { return };
    let events = agent.events(&[]).unwrap();
    // Whether it arrives is not the question here.
    let call = |port| {
        let _ = bench.send(&Probe::tcp(Client, Node, false, 40_000, port, SYN));
    };
    assert!(named(&events, &before, LISTENS, "xdp", || call(LISTENS)), "it listened before the agent came");
    let later = Program::listening(&bench, LATER);
    assert!(named(&events, &later, LATER, "xdp", || call(LATER)), "it listens since");
    let [_, _, _, server] = addresses(false);
    let code = format!(
        "import socket, sys, threading\nprint(1, flush=True)\ndef send():\n  import time\n  while True:\n    \
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n    try: s.sendto(b'x', ('{server}', {SENDS}))\n    \
         except OSError: pass\n    s.close()\n    time.sleep(0.05)\n\
         threading.Thread(target=send, daemon=True).start()\n\
         sys.stdin.read()"
    );
    let sender = Program::start(&bench, &code);
    assert!(named(&events, &sender, SENDS, "tc", || {}), "each packet by a socket of its own");
    // What is nobody's here names nobody.
    let _ = bench.send(&Probe::tcp(Client, Server, false, 40_000, LISTENS, SYN));
    let others = |event: &Value| event["destination"] == server.to_string() && event["hook"] == "xdp";
    assert!(events.wait(ARRIVAL, others), "no event about what is forwarded");
    let said = events.so_far();
    let forwarded = said.iter().find(|event| others(event)).unwrap();
    assert!(forwarded.get("process").is_none(), "{forwarded}");
}
