//! Packet memory behind the bounds check of [`Bytes`].

use gabion_abi::facts::Facts;
use gabion_kernel_core::bytes::Bytes;
use gabion_kernel_core::judge::Case;
use gabion_kernel_core::parse::ipv6::{Step, Walk};

/// No header that matters lies further inside; the verifier wants a bound for every offset.
const OFFSET_LIMIT: usize = 0x7fff;

/// A hook's packet. Each way to read it is a global function, verified by itself with its own pointers.
pub trait Hook {
    /// Fills `case.facts`.
    fn parse(&self, case: &mut Case, layer3: bool);
    /// [`gabion_kernel_core::judge::quote`].
    fn quote(&self, case: &mut Case);
    /// [`Bytes::extension`]; its answer by [`encoded`].
    fn extension(&self, walk: &mut Walk, facts: &mut Facts) -> u32;
}

/// The linear part of a packet, and how long the whole is.
pub struct Packet<H> {
    hook: H,
    data: usize,
    data_end: usize,
    length: usize,
    forgotten: Option<*mut u64>,
}

impl<H> Packet<H> {
    /// `data` and `data_end` are the context's, read after the last helper that may move them; `forgotten` is a
    /// place in a map of this CPU, for those that use [`Bytes::forget`].
    #[inline(always)]
    pub fn new(hook: H, data: usize, data_end: usize, length: usize, forgotten: Option<*mut u64>) -> Self {
        Self { hook, data, data_end, length, forgotten }
    }
}

/// A reason is less than this.
const MORE: u32 = 1 << 8;
const LAST: u32 = 2 << 8;

/// The answer of a step as a function can return it to another.
#[inline(always)]
pub fn encoded(step: Result<Step, u8>) -> u32 {
    match step {
        Ok(Step::More) => MORE,
        Ok(Step::Last) => LAST,
        Err(reason) => reason as u32,
    }
}

impl<H: Hook> Bytes for Packet<H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > OFFSET_LIMIT {
            return None;
        }
        let start = self.data + offset;
        // LLVM turns `start + 1 > end` into `start >= end`, from which the verifier learns nothing (it knows only
        // compares with an offset); a value that LLVM does not look through stays as it is written.
        let end = if N == 1 { core::hint::black_box(start + N) } else { start + N };
        if end > self.data_end {
            return None;
        }
        // SAFETY: `data..data_end` is packet memory that stays in place while the program runs, and
        // `start..start + N` lies within; the verifier checks the same. Bytes need no alignment.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        let Some(place) = self.forgotten else { return value };
        // SAFETY: the constructor was given a place in a map that lives while the program runs, and nobody else on
        // this CPU uses it. Volatile, or the compiler would not go through memory.
        unsafe {
            place.write_volatile(value as u64);
            place.read_volatile() as usize
        }
    }

    #[inline(always)]
    fn extension(&self, walk: &mut Walk, facts: &mut Facts) -> Result<Step, u8> {
        match self.hook.extension(walk, facts) {
            MORE => Ok(Step::More),
            LAST => Ok(Step::Last),
            reason => Err(reason as u8),
        }
    }
}
