//! What following sockets costs: a socket that is made and closed, a connection that is accepted, with the programs and
//! without, in turn; to begin, and to ask whose a socket is. `./x bench owners [ROUNDS]`. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Instant;

use gabion_bench::{Figure, load, report};
use gabion_owners::{Arrival, Owners, Sockets, cgroups};

/// Sockets that are timed together.
const BATCH: u32 = 2_000;
/// Connections, each of which stays for a minute as one that was (TIME-WAIT).
const CONNECTIONS: u32 = 200;

fn main() -> ExitCode {
    let first = std::env::args().skip(1).find(|argument| argument != "--bench");
    match measure(first.map_or(31, |rounds| rounds.parse().expect("a number of rounds"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("owners: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nanoseconds that one of these takes.
fn timed(times: u32, mut one: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        one();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

/// A socket made and closed, and a connection made, accepted and closed.
fn sockets(listener: &TcpListener) -> [f64; 2] {
    let made = timed(BATCH, || drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket")));
    let at = listener.local_addr().expect("it has one");
    let accepted = timed(CONNECTIONS, || {
        let client = TcpStream::connect(at).expect("somebody listens");
        drop(listener.accept().expect("somebody calls"));
        drop(client);
    });
    [made, accepted]
}

fn measure(rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let before = load();
    let cgroups = cgroups()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (local, remote) = (datagrams.local_addr()?, ([127, 0, 0, 9], 9).into());
    let asked = Sockets::open()?;
    let names = [
        "begin to follow sockets (ms)",
        "make and close a socket (ns)",
        "a socket, followed (ns)",
        "followed beyond not followed, a socket (ns)",
        "connect, accept and close (ns)",
        "a connection, followed (ns)",
        "followed beyond not followed, a connection (ns)",
        "which socket a packet is for, and whose (ns)",
    ];
    let mut values = vec![Vec::new(); names.len()];
    for _ in 0..rounds {
        let [made, accepted] = sockets(&listener);
        let start = Instant::now();
        let owners = Owners::attach(&cgroups)?;
        let begun = start.elapsed().as_secs_f64() * 1e3;
        let [made_too, accepted_too] = sockets(&listener);
        let whose = timed(BATCH, || {
            let cookie = asked.cookie(&Arrival { protocol: 17, remote, local, ifindex: 0 });
            assert!(cookie.is_some_and(|cookie| owners.owner(cookie).is_some()));
        });
        drop(owners);
        let all = [begun, made, made_too, made_too - made, accepted, accepted_too, accepted_too - accepted, whose];
        values.iter_mut().zip(all).for_each(|(values, value)| values.push(value));
    }
    let figures: Vec<Figure> =
        names.iter().zip(values).filter_map(|(name, values)| Figure::new(*name, values)).collect();
    report("owners", before, &figures)?;
    Ok(())
}
