//! Programs that decide nothing: their cost is what every program pays.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use gabion_kernel_core::bytes::Bytes;
use gabion_kernel_core::judge::Case;
use gabion_kernel_core::parse::parse_into;
use gabion_testing_peers_programs::{MARK, MARK_PASS};

use crate::frame::{self, Tuple};

/// Where [`peer_parse`] leaves what it found.
#[map]
static TUPLE: PerCpuArray<Tuple> = PerCpuArray::with_max_entries(1, 0);

/// Where [`peer_core_parse`] leaves what it found.
#[map]
static CASE: PerCpuArray<Case> = PerCpuArray::with_max_entries(1, 0);

/// Drops.
#[xdp(frags)]
pub fn peer_drop(_: XdpContext) -> u32 {
    XDP_DROP
}

/// Passes. In front of what decides in the network stack: a device takes live frames only with a program on it, or
/// while it merges packets (GRO), and the program is the cheaper of the two by some 50 ns a packet.
#[xdp(frags)]
pub fn peer_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Does what the frame says: the cost of carrying out a verdict, without finding it.
#[xdp(frags)]
pub fn peer_marked(context: XdpContext) -> u32 {
    let Some(start) = frame::start::<{ MARK + 1 }>(&context) else { return XDP_ABORTED };
    // SAFETY: inside the packet, as `start` checked.
    match unsafe { start.add(MARK).read() } {
        MARK_PASS => XDP_PASS,
        _ => XDP_DROP,
    }
}

/// Reads the five-tuple, keeps it and drops.
#[xdp(frags)]
pub fn peer_parse(context: XdpContext) -> u32 {
    let Some(place) = TUPLE.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: this CPU's own element.
    if !frame::tuple(&context, unsafe { &mut *place }) {
        return XDP_ABORTED;
    }
    XDP_DROP
}

/// The linear part of a packet.
struct Packet {
    data: usize,
    data_end: usize,
    length: usize,
    forgotten: *mut u64,
}

impl Bytes for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > 0x7fff {
            return None;
        }
        let start = self.data + offset;
        // A compare with an offset is what the verifier learns from; for one byte the compiler would drop it.
        let end = if N == 1 { core::hint::black_box(start + N) } else { start + N };
        if end > self.data_end {
            return None;
        }
        // SAFETY: within packet memory, as just checked; bytes need no alignment.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        // SAFETY: a place in this CPU's own map element; volatile, or it would not go through memory.
        unsafe {
            self.forgotten.write_volatile(value as u64);
            self.forgotten.read_volatile() as usize
        }
    }
}

/// The product's parser, and nothing after it.
#[xdp(frags)]
pub fn peer_core_parse(context: XdpContext) -> u32 {
    let Some(case) = CASE.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: this CPU's own element; every pattern of bytes is a valid case.
    let case = unsafe { &mut *case };
    // SAFETY: the context is the kernel's; the helper only reads it.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) } as usize;
    let packet =
        Packet { data: context.data(), data_end: context.data_end(), length, forgotten: &raw mut case.forgotten };
    parse_into(&packet, false, &mut case.facts);
    XDP_DROP
}
