//! tc (tcx or clsact): what departs.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use gabion_abi::facts::Facts;
use gabion_abi::verdict::{DROP, hook, interface};
use gabion_kernel_core::judge::{Case, Place, judge, may_quote, quote, retract, was_judged};
use gabion_kernel_core::offload::with_offloaded_tag;
use gabion_kernel_core::parse::ipv6::{Walk, extension};
use gabion_kernel_core::parse::parse_into;

use crate::count::gabion_egress_count;
use crate::packet::{Hook, Packet, encoded};
use crate::world::{InCase, Maps, keeps_state};
use crate::{maps, memory};

/// Bytes that hold all headers of all but contrived packets: 14 Ethernet, 8 VLAN, 40 IPv6, 60 TCP, and room
/// for extension headers or the packet that an ICMP error quotes.
const HEADER_BYTES: u32 = 192;

/// The packet at the tc hook.
#[derive(Clone, Copy)]
pub struct Departure(*mut __sk_buff);

#[inline(always)]
fn packet(context: *mut __sk_buff, forgotten: Option<*mut u64>) -> Packet<Departure> {
    // SAFETY: the context is the kernel's, and its fields are plain integers to us.
    let (data, data_end, length) = unsafe { ((*context).data, (*context).data_end, (*context).len) };
    Packet::new(Departure(context), data as usize, data_end as usize, length as usize, forgotten)
}

/// [`parse_into`] as a global function: verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_egress_parse(context: *mut __sk_buff, case: *mut Case, layer3: u32) -> u32 {
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
pub extern "C" fn gabion_egress_quote(context: *mut __sk_buff, case: *mut Case) -> u32 {
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
pub extern "C" fn gabion_egress_extension(context: *mut __sk_buff, walk: *mut Walk, facts: *mut Facts) -> u32 {
    if walk.is_null() || facts.is_null() {
        return 0;
    }
    // SAFETY: the only caller passes exclusive references.
    let (walk, facts) = unsafe { (&mut *walk, &mut *facts) };
    encoded(extension(&packet(context, None), walk, facts))
}

impl Hook for Departure {
    #[inline(always)]
    fn parse(&self, case: &mut Case, layer3: bool) {
        gabion_egress_parse(self.0, case, layer3 as u32);
    }

    #[inline(always)]
    fn extension(&self, walk: &mut Walk, facts: &mut Facts) -> u32 {
        gabion_egress_extension(self.0, walk, facts)
    }

    #[inline(always)]
    fn quote(&self, case: &mut Case) {
        gabion_egress_quote(self.0, case);
    }
}

/// Judges a packet before departure. Where policy tells VLANs apart it also stands where packets come in, behind XDP,
/// which does not see a tag that a driver or a veth keeps beside the frame: what has a tag is judged again with all of
/// its tags.
#[classifier]
pub fn gabion_egress(context: TcContext) -> i32 {
    // The context's fields are read once: the verifier turns each access into a load of the real sk_buff.
    let skb = context.skb.skb;
    // SAFETY: the kernel passes a valid context, and all fields are plain integers.
    let (length, ifindex, arrived_on) = unsafe { ((*skb).len, (*skb).ifindex, (*skb).ingress_ifindex) };
    // SAFETY: as above for the context.
    let (tagged, tci) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    // It comes in, or turns back where it came in: judged then, unless its tag was not seen.
    let comes_in = arrived_on == ifindex;
    if comes_in && tagged == 0 {
        return TC_ACT_UNSPEC;
    }
    let place = if comes_in {
        Place { hook: hook::INGRESS as u32, source_ifindex: ifindex, destination_ifindex: 0 }
    } else {
        Place { hook: hook::EGRESS as u32, source_ifindex: arrived_on, destination_ifindex: ifindex }
    };
    if was_judged(&Maps::new(0), place) {
        return TC_ACT_UNSPEC;
    }
    let Some(case) = maps::EGRESS_CASE.get_ptr_mut(0) else { return TC_ACT_SHOT };
    let wanted = if length < HEADER_BYTES { length } else { HEADER_BYTES };
    if context.data() + (wanted as usize) > context.data_end() {
        // When it fails, what is linear is judged, and the packet may count as truncated.
        let _ = context.pull_data(wanted);
    }
    let layer3 = memory::interface(ifindex).flags & interface::L3 != 0;
    // SAFETY: this CPU's own element; tc runs with bottom halves off, and nothing else uses the map.
    // All integers: whatever the last packet left there is a valid case.
    let case = unsafe { &mut *case };
    case.length = length;
    case.place = place;
    case.revision = memory::revision();
    let packet = Departure(skb);
    packet.parse(case, layer3);
    if tagged != 0 {
        with_offloaded_tag(&mut case.facts, tci as u16);
    }
    if keeps_state() && may_quote(case) {
        packet.quote(case);
    }
    judge(&Maps::new(InCase::of(case)), case);
    // Asked of the case, which is at hand, and not remembered: the stack is full.
    if case.place.hook == hook::INGRESS as u32 {
        if case.verdict.action != DROP {
            // XDP counted it.
            return TC_ACT_UNSPEC;
        }
        if keeps_state() {
            retract(&Maps::new(InCase::of(case)), case);
        }
    }
    gabion_egress_count(skb, case);
    // TC_ACT_UNSPEC lets other programs on the same hook have their say.
    if case.verdict.action == DROP { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}
