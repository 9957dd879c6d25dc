//! Which verdicts become events: sampling and token buckets, as pure functions.

use gabion_abi::event::{Bucket, Settings, suppressed};
use gabion_abi::verdict::{DROP, Verdict, reason};

/// Nanoseconds of one tick of a bucket, as a power of two: no division in the kernel.
const TICK_SHIFT: u32 = 10;
/// Credit of one event: ticks a second.
const EVENT_CREDIT: u64 = 1_000_000_000 >> TICK_SHIFT;

/// How long an empty bucket is left alone: a few times what that clock is late.
const DRY_NS: u64 = 4 << 20;

/// Leaves an empty bucket alone for a moment, so that a flood of what is not reported any more need not ask for the
/// time. Not one whose burst would fill within that moment: it would give less than its rate.
#[inline(always)]
pub fn rest(bucket: &mut Bucket, rate: u32, burst: u32, about_ns: u64) {
    if rate as u64 <= burst as u64 * (1_000_000_000 / (2 * DRY_NS)) {
        bucket.dry_until_ns = about_ns + DRY_NS;
    }
}

/// Whether nothing is to be reported of a verdict, so that it can be left to counters. What is suppressed then, one of
/// [`suppressed`], or [`suppressed::COUNT`] when nothing is; or [`ASK`].
#[inline(always)]
pub fn hush(settings: &Settings, verdict: &Verdict, dry_until_ns: impl Fn() -> u64, about_ns: impl Fn() -> u64) -> u32 {
    if is_denial(verdict) {
        let until_ns = dry_until_ns();
        if until_ns != 0 && about_ns() < until_ns { suppressed::RATE_DENIED } else { ASK }
    } else if settings.allowed_sample == 0 && (verdict.log == 0 || verdict.reason != reason::RULE) {
        suppressed::COUNT
    } else {
        ASK
    }
}

/// [`hush`] cannot tell: [`report`] decides.
pub const ASK: u32 = u32::MAX;

/// What becomes of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nobody asks for it.
    No,
    /// Sampling left it out.
    SampledOut,
    /// It is sent when its bucket has a token.
    Yes(Limit),
}

/// How a kind of event is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Events a second.
    pub rate: u32,
    /// Events at once.
    pub burst: u32,
    /// One of [`suppressed`].
    pub suppressed: u32,
}

/// Whether the verdict is, or but for audit would be, a denial.
#[must_use]
#[inline(always)]
pub const fn is_denial(verdict: &Verdict) -> bool {
    verdict.action == DROP || verdict.reason == reason::AUDIT_RULE || verdict.reason == reason::AUDIT_MODE
}

/// Which bucket limits it: 0 for denials, 1 for what passes.
#[must_use]
#[inline(always)]
pub const fn bucket_of(verdict: &Verdict) -> u32 {
    if is_denial(verdict) { 0 } else { 1 }
}

/// Whether the verdict is to be reported.
#[inline(always)]
pub fn report(settings: &Settings, verdict: &Verdict, bucket: &mut Bucket) -> Report {
    if is_denial(verdict) {
        return Report::Yes(Limit {
            rate: settings.denied_rate,
            burst: settings.denied_burst,
            suppressed: suppressed::RATE_DENIED,
        });
    }
    // Log is asked for by the entry that decides, and what passes for another reason was not decided by it.
    let asked = verdict.log != 0 && verdict.reason == reason::RULE;
    if !asked {
        if settings.allowed_sample == 0 {
            return Report::No;
        }
        bucket.skipped += 1;
        if bucket.skipped < settings.allowed_sample as u64 {
            return Report::SampledOut;
        }
        bucket.skipped = 0;
    }
    Report::Yes(Limit {
        rate: settings.allowed_rate,
        burst: settings.allowed_rate,
        suppressed: suppressed::RATE_ALLOWED,
    })
}

/// Takes a token. A bucket that was never used is full.
#[inline(always)]
pub fn take(bucket: &mut Bucket, rate: u32, burst: u32, now_ns: u64) -> bool {
    let full = burst as u64 * EVENT_CREDIT;
    let ticks = now_ns.saturating_sub(bucket.filled_ns) >> TICK_SHIFT;
    if bucket.filled_ns == 0 || ticks > u32::MAX as u64 {
        bucket.credit = full;
        bucket.filled_ns = now_ns;
    } else if ticks > 0 {
        // Two factors below 2^32: the product fits. Only whole ticks are taken, so that none is lost.
        bucket.credit = bucket.credit.saturating_add(ticks * rate as u64);
        bucket.filled_ns += ticks << TICK_SHIFT;
    }
    if bucket.credit > full {
        bucket.credit = full;
    }
    if bucket.credit < EVENT_CREDIT {
        return false;
    }
    bucket.credit -= EVENT_CREDIT;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_abi::verdict::PASS;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::default();
        let mut taken = |now, tries: u32| (0..tries).filter(|_| take(&mut bucket, 10, 3, now)).count();
        assert_eq!(taken(SECOND, 100), 3);
        assert_eq!(taken(SECOND + SECOND * 21 / 100, 100), 2, "two in a fifth of a second");
        assert_eq!(taken(100 * SECOND, 100), 3, "never more than the burst");
    }

    #[test]
    fn many_packets_in_one_tick_do_not_lose_credit() {
        let mut bucket = Bucket::default();
        let mut sent = 0;
        for now in (SECOND..2 * SECOND).step_by(700) {
            sent += u32::from(take(&mut bucket, 1000, 1, now));
        }
        assert!((995..=1001).contains(&sent), "{sent} of 1000");
    }

    #[test]
    fn sampling_skips_all_but_one_in_so_many_and_log_is_not_sampled() {
        let settings = Settings { allowed_sample: 4, allowed_rate: 1, ..Settings::default() };
        let allowed = Verdict { action: PASS, reason: reason::RULE, ..Verdict::default() };
        let mut bucket = Bucket::default();
        let sent = (0..12).filter(|_| matches!(report(&settings, &allowed, &mut bucket), Report::Yes(_))).count();
        assert_eq!(sent, 3);
        let logged = Verdict { log: 1, ..allowed };
        assert!(matches!(report(&Settings::default(), &logged, &mut bucket), Report::Yes(_)));
        assert_eq!(report(&Settings::default(), &allowed, &mut bucket), Report::No);
        let reply = Verdict { reason: reason::REPLY, ..logged };
        assert_eq!(report(&Settings::default(), &reply, &mut bucket), Report::No, "the rule that asks did not decide");
    }

    /// What is told of a flood in `seconds`, asked for as the kernel programs do. The clock that may be late ticks
    /// every 4 ms. Gives the events, and how often the exact clock was asked.
    fn flood(rate: u32, burst: u32, gap_ns: u64, seconds: u64) -> (u64, u64) {
        let settings = Settings { denied_rate: rate, denied_burst: burst, ..Settings::default() };
        let denied = Verdict { action: DROP, ..Verdict::default() };
        let mut bucket = Bucket::default();
        let (mut sent, mut asked) = (0, 0);
        let start = 1_000 * SECOND + 1_234_567;
        let mut now_ns = start;
        while now_ns < start + seconds * SECOND {
            let about_ns = now_ns / 4_000_000 * 4_000_000;
            if hush(&settings, &denied, || bucket.dry_until_ns, || about_ns) == ASK {
                asked += 1;
                let Report::Yes(limit) = report(&settings, &denied, &mut bucket) else { return (0, 0) };
                if take(&mut bucket, limit.rate, limit.burst, now_ns) {
                    sent += 1;
                } else {
                    rest(&mut bucket, limit.rate, limit.burst, about_ns);
                }
            }
            now_ns += gap_ns;
        }
        (sent, asked)
    }

    #[test]
    fn a_bucket_that_rests_gives_its_rate() {
        for (rate, burst) in [(10, 20), (100, 200), (1_000, 1_000), (1_000, 9), (1_000, 8), (1_000, 2), (5_000, 42)] {
            for gap_ns in [7_001, 100_003] {
                let (sent, asked) = flood(rate, burst, gap_ns, 4);
                // A packet comes only every so often; one event may still be under way at either end.
                let least = u64::from(rate) * 4 + u64::from(burst) - 2 - u64::from(rate) * 4 / 200;
                let most = u64::from(rate) * 4 + u64::from(burst);
                assert!((least..=most).contains(&sent), "{rate} a second, {burst} at once: {sent} of {least}..={most}");
                if burst as u64 * 100 > rate as u64 && gap_ns < 10_000 {
                    assert!(asked < 4 * SECOND / gap_ns / 4, "{rate} a second, {burst} at once: asked {asked} times");
                }
            }
        }
    }

    #[test]
    fn a_bucket_that_would_fill_meanwhile_does_not_rest() {
        for (rate, burst, rests) in
            [(119, 1, true), (120, 1, false), (1190, 10, true), (1200, 10, false), (1, 0, false)]
        {
            let mut bucket = Bucket::default();
            rest(&mut bucket, rate, burst, SECOND);
            assert_eq!(bucket.dry_until_ns != 0, rests, "{rate} a second, {burst} at once");
        }
    }

    #[test]
    fn nothing_is_hushed_that_somebody_may_ask_for() {
        let time = || SECOND;
        let hushed = |settings: &Settings, verdict: &Verdict, until| hush(settings, verdict, || until, time);
        let quiet = Settings::default();
        let sampled = Settings { allowed_sample: 1, ..quiet };
        let passed = Verdict::default();
        let logged = Verdict { log: 1, ..passed };
        let reply = Verdict { reason: reason::REPLY, ..logged };
        for verdict in [passed, reply] {
            assert_eq!(hushed(&quiet, &verdict, SECOND + 1), suppressed::COUNT);
            assert_eq!(hushed(&sampled, &verdict, SECOND + 1), ASK);
        }
        assert_eq!(hushed(&quiet, &logged, SECOND + 1), ASK);
        let audited = |reason| Verdict { reason, ..Verdict::default() };
        for denied in [Verdict { action: DROP, ..passed }, audited(reason::AUDIT_RULE), audited(reason::AUDIT_MODE)] {
            assert_eq!(hushed(&quiet, &denied, 0), ASK, "never dry");
            assert_eq!(hushed(&quiet, &denied, SECOND), ASK, "no more");
            assert_eq!(hushed(&quiet, &denied, SECOND + 1), suppressed::RATE_DENIED);
        }
    }
}
