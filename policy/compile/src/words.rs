//! The array of words that the tables are laid into.

use hashbrown::HashMap;

use gabion_abi::tables::{BUCKET_SLOTS, MAC_PRESENT, page, pair_bucket, pair_slot, scramble, spread, trie};

use crate::intern::Interner;
use crate::work::Work;
use crate::{Excess, TableStats};

/// Words under construction. Word 0 stays unused: base 0 means absent.
#[derive(Debug)]
pub(crate) struct Words {
    words: Vec<u64>,
    budget: usize,
    tables: Vec<TableStats>,
}

/// Where a trie ended up; see [`trie`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trie {
    pub root: u32,
    pub nodes: u32,
    pub form: u32,
    /// Words of the root, and of the nodes.
    lengths: [u32; 2],
}

impl Trie {
    /// Bits that a class may have.
    pub const fn class_bits(&self) -> u32 {
        if self.form & trie::LONG != 0 { trie::LONG_CLASS.trailing_zeros() } else { trie::SHORT_CLASS.trailing_zeros() }
    }
}

/// Where a static hash ended up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    pub base: u32,
    pub mask: u32,
    pub seed: u32,
}

/// Where a perfect hash ended up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Perfect {
    pub base: u32,
    pub slots: u32,
    pub displacements: u32,
    pub bucket_mask: u32,
    pub seed: u32,
}

/// Keys in a bucket of a perfect hash, on average and at most: with 7 of them it takes five times as long to find where
/// 100,000 go.
const BUCKET_KEYS: usize = 4;
/// Seeds that are tried before a hash is made larger.
const SEEDS: u32 = 32;
/// Address bits of a node.
const NODE_BITS: u32 = trie::FANOUT.trailing_zeros();
/// Words of a cache line. Every table begins with one, so that what lies together is read together.
const LINE_WORDS: usize = 8;

const TRIES: &str = "address tries";

impl Words {
    /// Room for `budget` words.
    pub fn new(budget: usize) -> Self {
        Self { words: vec![0], budget, tables: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The words, and what they are of.
    pub fn finish(self) -> (Vec<u64>, Vec<TableStats>) {
        (self.words, self.tables)
    }

    fn reserve(&mut self, count: usize, what: &'static str) -> Result<u32, Excess> {
        let base = self.has_room(count, what)?;
        self.words.resize(base + count, 0);
        let bytes = count * 8;
        match self.tables.iter_mut().find(|table| table.name == what) {
            Some(table) => {
                table.number += 1;
                table.bytes += bytes;
            }
            None => self.tables.push(TableStats { name: what, number: 1, bytes }),
        }
        Ok(base as u32)
    }

    /// Where so many words would begin, if there is room for them.
    pub fn has_room(&self, count: usize, what: &'static str) -> Result<usize, Excess> {
        let base = self.words.len().next_multiple_of(LINE_WORDS);
        let need = base + count;
        if need > self.budget || u32::try_from(need).is_err() {
            return Err(Excess::TooManyBytes { what, need: need * 8, limit: self.budget * 8 });
        }
        Ok(base)
    }

    /// Lays 16-bit entries.
    pub fn quarters(&mut self, values: &[u32], what: &'static str) -> Result<u32, Excess> {
        let base = self.reserve(values.len().div_ceil(4), what)?;
        self.set_quarters(base, values, what)?;
        Ok(base)
    }

    fn set_quarters(&mut self, base: u32, values: &[u32], what: &'static str) -> Result<(), Excess> {
        for (i, &value) in values.iter().enumerate() {
            if value > 0xffff {
                return Err(Excess::TooManyClasses { what, need: value as usize + 1, limit: 0x1_0000 });
            }
            self.words[base as usize + i / 4] |= u64::from(value) << (i % 4 * 16);
        }
        Ok(())
    }

    /// Lays 16-bit entries in pages, equal pages once.
    pub fn paged(&mut self, values: &[u32], what: &'static str) -> Result<u32, Excess> {
        let mut numbers: HashMap<&[u32], u32> = HashMap::new();
        let mut pages: Vec<&[u32]> = Vec::new();
        let mut index = Vec::new();
        for values in values.chunks(page::ENTRIES as usize) {
            index.push(*numbers.entry(values).or_insert_with(|| {
                pages.push(values);
                pages.len() as u32 - 1
            }));
        }
        let first = page::index_words(values.len() as u32);
        let base = self.reserve(first as usize + pages.len() * page::WORDS as usize, what)?;
        self.set_quarters(base, &index, what)?;
        for (number, values) in pages.iter().enumerate() {
            self.set_quarters(base + first + number as u32 * page::WORDS, values, what)?;
        }
        Ok(base)
    }

    /// Lays 32-bit entries.
    pub fn halves(&mut self, values: &[u32], what: &'static str) -> Result<u32, Excess> {
        let base = self.reserve(values.len().div_ceil(2), what)?;
        for (i, &value) in values.iter().enumerate() {
            self.words[base as usize + i / 2] |= u64::from(value) << (i % 2 * 32);
        }
        Ok(base)
    }

    /// Lays whole words.
    pub fn whole(&mut self, values: &[u64], what: &'static str) -> Result<u32, Excess> {
        let base = self.reserve(values.len(), what)?;
        self.words[base as usize..][..values.len()].copy_from_slice(values);
        Ok(base)
    }

    /// Lays a trie over breakpoints: sorted starts, the first of them 0, each with the class that begins there. `bits`
    /// is the width of the address, `root_bits` how many of them the root takes.
    pub fn trie(&mut self, breaks: &[(u128, u32)], bits: u32, root_bits: u32, work: &mut Work) -> Result<Trie, Excess> {
        let before = work.held();
        let mut branches = Branches { nodes: Interner::default(), limit: self.budget * 8, work };
        let root = branches.of(breaks, 0, bits, root_bits)?;
        let Branches { nodes, work, .. } = branches;
        work.release(work.held() - before);
        let nodes = nodes.into_values();
        let largest = breaks.iter().map(|&(_, class)| class).max().unwrap_or(0).max(nodes.len() as u32);
        let long = largest >= trie::SHORT_CLASS;
        let mut form = if long { trie::LONG } else { 0 };
        if root.len() as u32 == trie::WIDE_FANOUT {
            form |= trie::WIDE;
        }
        let per_word = if long { 2 } else { 4 };
        let lengths = [root.len(), nodes.iter().map(|node| node.len()).sum()].map(|count| (count / per_word) as u32);
        Ok(Trie { root: self.entries(vec![root], long)?, nodes: self.entries(nodes, long)?, form, lengths })
    }

    /// Puts other numbers in place of the classes of a trie, of no more bits than it has room for.
    pub fn renumber(&mut self, laid: &Trie, number: impl Fn(u32) -> u32) {
        let long = laid.form & trie::LONG != 0;
        let (bits, flag) = if long { (32, trie::LONG_CLASS) } else { (16, trie::SHORT_CLASS) };
        for (base, length) in [laid.root, laid.nodes].into_iter().zip(laid.lengths) {
            for word in &mut self.words[base as usize..][..length as usize] {
                let entries = (0..64).step_by(bits).map(|shift| {
                    let entry = (*word >> shift) as u32 & (flag | (flag - 1));
                    let numbered = if entry & flag != 0 { number(entry & !flag) | flag } else { entry };
                    u64::from(numbered) << shift
                });
                *word = entries.fold(0, |word, entry| word | entry);
            }
        }
    }

    /// Lays nodes of a trie one behind the other, and lets go of each.
    fn entries(&mut self, nodes: Vec<Box<[u32]>>, long: bool) -> Result<u32, Excess> {
        let count: usize = nodes.iter().map(|node| node.len()).sum();
        let base = self.reserve(count.div_ceil(if long { 2 } else { 4 }), TRIES)?;
        let mut at = base as usize;
        for node in nodes {
            if long {
                for (word, pair) in self.words[at..].iter_mut().zip(node.chunks(2)) {
                    *word = pair.iter().rev().fold(0, |word, &entry| word << 32 | u64::from(entry));
                }
                at += node.len() / 2;
            } else {
                for (word, four) in self.words[at..].iter_mut().zip(node.chunks(4)) {
                    *word = four.iter().rev().fold(0, |word, &entry| word << 16 | u64::from(short(entry)));
                }
                at += node.len() / 4;
            }
        }
        Ok(base)
    }

    /// Lays a static hash of distinct MACs to values. Every key sits in the one bucket that its spread names, so that
    /// a look-up reads one bucket.
    pub fn hash(&mut self, pairs: &[(u64, u32)], what: &'static str) -> Result<Hash, Excess> {
        let slots = BUCKET_SLOTS as usize;
        // About half full on average: at that load a seed that overflows no bucket is found soon.
        let mut buckets = (pairs.len() / 2 + 1).next_power_of_two().max(1);
        loop {
            if self.len() + buckets * 2 * slots > self.budget {
                let need = (self.len() + buckets * 2 * slots) * 8;
                return Err(Excess::TooManyBytes { what, need, limit: self.budget * 8 });
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

    /// Puts other values in place of those of a hash.
    pub fn renumber_hash(&mut self, laid: &Hash, value: impl Fn(u32) -> u32) {
        let slots = BUCKET_SLOTS as usize;
        let buckets = self.words[laid.base as usize..].chunks_mut(2 * slots).take(laid.mask as usize + 1);
        for (keys, values) in buckets.map(|bucket| bucket.split_at_mut(slots)) {
            for (_, old) in keys.iter().zip(values).filter(|&(&key, _)| key != 0) {
                *old = u64::from(value(*old as u32));
            }
        }
    }

    /// Puts other numbers in place of 32-bit entries.
    pub fn renumber_halves(&mut self, base: u32, count: usize, number: impl Fn(u32) -> u32) {
        for index in 0..count {
            let (word, shift) = (&mut self.words[base as usize + index / 2], index % 2 * 32);
            let old = (*word >> shift) as u32;
            *word ^= u64::from(old ^ number(old)) << shift;
        }
    }

    /// Lays a perfect hash of distinct keys of `key_bits` bits to payloads: a look-up reads the displacement of the
    /// key's bucket and then the one slot where the key is, or nothing is.
    pub fn perfect(&mut self, pairs: &[(u64, u32)], key_bits: u32, what: &'static str) -> Result<Perfect, Excess> {
        let buckets = (pairs.len() / BUCKET_KEYS + 1).next_power_of_two();
        let mut slots = pairs.len() + pairs.len() / 8 + 1;
        for seed in 0.. {
            if self.len() + slots + buckets / 4 > self.budget || u32::try_from(slots).is_err() {
                let need = (self.len() + slots + buckets / 4) * 8;
                return Err(Excess::TooManyBytes { what, need, limit: self.budget * 8 });
            }
            if let Some((words, displacements)) = displace(pairs, key_bits, buckets, slots, seed) {
                let displacements = self.quarters(&displacements, what)?;
                let base = self.whole(&words, what)?;
                let bucket_mask = buckets as u32 - 1;
                return Ok(Perfect { base, slots: slots as u32, displacements, bucket_mask, seed });
            }
            slots += slots / 8 + 1;
        }
        Err(Excess::TooManyBytes { what, need: usize::MAX, limit: self.budget * 8 })
    }
}

/// An entry of 32 bits as one of 16.
fn short(entry: u32) -> u32 {
    if entry & trie::LONG_CLASS != 0 { entry & !trie::LONG_CLASS | trie::SHORT_CLASS } else { entry }
}

/// The nodes of a trie while it is made, with entries of 32 bits. Equal nodes are kept once.
struct Branches<'w> {
    nodes: Interner<Box<[u32]>>,
    /// Bytes that they may take.
    limit: usize,
    work: &'w mut Work,
}

/// Steps of a node.
const NODE_STEPS: usize = 2_500;
/// Bytes of a node while it is made.
const NODE_BYTES: usize = trie::FANOUT as usize * 4 + 40;

impl Branches<'_> {
    /// The entries for the next `own_bits` address bits, over the breakpoints of the block that begins at `low`.
    fn of(&mut self, breaks: &[(u128, u32)], low: u128, bits: u32, own_bits: u32) -> Result<Box<[u32]>, Excess> {
        let width = bits - own_bits;
        let mut entries = Vec::with_capacity(1 << own_bits);
        // The breakpoint in force where an entry begins, and the first behind it.
        let mut before = 0;
        for index in 0..1u32 << own_bits {
            let first = low + (u128::from(index) << width);
            let last = first + ((1u128 << width) - 1);
            while breaks.get(before + 1).is_some_and(|&(start, _)| start <= first) {
                before += 1;
            }
            let mut after = before + 1;
            while breaks.get(after).is_some_and(|&(start, _)| start <= last) {
                after += 1;
            }
            entries.push(if after - before == 1 {
                breaks[before].1 | trie::LONG_CLASS
            } else {
                self.work.spend(TRIES, NODE_STEPS)?;
                let node = self.of(&breaks[before..after], first, width, NODE_BITS)?;
                let known = self.nodes.values().len();
                let number = self.nodes.intern(node);
                if number as usize == known {
                    self.work.hold(TRIES, NODE_BYTES)?;
                }
                number
            });
        }
        let count = self.nodes.values().len();
        let need = count * trie::FANOUT as usize * 4;
        if count >= trie::SHORT_CLASS as usize && need > self.limit {
            return Err(Excess::TooManyBytes { what: TRIES, need, limit: self.limit });
        }
        Ok(entries.into_boxed_slice())
    }
}

fn fill(pairs: &[(u64, u32)], buckets: usize, seed: u32) -> Option<Vec<u64>> {
    let slots = BUCKET_SLOTS as usize;
    let mut words = vec![0u64; buckets * 2 * slots];
    for &(key, value) in pairs {
        let key = key | MAC_PRESENT;
        let first = (spread(key, seed) as usize & (buckets - 1)) * 2 * slots;
        let slot = (0..slots).find(|slot| words[first + slot] == 0)?;
        words[first + slot] = key;
        words[first + slots + slot] = u64::from(value);
    }
    Some(words)
}

/// Finds a displacement for each bucket, the fullest first, so that no two keys share a slot.
fn displace(
    pairs: &[(u64, u32)],
    key_bits: u32,
    buckets: usize,
    slots: usize,
    seed: u32,
) -> Option<(Vec<u64>, Vec<u32>)> {
    let mut by_bucket: Vec<Vec<(u64, u64)>> = vec![Vec::new(); buckets];
    for &(key, payload) in pairs {
        let scrambled = scramble(key ^ u64::from(seed));
        let bucket = pair_bucket(scrambled, buckets as u32 - 1) as usize;
        by_bucket[bucket].push((scrambled, key | u64::from(payload) << key_bits));
    }
    let mut order: Vec<usize> = (0..buckets).filter(|&bucket| !by_bucket[bucket].is_empty()).collect();
    order.sort_by_key(|&bucket| std::cmp::Reverse(by_bucket[bucket].len()));
    let mut words = vec![0u64; slots];
    let mut taken = vec![false; slots];
    let mut displacements = vec![0; buckets];
    let mut places = Vec::new();
    for bucket in order {
        let members = &by_bucket[bucket];
        let found = (1..=0xffffu32).step_by(2).find(|&displacement| {
            places.clear();
            members.iter().all(|&(scrambled, _)| {
                let slot = pair_slot(scrambled, displacement, slots as u32) as usize;
                let free = !taken[slot] && !places.contains(&slot);
                places.push(slot);
                free
            })
        })?;
        displacements[bucket] = found;
        for (&slot, &(_, word)) in places.iter().zip(members) {
            taken[slot] = true;
            words[slot] = word;
        }
    }
    Some((words, displacements))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use fastrand::Rng;

    use super::*;

    const BUDGET: usize = 8 << 20;

    /// The table as [`gabion_abi::tables::group`] describes it; 0 when the key is not there.
    fn payload(words: &[u64], hash: &Perfect, key_bits: u32, key: u64) -> u32 {
        let scrambled = scramble(key ^ u64::from(hash.seed));
        let bucket = pair_bucket(scrambled, hash.bucket_mask);
        let displacement = quarter(words, hash.displacements, bucket);
        let slot = pair_slot(scrambled, displacement, hash.slots);
        assert!(slot < hash.slots);
        let word = words[(hash.base + slot) as usize];
        if word & ((1 << key_bits) - 1) == key { (word >> key_bits) as u32 } else { 0 }
    }

    fn quarter(words: &[u64], base: u32, index: u32) -> u32 {
        (words[(base + index / 4) as usize] >> (index % 4 * 16)) as u32 & 0xffff
    }

    fn half(words: &[u64], base: u32, index: u32) -> u32 {
        (words[(base + index / 2) as usize] >> (index % 2 * 32)) as u32
    }

    /// Distinct keys, one after the other or anywhere, each with a payload that is not 0.
    fn pairs(rng: &mut Rng, size: usize, key_bits: u32, scattered: bool) -> Vec<(u64, u32)> {
        let most = 1u64 << key_bits;
        let payloads = u32::MAX >> 32u32.saturating_sub(64 - key_bits);
        let mut keys = HashSet::new();
        while keys.len() < size.min(most as usize) {
            keys.insert(if scattered { rng.u64(0..most) } else { keys.len() as u64 });
        }
        let mut keys: Vec<u64> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| (key, rng.u32(1..=payloads))).collect()
    }

    #[test]
    fn a_perfect_hash_finds_every_key_and_no_other() {
        let mut rng = Rng::with_seed(1);
        let sizes = [(0, 2), (1, 2), (2, 2), (4, 2), (3, 10), (1_000, 10), (1_000, 24), (1_000, 44), (100_000, 17)];
        for (size, key_bits) in sizes.into_iter().chain([(100_000, 32), (100_000, 44), (10, 62)]) {
            let scattered = size < (1 << key_bits.min(40)) / 2;
            let pairs = pairs(&mut rng, size, key_bits, scattered);
            let mut words = Words::new(BUDGET);
            let hash = words.perfect(&pairs, key_bits, "pairs").unwrap();
            let words = words.finish().0;
            let mut again = Words::new(BUDGET);
            again.perfect(&pairs, key_bits, "pairs").unwrap();
            assert!(words == again.finish().0, "{size} of {key_bits} bits: not deterministic");

            for &(key, value) in &pairs {
                assert_eq!(payload(&words, &hash, key_bits, key), value, "{key} of {size} of {key_bits} bits");
            }
            let keys: HashSet<u64> = pairs.iter().map(|pair| pair.0).collect();
            let near = pairs.iter().flat_map(|&(key, _)| [key ^ 1, key ^ 1 << (key_bits - 1)]);
            let random = (0..10_000).map(|_| rng.u64(0..1 << key_bits));
            for other in near.chain(0..4).chain(random).filter(|key| !keys.contains(key)) {
                assert_eq!(payload(&words, &hash, key_bits, other), 0, "{other} of {size} of {key_bits} bits");
            }
        }
    }

    #[test]
    fn a_perfect_hash_beyond_the_budget_is_refused() {
        let pairs = pairs(&mut Rng::with_seed(2), 1_000, 20, true);
        let refused = Words::new(1_000).perfect(&pairs, 20, "pairs").unwrap_err();
        assert!(matches!(refused, Excess::TooManyBytes { need, limit: 8_000, .. } if need > 8_000), "{refused}");
    }

    #[test]
    fn paged_arrays_hold_what_plain_ones_hold() {
        let mut rng = Rng::with_seed(3);
        for space in [1, 63, 64, 65, 256, 4_097, 65_536, 65_537, 196_609] {
            for changes in [0, 1, 5, 3_000] {
                let mut values = vec![rng.u32(0..3); space];
                for _ in 0..changes {
                    let from = rng.usize(0..space);
                    let until = (from + rng.usize(1..200)).min(space);
                    values[from..until].fill(rng.u32(0..=0xffff));
                }
                let mut words = Words::new(BUDGET);
                let base = words.paged(&values, "values").unwrap();
                let words = words.finish().0;
                let pages = base + page::index_words(space as u32);
                for (index, &value) in (0..).zip(&values) {
                    let number = quarter(&words, base, index / page::ENTRIES);
                    let found = quarter(&words, pages + number * page::WORDS, index % page::ENTRIES);
                    assert_eq!(found, value, "{index} of {space} after {changes} changes");
                }
                let plain = space.div_ceil(4) + page::index_words(space as u32) as usize + 2 * page::WORDS as usize;
                assert!(words.len() <= plain + LINE_WORDS, "{space}: more than each page once");
            }
        }
    }

    /// Class of an address by a trie whose root takes `root_bits`.
    fn class(words: &[u64], trie: Trie, address: u128, bits: u32, root_bits: u32) -> u32 {
        let long = trie.form & trie::LONG != 0;
        let entry: fn(&[u64], u32, u32) -> u32 = if long { half } else { quarter };
        let mark = if long { trie::LONG_CLASS } else { trie::SHORT_CLASS };
        let mut left = bits - root_bits;
        let mut found = entry(words, trie.root, (address >> left) as u32 & ((1 << root_bits) - 1));
        while found & mark == 0 {
            left -= NODE_BITS;
            found = entry(words, trie.nodes, found * trie::FANOUT + ((address >> left) as u32 & (trie::FANOUT - 1)));
        }
        found & !mark
    }

    #[test]
    fn tries_find_the_last_breakpoint_before_an_address() {
        let mut rng = Rng::with_seed(4);
        let wide = trie::WIDE_FANOUT.trailing_zeros();
        for (bits, root_bits) in [(32, NODE_BITS), (32, wide), (128, NODE_BITS)] {
            // All in the same words, with short entries and with long ones.
            let mut words = Words::new(BUDGET);
            let mut laid = Vec::new();
            for (size, classes) in [(1, 5), (2, 5), (20, 5), (300, 5), (300, 1 << 20)] {
                let any = |rng: &mut Rng| rng.u128(..) >> (128 - bits) >> [0, 8, 16, 24][rng.usize(0..4)];
                let mut starts: Vec<u128> = (1..size).map(|_| any(&mut rng)).collect();
                // Blocks, and their ends.
                starts.extend((1..size).map(|_| any(&mut rng) >> 8 << 8));
                starts.push(0);
                if size > 2 {
                    starts.extend([u128::MAX >> (128 - bits), 1, 1 << (bits - 1), (1 << (bits - 1)) - 1]);
                }
                starts.sort_unstable();
                starts.dedup();
                let breaks: Vec<(u128, u32)> = starts.into_iter().map(|start| (start, rng.u32(0..classes))).collect();
                laid.push((words.trie(&breaks, bits, root_bits, &mut unbounded()).unwrap(), breaks));
            }
            let words = words.finish().0;
            for (trie, breaks) in &laid {
                let near =
                    breaks.iter().flat_map(|&(start, _)| [start.saturating_sub(1), start, start.saturating_add(1)]);
                let random: Vec<u128> = (0..2_000).map(|_| rng.u128(..) >> (128 - bits)).collect();
                for address in near.chain(random).filter(|&address| address <= u128::MAX >> (128 - bits)) {
                    let at = breaks.partition_point(|&(start, _)| start <= address) - 1;
                    let found = class(&words, *trie, address, bits, root_bits);
                    assert_eq!(found, breaks[at].1, "{address:x} of {bits} bits under a root of {root_bits}");
                }
            }
        }
    }

    fn unbounded() -> Work {
        Work::new(usize::MAX, usize::MAX)
    }

    #[test]
    fn equal_parts_of_tries_are_laid_once() {
        let mut words = Words::new(BUDGET);
        // The same /24 with two halves, a hundred times over.
        let breaks: Vec<(u128, u32)> = (0..100u128)
            .flat_map(|block| [(block << 16, 1), (block << 16 | 0x80, 2), (block << 16 | 0x100, 3)])
            .collect();
        words.trie(&breaks, 32, NODE_BITS, &mut unbounded()).unwrap();
        let node = trie::FANOUT as usize / 4;
        assert!(words.len() <= LINE_WORDS + 4 * node, "{} words: a root, and one of each lower width", words.len());
    }
}
