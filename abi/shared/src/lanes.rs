//! Counters that each CPU keeps for itself.

use gabion_abi::contract::Contract;

use crate::{Field, Shared};

/// Records by CPU: as many of each, those of one CPU behind those of the one before. Only that CPU writes them, a word
/// at a time, so that a word is never torn and none is counted twice; what a reader adds up is a state of each CPU, not
/// of all of them at one time.
#[derive(Debug)]
pub struct Lanes<'m, T> {
    records: &'m Shared<T>,
    each: usize,
}

impl<'m, T: Contract + Copy> Lanes<'m, T> {
    pub(crate) fn new(records: &'m Shared<T>, each: usize) -> Self {
        Self { records, each }
    }

    /// How many records a CPU has.
    #[must_use]
    pub fn each(&self) -> usize {
        self.each
    }

    /// A counter of the record `index`, summed over all CPUs. 0 when there is no such record.
    #[must_use]
    pub fn sum(&self, index: usize, field: Field<T, u64>) -> u64 {
        let slots = (index..).step_by(self.each.max(1)).map_while(|place| self.records.slot(place));
        if index < self.each { total(slots.map(|slot| slot.field(field).load())) } else { 0 }
    }
}

/// The sum, modulo 2^64 as the counters are.
pub(crate) fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::wrapping_add)
}
