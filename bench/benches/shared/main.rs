//! What it costs to read a record of 64 bytes that a kernel program writes, in place and by a system call, and what it
//! costs the program. All of them in turn, many times. `./x bench shared [ROUNDS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aya::maps::{Array, MapData};
use gabion_bench::{Figure, load, report};
use gabion_shared::{Sequenced, Shared, field};
use gabion_testing_shared::programs::{COUNTS, CPUS, SEQUENCED, Stamp, WORDS, Written};
use gabion_testing_shared::{Kernel, Program, stay_on};

/// Reads that are timed together.
const BATCH: u32 = 20_000;
/// Stamps that one system call writes.
const WRITES: u32 = 100_000;

fn main() -> ExitCode {
    let first = std::env::args().skip(1).find(|argument| argument != "--bench");
    match measure(first.map_or(51, |rounds| rounds.parse().expect("a number of rounds"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shared: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nanoseconds that one of these takes.
fn timed(mut one: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..BATCH {
        one();
    }
    start.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

fn measure(rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let before = load();
    let kernel = Kernel::load()?;
    kernel.run(Program::Sequenced, 1)?;
    let shared = kernel.open(&SEQUENCED)?;
    let counts = kernel.open(&COUNTS)?;
    let (lanes, stamps) = (counts.lanes(CPUS), field!(Written, stamps));
    let first = field!(Stamp, words).element(0).expect("there are eight");
    let data = MapData::from_id(kernel.map(SEQUENCED.name())?.info()?.id())?;
    let map: Array<_, [u64; WORDS + 1]> = aya::maps::Map::Array(data).try_into()?;
    assert_eq!(map.get(&0, 0)?[1..], shared.read(0)?.words, "both read the same");

    stay_on(1)?;
    let names = [
        "read the record (ns)",
        "one field of it, in place (ns)",
        "one word of a counter (ns)",
        "a counter, sum over 64 CPUs (ns)",
        "lookup system call (ns)",
        "ratio of lookup to read",
        "write, sequenced (ns)",
        "write, word by word without order (ns)",
        "read while another CPU writes (ns)",
        "lookup while another CPU writes (ns)",
    ];
    let mut values = vec![Vec::new(); names.len()];
    for _ in 0..rounds {
        let read = timed(|| {
            black_box(shared.read(black_box(0)).expect("nobody writes it now"));
        });
        let field = timed(|| {
            black_box(shared.slot(black_box(0)).map(|slot| slot.look(|stamp| stamp.field(first).load())));
        });
        let word = timed(|| {
            black_box(counts.slot(black_box(0)).map(|slot| slot.field(stamps).load()));
        });
        let sum = timed(|| {
            black_box(lanes.sum(black_box(0), stamps));
        });
        let lookup = timed(|| {
            black_box(map.get(&black_box(0), 0).expect("there is one"));
        });
        let writes = [Program::Sequenced, Program::Unguarded].map(|program| kernel.run(program, WRITES));
        let [sequenced, unguarded] = writes;
        let busy = busy(&kernel, &shared, &map)?;
        let all =
            [read, field, word, sum, lookup, lookup / read, sequenced? as f64, unguarded? as f64, busy[0], busy[1]];
        values.iter_mut().zip(all).for_each(|(values, value)| values.push(value));
    }
    let figures: Vec<Figure> =
        names.iter().zip(values).filter_map(|(name, values)| Figure::new(*name, values)).collect();
    report("shared", before, &figures)?;
    Ok(())
}

/// The same while a program writes on the other CPU: reads that succeeded, and lookups, which see whatever is there.
fn busy(
    kernel: &Kernel,
    shared: &Shared<Sequenced<Stamp>>,
    map: &Array<MapData, [u64; WORDS + 1]>,
) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            stay_on(0)?;
            while !done.load(Ordering::Relaxed) {
                kernel.run(Program::Sequenced, WRITES)?;
            }
            Ok::<(), gabion_testing_shared::Failure>(())
        });
        let slot = shared.slot(0).expect("there is one");
        // It has begun.
        let first = slot.read();
        while slot.read() == first && !writer.is_finished() {}
        let read = timed(|| while black_box(slot.read()).is_err() {});
        let lookup = timed(|| {
            black_box(map.get(&black_box(0), 0).expect("there is one"));
        });
        done.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        Ok([read, lookup])
    })
}
