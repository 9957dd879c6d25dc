//! What a decision reads: counted on the host, over the same tables and with the same code as in the kernel.
//!
//! Where the processor does not count cache misses for us, the number of cache lines that a decision touches is the
//! next best thing that is certain.

use std::cell::RefCell;
use std::collections::HashSet;

use gabion_kernel_core::classify::{SliceTables, Tables, classify};
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
    /// Cache lines that a decision reads from, on average.
    pub lines: f64,
    /// Bytes of all lines that any decision of the trace reads from.
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

/// Counts over a trace.
#[must_use]
pub fn count(compiled: &Compiled, trace: &[Header]) -> Loads {
    let tables = SliceTables { params: &compiled.params, words: &compiled.words };
    let counting = Counting { tables, read: RefCell::default() };
    let (mut words, mut most_words, mut lines) = (0, 0, 0);
    let mut touched = HashSet::new();
    for header in trace {
        // Only what it reads matters here; what it says is compared elsewhere.
        let _ = classify(&counting, &header.facts(), 0, 0);
        let mut read = counting.read.borrow_mut();
        words += read.len();
        most_words = most_words.max(read.len());
        read.iter_mut().for_each(|word| *word /= LINE_WORDS);
        read.sort_unstable();
        read.dedup();
        lines += read.len();
        touched.extend(read.drain(..));
    }
    let packets = trace.len().max(1) as f64;
    Loads {
        words: words as f64 / packets,
        most_words,
        lines: lines as f64 / packets,
        touched_bytes: touched.len() * LINE_WORDS as usize * 8,
    }
}
