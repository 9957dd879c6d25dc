//! Records that the kernel programs send through the ring.

use crate::contract::Contract;
use crate::facts::Facts;
use crate::verdict::{Count, Verdict, reason};

/// One verdict, reported.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_BOOTTIME` when it was decided, nanoseconds.
    #[contract(unit = "ns")]
    pub time_ns: u64,
    /// Cookie of the socket that sent the packet, where the hook knows it; 0: none.
    pub socket: u64,
    /// What the packet was.
    pub facts: Facts,
    /// What was decided.
    pub verdict: Verdict,
    /// Generation that decided.
    pub generation: u32,
    /// ifindex of the hook.
    pub ifindex: u32,
    /// Length of the packet as the hook saw it.
    #[contract(unit = "bytes")]
    pub length: u32,
    /// One of [`crate::verdict::hook`].
    pub hook: u8,
    /// Explicit padding.
    pub padding: [u8; 3],
}

/// Why an event was not sent; the index of the suppressed counts.
pub mod suppressed {
    /// The rate limit for denials was reached.
    pub const RATE_DENIED: u32 = 0;
    /// The rate limit for allowed packets was reached.
    pub const RATE_ALLOWED: u32 = 1;
    /// The ring was full.
    pub const RING_FULL: u32 = 2;
    /// Allowed packets that sampling skipped.
    pub const SAMPLED_OUT: u32 = 3;
    /// Number of reasons.
    pub const COUNT: u32 = 4;
    /// Names as metrics write them.
    pub const NAMES: [&str; COUNT as usize] = ["rate-denied", "rate-allowed", "ring-full", "sampled-out"];
}

/// How events are limited and what mode is in force: one record, changed at run time.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Events about denials a second and CPU.
    #[contract(unit = "events/s")]
    pub denied_rate: u32,
    /// Burst of denials a CPU.
    #[contract(unit = "events")]
    pub denied_burst: u32,
    /// Events about allowed packets a second and CPU.
    #[contract(unit = "events/s")]
    pub allowed_rate: u32,
    /// One allowed packet in so many is reported; 0 reports none but those whose rule asks for it.
    pub allowed_sample: u32,
    /// 1: what would be denied passes and is reported.
    pub audit_mode: u32,
    /// Number of fail-safe ports in `failsafe`.
    pub failsafe_count: u32,
    /// Fail-safe ports: protocol << 16 | port.
    pub failsafe: [u32; FAILSAFE_LIMIT],
}

/// Fail-safe ports that fit.
pub const FAILSAFE_LIMIT: usize = 16;

impl Settings {
    /// Nothing is reported, and nothing is fail-safe.
    pub const ZERO: Self = Self {
        denied_rate: 0,
        denied_burst: 0,
        allowed_rate: 0,
        allowed_sample: 0,
        audit_mode: 0,
        failsafe_count: 0,
        failsafe: [0; FAILSAFE_LIMIT],
    };
}

/// One token bucket of one CPU.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Events that may be sent, in units of a tick of a rate of one a second.
    pub credit: u64,
    /// Time up to which credit was given, nanoseconds.
    #[contract(unit = "ns")]
    pub filled_ns: u64,
    /// Allowed packets since the last one that was sampled.
    pub skipped: u64,
    /// Time up to which it need not be asked again, by a clock that may be late.
    #[contract(unit = "ns")]
    pub dry_until_ns: u64,
}

/// What one CPU counts, whichever generation is in force.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Totals by action × reason.
    pub reasons: [Count; REASONS],
    /// Events that were not sent, by [`suppressed`].
    pub suppressed: [u64; suppressed::COUNT as usize],
    /// Token buckets for events: denials, then allowed packets.
    pub buckets: [Bucket; 2],
    /// Explicit padding: no two CPUs write one cache line.
    pub padding: [u64; 4],
}

/// Totals of a [`Tally`].
pub const REASONS: usize = 2 * reason::COUNT as usize;

impl Tally {
    /// Nothing was counted.
    pub const ZERO: Self = Self {
        reasons: [Count { packets: 0, bytes: 0 }; REASONS],
        suppressed: [0; suppressed::COUNT as usize],
        buckets: [Bucket { credit: 0, filled_ns: 0, skipped: 0, dry_until_ns: 0 }; 2],
        padding: [0; 4],
    };
}

const _: () = assert!(core::mem::size_of::<Tally>().is_multiple_of(64), "no two CPUs write one cache line");
