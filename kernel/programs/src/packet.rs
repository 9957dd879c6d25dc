//! Packet memory behind the bounds check of [`Bytes`].

use core::arch::asm;

use gabion_abi::facts::Facts;
use gabion_kernel_core::bytes::{Bytes, Fields};
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

/// Packet memory that the verifier knows to be there.
#[derive(Clone, Copy)]
struct Checked(*const u8);

/// Loads as many bytes at once as the instruction is wide. The compiler would load each by itself, because nothing says
/// that the address is aligned; packet memory, unlike the stack, may be read at any (on machines that we run on).
macro_rules! load {
    ($from:expr, $at:expr, $width:literal) => {{
        let value: u64;
        // SAFETY: reads memory that the bounds check of `fields` covers, as the constant assertions there say.
        unsafe {
            asm!(
                concat!("{value} = *(", $width, " *)({from} + {at})"),
                value = out(reg) value,
                from = in(reg) $from,
                at = const $at,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
        value
    }};
}

impl<const N: usize> Fields<N> for Checked {
    #[inline(always)]
    fn u8<const AT: usize>(self) -> u8 {
        const { assert!(AT < N) };
        load!(self.0, AT, "u8") as u8
    }

    #[inline(always)]
    fn u16<const AT: usize>(self) -> u16 {
        const { assert!(AT + 2 <= N) };
        (load!(self.0, AT, "u16") as u16).swap_bytes()
    }

    #[inline(always)]
    fn u32<const AT: usize>(self) -> u32 {
        const { assert!(AT + 4 <= N) };
        (load!(self.0, AT, "u32") as u32).swap_bytes()
    }
}

impl<H: Hook> Packet<H> {
    /// Where `N` bytes begin at `offset`, if all are there.
    #[inline(always)]
    fn start_of<const N: usize>(&self, offset: usize) -> Option<usize> {
        if offset > OFFSET_LIMIT {
            return None;
        }
        let start = self.data + offset;
        // LLVM turns `start + 1 > end` into `start >= end`, from which the verifier learns nothing (it knows only
        // compares with an offset); a value that LLVM does not look through stays as it is written.
        let end = if N == 1 { core::hint::black_box(start + N) } else { start + N };
        (end <= self.data_end).then_some(start)
    }
}

impl<H: Hook> Bytes for Packet<H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.start_of::<N>(offset)?;
        // SAFETY: `data..data_end` is packet memory that stays in place while the program runs, and
        // `start..start + N` lies within; the verifier checks the same. Bytes need no alignment.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn fields<const N: usize>(&self, offset: usize) -> Option<impl Fields<N>> {
        self.start_of::<N>(offset).map(|start| Checked(start as *const u8))
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
