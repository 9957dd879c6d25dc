//! Owners of sockets, against what the kernel says of its processes in `/proc`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use gabion_abi::owner::Owner;
use gabion_owners::{Arrival, Owners, Sockets, cgroups};
use rustix::net::sockopt::socket_cookie;

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
    let (child, port) = listening(0);
    let Some(owners) = owners() else { return };
    assert_eq!(owners.owner(cookie(&datagrams)).map(rounded), Some(said(std::process::id())));
    let (_client, cookie) = accepted(port);
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(child.id())), "it listened before");
    end(child);
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

/// Another process that listens at a port, or at any when that is 0, until its input ends.
fn listening(port: u16) -> (Child, u16) {
    const CODE: &str = "
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('', int(sys.argv[1])))
s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.read()
";
    let mut command = Command::new("python3");
    command.args(["-c", CODE, &port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// The cookie of a connection that whoever listens at a port accepts, as the kernel's list of sockets has it.
fn accepted(port: u16) -> (TcpStream, u64) {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"?").unwrap();
    let from = client.local_addr().unwrap().port();
    let listed = Command::new("ss").args(["-Htne", "sport", &format!("= :{port}")]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| line.contains(&format!(":{from} "))).unwrap_or_else(|| panic!("{listed}"));
    let cookie = line.split(' ').find_map(|word| word.strip_prefix("sk:")).unwrap();
    (client, u64::from_str_radix(cookie, 16).unwrap())
}

#[test]
fn who_accepts_is_who_listens_if_that_is_one() {
    let Some(owners) = owners() else { return };
    let (first, port) = listening(0);
    let (_one, cookie) = accepted(port);
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(first.id())), "another process, at any address");
    let (second, _) = listening(port);
    let (_two, cookie) = accepted(port);
    assert_eq!(owners.owner(cookie), None, "either of them may get it");
    end(first);
    end(second);
    let (third, _) = listening(port);
    let (_three, cookie) = accepted(port);
    assert_eq!(owners.owner(cookie).map(rounded), Some(said(third.id())), "both are gone");
    end(third);
}
