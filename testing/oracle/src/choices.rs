//! Where random choices come from: a seed, or the octets that a fuzzer searches among.

use std::ops::{Bound, RangeBounds};

use arbitrary::Unstructured;
use fastrand::Rng;

/// A source of choices.
pub trait Choices {
    /// A number of the range.
    fn usize(&mut self, range: impl RangeBounds<usize>) -> usize;
    /// A number of the range.
    fn u8(&mut self, range: impl RangeBounds<u8>) -> u8;
    /// A number of the range.
    fn u16(&mut self, range: impl RangeBounds<u16>) -> u16;
    /// A number of the range.
    fn u32(&mut self, range: impl RangeBounds<u32>) -> u32;
    /// Either.
    fn bool(&mut self) -> bool;

    /// Whether a value should be taken from all that there are instead of the short lists of the small world.
    fn strays(&mut self) -> bool;
}

/// A seed stays in the small world, where values meet often without anybody searching for it.
impl Choices for Rng {
    fn usize(&mut self, range: impl RangeBounds<usize>) -> usize {
        Rng::usize(self, range)
    }

    fn u8(&mut self, range: impl RangeBounds<u8>) -> u8 {
        Rng::u8(self, range)
    }

    fn u16(&mut self, range: impl RangeBounds<u16>) -> u16 {
        Rng::u16(self, range)
    }

    fn u32(&mut self, range: impl RangeBounds<u32>) -> u32 {
        Rng::u32(self, range)
    }

    fn bool(&mut self) -> bool {
        Rng::bool(self)
    }

    fn strays(&mut self) -> bool {
        false
    }
}

/// A number of the range, whichever bounds it has.
macro_rules! within {
    ($from:expr, $range:expr, $number:ty) => {{
        let low = match $range.start_bound() {
            Bound::Included(&low) => low,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => <$number>::MIN,
        };
        let high = match $range.end_bound() {
            Bound::Included(&high) => high,
            Bound::Excluded(&end) => end.saturating_sub(1),
            Bound::Unbounded => <$number>::MAX,
        };
        $from.int_in_range(low..=high).unwrap_or(low)
    }};
}

/// When the octets are used up, every choice is the first of its range: short inputs are small policies.
impl Choices for Unstructured<'_> {
    fn usize(&mut self, range: impl RangeBounds<usize>) -> usize {
        within!(self, range, usize)
    }

    fn u8(&mut self, range: impl RangeBounds<u8>) -> u8 {
        within!(self, range, u8)
    }

    fn u16(&mut self, range: impl RangeBounds<u16>) -> u16 {
        within!(self, range, u16)
    }

    fn u32(&mut self, range: impl RangeBounds<u32>) -> u32 {
        within!(self, range, u32)
    }

    fn bool(&mut self) -> bool {
        Choices::u8(self, 0..2) == 1
    }

    fn strays(&mut self) -> bool {
        Choices::u8(self, 0..4) == 3
    }
}
