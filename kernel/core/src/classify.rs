//! Facts → classes → the entry of each direction that matches first.
//!
//! Nothing here knows a rule: it follows arrays that `policy/compile` laid out as
//! [`gabion_abi::tables`] describes. Every read is behind the bounds check of [`Tables::word`].

use gabion_abi::facts::{self, Facts};
use gabion_abi::tables::{
    self as t, BUCKET_SLOTS, PAIR_PRESENT, RANK_NONE, TRIE_CLASS, direction, end, group, service,
};

/// The compiled policy of one generation.
pub trait Tables {
    /// Parameter by its index; in the kernel a constant to the verifier.
    fn param(&self, index: usize) -> u32;
    /// Word by its index; 0 beyond the end.
    fn word(&self, index: u32) -> u64;
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
fn half<T: Tables>(tables: &T, base: u32, index: u32) -> u32 {
    (tables.word(base.wrapping_add(index >> 1)) >> ((index & 1) * 32)) as u32
}

#[inline(always)]
fn quarter<T: Tables>(tables: &T, base: u32, index: u32) -> u32 {
    (tables.word(base.wrapping_add(index >> 2)) >> ((index & 3) * 16)) as u32 & 0xffff
}

#[inline(always)]
fn field<T: Tables>(tables: &T, param: usize, index: u32) -> u32 {
    let base = tables.param(param);
    if base == 0 { 0 } else { quarter(tables, base, index) }
}

#[inline(always)]
fn combine<T: Tables>(tables: &T, param: usize, row: u32, column: u32) -> u32 {
    let columns = tables.param(param + 1);
    if columns == 0 {
        row
    } else {
        quarter(tables, tables.param(param), row.wrapping_mul(columns).wrapping_add(column))
    }
}

#[inline(always)]
fn v4_class<T: Tables>(tables: &T, root: u32, address: u32) -> u32 {
    let mut entry = half(tables, root, address >> 24);
    if entry & TRIE_CLASS == 0 {
        entry = half(tables, entry, (address >> 16) & 0xff);
        if entry & TRIE_CLASS == 0 {
            entry = half(tables, entry, (address >> 8) & 0xff);
            if entry & TRIE_CLASS == 0 {
                entry = half(tables, entry, address & 0xff);
            }
        }
    }
    entry & !TRIE_CLASS
}

#[inline(always)]
fn v6_class<T: Tables>(tables: &T, root: u32, address: &facts::Address) -> u32 {
    let mut node = root;
    let [a, b, c, d] = address.words;
    for word in [a, b, c, d] {
        for shift in [24, 16, 8, 0] {
            let entry = half(tables, node, (word >> shift) & 0xff);
            if entry & TRIE_CLASS != 0 {
                return entry & !TRIE_CLASS;
            }
            node = entry;
        }
    }
    0
}

/// Value of a key in a static hash; 0 when it is not there.
#[inline(always)]
fn hashed<T: Tables>(tables: &T, base: u32, mask: u32, seed: u32, key: u64) -> u32 {
    let key = key | PAIR_PRESENT;
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
    let base = tables.param(at);
    if base == 0 || mac == 0 {
        return absent;
    }
    match hashed(tables, base, tables.param(at + 1), tables.param(at + 2), mac) {
        0 => absent,
        class => class - 1,
    }
}

#[inline(always)]
fn end_class<T: Tables>(tables: &T, at: usize, family: u8, address: &facts::Address, mac: u64, interface: u32) -> u32 {
    let by_address = match family {
        facts::FAMILY_V4 => match tables.param(at + end::V4_ROOT) {
            0 => tables.param(at + end::V4_CLASS),
            root => v4_class(tables, root, address.words[0]),
        },
        facts::FAMILY_V6 => match tables.param(at + end::V6_ROOT) {
            0 => tables.param(at + end::V6_CLASS),
            root => v6_class(tables, root, address),
        },
        _ => mac_class(tables, at + end::OFF_IP_BASE, mac, tables.param(at + end::NONE_CLASS)),
    };
    if tables.param(at + end::CLASS_COLUMNS) == 0 {
        return by_address;
    }
    let by_link = combine(tables, at + end::LINK_BASE, mac_class(tables, at + end::MAC_BASE, mac, 0), interface);
    let columns = tables.param(at + end::CLASS_COLUMNS);
    half(tables, tables.param(at + end::CLASS_BASE), by_address.wrapping_mul(columns).wrapping_add(by_link))
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
    let detail = field(tables, service::DETAIL, detail_index(facts));
    let transport = combine(tables, service::KIND_DETAIL, kind, detail);
    let source_port = field(tables, service::SOURCE_PORT, source_port_index(facts));
    let transport = combine(tables, service::PORTS, transport, source_port);
    let flags = field(tables, service::FLAGS, flags_index(facts));
    let transport = combine(tables, service::TRANSPORT, transport, flags);

    let outer = field(tables, service::VLAN_OUTER, vid_index(facts.vlan_outer));
    let inner = field(tables, service::VLAN_INNER, vid_index(facts.vlan_inner));
    let vlans = combine(tables, service::VLANS, outer, inner);
    let ethertype = field(tables, service::ETHERTYPE, facts.ethertype as u32);
    let link = combine(tables, service::LINK, ethertype, vlans);
    combine(tables, service::SERVICE, transport, link)
}

#[inline(always)]
fn pair_row<T: Tables>(tables: &T, at: usize, source: u32, destination: u32) -> u32 {
    let base = tables.param(at + group::PAIR_BASE);
    let columns = tables.param(at + group::PAIR_COLUMNS);
    if columns != 0 {
        return half(tables, base, source.wrapping_mul(columns).wrapping_add(destination));
    }
    let key = (source as u64) << 32 | destination as u64;
    hashed(tables, base, tables.param(at + group::PAIR_MASK), tables.param(at + group::PAIR_SEED), key)
}

#[inline(always)]
fn group_rank<T: Tables>(tables: &T, at: usize, source: u32, destination: u32, service: u32) -> u32 {
    let source_map = tables.param(at + group::SOURCE_MAP);
    if source_map == 0 {
        return RANK_NONE;
    }
    let source = half(tables, source_map, source);
    let destination = half(tables, tables.param(at + group::DESTINATION_MAP), destination);
    let row = pair_row(tables, at, source, destination);
    if row == 0 {
        return RANK_NONE;
    }
    let service = quarter(tables, tables.param(at + group::SERVICE_MAP), service);
    let columns = tables.param(at + group::ROW_COLUMNS);
    half(tables, tables.param(at + group::ROW_BASE), (row - 1).wrapping_mul(columns).wrapping_add(service))
}

#[inline(always)]
fn direction_entry<T: Tables>(tables: &T, at: usize, source: u32, destination: u32, service: u32) -> u64 {
    let mut rank = tables.param(at + direction::LAST_RANK);
    for number in 0..t::GROUPS {
        let found = group_rank(tables, at + direction::GROUP + number * group::COUNT, source, destination, service);
        if found < rank {
            rank = found;
        }
    }
    tables.word(tables.param(at + direction::ENTRIES).wrapping_add(rank))
}

/// Finds the entries that decide a packet. `source_interface` and `destination_interface` are
/// interface classes, 0 when the end's interface is not known.
#[must_use]
#[inline(always)]
pub fn classify<T: Tables>(tables: &T, facts: &Facts, source_interface: u32, destination_interface: u32) -> Entries {
    let source = end_class(tables, t::SOURCE, facts.family, &facts.source, facts.source_mac, source_interface);
    let destination = end_class(
        tables,
        t::DESTINATION,
        facts.family,
        &facts.destination,
        facts.destination_mac,
        destination_interface,
    );
    let service = service_class(tables, facts);
    Entries {
        egress: direction_entry(tables, t::EGRESS, source, destination, service),
        ingress: direction_entry(tables, t::INGRESS, source, destination, service),
    }
}
