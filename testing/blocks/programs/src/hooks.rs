//! The programs.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use gabion_testing_blocks_programs::{Bounds, Classes, FRAME_BYTES, HEADER, Machine, OPS, Op, Rings, Strides};

#[map]
static BOUNDS: Array<Bounds> = Array::with_max_entries(1, 0);

#[map]
static RINGS: Array<Rings> = Array::with_max_entries(1, 0);

#[map]
static CLASSES: Array<Classes> = Array::with_max_entries(1, 0);

#[map]
static STRIDES: Array<Strides> = Array::with_max_entries(1, 0);

#[inline(always)]
fn run<M: Machine>(context: &XdpContext, map: &Array<M>) -> u32 {
    let Some(machine) = map.get_ptr_mut(0) else { return XDP_ABORTED };
    let start = context.data();
    if start + FRAME_BYTES > context.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: map memory lives while the program runs, every pattern of bytes is a machine, and BPF_PROG_RUN of one
    // process runs on one CPU at a time.
    let machine = unsafe { &mut *machine };
    // SAFETY: inside the packet, as just checked; BPF_PROG_RUN starts a packet 256 bytes into a page, so that 16 bytes
    // further in it is aligned.
    let ops = unsafe { &mut *((start + HEADER) as *mut [Op; OPS]) };
    for op in ops {
        op[0] = machine.apply(op);
    }
    XDP_PASS
}

/// [`Bounds`].
#[xdp]
pub fn blocks_bounds(context: XdpContext) -> u32 {
    run(&context, &BOUNDS)
}

/// [`Rings`].
#[xdp]
pub fn blocks_rings(context: XdpContext) -> u32 {
    run(&context, &RINGS)
}

/// [`Classes`].
#[xdp]
pub fn blocks_classes(context: XdpContext) -> u32 {
    run(&context, &CLASSES)
}

/// [`Strides`].
#[xdp]
pub fn blocks_strides(context: XdpContext) -> u32 {
    run(&context, &STRIDES)
}
