//! The compiled policy: one array of 64-bit words and one array of parameters.
//!
//! The words live in memory of the generation, behind its parameters. What of those says which tables there are, and of
//! what form, lies in read-only globals as well ([`constants`]): the verifier knows it, and removes what a policy does
//! not use. Where a table lies and how large it is changes with most edits of a policy, and the program with none of
//! them. A base of 0 means "absent" everywhere: word 0 is never part of a table.
//!
//! Small values share a word, lowest bits first: four 16-bit or two 32-bit entries.

/// Number of parameters.
pub const PARAM_COUNT: usize = 256;
/// Words that the parameters take in front of the words of the tables, two each.
pub const PARAM_WORDS: usize = PARAM_COUNT / 2;

/// What a program knows of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All of it.
    Value,
    /// Whether it is 0.
    Presence,
    /// Nothing: it lies with the tables.
    Nothing,
}

/// What a program knows of a parameter.
#[must_use]
pub const fn known(index: usize) -> Known {
    if index < service::ETHERTYPE {
        return match index % end::COUNT {
            end::V4_FORM | end::V6_FORM | end::RECORD_WORDS => Known::Value,
            end::V4_ROOT | end::V6_ROOT | end::MAC_BASE | end::OFF_IP_BASE => Known::Presence,
            end::LINK_COLUMNS | end::CLASS_COLUMNS | end::RECORD_BASE => Known::Presence,
            _ => Known::Nothing,
        };
    }
    match index {
        service::MATCH_WORDS | OPENS | HAS_LANES | STATELESS => Known::Value,
        service::MATCHES | RANK_BITS..LANES => Known::Nothing,
        service::ETHERTYPE..service::KIND_DETAIL => Known::Presence,
        // Behind each base is the number of columns.
        service::KIND_DETAIL..service::MATCHES if (index - service::KIND_DETAIL) % 2 == 1 => Known::Presence,
        LANES..EGRESS => match (index - LANES) % lane::COUNT {
            lane::DESTINATION | lane::SOURCE | lane::FLAGS => Known::Presence,
            lane::BOTH_COLUMNS | lane::ALL_COLUMNS => Known::Presence,
            _ => Known::Nothing,
        },
        EGRESS..STATELESS => match (index - EGRESS) % direction::COUNT {
            direction::FLOOR | direction::LANE_ENTRY => Known::Presence,
            at if at >= direction::GROUP => match (at - direction::GROUP) % group::COUNT {
                group::SOURCE_MASK | group::PAIR_COLUMNS | group::LIST_BASE | group::ROW_BASE => Known::Presence,
                _ => Known::Nothing,
            },
            _ => Known::Nothing,
        },
        _ => Known::Nothing,
    }
}

/// What the program knows of parameters: values, 1 for those that are not 0, and 0 for what it does not ask.
#[must_use]
pub fn constants(params: &[u32; PARAM_COUNT]) -> [u32; PARAM_COUNT] {
    core::array::from_fn(|index| match known(index) {
        Known::Value => params[index],
        Known::Presence => (params[index] != 0) as u32,
        Known::Nothing => 0,
    })
}

/// Parameters as they lie in front of the words, the first in the lower half.
#[must_use]
pub fn param_words(params: &[u32; PARAM_COUNT]) -> [u64; PARAM_WORDS] {
    core::array::from_fn(|at| params[2 * at] as u64 | (params[2 * at + 1] as u64) << 32)
}

/// Both ends use the same group of parameters, [`SOURCE`] and [`DESTINATION`] plus these offsets.
pub mod end {
    /// Trie over IPv4 addresses: first word of the root, 0 when no rule tells IPv4 addresses apart; see
    /// [`super::trie`].
    pub const V4_ROOT: usize = 0;
    /// First word of its nodes.
    pub const V4_NODES: usize = 1;
    /// Bits of [`super::trie`].
    pub const V4_FORM: usize = 2;
    /// Address class of IPv4 packets when there is no root.
    pub const V4_CLASS: usize = 3;
    /// The same of IPv6.
    pub const V6_ROOT: usize = 4;
    /// Nodes.
    pub const V6_NODES: usize = 5;
    /// Form.
    pub const V6_FORM: usize = 6;
    /// Class without a root.
    pub const V6_CLASS: usize = 7;
    /// Address class of packets without IP addresses whose MAC is not in the off-IP hash.
    pub const NONE_CLASS: usize = 8;
    /// First word of the MAC hash, 0 when no rule tells MACs apart.
    pub const MAC_BASE: usize = 9;
    /// Number of buckets of the MAC hash minus one.
    pub const MAC_MASK: usize = 10;
    /// Seed of the MAC hash.
    pub const MAC_SEED: usize = 11;
    /// Combination of MAC class (row) and interface class (column), 16-bit entries: first word.
    pub const LINK_BASE: usize = 12;
    /// Columns of that combination; 0 when the interface does not matter.
    pub const LINK_COLUMNS: usize = 13;
    /// Combination of address class (row) and link class (column), 32-bit entries: first word.
    pub const CLASS_BASE: usize = 14;
    /// Columns of that combination; 0 when the link does not matter.
    pub const CLASS_COLUMNS: usize = 15;
    /// First word of the hash of MACs whose owners are known by address too: packets without an IP
    /// header take their address class from it. 0 when there is none.
    pub const OFF_IP_BASE: usize = 16;
    /// Number of its buckets minus one.
    pub const OFF_IP_MASK: usize = 17;
    /// Its seed.
    pub const OFF_IP_SEED: usize = 18;
    /// Records by class: what each group makes of it, see [`super::group`]. First word; 0 when the class itself is the
    /// record, because that is not more bits than a class has room for.
    pub const RECORD_BASE: usize = 19;
    /// Words of a record.
    pub const RECORD_WORDS: usize = 20;
    /// Parameters of one end.
    pub const COUNT: usize = 21;
}

/// Parameters of the source end.
pub const SOURCE: usize = 0;
/// Parameters of the destination end.
pub const DESTINATION: usize = SOURCE + end::COUNT;

/// Service parameters: class arrays of 16-bit entries, one for each field, base 0 when the field
/// does not matter; then combinations of two classes (base and columns, columns 0 when the second
/// class does not matter).
///
/// The arrays of [`DETAIL`], [`SOURCE_PORT`] and [`ETHERTYPE`] are paged ([`super::page`]): they are large, and most of
/// their pages alike, so that what a decision touches stays near.
pub mod service {
    use super::{DESTINATION, end};

    /// By EtherType.
    pub const ETHERTYPE: usize = DESTINATION + end::COUNT;
    /// By outer VID, 4096 for none.
    pub const VLAN_OUTER: usize = ETHERTYPE + 1;
    /// By inner VID, 4096 for none.
    pub const VLAN_INNER: usize = ETHERTYPE + 2;
    /// By kind (see [`super::kind`]).
    pub const KIND: usize = ETHERTYPE + 3;
    /// By detail (see [`super::detail`]).
    pub const DETAIL: usize = ETHERTYPE + 4;
    /// By source port, [`super::PORT_NONE`] for none.
    pub const SOURCE_PORT: usize = ETHERTYPE + 5;
    /// By TCP flags byte, [`super::FLAGS_NONE`] for none.
    pub const FLAGS: usize = ETHERTYPE + 6;
    /// Kind × detail.
    pub const KIND_DETAIL: usize = ETHERTYPE + 7;
    /// (Kind × detail) × source port.
    pub const PORTS: usize = ETHERTYPE + 9;
    /// (...) × flags.
    pub const TRANSPORT: usize = ETHERTYPE + 11;
    /// Outer × inner VLAN.
    pub const VLANS: usize = ETHERTYPE + 13;
    /// EtherType × VLANs.
    pub const LINK: usize = ETHERTYPE + 15;
    /// Transport × link: the service class.
    pub const SERVICE: usize = ETHERTYPE + 17;
    /// Matches by service class: one bit for each distinct condition on services, whether the class meets it. Bit 0 is
    /// always set. First word.
    pub const MATCHES: usize = ETHERTYPE + 19;
    /// Words for each class.
    pub const MATCH_WORDS: usize = ETHERTYPE + 20;
    /// Parameters.
    pub const COUNT: usize = 21;
}

/// Lanes: how whole IPv4 packets in frames without a tag find their service class, in fewer steps than by [`service`].
/// One lane each for TCP and UDP; their parameters begin at [`LANES`]. ICMP has its class by type and code, in
/// [`ICMP`]; what has neither these nor ports by protocol, in [`OTHERS`].
///
/// The class is that of the destination port; where the source port matters, that of a combination with the source
/// port's; where TCP flags matter, that of a combination of these with the flags'.
pub mod lane {
    /// Class of a port: paged array over [`PORTS`] ports, base 0 when all ports have class 0.
    pub const DESTINATION: usize = 0;
    /// Class of a source port, the same form; 0 when it does not matter.
    pub const SOURCE: usize = 1;
    /// Combination of both: first word, and columns behind it.
    pub const BOTH: usize = 2;
    /// See [`BOTH`].
    pub const BOTH_COLUMNS: usize = 3;
    /// By TCP flags (16-bit entries); 0 when they do not matter.
    pub const FLAGS: usize = 4;
    /// Combination of that with the flags: first word, and columns behind it.
    pub const ALL: usize = 5;
    /// See [`ALL`].
    pub const ALL_COLUMNS: usize = 6;
    /// What to add: the service class where nothing else decides.
    pub const CLASS: usize = 7;
    /// Parameters of one lane.
    pub const COUNT: usize = 8;
    /// Lanes.
    pub const LANES: usize = 2;
    /// Ports.
    pub const PORTS: u32 = 65_536;
}

/// Paged arrays: an index of 16-bit page numbers, then the pages.
pub mod page {
    /// Bits of an index that count within a page.
    pub const BITS: u32 = 6;
    /// Entries of a page.
    pub const ENTRIES: u32 = 1 << BITS;
    /// Words of a page.
    pub const WORDS: u32 = ENTRIES / 4;

    /// Words of the index over a space, which the pages follow.
    #[must_use]
    #[inline(always)]
    pub const fn index_words(space: u32) -> u32 {
        // A multiple of a page, so that no page lies across more cache lines than it must.
        space.div_ceil(ENTRIES).div_ceil(4).next_multiple_of(WORDS)
    }
}

/// Index spaces of the kind array.
pub mod kind {
    /// First index of parsed IP packets but for [`DISCOVERY`]: fragment state × 256 + protocol.
    pub const IP: u32 = 0;
    /// First index of unparsed packets: plus the reason.
    pub const UNPARSED: u32 = 768;
    /// Everything that is not IP.
    pub const OTHER: u32 = 832;
    /// Genuine neighbour discovery ([`crate::facts::Facts::is_discovery`]).
    pub const DISCOVERY: u32 = 833;
    /// Size of the index space.
    pub const COUNT: u32 = 834;
}

/// Index spaces of the detail array.
pub mod detail {
    /// First index of destination ports.
    pub const PORT: u32 = 0;
    /// First index of ICMP: plus type × 256 + code. Ports and ICMP types never share an index.
    pub const ICMP: u32 = 65_536;
    /// First index of LLC: plus DSAP × 256 + SSAP.
    pub const LLC: u32 = 131_072;
    /// No detail.
    pub const NONE: u32 = 196_608;
    /// Size of the index space.
    pub const COUNT: u32 = 196_609;
}

/// Size of the space of source ports.
pub const SOURCE_PORT_COUNT: u32 = PORT_NONE + 1;
/// Size of the space of EtherTypes.
pub const ETHERTYPE_COUNT: u32 = 65_536;
/// Index of packets without a source port.
pub const PORT_NONE: u32 = 65_536;
/// Index of packets without TCP flags.
pub const FLAGS_NONE: u32 = 256;
/// Index of frames without a tag.
pub const VID_NONE: u32 = 4_096;

/// Bits of a candidate that hold its rank; see [`group`].
pub const RANK_BITS: usize = service::ETHERTYPE + service::COUNT;

/// Whether a TCP or UDP packet that neither end of is the node itself can open a connection: some rules of both
/// directions allow it, and keep state.
pub const OPENS: usize = RANK_BITS + 1;
/// Whether there are lanes.
pub const HAS_LANES: usize = RANK_BITS + 2;
/// Classes of the other protocols by number (16-bit entries): first word.
pub const OTHERS: usize = RANK_BITS + 3;
/// Classes of ICMP by type × 256 + code: a paged array like those of ports.
pub const ICMP: usize = RANK_BITS + 4;
/// Parameters of the first lane; see [`lane`].
pub const LANES: usize = RANK_BITS + 5;

/// Parameters of one direction; [`EGRESS`] and [`INGRESS`] plus these offsets.
pub mod direction {
    use super::GROUPS;
    /// First word of the entries (see [`super::entry`]), by rank, 32 bits each.
    pub const ENTRIES: usize = 0;
    /// Rank of the entry that matches everything that no other entry matches.
    pub const LAST_RANK: usize = 1;
    /// Ranks by service class (32-bit entries): the first rule that speaks of anyone and anyone. 0 when that is
    /// [`LAST_RANK`] for all.
    pub const FLOOR: usize = 2;
    /// The entry that decides all that takes a lane, when the ends do not matter; else 0.
    pub const LANE_ENTRY: usize = 3;
    /// First parameter of group 0; see [`super::group`].
    pub const GROUP: usize = 4;
    /// Parameters of one direction.
    pub const COUNT: usize = GROUP + GROUPS * super::group::COUNT;
}

/// Groups of rules that are looked up side by side; the lowest rank of all groups decides.
pub const GROUPS: usize = 4;

/// Parameters of one group, and how its tables are read.
///
/// Source and destination class give a *payload*, whose two highest bits say what the rest is:
///
/// - [`NONE`](group::NONE): no rule of the group speaks of this pair;
/// - [`ONE`](group::ONE): one candidate;
/// - [`LIST`](group::LIST): a word, by its number after [`group::LIST_BASE`], with which a list of candidates begins,
///   two to a word, the lower half first;
/// - [`ROW`](group::ROW): a row of ranks by service, because there are too many candidates for a list.
///
/// A candidate is a condition (the number of its bit in [`service::MATCHES`]) above [`RANK_BITS`] bits of rank. The
/// first whose condition the service meets is the group's. The last of a list always meets its condition, and may have
/// a rank of all ones: none.
pub mod group {
    /// Where a source's record holds the class that the group knows it by: the word of the record.
    pub const SOURCE_WORD: usize = 0;
    /// Lowest bit there.
    pub const SOURCE_SHIFT: usize = 1;
    /// Mask of the bits; 0: the group is absent.
    pub const SOURCE_MASK: usize = 2;
    /// The same of the destination.
    pub const DESTINATION_WORD: usize = 3;
    /// Lowest bit.
    pub const DESTINATION_SHIFT: usize = 4;
    /// Mask of the bits.
    pub const DESTINATION_MASK: usize = 5;
    /// Payloads by source × destination: a dense array of 32-bit entries, or the slots of a perfect hash.
    pub const PAIR_BASE: usize = 6;
    /// Columns of the dense array; 0 when the pairs are hashed.
    pub const PAIR_COLUMNS: usize = 7;
    /// Slots of the hash.
    pub const PAIR_SLOTS: usize = 8;
    /// Displacements of the hash, 16 bits each: first word.
    pub const PAIR_DISPLACEMENTS: usize = 9;
    /// Number of displacements minus one.
    pub const PAIR_BUCKET_MASK: usize = 10;
    /// What is mixed into a key before it is scrambled.
    pub const PAIR_SEED: usize = 11;
    /// Bits of a key that hold the destination.
    pub const PAIR_DESTINATION_BITS: usize = 12;
    /// Bits of a key. A slot holds the key in its lowest bits, the payload above.
    pub const PAIR_KEY_BITS: usize = 13;
    /// Bits of a payload.
    pub const PAYLOAD_BITS: usize = 14;
    /// First word of the lists; 0 when there is none.
    pub const LIST_BASE: usize = 15;
    /// Ranks by row × service (32-bit entries); 0 when there is no row.
    pub const ROW_BASE: usize = 16;
    /// Columns of the rows.
    pub const ROW_COLUMNS: usize = 17;
    /// Column by service class (16-bit entries).
    pub const SERVICE_MAP: usize = 18;
    /// Parameters of one group.
    pub const COUNT: usize = 19;

    /// No candidate.
    pub const NONE: u32 = 0;
    /// One.
    pub const ONE: u32 = 1;
    /// A list.
    pub const LIST: u32 = 2;
    /// A row.
    pub const ROW: u32 = 3;
    /// Words of the longest list: a cache line.
    pub const LIST_WORDS: u32 = 8;
}

/// Parameters of the egress direction (what the source may send).
pub const EGRESS: usize = LANES + lane::LANES * lane::COUNT;
/// Parameters of the ingress direction (what the destination may receive).
pub const INGRESS: usize = EGRESS + direction::COUNT;

/// 1 when nothing that the policy allows keeps state: no connection is opened, looked for or noted, and no ICMP error
/// is looked into.
pub const STATELESS: usize = INGRESS + direction::COUNT;

const _: () = assert!(STATELESS < PARAM_COUNT);

/// Tries from addresses to classes: a root, and nodes of [`FANOUT`](trie::FANOUT) entries for eight address bits each,
/// one behind the other. An entry is a class, or the number of the node that tells further; its highest bit says
/// which. Entries have 16 bits where that is enough, because what a decision touches stays nearer then, else 32.
pub mod trie {
    /// Entries of a node.
    pub const FANOUT: u32 = 256;
    /// Entries of a wide root, for 16 address bits.
    pub const WIDE_FANOUT: u32 = 65_536;
    /// Bit of the form: the root is wide (IPv4 only).
    pub const WIDE: u32 = 1;
    /// Bit of the form: entries have 32 bits.
    pub const LONG: u32 = 2;
    /// Set in a short entry that holds a class.
    pub const SHORT_CLASS: u32 = 1 << 15;
    /// Set in a long entry that holds a class.
    pub const LONG_CLASS: u32 = 1 << 31;
}

/// Rank that no entry has.
pub const RANK_NONE: u32 = u32::MAX;

/// Slots of one bucket of a MAC hash, which is `2 × BUCKET_SLOTS` words: the MACs (plus [`MAC_PRESENT`]), then the
/// classes.
pub const BUCKET_SLOTS: u32 = 4;
/// Set in the key of a slot that is taken.
pub const MAC_PRESENT: u64 = 1 << 63;

/// Scrambles a key (a multiply, a fold and a multiply, odd constants from the golden ratio and SplitMix64); the same
/// on both sides.
#[must_use]
#[inline(always)]
pub const fn scramble(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Spreads a key over the buckets of a MAC hash.
#[must_use]
#[inline(always)]
pub const fn spread(key: u64, seed: u32) -> u32 {
    (scramble(key ^ seed as u64) >> 32) as u32
}

/// Bucket of a pair whose key was [`scramble`]d.
#[must_use]
#[inline(always)]
pub const fn pair_bucket(scrambled: u64, mask: u32) -> u32 {
    (scrambled >> 8) as u32 & mask
}

/// Slot of a pair whose key was [`scramble`]d, by the displacement of its bucket, an odd number.
#[must_use]
#[inline(always)]
pub const fn pair_slot(scrambled: u64, displacement: u32, slots: u32) -> u32 {
    let moved = ((scrambled >> 32) as u32).wrapping_mul(displacement);
    ((moved as u64 * slots as u64) >> 32) as u32
}

/// One entry of a direction's ordered list, packed into 32 bits: the rule's number and, above it, what becomes of the
/// packet.
pub mod entry {
    /// The packet may pass.
    pub const ALLOW: u64 = 0;
    /// The packet is refused.
    pub const DENY: u64 = 1;
    /// The packet may pass; reported as "would have been denied".
    pub const AUDIT: u64 = 2;

    /// Return traffic is not admitted for what this entry allows, nor let through what it denies.
    pub const STATELESS: u64 = 1 << 2;
    /// Every packet that this entry decides is reported (subject to the rate limit).
    pub const LOG: u64 = 1 << 3;

    /// Bits of the rule's number.
    pub const RULE_BITS: u32 = 24;
    /// Where [`DENY`] stands in an entry.
    pub const DENY_BIT: u32 = RULE_BITS;
    /// Where [`AUDIT`] stands.
    pub const AUDIT_BIT: u32 = RULE_BITS + 1;
    /// Where [`STATELESS`] stands.
    pub const STATELESS_BIT: u32 = RULE_BITS + 2;
    /// Where [`LOG`] stands.
    pub const LOG_BIT: u32 = RULE_BITS + 3;

    /// Packs an entry.
    #[must_use]
    pub const fn pack(rule: u32, action: u64, flags: u64) -> u64 {
        (rule as u64) | (action | flags) << RULE_BITS
    }

    /// Rule number, the index of its counters and its name.
    #[must_use]
    pub const fn rule(word: u64) -> u32 {
        word as u32 & ((1 << RULE_BITS) - 1)
    }

    /// [`ALLOW`], [`DENY`] or [`AUDIT`].
    #[must_use]
    pub const fn action(word: u64) -> u64 {
        (word >> RULE_BITS) & 3
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(word: u64, flag: u64) -> bool {
        (word >> RULE_BITS) & flag != 0
    }
}
