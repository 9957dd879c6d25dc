//! What the programs write, for them and for those who read it.

#![cfg_attr(target_arch = "bpf", no_std)]

use gabion_abi::contract::{Contract, Memory, Set};
use gabion_shared::Sequenced;

/// Words of a [`Stamp`].
pub const WORDS: usize = 8;

/// A record of 64 bytes, every word of which follows from the first.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// See [`Stamp::of`].
    pub words: [u64; WORDS],
}

impl Stamp {
    /// The stamp of a number. No two numbers have the same word at the same place.
    #[must_use]
    #[inline(always)]
    pub const fn of(number: u64) -> Self {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut words = [number; WORDS];
        let mut at = 1;
        while at < WORDS {
            words[at] = words[at - 1].wrapping_add(step);
            at += 1;
        }
        Self { words }
    }

    /// Whether it was written as a whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::of(self.words[0])
    }
}

/// CPUs that there is room for; others share.
pub const CPUS: usize = 64;

/// What one CPU wrote.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Stamps that were written.
    pub stamps: u64,
    /// Stamps that were not, since somebody else was writing.
    pub busy: u64,
    /// Explicit padding: no two CPUs write one cache line.
    pub padding: [u64; 6],
}

/// Stamps that are written by the protocol.
pub const SEQUENCED: Memory<Sequenced<Stamp>> = Memory::new("SEQUENCED");
/// Stamps of the same layout that are written without it.
pub const UNGUARDED: Memory<Sequenced<Stamp>> = Memory::new("UNGUARDED");
/// Counts by CPU.
pub const COUNTS: Memory<Written> = Memory::new("COUNTS");

/// All of it.
pub const SAID: Set<'static> = Set {
    name: "testing-shared",
    version: 1,
    records: &[<Sequenced<Stamp>>::SHAPE, Written::SHAPE],
    places: &[SEQUENCED.place(), UNGUARDED.place(), COUNTS.place()],
    services: &[],
};
