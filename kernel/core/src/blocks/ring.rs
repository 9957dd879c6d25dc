//! A ring of the last so many values.

use core::hint::black_box;

use gabion_abi::contract::Contract;

use super::Bounded;

/// A queue of at most `CAP` values, a power of two. For guards of streams, which remember the last arrivals or numbers
/// of each and look at them one by one.
///
/// In a map value that several CPUs write it needs a lock, or a map for each CPU. All-zero bytes are an empty ring, if
/// they are a valid `T`. `T` must not have a layout that leaves bytes over: what does not fit is refused when it is
/// compiled.
///
/// Both counters run freely and are masked when they are used (rule 1 of [the module](super)): whatever they hold, an
/// access stays within the slots. So there is no state of the counters that the verifier would have to be told of, and
/// no branch that wraps them.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBuf<T, const CAP: usize> {
    /// How many were ever put in, modulo 2^32.
    pushed: u32,
    /// How many of them are out again, likewise.
    popped: u32,
    slots: [T; CAP],
}

impl<T: Copy + 'static, const CAP: usize> RingBuf<T, CAP> {
    const CAPACITY: u32 = {
        assert!(CAP.is_power_of_two() && CAP <= 1 << 30, "slots are found by a mask: a power of two");
        assert!(size_of::<Self>() == 8 + size_of::<[T; CAP]>(), "the layout would hold bytes that nobody sets");
        CAP as u32
    };

    /// An empty ring; `fill` is in the slots that are not in use.
    #[must_use]
    pub const fn new(fill: T) -> Self {
        assert!(Self::CAPACITY > 0);
        Self { pushed: 0, popped: 0, slots: [fill; CAP] }
    }

    /// How many values are in the ring.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> u32 {
        let held = self.pushed.wrapping_sub(self.popped);
        // More only in memory that something else wrote.
        if held < Self::CAPACITY { held } else { Self::CAPACITY }
    }

    /// Whether there is none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.pushed == self.popped
    }

    /// Whether there is room for no other.
    #[must_use]
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.len() == Self::CAPACITY
    }

    /// Forgets all of them.
    #[inline(always)]
    pub const fn clear(&mut self) {
        self.popped = self.pushed;
    }

    /// Puts a value in behind all others. False when the ring is full, and nothing changes.
    #[inline(always)]
    pub fn push(&mut self, value: T) -> bool {
        if self.is_full() {
            return false;
        }
        self.put(value);
        true
    }

    /// Puts a value in behind all others; in a full ring the oldest gives way.
    #[inline(always)]
    pub fn push_over(&mut self, value: T) {
        if self.is_full() {
            self.popped = self.pushed.wrapping_sub(Self::CAPACITY - 1);
        }
        self.put(value);
    }

    #[inline(always)]
    fn put(&mut self, value: T) {
        self.slots[Bounded::<CAP>::masked(self.pushed)] = value;
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Takes the oldest value out. False when there is none.
    #[inline(always)]
    pub fn pop(&mut self, into: &mut T) -> bool {
        if !self.oldest(0, into) {
            return false;
        }
        self.popped = self.popped.wrapping_add(1);
        true
    }

    /// The value that is the `number`th from the oldest, which is the 0th. False when there are not so many.
    #[inline(always)]
    pub fn oldest(&self, number: u32, into: &mut T) -> bool {
        if number >= self.len() {
            return false;
        }
        *into = self.slots[Bounded::<CAP>::masked(self.popped.wrapping_add(number))];
        true
    }

    /// The value that is the `number`th from the newest, which is the 0th. False when there are not so many.
    #[inline(always)]
    pub fn newest(&self, number: u32, into: &mut T) -> bool {
        if number >= self.len() {
            return false;
        }
        *into = self.slots[Bounded::<CAP>::masked(self.pushed.wrapping_sub(1).wrapping_sub(number))];
        true
    }

    /// Goes through the values, oldest first, until `each` says false. At most `CAP` turns, by a counter that is a
    /// constant to the verifier in each turn (rule 5 of [the module](super)). It walks all of them: this is for small
    /// rings.
    #[inline(always)]
    pub fn walk(&self, mut each: impl FnMut(T) -> bool) {
        let held = self.len();
        for number in 0..Self::CAPACITY {
            // Unknown in each turn, or the compiler would make one counter of both ends, which runs down from a number
            // that nobody knows.
            if number >= black_box(held) || !each(self.slots[Bounded::<CAP>::masked(self.popped.wrapping_add(number))])
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_run_on_beyond_32_bits() {
        let start = u32::MAX - 5;
        let mut ring = RingBuf::<u32, 4> { pushed: start, popped: start, slots: [0; 4] };
        let mut out = 0;
        for number in 0..20 {
            ring.push_over(number);
            assert_eq!(ring.len(), (number + 1).min(4));
            assert!(ring.newest(0, &mut out) && out == number);
            assert!(ring.oldest(0, &mut out) && out == number.saturating_sub(3));
        }
        assert!(ring.pop(&mut out) && out == 16 && ring.len() == 3);
    }

    #[test]
    fn counters_that_cannot_be_stay_within_the_slots() {
        for (pushed, popped) in [(100, 0), (0, 1), (u32::MAX, 7), (7, u32::MAX)] {
            let mut ring = RingBuf::<u32, 4> { pushed, popped, slots: [1, 2, 3, 4] };
            let mut out = 0;
            assert!(ring.len() <= 4);
            assert!(ring.oldest(3, &mut out) == (ring.len() == 4));
            ring.walk(|_| true);
            ring.push_over(5);
            assert!(ring.newest(0, &mut out) && out == 5);
            while ring.pop(&mut out) && pushed.wrapping_sub(popped) < 1000 {}
        }
    }
}
