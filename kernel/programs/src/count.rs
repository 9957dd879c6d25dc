//! Counters and events: what a verdict leaves behind.

use gabion_abi::event::{Bucket, Event, REASONS, suppressed};
use gabion_abi::verdict::{Count, Verdict, hook, reason};
use gabion_kernel_core::judge::{Case, counted_rules};
use gabion_kernel_core::report::{ASK, Report, bucket_of, hush, report, rest, take};

use crate::world::{about_ns, generation, now_ns};
use crate::{maps, memory};

#[inline(always)]
fn add(count: *mut Count, bytes: u64) {
    // SAFETY: the callers' places are this CPU's own, and a program is not interrupted by another that counts.
    unsafe {
        (*count).packets += 1;
        (*count).bytes += bytes;
    }
}

#[inline(always)]
fn suppress(why: u32) {
    if let Some(tally) = memory::tally() {
        // SAFETY: as in `add`.
        if let Some(count) = unsafe { (*tally).suppressed.get_mut(why as usize) } {
            *count += 1;
        }
    }
}

/// This CPU's bucket for verdicts like this one.
#[inline(always)]
fn bucket(verdict: &Verdict) -> Option<*mut Bucket> {
    // SAFETY: as in `add`; only the place is taken here.
    unsafe { memory::tally().map(|tally| &raw mut (*tally).buckets[bucket_of(verdict) as usize & 1]) }
}

/// Counts the verdict, and reports it when the settings want it. A global function: verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_count(case: *const Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: the only callers pass a reference; the verifier checks the size against the type.
    count(unsafe { &*case });
    1
}

/// Counts a verdict that nobody is told of. False, and nothing is counted, when somebody might be.
#[inline(always)]
pub fn count_silently(verdict: &Verdict, length: u32) -> bool {
    // SAFETY: this CPU's own place, as in `add`.
    let dry_until_ns = || bucket(verdict).map_or(0, |bucket| unsafe { (*bucket).dry_until_ns });
    let why = hush(memory::settings(), verdict, dry_until_ns, about_ns);
    if why == ASK {
        return false;
    }
    if why < suppressed::COUNT {
        suppress(why);
    }
    tally(verdict, length);
    true
}

#[inline(always)]
fn tally(verdict: &Verdict, length: u32) {
    let index = (verdict.action & 1) as usize * reason::COUNT as usize + verdict.reason as usize;
    if let Some(tally) = memory::tally()
        && index < REASONS
    {
        // SAFETY: within, as just checked; as in `add` for the rest.
        add(unsafe { (&raw mut (*tally).reasons).cast::<Count>().wrapping_add(index) }, length as u64);
    }
    for rule in counted_rules(verdict) {
        // No rule is beyond all of them.
        if let Some(count) = memory::rule(rule) {
            add(count, length as u64);
        }
    }
}

#[inline(always)]
fn count(case: &Case) {
    let length = case.length;
    let verdict = &case.verdict;
    tally(verdict, length);
    let settings = memory::settings();
    let Some(bucket) = bucket(verdict) else { return };
    // SAFETY: this CPU's own place, as in `add`; nothing else refers to it while the program runs.
    let bucket = unsafe { &mut *bucket };
    let limit = match report(settings, verdict, bucket) {
        Report::No => return,
        Report::SampledOut => return suppress(suppressed::SAMPLED_OUT),
        Report::Yes(limit) => limit,
    };
    let time_ns = now_ns();
    if !take(bucket, limit.rate, limit.burst, time_ns) {
        rest(bucket, limit.rate, limit.burst, about_ns());
        return suppress(limit.suppressed);
    }
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        return suppress(suppressed::RING_FULL);
    };
    entry.write(Event {
        time_ns,
        facts: case.facts,
        verdict: *verdict,
        generation: generation(),
        ifindex: if case.place.hook == hook::INGRESS as u32 {
            case.place.source_ifindex
        } else {
            case.place.destination_ifindex
        },
        length,
        hook: case.place.hook as u8,
        padding: [0; 3],
    });
    entry.submit(0);
}
