//! Traffic that goes on while something happens.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gabion_testing_site::frame::holds;

use crate::End::{Client, Server};
use crate::{Bench, way};

/// UDP port of the server to which [`under_traffic`] sends what the policy is to allow.
pub const ALLOWED: u16 = 5_000;
/// And what it is to forbid.
pub const FORBIDDEN: u16 = 5_001;

/// Sends allowed and forbidden packets in turn while something happens. Gives back how many were sent
/// and how many of each arrived.
pub fn under_traffic(bench: &Bench, happens: impl FnOnce()) -> (u64, u64, u64) {
    let (good, bad) = (bench.mark(), bench.mark());
    let tap = bench.tap(Server);
    let allowed = tap.watch({
        let mark = good.clone();
        move |frame| holds(frame, &mark)
    });
    let forbidden = tap.watch({
        let mark = bad.clone();
        move |frame| holds(frame, &mark)
    });
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let transmitter = bench.transmitter(Client, Server);
    let way = way(Client, Server, false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                transmitter.send(&way.udp(700, FORBIDDEN, &bad)).unwrap();
                transmitter.send(&way.udp(700, ALLOWED, &good)).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
                // About 5,000 a second: dense enough to meet every gap, and leaves the machine to the agent.
                thread::sleep(Duration::from_micros(200));
            }
        });
        // Also when this panics the sender has to end, or the scope would wait for it for ever.
        let happened = catch_unwind(AssertUnwindSafe(happens));
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        happened.unwrap_or_else(|panic| resume_unwind(panic));
    });
    bench.fence(Client, Server);
    let sent = sent.into_inner();
    let counts = (sent, allowed.seen(), forbidden.seen());
    tap.clear();
    counts
}
