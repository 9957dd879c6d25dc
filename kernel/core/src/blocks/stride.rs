//! The class of the longest prefix that a key begins with.

use gabion_abi::contract::Contract;

use crate::classify::Tables;

/// Where words come from: a table in a map, or in host memory.
pub trait Words {
    /// A word by its index. Beyond the end it is some word or 0, and never a panic.
    fn word(&self, index: u32) -> u64;

    /// An entry of 32 bits in the table that begins at word `base`.
    #[inline(always)]
    fn half(&self, base: u32, index: u32) -> u32 {
        (self.word(base.wrapping_add(index >> 1)) >> ((index & 1) * 32)) as u32
    }
}

/// The view of a generation's tables: what bounds it is a mask that the loader fills in.
impl<T: Tables> Words for T {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        Tables::word(self, index)
    }

    #[inline(always)]
    fn half(&self, base: u32, index: u32) -> u32 {
        Tables::half(self, base, index)
    }
}

/// An array whose length is a power of two, as the value of a map: a mask bounds it.
impl<const N: usize> Words for [u64; N] {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        self[super::Bounded::<N>::masked(index)]
    }
}

/// Words whose number only the host knows. (The verifier cannot follow a length that lies beside a pointer.)
impl Words for [u64] {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        self.get(index as usize).copied().unwrap_or(0)
    }
}

/// An entry that names a node, and does not hold a class. So all-zero words are a table of class 0 everywhere.
const NODE: u32 = 1 << 31;

/// Prefix → class, by digits of the key: the first has `ROOT` bits and each other `STRIDE`.
///
/// The table is words that begin at `base` with the root, an array of 2^`ROOT` entries of 32 bits; nodes of 2^`STRIDE`
/// entries follow it. An entry holds a class, or names a node, counted from the root's end. [`StrideWriter`] makes it.
///
/// A look-up takes one load for each digit until it finds a class. Their number is a constant, so that the loop ends
/// (rule 5 of [the module](super)); a digit is masked (rule 1), and so is what is looked at in the end, by [`Words`].
/// Nothing that a table holds can lead outside: a node that is not there is some other word.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrideTable<const ROOT: u32, const STRIDE: u32> {
    base: u32,
}

impl<const ROOT: u32, const STRIDE: u32> StrideTable<ROOT, STRIDE> {
    const NODE_ENTRIES: u32 = {
        assert!(STRIDE >= 1 && STRIDE <= 16 && ROOT >= 1 && ROOT <= 24, "an array with an entry for each digit");
        assert!(32u32.is_multiple_of(STRIDE) && ROOT.is_multiple_of(STRIDE), "digits do not cross the words of a key");
        1 << STRIDE
    };

    /// Words of a table with so many nodes; more than 32 bits can count when it cannot be.
    #[must_use]
    pub const fn words(nodes: u32) -> u64 {
        ((1 << ROOT) + nodes as u64 * Self::NODE_ENTRIES as u64).div_ceil(2)
    }

    /// The table that begins at word `base`.
    #[must_use]
    #[inline(always)]
    pub const fn at(base: u32) -> Self {
        Self { base }
    }

    /// The class of a key: of 32 bits for each word, the first word the highest.
    #[must_use]
    #[inline(always)]
    pub fn class<W: Words + ?Sized, const LENGTH: usize>(&self, words: &W, key: &[u32; LENGTH]) -> u32 {
        const { assert!(LENGTH > 0) };
        let mut entry = words.half(self.base, key[0] >> (32 - ROOT));
        let mut used = ROOT;
        for &word in key {
            while used < 32 {
                if entry & NODE == 0 {
                    return entry;
                }
                used += STRIDE;
                entry = words.half(self.base, Self::index(entry, word >> (32 - used)));
            }
            used = 0;
        }
        // A node below the last digit is not made by a writer.
        if entry & NODE == 0 { entry } else { 0 }
    }

    /// Where the entry of a node is for a digit, which is in the lowest bits.
    #[inline(always)]
    const fn index(node: u32, digit: u32) -> u32 {
        let first = (node & !NODE).wrapping_mul(Self::NODE_ENTRIES).wrapping_add(1 << ROOT);
        first.wrapping_add(digit & (Self::NODE_ENTRIES - 1))
    }
}

/// Why a prefix was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room for another node. What was written before is still whole.
    Full,
    /// A prefix comes before its longer ones.
    Order,
    /// The key has fewer bits.
    Length,
    /// A class has 31 bits.
    Class,
}

/// Writes a [`StrideTable`] into words that hold 0. For the host.
#[derive(Debug)]
pub struct StrideWriter<'w, const ROOT: u32, const STRIDE: u32> {
    words: &'w mut [u64],
    nodes: u32,
    longest: u32,
}

impl<'w, const ROOT: u32, const STRIDE: u32> StrideWriter<'w, ROOT, STRIDE> {
    /// A writer; nothing when there is no room for the root, or some word is not 0.
    #[must_use]
    pub fn new(words: &'w mut [u64]) -> Option<Self> {
        let fits = words.len() as u64 >= StrideTable::<ROOT, STRIDE>::words(0);
        (fits && words.iter().all(|&word| word == 0)).then_some(Self { words, nodes: 0, longest: 0 })
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Gives a class to all keys whose first `length` bits are those of `key`. Shorter prefixes first; of the same
    /// prefix the last one counts.
    ///
    /// # Errors
    /// Why not; nothing has changed then for any key.
    pub fn insert<const LENGTH: usize>(&mut self, key: &[u32; LENGTH], length: u32, class: u32) -> Result<(), Refusal> {
        if length as usize > 32 * LENGTH {
            return Err(Refusal::Length);
        }
        if class & NODE != 0 {
            return Err(Refusal::Class);
        }
        if length < self.longest {
            return Err(Refusal::Order);
        }
        let (mut first, mut used, mut bits) = (0, 0, ROOT);
        while length > used + bits {
            let at = first + digit(key, used, bits);
            used += bits;
            bits = STRIDE;
            let node = self.node_at(at)?;
            first = StrideTable::<ROOT, STRIDE>::index(node, 0);
        }
        // All digits that begin with what is left of the prefix. None of them leads to a node: that would be of a
        // longer one.
        let free = bits - (length - used);
        let from = first + (digit(key, used, bits) >> free << free);
        for at in from..from + (1 << free) {
            self.set(at, class);
        }
        self.longest = length;
        Ok(())
    }

    /// The node that an entry names; if it holds a class, a new one, with that class all over.
    fn node_at(&mut self, at: u32) -> Result<u32, Refusal> {
        let entry = self.words.half(0, at);
        if entry & NODE != 0 {
            return Ok(entry);
        }
        let after = StrideTable::<ROOT, STRIDE>::words(self.nodes + 1);
        if after > self.words.len() as u64 || after > u32::MAX as u64 / 2 {
            return Err(Refusal::Full);
        }
        let node = NODE | self.nodes;
        self.nodes += 1;
        for digit in 0..StrideTable::<ROOT, STRIDE>::NODE_ENTRIES {
            self.set(StrideTable::<ROOT, STRIDE>::index(node, digit), entry);
        }
        self.set(at, node);
        Ok(node)
    }

    fn set(&mut self, at: u32, entry: u32) {
        let shift = (at & 1) * 32;
        if let Some(word) = self.words.get_mut(at as usize >> 1) {
            *word = *word & !(0xffff_ffff << shift) | (entry as u64) << shift;
        }
    }
}

/// The `bits` bits of a key after the first `used`; 0 beyond its end.
fn digit<const LENGTH: usize>(key: &[u32; LENGTH], used: u32, bits: u32) -> u32 {
    let word = key.get(used as usize / 32).copied().unwrap_or(0);
    (word << (used % 32)) >> (32 - bits)
}
