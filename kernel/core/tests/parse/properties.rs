//! What holds for all packets.

use gabion_abi::facts::{
    ETHERTYPE_LLC, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, FRAGMENT_NONE, Facts, TRANSPORT_ICMP,
    TRANSPORT_NONE, TRANSPORT_PORTS, VLAN_NONE, unparsed,
};
use gabion_kernel_core::key::{conn_key, quoted, reversed};
use gabion_kernel_core::parse::parse;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::frames::every_kind;

/// Whether fields that do not apply are zero and offsets lie in the packet.
fn consistent(facts: &Facts, length: usize) -> Result<(), String> {
    let ports = (facts.source_port, facts.destination_port) != (0, 0);
    let icmp = (facts.icmp_type, facts.icmp_code, facts.icmp_id) != (0, 0, 0);
    let claims = [
        (facts.unparsed < unparsed::COUNT, "a reason that exists"),
        (facts.padding == [0; 2], "padding"),
        (facts.node == 0, "the node, of which a parser knows nothing"),
        (facts.hop_limit == 0 || facts.family == FAMILY_V6, "a hop limit without IPv6"),
        (!ports || facts.transport == TRANSPORT_PORTS, "ports without a transport"),
        (!icmp || facts.transport == TRANSPORT_ICMP, "ICMP fields without ICMP"),
        (facts.tcp_flags == 0 || (facts.transport == TRANSPORT_PORTS && facts.protocol == 6), "flags without TCP"),
        ((facts.transport == TRANSPORT_NONE) == (facts.transport_offset == 0), "offset and transport"),
        (
            usize::from(facts.transport_offset) + 8 <= length || facts.transport == TRANSPORT_NONE,
            "offset in the packet",
        ),
        (facts.fragment == FRAGMENT_NONE || facts.family != FAMILY_NONE, "a fragment without a family"),
        (facts.fragment_id == 0 || facts.fragment != FRAGMENT_NONE, "an identification without a fragment"),
        (facts.fragment != FRAGMENT_LATER || facts.transport == TRANSPORT_NONE, "a later fragment with transport"),
        (facts.family != FAMILY_V4 || facts.ethertype == 0x0800, "IPv4 under another EtherType"),
        (facts.family != FAMILY_V6 || facts.ethertype == 0x86dd, "IPv6 under another EtherType"),
        (facts.family != FAMILY_NONE || facts.protocol == 0, "a protocol without a family"),
        (facts.llc == 0 || facts.ethertype == ETHERTYPE_LLC, "LLC under another EtherType"),
        (facts.vlan_inner == VLAN_NONE || facts.vlan_outer < 4096, "an inner tag without an outer one"),
    ];
    claims.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(format!("{what}: {facts:?}")))
}

/// Whether every field of `found` is the one of `whole`, or absent and `unparsed` set.
fn never_wrong(found: &Facts, whole: &Facts) -> Result<(), String> {
    if found.unparsed == unparsed::NONE {
        return if found == whole { Ok(()) } else { Err(format!("{found:?} instead of {whole:?}")) };
    }
    let absent = Facts::UNKNOWN;
    let pairs = |f: &Facts| {
        [
            (u64::from(f.source.words[0]) << 32 | u64::from(f.source.words[1])),
            (u64::from(f.source.words[2]) << 32 | u64::from(f.source.words[3])),
            (u64::from(f.destination.words[0]) << 32 | u64::from(f.destination.words[1])),
            (u64::from(f.destination.words[2]) << 32 | u64::from(f.destination.words[3])),
            f.source_mac,
            f.destination_mac,
            u64::from(f.fragment_id),
            u64::from(f.llc),
            u64::from(f.vlan_outer),
            u64::from(f.vlan_inner),
            u64::from(f.source_port),
            u64::from(f.destination_port),
            u64::from(f.family),
            u64::from(f.protocol),
            u64::from(f.fragment),
            u64::from(f.transport),
            u64::from(f.icmp_type),
            u64::from(f.icmp_code),
            u64::from(f.tcp_flags),
            u64::from(f.transport_offset),
            u64::from(f.icmp_id),
            u64::from(f.hop_limit),
        ]
    };
    for ((found_field, whole_field), absent_field) in pairs(found).iter().zip(pairs(whole)).zip(pairs(&absent)) {
        if *found_field != whole_field && *found_field != absent_field {
            return Err(format!("{found:?} of {whole:?}"));
        }
    }
    // A frame that is cut before its SNAP header is known to be LLC, no more.
    let known = [whole.ethertype, absent.ethertype, ETHERTYPE_LLC];
    if known.contains(&found.ethertype) { Ok(()) } else { Err(format!("{found:?} of {whole:?}")) }
}

#[test]
fn every_kind_cut_at_every_length_is_never_wrong() {
    for (name, layer3, frame) in every_kind() {
        let whole = parse(&frame.as_slice(), layer3);
        let deliberate = ["three-tags", "overlap"].contains(&name);
        assert_eq!(whole.unparsed != unparsed::NONE, deliberate, "{name}: {whole:?}");
        for length in 0..frame.len() {
            let found = parse(&&frame[..length], layer3);
            never_wrong(&found, &whole).unwrap_or_else(|what| panic!("{name} cut to {length}: {what}"));
            consistent(&found, length).unwrap_or_else(|what| panic!("{name} cut to {length}: {what}"));
        }
    }
}

/// Frames of every kind with some octets changed, and octets from nowhere.
pub fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let kinds: Vec<Vec<u8>> = every_kind().into_iter().map(|(_, _, frame)| frame).collect();
    let changed = (proptest::sample::select(kinds), vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), 0..40usize)
        .prop_map(|(mut frame, changes, cut)| {
            for (at, octet) in changes {
                let at = at.index(frame.len());
                frame[at] = octet;
            }
            frame.truncate(frame.len().saturating_sub(cut.saturating_sub(20)));
            frame
        });
    prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_give_consistent_facts_and_keys(frame in hostile(), layer3: bool) {
        let facts = parse(&frame.as_slice(), layer3);
        prop_assert_eq!(consistent(&facts, frame.len()), Ok(()));
        if let Some(key) = conn_key(&facts) {
            prop_assert!(facts.unparsed == unparsed::NONE && facts.family != FAMILY_NONE);
            prop_assert_eq!(reversed(&reversed(&key)), key);
        }
        if let Some(key) = quoted(&frame.as_slice(), &facts) {
            prop_assert_eq!(key.source, facts.destination);
            prop_assert_eq!(key.family, facts.family);
            prop_assert_eq!(facts.transport, TRANSPORT_ICMP);
            prop_assert!(conn_key(&facts).is_none(), "an error is no query");
        }
    }

    #[test]
    fn a_cut_packet_is_never_wrong(frame in hostile(), layer3: bool, at: prop::sample::Index) {
        let whole = parse(&frame.as_slice(), layer3);
        if whole.unparsed == unparsed::NONE && !frame.is_empty() {
            let found = parse(&&frame[..at.index(frame.len())], layer3);
            prop_assert_eq!(never_wrong(&found, &whole), Ok(()));
        }
    }
}
