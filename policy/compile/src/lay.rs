//! Groups of candidates → tables and parameters.

use std::collections::BTreeSet;

use gabion_abi::tables::{self, PARAM_COUNT, RANK_NONE, direction, end, entry, group, service};

use crate::canonical::Normal;
use crate::ends::Said;
use crate::groups::{Built, Candidates, Classes, dense_bytes, hash_bytes, is_for_all};
use crate::known::NONE;
use crate::lists::ListInterner;
use crate::normal::Item;
use crate::services::Services;
use crate::words::Words;
use crate::{DirectionStats, Excess};

/// One direction, on its way into the tables.
pub(crate) struct Side<'s> {
    /// Its list.
    pub items: &'s [Item],
    /// Rule numbers of the list.
    pub rules: Vec<u32>,
    /// Its groups.
    pub groups: Vec<Built>,
    /// Ranks by service class of what speaks of anyone and anyone.
    pub floor: Vec<u32>,
    /// The service classes that lanes lead to.
    pub in_lanes: &'s BTreeSet<u32>,
    /// Its first parameter.
    pub at: usize,
}

/// Bits that numbers below `count` need, at least one.
fn bits_of(count: usize) -> u32 {
    count.max(2).next_power_of_two().trailing_zeros()
}

/// Bytes that the matches of all service classes may take. Conditions beyond are looked up in rows.
const MATCH_BYTES: usize = 8 << 20;

/// Numbers of the conditions on services, by interned what; [`NONE`] for those that have none.
struct Conditions {
    bits: Vec<u32>,
    rank_bits: u32,
}

impl Conditions {
    /// Candidate of a rank, if its condition has a number.
    fn candidate(&self, items: &[Item], rank: u32) -> Option<u32> {
        let bit = self.bits[items[rank as usize].what as usize];
        (bit != NONE).then(|| bit << self.rank_bits | rank)
    }

    /// Ranks by the service classes of a group.
    fn row(&self, built: &Built, items: &[Item], ranks: &[u32]) -> Vec<u32> {
        let mut row = vec![RANK_NONE; built.services];
        for &rank in ranks.iter().rev() {
            for &class in built.of_service.get(items[rank as usize].what) {
                row[class as usize] = rank;
            }
        }
        row
    }

    /// The end of a list.
    fn nobody(&self) -> u32 {
        (1 << self.rank_bits) - 1
    }
}

/// Lays both directions and what they share.
pub(crate) fn lay(
    normal: &Normal,
    sides: &[Side<'_>; 2],
    classes: &Classes<'_>,
    said: [&Said; 2],
    service: &Services,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<[DirectionStats; 2], Excess> {
    let conditions = conditions(normal, sides, classes, words, params)?;
    let [source, destination] = said;
    records(sides, end_of(tables::SOURCE), source, classes.source.len(), words, params)?;
    records(sides, end_of(tables::DESTINATION), destination, classes.destination.len(), words, params)?;
    let keeps = |side: &Side<'_>, of: &BTreeSet<u32>| keeps_state(normal, side, classes, of);
    // Other protocols' connections are not what lanes ask for.
    params[tables::OPENS] = u32::from(sides.iter().all(|side| keeps(side, &service.of_ports)));
    // The node itself is asked for one end alone: one direction that keeps state is enough.
    params[tables::STATELESS] = u32::from(!sides.iter().any(|side| keeps(side, &service.of_state)));
    let mut stats = [DirectionStats::default(), DirectionStats::default()];
    for (side, stats) in sides.iter().zip(&mut stats) {
        let entries: Vec<u32> = side
            .items
            .iter()
            .zip(&side.rules)
            .map(|(item, &rule)| entry::pack(rule, item.action, item.flags) as u32)
            .collect();
        params[side.at + direction::ENTRIES] = words.halves(&entries, "rules")?;
        params[side.at + direction::LAST_RANK] = (side.items.len() - 1) as u32;
        if side.floor.iter().any(|&rank| rank as usize != side.items.len() - 1) {
            params[side.at + direction::FLOOR] = words.halves(&side.floor, "rules for anyone")?;
        }
        let mut in_lanes = side.in_lanes.iter().map(|&class| side.floor[class as usize]);
        if let (true, Some(rank)) = (side.groups.is_empty(), in_lanes.next())
            && in_lanes.all(|other| other == rank)
        {
            params[side.at + direction::LANE_ENTRY] = entries[rank as usize];
        }
        stats.items = side.items.len();
        for (number, built) in side.groups.iter().enumerate() {
            let before = words.len();
            stats.groups += 1;
            stats.cells += built.cells.len();
            stats.lists += built.lists.len();
            let at = side.at + direction::GROUP + number * group::COUNT;
            lay_group(built, side.items, &conditions, at, words, params)?;
            stats.bytes += (words.len() - before) * 8;
        }
    }
    Ok(stats)
}

/// Whether a direction lets anything of these service classes go and keeps state for it.
fn keeps_state(normal: &Normal, side: &Side<'_>, classes: &Classes<'_>, of: &BTreeSet<u32>) -> bool {
    let meet: BTreeSet<u32> = of.iter().flat_map(|&class| classes.service.get(class)).copied().collect();
    let floor: BTreeSet<u32> = of.iter().map(|&class| side.floor[class as usize]).collect();
    side.items.iter().enumerate().any(|(rank, item)| {
        let keeps = item.action != entry::DENY && item.flags & entry::STATELESS == 0;
        let for_all = is_for_all(normal, item);
        keeps && if for_all { floor.contains(&(rank as u32)) } else { meet.contains(&item.what) }
    })
}

/// Numbers the conditions, those of most candidates first, and lays what each service class meets.
fn conditions(
    normal: &Normal,
    sides: &[Side<'_>; 2],
    classes: &Classes<'_>,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<Conditions, Excess> {
    let whats = normal.whats.len();
    let mut uses = vec![0usize; whats];
    for side in sides {
        for candidates in side.groups.iter().flat_map(Built::candidates) {
            if let Candidates::Listed(ranks) = candidates {
                ranks.iter().for_each(|&rank| uses[side.items[rank as usize].what as usize] += 1);
            }
        }
    }
    let mut met = vec![0usize; whats];
    classes.service.items().iter().for_each(|&what| met[what as usize] += 1);
    let mut order: Vec<(u32, usize)> = (0..).zip(uses).filter(|&(_, uses)| uses > 0).collect();
    order.sort_by_key(|&(what, uses)| (std::cmp::Reverse(uses), what));
    let longest = sides.iter().map(|side| side.items.len()).max().unwrap_or(0);
    // One more than the last rank: all ones is nobody's.
    let rank_bits = bits_of(longest + 1);
    params[tables::RANK_BITS] = rank_bits;
    let limit = (1u64 << (32 - rank_bits)).min((MATCH_BYTES / 8 / classes.service.len().max(1)).max(1) as u64 * 64);
    let mut bits = vec![NONE; whats];
    // Number 0 is met by all.
    let mut next = 1u32;
    for (what, _) in order {
        if met[what as usize] == classes.service.len() {
            bits[what as usize] = 0;
        } else if u64::from(next) < limit {
            bits[what as usize] = next;
            next += 1;
        }
    }
    if sides.iter().any(|side| !side.groups.is_empty()) {
        let width = next.div_ceil(64) as usize;
        let mut matches = vec![0u64; classes.service.len() * width];
        for (row, met) in matches.chunks_mut(width).zip(classes.service.iter()) {
            row[0] |= 1;
            for bit in met.iter().map(|&what| bits[what as usize]).filter(|&bit| bit != NONE) {
                row[bit as usize / 64] |= 1 << (bit % 64);
            }
        }
        params[service::MATCHES] = words.whole(&matches, "services")?;
        params[service::MATCH_WORDS] = width as u32;
    }
    Ok(Conditions { bits, rank_bits })
}

/// Where one end's parameters are, and how a group knows it.
struct EndOf {
    at: usize,
    group_at: usize,
    map: fn(&Built) -> &[u32],
    count: fn(&Built) -> usize,
}

fn end_of(at: usize) -> EndOf {
    if at == tables::SOURCE {
        EndOf { at, group_at: group::SOURCE_WORD, map: |built| &built.source_map, count: |built| built.sources }
    } else {
        EndOf {
            at,
            group_at: group::DESTINATION_WORD,
            map: |built| &built.destination_map,
            count: |built| built.destinations,
        }
    }
}

/// Lays, for each class of one end, by which classes the groups know it: in place of the class where there is room.
fn records(
    sides: &[Side<'_>; 2],
    end: EndOf,
    said: &Said,
    classes: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<(), Excess> {
    let groups: Vec<(usize, &Built)> = sides
        .iter()
        .flat_map(|side| {
            let at = |number| side.at + direction::GROUP + number * group::COUNT + end.group_at;
            side.groups.iter().enumerate().map(move |(number, built)| (at(number), built))
        })
        .collect();
    let itself = |map: &[u32]| map.iter().enumerate().all(|(class, &known)| class == known as usize);
    if groups.iter().all(|(_, built)| itself((end.map)(built))) {
        for (at, _) in groups {
            params[at + 2] = u32::MAX;
        }
        return Ok(());
    }
    // Into the first word that has room, in order.
    let mut filled: Vec<u32> = Vec::new();
    let mut places = Vec::new();
    for (at, built) in groups {
        let bits = bits_of((end.count)(built));
        let word = filled.iter().position(|used| used + bits <= 64).unwrap_or(filled.len());
        if word == filled.len() {
            filled.push(0);
        }
        let shift = filled[word];
        filled[word] += bits;
        params[at] = word as u32;
        params[at + 1] = shift;
        params[at + 2] = ((1u64 << bits) - 1) as u32;
        places.push((word, shift, (end.map)(built)));
    }
    if let &[bits] = filled.as_slice()
        && bits <= said.bits()
    {
        let record = |class: u32| {
            places.iter().fold(0, |record, &(_, shift, map): &(_, u32, &[u32])| record | map[class as usize] << shift)
        };
        said.renumber(words, params, record);
        return Ok(());
    }
    let width = filled.len();
    let mut laid = vec![0u64; classes * width];
    for (class, record) in laid.chunks_mut(width).enumerate() {
        for &(word, shift, map) in &places {
            record[word] |= u64::from(map[class]) << shift;
        }
    }
    params[end.at + end::RECORD_BASE] = words.whole(&laid, "classes of ends")?;
    params[end.at + end::RECORD_WORDS] = width as u32;
    Ok(())
}

fn lay_group(
    built: &Built,
    items: &[Item],
    conditions: &Conditions,
    at: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<(), Excess> {
    let dense = dense_bytes(built.sources, built.destinations) <= hash_bytes(built.cells.len());
    let destination_bits = bits_of(built.destinations);
    let key_bits = destination_bits + bits_of(built.sources);
    let payload_bits = if dense { 32 } else { (64 - key_bits).min(32) };
    let payloads = payloads(built, items, conditions, payload_bits, at, words, params)?;
    params[at + group::PAYLOAD_BITS] = payload_bits;
    if dense {
        let mut pairs = vec![0; built.sources * built.destinations];
        for &(cell, number) in &built.cells {
            let (source, destination) = ((cell >> 32) as usize, cell as u32 as usize);
            pairs[source * built.destinations + destination] = payloads[number as usize];
        }
        params[at + group::PAIR_BASE] = words.halves(&pairs, "pairs of ends")?;
        params[at + group::PAIR_COLUMNS] = built.destinations as u32;
        return Ok(());
    }
    let pairs: Vec<(u64, u32)> = built
        .cells
        .iter()
        .map(|&(cell, number)| {
            let key = (cell >> 32) << destination_bits | u64::from(cell as u32);
            (key, payloads[number as usize])
        })
        .collect();
    let hash = words.perfect(&pairs, key_bits, "pairs of ends")?;
    params[at + group::PAIR_BASE] = hash.base;
    params[at + group::PAIR_SLOTS] = hash.slots;
    params[at + group::PAIR_DISPLACEMENTS] = hash.displacements;
    params[at + group::PAIR_BUCKET_MASK] = hash.bucket_mask;
    params[at + group::PAIR_SEED] = hash.seed;
    params[at + group::PAIR_DESTINATION_BITS] = destination_bits;
    params[at + group::PAIR_KEY_BITS] = key_bits;
    Ok(())
}

/// Lays lists and rows, and gives the payload of each list of candidates.
fn payloads(
    built: &Built,
    items: &[Item],
    conditions: &Conditions,
    payload_bits: u32,
    at: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<Vec<u32>, Excess> {
    let kind_shift = payload_bits - 2;
    let limit = 1u32 << kind_shift;
    let fits = |what, rest: u32| {
        if rest < limit {
            Ok(rest)
        } else {
            Err(Excess::TooManyClasses { what, need: rest as usize + 1, limit: limit as usize })
        }
    };
    let mut rows = built.rows.clone();
    let mut lists = ListInterner::default();
    // What each list of candidates becomes: the kind, and which of its kind.
    let mut shapes = Vec::with_capacity(built.lists.len());
    let mut listed = Vec::new();
    for candidates in built.candidates() {
        let ranks = match candidates {
            Candidates::Row(row) => {
                shapes.push((group::ROW, row));
                continue;
            }
            Candidates::Listed(ranks) => ranks,
        };
        listed.clear();
        listed.extend(ranks.iter().map_while(|&rank| conditions.candidate(items, rank)));
        if listed.len() < ranks.len() {
            // A condition's number is too large to stand beside a rank.
            words.has_room(rows.len() / 2 + built.services / 2, "rows of services")?;
            shapes.push((group::ROW, (rows.len() / built.services) as u32));
            rows.extend(conditions.row(built, items, ranks));
            continue;
        }
        if let &[one] = listed.as_slice()
            && one < limit
        {
            shapes.push((group::ONE, one));
            continue;
        }
        let ends = listed.last().is_some_and(|last| last >> conditions.rank_bits == 0);
        if !ends || listed.len() % 2 == 1 {
            listed.push(conditions.nobody());
        }
        if listed.len() % 2 == 1 {
            listed.push(conditions.nobody());
        }
        shapes.push((group::LIST, lists.intern(&listed)));
    }
    let line = group::LIST_WORDS as usize * 2;
    let mut laid: Vec<u32> = Vec::new();
    let mut firsts = Vec::new();
    for list in lists.lists().iter() {
        if laid.len() % line + list.len() > line {
            laid.resize(laid.len().next_multiple_of(line), 0);
        }
        firsts.push((laid.len() / 2) as u32);
        laid.extend_from_slice(list);
    }
    if !laid.is_empty() {
        params[at + group::LIST_BASE] = words.halves(&laid, "lists of candidates")?;
    }
    if !rows.is_empty() {
        params[at + group::ROW_BASE] = words.halves(&rows, "rows of services")?;
        params[at + group::ROW_COLUMNS] = built.services as u32;
        params[at + group::SERVICE_MAP] = words.quarters(&built.service_map, "service maps")?;
    }
    let mut payloads = Vec::with_capacity(shapes.len());
    for (kind, which) in shapes {
        let rest = match kind {
            group::LIST => fits("lists of candidates", firsts[which as usize])?,
            group::ROW => fits("rows of services", which)?,
            _ => which,
        };
        payloads.push(kind << kind_shift | rest);
    }
    Ok(payloads)
}
