//! Links that are not a plain cable: VLAN, QinQ, tun, bridge, and cables that come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use gabion_testing_netns::End::{Client, Node, Server};
use gabion_testing_netns::{ARRIVAL, Bench, PORT, Probe, Site, addresses, rules};
use gabion_testing_site::error::SiteError;
use gabion_testing_site::frame::{Station, Way, holds};
use gabion_testing_site::link::{Plug, Prefix, Tag, cable};
use gabion_testing_site::wire::{Tap, Transmitter};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether the kernel has VLAN devices; prints why the test is skipped when not.
fn has_vlan_devices(bench: &Bench) -> bool {
    match bench.client.vlan(PORT, "v4000", Tag::Customer(4000)) {
        Ok(()) => {
            bench.client.unplug("v4000").unwrap();
            true
        }
        Err(SiteError::Link { source, .. }) if source.raw_os_error() == Some(EOPNOTSUPP) => {
            println!(
                "skipped: this kernel has no VLAN devices (CONFIG_VLAN_8021Q); tags in raw frames are tested in \
                 netns_rules"
            );
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// errno(3), operation not supported.
const EOPNOTSUPP: i32 = 95;

/// VLAN devices on both ends of the client's cable, with addresses of both families.
fn tagged_network(bench: &Bench, inside: bool, stack: &[(&str, Tag)], number: u8) -> [IpAddr; 2] {
    for (host, below, last) in [(&bench.client, PORT, 2), (&bench.node, "c0", 1)] {
        if inside {
            host.tags_inside(below).unwrap();
        }
        let mut below = below.to_owned();
        for (name, tag) in stack {
            host.vlan(&below, name, *tag).unwrap();
            if inside {
                host.tags_inside(name).unwrap();
            }
            below = (*name).to_owned();
        }
        let v4 = address(&format!("10.{number}.0.{last}"));
        let v6 = address(&format!("fd{number}::{last}"));
        host.address(&below, Prefix { address: v4, length: 24 }).unwrap();
        host.address(&below, Prefix { address: v6, length: 64 }).unwrap();
    }
    [address(&format!("10.{number}.0.1")), address(&format!("fd{number}::1"))]
}

/// Datagrams from the client to the node by kernel sockets: whether they arrive.
fn arrives(bench: &Bench, to: IpAddr, port: u16) -> bool {
    let mark = bench.mark();
    let socket = bench
        .client
        .run(|| UdpSocket::bind(SocketAddr::new(if to.is_ipv4() { address("0.0.0.0") } else { address("::") }, 0)))
        .unwrap();
    let awaited = bench.tap(Node).watch({
        let mark = mark.clone();
        move |frame| holds(frame, &mark)
    });
    socket.send_to(&mark, (to, port)).unwrap();
    // The fence goes untagged along the same cable.
    bench.fence(Client, Node);
    let arrived = awaited.seen() > 0;
    bench.tap(Node).clear();
    arrived
}

/// Datagrams from the client to a socket of the node: whether it hears them. A tap sees what comes in before
/// the ingress of tc has refused it.
fn is_heard(bench: &Bench, to: IpAddr, port: u16) -> bool {
    let mark = bench.mark();
    let any = if to.is_ipv4() { address("0.0.0.0") } else { address("::") };
    let receiver = bench.node.run(|| UdpSocket::bind((any, port))).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let sender = bench.client.run(|| UdpSocket::bind((any, 0))).unwrap();
    sender.send_to(&mark, (to, port)).unwrap();
    // Behind it on the same cable: when the fence is there, the datagram is, or will never be.
    bench.fence(Client, Node);
    let mut heard = [0; 64];
    match receiver.recv(&mut heard) {
        Ok(length) => heard[..length] == *mark,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

/// Resolves the neighbour, so that the next packet is not held back behind it.
fn acquaint(bench: &Bench, to: IpAddr) {
    let mark = bench.mark();
    let watch = bench.tap(Node).watch({
        let mark = mark.clone();
        move |frame| holds(frame, &mark)
    });
    let any = if to.is_ipv4() { address("0.0.0.0") } else { address("::") };
    let socket = bench.client.run(|| UdpSocket::bind((any, 0))).unwrap();
    socket.send_to(&mark, (to, 1)).unwrap();
    assert!(watch.reaches(1, ARRIVAL), "no way to {to} without an agent");
    bench.tap(Node).clear();
}

fn vlan_rule(match_: &str) -> String {
    rules(&[&format!("{{name: r, action: allow, services: [{{{match_}}}]}}")], &[])
}

#[test]
fn vlan_devices_are_judged_by_their_tag() {
    let Some(bench) = Bench::new() else { return };
    if !has_vlan_devices(&bench) {
        return;
    }
    let ten = tagged_network(&bench, true, &[("v10", Tag::Customer(10))], 10);
    let twenty = tagged_network(&bench, true, &[("v20", Tag::Customer(20))], 20);
    let stacked = tagged_network(&bench, true, &[("q200", Tag::Service(200)), ("q200.30", Tag::Customer(30))], 30);
    let plain = [addresses(false)[1], addresses(true)[1]];
    for to in [ten, twenty, stacked, plain].concat() {
        acquaint(&bench, to);
        assert!(arrives(&bench, to, 700), "without an agent, nothing arrives at {to}");
    }
    let Some(agent) = bench.guard(&vlan_rule("protocol: udp, vlan: 10")) else { return };
    let compare = |passing: [IpAddr; 2]| {
        for to in [ten, twenty, stacked, plain].concat() {
            assert_eq!(arrives(&bench, to, 700), passing.contains(&to), "{to}");
        }
    };
    compare(ten);
    bench.apply(&agent, &vlan_rule("protocol: udp, vlan: 200, innerVlan: 30"));
    compare(stacked);
    bench.apply(&agent, &vlan_rule("protocol: udp, vlan: untagged"));
    compare(plain);
}

/// A driver may keep the tag beside the frame. A policy for untagged frames must not take such one for its own; one for
/// its tag cannot know it before XDP has judged, so that the frame has to be allowed without as well.
#[test]
fn a_tag_beside_the_frame_is_not_a_way_round() {
    let Some(bench) = Bench::new() else { return };
    if !has_vlan_devices(&bench) {
        return;
    }
    let ten = tagged_network(&bench, false, &[("v10", Tag::Customer(10))], 10);
    for to in ten {
        acquaint(&bench, to);
        assert!(is_heard(&bench, to, 700), "without an agent, nothing arrives at {to}");
    }
    let Some(agent) = bench.guard(&vlan_rule("protocol: udp, vlan: untagged")) else { return };
    for to in ten {
        assert!(!is_heard(&bench, to, 700), "{to} was reached with a tag that was not seen");
    }
    bench.apply(&agent, &vlan_rule("protocol: udp, vlan: untagged}, {protocol: udp, vlan: 10"));
    for to in ten {
        assert!(is_heard(&bench, to, 700), "{to} was not reached with its own tag");
    }
    bench.apply(&agent, &vlan_rule("protocol: udp, vlan: untagged}, {protocol: udp, vlan: 11"));
    for to in ten {
        assert!(!is_heard(&bench, to, 700), "{to} was reached with the tag of others");
    }
    // A policy without VLANs needs no second look, and none is left behind.
    bench.apply(&agent, &vlan_rule("protocol: udp"));
    for to in ten {
        assert!(is_heard(&bench, to, 700), "{to} was not reached where tags do not matter");
    }
}

#[test]
fn a_connection_through_a_vlan_is_judged_once() {
    let Some(bench) = Bench::new() else { return };
    if !has_vlan_devices(&bench) {
        return;
    }
    let [gateway, _] = tagged_network(&bench, true, &[("v10", Tag::Customer(10))], 10);
    let server = addresses(false)[3];
    bench.client.route(Prefix { address: server, length: 32 }, gateway).unwrap();
    let talk = || {
        let listener = bench.server.run(|| TcpListener::bind((server, 502))).unwrap();
        let mut client = bench.client.run(|| TcpStream::connect_timeout(&(server, 502).into(), ARRIVAL)).unwrap();
        let mut peer = listener.accept().unwrap().0;
        client.write_all(&[1; 50_000]).unwrap();
        let mut heard = vec![0; 50_000];
        peer.read_exact(&mut heard).unwrap();
        peer.write_all(&heard).unwrap();
        client.read_exact(&mut heard).unwrap();
    };
    talk();
    let rule = "{name: r, action: allow, services: [{protocol: tcp, ports: 502, vlan: 10}]}";
    let site = Site { egress: "deny", ..Site::default() };
    let Some(_agent) = bench.guard_with(&site, &rules(&[rule], &[rule])) else { return };
    // On departure the packet has another tag, or none: it is not asked again.
    talk();
    bench.verify(&[(&Probe::tcp(Client, Server, false, 40_000, 502, 2), false)]);
}

#[test]
fn a_tun_device_has_no_ethernet_header_and_no_way_round() {
    let Some(bench) = Bench::new() else { return };
    let mut tun = bench.node.tun("tun0").unwrap();
    bench.node.address("tun0", Prefix { address: address("10.9.0.1"), length: 24 }).unwrap();
    bench.node.address("tun0", Prefix { address: address("fd09::1"), length: 64 }).unwrap();
    let way = |six: bool| {
        let far = address(if six { "fd09::2" } else { "10.9.0.2" });
        Way { from: Station { mac: [0; 6], address: far }, to: Station { mac: [0; 6], address: addresses(six)[3] } }
    };
    let mut reaches = |six: bool, port: u16| {
        let mark = bench.mark();
        let datagram = way(six).udp(800, port, &mark);
        let fence = way(six).udp(9, 9, b"fence on the line");
        bench.reaching(Server, &mark, 0, || {
            let fenced = bench.tap(Server).watch(|frame| holds(frame, b"fence on the line"));
            tun.send(&datagram[14..]).unwrap();
            tun.send(&fence[14..14 + if six { 40 } else { 20 } + 8 + 17]).unwrap();
            assert!(fenced.reaches(1, ARRIVAL), "the fence never came off the line\n{}", bench.place.log());
        }) > 0
    };
    for six in [false, true] {
        assert!(reaches(six, 5_000) && reaches(six, 5_001), "without an agent nothing comes off the line");
    }
    let site = Site { interfaces: vec!["c0", "s0", "tun0"], ..Site::default() };
    let by = |subject: &str| {
        rules(
            &[&format!("{{name: r, action: allow, from: [{subject}], services: [{{protocol: udp, ports: 5000}}]}}")],
            &[],
        )
    };
    let Some(agent) = bench.guard_with(&site, &by("{interface: tun0}")) else { return };
    for subject in ["{interface: tun0}", "{cidr: 10.9.0.0/24}, {cidr: \"fd09::/64\"}"] {
        bench.apply_with(&agent, &site, &by(subject));
        for six in [false, true] {
            assert!(reaches(six, 5_000), "{subject}, IPv6 {six}");
            assert!(!reaches(six, 5_001), "{subject}, IPv6 {six}");
        }
    }
    bench.apply_with(&agent, &site, &by("{interface: c0}"));
    assert!(!reaches(false, 5_000), "a packet off the line passed for one of the cable");
    // The other way: into the line, answered from it.
    bench.apply_with(&agent, &site, &by("{interface: c0}"));
    let client = bench.client.run(|| UdpSocket::bind((addresses(false)[0], 5_900))).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send_to(b"into the line", ("10.9.0.2", 5_000)).unwrap();
    let packet = tun.receive(ARRIVAL, |packet| holds(packet, b"into the line")).unwrap();
    assert!(packet.is_some(), "nothing went into the line\n{}", bench.place.log());
    let back = Way {
        from: Station { mac: [0; 6], address: address("10.9.0.2") },
        to: Station { mac: [0; 6], address: addresses(false)[0] },
    };
    let answer = back.udp(5_000, 5_900, b"an answer that fills sixty octets");
    tun.send(&answer[14..]).unwrap();
    let mut heard = [0; 64];
    assert_eq!(client.recv_from(&mut heard).unwrap().0, 33);
}

#[test]
fn a_cable_that_is_plugged_in_later_is_guarded() {
    let Some(bench) = Bench::new() else { return };
    let station = |mac, text: &str| Station { mac, address: address(text) };
    let (mine, theirs) = ([2, 0, 0, 0, 3, 2], [2, 0, 0, 0, 3, 1]);
    let plug_in = || {
        cable(
            Plug { host: &bench.client, name: "later", mac: Some(mine) },
            Plug { host: &bench.node, name: "x0", mac: Some(theirs) },
        )
        .unwrap();
        bench.node.address("x0", Prefix { address: address("10.3.0.1"), length: 24 }).unwrap();
    };
    let way = Way { from: station(mine, "10.3.0.2"), to: station(theirs, "10.3.0.1") };
    let reaches = |port: u16| {
        let tap = Tap::open(&bench.node, Some("x0")).unwrap();
        let (mark, fence) = (bench.mark(), bench.mark());
        let fence_frame = way.udp(9, 9, &fence);
        let frame = way.udp(800, port, &mark);
        let fenced = tap.watch(move |frame| holds(frame, &fence));
        let seen = tap.watch(move |frame| holds(frame, &mark));
        let transmitter = Transmitter::open(&bench.client, "later").unwrap();
        transmitter.send(&frame).unwrap();
        transmitter.send(&fence_frame).unwrap();
        assert!(fenced.reaches(1, ARRIVAL), "the fence never arrived\n{}", bench.place.log());
        seen.seen() > 0
    };
    plug_in();
    assert!(reaches(5_000) && reaches(5_001), "without an agent nothing arrives");
    bench.client.unplug("later").unwrap();

    let site = Site { interfaces: vec!["c0", "x*"], ..Site::default() };
    bench.write(&site, &rules(&["{name: r, action: allow, services: [{protocol: udp, ports: 5000}]}"], &[]));
    let Some(mut agent) = bench.start(1) else { return };
    for round in 0..3 {
        plug_in();
        agent
            .until("guarding x0", |status| {
                status["interfaces"].as_array().is_some_and(|all| {
                    all.iter().any(|one| one["name"] == "x0" && one["ingress"] != "none" && one["up"] == true)
                })
            })
            .unwrap();
        assert!(reaches(5_000), "round {round}");
        assert!(!reaches(5_001), "round {round}");
        bench.client.unplug("later").unwrap();
        agent
            .until("without x0", |status| {
                status["interfaces"].as_array().is_some_and(|all| all.iter().all(|one| one["name"] != "x0"))
            })
            .unwrap();
    }
}
