//! The first process of a guest: it mounts what BPF needs, loads the modules that came with it, runs one command and
//! ends the machine. It prints to the second serial port, so that the kernel's messages stay out of the way.
//! With `--probe` it is the smallest such command: it says which kernel this is, and whether that can make a BPF map.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use aya::maps::MapType;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

/// MODULE_INIT_COMPRESSED_FILE of linux/module.h: the kernel unpacks the module itself (since 5.17).
const COMPRESSED: i32 = 4;

/// What is mounted, in order: type and place.
const MOUNTS: [(&str, &str); 9] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("bpf", "/sys/fs/bpf"),
    ("securityfs", "/sys/kernel/security"),
    ("tracefs", "/sys/kernel/tracing"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--probe") {
        return probe();
    }
    if std::process::id() != 1 {
        eprintln!("gabion-guest is the first process of a virtual machine; it does nothing here");
        return ExitCode::FAILURE;
    }
    if let Err(error) = guest() {
        // Standard error is the console of the kernel here, which the host shows when the guest says no exit code.
        eprintln!("gabion-guest: {error}");
    }
    let _ = rustix::system::reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn guest() -> Result<(), Box<dyn Error>> {
    for (kind, place) in MOUNTS {
        let _ = fs::create_dir_all(place);
        if let Err(error) = mount(kind, place, kind, MountFlags::empty(), None) {
            eprintln!("gabion-guest: mount {kind} on {place}: {error}");
        }
    }
    load_modules()?;
    if let Err(error) = loopback_up() {
        eprintln!("gabion-guest: lo: {error}");
    }
    let port = OpenOptions::new().write(true).open("/dev/ttyS1")?;
    let command = fs::read_to_string("/command")?;
    // As env(1) has it: what is set for the command stands before it.
    let words: Vec<&str> = command.split('\0').collect();
    let variables = words.iter().map_while(|word| word.split_once('='));
    let (program, arguments) = words[variables.clone().count()..].split_first().ok_or("/command names no program")?;
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", "/bin:/")
        .env("HOME", "/tmp")
        .env("RUST_BACKTRACE", "1")
        .env("GABION_REQUIRE_ROOT", "1")
        .envs(variables)
        .stdout(port.try_clone()?)
        .stderr(port.try_clone()?)
        .status();
    let exit = match status {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => {
            write(&port, &format!("{program}: {error}\n"))?;
            127
        }
    };
    write(&port, &format!("gabion-guest: exit {exit}\n"))?;
    // The machine must not end before the port has taken the last byte.
    rustix::termios::tcdrain(port.as_fd())?;
    Ok(())
}

fn loopback_up() -> std::io::Result<()> {
    let mut message = LinkMessage::default();
    // It is the first link of every network namespace.
    message.header.index = 1;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(message));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    Socket::new(NETLINK_ROUTE)?.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    Ok(())
}

fn write(mut port: &File, text: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut port, text.as_bytes())
}

/// Loads the modules in the order of their names, which is the order that the host gave them.
fn load_modules() -> Result<(), Box<dyn Error>> {
    let Ok(entries) = fs::read_dir("/modules") else { return Ok(()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = rustix::fs::openat(CWD, &path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        let flags = if path.extension().is_some_and(|kind| kind == "xz") { COMPRESSED } else { 0 };
        if let Err(error) = rustix::system::finit_module(&file, c"", flags) {
            eprintln!("gabion-guest: {}: {error}", path.display());
        }
    }
    Ok(())
}

fn probe() -> ExitCode {
    println!("{}", rustix::system::uname().release().to_string_lossy());
    for kind in [MapType::Array, MapType::RingBuf] {
        match aya::sys::is_map_supported(kind) {
            Ok(true) => println!("map {kind:?}: made"),
            other => {
                println!("map {kind:?}: {other:?}");
                return ExitCode::FAILURE;
            }
        }
    }
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let mut names: Vec<&str> = modules.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    println!("modules: {}", names.join(" "));
    ExitCode::SUCCESS
}
