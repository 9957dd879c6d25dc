//! Connections with real sockets: answers pass, what only looks like an answer does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use gabion_testing_netns::End::{Client, Node, Server};
use gabion_testing_netns::{ALLOWED, Bench, Probe, Site, addresses, agent_binary, rules, under_traffic, way};
use gabion_testing_site::agent::Agent;
use gabion_testing_site::frame::tcp_flag::{ACK, PSH, RST, SYN};

/// How long a call may wait for what must not come: only reached by tests that fail, or prove a refusal
/// that has a fence behind it.
const PATIENCE: Duration = Duration::from_secs(5);

fn server_address(six: bool, port: u16) -> SocketAddr {
    SocketAddr::new(addresses(six)[3], port)
}

/// One TCP exchange in both directions, the connection kept.
fn talk(bench: &Bench, six: bool, port: u16) -> (TcpStream, TcpStream) {
    let listener = bench.server.run(|| TcpListener::bind(server_address(six, port))).unwrap();
    let client = bench.client.run(|| TcpStream::connect_timeout(&server_address(six, port), PATIENCE)).unwrap();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    say(&client, &server, b"request");
    say(&server, &client, b"response");
    (client, server)
}

fn say(mut from: &TcpStream, mut to: &TcpStream, words: &[u8]) {
    from.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

fn udp(bench: &Bench, at: gabion_testing_netns::End, address: IpAddr, port: u16) -> UdpSocket {
    let socket = bench.host(at).run(|| UdpSocket::bind((address, port))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn answers_pass_on_tcp_and_nothing_that_resembles_them() {
    let Some(bench) = Bench::new() else { return };
    let strangers: Vec<Probe> = [false, true]
        .into_iter()
        .flat_map(|six| {
            [
                Probe::tcp(Server, Client, six, 502, 33_000, SYN),
                Probe::tcp(Server, Client, six, 502, 33_001, SYN | ACK),
                Probe::tcp(Server, Client, six, 502, 33_002, PSH | ACK),
                Probe::tcp(Server, Client, six, 502, 33_003, RST),
                Probe::tcp(Client, Server, six, 33_004, 503, SYN),
            ]
        })
        .collect();
    bench.baseline(&strangers.iter().collect::<Vec<_>>());
    let policy = rules(&["{name: modbus, action: allow, services: [{protocol: tcp, ports: 502}]}"], &[]);
    let Some(_agent) = bench.guard(&policy) else { return };
    for six in [false, true] {
        let (client, server) = talk(&bench, six, 502);
        // The server may speak first on a connection that stands, and at length.
        say(&server, &client, &[7; 100_000]);
        say(&client, &server, &[8; 100_000]);
    }
    bench.verify(&strangers.iter().map(|probe| (probe, false)).collect::<Vec<_>>());
}

#[test]
fn answers_pass_on_udp_from_the_port_that_was_asked() {
    let Some(bench) = Bench::new() else { return };
    let unasked: Vec<Probe> = [false, true].map(|six| Probe::udp(Server, Client, six, 53, 5_301)).into();
    let other_port: Vec<Probe> = [false, true].map(|six| Probe::udp(Server, Client, six, 54, 5_300)).into();
    let strangers: Vec<&Probe> = unasked.iter().chain(&other_port).collect();
    bench.baseline(&strangers);
    let policy = rules(&["{name: dns, action: allow, services: [{protocol: udp, ports: 53}]}"], &[]);
    let Some(_agent) = bench.guard(&policy) else { return };
    for six in [false, true] {
        let [mine, .., theirs] = addresses(six);
        let (client, server) = (udp(&bench, Client, mine, 5_300), udp(&bench, Server, theirs, 53));
        client.send_to(b"question", (theirs, 53)).unwrap();
        let mut words = [0; 32];
        let (length, from) = server.recv_from(&mut words).unwrap();
        server.send_to(&words[..length], from).unwrap();
        assert_eq!(client.recv_from(&mut words).unwrap(), (8, (theirs, 53).into()));
    }
    bench.verify(&strangers.iter().map(|probe| (*probe, false)).collect::<Vec<_>>());
}

#[test]
fn echo_replies_belong_to_a_request() {
    let Some(bench) = Bench::new() else { return };
    let reply = |six: bool, id: u8| {
        Probe::one("echo reply", Server, Client, six, move |way, mark| {
            way.icmp(if six { 129 } else { 0 }, 0, [0, id, 0, 1], mark)
        })
    };
    let strangers = [reply(false, 99), reply(true, 99)];
    bench.baseline(&strangers.each_ref());
    let policy = rules(&["{name: ping, action: allow, services: [{icmp: echo-request}]}"], &[]);
    let Some(_agent) = bench.guard(&policy) else { return };
    for six in [false, true] {
        let mark = bench.mark();
        let request = way(Client, Server, six).echo(42, &mark);
        let heard = bench.reaching(Client, &mark, 1, || bench.transmitter(Client, Server).send(&request).unwrap());
        assert_eq!(heard, 1, "the server's echo reply");
    }
    bench.verify(&strangers.each_ref().map(|probe| (probe, false)));
}

#[test]
fn a_stateless_rule_admits_no_answer() {
    let Some(bench) = Bench::new() else { return };
    let answers = [false, true].map(|six| Probe::udp(Server, Client, six, 53, 5_300));
    bench.baseline(&answers.each_ref());
    let rule = |stateless: bool| {
        rules(
            &[&format!(
                "{{name: dns, action: allow, stateless: {stateless}, services: [{{protocol: udp, ports: 53}}]}}"
            )],
            &[],
        )
    };
    let Some(agent) = bench.guard(&rule(true)) else { return };
    let questions = [false, true].map(|six| Probe::udp(Client, Server, six, 5_300, 53));
    bench.verify(&questions.each_ref().map(|probe| (probe, true)));
    bench.verify(&answers.each_ref().map(|probe| (probe, false)));
    bench.apply(&agent, &rule(false));
    bench.verify(&questions.each_ref().map(|probe| (probe, true)));
    bench.verify(&answers.each_ref().map(|probe| (probe, true)));
    // A connection lives only as long as a rule allows its first direction.
    bench.apply(&agent, &rules(&["{name: other, action: allow, services: [{protocol: udp, ports: 54}]}"], &[]));
    bench.verify(&answers.each_ref().map(|probe| (probe, false)));
}

#[test]
fn errors_about_a_known_connection_pass_and_others_do_not() {
    let Some(bench) = Bench::new() else { return };
    bench.narrow();
    // The server complains about a packet that nobody sent; ICMP 3/3 and ICMPv6 1/4, with the packet quoted.
    let invented = [false, true].map(|six| {
        Probe::one("error about nothing", Server, Client, six, move |back, mark| {
            let quoted = &back.back().udp(6_000, 5_353, mark)[14..];
            back.icmp(if six { 1 } else { 3 }, if six { 4 } else { 3 }, [0; 4], quoted)
        })
    });
    bench.baseline(&invented.each_ref());
    let errors = |bench: &Bench| {
        for six in [false, true] {
            let way = way(Client, Server, six);
            let provoke = |what: &str, make: &dyn Fn(&[u8]) -> Vec<u8>| {
                let mark = bench.mark();
                let frame = make(&mark);
                let heard =
                    bench.reaching(Client, &mark, 1, || bench.transmitter(Client, Server).send(&frame).unwrap());
                assert_eq!(heard, 1, "{what}, IPv6 {six}\n{}", bench.place.log());
            };
            provoke("port unreachable from the server", &|mark| way.udp(6_001, 5_353, mark));
            provoke("time exceeded from the node", &|mark| {
                let mut frame = way.udp(6_002, 5_353, mark);
                if six {
                    frame[14 + 7] = 1;
                } else {
                    frame[14 + 8] = 1;
                    // The header's checksum follows: 63 less in the high octet of the word that TTL is in.
                    let sum = u32::from(u16::from_be_bytes([frame[24], frame[25]])) + (63 << 8);
                    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
                    frame[24..26].copy_from_slice(&sum.to_be_bytes());
                }
                frame
            });
            provoke("packet too big from the node", &|mark| {
                let mut frame = way.udp(6_003, 5_353, &[mark, &[0; 1_420]].concat());
                if !six {
                    // Don't fragment.
                    frame[20] = 0x40;
                    let sum = u16::from_be_bytes([frame[24], frame[25]]);
                    let (less, borrow) = sum.overflowing_sub(0x4000);
                    frame[24..26].copy_from_slice(&less.wrapping_sub(u16::from(borrow)).to_be_bytes());
                }
                frame
            });
        }
    };
    errors(&bench);
    let site = Site { egress: "deny", ..Site::default() };
    let rule = "{name: mdns, action: allow, services: [{protocol: udp, ports: 5353}]}";
    let Some(_agent) = bench.guard_with(&site, &rules(&[rule], &[rule])) else { return };
    errors(&bench);
    bench.verify(&invented.each_ref().map(|probe| (probe, false)));
}

#[test]
fn a_full_table_cuts_nothing_that_works_and_opens_nothing() {
    const FLOOD: u16 = 5_000;
    let Some(bench) = Bench::new() else { return };
    let forbidden = [
        Probe::udp(Client, Server, false, 100, 6_999),
        Probe::tcp(Server, Client, false, 502, 34_000, SYN | ACK),
        Probe::udp(Server, Client, false, 7_000, 34_001),
    ];
    bench.baseline(&forbidden.each_ref());
    let site = Site { more: "  connections: {established: 64, opening: 64, fragments: 16}\n", ..Site::default() };
    let policy = rules(
        &["{name: modbus, action: allow, services: [{protocol: tcp, ports: 502}, {protocol: udp, ports: 7000}]}"],
        &[],
    );
    let Some(_agent) = bench.guard_with(&site, &policy) else { return };
    let (client, server) = talk(&bench, false, 502);
    // Nobody answers on UDP 7000, so each of these is an opening that stays one.
    let _deaf = udp(&bench, Server, addresses(false)[3], 7_000);
    let transmitter = bench.transmitter(Client, Server);
    for source in 0..FLOOD {
        transmitter.send(&way(Client, Server, false).udp(10_000 + source, 7_000, b"flood")).unwrap();
    }
    bench.fence(Client, Server);
    // The server speaks first: only the table lets it.
    say(&server, &client, b"still here");
    say(&client, &server, b"so am I");
    bench.verify(&forbidden.each_ref().map(|probe| (probe, false)));
    // New connections are still made, and answered.
    let _ = talk(&bench, false, 502);
}

/// Who may ask a service that answers could else fill the table that holds everybody's connections.
#[test]
fn questions_that_are_answered_cut_no_connection() {
    const FLOOD: u16 = 5_000;
    const FIRST: u16 = 10_000;
    let Some(bench) = Bench::new() else { return };
    let question = Probe::udp(Client, Server, false, FIRST, 7_000);
    let answer = Probe::udp(Server, Client, false, 7_000, FIRST);
    bench.baseline(&[&question, &answer]);
    let site = Site {
        more: "  connections: {established: 64, datagrams: 64, opening: 64, fragments: 16}\n",
        ..Site::default()
    };
    let policy = rules(
        &["{name: modbus, action: allow, services: [{protocol: tcp, ports: 502}, {protocol: udp, ports: 7000}]}"],
        &[],
    );
    let Some(_agent) = bench.guard_with(&site, &policy) else { return };
    let (client, server) = talk(&bench, false, 502);
    bench.verify(&[(&question, true), (&answer, true)]);
    // Nobody listens, so that only the frames below are answers. Both sides speak in one thread on one CPU: each answer
    // is judged behind its question.
    let _deaf = udp(&bench, Server, addresses(false)[3], 7_000);
    let (asks, answers) = (bench.transmitter(Client, Server), bench.transmitter(Server, Client));
    for port in FIRST + 1..FIRST + FLOOD {
        asks.send(&way(Client, Server, false).udp(port, 7_000, b"question")).unwrap();
        answers.send(&way(Server, Client, false).udp(7_000, port, b"answer")).unwrap();
    }
    bench.fence(Client, Server);
    bench.fence(Server, Client);
    // What was let through is noted for a second besides: after that only the tables count.
    std::thread::sleep(Duration::from_millis(1_200));
    // The server speaks first: only the table lets it.
    say(&server, &client, b"still here");
    say(&client, &server, b"so am I");
    // The flood was larger than the table that it filled: connections from its middle are gone.
    bench.verify(&[(&Probe::udp(Server, Client, false, 7_000, FIRST + FLOOD / 2), false)]);
}

#[test]
fn a_refused_connection_is_never_made() {
    let Some(bench) = Bench::new() else { return };
    let _ = talk(&bench, false, 502);
    let Some(_agent) = bench.guard("") else { return };
    let listener = bench.server.run(|| TcpListener::bind(server_address(false, 502))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let patience = Duration::from_millis(300);
    let attempt = bench.client.run(|| TcpStream::connect_timeout(&server_address(false, 502), patience));
    assert_eq!(attempt.unwrap_err().kind(), ErrorKind::TimedOut);
    bench.fence(Client, Server);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // The node's own table has no trace of it either: an answer out of nowhere is refused.
    bench.verify(&[(&Probe::tcp(Server, Node, false, 502, 40_000, SYN | ACK), false)]);
}

/// The agent's binary with other kernel programs: the same ones under another of the licences that the kernel takes.
fn upgraded(binary: &Path, to: &Path) {
    let (license, other) = (b"Dual MIT/GPL\0", b"Dual BSD/GPL\0");
    let mut bytes = std::fs::read(binary).unwrap();
    let places: Vec<usize> =
        bytes.windows(license.len()).enumerate().filter(|(_, it)| it == license).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "no kernel programs in {}", binary.display());
    for place in places {
        bytes[place..place + other.len()].copy_from_slice(other);
    }
    std::fs::write(to, bytes).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_upgrade_of_the_agent_leaves_no_packet_unjudged_and_cuts_no_connection() {
    const UPGRADES: usize = 20;
    let Some(bench) = Bench::new() else { return };
    let open = |port: u16, protocol: &str| {
        format!("{{name: {protocol}, action: allow, services: [{{protocol: {protocol}, ports: {port}}}]}}")
    };
    // No rule lets answers back.
    let site = Site { more: "  health: {windowSeconds: 0}\n", ..Site::default() };
    bench.write(&site, &rules(&[&open(ALLOWED, "udp"), &open(502, "tcp")], &[]));
    let Some(agent) = bench.start(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let before = agent_binary().unwrap();
    let after = folder.path().join("gabion");
    upgraded(&before, &after);
    let talks = [false, true].map(|six| talk(&bench, six, 502));
    let first = agent.status().unwrap()["generation"].clone();

    let (mut agent, mut programs) = (Some(agent), vec![first]);
    let (sent, allowed, forbidden) = under_traffic(&bench, || {
        for upgrade in 0..UPGRADES {
            let agent_before = agent.take().unwrap();
            // Every other time without being asked.
            if upgrade % 2 == 0 {
                assert!(agent_before.stop().unwrap().success())
            } else {
                agent_before.crash().unwrap()
            }
            for (client, server) in &talks {
                // The server first: nothing but the connection lets it.
                say(server, client, b"while no agent runs");
                say(client, server, b"as ever");
            }
            let binary = if upgrade % 2 == 0 { &after } else { &before };
            let mut next = Agent::start(&bench.node, &bench.place, binary).unwrap();
            programs.push(next.enforcing(2).unwrap()["generation"].clone());
            for (client, server) in &talks {
                say(server, client, b"under the next one");
                say(client, server, b"as ever");
            }
            agent = Some(next);
        }
    });
    assert_eq!(forbidden, 0, "of {sent} forbidden packets some passed");
    assert_eq!(allowed, sent, "allowed packets were lost");
    println!("{sent} packets of each kind during {UPGRADES} upgrades");
    for pair in programs.windows(2) {
        assert!(pair[0]["number"].as_u64() < pair[1]["number"].as_u64(), "each brings its own programs: {pair:#?}");
    }
}
