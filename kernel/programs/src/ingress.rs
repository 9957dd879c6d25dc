//! XDP: what arrives.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gabion_abi::verdict::{DROP, hook, interface};
use gabion_kernel_core::judge::{Place, World, judge};
use gabion_kernel_core::parse::parse;

use crate::count::count;
use crate::maps;
use crate::packet::Packet;
use crate::world::Maps;

/// Judges a packet on arrival. It is able to handle multi-buffer frames: all headers that matter lie in the first
/// buffer, and where they do not, the packet counts as truncated.
#[xdp(frags)]
pub fn gabion_ingress(context: XdpContext) -> u32 {
    // An array of one element always has element 0.
    let Some(facts) = maps::INGRESS_FACTS.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: the context is the kernel's; the helper only reads it.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    let ifindex = context.ingress_ifindex() as u32;
    let packet = Packet::new(context.data(), context.data_end(), length as usize);
    let layer3 = Maps.interface(ifindex).flags & interface::L3 != 0;
    // SAFETY: this CPU's own element; the program is not interrupted by itself, and nothing else uses the map.
    let facts = unsafe {
        facts.write(parse(&packet, layer3));
        &*facts
    };
    let place = Place { hook: hook::INGRESS, source_ifindex: ifindex, destination_ifindex: 0 };
    let verdict = judge(&Maps, place, &packet, facts);
    count(place, ifindex, length as u32, facts, &verdict);
    if verdict.action == DROP { XDP_DROP } else { XDP_PASS }
}
