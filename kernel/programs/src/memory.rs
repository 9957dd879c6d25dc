//! Map memory that is read and written in place, without a look-up: sections that the loader makes as long as they
//! must be.
//!
//! Every index is masked with a number that the verifier knows, since it is read-only when it looks, and the loader
//! made the memory for as many. A compare alone does not do: Linux 6.1 loses its bound where the compiler spilled the
//! index before.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use gabion_abi::conn::{MARK_SLOTS, NOTE_SLOTS};
use gabion_abi::event::{Settings, Tally};
use gabion_abi::local::LocalFilter;
use gabion_abi::verdict::{Count, Interface};

use crate::maps;

/// The same value, of which the compiler does not know any more what it is. Costs no instruction.
macro_rules! unknown {
    ($value:expr) => {{
        let mut value = $value;
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("/* {0} */", inlateout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
        value
    }};
}
pub(crate) use unknown;

#[inline(always)]
fn global(place: *const u32) -> u32 {
    // SAFETY: the callers pass valid, aligned statics, which nobody writes any more. Volatile, because the loader
    // replaced the zero that the compiler sees.
    unsafe { ptr::read_volatile(place) }
}

/// The revision of the tables in force. Read once for each packet: what the agent changes lies on the other side.
#[inline(always)]
pub fn revision() -> u32 {
    let revision: *const u32 = unknown!(ptr::addr_of!(maps::REVISION).cast());
    // SAFETY: one aligned word, which the agent writes while we read.
    unsafe { ptr::read_volatile(revision) }
}

/// Number of the generation.
#[inline(always)]
pub fn generation() -> u32 {
    let revision: *const u32 = unknown!(ptr::addr_of!(maps::REVISION).cast());
    // SAFETY: the second of two words, which nobody writes while packets meet the generation.
    unsafe { ptr::read_volatile(revision.wrapping_add(1)) }
}

/// Number of this CPU.
#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: the helper takes nothing and touches no memory of ours.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    cpu & global(ptr::addr_of!(maps::CPU_MASK))
}

/// The interface, or an unknown one.
#[inline(always)]
pub fn interface(ifindex: u32) -> Interface {
    let mask = global(ptr::addr_of!(maps::INTERFACE_MASK));
    if ifindex > mask {
        return Interface::default();
    }
    let first: *const u64 = unknown!(ptr::addr_of!(maps::INTERFACES).cast());
    // SAFETY: the loader made memory for so many. One load of an aligned word: the agent writes it while we read.
    let word = unsafe { ptr::read_volatile(first.wrapping_add((ifindex & mask) as usize)) };
    Interface { class: word as u16, flags: (word >> 16) as u16, padding: 0 }
}

/// This CPU's count of a rule.
#[inline(always)]
pub fn rule(rule: u32) -> Option<*mut Count> {
    let mask = global(ptr::addr_of!(maps::RULE_MASK));
    if rule > mask {
        return None;
    }
    let first: *mut Count = unknown!(ptr::addr_of_mut!(maps::RULES).cast());
    Some(first.wrapping_add((cpu() * (mask + 1) + (rule & mask)) as usize))
}

/// What this CPU counts. One at a time: each program takes it once.
#[inline(always)]
pub fn tally() -> &'static mut Tally {
    let first: *mut Tally = unknown!(ptr::addr_of_mut!(maps::TALLIES).cast());
    let own = first.wrapping_add(cpu() as usize);
    // SAFETY: the loader made memory for so many CPUs, which lives until the program ends. It is this CPU's own, and a
    // program is not interrupted by another that counts; the agent only reads it.
    unsafe { &mut *own }
}

/// The place of a note.
#[inline(always)]
pub fn note(slot: u32) -> *mut u64 {
    let first: *mut u64 = unknown!(ptr::addr_of_mut!(maps::NOTES).cast());
    first.wrapping_add((slot & (NOTE_SLOTS - 1)) as usize)
}

/// The place of a mark.
#[inline(always)]
pub fn mark(slot: u32) -> *mut u16 {
    let first: *mut u16 = unknown!(ptr::addr_of_mut!(maps::MARKS).cast());
    first.wrapping_add((slot & (MARK_SLOTS - 1)) as usize)
}

/// The settings.
#[inline(always)]
pub fn settings() -> &'static Settings {
    let settings: *const Settings = unknown!(ptr::addr_of!(maps::SETTINGS).cast());
    // SAFETY: map memory lives until the program ends. The agent changes it while we read: every value of every field
    // is one, and a packet may see some of them changed and others not yet.
    unsafe { &*settings }
}

/// Which addresses may be the node's.
#[inline(always)]
pub fn local_filter() -> &'static LocalFilter {
    let filter: *const LocalFilter = unknown!(ptr::addr_of!(maps::LOCAL_FILTER).cast());
    // SAFETY: as in `settings`.
    unsafe { &*filter }
}
