//! The node's own addresses.

use crate::facts::{Address, FAMILY_V6};

/// Words of a [`LocalFilter`].
pub const FILTER_WORDS: usize = 64;

/// Which addresses may be the node's own: one bit for each of them, which others share.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalFilter {
    /// Bits.
    pub words: [u64; FILTER_WORDS],
}

impl LocalFilter {
    /// The word and the bit of an address.
    #[must_use]
    #[inline(always)]
    pub fn place(family: u8, address: &Address) -> (u32, u32) {
        let [a, b, c, d] = address.words;
        let mut sum = a;
        if family == FAMILY_V6 {
            sum ^= b.rotate_left(7) ^ c.rotate_left(13) ^ d.rotate_left(19);
        }
        let bit = sum.wrapping_mul(0x9e37_79b1) >> 20;
        (bit >> 6, bit & 63)
    }

    /// The filter of these addresses.
    #[must_use]
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a (u8, Address)>) -> Self {
        let mut filter = Self { words: [0; FILTER_WORDS] };
        for (family, address) in addresses {
            let (word, bit) = Self::place(*family, address);
            filter.words[word as usize % FILTER_WORDS] |= 1 << bit;
        }
        filter
    }
}
