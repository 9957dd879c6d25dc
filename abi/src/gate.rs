//! Who may load programs: what the gatekeeper is told, and what it tells.

use crate::contract::Contract;

/// What the gatekeeper goes by: one record.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// One of [`state`].
    pub state: u32,
    /// The process whose next call of `bpf` seals, while the state is [`state::SEALING`].
    pub pid: u32,
    /// Attempts that were refused, those for which the ring had no room too.
    pub refused: u64,
    /// Inode of the program that may load, as the kernel found it.
    pub inode: u64,
    /// Cgroup (version 2) of the process that may load.
    pub cgroup: u64,
    /// Device of the inode, as the kernel numbers it.
    pub device: u32,
    /// Numbers of the gatekeeper's own maps, which nobody else may open; 0: none.
    pub maps: [u32; 3],
}

/// States of a [`Gate`].
pub mod state {
    /// Everybody may load.
    pub const OPEN: u32 = 0;
    /// The named process seals with its next call.
    pub const SEALING: u32 = 1;
    /// Only who sealed may load, and only what is allowed.
    pub const SEALED: u32 = 2;
}

/// An attempt that was refused.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// `CLOCK_BOOTTIME`.
    #[contract(unit = "ns")]
    pub time_ns: u64,
    /// Cgroup of the process.
    pub cgroup: u64,
    /// The process.
    pub pid: u32,
    /// One of [`attempt`].
    pub reason: u32,
    /// Name of its program, ended by a NUL.
    pub comm: [u8; 16],
    /// The digest of the program that it would load, where that was the reason.
    pub digest: [u8; DIGEST_BYTES],
}

/// Bytes of a digest: SHA-256 of the instructions from Linux 6.18 on, eight bytes of their SHA-1 and zeros before.
pub const DIGEST_BYTES: usize = 32;

/// Why an attempt was refused.
pub mod attempt {
    /// Somebody else than who sealed wanted to load a program.
    pub const WHO: u32 = 1;
    /// A program that is not allowed.
    pub const WHAT: u32 = 2;
    /// Somebody wanted to open a map of the gatekeeper.
    pub const GATE: u32 = 3;
}
