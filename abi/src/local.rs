//! The node's own addresses.

use crate::contract::Contract;
use crate::facts::{Address, FAMILY_V6};

/// Key of the map of the node's own addresses.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalKey {
    /// The address.
    pub address: Address,
    /// Its family, see [`crate::facts`].
    pub family: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Words of a [`LocalFilter`].
pub const FILTER_WORDS: usize = 64;

/// Which addresses may be the node's own: one bit for each of them, which others share.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::FAMILY_V4;
    use crate::tables::scramble;

    fn may_be(filter: &LocalFilter, family: u8, address: &Address) -> bool {
        let (word, bit) = LocalFilter::place(family, address);
        filter.words[word as usize] >> bit & 1 != 0
    }

    #[test]
    fn no_member_is_missed_and_few_others_are_held_for_one() {
        // Scattered, and one after the other, of both families.
        for (step, size) in [(0x9e37_79b9_7f4a_7c15_u64, 50_u64), (1, 50), (256, 50), (1, 4_000), (0, 1)] {
            let members: [(u8, Address); 100] = core::array::from_fn(|number| {
                let number = number as u64 % size;
                let value = scramble(7).wrapping_add(number.wrapping_mul(step));
                if number.is_multiple_of(2) {
                    (FAMILY_V4, Address::v4((value >> 8) as u32))
                } else {
                    (FAMILY_V6, Address::v6(0xfd00 << 112 | u128::from(value)))
                }
            });
            let filter = LocalFilter::of(&members);
            for (family, address) in &members {
                assert!(may_be(&filter, *family, address), "{address:?}");
            }
            let others = (0..10_000).map(|number| Address::v4(scramble(number) as u32));
            let held = others.filter(|address| may_be(&filter, FAMILY_V4, address)).count();
            assert!(held < 500, "{held} of 10,000 with step {step}");
        }
    }

    #[test]
    fn places_lie_in_the_filter_and_nobody_is_in_an_empty_one() {
        let empty = LocalFilter::of(&[]);
        for number in 0..10_000_u64 {
            let (high, low) = (scramble(number), scramble(number ^ 1 << 40));
            let address = Address::v6(u128::from(high) << 64 | u128::from(low));
            for family in [FAMILY_V4, FAMILY_V6] {
                let (word, bit) = LocalFilter::place(family, &address);
                assert!((word as usize) < FILTER_WORDS && bit < 64, "{word} {bit}");
                assert!(!may_be(&empty, family, &address));
            }
        }
    }
}
