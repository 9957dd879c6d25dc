//! A thousand processes by a view, against `/proc/PID/stat`, `status`, `statm` and `cgroup`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child as Process, Command, Stdio};

use aya::maps::HashMap;
use aya::programs::Iter;
use gabion_testing_views::load;
use gabion_testing_views_programs::Child;

const PROCESSES: usize = 1_000;
/// This test as one of the processes: it waits for the end of its input.
const IDLE: &str = "GABION_IDLE";

/// Where cgroups of version 2 are mounted.
fn cgroups() -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| line.split_once(" cgroup2 ")).unwrap().0;
    mount.split(' ').nth(1).unwrap().to_owned()
}

fn said(process: u32, cgroups: &str) -> Child {
    let of = |what: &str| fs::read_to_string(format!("/proc/{process}/{what}")).unwrap();
    let stat = of("stat");
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let status = of("status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap().split('\t').next().unwrap();
    let path = of("cgroup").lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)).unwrap();
    let mut comm = [0; 16];
    let name = of("comm");
    comm[..name.trim_end().len()].copy_from_slice(name.trim_end().as_bytes());
    Child {
        // Hundredths of a second.
        start: fields[19].parse::<u64>().unwrap() * 10_000_000,
        total_vm: of("statm").split(' ').next().unwrap().parse().unwrap(),
        cgroup: fs::metadata(format!("{cgroups}{path}")).unwrap().ino(),
        parent: fields[1].parse().unwrap(),
        uid: uid.parse().unwrap(),
        comm,
    }
}

/// A record as it lies in the map.
fn child(bytes: &[u8; size_of::<Child>()]) -> Child {
    let number = |at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    Child {
        start: number(0, 8) / 10_000_000 * 10_000_000,
        total_vm: number(8, 8),
        cgroup: number(16, 8),
        parent: number(24, 4) as i32,
        uid: number(28, 4) as u32,
        comm: bytes[32..48].try_into().unwrap(),
    }
}

/// A cgroup that goes with its last process, whatever the test came to.
struct Group(String);

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that end with this one hold it for a moment yet.
        for _ in 0..1_000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_thousand_processes_are_what_the_kernel_says_of_them() {
    if std::env::var_os(IDLE).is_some() {
        let _ = std::io::read_to_string(std::io::stdin());
        std::process::exit(0);
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: loading programs takes root");
        return;
    }
    // Some in a cgroup of their own, and some of another user.
    let cgroups = cgroups();
    let group = format!("{cgroups}/gabion-views-{}", std::process::id());
    fs::create_dir(&group).unwrap();
    let group = Group(group);
    let (waits, ends) = std::io::pipe().unwrap();
    let mut processes: Vec<Process> = Vec::new();
    for number in 0..PROCESSES {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(IDLE, "1")
            .arg("a_thousand")
            .stdin(waits.try_clone().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if number % 3 == 0 {
            command.uid(1_000 + number as u32);
        }
        let process = command.spawn().unwrap();
        if number % 2 == 0 {
            fs::write(format!("{}/cgroup.procs", group.0), process.id().to_string()).unwrap();
        }
        processes.push(process);
    }
    let mut kernel = load(std::process::id()).unwrap();
    let types = aya::Btf::from_sys_fs().unwrap();
    let program: &mut Iter = kernel.program_mut("list").unwrap().try_into().unwrap();
    program.load("task", &types).unwrap();
    // A process that begins changes yet: the name, and the pages.
    let (mut wrong, mut rounds) = (Vec::new(), 0);
    while rounds < 200 {
        rounds += 1;
        let program: &mut Iter = kernel.program_mut("list").unwrap().try_into().unwrap();
        let link = program.attach().unwrap();
        let mut list = program.take_link(link).unwrap().into_file().unwrap();
        std::io::copy(&mut list, &mut std::io::sink()).unwrap();
        let seen: HashMap<_, i32, [u8; size_of::<Child>()]> = kernel.map("CHILDREN").unwrap().try_into().unwrap();
        wrong = processes
            .iter()
            .filter_map(|process| {
                let child = child(&seen.get(&(process.id() as i32), 0).ok()?);
                let said = said(process.id(), &cgroups);
                (child != said).then_some((child, said))
            })
            .collect();
        if wrong.is_empty() {
            assert_eq!(seen.keys().count(), PROCESSES);
            break;
        }
    }
    drop(ends);
    for mut process in processes {
        process.wait().unwrap();
    }
    drop(group);
    assert!(wrong.is_empty(), "{} of {PROCESSES}, first {:?}", wrong.len(), wrong.first());
}
