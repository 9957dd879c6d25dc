//! Who → classes: all ends that no rule tells apart share one.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use gabion_abi::tables::{PARAM_COUNT, end};
use gabion_policy_model::subject::Extent;
use ipnet::IpNet;

use crate::Refused;
use crate::intern::Interner;
use crate::normal::{Normal, Who};
use crate::words::Words;

/// The classes of one side. `classes[c]` lists, sorted, the interned [`Who`]s that class `c` meets,
/// less those that everyone meets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub classes: Vec<Vec<u32>>,
}

/// A sorted list of unions.
type Members = Vec<u32>;

/// Most members that the lists of all classes may have together: 64 MiB of numbers. Real rule sets
/// nest a few dozen deep; sets of blocks made to overlap everywhere are refused.
const MEMBER_LIMIT: usize = 16 << 20;

/// Computes the classes of one side, lays its tables and sets its parameters, which start at `at`.
pub(crate) fn lay(
    normal: &Normal,
    used: &BTreeSet<u32>,
    interfaces: &[String],
    at: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<Ends, Refused> {
    let unions: BTreeSet<u32> = used.iter().flat_map(|&who| normal.whos.value(who).iter().copied()).collect();
    let mut addresses: Interner<Members> = Interner::default();
    let mut v4 = sweep(normal, &unions, false, &mut addresses)?;
    let mut v6 = sweep(normal, &unions, true, &mut addresses)?;
    let none = addresses.intern(Members::new());
    let off_ip = by_key(normal, &unions, |extent| extent.macs_off_ip.iter().map(|mac| mac.to_bits()).collect());
    let mut off_ip: Vec<(u64, u32)> =
        off_ip.into_iter().map(|(mac, members)| (mac, addresses.intern(members))).collect();

    let macs = by_key(normal, &unions, |extent| extent.macs.iter().map(|mac| mac.to_bits()).collect());
    let mut mac_classes: Interner<Members> = Interner::default();
    mac_classes.intern(Members::new());
    let macs: Vec<(u64, u32)> = macs.into_iter().map(|(mac, members)| (mac, mac_classes.intern(members))).collect();
    let by_interface = by_key(normal, &unions, |extent| extent.interfaces.clone());
    let mut links: Interner<Members> = Interner::default();
    let mut link_table = Vec::new();
    for mac in mac_classes.values() {
        links.intern(mac.clone());
        if by_interface.is_empty() {
            continue;
        }
        for interface in std::iter::once(None).chain(interfaces.iter().map(Some)) {
            let members = interface.and_then(|name| by_interface.get(name));
            link_table.push(links.intern(union_of(mac, members.map_or(&[], Vec::as_slice))));
        }
    }

    let index = Index::new(normal, used);
    let mut classes: Interner<Vec<u32>> = Interner::default();
    let columns = links.values().len();
    bounded(addresses.values().len().saturating_mul(columns))?;
    let mut table = Vec::with_capacity(addresses.values().len() * columns);
    for address in addresses.values() {
        for link in links.values() {
            table.push(classes.intern(index.met(&union_of(address, link))));
        }
    }
    if columns == 1 {
        // The link tells nobody apart: the address gives the class at once.
        for class in v4.iter_mut().chain(&mut v6).map(|(_, class)| class).chain(off_ip.iter_mut().map(|(_, c)| c)) {
            *class = table[*class as usize];
        }
        params[at + end::NONE_CLASS] = table[none as usize];
    } else {
        params[at + end::NONE_CLASS] = none;
        params[at + end::CLASS_BASE] = words.halves(&table, "end classes")?;
        params[at + end::CLASS_COLUMNS] = columns as u32;
        if !link_table.is_empty() {
            params[at + end::LINK_BASE] = words.quarters(&link_table, "link classes")?;
            params[at + end::LINK_COLUMNS] = interfaces.len() as u32 + 1;
        }
    }
    for (mut breaks, bits, root, class) in
        [(v4, 32, end::V4_ROOT, end::V4_CLASS), (v6, 128, end::V6_ROOT, end::V6_CLASS)]
    {
        breaks.dedup_by_key(|&mut (_, class)| class);
        match breaks.as_slice() {
            [(_, only)] => params[at + class] = *only,
            breaks => params[at + root] = words.trie(breaks, bits)?,
        }
    }
    for (pairs, base) in [(macs, end::MAC_BASE), (off_ip, end::OFF_IP_BASE)] {
        if pairs.is_empty() {
            continue;
        }
        // The hash holds class + 1, so that 0 means "not there".
        let pairs: Vec<(u64, u32)> = pairs.into_iter().map(|(mac, class)| (mac, class + 1)).collect();
        let hash = words.hash(&pairs, "MAC addresses")?;
        params[at + base] = hash.base;
        params[at + base + 1] = hash.mask;
        params[at + base + 2] = hash.seed;
    }
    Ok(Ends { classes: classes.values().to_vec() })
}

fn union_of(a: &[u32], b: &[u32]) -> Members {
    if b.is_empty() {
        return a.to_vec();
    }
    let mut both: Members = a.iter().chain(b).copied().collect();
    both.sort_unstable();
    both.dedup();
    both
}

/// Unions by key (a MAC, an interface), for the keys that some union names.
fn by_key<K: Ord>(normal: &Normal, unions: &BTreeSet<u32>, keys: impl Fn(&Extent) -> Vec<K>) -> BTreeMap<K, Members> {
    let mut map: BTreeMap<K, Members> = BTreeMap::new();
    for &union in unions {
        for key in normal.unions.value(union).iter().flat_map(&keys) {
            let members = map.entry(key).or_default();
            if members.last() != Some(&union) {
                members.push(union);
            }
        }
    }
    map
}

/// Breakpoints of one family: from each start on, addresses belong to that class of unions.
fn sweep(
    normal: &Normal,
    unions: &BTreeSet<u32>,
    v6: bool,
    classes: &mut Interner<Members>,
) -> Result<Vec<(u128, u32)>, Refused> {
    let mut toggles: Vec<(u128, u32)> = Vec::new();
    for &union in unions {
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        for extent in normal.unions.value(union) {
            ranges.extend(extent_ranges(extent, v6));
        }
        for (low, high) in merged(ranges) {
            toggles.push((low, union));
            let top = if v6 { u128::MAX } else { u128::from(u32::MAX) };
            if high < top {
                toggles.push((high + 1, union));
            }
        }
    }
    toggles.sort_unstable();
    let mut active: BTreeSet<u32> = BTreeSet::new();
    // Sets are compared by a 128-bit sum of scrambled members: comparing the lists themselves would
    // cost the square of the nesting.
    let mut sum = 0u128;
    let mut known: HashMap<u128, u32> = HashMap::new();
    let mut listed = 0;
    let mut class_of = |active: &BTreeSet<u32>, sum: u128| {
        Ok(match known.entry(sum) {
            Slot::Occupied(class) => *class.get(),
            Slot::Vacant(slot) => {
                listed += active.len();
                bounded(listed)?;
                *slot.insert(classes.intern(active.iter().copied().collect()))
            }
        })
    };
    let mut breaks = vec![];
    let mut at = 0;
    if toggles.first().is_none_or(|&(start, _)| start > 0) {
        breaks.push((0, class_of(&active, sum)?));
    }
    while let Some(&(start, _)) = toggles.get(at) {
        while let Some(&(_, union)) = toggles.get(at).filter(|&&(s, _)| s == start) {
            if active.remove(&union) {
                sum = sum.wrapping_sub(scramble(union));
            } else {
                active.insert(union);
                sum = sum.wrapping_add(scramble(union));
            }
            at += 1;
        }
        breaks.push((start, class_of(&active, sum)?));
    }
    Ok(breaks)
}

fn bounded(members: usize) -> Result<(), Refused> {
    if members > MEMBER_LIMIT {
        return Err(Refused::TooMuchWork { what: "overlapping subjects", need: members, limit: MEMBER_LIMIT });
    }
    Ok(())
}

/// A fixed pseudo-random number for each union (two rounds of SplitMix64).
fn scramble(union: u32) -> u128 {
    let round = |seed: u64| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let high = round(u64::from(union) ^ 0x6761_6269_6f6e_0000);
    u128::from(high) << 64 | u128::from(round(high ^ u64::from(union)))
}

fn block_range(net: &IpNet) -> (u128, u128) {
    let number = |address: IpAddr| match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    };
    (number(net.network()), number(net.broadcast()))
}

fn extent_ranges(extent: &Extent, v6: bool) -> Vec<(u128, u128)> {
    let of_family = |net: &&IpNet| matches!(net, IpNet::V6(_)) == v6;
    let blocks = merged(extent.addresses.iter().filter(of_family).map(block_range).collect());
    let holes = merged(extent.except.iter().filter(of_family).map(block_range).collect());
    let mut left = Vec::new();
    for (mut low, high) in blocks {
        let mut open = true;
        for &(hole_low, hole_high) in &holes {
            if hole_high < low || hole_low > high {
                continue;
            }
            if hole_low > low {
                left.push((low, hole_low - 1));
            }
            if hole_high >= high {
                open = false;
                break;
            }
            low = hole_high + 1;
        }
        if open {
            left.push((low, high));
        }
    }
    left
}

/// Sorts and joins ranges that overlap or touch.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match joined.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = (*last).max(high),
            _ => joined.push((low, high)),
        }
    }
    joined
}

/// Finds the [`Who`]s that a set of unions meets.
struct Index<'n> {
    normal: &'n Normal,
    by_union: HashMap<u32, Vec<u32>>,
}

impl<'n> Index<'n> {
    fn new(normal: &'n Normal, used: &BTreeSet<u32>) -> Self {
        let mut by_union: HashMap<u32, Vec<u32>> = HashMap::new();
        for &who in used {
            for &union in normal.whos.value(who) {
                by_union.entry(union).or_default().push(who);
            }
        }
        Self { normal, by_union }
    }

    fn met(&self, members: &[u32]) -> Vec<u32> {
        let mut seen: Vec<u32> =
            members.iter().filter_map(|union| self.by_union.get(union)).flatten().copied().collect();
        seen.sort_unstable();
        let mut met = Vec::new();
        for run in seen.chunk_by(|a, b| a == b) {
            let who: &Who = self.normal.whos.value(run[0]);
            if run.len() == who.len() {
                met.push(run[0]);
            }
        }
        met
    }
}
