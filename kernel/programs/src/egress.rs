//! tc (tcx or clsact): what departs.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use gabion_abi::verdict::{DROP, hook, interface};
use gabion_kernel_core::judge::{Place, World, judge, was_judged};
use gabion_kernel_core::offload::with_offloaded_tag;
use gabion_kernel_core::parse::parse;

use crate::count::count;
use crate::maps;
use crate::packet::Packet;
use crate::world::Maps;

/// Bytes that hold all headers of all but contrived packets: 14 Ethernet, 8 VLAN, 40 IPv6, 60 TCP, and room
/// for extension headers or the packet that an ICMP error quotes.
const HEADER_BYTES: u32 = 192;

/// Judges a packet before departure.
#[classifier]
pub fn gabion_egress(context: TcContext) -> i32 {
    // The context's fields are read once: the verifier turns each access into a load of the real sk_buff.
    let skb = context.skb.skb;
    // SAFETY: the kernel passes a valid context, and all fields are plain integers.
    let (length, ifindex, arrived_on) = unsafe { ((*skb).len, (*skb).ifindex, (*skb).ingress_ifindex) };
    let place = Place { hook: hook::EGRESS, source_ifindex: arrived_on, destination_ifindex: ifindex };
    if was_judged(&Maps, place) {
        return TC_ACT_UNSPEC;
    }
    let Some(facts) = maps::EGRESS_FACTS.get_ptr_mut(0) else { return TC_ACT_SHOT };
    let wanted = if length < HEADER_BYTES { length } else { HEADER_BYTES };
    if context.data() + (wanted as usize) > context.data_end() {
        // When it fails, what is linear is judged, and the packet may count as truncated.
        let _ = context.pull_data(wanted);
    }
    let packet = Packet::new(context.data(), context.data_end(), length as usize);
    let layer3 = Maps.interface(ifindex).flags & interface::L3 != 0;
    // SAFETY: this CPU's own element; tc runs with bottom halves off, and nothing else uses the map.
    let facts = unsafe {
        facts.write(parse(&packet, layer3));
        if (*skb).vlan_present != 0 {
            with_offloaded_tag(&mut *facts, (*skb).vlan_tci as u16);
        }
        &*facts
    };
    let verdict = judge(&Maps, place, &packet, facts);
    count(place, ifindex, length, facts, &verdict);
    // TC_ACT_UNSPEC lets other programs on the same hook have their say.
    if verdict.action == DROP { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}
