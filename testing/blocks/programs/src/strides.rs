//! Prefix tables of several strides, all in one array of words.

use gabion_kernel_core::blocks::{StrideTable, Words as _};

use crate::{Machine, Op};

/// Words of the map.
pub const WORDS: usize = 1 << 16;
/// Where the tables begin.
pub const BASES: [usize; 3] = [0, 45_568, 58_496];
/// Two bytes at once, then one by one: three loads at most.
pub const V4_COARSE: StrideTable<16, 8> = StrideTable::at(BASES[0] as u32);
/// Bytes, of an address of 128 bits.
pub const V6: StrideTable<8, 8> = StrideTable::at(BASES[1] as u32);
/// Twelve bits, then four by four.
pub const V4_FINE: StrideTable<12, 4> = StrideTable::at(BASES[2] as u32);

/// The words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Of all tables.
    pub words: [u64; WORDS],
}

impl Strides {
    /// Number of operations.
    pub const OPS: u32 = 5;
}

impl Machine for Strides {
    #[inline(always)]
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        match what % Self::OPS {
            0 => V4_COARSE.class(&self.words, &[a]),
            1 => V4_FINE.class(&self.words, &[a]),
            // The last word tells the long prefixes apart.
            2 => V6.class(&self.words, &[a, b, c, what]),
            // A table that begins anywhere.
            3 => StrideTable::<4, 4>::at(b).class(&self.words, &[a]),
            _ => self.words.half(a, b),
        }
    }
}
