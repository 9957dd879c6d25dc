//! Datagrams in pieces: they share the fate of the first piece.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::UdpSocket;
use std::time::Duration;

use gabion_testing_netns::End::{Client, Server};
use gabion_testing_netns::{Bench, End, Probe, Site, addresses, rules, way};

/// Larger than any MTU of the bench.
const LARGE: usize = 4_000;
const UDP: u8 = 17;

fn socket(bench: &Bench, at: End, six: bool, port: u16) -> UdpSocket {
    let address = addresses(six)[if at == Client { 0 } else { 3 }];
    let socket = bench.host(at).run(|| UdpSocket::bind((address, port))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// A large datagram there and one back, whole.
fn exchange(bench: &Bench, six: bool, port: u16) {
    let (client, server) = (socket(bench, Client, six, 5_900), socket(bench, Server, six, port));
    let mut heard = vec![0; LARGE + 1];
    for _ in 0..4 {
        client.send_to(&[1; LARGE], (addresses(six)[3], port)).unwrap();
        let received = server.recv_from(&mut heard);
        // The first of a size may be lost to the discovery that the cable is narrow.
        let Ok((length, from)) = received else { continue };
        assert_eq!(length, LARGE);
        server.send_to(&[2; LARGE], from).unwrap();
        assert_eq!(client.recv_from(&mut heard).unwrap().0, LARGE, "the answer, IPv6 {six}");
        return;
    }
    panic!("no large datagram arrived, IPv6 {six}\n{}", bench.place.log());
}

/// A datagram in honest fragments, each with the mark.
fn train(port: u16, six: bool, id: u32) -> Probe {
    Probe::one(format!("fragments to {port}"), Client, Server, six, move |way, mark| way.udp(1, port, mark)).pieces(
        move |mark| {
            let way = way(Client, Server, six);
            way.fragments(UDP, &way.udp_segment(5_901, port, &mark.repeat(20)), id, 64)
        },
    )
}

/// Later fragments whose first one was never sent.
fn headless(six: bool, id: u32) -> Probe {
    train(5_000, six, id).pieces(move |mark| {
        let way = way(Client, Server, six);
        way.fragments(UDP, &way.udp_segment(5_902, 5_000, &mark.repeat(20)), id, 64).split_off(1)
    })
}

#[test]
fn large_datagrams_pass_whole_or_not_at_all() {
    let Some(bench) = Bench::new() else { return };
    bench.narrow();
    for six in [false, true] {
        exchange(&bench, six, 5_000);
    }
    // What a receiver sees of refused ones is looked at piece by piece.
    let refused = [train(5_001, false, 1), train(5_001, true, 2), headless(false, 3), headless(true, 4)];
    bench.baseline(&refused.each_ref());
    let policy = rules(&["{name: large, action: allow, services: [{protocol: udp, ports: 5000}]}"], &[]);
    let Some(_agent) = bench.guard(&policy) else { return };
    for six in [false, true] {
        exchange(&bench, six, 5_000);
    }
    bench.verify(&refused.each_ref().map(|probe| (probe, false)));
    let allowed = [train(5_000, false, 5), train(5_000, true, 6)];
    bench.verify(&allowed.each_ref().map(|probe| (probe, true)));
}

#[test]
fn rules_can_name_fragments() {
    let Some(bench) = Bench::new() else { return };
    let whole = [false, true].map(|six| Probe::udp(Client, Server, six, 5_903, 5_000));
    let pieces = [train(5_000, false, 11), train(5_000, true, 12)];
    let later = [headless(false, 13), headless(true, 14)];
    bench.baseline(&whole.iter().chain(&pieces).chain(&later).collect::<Vec<_>>());
    let rule = |state: &str| {
        rules(
            &[&format!(
                "{{name: r, action: allow, stateless: true, services: [{{protocol: udp, fragments: {state}}}]}}"
            )],
            &[],
        )
    };
    let site = Site::default();
    let Some(agent) = bench.guard_with(&site, &rule("none")) else { return };
    let expect = |probes: &[Probe; 2], passes: bool| bench.verify(&probes.each_ref().map(|probe| (probe, passes)));
    expect(&whole, true);
    expect(&pieces, false);
    expect(&later, false);
    bench.apply(&agent, &rule("any"));
    expect(&whole, false);
    expect(&pieces, true);
    expect(&later, true);
    bench.apply(&agent, &rule("later"));
    expect(&whole, false);
    expect(&later, true);
}
