//! Facts → classes → the entry of each direction that matches first.
//!
//! Nothing here knows a rule: it follows arrays that `policy/compile` laid out as
//! [`gabion_abi::tables`] describes. Every read is behind the bounds check of [`Tables::word`].

use gabion_abi::facts::{self, Facts};
use gabion_abi::tables::{
    self as t, BUCKET_SLOTS, MAC_PRESENT, RANK_NONE, direction, end, group, lane, page, service, trie,
};

/// The compiled policy of one generation.
pub trait Tables {
    /// Parameter by its index, of which programs know no more than [`gabion_abi::tables::constants`] says: in the
    /// kernel a constant to the verifier.
    fn param(&self, index: usize) -> u32;
    /// The same parameter, as the tables have it.
    #[inline(always)]
    fn place(&self, index: usize) -> u32 {
        self.param(index)
    }
    /// Word by its index; 0 beyond the end.
    fn word(&self, index: u32) -> u64;
    /// Entry of 32 bits in the table that begins at word `base`.
    #[inline(always)]
    fn half(&self, base: u32, index: u32) -> u32 {
        (self.word(base.wrapping_add(index >> 1)) >> ((index & 1) * 32)) as u32
    }
    /// Entry of 16 bits.
    #[inline(always)]
    fn quarter(&self, base: u32, index: u32) -> u32 {
        (self.word(base.wrapping_add(index >> 2)) >> ((index & 3) * 16)) as u32 & 0xffff
    }
    /// The first candidate of the list that begins at word `first` whose condition a service class meets: [`listed`].
    /// The kernel programs put it into a function of its own, which the verifier looks at once instead of once for
    /// each group.
    #[inline(always)]
    fn listed(&self, first: u32, service: u32) -> u32
    where
        Self: Sized,
    {
        listed(self, first, service)
    }
    /// The same number, unknown to the compiler: a loop up to it stays a loop.
    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        number
    }
}

/// Entries (see [`gabion_abi::tables::entry`]) that decide a packet, one for each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// What the source may send.
    pub egress: u64,
    /// What the destination may receive.
    pub ingress: u64,
}

/// Tables in host memory.
#[derive(Clone, Copy, Debug)]
pub struct SliceTables<'a> {
    /// Parameters.
    pub params: &'a [u32],
    /// Words.
    pub words: &'a [u64],
}

impl Tables for SliceTables<'_> {
    #[inline(always)]
    fn param(&self, index: usize) -> u32 {
        self.params.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(0)
    }
}

#[inline(always)]
fn field<T: Tables>(tables: &T, param: usize, index: u32) -> u32 {
    if tables.param(param) == 0 { 0 } else { tables.quarter(tables.place(param), index) }
}

/// A class by an index of a space that has pages.
#[inline(always)]
fn paged<T: Tables>(tables: &T, param: usize, space: u32, index: u32) -> u32 {
    if tables.param(param) == 0 { 0 } else { paged_at(tables, tables.place(param), space, index) }
}

#[inline(always)]
fn paged_at<T: Tables>(tables: &T, base: u32, space: u32, index: u32) -> u32 {
    let number = tables.quarter(base, index >> page::BITS);
    let pages = base.wrapping_add(page::index_words(space));
    tables.quarter(pages.wrapping_add(number.wrapping_mul(page::WORDS)), index & (page::ENTRIES - 1))
}

#[inline(always)]
fn combine<T: Tables>(tables: &T, param: usize, row: u32, column: u32) -> u32 {
    if tables.param(param + 1) == 0 {
        return row;
    }
    let (base, columns) = (tables.place(param), tables.place(param + 1));
    tables.quarter(base, row.wrapping_mul(columns).wrapping_add(column))
}

/// Where a trie is, and of what form.
#[derive(Clone, Copy)]
struct Trie {
    root: u32,
    nodes: u32,
    form: u32,
}

impl Trie {
    /// The trie whose parameters start at `at`.
    #[inline(always)]
    fn at<T: Tables>(tables: &T, at: usize) -> Self {
        const _: () = assert!(end::V4_NODES == end::V4_ROOT + 1 && end::V4_FORM == end::V4_ROOT + 2);
        const _: () = assert!(end::V6_NODES == end::V6_ROOT + 1 && end::V6_FORM == end::V6_ROOT + 2);
        Self { root: tables.place(at), nodes: tables.place(at + 1), form: tables.param(at + 2) }
    }

    #[inline(always)]
    fn entry<T: Tables>(&self, tables: &T, base: u32, index: u32) -> u32 {
        if self.form & trie::LONG != 0 { tables.half(base, index) } else { tables.quarter(base, index) }
    }

    /// Whether an entry of the root or of a node is a class.
    #[inline(always)]
    fn is_class(&self, entry: u32) -> bool {
        entry & if self.form & trie::LONG != 0 { trie::LONG_CLASS } else { trie::SHORT_CLASS } != 0
    }

    /// The entry of the node that an entry names.
    #[inline(always)]
    fn next<T: Tables>(&self, tables: &T, entry: u32, index: u32) -> u32 {
        self.entry(tables, self.nodes, entry.wrapping_mul(trie::FANOUT).wrapping_add(index & 0xff))
    }

    #[inline(always)]
    fn class(&self, entry: u32) -> u32 {
        entry & if self.form & trie::LONG != 0 { !trie::LONG_CLASS } else { !trie::SHORT_CLASS }
    }
}

#[inline(always)]
fn v4_class<T: Tables>(tables: &T, trie: Trie, address: u32) -> u32 {
    let mut entry = if trie.form & trie::WIDE != 0 {
        trie.entry(tables, trie.root, address >> 16)
    } else {
        let entry = trie.entry(tables, trie.root, address >> 24);
        if trie.is_class(entry) { entry } else { trie.next(tables, entry, address >> 16) }
    };
    if !trie.is_class(entry) {
        entry = trie.next(tables, entry, address >> 8);
        if !trie.is_class(entry) {
            entry = trie.next(tables, entry, address);
        }
    }
    trie.class(entry)
}

#[inline(always)]
fn v6_class<T: Tables>(tables: &T, trie: Trie, address: &facts::Address) -> u32 {
    let [a, b, c, d] = address.words;
    let mut entry = trie.entry(tables, trie.root, a >> 24);
    for (word, shifts) in [(a, [16, 8, 0].as_slice()), (b, &[24, 16, 8, 0]), (c, &[24, 16, 8, 0]), (d, &[24, 16, 8, 0])]
    {
        for &shift in shifts {
            if trie.is_class(entry) {
                return trie.class(entry);
            }
            entry = trie.next(tables, entry, word >> shift);
        }
    }
    trie.class(entry)
}

/// Value of a MAC in a static hash; 0 when it is not there.
#[inline(always)]
fn hashed<T: Tables>(tables: &T, base: u32, mask: u32, seed: u32, mac: u64) -> u32 {
    let key = mac | MAC_PRESENT;
    let first = base.wrapping_add((t::spread(key, seed) & mask).wrapping_mul(2 * BUCKET_SLOTS));
    for slot in 0..BUCKET_SLOTS {
        if tables.word(first.wrapping_add(slot)) == key {
            return tables.word(first.wrapping_add(BUCKET_SLOTS + slot)) as u32;
        }
    }
    0
}

/// Class of a MAC by the hash whose parameters start at `at`; `absent` when the hash is not there
/// or does not hold it. Hashes hold class + 1.
#[inline(always)]
fn mac_class<T: Tables>(tables: &T, at: usize, mac: u64, absent: u32) -> u32 {
    if tables.param(at) == 0 || mac == 0 {
        return absent;
    }
    match hashed(tables, tables.place(at), tables.place(at + 1), tables.place(at + 2), mac) {
        0 => absent,
        class => class - 1,
    }
}

#[inline(always)]
fn end_class<T: Tables>(tables: &T, at: usize, family: u8, address: &facts::Address, mac: u64, interface: u32) -> u32 {
    let by_address = match family {
        facts::FAMILY_V4 => match tables.param(at + end::V4_ROOT) {
            0 => tables.place(at + end::V4_CLASS),
            _ => v4_class(tables, Trie::at(tables, at + end::V4_ROOT), address.words[0]),
        },
        facts::FAMILY_V6 => match tables.param(at + end::V6_ROOT) {
            0 => tables.place(at + end::V6_CLASS),
            _ => v6_class(tables, Trie::at(tables, at + end::V6_ROOT), address),
        },
        _ => mac_class(tables, at + end::OFF_IP_BASE, mac, tables.place(at + end::NONE_CLASS)),
    };
    if tables.param(at + end::CLASS_COLUMNS) == 0 {
        return by_address;
    }
    let by_link = combine(tables, at + end::LINK_BASE, mac_class(tables, at + end::MAC_BASE, mac, 0), interface);
    let columns = tables.place(at + end::CLASS_COLUMNS);
    tables.half(tables.place(at + end::CLASS_BASE), by_address.wrapping_mul(columns).wrapping_add(by_link))
}

#[inline(always)]
fn vid_index(vid: u16) -> u32 {
    if vid == facts::VLAN_NONE { t::VID_NONE } else { (vid & 0xfff) as u32 }
}

/// Index into the kind array.
#[must_use]
#[inline(always)]
pub fn kind_index(facts: &Facts) -> u32 {
    if facts.unparsed != 0 {
        t::kind::UNPARSED + (facts.unparsed & 63) as u32
    } else if facts.family == facts::FAMILY_NONE {
        t::kind::OTHER
    } else if facts.is_discovery() {
        t::kind::DISCOVERY
    } else {
        t::kind::IP + (facts.fragment & 3) as u32 % 3 * 256 + facts.protocol as u32
    }
}

/// Index into the detail array.
#[must_use]
#[inline(always)]
pub fn detail_index(facts: &Facts) -> u32 {
    if facts.unparsed != 0 {
        t::detail::NONE
    } else if facts.transport == facts::TRANSPORT_PORTS {
        t::detail::PORT + facts.destination_port as u32
    } else if facts.transport == facts::TRANSPORT_ICMP {
        t::detail::ICMP + ((facts.icmp_type as u32) << 8 | facts.icmp_code as u32)
    } else if facts.ethertype == facts::ETHERTYPE_LLC {
        t::detail::LLC + facts.llc as u32
    } else {
        t::detail::NONE
    }
}

/// Index into the source port array.
#[must_use]
#[inline(always)]
pub fn source_port_index(facts: &Facts) -> u32 {
    if facts.unparsed == 0 && facts.transport == facts::TRANSPORT_PORTS {
        facts.source_port as u32
    } else {
        t::PORT_NONE
    }
}

/// Index into the TCP flags array.
#[must_use]
#[inline(always)]
pub fn flags_index(facts: &Facts) -> u32 {
    if facts.unparsed == 0 && facts.transport == facts::TRANSPORT_PORTS && facts.protocol == facts::protocol::TCP {
        facts.tcp_flags as u32
    } else {
        t::FLAGS_NONE
    }
}

#[inline(always)]
fn service_class<T: Tables>(tables: &T, facts: &Facts) -> u32 {
    let kind = field(tables, service::KIND, kind_index(facts));
    let detail = paged(tables, service::DETAIL, t::detail::COUNT, detail_index(facts));
    let transport = combine(tables, service::KIND_DETAIL, kind, detail);
    let source_port = paged(tables, service::SOURCE_PORT, t::SOURCE_PORT_COUNT, source_port_index(facts));
    let transport = combine(tables, service::PORTS, transport, source_port);
    let flags = field(tables, service::FLAGS, flags_index(facts));
    let transport = combine(tables, service::TRANSPORT, transport, flags);

    let outer = field(tables, service::VLAN_OUTER, vid_index(facts.vlan_outer));
    let inner = field(tables, service::VLAN_INNER, vid_index(facts.vlan_inner));
    let vlans = combine(tables, service::VLANS, outer, inner);
    let ethertype = paged(tables, service::ETHERTYPE, t::ETHERTYPE_COUNT, facts.ethertype as u32);
    let link = combine(tables, service::LINK, ethertype, vlans);
    combine(tables, service::SERVICE, transport, link)
}

/// A packet's classes.
#[derive(Clone, Copy)]
struct Classes {
    source: u32,
    destination: u32,
    service: u32,
    /// The first word of what the service meets: all of it where there are few conditions.
    matches: u64,
}

impl Classes {
    #[inline(always)]
    fn of<T: Tables>(tables: &T, source: u32, destination: u32, service: u32) -> Self {
        let matches = match tables.param(service::MATCH_WORDS) {
            1 => tables.word(tables.place(service::MATCHES).wrapping_add(service)),
            _ => 0,
        };
        Self { source, destination, service, matches }
    }

    /// Whether the service meets the condition of a candidate.
    #[inline(always)]
    fn meets<T: Tables>(&self, tables: &T, condition: u32) -> bool {
        let words = tables.param(service::MATCH_WORDS);
        let matches = if words > 1 {
            let first = tables.place(service::MATCHES).wrapping_add(self.service.wrapping_mul(words));
            tables.word(first.wrapping_add(condition >> 6))
        } else {
            self.matches
        };
        matches >> (condition & 63) & 1 != 0
    }
}

/// What a group makes of one end's class, at `at` of its parameters: from the end's record, which is the class itself
/// where it fits.
#[inline(always)]
fn known_as<T: Tables>(tables: &T, end_at: usize, at: usize, class: u32) -> u32 {
    let (shift, mask) = (tables.place(at + 1), tables.place(at + 2));
    if tables.param(end_at + end::RECORD_BASE) == 0 {
        return class >> (shift & 31) & mask;
    }
    let base = tables.place(end_at + end::RECORD_BASE);
    let first = base.wrapping_add(class.wrapping_mul(tables.param(end_at + end::RECORD_WORDS)));
    let word = tables.word(first.wrapping_add(tables.place(at)));
    (word >> (shift & 63)) as u32 & mask
}

const _: () = assert!(group::SOURCE_SHIFT == group::SOURCE_WORD + 1 && group::SOURCE_MASK == group::SOURCE_WORD + 2);
const _: () = assert!(group::DESTINATION_SHIFT == group::DESTINATION_WORD + 1);
const _: () = assert!(group::DESTINATION_MASK == group::DESTINATION_WORD + 2);

#[inline(always)]
fn payload<T: Tables>(tables: &T, at: usize, source: u32, destination: u32) -> u32 {
    let base = tables.place(at + group::PAIR_BASE);
    if tables.param(at + group::PAIR_COLUMNS) != 0 {
        let columns = tables.place(at + group::PAIR_COLUMNS);
        return tables.half(base, source.wrapping_mul(columns).wrapping_add(destination));
    }
    let key = (source as u64) << (tables.place(at + group::PAIR_DESTINATION_BITS) & 63) | destination as u64;
    let scrambled = t::scramble(key ^ tables.place(at + group::PAIR_SEED) as u64);
    let bucket = t::pair_bucket(scrambled, tables.place(at + group::PAIR_BUCKET_MASK));
    let displacement = tables.quarter(tables.place(at + group::PAIR_DISPLACEMENTS), bucket);
    let slot = t::pair_slot(scrambled, displacement, tables.place(at + group::PAIR_SLOTS));
    let word = tables.word(base.wrapping_add(slot));
    let bits = tables.place(at + group::PAIR_KEY_BITS) & 63;
    // The key stands in the lowest bits.
    if (word ^ key) << ((64 - bits) & 63) != 0 { 0 } else { (word >> bits) as u32 }
}

/// Rank of a candidate whose condition is met.
#[inline(always)]
fn ranked(candidate: u32, rank_bits: u32) -> u32 {
    let none = (1 << (rank_bits & 31)) - 1;
    let rank = candidate & none;
    if rank == none { RANK_NONE } else { rank }
}

/// Rank of the first candidate of a list whose condition is met: [`Tables::listed`].
#[inline(always)]
pub fn listed<T: Tables>(tables: &T, first: u32, service: u32) -> u32 {
    let classes = Classes::of(tables, 0, 0, service);
    let rank_bits = tables.place(t::RANK_BITS);
    let mut at = first;
    for _ in 0..tables.opaque(group::LIST_WORDS).min(group::LIST_WORDS) {
        let two = tables.word(at);
        let (one, other) = (two as u32, (two >> 32) as u32);
        if classes.meets(tables, one >> (rank_bits & 31)) {
            return ranked(one, rank_bits);
        }
        if classes.meets(tables, other >> (rank_bits & 31)) {
            return ranked(other, rank_bits);
        }
        at = at.wrapping_add(1);
    }
    RANK_NONE
}

#[inline(always)]
fn group_rank<T: Tables>(tables: &T, at: usize, classes: &Classes) -> u32 {
    if tables.param(at + group::SOURCE_MASK) == 0 {
        return RANK_NONE;
    }
    let source = known_as(tables, t::SOURCE, at + group::SOURCE_WORD, classes.source);
    let destination = known_as(tables, t::DESTINATION, at + group::DESTINATION_WORD, classes.destination);
    let payload = payload(tables, at, source, destination);
    let kind_shift = tables.place(at + group::PAYLOAD_BITS).wrapping_sub(2) & 31;
    let rest = payload & ((1 << kind_shift) - 1);
    match payload >> kind_shift {
        group::ONE => {
            let rank_bits = tables.place(t::RANK_BITS);
            let met = classes.meets(tables, rest >> (rank_bits & 31));
            if met { ranked(rest, rank_bits) } else { RANK_NONE }
        }
        group::LIST if tables.param(at + group::LIST_BASE) != 0 => {
            tables.listed(tables.place(at + group::LIST_BASE).wrapping_add(rest), classes.service)
        }
        group::ROW if tables.param(at + group::ROW_BASE) != 0 => {
            let column = tables.quarter(tables.place(at + group::SERVICE_MAP), classes.service);
            let columns = tables.place(at + group::ROW_COLUMNS);
            tables.half(tables.place(at + group::ROW_BASE), rest.wrapping_mul(columns).wrapping_add(column))
        }
        _ => RANK_NONE,
    }
}

#[inline(always)]
fn direction_entry<T: Tables>(tables: &T, at: usize, in_lane: bool, classes: &Classes) -> u64 {
    if in_lane && tables.param(at + direction::LANE_ENTRY) != 0 {
        return tables.place(at + direction::LANE_ENTRY) as u64;
    }
    let mut rank = match tables.param(at + direction::FLOOR) {
        0 => tables.place(at + direction::LAST_RANK),
        _ => tables.half(tables.place(at + direction::FLOOR), classes.service),
    };
    for number in 0..t::GROUPS {
        let found = group_rank(tables, at + direction::GROUP + number * group::COUNT, classes);
        if found < rank {
            rank = found;
        }
    }
    tables.half(tables.place(at + direction::ENTRIES), rank) as u64
}

/// Service class of a whole IPv4 packet in a frame without a tag, by its lane.
#[inline(always)]
fn lane_class<T: Tables>(tables: &T, facts: &Facts) -> u32 {
    if facts.transport == facts::TRANSPORT_ICMP {
        let index = (facts.icmp_type as u32) << 8 | facts.icmp_code as u32;
        return paged_at(tables, tables.place(t::ICMP), lane::PORTS, index);
    }
    if facts.transport != facts::TRANSPORT_PORTS {
        return tables.quarter(tables.place(t::OTHERS), facts.protocol as u32);
    }
    let at = t::LANES + (facts.protocol != facts::protocol::TCP) as usize * lane::COUNT;
    let port = |base, port| paged_at(tables, base, lane::PORTS, port);
    let mut class = tables.place(at + lane::CLASS);
    if tables.param(at + lane::DESTINATION) != 0 {
        class = port(tables.place(at + lane::DESTINATION), facts.destination_port as u32);
    }
    if tables.param(at + lane::SOURCE) != 0 {
        let source = port(tables.place(at + lane::SOURCE), facts.source_port as u32);
        class = combine(tables, at + lane::BOTH, class, source);
    }
    if tables.param(at + lane::FLAGS) != 0 {
        let flags = tables.quarter(tables.place(at + lane::FLAGS), facts.tcp_flags as u32);
        class = combine(tables, at + lane::ALL, class, flags);
    }
    class
}

/// Finds the entries that decide a packet. `source_interface` and `destination_interface` are
/// interface classes, 0 when the end's interface is not known.
#[must_use]
#[inline(always)]
pub fn classify<T: Tables>(tables: &T, facts: &Facts, source_interface: u32, destination_interface: u32) -> Entries {
    entries(tables, facts, source_interface, destination_interface, service_class(tables, facts), false)
}

/// The same of a whole IPv4 packet in a frame without a tag, with TCP, UDP, ICMP or what has no ports, by tables that
/// [have lanes](gabion_abi::tables::HAS_LANES).
#[must_use]
#[inline(always)]
pub fn classify_by_lane<T: Tables>(tables: &T, facts: &Facts, source_interface: u32) -> Entries {
    entries(tables, facts, source_interface, 0, lane_class(tables, facts), true)
}

#[inline(always)]
fn entries<T: Tables>(
    tables: &T,
    facts: &Facts,
    source_interface: u32,
    destination_interface: u32,
    service: u32,
    in_lane: bool,
) -> Entries {
    let source = end_class(tables, t::SOURCE, facts.family, &facts.source, facts.source_mac, source_interface);
    let destination = end_class(
        tables,
        t::DESTINATION,
        facts.family,
        &facts.destination,
        facts.destination_mac,
        destination_interface,
    );
    let classes = Classes::of(tables, source, destination, service);
    Entries {
        egress: direction_entry(tables, t::EGRESS, in_lane, &classes),
        ingress: direction_entry(tables, t::INGRESS, in_lane, &classes),
    }
}
