//! What a decision reads: counted on the host, over the same tables and with the same code as in the kernel.
//!
//! Where the processor does not count cache misses for us, the number of cache lines that a decision touches, and how
//! many of them caches like this machine's would not hold any more, is the next best thing, and does not depend on
//! who else is busy.

use std::cell::RefCell;
use std::collections::HashSet;

use gabion_abi::facts::FAMILY_V4;
use gabion_abi::tables::entry;
use gabion_kernel_core::classify::{SliceTables, Tables, classify, classify_by_lane};
use gabion_kernel_core::short;
use gabion_policy_compile::Compiled;

use crate::header::Header;

/// Words in a cache line.
const LINE_WORDS: u32 = 8;

/// What the decisions on a trace read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loads {
    /// Words that a decision reads, on average.
    pub words: f64,
    /// The most that one reads.
    pub most_words: usize,
    /// Cache lines that a decision reads from, its counter's included, on average.
    pub lines: f64,
    /// Those of them that a first cache (24 KiB of tables) and that a second one (512 KiB) does not hold any more when
    /// the trace comes again.
    pub misses: [f64; 2],
    /// Bytes of all lines of tables that any decision of the trace reads from.
    pub touched_bytes: usize,
}

struct Counting<'t> {
    tables: SliceTables<'t>,
    read: RefCell<Vec<u32>>,
}

impl Tables for Counting<'_> {
    fn param(&self, index: usize) -> u32 {
        self.tables.param(index)
    }

    fn word(&self, index: u32) -> u64 {
        self.read.borrow_mut().push(index);
        self.tables.word(index)
    }
}

/// A cache of lines: sets of eight ways, of which the one that was not asked for longest goes.
struct Cache {
    sets: Vec<Vec<u64>>,
}

impl Cache {
    const WAYS: usize = 8;

    fn of(bytes: usize) -> Self {
        Self { sets: vec![Vec::new(); bytes / 64 / Self::WAYS] }
    }

    /// Whether it holds a line, which it does from now on.
    fn holds(&mut self, line: u64) -> bool {
        let place = gabion_abi::tables::scramble(line) >> 32;
        let number = place as usize % self.sets.len();
        let set = &mut self.sets[number];
        let found = set.iter().position(|&held| held == line);
        match found {
            Some(at) => drop(set.remove(at)),
            None if set.len() == Self::WAYS => drop(set.remove(0)),
            None => {}
        }
        set.push(line);
        found.is_some()
    }
}

/// Counts over a trace.
#[must_use]
pub fn count(compiled: &Compiled, trace: &[Header]) -> Loads {
    let tables = SliceTables { params: &compiled.params, words: &compiled.words };
    let counting = Counting { tables, read: RefCell::default() };
    let has_lanes = short::serves(&tables);
    let (mut words, mut most_words, mut lines, mut misses) = (0, 0, 0, [0; 2]);
    let mut touched = HashSet::new();
    let (mut first, mut second) = (Cache::of(24 << 10), Cache::of(512 << 10));
    for again in [false, true] {
        for header in trace {
            let facts = header.facts();
            let entries = if has_lanes && facts.family == FAMILY_V4 {
                classify_by_lane(&counting, &facts, 0)
            } else {
                classify(&counting, &facts, 0, 0)
            };
            let mut read: Vec<u64> = counting.read.borrow_mut().drain(..).map(u64::from).collect();
            let count = read.len();
            read.iter_mut().for_each(|word| *word /= u64::from(LINE_WORDS));
            read.sort_unstable();
            read.dedup();
            touched.extend(read.iter().copied());
            // Counters are words of a memory of their own.
            read.push(1 << 32 | u64::from(entry::rule(entries.ingress) / LINE_WORDS));
            let missed = |&line: &u64| (!first.holds(line)).then(|| !second.holds(line));
            let missed: Vec<bool> = read.iter().filter_map(missed).collect();
            if again {
                words += count;
                most_words = most_words.max(count);
                lines += read.len();
                misses[0] += missed.len();
                misses[1] += missed.iter().filter(|&&far| far).count();
            }
        }
    }
    let per_packet = |count: usize| count as f64 / trace.len().max(1) as f64;
    Loads {
        words: per_packet(words),
        most_words,
        lines: per_packet(lines),
        misses: misses.map(per_packet),
        touched_bytes: touched.len() * LINE_WORDS as usize * 8,
    }
}
