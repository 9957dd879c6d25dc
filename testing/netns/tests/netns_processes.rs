//! Whose packets are: events name the process of this node that sent one, or would have got it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

/// Says this test that it is to be such a program, and what it does.
const PROGRAM: &str = "GABION_PROGRAM";

impl Program {
    /// This test, as another process of the node.
    fn start(bench: &Bench, does: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_program_of_the_node", "--nocapture"]).env(PROGRAM, does);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = bench.host(Node).start(command).unwrap();
        // It says when it is ready.
        let said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.lines().map_while(Result::ok).any(|line| line.ends_with(READY)), "{does}: it never was ready");
        Self(child)
    }

    /// Waits for a connection at a port, for ever.
    fn listening(bench: &Bench, port: u16) -> Self {
        Self::start(bench, &format!("listen 0.0.0.0:{port}"))
    }

    fn is_named_by(&self, event: &Value) -> bool {
        let process = &event["process"];
        let started = process["started"].as_str().is_some_and(|it| it.starts_with("20") && it.ends_with('Z'));
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.0.id())).unwrap();
        process["pid"] == self.0.id() && process["name"] == name.trim_end() && started && process["cgroup"].is_u64()
    }
}

const READY: &str = "ready";

/// Does nothing but as such a program, which ends with its input.
#[test]
fn a_program_of_the_node() {
    let Ok(does) = std::env::var(PROGRAM) else { return };
    let (does, address) = does.split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let listener = (does == "listen").then(|| TcpListener::bind(address).unwrap());
    println!("{READY}");
    if listener.is_none() {
        std::thread::spawn(move || {
            loop {
                // Each by a socket of its own; that it is denied shows as an error, mostly.
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                let _ = socket.send_to(b"x", address);
                drop(socket);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
    }
    let _ = std::io::read_to_string(std::io::stdin());
    std::process::exit(0);
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
    let sender = Program::start(&bench, &format!("send {server}:{SENDS}"));
    assert!(named(&events, &sender, SENDS, "tc", || {}), "each packet by a socket of its own");
    // What is nobody's here names nobody.
    let _ = bench.send(&Probe::tcp(Client, Server, false, 40_000, LISTENS, SYN));
    let others = |event: &Value| event["destination"] == server.to_string() && event["hook"] == "xdp";
    assert!(events.wait(ARRIVAL, others), "no event about what is forwarded");
    let said = events.so_far();
    let forwarded = said.iter().find(|event| others(event)).unwrap();
    assert!(forwarded.get("process").is_none(), "{forwarded}");
}
