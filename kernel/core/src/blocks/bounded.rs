//! An index that is known to be in bounds.

use core::hint::black_box;
use core::ops::{Index, IndexMut};

/// An index below `N`, for arrays of `N`. Not for map values: it is made where it is used.
///
/// `array[index]` never panics, and the bound that the verifier sees is made there and then:
///
/// - `N` a power of two: by a mask, one instruction. Behind [`Bounded::masked`] the compiler leaves it out, and what it
///   spills meanwhile is a value with a bound.
/// - Any other `N`: by a compare of 64 bits with a value of which the compiler knows nothing, six instructions. Left to
///   itself it compares 32 bits of one copy and uses the other, which Linux 6.1 does not follow
///   (`rule_compare_copy_half` of `testing/blocks`), or one that it spilled before (`rule_spill_then_compare`). Element
///   0 stands for what cannot be.
///
/// So a power of two is the better size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Bounded<const N: usize>(u32);

impl<const N: usize> Bounded<N> {
    const LIMIT: u32 = {
        assert!(N > 0, "no index is below 0");
        assert!(N <= 1 << 31, "an index and its bound fit 32 bits");
        N as u32
    };

    /// The index `AT`; that it is one is checked when this is compiled.
    #[must_use]
    #[inline(always)]
    pub const fn constant<const AT: usize>() -> Self {
        const { assert!((AT as u64) < Self::LIMIT as u64) };
        Self(AT as u32)
    }

    /// The lowest bits of a number; `N` is a power of two. AND with a constant: rule 1 of [the module](super).
    ///
    /// Do not compare the number with a bound of your own before: the compiler may leave the mask out then, and rest on
    /// your compare.
    #[must_use]
    #[inline(always)]
    pub const fn masked(number: u32) -> Self {
        const { assert!(N.is_power_of_two(), "a mask bounds a power of two; any other is bounded by a compare") };
        Self(number & (Self::LIMIT - 1))
    }

    /// The number, if it is an index. Handle `None` at once: an `Option` that is kept may be spilled with its undefined
    /// half.
    #[must_use]
    #[inline(always)]
    pub const fn checked(number: u32) -> Option<Self> {
        if number < Self::LIMIT { Some(Self::compared(number)) } else { None }
    }

    /// The number, or the last index for all that are beyond: where the last element counts what has none of its own.
    #[must_use]
    #[inline(always)]
    pub const fn clamped(number: u32) -> Self {
        Self::compared(if number < Self::LIMIT { number } else { Self::LIMIT - 1 })
    }

    /// An index that a compare made. The compiler must forget that where a mask will bound it, or it would leave the
    /// mask out.
    #[inline(always)]
    const fn compared(number: u32) -> Self {
        Self(if N.is_power_of_two() { black_box(number) } else { number })
    }

    /// The index as a number.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index, bounded where it is used.
    #[inline(always)]
    fn here(self) -> usize {
        if N.is_power_of_two() {
            return (self.0 & (Self::LIMIT - 1)) as usize;
        }
        let number = black_box(self.0 as usize);
        if number < N { number } else { 0 }
    }
}

/// Every byte is an index into 256. The width of a load: rule 3 of [the module](super).
impl From<u8> for Bounded<256> {
    #[inline(always)]
    fn from(number: u8) -> Self {
        Self(number as u32)
    }
}

/// Every 16-bit number is an index into 65,536.
impl From<u16> for Bounded<65536> {
    #[inline(always)]
    fn from(number: u16) -> Self {
        Self(number as u32)
    }
}

impl<T, const N: usize> Index<Bounded<N>> for [T; N] {
    type Output = T;

    #[inline(always)]
    fn index(&self, index: Bounded<N>) -> &T {
        &self[index.here()]
    }
}

impl<T, const N: usize> IndexMut<Bounded<N>> for [T; N] {
    #[inline(always)]
    fn index_mut(&mut self, index: Bounded<N>) -> &mut T {
        &mut self[index.here()]
    }
}
