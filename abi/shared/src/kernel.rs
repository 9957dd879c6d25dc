//! The writer in a kernel program.

use core::arch::asm;
use core::ptr;

use gabion_abi::contract::Contract;

use crate::sequenced::{self, Claim, Counter, Sequenced};

/// The counter of a record in map memory.
struct Word(*mut u64);

impl Counter for Word {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: an aligned word of map memory, which `write` was promised.
        unsafe { ptr::read_volatile(self.0) }
    }
}

// Both are assembly: the target has no compare-and-swap in Rust's eyes, and a fetch-and-add whose answer nobody uses
// becomes an addition that orders nothing.
impl Claim for Word {
    #[inline(always)]
    fn claim(&self, even: u64) -> bool {
        let mut seen = even;
        // SAFETY: as above. Not `nomem`, so that the compiler keeps stores behind it.
        unsafe {
            asm!("r0 = cmpxchg_64({place} + 0, r0, {odd})", place = in(reg) self.0, odd = in(reg) even | 1,
                inlateout("r0") seen, options(nostack));
        }
        seen == even
    }

    #[inline(always)]
    fn settle(&self, even: u64) {
        // SAFETY: as above. Not `nomem`, so that the compiler keeps stores before it.
        unsafe {
            asm!("{next} = xchg_64({place} + 0, {next})", place = in(reg) self.0, next = inlateout(reg) even => _,
                options(nostack));
        }
    }
}

/// Writes a record. False, and nothing is written, while another CPU writes it or a program that this one interrupted
/// does; who must not lose what it has to say counts that.
///
/// # Safety
/// `record` points to a record in the memory of a map, aligned to 8 bytes.
#[inline(always)]
pub unsafe fn write<T: Contract + Copy>(record: *mut Sequenced<T>, value: &T) -> bool {
    let to: *mut u64 = record.cast::<u8>().wrapping_add(Sequenced::<T>::VALUE).cast();
    let from: *const u64 = ptr::from_ref(value).cast();
    sequenced::write(&Word(record.cast()), || {
        for at in 0..size_of::<T>() / 8 {
            // SAFETY: within the value on both sides, whose size is a multiple of 8, and all of whose bytes are set, as
            // its contract says. Volatile: the agent reads each word while it is written.
            unsafe { ptr::write_volatile(to.wrapping_add(at), ptr::read_unaligned(from.wrapping_add(at))) };
        }
    })
}
