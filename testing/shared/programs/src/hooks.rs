//! The programs.

use core::ptr;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use gabion_shared::Sequenced;
use gabion_testing_shared_programs::{CPUS, SAID, Stamp, WORDS, Written};

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

#[map]
static SEQUENCED: Array<Sequenced<Stamp>> = Array::with_max_entries(1, MMAPABLE);

#[map]
static UNGUARDED: Array<Sequenced<Stamp>> = Array::with_max_entries(1, MMAPABLE);

#[map]
static COUNTS: Array<[Written; CPUS]> = Array::with_max_entries(1, MMAPABLE);

/// See [`SAID`].
#[unsafe(no_mangle)]
#[unsafe(link_section = ".gabion.contracts")]
static GABION_CONTRACTS: [u8; SAID.length()] = SAID.text();

/// What this CPU counts, and the number of its next stamp.
#[inline(always)]
fn own() -> Option<(*mut Written, u64)> {
    let counts: *mut Written = COUNTS.get_ptr_mut(0)?.cast();
    // SAFETY: takes nothing and touches no memory of ours.
    let cpu = unsafe { bpf_get_smp_processor_id() } as usize & (CPUS - 1);
    let own = counts.wrapping_add(cpu);
    // SAFETY: within the element, and this CPU's own.
    let stamps = unsafe { (*own).stamps };
    // No two CPUs write the same.
    Some((own, stamps << 6 | cpu as u64))
}

/// Writes a stamp by the protocol.
#[xdp]
pub fn shared_sequenced(_: XdpContext) -> u32 {
    let (Some((own, number)), Some(record)) = (own(), SEQUENCED.get_ptr_mut(0)) else { return XDP_ABORTED };
    // SAFETY: the memory of a map, whose elements are aligned to 8 bytes.
    let written = unsafe { gabion_shared::write(record, &Stamp::of(number)) };
    // SAFETY: as in `own`.
    let own = unsafe { &mut *own };
    if written {
        own.stamps += 1;
    } else {
        own.busy += 1;
    }
    XDP_PASS
}

/// Writes a stamp word by word, and tells nobody.
#[xdp]
pub fn shared_unguarded(_: XdpContext) -> u32 {
    let (Some((own, number)), Some(record)) = (own(), UNGUARDED.get_ptr_mut(0)) else { return XDP_ABORTED };
    let value: *mut u64 = record.cast::<u64>().wrapping_add(1);
    let stamp = Stamp::of(number);
    for at in 0..WORDS {
        // SAFETY: within the element, behind its counter.
        unsafe { ptr::write_volatile(value.wrapping_add(at), stamp.words[at]) };
    }
    // SAFETY: as in `own`.
    unsafe { (*own).stamps += 1 };
    XDP_PASS
}
