//! Sets of small numbers as sorted, disjoint, inclusive ranges.

use std::ops::RangeInclusive;

/// A set of `u32` as sorted, disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeSet {
    ranges: Vec<(u32, u32)>,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// One range; empty when it is empty.
    #[must_use]
    pub fn from_range(range: RangeInclusive<u32>) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }

    /// Adds a range.
    pub fn insert(&mut self, range: RangeInclusive<u32>) {
        let (mut low, mut high) = range.into_inner();
        if low > high {
            return;
        }
        let from = self.ranges.partition_point(|&(_, h)| h != u32::MAX && h + 1 < low);
        let mut to = from;
        while let Some(&(l, h)) = self.ranges.get(to) {
            if high != u32::MAX && l > high + 1 {
                break;
            }
            low = low.min(l);
            high = high.max(h);
            to += 1;
        }
        self.ranges.splice(from..to, [(low, high)]);
    }

    /// Removes a range.
    pub fn remove(&mut self, range: RangeInclusive<u32>) {
        let (low, high) = range.into_inner();
        if low > high {
            return;
        }
        let mut kept = Vec::with_capacity(self.ranges.len() + 1);
        for &(l, h) in &self.ranges {
            if h < low || l > high {
                kept.push((l, h));
                continue;
            }
            if l < low {
                kept.push((l, low - 1));
            }
            if h > high {
                kept.push((high + 1, h));
            }
        }
        self.ranges = kept;
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, value: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, h)| h < value);
        self.ranges.get(at).is_some_and(|&(l, _)| l <= value)
    }

    /// The numbers in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(&(al, ah)), Some(&(bl, bh))) = (self.ranges.get(i), other.ranges.get(j)) {
            let (low, high) = (al.max(bl), ah.min(bh));
            if low <= high {
                both.ranges.push((low, high));
            }
            if ah < bh { i += 1 } else { j += 1 }
        }
        both
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied()
    }
}
