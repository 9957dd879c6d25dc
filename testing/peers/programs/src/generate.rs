//! The generator: writes the next flow of a trace into each frame, and sends it into a wire, or hands it to a program.
//!
//! BPF_PROG_RUN repeats one frame. What is written here stays in the frame's page, which comes back for a later frame,
//! so that every field in which flows differ is written each time.

use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, DevMap, ProgramArray};
use aya_ebpf::programs::XdpContext;
use gabion_testing_peers_programs::{CHECKSUM_BASE, Cursor, FRAME_BYTES, Flow, IP, MARK, TRANSPORT};

use crate::frame;

/// The trace. Size at load.
#[map]
static TRACE: Array<Flow> = Array::with_max_entries(1, 0);

/// Where it stands.
#[map]
static CURSOR: Array<Cursor> = Array::with_max_entries(1, 0);

/// Devices whose other end is a receiver.
#[map]
static WIRES: DevMap = DevMap::with_max_entries(64, 0);

/// Programs that run on the frame at once.
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(64, 0);

/// Writes the next flow into the frame; the port it goes to.
#[inline(always)]
fn rewrite(context: &XdpContext) -> Option<u32> {
    let cursor = CURSOR.get_ptr_mut(0)?;
    // SAFETY: an array's element lives as long as the program, and only one generator runs at a time.
    let Cursor { next, mask, port, .. } = unsafe { *cursor };
    // SAFETY: as above.
    unsafe { (*cursor).next = next.wrapping_add(1) };
    let flow = TRACE.get(next & mask)?;
    let start = frame::start::<FRAME_BYTES>(context)?;
    let half = |bytes: [u8; 4]| {
        u32::from(u16::from_be_bytes([bytes[0], bytes[1]])) + u32::from(u16::from_be_bytes([bytes[2], bytes[3]]))
    };
    let sum = CHECKSUM_BASE + flow.protocol as u32 + half(flow.source) + half(flow.destination);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    // SAFETY: all offsets are below `FRAME_BYTES`, which `start` checked; bytes need no alignment.
    unsafe {
        start.add(IP + 9).write(flow.protocol);
        start.add(IP + 10).cast::<[u8; 2]>().write_unaligned(sum.to_be_bytes());
        start.add(IP + 12).cast::<[u8; 4]>().write_unaligned(flow.source);
        start.add(IP + 16).cast::<[u8; 4]>().write_unaligned(flow.destination);
        start.add(TRANSPORT).cast::<[u8; 4]>().write_unaligned(flow.ports);
        start.add(TRANSPORT + 13).write(flow.tcp_flags);
        start.add(MARK).write(flow.mark);
    }
    Some(port)
}

/// Sends the next frame of the trace into a wire.
#[xdp]
pub fn peer_send(context: XdpContext) -> u32 {
    match rewrite(&context) {
        Some(port) => WIRES.redirect(port, 0).unwrap_or(XDP_ABORTED),
        None => XDP_ABORTED,
    }
}

/// Runs a program on the next frame of the trace. Its verdict is this one's.
#[xdp(frags)]
pub fn peer_run(context: XdpContext) -> u32 {
    if let Some(port) = rewrite(&context) {
        // SAFETY: nothing here needs to be dropped.
        unsafe { PROGRAMS.tail_call(&context, port) };
    }
    XDP_ABORTED
}
