//! Kernel programs write shared memory on one CPU while readers look from another: what they see is what was written.
//! Needs root and the programs; says so and passes without, unless `./x test` demands them.
//!
//! `GABION_LOAD_SECONDS` says how long each load lasts; two seconds otherwise.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, IterableMap as _, MapData};
use gabion_abi::contract::Memory;
use gabion_contracts::Said;
use gabion_shared::{OpenError, Sequenced, Shared, Torn, field};
use gabion_testing_shared::programs::{COUNTS, CPUS, SAID, SEQUENCED, Stamp, UNGUARDED, WORDS, Written};
use gabion_testing_shared::{Kernel, Program, stay_on};

/// Stamps that are written by one system call.
const BATCH: u32 = 200_000;

/// Whether loading is possible here.
fn can_load() -> bool {
    let missing = match gabion_testing_shared::object() {
        _ if !nix::unistd::geteuid().is_root() => "not root".to_owned(),
        Ok(_) => return true,
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
    println!("skipped: {missing}");
    false
}

fn load_for() -> Duration {
    let seconds = std::env::var("GABION_LOAD_SECONDS").ok().map_or(2, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// What a reader saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    reads: u64,
    /// Reads of another stamp than the one before.
    changed: u64,
    /// Looks that were not good enough.
    retries: u64,
    unsettled: u64,
    torn: u64,
    backwards: u64,
}

/// Reads a record by `read` until the programs on `writers` are done, which run as long as a load lasts.
fn under_load(
    kernel: &Kernel,
    program: Program,
    writers: &[usize],
    reader: usize,
    read: impl Fn() -> (Option<Stamp>, u64),
) -> Seen {
    let (done, mut seen) = (AtomicBool::new(false), Seen::default());
    // What nobody wrote yet is no stamp.
    kernel.run(program, 1).unwrap();
    std::thread::scope(|scope| {
        let until = Instant::now() + load_for();
        let writing: Vec<_> = writers
            .iter()
            .map(|&cpu| {
                scope.spawn(move || {
                    stay_on(cpu).unwrap();
                    while Instant::now() < until {
                        kernel.run(program, BATCH).unwrap();
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            let ended: Vec<_> = writing.into_iter().map(|writer| writer.join()).collect();
            done.store(true, Ordering::Relaxed);
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        stay_on(reader).unwrap();
        let mut last = [0; CPUS];
        let mut before = None;
        while !done.load(Ordering::Relaxed) {
            let (stamp, retries) = read();
            seen.reads += 1;
            seen.retries += retries;
            let Some(stamp) = stamp else {
                seen.unsettled += 1;
                continue;
            };
            if before != Some(stamp.words[0]) {
                seen.changed += 1;
                before = Some(stamp.words[0]);
            }
            if !stamp.is_whole() {
                seen.torn += 1;
                continue;
            }
            let (cpu, number) = ((stamp.words[0] as usize) % CPUS, stamp.words[0] >> 6);
            seen.backwards += u64::from(number < last[cpu]);
            last[cpu] = number;
        }
    });
    seen
}

/// One read, and how many looks it took beyond the first.
fn counted(shared: &Shared<Sequenced<Stamp>>) -> (Option<Stamp>, u64) {
    let looks = std::cell::Cell::new(0);
    let slot = shared.slot(0).unwrap();
    let words = field!(Stamp, words);
    let seen = slot.look(|stamp| {
        looks.set(looks.get() + 1);
        let word = |at| words.element(at).map_or(0, |word| stamp.field(word).load());
        Stamp { words: std::array::from_fn(word) }
    });
    (seen.ok(), looks.get().max(1) - 1)
}

fn report(what: &str, kernel: &Kernel, seen: Seen) {
    let counts = kernel.open(&COUNTS).unwrap();
    let (stamps, busy) = {
        let lanes = counts.lanes(CPUS);
        (lanes.sum(0, field!(Written, stamps)), lanes.sum(0, field!(Written, busy)))
    };
    println!("{what}: {stamps} written, {busy} not since another was writing; {seen:?}");
}

/// CPUs of this machine for a writer and a reader: the same if there is but one.
fn two_cpus() -> (usize, usize) {
    let cpus = std::thread::available_parallelism().unwrap().get();
    (0, cpus.min(2) - 1)
}

#[test]
fn no_read_under_load_is_torn() {
    if !can_load() {
        return;
    }
    let (kernel, (writer, reader)) = (Kernel::load().unwrap(), two_cpus());
    let walked = kernel.walked(Program::Sequenced).unwrap();
    println!("{}: {walked} instructions walked", Program::Sequenced.name());
    let shared = kernel.open(&SEQUENCED).unwrap();
    let seen = under_load(&kernel, Program::Sequenced, &[writer], reader, || counted(&shared));
    report("one writer", &kernel, seen);
    assert!(seen.changed > 1, "the reader saw nobody write: {seen:?}");
    assert_eq!((seen.torn, seen.backwards), (0, 0), "{seen:?}");
    let last = shared.read(0).unwrap();
    assert!(last.is_whole());
}

#[test]
fn with_two_writers_no_read_is_torn_either() {
    if !can_load() {
        return;
    }
    let (kernel, (one, two)) = (Kernel::load().unwrap(), two_cpus());
    let shared = kernel.open(&SEQUENCED).unwrap();
    let seen = under_load(&kernel, Program::Sequenced, &[one, two], two, || counted(&shared));
    report("two writers", &kernel, seen);
    assert_eq!((seen.torn, seen.backwards), (0, 0), "{seen:?}");
}

#[test]
fn what_is_written_without_the_protocol_is_seen_torn() {
    if !can_load() {
        return;
    }
    let (kernel, (writer, reader)) = (Kernel::load().unwrap(), two_cpus());
    if writer == reader {
        return println!("skipped: one CPU, on which nobody reads while a program runs");
    }
    let shared = kernel.open(&UNGUARDED).unwrap();
    let seen = under_load(&kernel, Program::Unguarded, &[writer], reader, || counted(&shared));
    report("no protocol", &kernel, seen);
    assert!(seen.torn > 0, "this load tears nothing, so that it shows nothing: {seen:?}");
}

#[test]
fn counters_by_cpu_are_read_while_they_count() {
    if !can_load() {
        return;
    }
    let (kernel, (writer, reader)) = (Kernel::load().unwrap(), two_cpus());
    let counts = kernel.open(&COUNTS).unwrap();
    let (lanes, stamps) = (counts.lanes(CPUS), field!(Written, stamps));
    assert_eq!((lanes.each(), lanes.sum(1, stamps)), (1, 0));
    const RUNS: u64 = 10;
    std::thread::scope(|scope| {
        let kernel = &kernel;
        let writing = scope.spawn(move || {
            stay_on(writer).unwrap();
            for _ in 0..RUNS {
                kernel.run(Program::Sequenced, BATCH).unwrap();
            }
        });
        stay_on(reader).unwrap();
        let mut last = 0;
        while !writing.is_finished() {
            let sum = lanes.sum(0, stamps);
            assert!(sum >= last, "{sum} after {last}");
            last = sum;
        }
    });
    assert_eq!(lanes.sum(0, stamps), RUNS * u64::from(BATCH));
    assert_eq!(counts.slot(writer).unwrap().field(stamps).load(), RUNS * u64::from(BATCH));
}

#[test]
fn a_writer_that_died_half_way_is_told() {
    if !can_load() {
        return;
    }
    let kernel = Kernel::load().unwrap();
    let shared = kernel.open(&SEQUENCED).unwrap();
    assert_eq!(shared.read(0), Ok(Stamp::default()), "all zeroes are a record");
    kernel.run(Program::Sequenced, 3).unwrap();
    let data = MapData::from_id(kernel.map(SEQUENCED.name()).unwrap().info().unwrap().id()).unwrap();
    let mut map: Array<_, [u64; WORDS + 1]> = aya::maps::Map::Array(data).try_into().unwrap();
    let mut words = map.get(&0, 0).unwrap();
    assert_eq!(words[0], 6, "three times two");
    words[0] = 7;
    map.set(0, words, 0).unwrap();
    let torn = shared.read(0).unwrap_err();
    assert_eq!(torn, Torn::Unsettled { map: "SEQUENCED", index: 0, sequence: 7 });
    assert!(torn.to_string().contains("map SEQUENCED: record 0"), "{torn}");
    kernel.run(Program::Sequenced, 5).unwrap();
    assert_eq!(shared.read(0), Err(torn), "no program goes on where another stopped");
    let lanes = kernel.open(&COUNTS).unwrap();
    assert_eq!(lanes.lanes(CPUS).sum(0, field!(Written, busy)), 5);
    assert_eq!(shared.read(1), Err(Torn::Beyond { map: "SEQUENCED", index: 1, length: 1 }));
}

/// As [`Written`] once was.
mod older {
    use gabion_abi::contract::{Contract, Memory, Set};

    #[repr(C)]
    #[derive(Contract, Clone, Copy)]
    pub struct Written {
        pub stamps: u64,
        pub busy: u32,
        pub padding: [u32; 13],
    }

    pub const COUNTS: Memory<Written> = Memory::new("COUNTS");
    pub const SAID: Set<'static> = Set { records: &[Written::SHAPE], places: &[COUNTS.place()], ..super::SAID };
}

fn refused<T: gabion_abi::contract::Contract + Copy>(map: &MapData, memory: &Memory<T>, said: &Said<'_>) -> String {
    let error: OpenError = Shared::open(map, memory, said).unwrap_err();
    error.to_string()
}

#[test]
fn a_map_that_is_something_else_is_not_opened() {
    if !can_load() {
        return;
    }
    let kernel = Kernel::load().unwrap();
    let counts = kernel.map(COUNTS.name()).unwrap();
    let text = gabion_contracts::text(&SAID);
    let said = Said::of(&SAID, text.as_bytes()).unwrap();
    // The other side is older than we are.
    let old = gabion_contracts::text(&older::SAID);
    let error = refused(counts, &COUNTS, &Said::of(&SAID, old.as_bytes()).unwrap());
    assert_eq!(error, "map COUNTS: Written.busy: expected u64 at 8, found u32 at 8");
    // We ask for what is not there.
    let error = refused(counts, &Memory::<u64>::new("COUNTS"), &said);
    assert_eq!(error, "map COUNTS: place: expected memory of u64, found memory of Written");
    let error = refused(counts, &Memory::<u64>::new("ELSEWHERE"), &said);
    assert_eq!(error, "map ELSEWHERE: place: expected memory of u64, found nothing");
    // What is said is right, and the map is another.
    let error = refused(kernel.map(SEQUENCED.name()).unwrap(), &COUNTS, &said);
    assert_eq!(error, "map COUNTS: size: expected a multiple of 64 bytes, those of a record, found 72 bytes");
    let made = |elements, flags| {
        let map: Array<MapData, [u64; 8]> = Array::create(elements, flags).unwrap();
        let id = map.map().info().unwrap().id();
        (MapData::from_id(id).unwrap(), map)
    };
    let error = refused(&made(1, 0).0, &COUNTS, &said);
    assert_eq!(error, "map COUNTS: flags: expected BPF_F_MMAPABLE (0x400), found 0x0");
    let error = refused(&made(2, 0x400).0, &COUNTS, &said);
    assert_eq!(error, "map COUNTS: elements: expected 1, found 2");
}
