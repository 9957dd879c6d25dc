//! Counters and events: what a verdict leaves behind.

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use gabion_abi::event::{Event, REASONS, Tally, suppressed};
use gabion_abi::verdict::{Count, Verdict, hook, reason};
use gabion_kernel_core::blocks::Bounded;
use gabion_kernel_core::judge::{Case, counted_rules};
use gabion_kernel_core::report::{ASK, Report, bucket_of, hush, report, rest, take};

use crate::world::{about_ns, now_ns};
use crate::{maps, memory};

#[inline(always)]
fn add(count: &mut Count, bytes: u64) {
    count.packets += 1;
    count.bytes += bytes;
}

#[inline(always)]
fn suppress(tally: &mut Tally, why: u32) {
    tally.suppressed[Bounded::masked(why)] += 1;
}

/// Counts the verdict, and reports it when the settings want it. A global function: verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_count(case: *const Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: the only callers pass a reference; the verifier checks the size against the type.
    count(unsafe { &*case }, || 0);
    1
}

/// The same of a packet that departs, which the socket that sent it may be known of.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_egress_count(context: *mut __sk_buff, case: *const Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: as above; the context is the kernel's.
    count(unsafe { &*case }, || unsafe { bpf_get_socket_cookie(context.cast()) });
    1
}

/// Counts a verdict that nobody is told of. False, and nothing is counted, when somebody might be.
#[inline(always)]
pub fn count_silently(verdict: &Verdict, length: u32, about_ns: impl Fn() -> u64) -> bool {
    let tally = memory::tally();
    let dry_until_ns = || tally.buckets[Bounded::masked(bucket_of(verdict))].dry_until_ns;
    let why = hush(memory::settings(), verdict, dry_until_ns, about_ns);
    if why == ASK {
        return false;
    }
    if why < suppressed::COUNT {
        suppress(tally, why);
    }
    count_all(tally, verdict, length);
    true
}

#[inline(always)]
fn count_all(tally: &mut Tally, verdict: &Verdict, length: u32) {
    let mut index = u64::from(verdict.action) * u64::from(reason::COUNT) + u64::from(verdict.reason);
    // The compiler knows that this is an index, and would leave a mask out that it sees. The verifier of 6.1 does not
    // know it: the bits that a reason is made of come from tables.
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{0} &= {1}", inlateout(reg) index, const REASONS - 1, options(pure, nomem, nostack, preserves_flags));
    }
    add(&mut tally.reasons[Bounded::masked(index as u32)], length as u64);
    for rule in counted_rules(verdict) {
        // No rule is beyond all of them.
        if let Some(count) = memory::rule(rule) {
            // SAFETY: this CPU's own place; as `tally`.
            add(unsafe { &mut *count }, length as u64);
        }
    }
}

/// `socket` is asked for when there is an event.
#[inline(always)]
fn count(case: &Case, socket: impl FnOnce() -> u64) {
    let length = case.length;
    let verdict = &case.verdict;
    let tally = memory::tally();
    count_all(tally, verdict, length);
    let settings = memory::settings();
    let bucket = &mut tally.buckets[Bounded::masked(bucket_of(verdict))];
    let limit = match report(settings, verdict, bucket) {
        Report::No => return,
        Report::SampledOut => return suppress(tally, suppressed::SAMPLED_OUT),
        Report::Yes(limit) => limit,
    };
    let time_ns = now_ns();
    if !take(bucket, limit.rate, limit.burst, time_ns) {
        rest(bucket, limit.rate, limit.burst, about_ns());
        return suppress(tally, limit.suppressed);
    }
    let socket = socket();
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        return suppress(tally, suppressed::RING_FULL);
    };
    entry.write(Event {
        time_ns,
        socket,
        facts: case.facts,
        verdict: *verdict,
        generation: memory::generation(),
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
