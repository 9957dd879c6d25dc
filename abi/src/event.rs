//! Records that the kernel programs send through the ring.

use crate::facts::Facts;
use crate::verdict::Verdict;

/// One verdict, reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_BOOTTIME` when it was decided, nanoseconds.
    pub time_ns: u64,
    /// What the packet was.
    pub facts: Facts,
    /// What was decided.
    pub verdict: Verdict,
    /// Generation that decided.
    pub generation: u32,
    /// ifindex of the hook.
    pub ifindex: u32,
    /// Length of the packet in bytes as the hook saw it.
    pub length: u32,
    /// One of [`crate::verdict::hook`].
    pub hook: u8,
    /// Explicit padding.
    pub padding: [u8; 3],
}

const _: () = assert!(core::mem::size_of::<Event>() == 120);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Events about denials a second and CPU.
    pub denied_rate: u32,
    /// Burst of denials a CPU.
    pub denied_burst: u32,
    /// Events about allowed packets a second and CPU.
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

const _: () = assert!(core::mem::size_of::<Settings>() == 24 + 4 * FAILSAFE_LIMIT);
