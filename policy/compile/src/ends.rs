//! Who → classes: all ends that no rule tells apart share one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use gabion_abi::tables::{self, PARAM_COUNT, end, trie};
use gabion_policy_model::subject::Extent;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use ipnet::IpNet;

use crate::Excess;
use crate::canonical::Normal;
use crate::lists::{Inverse, ListInterner, Lists};
use crate::normal::Item;
use crate::words::{Hash, Trie, Words};
use crate::work::Work;

/// The classes of one side. List `c` of `classes` has, sorted, the interned whos that class `c` meets, less those that
/// everyone meets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub classes: Lists,
    /// Classes of IPv4 and IPv6 addresses, and of links (MAC and interface).
    pub dimensions: [usize; 3],
    /// Where the tables say them.
    pub said: Said,
}

/// Where the tables of one end say a class.
#[derive(Debug)]
pub(crate) struct Said {
    at: usize,
    by: By,
}

#[derive(Debug)]
enum By {
    /// The address alone.
    Address { tries: Vec<Trie>, off_ip: Option<Hash> },
    /// Address and link, in a table of so many entries.
    Link { entries: usize },
}

impl Said {
    /// Bits that a class may have there.
    pub fn bits(&self) -> u32 {
        match &self.by {
            // A MAC has the class + 1, and the parameters have room for more than tries.
            By::Address { tries, .. } => tries.iter().map(Trie::class_bits).min().unwrap_or(31),
            By::Link { .. } => 32,
        }
    }

    /// Puts other numbers in place of classes.
    pub fn renumber(&self, words: &mut Words, params: &mut [u32; PARAM_COUNT], number: impl Fn(u32) -> u32) {
        match &self.by {
            By::Address { tries, off_ip } => {
                tries.iter().for_each(|trie| words.renumber(trie, &number));
                off_ip.iter().for_each(|hash| words.renumber_hash(hash, |class| number(class - 1) + 1));
                for class in [end::V4_CLASS, end::V6_CLASS, end::NONE_CLASS] {
                    params[self.at + class] = number(params[self.at + class]);
                }
            }
            By::Link { entries } => words.renumber_halves(params[self.at + end::CLASS_BASE], *entries, number),
        }
    }
}

/// A sorted list of unions.
type Members = Vec<u32>;

/// Breakpoints of IPv4 from which on the root of the trie is wide.
const WIDE_FROM: usize = 64;

/// Steps of a member of a class of addresses, and of a look at who a class may meet.
const MEMBER_STEPS: usize = 10;
const LOOK_STEPS: usize = 10;
const WHAT: &str = "overlapping subjects";

/// Spends what a list of members takes, before it is made.
fn members(work: &mut Work, count: usize) -> Result<(), Excess> {
    work.spend(WHAT, count.saturating_mul(MEMBER_STEPS))?;
    work.hold(WHAT, count.saturating_mul(4).saturating_add(32))
}

/// One end of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    /// Who an item says is at this end.
    pub fn of(self, item: &Item) -> u32 {
        match self {
            Self::Source => item.from,
            Self::Destination => item.to,
        }
    }

    /// Its first parameter.
    const fn at(self) -> usize {
        match self {
            Self::Source => tables::SOURCE,
            Self::Destination => tables::DESTINATION,
        }
    }
}

/// Everything by which the unions of one end are told apart, each with its union.
pub(crate) struct Marks<'n> {
    /// The whos that rules name at this end.
    used: Vec<u32>,
    v4: Vec<(u32, u32, u32)>,
    v6: Vec<(u128, u128, u32)>,
    off_ip: Vec<(u64, u32)>,
    macs: Vec<(u64, u32)>,
    interfaces: Vec<(&'n String, u32)>,
}

impl<'n> Marks<'n> {
    pub fn of(normal: &'n Normal, end: End, work: &mut Work) -> Result<Self, Excess> {
        let items = normal.egress.iter().chain(&normal.ingress);
        let used = numbers(normal.whos.len(), items.map(|item| end.of(item)));
        let unions = numbers(normal.unions.len(), used.iter().flat_map(|&who| normal.whos.get(who)).copied());
        let (off_ip, macs, interfaces) = (Vec::new(), Vec::new(), Vec::new());
        let mut marks = Self { used, v4: Vec::new(), v6: Vec::new(), off_ip, macs, interfaces };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for union in unions {
            v4.clear();
            v6.clear();
            for extent in normal.unions[union as usize].iter() {
                let (blocks, holes) = (extent.addresses.len(), extent.except.len());
                work.spend(WHAT, blocks.saturating_mul(holes + 1).saturating_mul(if holes > 0 { 8 } else { 2 }))?;
                add_ranges(extent, &mut v4);
                add_ranges(extent, &mut v6);
                marks.off_ip.extend(extent.macs_off_ip.iter().map(|mac| (mac.to_bits(), union)));
                marks.macs.extend(extent.macs.iter().map(|mac| (mac.to_bits(), union)));
                marks.interfaces.extend(extent.interfaces.iter().map(|name| (name, union)));
            }
            merge(&mut v4);
            merge(&mut v6);
            work.hold(WHAT, v4.len() * 2 * size_of::<(u32, u32)>() + v6.len() * 2 * size_of::<(u128, u32)>())?;
            marks.v4.extend(v4.iter().map(|&(low, high)| (low, high, union)));
            marks.v6.extend(v6.iter().map(|&(low, high)| (low, high, union)));
        }
        Ok(marks)
    }

    /// Names of interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &'n String> {
        self.interfaces.iter().map(|&(name, _)| name)
    }
}

/// The classes of one end, not laid yet.
pub(crate) struct Told {
    /// Breakpoints of both families.
    v4: Vec<(u128, u32)>,
    v6: Vec<(u128, u32)>,
    off_ip: Vec<(u64, u32)>,
    /// The class of addresses that nobody names.
    none: u32,
    macs: Vec<(u64, u32)>,
    link_table: Vec<u32>,
    columns: usize,
    /// Classes by class of addresses and links.
    table: Vec<u32>,
    classes: Lists,
}

/// Tells the ends apart that some who tells apart.
pub(crate) fn tell(normal: &Normal, marks: &Marks<'_>, interfaces: &[String], work: &mut Work) -> Result<Told, Excess> {
    let mut addresses = ListInterner::default();
    let v4 = sweep(&marks.v4, &mut addresses, work)?;
    let v6 = sweep(&marks.v6, &mut addresses, work)?;
    let none = addresses.intern(&[]);
    let off_ip = by_key(&marks.off_ip).into_iter().map(|(mac, members)| (mac, addresses.intern(&members))).collect();

    let macs = by_key(&marks.macs);
    let mut mac_classes = ListInterner::default();
    mac_classes.intern(&[]);
    let macs = macs.into_iter().map(|(mac, members)| (mac, mac_classes.intern(&members))).collect();
    let by_interface = by_key(&marks.interfaces);
    let mut links = ListInterner::default();
    let mut link_table = Vec::new();
    for mac in mac_classes.lists().iter() {
        members(work, mac.len())?;
        links.intern(mac);
        if by_interface.is_empty() {
            continue;
        }
        for interface in std::iter::once(None).chain(interfaces.iter().map(Some)) {
            let behind = interface.and_then(|name| by_interface.get(name)).map_or(&[][..], Vec::as_slice);
            members(work, mac.len() + behind.len())?;
            link_table.push(links.intern(&union_of(mac, behind)));
        }
    }

    let index = Index::new(normal, &marks.used);
    let mut classes = ListInterner::default();
    let columns = links.lists().len();
    members(work, addresses.lists().len().saturating_mul(columns))?;
    let mut table = Vec::with_capacity(addresses.lists().len() * columns);
    let mut met = Vec::new();
    for address in addresses.lists().iter() {
        for link in links.lists().iter() {
            if columns > 1 {
                work.spend(WHAT, (address.len() + link.len()) * MEMBER_STEPS)?;
            }
            index.met(&union_of(address, link), &mut met, work)?;
            table.push(classes.intern(&met));
        }
    }
    Ok(Told { v4, v6, off_ip, none, macs, link_table, columns, table, classes: classes.into_lists() })
}

/// Lays the tables of one end and sets its parameters.
pub(crate) fn lay(
    told: Told,
    interfaces: &[String],
    end: End,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
    work: &mut Work,
) -> Result<Ends, Excess> {
    let Told { mut v4, mut v6, mut off_ip, none, macs, link_table, columns, table, classes } = told;
    let at = end.at();
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
    // Numbers are those of classes, or of rows of the table of them.
    let count = table.len().max(classes.len());
    let distinct = |breaks: &[(u128, u32)]| numbers(count, breaks.iter().map(|&(_, class)| class)).len();
    let dimensions = [distinct(&v4), distinct(&v6), columns];
    let (mut tries, mut off_ip_hash) = (Vec::new(), None);
    for (mut breaks, bits, root, class) in
        [(v4, 32, end::V4_ROOT, end::V4_CLASS), (v6, 128, end::V6_ROOT, end::V6_CLASS)]
    {
        breaks.dedup_by_key(|&mut (_, class)| class);
        if let [(_, only)] = breaks.as_slice() {
            params[at + class] = *only;
            continue;
        }
        // A wide root saves a step, and is not worth its memory for a few blocks.
        let fanout = if bits == 32 && breaks.len() > WIDE_FROM { trie::WIDE_FANOUT } else { trie::FANOUT };
        let laid = words.trie(&breaks, bits, fanout.trailing_zeros(), work)?;
        params[at + root..][..3].copy_from_slice(&[laid.root, laid.nodes, laid.form]);
        tries.push(laid);
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
        off_ip_hash = Some(hash).filter(|_| base == end::OFF_IP_BASE);
    }
    let by = if columns == 1 { By::Address { tries, off_ip: off_ip_hash } } else { By::Link { entries: table.len() } };
    Ok(Ends { classes, dimensions, said: Said { at, by } })
}

fn union_of<'m>(a: &'m [u32], b: &[u32]) -> Cow<'m, [u32]> {
    if b.is_empty() {
        return Cow::Borrowed(a);
    }
    let mut both: Members = a.iter().chain(b).copied().collect();
    both.sort_unstable();
    both.dedup();
    Cow::Owned(both)
}

/// Different numbers below `count`, ascending.
pub(crate) fn numbers(count: usize, of: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut there = vec![false; count];
    of.for_each(|number| there[number as usize] = true);
    (0..).zip(there).filter_map(|(number, there)| there.then_some(number)).collect()
}

/// Unions by key (a MAC, an interface), for the keys that some union names. Unions come in ascending order.
fn by_key<K: Ord + Copy>(named: &[(K, u32)]) -> BTreeMap<K, Members> {
    let mut map: BTreeMap<K, Members> = BTreeMap::new();
    for &(key, union) in named {
        let members = map.entry(key).or_default();
        if members.last() != Some(&union) {
            members.push(union);
        }
    }
    map
}

/// An address as a number: IPv4 addresses are kept small, as there can be many.
trait Number: Copy + Ord {
    /// Lowest and highest of a block; none if it is of the other family.
    fn range(block: &IpNet) -> Option<(Self, Self)>;

    /// The next number; none after the last.
    fn next(self) -> Option<Self>;

    /// The number before, if this one is not the first.
    fn before(self) -> Self;

    fn widen(self) -> u128;
}

macro_rules! number {
    ($number:ty, $family:path) => {
        impl Number for $number {
            fn range(block: &IpNet) -> Option<(Self, Self)> {
                let $family(block) = block else { return None };
                Some((block.network().to_bits(), block.broadcast().to_bits()))
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn before(self) -> Self {
                self.saturating_sub(1)
            }

            fn widen(self) -> u128 {
                self.into()
            }
        }
    };
}

number!(u32, IpNet::V4);
number!(u128, IpNet::V6);

/// Breakpoints of one family: from each start on, addresses belong to that class of unions.
fn sweep<A: Number>(
    ranges: &[(A, A, u32)],
    classes: &mut ListInterner,
    work: &mut Work,
) -> Result<Vec<(u128, u32)>, Excess> {
    let mut toggles: Vec<(A, u32)> = Vec::with_capacity(2 * ranges.len());
    for &(low, high, union) in ranges {
        toggles.push((low, union));
        toggles.extend(high.next().map(|after| (after, union)));
    }
    toggles.sort_unstable();
    let mut active: BTreeSet<u32> = BTreeSet::new();
    // Sets are compared by a 128-bit sum of scrambled members: comparing the lists themselves would
    // cost the square of the nesting.
    let mut sum = 0u128;
    let mut known: HashMap<u128, u32> = HashMap::new();
    let mut list = Members::new();
    let mut class_of = |active: &BTreeSet<u32>, sum: u128| {
        Ok::<u32, Excess>(match known.entry(sum) {
            Slot::Occupied(class) => *class.get(),
            Slot::Vacant(slot) => {
                members(work, active.len())?;
                list.clear();
                list.extend(active);
                *slot.insert(classes.intern(&list))
            }
        })
    };
    let mut breaks = vec![];
    let mut at = 0;
    if toggles.first().is_none_or(|&(start, _)| start.widen() > 0) {
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
        breaks.push((start.widen(), class_of(&active, sum)?));
    }
    Ok(breaks)
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

/// Adds what an extent covers in one family.
fn add_ranges<A: Number>(extent: &Extent, to: &mut Vec<(A, A)>) {
    if extent.except.is_empty() {
        to.extend(extent.addresses.iter().filter_map(A::range));
        return;
    }
    let ranges = |blocks: &[IpNet]| {
        let mut ranges: Vec<(A, A)> = blocks.iter().filter_map(A::range).collect();
        merge(&mut ranges);
        ranges
    };
    let holes = ranges(&extent.except);
    for (mut low, high) in ranges(&extent.addresses) {
        let mut open = true;
        for &(hole_low, hole_high) in &holes {
            if hole_high < low || hole_low > high {
                continue;
            }
            if hole_low > low {
                to.push((low, hole_low.before()));
            }
            match hole_high.next().filter(|&after| after <= high) {
                Some(after) => low = after,
                None => {
                    open = false;
                    break;
                }
            }
        }
        if open {
            to.push((low, high));
        }
    }
}

/// Sorts and joins ranges that overlap or touch.
fn merge<A: Number>(ranges: &mut Vec<(A, A)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|(low, high), (_, last)| {
        let joins = last.next().is_none_or(|after| *low <= after);
        if joins {
            *last = (*last).max(*high);
        }
        joins
    });
}

/// Finds the whos that a set of unions meets.
struct Index<'n> {
    normal: &'n Normal,
    /// Every who, under the one of its unions that the fewest share: what all share tells nothing.
    filed: Inverse,
}

impl<'n> Index<'n> {
    fn new(normal: &'n Normal, used: &[u32]) -> Self {
        let mut sharing = vec![0usize; normal.unions.len()];
        for &who in used {
            normal.whos.get(who).iter().for_each(|&union| sharing[union as usize] += 1);
        }
        let rarest = |who| normal.whos.get(who).iter().copied().min_by_key(|&union| sharing[union as usize]);
        let pairs = used.iter().filter_map(|&who| Some((rarest(who)?, who)));
        Self { normal, filed: Inverse::of(pairs, sharing.len()) }
    }

    /// `members` are sorted, and so is what they meet.
    fn met(&self, members: &[u32], met: &mut Vec<u32>, work: &mut Work) -> Result<(), Excess> {
        let looks: usize = members.iter().map(|&union| self.filed.get(union).len()).sum();
        work.spend(WHAT, looks.saturating_mul(LOOK_STEPS))?;
        met.clear();
        met.extend(members.iter().flat_map(|&union| self.filed.get(union)).copied().filter(|&who| {
            match self.normal.whos.get(who) {
                [_] => true,
                unions => unions.iter().all(|union| members.binary_search(union).is_ok()),
            }
        }));
        met.sort_unstable();
        work.hold(WHAT, met.len() * 4)
    }
}
