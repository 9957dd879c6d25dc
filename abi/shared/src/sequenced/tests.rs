//! The protocol under every order that the memory model of C11 allows, as far as `loom` explores it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;

use super::*;
use crate::lanes::total;

impl Counter for AtomicU64 {
    fn load(&self) -> u64 {
        self.load(Relaxed)
    }
}

impl Look for AtomicU64 {
    fn acquire(&self) {
        fence(Acquire);
    }

    fn pause(&self) {
        thread::yield_now();
    }
}

/// As strong as the instructions that a program writes with, which are full barriers.
impl Claim for AtomicU64 {
    fn claim(&self, even: u64) -> bool {
        fence(SeqCst);
        let claimed = self.compare_exchange(even, even | 1, Relaxed, Relaxed).is_ok();
        fence(SeqCst);
        claimed
    }

    fn settle(&self, even: u64) {
        fence(SeqCst);
        self.swap(even, Relaxed);
        fence(SeqCst);
    }
}

/// Two words that are always written alike.
#[derive(Default)]
struct Pair<C> {
    counter: C,
    words: [AtomicU64; 2],
}

impl<C> Pair<C> {
    fn store(&self, number: u64) {
        self.words.iter().for_each(|word| word.store(number, Relaxed));
    }

    fn look(&self) -> [u64; 2] {
        [self.words[0].load(Relaxed), self.words[1].load(Relaxed)]
    }
}

/// Looks that a reader gets in a model: as many as make a difference with writers that write so often.
const FEW: u32 = 3;

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // One more each time doubles how long it takes.
    builder.preemption_bound = Some(4);
    builder.check(test);
}

#[test]
fn a_reader_sees_what_one_writer_left() {
    model(|| {
        let pair = Arc::new(Pair::<AtomicU64>::default());
        let writer = {
            let pair = Arc::clone(&pair);
            thread::spawn(move || (1..=2).for_each(|number| assert!(write(&pair.counter, || pair.store(number)))))
        };
        let mut last = 0;
        for _ in 0..2 {
            if let Ok([one, two]) = read(&pair.counter, FEW, || pair.look()) {
                assert_eq!(one, two, "torn");
                assert!(one >= last, "back in time");
                last = one;
            }
        }
        writer.join().unwrap();
        assert_eq!(read(&pair.counter, 1, || pair.look()), Ok([2, 2]), "the last one is there to stay");
    });
}

#[test]
fn of_two_writers_one_at_a_time_writes() {
    model(|| {
        let pair = Arc::new(Pair::<AtomicU64>::default());
        let writers = [1, 2].map(|number| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || write(&pair.counter, || pair.store(number)))
        });
        if let Ok([one, two]) = read(&pair.counter, FEW, || pair.look()) {
            assert_eq!(one, two, "torn");
        }
        let wrote = writers.map(|writer| writer.join().unwrap());
        assert!(wrote.contains(&true), "nobody came in");
        let [one, two] = read(&pair.counter, 1, || pair.look()).unwrap();
        assert!(one == two && one > 0, "{one} {two}");
        let times = wrote.iter().filter(|&&wrote| wrote).count() as u64;
        assert_eq!(pair.counter.load(Relaxed), 2 * times);
    });
}

#[test]
fn a_writer_that_died_half_way_stops_no_reader() {
    model(|| {
        let pair = Arc::new(Pair::<AtomicU64>::default());
        let writer = {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                assert!(pair.counter.claim(0));
                pair.words[0].store(1, Relaxed);
            })
        };
        match read(&pair.counter, FEW, || pair.look()) {
            Ok(seen) => assert_eq!(seen, [0, 0]),
            Err(Unsettled { sequence }) => assert_eq!(sequence, 1),
        }
        writer.join().unwrap();
        assert_eq!(read(&pair.counter, FEW, || pair.look()), Err(Unsettled { sequence: 1 }));
        assert!(!write(&pair.counter, || pair.store(2)), "who comes next must not think that it is alone");
    });
}

/// A counter whose accesses are in no order with others where `BROKEN` says so.
#[derive(Default)]
struct Broken<const BROKEN: u32>(AtomicU64);

const CLAIM: u32 = 0;
const SETTLE: u32 = 1;
const FIRST_LOOK: u32 = 2;

impl<const BROKEN: u32> Counter for Broken<BROKEN> {
    fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl<const BROKEN: u32> Look for Broken<BROKEN> {
    fn acquire(&self) {
        if BROKEN != FIRST_LOOK {
            fence(Acquire);
        }
    }

    fn pause(&self) {
        thread::yield_now();
    }
}

impl<const BROKEN: u32> Claim for Broken<BROKEN> {
    fn claim(&self, even: u64) -> bool {
        let claimed = self.0.compare_exchange(even, even | 1, Relaxed, Relaxed).is_ok();
        if BROKEN != CLAIM {
            fence(Release);
        }
        claimed
    }

    fn settle(&self, even: u64) {
        self.0.store(even, if BROKEN == SETTLE { Relaxed } else { Release });
    }
}

/// Whether some order tears a record.
fn tears<const BROKEN: u32>() -> bool {
    let run = || {
        model(|| {
            let pair = Arc::new(Pair::<Broken<BROKEN>>::default());
            let writer = {
                let pair = Arc::clone(&pair);
                thread::spawn(move || assert!(write(&pair.counter, || pair.store(1))))
            };
            if let Ok([one, two]) = read(&pair.counter, FEW, || pair.look()) {
                assert_eq!(one, two, "torn");
            }
            writer.join().unwrap();
        });
    };
    std::panic::catch_unwind(run).is_err()
}

#[test]
fn the_model_finds_each_barrier_that_is_not_there() {
    assert!(tears::<CLAIM>() && tears::<SETTLE>() && tears::<FIRST_LOOK>());
    // With no more than the barriers of the table in the module.
    assert!(!tears::<3>());
}

#[test]
fn counters_by_cpu_never_go_back_and_none_is_lost() {
    model(|| {
        let lanes = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        // A program counts by a load and a store: no other CPU writes there.
        let cpus = [0, 1].map(|cpu| {
            let lanes = Arc::clone(&lanes);
            thread::spawn(move || {
                for _ in 0..2 {
                    lanes[cpu].store(lanes[cpu].load(Relaxed) + 1, Relaxed);
                }
            })
        });
        let sum = || total(lanes.iter().map(|lane| lane.load(Relaxed)));
        let (first, second) = (sum(), sum());
        assert!(first <= second && second <= 4, "{first} {second}");
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        assert_eq!(sum(), 4);
    });
}
