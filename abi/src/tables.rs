//! The compiled policy: one array of 64-bit words and one array of parameters.
//!
//! The words live in an array map of the generation, the parameters in read-only globals, so that
//! the verifier knows each of them as a constant and removes what a policy does not use. A base of
//! 0 means "absent" everywhere: word 0 is never part of a table.
//!
//! Small values share a word, lowest bits first: four 16-bit or two 32-bit entries.

/// Number of parameters.
pub const PARAM_COUNT: usize = 128;

/// Both ends use the same group of parameters, [`SOURCE`] and [`DESTINATION`] plus these offsets.
pub mod end {
    /// First word of the IPv4 root node, 0 when no rule tells IPv4 addresses apart.
    pub const V4_ROOT: usize = 0;
    /// Address class of IPv4 packets when the root is absent.
    pub const V4_CLASS: usize = 1;
    /// First word of the IPv6 root node.
    pub const V6_ROOT: usize = 2;
    /// Address class of IPv6 packets when the root is absent.
    pub const V6_CLASS: usize = 3;
    /// Address class of packets without IP addresses whose MAC is not in the off-IP hash.
    pub const NONE_CLASS: usize = 4;
    /// First word of the MAC hash, 0 when no rule tells MACs apart.
    pub const MAC_BASE: usize = 5;
    /// Number of buckets of the MAC hash minus one.
    pub const MAC_MASK: usize = 6;
    /// Seed of the MAC hash.
    pub const MAC_SEED: usize = 7;
    /// Combination of MAC class (row) and interface class (column), 16-bit entries: first word.
    pub const LINK_BASE: usize = 8;
    /// Columns of that combination; 0 when the interface does not matter.
    pub const LINK_COLUMNS: usize = 9;
    /// Combination of address class (row) and link class (column), 32-bit entries: first word.
    pub const CLASS_BASE: usize = 10;
    /// Columns of that combination; 0 when the link does not matter.
    pub const CLASS_COLUMNS: usize = 11;
    /// First word of the hash of MACs whose owners are known by address too: packets without an IP
    /// header take their address class from it. 0 when there is none.
    pub const OFF_IP_BASE: usize = 12;
    /// Number of its buckets minus one.
    pub const OFF_IP_MASK: usize = 13;
    /// Its seed.
    pub const OFF_IP_SEED: usize = 14;
    /// Parameters of one end.
    pub const COUNT: usize = 15;
}

/// Parameters of the source end.
pub const SOURCE: usize = 0;
/// Parameters of the destination end.
pub const DESTINATION: usize = SOURCE + end::COUNT;

/// Service parameters: class arrays of 16-bit entries, one for each field, base 0 when the field
/// does not matter; then combinations of two classes (base and columns, columns 0 when the second
/// class does not matter).
pub mod service {
    /// By EtherType.
    pub const ETHERTYPE: usize = 30;
    /// By outer VID, 4096 for none.
    pub const VLAN_OUTER: usize = 31;
    /// By inner VID, 4096 for none.
    pub const VLAN_INNER: usize = 32;
    /// By kind (see [`super::kind`]).
    pub const KIND: usize = 33;
    /// By detail (see [`super::detail`]).
    pub const DETAIL: usize = 34;
    /// By source port, [`super::PORT_NONE`] for none.
    pub const SOURCE_PORT: usize = 35;
    /// By TCP flags byte, [`super::FLAGS_NONE`] for none.
    pub const FLAGS: usize = 36;
    /// Kind × detail.
    pub const KIND_DETAIL: usize = 37;
    /// (Kind × detail) × source port.
    pub const PORTS: usize = 39;
    /// (...) × flags.
    pub const TRANSPORT: usize = 41;
    /// Outer × inner VLAN.
    pub const VLANS: usize = 43;
    /// EtherType × VLANs.
    pub const LINK: usize = 45;
    /// Transport × link: the service class.
    pub const SERVICE: usize = 47;
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

/// Index of packets without a source port.
pub const PORT_NONE: u32 = 65_536;
/// Index of packets without TCP flags.
pub const FLAGS_NONE: u32 = 256;
/// Index of frames without a tag.
pub const VID_NONE: u32 = 4_096;

/// Parameters of one direction; [`EGRESS`] and [`INGRESS`] plus these offsets.
pub mod direction {
    use super::GROUPS;
    /// First word of the entries (see [`super::entry`]), by rank.
    pub const ENTRIES: usize = 0;
    /// Rank of the entry that matches everything that no other entry matches.
    pub const LAST_RANK: usize = 1;
    /// First parameter of group 0; see [`super::group`].
    pub const GROUP: usize = 2;
    /// Parameters of one direction.
    pub const COUNT: usize = GROUP + GROUPS * super::group::COUNT;
}

/// Groups of rules that are looked up side by side; the lowest rank of all groups decides.
pub const GROUPS: usize = 4;

/// Parameters of one group.
pub mod group {
    /// Group class by source class (32-bit entries); 0: the group is absent.
    pub const SOURCE_MAP: usize = 0;
    /// Group class by destination class (32-bit entries).
    pub const DESTINATION_MAP: usize = 1;
    /// Group class by service class (16-bit entries).
    pub const SERVICE_MAP: usize = 2;
    /// Rows by source × destination: a dense array of 32-bit entries, or buckets of a static hash.
    pub const PAIR_BASE: usize = 3;
    /// Columns of the dense array; 0 when the pairs are hashed.
    pub const PAIR_COLUMNS: usize = 4;
    /// Number of hash buckets minus one.
    pub const PAIR_MASK: usize = 5;
    /// Seed of the hash.
    pub const PAIR_SEED: usize = 6;
    /// Ranks by row × service (32-bit entries). Rows count from 1; pair value 0 means no row.
    pub const ROW_BASE: usize = 7;
    /// Columns of the rows.
    pub const ROW_COLUMNS: usize = 8;
    /// Parameters of one group.
    pub const COUNT: usize = 9;
}

/// Parameters of the egress direction (what the source may send).
pub const EGRESS: usize = 50;
/// Parameters of the ingress direction (what the destination may receive).
pub const INGRESS: usize = EGRESS + direction::COUNT;

const _: () = assert!(INGRESS + direction::COUNT <= PARAM_COUNT);

/// Set in a trie entry that holds a class; without it the entry is the first word of a child node.
pub const TRIE_CLASS: u32 = 1 << 31;
/// Entries of a trie node (8 address bits each), two to a word.
pub const TRIE_FANOUT: u32 = 256;

/// Rank that no entry has.
pub const RANK_NONE: u32 = u32::MAX;

/// Slots of one hash bucket. A bucket of a MAC hash is `2 × BUCKET_SLOTS` words:
/// the MACs (plus [`PAIR_PRESENT`]), then the classes. A bucket of a pair hash is `2 × BUCKET_SLOTS` words:
/// the keys (source class << 32 | destination class, plus [`PAIR_PRESENT`]), then the rows.
pub const BUCKET_SLOTS: u32 = 4;
/// Set in the key of a pair slot that is taken.
pub const PAIR_PRESENT: u64 = 1 << 63;

/// Spreads a key over hash buckets; the same on both sides (a multiply and a fold, odd constants
/// from the golden ratio).
#[must_use]
#[inline(always)]
pub const fn spread(key: u64, seed: u32) -> u32 {
    let mixed = (key ^ seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let folded = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (folded >> 32) as u32
}

/// One entry of a direction's ordered list, packed into a word.
pub mod entry {
    /// The packet may pass.
    pub const ALLOW: u64 = 0;
    /// The packet is refused.
    pub const DENY: u64 = 1;
    /// The packet may pass; reported as "would have been denied".
    pub const AUDIT: u64 = 2;

    /// Return traffic is not admitted for what this entry allows.
    pub const STATELESS: u64 = 1 << 8;
    /// Every packet that this entry decides is reported (subject to the rate limit).
    pub const LOG: u64 = 1 << 9;

    /// Where [`DENY`] stands in a word.
    pub const DENY_BIT: u32 = 32;
    /// Where [`AUDIT`] stands.
    pub const AUDIT_BIT: u32 = 33;
    /// Where [`STATELESS`] stands.
    pub const STATELESS_BIT: u32 = 40;
    /// Where [`LOG`] stands.
    pub const LOG_BIT: u32 = 41;

    /// Packs an entry.
    #[must_use]
    pub const fn pack(rule: u32, action: u64, flags: u64) -> u64 {
        (rule as u64) | (action | flags) << 32
    }

    /// Rule number, the index of its counters and its name.
    #[must_use]
    pub const fn rule(word: u64) -> u32 {
        word as u32
    }

    /// [`ALLOW`], [`DENY`] or [`AUDIT`].
    #[must_use]
    pub const fn action(word: u64) -> u64 {
        (word >> 32) & 0xff
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(word: u64, flag: u64) -> bool {
        (word >> 32) & flag != 0
    }
}
