//! The rules that the blocks rest on, and what looks like one and is none: a program for each, written in instructions,
//! so that no compiler chooses another way. Each takes a number that nobody knows, bounds it somehow and reads at that
//! place of the value of a map, which has 128 bytes.

use core::arch::asm;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;

#[map]
static PROBE: Array<[u64; 16]> = Array::with_max_entries(1, 0);

/// A program: r1 is any number of 64 bits, and r2 the place where the value starts; both, and r3, are for it to use.
/// The stack below -256 is free.
macro_rules! rule {
    ($(#[$document:meta])* $name:ident: $($line:literal)+) => {
        $(#[$document])*
        #[xdp]
        pub fn $name(_: XdpContext) -> u32 {
            let Some(place) = PROBE.get_ptr_mut(0) else { return XDP_ABORTED };
            // SAFETY: the helper takes nothing and touches no memory of ours.
            let number = unsafe { bpf_get_prandom_u32() } as u64 * 0x1_0000_0001;
            // SAFETY: what is read is read within the value of the map, or the verifier refuses the program; of the
            // stack nothing is touched that the compiler uses, which has few variables here.
            unsafe {
                asm!(
                    $($line,)+
                    "2:",
                    inout("r1") number => _,
                    inout("r2") place => _,
                    out("r3") _,
                );
            }
            XDP_PASS
        }
    };
}

rule! {
    /// A constant mask.
    rule_mask:
    "r1 &= 15"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A constant shift to the right.
    rule_shift:
    "r1 >>= 60"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// The remainder of a constant.
    rule_remainder:
    "r1 %= 12"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// The width of a load.
    rule_load:
    "*(u64 *)(r2 + 0) = r1"
    "r1 = *(u8 *)(r2 + 0)"
    "r1 >>= 1"
    "r2 += r1"
    "r1 = *(u8 *)(r2 + 0)"
}

rule! {
    /// An unsigned compare.
    rule_compare:
    "if r1 > 15 goto 2f"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A signed compare: below zero is left.
    rule_compare_signed:
    "if r1 s> 15 goto 2f"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare of the lower half, of which the upper is not known.
    rule_compare_half:
    "if w1 > 15 goto 2f"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare of the lower half, and then the upper is cleared.
    rule_compare_half_then_clear:
    "if w1 > 15 goto 2f"
    "w1 = w1"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare of the lower half after the upper was cleared.
    rule_compare_half_cleared:
    "w1 = w1"
    "if w1 > 15 goto 2f"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare of one copy, and use of the other.
    rule_compare_copy:
    "r3 = r1"
    "if r1 > 15 goto 2f"
    "r3 <<= 3"
    "r2 += r3"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// The same, copied by halves; the upper ones are clear.
    rule_compare_copy_half:
    "w1 = w1"
    "w3 = w1"
    "if w1 > 15 goto 2f"
    "r3 <<= 3"
    "r2 += r3"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare of what the place was computed from before.
    rule_compare_after:
    "r3 = r1"
    "r3 <<= 3"
    "if r1 > 15 goto 2f"
    "r2 += r3"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// Row × constant + column: up to the last byte.
    rule_sum:
    "if r1 > 11 goto 2f"
    "r3 = *(u8 *)(r2 + 0)"
    "if r3 > 17 goto 2f"
    "r1 *= 10"
    "r1 += r3"
    "r2 += r1"
    "r1 = *(u8 *)(r2 + 0)"
}

rule! {
    /// The same, and one byte further.
    rule_sum_beyond:
    "if r1 > 11 goto 2f"
    "r3 = *(u8 *)(r2 + 0)"
    "if r3 > 18 goto 2f"
    "r1 *= 10"
    "r1 += r3"
    "r2 += r1"
    "r1 = *(u8 *)(r2 + 0)"
}

rule! {
    /// A bound that went to the stack and came back whole.
    rule_spill:
    "if r1 > 15 goto 2f"
    "*(u64 *)(r10 - 264) = r1"
    "r1 = *(u64 *)(r10 - 264)"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// Half of a register to the stack and back.
    rule_spill_half:
    "r1 &= 15"
    "*(u32 *)(r10 - 264) = r1"
    "r1 = *(u32 *)(r10 - 264)"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A whole register to the stack, and half of it back.
    rule_spill_narrowed:
    "r1 &= 15"
    "*(u64 *)(r10 - 264) = r1"
    "r1 = *(u32 *)(r10 - 264)"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A compare after a copy went to the stack.
    rule_spill_then_compare:
    "*(u64 *)(r10 - 264) = r1"
    "if r1 > 15 goto 2f"
    "r1 = *(u64 *)(r10 - 264)"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A bound that went through the memory of a map.
    rule_map_memory:
    "r1 &= 15"
    "*(u64 *)(r2 + 0) = r1"
    "r1 = *(u64 *)(r2 + 0)"
    "r1 <<= 3"
    "r2 += r1"
    "r1 = *(u64 *)(r2 + 0)"
}

rule! {
    /// A place on the stack that only the packet knows, read and written.
    rule_stack:
    "r3 = 0"
    "*(u64 *)(r10 - 264) = r3"
    "*(u64 *)(r10 - 272) = r3"
    "r1 &= 1"
    "r1 <<= 3"
    "r3 = r10"
    "r3 += -272"
    "r3 += r1"
    "*(u64 *)(r3 + 0) = r1"
    "r1 = *(u64 *)(r3 + 0)"
}

rule! {
    /// The same where the stack was not written before.
    rule_stack_unwritten:
    "r3 = 0"
    "*(u64 *)(r10 - 264) = r3"
    "r1 &= 1"
    "r1 <<= 3"
    "r3 = r10"
    "r3 += -272"
    "r3 += r1"
    "r1 = *(u64 *)(r3 + 0)"
}

rule! {
    /// A loop whose counter is a constant in each turn, and that may end earlier.
    rule_loop_up:
    "r1 &= 7"
    "r3 = 0"
    "3:"
    "if r3 >= r1 goto 2f"
    "r3 += 1"
    "if r3 != 8 goto 3b"
}

rule! {
    /// A loop that counts down from what nobody knows, until it is 0.
    rule_loop_down:
    "r1 &= 7"
    "3:"
    "if r1 == 0 goto 2f"
    "r1 += -1"
    "goto 3b"
}

/// Reads at a number that its caller bounded.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rule_callee(number: u64) -> u32 {
    let Some(place) = PROBE.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `rule`.
    unsafe {
        asm!("r1 <<= 3", "r2 += r1", "r1 = *(u64 *)(r2 + 0)", inout("r1") number => _, inout("r2") place => _);
    }
    1
}

/// A bound that went into a global function.
#[xdp]
pub fn rule_global(_: XdpContext) -> u32 {
    // SAFETY: the helper takes nothing and touches no memory of ours.
    let number = unsafe { bpf_get_prandom_u32() } as u64;
    if rule_callee(number & 15) == 0 { XDP_ABORTED } else { XDP_PASS }
}
