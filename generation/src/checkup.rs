//! What of a kernel and its node we rely on, and what of it is there.

use std::fs;
use std::io;
use std::path::Path;

use aya_obj::generated::{bpf_attach_type, bpf_cmd};

use crate::object::{bpf, zeroed};

/// Types of the kernel that runs.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
const SECURITY_MODULES: &str = "/sys/kernel/security/lsm";
const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";
const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
/// The loopback, in every network namespace.
const LOOPBACK: u32 = 1;
/// `adjtimex` says that nobody keeps the clock (`STA_UNSYNC`).
const UNSYNCHRONISED: i32 = 0x40;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    There,
    /// It is not there, and something is slower or less safe.
    Missing,
    /// It is not there, and nothing works without.
    Needed,
    /// It cannot be seen.
    Unknown,
}

impl State {
    /// As people and programs read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Missing => "missing",
            Self::Needed => "needed",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What that means, and what to do about it; empty when nothing is to be done.
    pub means: String,
}

fn check(name: &'static str, state: State, found: impl Into<String>, means: &str) -> Check {
    let means = if state == State::There { String::new() } else { means.to_owned() };
    Check { name, state, found: found.into(), means }
}

/// Looks at all of it. Nothing is changed.
#[must_use]
pub fn checkup() -> Vec<Check> {
    vec![types(), bpffs(), tcx(), jit(), unprivileged(), membarrier(), security(), clock()]
}

fn types() -> Check {
    let there = Path::new(KERNEL_TYPES).exists();
    let found = if there { KERNEL_TYPES.to_owned() } else { format!("no {KERNEL_TYPES}") };
    let state = if there { State::There } else { State::Missing };
    check(
        "kernel-types",
        state,
        found,
        "sockets are not followed, so that events name no process; a kernel with \
        CONFIG_DEBUG_INFO_BTF has them",
    )
}

fn bpffs() -> Check {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find(|line| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("bpf ")));
    let point = mount.and_then(|line| line.split(' ').nth(4));
    let means = "the agent has nowhere to keep what outlives it: mount -t bpf bpf /sys/fs/bpf";
    match point {
        Some(point) => check("bpffs", State::There, point, means),
        None => check("bpffs", State::Needed, "none is mounted here", means),
    }
}

/// Asks which programs stand at the tcx hook of the loopback.
fn tcx() -> Check {
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    let query = unsafe { &mut attr.query };
    query.__bindgen_anon_1.target_ifindex = LOOPBACK;
    query.attach_type = bpf_attach_type::BPF_TCX_EGRESS as u32;
    // SAFETY: the attribute points to nothing: no list is asked for.
    let answer = unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) };
    let means = "departures are judged by filters under clsact, which anybody can take away; Linux 6.6 has tcx";
    match answer {
        Ok(_) => check("tcx", State::There, "links at departure", means),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            check("tcx", State::Missing, "the kernel does not know it", means)
        }
        Err(error) => check("tcx", State::Unknown, error.to_string(), "ask as root"),
    }
}

fn jit() -> Check {
    let means = "programs are interpreted, ten times slower: sysctl net.core.bpf_jit_enable=1";
    match fs::read_to_string(JIT).map(|text| text.trim().to_owned()) {
        Ok(value) if value == "0" => check("jit", State::Missing, "bpf_jit_enable is 0", means),
        Ok(value) => check("jit", State::There, format!("bpf_jit_enable is {value}"), means),
        // Seen in the first network namespace only.
        Err(error) => check("jit", State::Unknown, error.to_string(), "look in the first network namespace"),
    }
}

fn unprivileged() -> Check {
    let means = "whoever is on this node may load programs: sysctl kernel.unprivileged_bpf_disabled=1";
    match fs::read_to_string(UNPRIVILEGED).map(|text| text.trim().to_owned()) {
        Ok(value) if value == "0" => check("privileged-only", State::Missing, "unprivileged_bpf_disabled is 0", means),
        Ok(value) => check("privileged-only", State::There, format!("unprivileged_bpf_disabled is {value}"), means),
        Err(error) => check("privileged-only", State::Unknown, error.to_string(), "read it as root"),
    }
}

fn membarrier() -> Check {
    // SAFETY: takes no pointer.
    let offers = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
    let has = offers >= 0 && offers & i64::from(libc::MEMBARRIER_CMD_GLOBAL) != 0;
    let (state, found) = if has {
        (State::There, "waits for packets")
    } else {
        (State::Missing, "the kernel does not offer it (nohz_full)")
    };
    check("membarrier", state, found, "tables cannot change in place: every change of a policy is a new generation")
}

fn security() -> Check {
    let means = "nobody but the kernel's own rules says who may load programs; boot with lsm=...,bpf (kernel with \
                 CONFIG_BPF_LSM) to have a gatekeeper";
    match fs::read_to_string(SECURITY_MODULES) {
        Ok(list) if list.trim().split(',').any(|name| name == "bpf") => {
            check("bpf-lsm", State::There, list.trim(), means)
        }
        Ok(list) => check("bpf-lsm", State::Missing, format!("security modules: {}", list.trim()), means),
        Err(error) => check(
            "bpf-lsm",
            State::Unknown,
            format!("{SECURITY_MODULES}: {error}"),
            "mount -t securityfs securityfs /sys/kernel/security to see",
        ),
    }
}

fn clock() -> Check {
    // SAFETY: a struct of integers: all zeroes is one of its values, and asks for nothing to be changed.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is alive and the kernel's own.
    let answer = unsafe { libc::adjtimex(&raw mut clock) };
    let means = "times of validity cannot be trusted: let chrony, systemd-timesyncd or a PTP daemon keep the clock";
    if answer < 0 {
        return check("clock", State::Unknown, io::Error::last_os_error().to_string(), "ask as root");
    }
    let found = format!("estimated error {} ms", clock.esterror / 1_000);
    if clock.status & UNSYNCHRONISED == 0 {
        check("clock", State::There, format!("synchronised, {found}"), means)
    } else {
        check("clock", State::Missing, "nobody synchronises it", means)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_says_what_it_found_and_what_to_do() {
        for found in checkup() {
            assert!(!found.found.is_empty(), "{found:?}");
            assert_eq!(found.means.is_empty(), found.state == State::There, "{found:?}");
        }
    }
}
