//! The API over a real Unix socket (and loopback TCP), with a fake kernel behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use gabion_abi::event::Event as KernelEvent;
use gabion_abi::facts::{self, Address, Facts, protocol};
use gabion_abi::verdict::{self, Count, Verdict, reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::client::Client;
use super::routes::Shared;
use super::serve::{bind_tcp, bind_unix, serve};
use super::wire::{Interfaces, Line, Mode, Problem, Rules, Status, Totals};
use crate::life_tests::{Node, policy};
use crate::run::follow_policy;

/// An agent that answers.
struct Answering {
    node: Node,
    shared: Rc<Shared>,
    socket: PathBuf,
    client: Client,
    port: u16,
}

const BOUND: Duration = Duration::from_secs(10);

/// Runs a conversation with an agent, in bounded time.
fn talk<F: Future<Output = ()>>(conversation: impl FnOnce(Rc<Answering>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let node = Node::new(&policy(&["eth0"], &["poll"]));
        let socket = node.path().join("agent.sock");
        let unix = bind_unix(&socket).unwrap();
        let tcp = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let (apply, wishes) = mpsc::channel(4);
        let (stop, _stopping) = mpsc::channel(1);
        let shared = Rc::new(Shared { agent: RefCell::new(node.started()), apply, stop });
        let client = Client::new(&socket);
        let answering = Rc::new(Answering { node, shared: Rc::clone(&shared), socket, client, port });
        let conversation = tokio::time::timeout(BOUND, conversation(answering));
        tokio::select! {
            () = serve(Rc::clone(&shared), unix, Some(tcp)) => unreachable!("the server ended"),
            () = follow_policy(&shared, wishes) => unreachable!("the applier ended"),
            outcome = conversation => outcome.expect("the conversation hangs"),
        }
    });
}

impl Answering {
    /// The kernel reports a denial of this port.
    fn deny(&self, port: u16) {
        let facts = Facts {
            family: facts::FAMILY_V4,
            ethertype: facts::ETHERTYPE_IPV4,
            protocol: protocol::TCP,
            transport: facts::TRANSPORT_PORTS,
            source: Address::v4(0x0a00_0063),
            destination: Address::v4(0x0a00_0002),
            destination_port: port,
            ..Facts::UNKNOWN
        };
        let verdict = Verdict { action: verdict::DROP, direction: verdict::direction::INGRESS, ..Verdict::default() };
        let event = KernelEvent { facts, verdict, generation: 1, ifindex: 2, ..KernelEvent::default() };
        self.node.world.borrow_mut().events.push_back(Some(event));
        self.shared.agent.borrow_mut().take_events(1_000);
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        // A server that turns the request away early may close before all of it is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn raw_tcp(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn port_of(line: Option<Line>) -> Option<u16> {
    match line {
        Some(Line::Event(event)) => event.destination_port,
        _ => None,
    }
}

#[test]
fn questions_are_answered() {
    talk(|agent| async move {
        {
            let mut world = agent.node.world.borrow_mut();
            world.reasons[0][usize::from(reason::RULE)] = Count { packets: 7, bytes: 700 };
            world.reasons[1][usize::from(reason::RULE)] = Count { packets: 3, bytes: 180 };
            world.counts.get_mut(&1).unwrap()[0].packets = 7;
        }
        let status: Status = agent.client.get("/v1/status").await.unwrap();
        assert_eq!((status.state.as_str(), status.generation.number), ("enforcing", 1));
        let totals: Totals = agent.client.get("/v1/totals").await.unwrap();
        assert_eq!((totals.seen.packets, totals.passed.packets, totals.dropped.packets), (10, 7, 3));
        let rules: Rules = agent.client.get("/v1/rules").await.unwrap();
        assert_eq!(rules.rules.iter().map(|rule| rule.amount.packets).sum::<u64>(), 7);
        let interfaces: Interfaces = agent.client.get("/v1/interfaces").await.unwrap();
        assert_eq!(interfaces.interfaces[0].ingress, "xdp-native");
        let why: serde_json::Value =
            agent.client.get("/v1/explain?src=10.9.9.9&dst=10.0.0.2&proto=tcp&dport=23").await.unwrap();
        assert_eq!((why["verdict"].as_str(), why["rule"].as_str()), (Some("deny"), Some("plc/isolation")));
        let metrics = agent.raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(metrics.contains("gabion_packets_total{action=\"drop\",reason=\"rule\"} 3\n"), "{metrics}");
    });
}

#[test]
fn what_would_change_is_told_and_wrong_questions_are_refused() {
    talk(|agent| async move {
        agent.node.write(&policy(&["eth0"], &["poll", "write"]));
        let path = "/v1/generations/diff?files";
        let dry: serde_json::Value = agent.client.post(path, Vec::new()).await.unwrap();
        assert_eq!(dry["policy"][0]["name"], "plc/write", "{dry:#}");
        let status: Status = agent.client.get("/v1/status").await.unwrap();
        assert_eq!(status.generation.number, 1);
        for wrong in ["", "?both", "?bundle=relative.tar", "?bundle=/a.tar&files"] {
            let path = format!("/v1/generations/diff{wrong}");
            let problem = agent.client.post::<serde_json::Value>(&path, Vec::new()).await.unwrap_err();
            assert_eq!(problem.blame, "input", "{wrong}: {problem:?}");
        }
        agent.node.write("kind: Sight\n");
        let problem = agent.client.post::<serde_json::Value>(path, Vec::new()).await.unwrap_err();
        assert!(problem.message.contains("site.yaml:1:7"), "{problem:?}");
    });
}

#[test]
fn who_speaks_another_version_is_refused_by_either_side() {
    talk(|agent| async move {
        let request =
            |version: &str| format!("GET /v1/totals HTTP/1.1\r\nHost: localhost\r\ngabion-api: {version}\r\n\r\n");
        let refused = agent.raw(&request("2")).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
        assert!(refused.contains("speaks version 1 of the API, the client 2"), "{refused}");
        let answered = agent.raw(&request("1")).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.contains("gabion-api: 1\r\n"), "{answered}");
        // An agent of the time before there were versions, and one of the time after this.
        for (header, says) in [("", "none that it says"), ("gabion-api: 2\r\n", "version 2")] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("other.sock");
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            let other = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\n{header}content-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                // Until the client is gone.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
            let problem = Client::new(&socket).get::<Totals>("/v1/totals").await.unwrap_err();
            assert_eq!((problem.code.as_str(), problem.blame.as_str()), ("api-version", "input"));
            assert!(problem.message.contains(says) && problem.message.contains("this gabion 1"), "{}", problem.message);
            other.abort();
        }
    });
}

#[test]
fn an_agent_says_what_it_shares() {
    talk(|agent| async move {
        let contracts: crate::api::wire::Contracts = agent.client.get("/v1/contracts").await.unwrap();
        for (text, name) in [
            (&contracts.object, "object"),
            (&contracts.state, "state"),
            (&contracts.owners, "owners"),
            (&contracts.gatekeeper, "gatekeeper"),
        ] {
            assert_eq!(gabion_contracts::Contracts::parse(text.as_bytes()).unwrap().name, name);
        }
        let processes: crate::api::wire::Processes = agent.client.get("/v1/processes").await.unwrap();
        assert!(processes.processes.is_empty() && processes.problem.is_none());
    });
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    talk(|agent| async move {
        let mode = std::fs::metadata(&agent.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn an_apply_answers_with_the_outcome_good_or_bad() {
    talk(|agent| async move {
        agent.node.write(&policy(&["eth0"], &["poll", "write"]));
        let good = agent.client.apply().await.unwrap();
        assert_eq!((good.ok, good.generation), (true, 2));
        agent.node.write("kind: Nonsense\n");
        let bad = agent.client.apply().await.unwrap();
        assert_eq!((bad.ok, bad.generation), (false, 2));
        assert!(bad.error.unwrap().details.contains("Nonsense"));
    });
}

#[test]
fn the_mode_is_switched_and_nonsense_is_refused() {
    talk(|agent| async move {
        let mode: Mode = agent.client.post("/v1/mode", br#"{"mode":"audit"}"#.to_vec()).await.unwrap();
        assert_eq!(mode.current, "audit");
        assert_eq!(agent.node.world.borrow().settings.audit_mode, 1);
        for wrong in [r#"{"mode":"open"}"#, r#"{"mode":"audit","more":1}"#, "", "[]"] {
            let refused: Result<Mode, Problem> = agent.client.post("/v1/mode", wrong.into()).await;
            assert_eq!(refused.unwrap_err().blame, "input");
        }
        let large: Result<Mode, Problem> = agent.client.post("/v1/mode", vec![b' '; 1 << 20]).await;
        assert!(large.is_err());
        assert_eq!(agent.node.world.borrow().settings.audit_mode, 1);
    });
}

#[test]
fn events_are_followed_and_filtered() {
    talk(|agent| async move {
        agent.deny(1);
        let mut everything = agent.client.lines("/v1/events?follow=1&denied=1").await.unwrap();
        let mut nothing = agent.client.lines("/v1/events?follow=1&rule=no-such-rule&recent=9").await.unwrap();
        let mut recent = agent.client.lines("/v1/events?follow=1&recent=9").await.unwrap();
        agent.deny(2);
        assert_eq!(port_of(everything.next().await.unwrap()), Some(2), "only what comes");
        assert_eq!(port_of(recent.next().await.unwrap()), Some(1));
        assert_eq!(port_of(recent.next().await.unwrap()), Some(2));
        assert!(tokio::time::timeout(Duration::from_millis(50), nothing.next()).await.is_err());
        let mut past = agent.client.lines("/v1/events?recent=1").await.unwrap();
        assert_eq!(port_of(past.next().await.unwrap()), Some(2));
        assert!(past.next().await.unwrap().is_none(), "without follow it ends");
    });
}

#[test]
fn a_follower_that_does_not_read_loses_events_and_is_told() {
    talk(|agent| async move {
        let mut slow = agent.client.lines("/v1/events?follow=1").await.unwrap();
        let mut quick = agent.client.lines("/v1/events?follow=1").await.unwrap();
        // Far more than all buffers on the way hold together.
        for port in 0..20_000 {
            agent.deny(port);
            if port % 100 == 0 {
                assert!(port_of(quick.next().await.unwrap()).is_some(), "others are not held up");
            }
        }
        let lost = loop {
            match slow.next().await.unwrap() {
                Some(Line::Lost { count }) => break count,
                Some(Line::Event(_) | Line::Journal(_)) => {}
                None => panic!("the stream ended"),
            }
        };
        assert!(lost > 0);
        let status: Status = agent.client.get("/v1/status").await.unwrap();
        assert!(status.events.lost_to_followers >= lost);
    });
}

#[test]
fn followers_are_limited_and_leave_their_place() {
    talk(|agent| async move {
        let mut followers = Vec::new();
        for _ in 0..16 {
            followers.push(agent.client.lines("/v1/events?follow=1").await.unwrap());
        }
        assert_eq!(agent.client.lines("/v1/events?follow=1").await.unwrap_err().code, "followers");
        followers.clear();
        while agent.client.lines("/v1/events?follow=1").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn tcp_only_reads_and_only_for_this_machine() {
    talk(|agent| async move {
        let ask = |method: &str, path: &str, host: &str| {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
            let agent = Rc::clone(&agent);
            async move { agent.raw_tcp(&request).await }
        };
        assert!(ask("GET", "/v1/status", "localhost").await.starts_with("HTTP/1.1 200"));
        for path in ["/v1/apply", "/v1/mode", "/v1/detach"] {
            assert!(ask("POST", path, "localhost").await.starts_with("HTTP/1.1 403"), "{path}");
        }
        assert!(ask("GET", "/v1/status", "evil.example").await.starts_with("HTTP/1.1 403"));
        assert_eq!(agent.shared.agent.borrow().number(), 1);
        assert!(bind_tcp("0.0.0.0:0".parse().unwrap()).await.unwrap_err().message.contains("loopback"));
        assert!(bind_tcp("[::]:0".parse().unwrap()).await.is_err());
    });
}

#[test]
fn odd_requests_get_an_answer_or_the_door() {
    talk(|agent| async move {
        let status_of = |request: String| {
            let agent = Rc::clone(&agent);
            async move { agent.raw(&request).await.lines().next().unwrap_or("").to_owned() }
        };
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(status_of(get("/nothing")).await.contains(" 404 "));
        assert!(status_of(get("/v1/apply")).await.contains(" 405 "));
        assert!(status_of(get(&format!("/v1/events?rule={}", "x".repeat(5_000)))).await.contains(" 414 "));
        assert!(status_of(get("/v1/events?recent=-1")).await.contains(" 400 "));
        assert!(status_of(get("/v1/explain?src=%ff%00&dst=..")).await.contains(" 400 "));
        let many: String = (0..200).map(|index| format!("X-{index}: 1\r\n")).collect();
        assert!(status_of(format!("GET /v1/status HTTP/1.1\r\n{many}\r\n")).await.contains(" 431 "));
        let long = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
        assert!(status_of(long).await.contains(" 431 "));
        assert!(status_of("\u{0}\u{1}\r\n\r\n".into()).await.contains(" 400 "));
        let after: Status = agent.client.get("/v1/status").await.unwrap();
        assert_eq!(after.generation.number, 1);
    });
}

#[test]
fn a_crowd_is_turned_away_and_counted_and_the_rest_served() {
    talk(|agent| async move {
        let mut crowd = Vec::new();
        for _ in 0..70 {
            crowd.push(UnixStream::connect(&agent.socket).await.unwrap());
            tokio::task::yield_now().await;
        }
        while agent.shared.agent.borrow().connections_refused == 0 {
            tokio::task::yield_now().await;
        }
        drop(crowd);
        while agent.client.get::<Status>("/v1/status").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_crowd_on_tcp_takes_nothing_from_the_owner() {
    talk(|agent| async move {
        let mut crowd = Vec::new();
        for index in 0..100 {
            let mut stream = TcpStream::connect(("127.0.0.1", agent.port)).await.unwrap();
            // Half of them follow, the others say nothing. One that is turned away may be closed already.
            if index % 2 == 0 {
                let _ = stream.write_all(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            }
            crowd.push(stream);
        }
        while agent.shared.agent.borrow().connections_refused == 0 {
            tokio::task::yield_now().await;
        }
        agent.client.get::<Status>("/v1/status").await.unwrap();
        let followers = agent.shared.agent.borrow().hub.followers();
        assert!(followers <= 8, "{followers} came in over TCP");
        agent.client.lines("/v1/events?follow=1").await.unwrap();
    });
}

#[test]
fn a_socket_in_use_or_something_else_is_not_replaced() {
    talk(|agent| async move {
        assert!(bind_unix(&agent.socket).unwrap_err().message.contains("another agent"));
        let file = agent.node.path().join("notes");
        std::fs::write(&file, "mine").unwrap();
        assert!(bind_unix(&file).unwrap_err().message.contains("no socket"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    });
}
