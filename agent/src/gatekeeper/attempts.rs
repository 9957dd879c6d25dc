//! Attempts that the gatekeeper refused, and what to tell of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gabion_abi::gate::{Attempt, attempt};
use gabion_gatekeeper::Digest;

use crate::processes::name;

/// Time after which somebody who goes on trying is told of again.
pub(super) const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Attempts of different processes that are told of in that time, each with a line of the journal.
pub(super) const TELL_LIMIT: usize = 20;
/// Processes whose attempts are counted one by one.
pub(super) const CALLERS: usize = 256;

/// Who tried, and what.
type Caller = (u32, u32, [u8; 16]);

/// What is known of one of them.
#[derive(Clone, Debug)]
pub struct Tries {
    /// How often.
    pub count: u64,
    /// The last attempt.
    pub last: Attempt,
    untold: u64,
    told: Option<Instant>,
}

/// Attempts that were refused, by who tried and what.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Those at gatekeepers that are gone.
    past: u64,
    /// At the one that stands: all of them, those that were looked at, and those for which the ring had no room.
    refused: u64,
    seen: u64,
    lost: u64,
    by: BTreeMap<Caller, Tries>,
    /// Of those that are not told of one by one.
    others: u64,
    since: Option<Instant>,
    told: usize,
}

impl Attempts {
    /// All of them, since the agent started.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.past + self.refused.max(self.seen + self.lost)
    }

    /// Another gatekeeper counts from the beginning.
    pub(super) fn begin_anew(&mut self) {
        self.past = self.total();
        (self.refused, self.seen, self.lost) = (0, 0, 0);
    }

    /// By who tried, the latest first.
    pub fn list(&self) -> Vec<&Tries> {
        let mut list: Vec<&Tries> = self.by.values().collect();
        list.sort_by_key(|tries| std::cmp::Reverse(tries.last.time_ns));
        list
    }

    /// Adds attempts, of which there were so many in all at this gatekeeper; what to tell.
    pub(super) fn take(&mut self, found: &[Attempt], refused: u64, now: Instant) -> Vec<String> {
        self.refused = self.refused.max(refused);
        self.seen += found.len() as u64;
        let lost = self.refused.saturating_sub(self.seen).max(self.lost);
        self.others += lost - self.lost;
        self.lost = lost;
        for attempt in found {
            self.add(attempt);
        }
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= TELL_AGAIN) {
            (self.since, self.told) = (Some(now), 0);
        }
        let mut lines = Vec::new();
        for tries in self.by.values_mut().filter(|tries| tries.untold != 0) {
            let due = tries.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_AGAIN);
            if due && self.told < TELL_LIMIT {
                self.told += 1;
                lines.push(line(&tries.last, tries.untold));
                (tries.untold, tries.told) = (0, Some(now));
            }
        }
        // The last line that may be told in that time is for all who had none.
        if self.others != 0 && self.told < TELL_LIMIT + 1 && (self.told == TELL_LIMIT || !lines.is_empty()) {
            self.told = TELL_LIMIT + 1;
            lines.push(format!("{} more attempts, which were not looked at one by one", self.others));
            self.others = 0;
        }
        lines
    }

    fn add(&mut self, attempt: &Attempt) {
        let caller = (attempt.reason, attempt.pid, attempt.comm);
        if self.by.len() >= CALLERS && !self.by.contains_key(&caller) {
            let quiet = self.by.iter().min_by_key(|(_, tries)| tries.last.time_ns).map(|(caller, _)| *caller);
            if let Some(gone) = quiet.and_then(|caller| self.by.remove(&caller)) {
                self.others += gone.untold;
            }
        }
        let first = || Tries { count: 0, last: *attempt, untold: 0, told: None };
        let tries = self.by.entry(caller).or_insert_with(first);
        (tries.count, tries.untold, tries.last) = (tries.count + 1, tries.untold + 1, *attempt);
    }
}

/// Why an attempt was refused, as people and programs read it.
#[must_use]
pub fn reason(attempt: &Attempt) -> &'static str {
    match attempt.reason {
        attempt::WHO => "not-the-agent",
        attempt::WHAT => "not-allowed",
        attempt::GATE => "map-of-the-gate",
        _ => "unknown",
    }
}

/// What somebody tried.
fn line(attempt: &Attempt, count: u64) -> String {
    let what = match attempt.reason {
        attempt::WHO => String::from("wanted to load a program, and is not the agent"),
        attempt::WHAT => {
            format!("wanted to load a program that is not allowed, with the digest {}", digest(&attempt.digest))
        }
        _ => String::from("wanted to open a map of the gatekeeper"),
    };
    let often = if count == 1 { String::new() } else { format!(", {count} times") };
    format!("process {} ({}) in cgroup {} {what}{often}", attempt.pid, name(&attempt.comm), attempt.cgroup)
}

/// The digest of the program, where that was the reason.
#[must_use]
pub fn digest_of(attempt: &Attempt) -> Option<String> {
    (attempt.reason == attempt::WHAT).then(|| digest(&attempt.digest))
}

/// A digest in digits, as many of them as the kernel keeps.
pub(super) fn digest(digest: &Digest) -> String {
    let (tag, rest) = digest.split_at(8);
    if rest.iter().all(|&byte| byte == 0) { crate::policy::hex(tag) } else { crate::policy::hex(digest) }
}
