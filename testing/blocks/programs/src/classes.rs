//! Pairs of classes.

use gabion_kernel_core::blocks::{Bounded, ClassMap};

use crate::{MISS, Machine, Op, folded};

/// Three maps of classes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Powers of two.
    pub even: ClassMap<u64, 8, 16>,
    /// None.
    pub odd: ClassMap<u32, 12, 10>,
    /// None, of bytes.
    pub narrow: ClassMap<u8, 7, 3>,
    /// Explicit padding.
    pub padding: [u8; 3],
}

impl Classes {
    /// What all-zero bytes are.
    pub const ZERO: Self =
        Self { even: ClassMap::new(0), odd: ClassMap::new(0), narrow: ClassMap::new(0), padding: [0; 3] };
    /// Number of operations.
    pub const OPS: u32 = 5;
}

impl Machine for Classes {
    #[inline(always)]
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        let mut found = 0;
        match what % Self::OPS {
            0 if self.odd.find(a, b, &mut found) => found,
            1 => {
                let (Some(row), Some(column)) = (Bounded::checked(a), Bounded::checked(b)) else { return MISS };
                core::mem::replace(self.odd.at_mut(row, column), c)
            }
            2 => {
                let place = self.even.at_mut(Bounded::masked(a), Bounded::masked(b));
                *place = place.wrapping_mul(3).wrapping_add(c as u64);
                folded(*place)
            }
            3 => {
                let (row, column) = (Bounded::clamped(a), Bounded::clamped(b));
                core::mem::replace(self.narrow.at_mut(row, column), c as u8) as u32
            }
            4 => {
                let row = Bounded::clamped(a);
                let mut sum = 0u32;
                for column in 0..10 {
                    sum = sum.rotate_left(3) ^ self.odd.at(row, Bounded::clamped(column));
                }
                sum
            }
            _ => MISS,
        }
    }
}
