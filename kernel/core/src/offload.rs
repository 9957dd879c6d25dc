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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_beside_the_packet_is_the_outer_one() {
        let mut facts = Facts::UNKNOWN;
        with_offloaded_tag(&mut facts, 0x2005);
        assert_eq!((facts.vlan_outer, facts.vlan_inner), (5, VLAN_NONE));
        with_offloaded_tag(&mut facts, 6);
        assert_eq!((facts.vlan_outer, facts.vlan_inner, facts.unparsed), (6, 5, unparsed::NONE));
        with_offloaded_tag(&mut facts, 7);
        assert_eq!(facts.unparsed, unparsed::VLAN_DEPTH, "three tags");
    }
}
