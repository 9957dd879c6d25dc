//! Indices that are bounded in each way.

use core::hint::black_box;

use gabion_kernel_core::blocks::Bounded;

use crate::{MISS, Machine, Op, folded};

/// Arrays to index.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A power of two.
    pub sixteen: [u64; 16],
    /// None.
    pub twenty: [u32; 20],
    /// One for each byte.
    pub bytes: [u8; 256],
    /// A number that stays in the map.
    pub kept: u32,
    /// Explicit padding.
    pub padding: u32,
}

impl Bounds {
    /// What all-zero bytes are.
    pub const ZERO: Self = Self { sixteen: [0; 16], twenty: [0; 20], bytes: [0; 256], kept: 0, padding: 0 };
    /// Number of operations.
    pub const OPS: u32 = 10;

    /// An array on the stack, written and read at offsets that only the packet knows.
    #[inline(always)]
    fn on_the_stack(from: u32, at: u32) -> u32 {
        let mut local = [0u32; 8];
        for turn in 0..4 {
            local[Bounded::masked(from >> (3 * turn))] += turn + 1;
        }
        local[Bounded::masked(at)]
    }

    /// More indices at once than there are registers, and the compiler does not know any more what they are.
    #[inline(always)]
    fn many(&self, a: u32, b: u32, c: u32) -> u32 {
        let powers = [a, b, c, a >> 4, b >> 8, c >> 12].map(Bounded::<16>::masked).map(black_box);
        let others = [a, b, c, a >> 8, b >> 16, c >> 24].map(Bounded::<20>::clamped).map(black_box);
        let mut sum = 0u64;
        for at in powers {
            sum = sum.rotate_left(3) ^ self.sixteen[at];
        }
        for at in others {
            sum = sum.rotate_left(5) ^ self.twenty[at] as u64;
        }
        folded(sum)
    }
}

impl Machine for Bounds {
    #[inline(always)]
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        match what % Self::OPS {
            0 => {
                let place = &mut self.sixteen[Bounded::masked(a)];
                *place = place.wrapping_add((b as u64) << 32 | c as u64);
                folded(*place)
            }
            1 => match Bounded::checked(a) {
                Some(at) => core::mem::replace(&mut self.twenty[at], b),
                None => MISS,
            },
            2 => {
                let place = &mut self.twenty[Bounded::clamped(a)];
                *place = place.wrapping_add(b);
                *place
            }
            3 => core::mem::replace(&mut self.bytes[Bounded::from(a as u8)], b as u8) as u32,
            4 => self.twenty[Bounded::constant::<19>()],
            5 => Self::on_the_stack(a, b),
            6 => self.many(a, b, c),
            7 => {
                // A compare from which the compiler knows that the masks change nothing, and numbers that are used on.
                if a >= 10 || b >= 12 || c >= 14 {
                    return MISS;
                }
                let [first, second, third] = [a, b, c].map(|at| self.sixteen[Bounded::masked(at)]);
                self.sixteen[Bounded::masked(a)] = first ^ second.rotate_left(9) ^ third.rotate_left(18);
                folded(second) ^ a ^ b << 8 ^ c << 16
            }
            8 => {
                // Bounded by a compare where a mask would do, and the numbers are used on.
                let Some(first) = Bounded::checked(a) else { return MISS };
                let second = self.sixteen[Bounded::clamped(b)];
                let third = self.sixteen[Bounded::clamped(c)];
                self.sixteen[first] = second.rotate_left(9) ^ third.rotate_left(18);
                folded(second) ^ a ^ b.rotate_left(8) ^ c.rotate_left(16)
            }
            _ => {
                // Through the memory of the map: what comes back is any number.
                let before = self.kept;
                self.kept = a;
                self.twenty[Bounded::clamped(before)] ^ self.sixteen[Bounded::masked(before)] as u32
            }
        }
    }
}
