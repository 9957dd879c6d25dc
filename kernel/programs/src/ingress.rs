//! XDP: what arrives.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gabion_abi::facts::Facts;
use gabion_abi::verdict::{DROP, Verdict, hook, interface};
use gabion_kernel_core::bytes::Bytes;
use gabion_kernel_core::judge::{Case, Place, judge, may_quote, quote};
use gabion_kernel_core::parse::ipv6::{Walk, extension};
use gabion_kernel_core::parse::parse_into;
use gabion_kernel_core::short::{Memory, decide, serves, usual};

use crate::count::{count_silently, gabion_count};
use crate::packet::{Hook, Packet, encoded};
use crate::world::{InCase, Maps, View, keeps_state, note};
use crate::{maps, memory};

/// The packet at the XDP hook.
#[derive(Clone, Copy)]
pub struct Arrival(*mut xdp_md);

#[inline(always)]
fn packet(context: *mut xdp_md, forgotten: Option<*mut u64>) -> Packet<Arrival> {
    // SAFETY: the context is the kernel's, and its fields are plain integers to us; the helper only reads it.
    let (data, data_end, length) = unsafe { ((*context).data, (*context).data_end, bpf_xdp_get_buff_len(context)) };
    Packet::new(Arrival(context), data as usize, data_end as usize, length as usize, forgotten)
}

/// [`parse_into`] as a global function: verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_ingress_parse(context: *mut xdp_md, case: *mut Case, layer3: u32) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: the only caller passes an exclusive reference.
    let case = unsafe { &mut *case };
    let packet = packet(context, Some(&raw mut case.forgotten));
    parse_into(&packet, layer3 != 0, &mut case.facts);
    1
}

/// [`quote`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_ingress_quote(context: *mut xdp_md, case: *mut Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: the only caller passes an exclusive reference.
    let case = unsafe { &mut *case };
    let packet = packet(context, Some(&raw mut case.forgotten));
    quote(&packet, case);
    1
}

/// [`extension`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_ingress_extension(context: *mut xdp_md, walk: *mut Walk, facts: *mut Facts) -> u32 {
    if walk.is_null() || facts.is_null() {
        return 0;
    }
    // SAFETY: the only caller passes exclusive references.
    let (walk, facts) = unsafe { (&mut *walk, &mut *facts) };
    encoded(extension(&packet(context, None), walk, facts))
}

impl Hook for Arrival {
    #[inline(always)]
    fn parse(&self, case: &mut Case, layer3: bool) {
        gabion_ingress_parse(self.0, case, layer3 as u32);
    }

    #[inline(always)]
    fn extension(&self, walk: &mut Walk, facts: &mut Facts) -> u32 {
        gabion_ingress_extension(self.0, walk, facts)
    }

    #[inline(always)]
    fn quote(&self, case: &mut Case) {
        gabion_ingress_quote(self.0, case);
    }
}

/// The short way did not decide.
const UNDECIDED: u32 = u32::MAX;

/// The short way over IPv4, as a global function: its stack is its own, and not that of what the long way calls. The
/// XDP action, or [`UNDECIDED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_ingress_v4(context: *mut xdp_md) -> u32 {
    short::<false>(context)
}

/// The short way over IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_ingress_v6(context: *mut xdp_md) -> u32 {
    short::<true>(context)
}

#[inline(always)]
fn short<const V6: bool>(context: *mut xdp_md) -> u32 {
    if !serves(&View::of(0)) {
        return UNDECIDED;
    }
    let packet = packet(context, None);
    let mut here = Facts::default();
    // IPv6 addresses do not find room in registers, nor on the stack.
    let facts = if V6 {
        let Some(case) = maps::INGRESS_CASE.get_ptr_mut(0) else { return UNDECIDED };
        // SAFETY: this CPU's own element, as in `gabion_ingress`.
        unsafe { &mut (*case).facts }
    } else {
        &mut here
    };
    if !usual::<V6, _>(&packet, facts) {
        return UNDECIDED;
    }
    // SAFETY: the context is the kernel's, and its fields are plain integers to us.
    let interface = memory::interface(unsafe { (*context).ingress_ifindex });
    if interface.flags & interface::L3 != 0 {
        // No frame: what was read there means nothing.
        return UNDECIDED;
    }
    let world = Maps::new(memory::revision());
    let mut verdict = Verdict::default();
    if decide(&world, facts, interface.class as u32, &mut verdict)
        && count_silently(&verdict, packet.len() as u32, || world.about_ns())
    {
        return if verdict.action == DROP { XDP_DROP } else { XDP_PASS };
    }
    UNDECIDED
}

/// Judges a packet on arrival. It is able to handle multi-buffer frames: all headers that matter lie in the first
/// buffer, and where they do not, the packet counts as truncated.
#[xdp(frags)]
pub fn gabion_ingress(context: XdpContext) -> u32 {
    let decided = gabion_ingress_v4(context.ctx);
    if decided != UNDECIDED {
        return decided;
    }
    let decided = gabion_ingress_v6(context.ctx);
    if decided != UNDECIDED {
        return decided;
    }
    // An array of one element always has element 0.
    let Some(case) = maps::INGRESS_CASE.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: the context is the kernel's; the helper only reads it.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    let ifindex = context.ingress_ifindex() as u32;
    let layer3 = memory::interface(ifindex).flags & interface::L3 != 0;
    // SAFETY: this CPU's own element; the program is not interrupted by itself, and nothing else uses the map.
    // All integers: whatever the last packet left there is a valid case.
    let case = unsafe { &mut *case };
    case.length = length as u32;
    case.revision = memory::revision();
    case.place = Place { hook: hook::INGRESS as u32, source_ifindex: ifindex, destination_ifindex: 0 };
    let packet = Arrival(context.ctx);
    packet.parse(case, layer3);
    if keeps_state() && may_quote(case) {
        packet.quote(case);
    }
    judge(&Maps::new(InCase::of(case)), case);
    if keeps_state() {
        note(case);
    }
    gabion_count(case);
    if case.verdict.action == DROP { XDP_DROP } else { XDP_PASS }
}
