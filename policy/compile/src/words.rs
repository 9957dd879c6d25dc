//! The array of words that the tables are laid into.

use gabion_abi::tables::{BUCKET_SLOTS, PAIR_PRESENT, TRIE_CLASS, TRIE_FANOUT, spread};

use crate::Refused;

/// Words under construction. Word 0 stays unused: base 0 means absent.
#[derive(Debug)]
pub(crate) struct Words {
    words: Vec<u64>,
    budget: usize,
}

/// Where a static hash ended up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    pub base: u32,
    pub mask: u32,
    pub seed: u32,
}

/// Seeds that are tried before a hash is made larger.
const SEEDS: u32 = 32;

impl Words {
    /// Room for `budget` words.
    pub fn new(budget: usize) -> Self {
        Self { words: vec![0], budget }
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn finish(self) -> Vec<u64> {
        self.words
    }

    fn reserve(&mut self, count: usize, what: &'static str) -> Result<u32, Refused> {
        let base = self.words.len();
        let need = base + count;
        if need > self.budget || u32::try_from(need).is_err() {
            return Err(Refused::TooManyBytes { what, need: need * 8, limit: self.budget * 8 });
        }
        self.words.resize(need, 0);
        Ok(base as u32)
    }

    /// Lays 16-bit entries.
    pub fn quarters(&mut self, values: &[u32], what: &'static str) -> Result<u32, Refused> {
        let base = self.reserve(values.len().div_ceil(4), what)?;
        for (i, &value) in values.iter().enumerate() {
            if value > 0xffff {
                return Err(Refused::TooManyClasses { what, need: value as usize + 1, limit: 0x1_0000 });
            }
            self.words[base as usize + i / 4] |= u64::from(value) << (i % 4 * 16);
        }
        Ok(base)
    }

    /// Lays 32-bit entries.
    pub fn halves(&mut self, values: &[u32], what: &'static str) -> Result<u32, Refused> {
        let base = self.reserve(values.len().div_ceil(2), what)?;
        for (i, &value) in values.iter().enumerate() {
            self.words[base as usize + i / 2] |= u64::from(value) << (i % 2 * 32);
        }
        Ok(base)
    }

    /// Lays whole words.
    pub fn whole(&mut self, values: &[u64], what: &'static str) -> Result<u32, Refused> {
        let base = self.reserve(values.len(), what)?;
        self.words[base as usize..].copy_from_slice(values);
        Ok(base)
    }

    fn set_half(&mut self, base: u32, index: u32, value: u32) {
        self.words[(base + index / 2) as usize] |= u64::from(value) << (index % 2 * 32);
    }

    /// Lays a trie over breakpoints: sorted starts, the first of them 0, each with the class that
    /// begins there. `bits` is the width of the address.
    pub fn trie(&mut self, breaks: &[(u128, u32)], bits: u32) -> Result<u32, Refused> {
        self.node(breaks, 0, bits)
    }

    fn node(&mut self, breaks: &[(u128, u32)], low: u128, bits: u32) -> Result<u32, Refused> {
        let base = self.reserve(TRIE_FANOUT as usize / 2, "address tries")?;
        let width = bits - 8;
        for index in 0..TRIE_FANOUT {
            let first = low + (u128::from(index) << width);
            let last = first + ((1u128 << width) - 1);
            let after = breaks.partition_point(|&(start, _)| start <= last);
            let before = breaks.partition_point(|&(start, _)| start <= first) - 1;
            let entry = if after - before == 1 {
                breaks[before].1 | TRIE_CLASS
            } else {
                self.node(&breaks[before..after], first, width)?
            };
            self.set_half(base, index, entry);
        }
        Ok(base)
    }

    /// Lays a static hash of distinct keys below 2^63 to values. Every key sits in the one bucket that
    /// its spread names, so that a look-up reads one bucket.
    pub fn hash(&mut self, pairs: &[(u64, u32)], what: &'static str) -> Result<Hash, Refused> {
        let slots = BUCKET_SLOTS as usize;
        // About half full on average: at that load a seed that overflows no bucket is found soon.
        let mut buckets = (pairs.len() / 2 + 1).next_power_of_two().max(1);
        loop {
            if self.len() + buckets * 2 * slots > self.budget {
                let need = (self.len() + buckets * 2 * slots) * 8;
                return Err(Refused::TooManyBytes { what, need, limit: self.budget * 8 });
            }
            for seed in 0..SEEDS {
                if let Some(words) = fill(pairs, buckets, seed) {
                    let base = self.whole(&words, what)?;
                    return Ok(Hash { base, mask: buckets as u32 - 1, seed });
                }
            }
            buckets *= 2;
        }
    }
}

fn fill(pairs: &[(u64, u32)], buckets: usize, seed: u32) -> Option<Vec<u64>> {
    let slots = BUCKET_SLOTS as usize;
    let mut words = vec![0u64; buckets * 2 * slots];
    for &(key, value) in pairs {
        let key = key | PAIR_PRESENT;
        let first = (spread(key, seed) as usize & (buckets - 1)) * 2 * slots;
        let slot = (0..slots).find(|slot| words[first + slot] == 0)?;
        words[first + slot] = key;
        words[first + slots + slot] = u64::from(value);
    }
    Some(words)
}
