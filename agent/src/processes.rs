//! Whose packet it is: the process that sent it, or would have got it.
//!
//! What departs carries the cookie of its socket, and the kernel programs that follow sockets ([`gabion_owners`]) know
//! the process under it. Of what arrives the kernel is asked which socket it is for; that is done here, for reported
//! packets alone, and not on the path of packets.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gabion_abi::event::Event;
use gabion_abi::facts::{self, Address};
use gabion_abi::owner::Owner;
use gabion_abi::verdict::hook;
use gabion_owners::{Arrival, Failure, Owners, Sockets, cgroups};

use crate::api::wire::{self, Process, ProcessTotal};
use crate::events::Clock;

/// Arrivals a second for which the kernel is asked; a flood of reported packets is not worth more.
const QUESTIONS: u32 = 500;
/// Pause between two looks through the folders of cgroups for a number that was not there.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Processes that are counted at once.
const PROCESSES: usize = 1_024;
/// Folders of cgroups that are looked at.
const FOLDERS: usize = 20_000;

/// Says whose packets are.
#[derive(Debug, Default)]
pub struct Processes {
    attached: Option<Attached>,
    /// Why it cannot.
    problem: Option<String>,
}

/// What it needs to say it.
#[derive(Debug)]
pub struct Attached {
    owners: Owners,
    sockets: Sockets,
    asked: Budget,
    cgroups: Cgroups,
}

impl Attached {
    /// Begins to follow sockets. Takes some time: the kernel's types are read.
    pub fn new() -> Result<Self, Failure> {
        let cgroups = cgroups()?;
        let owners = Owners::attach(&cgroups)?;
        let sockets = Sockets::open()
            .map_err(|source| Failure::Kernel { step: "ask for sockets (sock_diag)", source: Box::new(source) })?;
        Ok(Self { owners, sockets, asked: Budget::default(), cgroups: Cgroups::of(cgroups) })
    }

    fn owner(&mut self, event: &Event) -> Option<Owner> {
        let cookie = if event.socket != 0 {
            event.socket
        } else {
            let arrival = arrival(event)?;
            if !self.asked.spend(Instant::now()) {
                return None;
            }
            self.sockets.cookie(&arrival)?
        };
        self.owners.owner(cookie)
    }
}

impl Processes {
    /// From now on it says what these programs know, or why there is nothing to say.
    pub fn know(&mut self, outcome: Result<Attached, Failure>) {
        *self = match outcome {
            Ok(attached) => Self { attached: Some(attached), problem: None },
            Err(failure) => Self { attached: None, problem: Some(failure.to_string()) },
        };
    }

    /// Why events do not say whose packets are.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The process of a reported packet; none when it is nobody's here, or that is not known.
    pub fn of(&mut self, event: &Event, clock: &Clock) -> Option<Process> {
        let attached = self.attached.as_mut()?;
        let owner = attached.owner(event)?;
        Some(Process {
            pid: owner.pid,
            name: name(&owner.comm),
            started: clock.rfc3339(owner.start_ns),
            cgroup: owner.cgroup,
            cgroup_path: attached.cgroups.path(owner.cgroup, Instant::now()),
        })
    }
}

/// Reported packets by process.
#[derive(Debug, Default)]
pub struct Totals {
    /// By number and beginning, each with the place of its last event in the order of events.
    by: HashMap<(u32, String), (u64, ProcessTotal)>,
    events: u64,
}

impl Totals {
    /// Adds an event, if it says whose packet it was. Of more processes than there is room for the one goes that was
    /// quiet longest.
    pub fn add(&mut self, event: &wire::Event) {
        let Some(process) = &event.process else { return };
        self.events += 1;
        let key = (process.pid, process.started.clone());
        if self.by.len() >= PROCESSES && !self.by.contains_key(&key) {
            let quiet = self.by.iter().min_by_key(|(_, (place, _))| *place).map(|(key, _)| key.clone());
            quiet.map(|key| self.by.remove(&key));
        }
        let (place, total) = self.by.entry(key).or_default();
        *place = self.events;
        match event.verdict.as_str() {
            "deny" => total.denied += 1,
            "audit" => total.audited += 1,
            _ => total.allowed += 1,
        }
        // A program may be another by now, in the same process.
        total.process.clone_from(process);
        total.last = wire::Event { process: None, ..event.clone() };
    }

    /// Most denials first.
    pub fn list(&self) -> Vec<ProcessTotal> {
        let mut list: Vec<ProcessTotal> = self.by.values().map(|(_, total)| total.clone()).collect();
        let order = |it: &ProcessTotal| std::cmp::Reverse((it.denied, it.audited, it.allowed));
        list.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.process.pid.cmp(&b.process.pid)));
        list
    }
}

/// A name as the kernel keeps it; whoever runs under it chose it.
pub(crate) fn name(comm: &[u8]) -> String {
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

fn arrival(event: &Event) -> Option<Arrival> {
    let facts = &event.facts;
    let whole = facts.unparsed == facts::unparsed::NONE && facts.fragment != facts::FRAGMENT_LATER;
    // The kernel's look-up does not ask whose address it is: somebody who listens at all of them would get it.
    if event.hook != hook::INGRESS || facts.node == 0 || !whole || facts.transport != facts::TRANSPORT_PORTS {
        return None;
    }
    let end = |address: &Address, port| {
        let address = match facts.family {
            facts::FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(address.words[0])),
            facts::FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(address.to_v6())),
            _ => return None,
        };
        Some(SocketAddr::new(address, port))
    };
    Some(Arrival {
        protocol: facts.protocol,
        remote: end(&facts.source, facts.source_port)?,
        local: end(&facts.destination, facts.destination_port)?,
        ifindex: event.ifindex,
    })
}

/// So many a second.
#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            *self = Self { since: Some(now), spent: 0 };
        }
        self.spent += 1;
        self.spent <= QUESTIONS
    }
}

/// Paths of cgroups by their number, which is that of the folder's inode.
#[derive(Debug)]
struct Cgroups {
    root: File,
    paths: HashMap<u64, String>,
    looked: Option<Instant>,
}

impl Cgroups {
    fn of(root: File) -> Self {
        Self { root, paths: HashMap::new(), looked: None }
    }

    fn path(&mut self, number: u64, now: Instant) -> Option<String> {
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_PAUSE);
        if !self.paths.contains_key(&number) && due {
            self.looked = Some(now);
            self.paths.clear();
            // By its descriptor, as it may be mounted nowhere.
            let root = PathBuf::from(format!("/proc/self/fd/{}/", self.root.as_raw_fd()));
            self.look(&root, &root);
        }
        self.paths.get(&number).cloned()
    }

    fn look(&mut self, root: &Path, folder: &Path) {
        // A folder that goes away meanwhile is a cgroup that is gone.
        let Ok(number) = fs::metadata(folder).map(|folder| folder.ino()) else { return };
        let path = folder.strip_prefix(root).unwrap_or(folder);
        self.paths.insert(number, format!("/{}", path.display()));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if self.paths.len() < FOLDERS && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.look(root, &entry.path());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_the_kernel_ends_them_and_draw_nothing() {
        assert_eq!(name(b"sshd\0\0\0junk"), "sshd");
        assert_eq!(name(b"sixteen-bytes-16"), "sixteen-bytes-16");
        assert_eq!(name(b"\x1b[31mred\xff\0"), "\u{fffd}[31mred\u{fffd}");
    }

    #[test]
    fn the_process_that_was_quiet_longest_makes_room() {
        let event = |pid: u32, verdict: &str| wire::Event {
            verdict: verdict.to_owned(),
            process: Some(Process { pid, ..Process::default() }),
            ..wire::Event::default()
        };
        let mut totals = Totals::default();
        totals.add(&wire::Event::default());
        assert!(totals.list().is_empty(), "nobody's packet");
        for pid in 1..=1_024 {
            totals.add(&event(pid, "allow"));
        }
        totals.add(&event(1, "deny"));
        totals.add(&event(5_000, "audit"));
        let list = totals.list();
        assert_eq!(list.len(), 1_024);
        let first: Vec<_> = list.iter().take(3).map(|it| (it.process.pid, it.denied, it.audited, it.allowed)).collect();
        assert_eq!(first, [(1, 1, 0, 1), (5_000, 0, 1, 0), (3, 0, 0, 1)], "2 was quiet longest");
    }

    #[test]
    fn questions_are_few_a_second() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let asked = (0..2 * QUESTIONS).filter(|_| budget.spend(start)).count();
        assert_eq!(asked, QUESTIONS as usize);
        assert!(budget.spend(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_cgroup_is_found_by_its_number_even_one_that_was_made_later() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        fs::create_dir_all(slice.join("ssh.service")).unwrap();
        let mut cgroups = Cgroups::of(File::open(root.path()).unwrap());
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let now = Instant::now();
        let path = cgroups.path(number(&slice.join("ssh.service")), now);
        assert_eq!(path.as_deref(), Some("/system.slice/ssh.service"));
        assert_eq!(cgroups.path(number(root.path()), now).as_deref(), Some("/"));
        let later = slice.join("later.scope");
        fs::create_dir(&later).unwrap();
        assert_eq!(cgroups.path(number(&later), now), None, "not looked for again at once");
        assert_eq!(cgroups.path(number(&later), now + LOOK_PAUSE).as_deref(), Some("/system.slice/later.scope"));
    }

    #[test]
    fn only_whole_packets_with_ports_that_arrive_are_asked_about() {
        let facts = facts::Facts {
            family: facts::FAMILY_V4,
            protocol: facts::protocol::TCP,
            transport: facts::TRANSPORT_PORTS,
            source: Address::v4(0x0a00_0001),
            destination: Address::v4(0x0a00_0002),
            source_port: 40_000,
            destination_port: 502,
            node: 1,
            ..facts::Facts::UNKNOWN
        };
        let event = Event { facts, ifindex: 7, hook: hook::INGRESS, ..Event::default() };
        let asked = arrival(&event).unwrap();
        assert_eq!(
            (asked.remote.to_string(), asked.local.to_string()),
            ("10.0.0.1:40000".into(), "10.0.0.2:502".into())
        );
        let fragment = facts::Facts { fragment: facts::FRAGMENT_LATER, ..facts };
        let unparsed = facts::Facts { unparsed: 1, ..facts };
        let frame = facts::Facts { family: facts::FAMILY_NONE, ..facts };
        let forwarded = facts::Facts { node: 0, ..facts };
        for facts in [fragment, unparsed, frame, forwarded] {
            assert_eq!(arrival(&Event { facts, ..event }), None);
        }
        assert_eq!(arrival(&Event { hook: hook::EGRESS, ..event }), None);
    }
}
