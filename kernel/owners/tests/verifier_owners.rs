//! Owners of sockets, against what the kernel says of its processes in `/proc`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use gabion_abi::owner::Owner;
use gabion_owners::{Arrival, Owners, Sockets, cgroups};
use rustix::net::sockopt::socket_cookie;
use rustix::net::{AddressFamily, SocketType};

fn owners() -> Option<Owners> {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("GABION_REQUIRE_BPF").is_none(),
            "demanded, and cannot run: loading programs takes root"
        );
        eprintln!("skipped: loading programs takes root");
        return None;
    }
    Some(Owners::attach(&cgroups().unwrap()).unwrap_or_else(|error| panic!("{error}")))
}

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).unwrap()
}

fn said(process: u32) -> Owner {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let hundredths: u64 = rest.split(' ').nth(19).unwrap().parse().unwrap();
    let mut comm = [0; 16];
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
    comm[..name.trim_end().len()].copy_from_slice(name.trim_end().as_bytes());
    let cgroups = cgroups().unwrap();
    let of_process = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path = of_process.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    let root = format!("/proc/self/fd/{}", cgroups.as_raw_fd());
    let cgroup = std::fs::metadata(format!("{root}{path}")).unwrap().ino();
    Owner { start_ns: hundredths * 10_000_000, cgroup, pid: process, padding: 0, comm }
}

/// As exact as `/proc` is.
fn rounded(owner: Owner) -> Owner {
    Owner { start_ns: owner.start_ns / 10_000_000 * 10_000_000, ..owner }
}

#[test]
fn sockets_belong_to_who_made_them() {
    let Some(owners) = owners() else { return };
    let here = said(std::process::id());
    for socket in ["127.0.0.1:0", "[::1]:0"].map(UdpSocket::bind) {
        // A host may have no IPv6.
        let Ok(socket) = socket else { continue };
        assert_eq!(owners.owner(cookie(&socket)).map(rounded), Some(here));
    }
    let made_by_thread = std::thread::Builder::new().name("another".into()).spawn(|| UdpSocket::bind("127.0.0.1:0"));
    let made_by_thread = made_by_thread.unwrap().join().unwrap().unwrap();
    assert_eq!(owners.owner(cookie(&made_by_thread)).map(rounded), Some(here), "the process, not the thread");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    for (which, socket) in [("listens", &listener as &dyn AsFd), ("calls", &client), ("answers", &accepted)] {
        assert_eq!(owners.owner(cookie(socket.as_fd())).map(rounded), Some(here), "{which}");
    }
    assert_eq!(owners.owner(u64::MAX), None);
}

#[test]
fn sockets_that_were_there_before_are_found() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut other = Listening::at(0);
    let Some(owners) = owners() else { return };
    assert_eq!(owners.owner(cookie(&datagrams)).map(rounded), Some(said(std::process::id())));
    let (_client, cookie) = other.accepts();
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(other.child.id())), "it listened before");
    other.end();
}

#[test]
fn the_kernel_says_which_socket_a_packet_is_for() {
    let sockets = Sockets::open().unwrap();
    let ask = |protocol, remote: SocketAddr, local: SocketAddr| {
        sockets.cookie(&Arrival { protocol, remote, local, ifindex: 0 })
    };
    let stranger: SocketAddr = ([127, 0, 0, 9], 9).into();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
    assert_eq!(ask(6, stranger, local), Some(cookie(&listener)));
    let client = TcpStream::connect(local).unwrap();
    let (answers, remote) = listener.accept().unwrap();
    assert_eq!(ask(6, remote, local), Some(cookie(&answers)));
    assert_eq!(ask(6, local, client.local_addr().unwrap()), Some(cookie(&client)));
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(ask(17, stranger, datagrams.local_addr().unwrap()), Some(cookie(&datagrams)));
    assert_eq!(ask(17, stranger, ([127, 0, 0, 1], 1).into()), None);
    assert_eq!(ask(1, stranger, local), None, "no ports");
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        let stranger: SocketAddr = "[::9]:9".parse().unwrap();
        assert_eq!(ask(6, stranger, listener.local_addr().unwrap()), Some(cookie(&listener)));
    }
}

/// Says this test that it is to be another process, which listens at this port, or at any when that is 0.
const LISTEN: &str = "GABION_LISTEN";

/// Another process that listens: this test as another process.
struct Listening {
    child: Child,
    said: BufReader<ChildStdout>,
    port: u16,
}

impl Listening {
    fn at(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "another_process_listens", "--nocapture"]).env(LISTEN, port.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut listening = Self { child, said, port };
        listening.port = listening.number("port ").try_into().unwrap();
        listening
    }

    fn number(&mut self, what: &str) -> u64 {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(number) = line.trim_end().rsplit_once(what) {
                return number.1.parse().unwrap();
            }
            line.clear();
        }
        panic!("it said no {what}")
    }

    /// A connection to that port, which nobody else listens at, and the cookie of its other end.
    fn accepts(&mut self) -> (TcpStream, u64) {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        (client, self.number("accepted "))
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Does nothing but in another process.
#[test]
fn another_process_listens() {
    let Some(port) = std::env::var(LISTEN).ok().and_then(|port| port.parse().ok()) else { return };
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    let listener = TcpListener::from(socket);
    println!("port {}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let accepted: Vec<TcpStream> =
            listener.incoming().flatten().inspect(|it| println!("accepted {}", cookie(it))).collect();
        drop(accepted);
    });
    let _ = std::io::read_to_string(std::io::stdin());
    std::process::exit(0);
}

#[test]
fn who_accepts_is_who_listens_if_that_is_one() {
    let Some(owners) = owners() else { return };
    let mut first = Listening::at(0);
    let (_one, cookie) = first.accepts();
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(first.child.id())), "another process, at any address");
    let mut second = Listening::at(first.port);
    // Whichever of them gets it: one of many goes to the second, which then says so.
    let clients: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, first.port)).unwrap()).collect();
    for cookie in [first.number("accepted "), second.number("accepted ")] {
        assert_eq!(owners.owner(cookie), None, "either of them may get it");
    }
    drop(clients);
    let port = first.port;
    first.end();
    second.end();
    let mut third = Listening::at(port);
    let (_three, cookie) = third.accepts();
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(third.child.id())), "both are gone");
    third.end();
}
