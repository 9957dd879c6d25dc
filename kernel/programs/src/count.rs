//! Counters and events: what a verdict leaves behind.

use aya_ebpf::maps::PerCpuArray;
use gabion_abi::event::{Event, suppressed};
use gabion_abi::verdict::{Count, NO_RULE, Verdict, hook, reason};
use gabion_kernel_core::judge::{Case, World, counted_rules};
use gabion_kernel_core::report::{ASK, Report, bucket_of, hush, report, rest, take};

use crate::maps;
use crate::world::{Maps, about_ns};

#[inline(always)]
fn add(counts: &PerCpuArray<Count>, index: u32, bytes: u64) {
    if let Some(count) = counts.get_ptr_mut(index) {
        // SAFETY: this CPU's own element, and a program is not interrupted by another on the same map.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += bytes;
        }
    }
}

#[inline(always)]
fn suppress(why: u32) {
    if let Some(count) = maps::SUPPRESSED.get_ptr_mut(why) {
        // SAFETY: as in `add`.
        unsafe { *count += 1 };
    }
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
    let Some(settings) = maps::SETTINGS.get(0) else { return false };
    // SAFETY: this CPU's own element, as in `add`.
    let dry_until_ns =
        || maps::BUCKETS.get_ptr(bucket_of(verdict)).map_or(0, |bucket| unsafe { (*bucket).dry_until_ns });
    let why = hush(settings, verdict, dry_until_ns, about_ns);
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
    add(
        &maps::REASON_COUNTS,
        (verdict.action & 1) as u32 * reason::COUNT as u32 + verdict.reason as u32,
        length as u64,
    );
    for rule in counted_rules(verdict) {
        if rule != NO_RULE {
            add(&maps::RULE_COUNTS, rule, length as u64);
        }
    }
}

#[inline(always)]
fn count(case: &Case) {
    let length = case.length;
    let verdict = &case.verdict;
    tally(verdict, length);
    let Some(settings) = maps::SETTINGS.get(0) else { return };
    let bucket = maps::BUCKETS.get_ptr_mut(bucket_of(verdict));
    let Some(bucket) = bucket else { return };
    // SAFETY: this CPU's own element, as in `add`; nothing else refers to it while the program runs.
    let bucket = unsafe { &mut *bucket };
    let limit = match report(settings, verdict, bucket) {
        Report::No => return,
        Report::SampledOut => return suppress(suppressed::SAMPLED_OUT),
        Report::Yes(limit) => limit,
    };
    let time_ns = Maps.now_ns();
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
        generation: Maps.generation(),
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
