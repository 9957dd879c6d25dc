//! Records larger than a word behind a sequence counter: the protocol of writer and reader, on whatever memory.
//!
//! The counter is odd while somebody writes. A writer claims the record by making an even counter odd (which also keeps
//! a second one out, of another CPU or of a program that interrupted it), stores the words, and makes the counter the
//! next even one. A reader that sees the same even number before and after saw what one writer left. What has to stay
//! in order:
//!
//! | | before | after | on the host | in BPF |
//! | --- | --- | --- | --- | --- |
//! | claim | | stores of words | | `cmpxchg`, a full barrier both ways |
//! | settle | stores of words | | | `xchg`, ditto |
//! | first look at the counter | | loads of words | acquire fence | |
//! | second look | loads of words | | acquire fence | |
//!
//! Every access is of a whole, aligned word, so that the words themselves are never torn. `docs/decisions/0021` says
//! why these instructions.

use gabion_abi::contract::Contract;

/// A record that is written as a whole and read as a whole, although it is several words long. All zeroes are a record
/// of zeroes.
///
/// Its layout is the kernel programs' and the agent's; how to get at it is `write` in a program and `Slot::read` on the
/// host. The size of `T` is a multiple of 8.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequenced<T> {
    /// Odd while the value is being written.
    sequence: u64,
    value: T,
}

impl<T: Contract> Sequenced<T> {
    /// One that nobody wrote yet, for a static.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { sequence: 0, value }
    }

    /// Where the value begins, in bytes.
    pub(crate) const VALUE: usize = {
        assert!(size_of::<T>().is_multiple_of(8) && size_of::<T>() > 0, "a value is whole words");
        assert!(align_of::<T>() <= 8, "aligned as words are");
        core::mem::offset_of!(Self, value)
    };
}

/// The word that counts.
pub(crate) trait Counter {
    /// Its value, in no order with anything.
    fn load(&self) -> u64;
}

/// What a writer needs of it.
#[cfg(any(target_arch = "bpf", test))]
pub(crate) trait Claim: Counter {
    /// Makes it odd if it still is `even`, before anything that is stored from now on.
    fn claim(&self, even: u64) -> bool;
    /// Makes it `even`, after everything that was stored until now.
    fn settle(&self, even: u64);
}

/// What a reader needs of it.
#[cfg(not(target_arch = "bpf"))]
pub(crate) trait Look: Counter {
    /// Loads before this are done before loads after it.
    fn acquire(&self);
    /// Somebody else writes: lets them.
    fn pause(&self);
}

/// Writes: `store` stores the words. False, and nothing is stored, while somebody else writes.
#[cfg(any(target_arch = "bpf", test))]
#[inline(always)]
pub(crate) fn write(counter: &impl Claim, store: impl FnOnce()) -> bool {
    let even = counter.load();
    if even & 1 == 1 || !counter.claim(even) {
        return false;
    }
    store();
    counter.settle(even.wrapping_add(2));
    true
}

/// Somebody was writing whenever a reader looked.
#[cfg(not(target_arch = "bpf"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The counter, when it was seen last. If it is odd and the same at a later time, a writer died half way.
    pub sequence: u64,
}

/// Looks until nobody wrote meanwhile, at most so many times. What `look` answers is given away only then.
#[cfg(not(target_arch = "bpf"))]
#[inline]
pub(crate) fn read<R>(counter: &impl Look, looks: u32, mut look: impl FnMut() -> R) -> Result<R, Unsettled> {
    let mut sequence = counter.load();
    for _ in 0..looks {
        if sequence & 1 == 0 {
            counter.acquire();
            let seen = look();
            counter.acquire();
            let after = counter.load();
            if after == sequence {
                return Ok(seen);
            }
            sequence = after;
        } else {
            counter.pause();
            sequence = counter.load();
        }
    }
    Err(Unsettled { sequence })
}

#[cfg(test)]
mod tests;
