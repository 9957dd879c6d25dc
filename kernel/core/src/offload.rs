//! What hardware and kernel took out of the packet before a hook sees it.

use gabion_abi::facts::{Facts, VLAN_NONE, unparsed};

/// Adds a tag that lies beside the packet (`skb->vlan_tci`) as the outermost one.
#[inline(always)]
pub fn with_offloaded_tag(facts: &mut Facts, tci: u16) {
    if facts.vlan_inner != VLAN_NONE && facts.unparsed == unparsed::NONE {
        facts.unparsed = unparsed::VLAN_DEPTH;
    }
    facts.vlan_inner = facts.vlan_outer;
    facts.vlan_outer = tci & 0xfff;
}
