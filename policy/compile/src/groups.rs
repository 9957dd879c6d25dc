//! An ordered list → the tables that find its first match.
//!
//! A plain cross product of source and destination classes explodes where wide rules meet narrow
//! ones. So a list can be split in four by the width of its two ends; each group has few distinct
//! rows, and the lowest rank of all groups decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gabion_abi::tables::{GROUPS, PARAM_COUNT, RANK_NONE, direction, entry, group};

use crate::intern::Interner;
use crate::normal::{Item, Normal};
use crate::words::Words;
use crate::{DirectionStats, Refused};

/// Classes of all three dimensions, each with the interned conditions it meets.
pub(crate) struct Classes<'c> {
    pub source: &'c [Vec<u32>],
    pub destination: &'c [Vec<u32>],
    pub service: &'c [Vec<u32>],
}

/// A group that was worked out, not laid yet.
pub(crate) struct Built {
    source_map: Vec<u32>,
    destination_map: Vec<u32>,
    service_map: Vec<u32>,
    /// (source × destination, row), sorted; rows count from 1.
    cells: Vec<(u64, u32)>,
    sources: usize,
    destinations: usize,
    /// Ranks by service class, one row after the other.
    rows: Vec<u32>,
    services: usize,
}

impl Built {
    fn dense_bytes(&self) -> usize {
        self.sources.saturating_mul(self.destinations).saturating_mul(4)
    }

    fn hash_bytes(&self) -> usize {
        (self.cells.len() / 2 + 1).next_power_of_two() * 64
    }

    fn bytes(&self) -> usize {
        self.dense_bytes().min(self.hash_bytes())
            + self.rows.len() * 4
            + (self.source_map.len() + self.destination_map.len()) * 4
            + self.service_map.len() * 2
    }
}

/// A condition that covers more classes than this is wide; tried in this order.
const WIDTHS: [usize; 3] = [24, 96, 6];
/// Bytes below which the first split is good enough.
const GOOD_BYTES: usize = 32 << 20;
/// Steps (item × destination class) that working out one group may take.
const STEP_LIMIT: usize = 400_000_000;

/// Works out the groups of one direction: one group when it fits into `single` bytes, else several within `budget`.
pub(crate) fn choose(
    normal: &Normal,
    items: &[Item],
    classes: &Classes<'_>,
    single: usize,
    budget: usize,
) -> Result<Vec<Built>, Refused> {
    // The last item matches everything: it is what remains when no group finds anything.
    Shape::new(normal, &items[..items.len() - 1], classes).choose(single, budget)
}

/// Lays one direction; its parameters start at `at`.
pub(crate) fn lay(
    groups: &[Built],
    items: &[Item],
    rule_numbers: &[u32],
    at: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<DirectionStats, Refused> {
    let entries: Vec<u64> =
        items.iter().zip(rule_numbers).map(|(item, &rule)| entry::pack(rule, item.action, item.flags)).collect();
    params[at + direction::ENTRIES] = words.whole(&entries, "rules")?;
    params[at + direction::LAST_RANK] = (items.len() - 1) as u32;
    let mut stats = DirectionStats { items: items.len(), ..DirectionStats::default() };
    for (number, built) in groups.iter().enumerate() {
        stats.groups += 1;
        stats.cells += built.cells.len();
        stats.rows += built.rows.len() / built.services.max(1);
        stats.bytes += built.bytes();
        lay_group(built, at + direction::GROUP + number * group::COUNT, words, params)?;
    }
    Ok(stats)
}

fn lay_group(built: &Built, at: usize, words: &mut Words, params: &mut [u32; PARAM_COUNT]) -> Result<(), Refused> {
    params[at + group::SOURCE_MAP] = words.halves(&built.source_map, "group maps")?;
    params[at + group::DESTINATION_MAP] = words.halves(&built.destination_map, "group maps")?;
    params[at + group::SERVICE_MAP] = words.quarters(&built.service_map, "group maps")?;
    if built.dense_bytes() <= built.hash_bytes() {
        let mut dense = vec![0; built.sources * built.destinations];
        for &(key, row) in &built.cells {
            dense[(key >> 32) as usize * built.destinations + key as u32 as usize] = row;
        }
        params[at + group::PAIR_BASE] = words.halves(&dense, "pairs of ends")?;
        params[at + group::PAIR_COLUMNS] = built.destinations as u32;
    } else {
        let hash = words.hash(&built.cells, "pairs of ends")?;
        params[at + group::PAIR_BASE] = hash.base;
        params[at + group::PAIR_MASK] = hash.mask;
        params[at + group::PAIR_SEED] = hash.seed;
    }
    params[at + group::ROW_BASE] = words.halves(&built.rows, "rows of services")?;
    params[at + group::ROW_COLUMNS] = built.services as u32;
    Ok(())
}

/// Candidate rules that the pairs of one group may have together.
const LISTED_LIMIT: usize = 32 << 20;

/// A list with all it takes to build groups of it.
struct Shape<'a> {
    normal: &'a Normal,
    items: &'a [Item],
    classes: &'a Classes<'a>,
    /// Number of classes that meet each interned who.
    source_width: HashMap<u32, usize>,
    destination_width: HashMap<u32, usize>,
}

fn widths(classes: &[Vec<u32>]) -> HashMap<u32, usize> {
    let mut width = HashMap::new();
    for who in classes.iter().flatten() {
        *width.entry(*who).or_insert(0) += 1;
    }
    width
}

impl<'a> Shape<'a> {
    fn new(normal: &'a Normal, items: &'a [Item], classes: &'a Classes<'a>) -> Self {
        let (source_width, destination_width) = (widths(classes.source), widths(classes.destination));
        Self { normal, items, classes, source_width, destination_width }
    }

    fn everyone(&self, who: u32) -> bool {
        self.normal.whos.value(who).is_empty()
    }

    fn width(&self, who: u32, widths: &HashMap<u32, usize>) -> usize {
        if self.everyone(who) { usize::MAX } else { widths.get(&who).copied().unwrap_or(0) }
    }

    fn choose(&self, single: usize, budget: usize) -> Result<Vec<Built>, Refused> {
        let all: Vec<usize> = (0..self.items.len()).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        if let Ok(group) = self.build(&all, single) {
            return Ok(vec![group]);
        }
        let mut best: Option<(usize, Vec<Built>)> = None;
        let mut refused = None;
        for threshold in WIDTHS {
            match self.split(threshold, budget) {
                Ok(groups) => {
                    let bytes = groups.iter().map(Built::bytes).sum();
                    if best.as_ref().is_none_or(|(least, _)| bytes < *least) {
                        best = Some((bytes, groups));
                    }
                    if bytes <= GOOD_BYTES {
                        break;
                    }
                }
                Err(error) => refused = Some(error),
            }
        }
        match (best, refused) {
            (Some((_, groups)), _) => Ok(groups),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn split(&self, threshold: usize, budget: usize) -> Result<Vec<Built>, Refused> {
        let mut groups: [Vec<usize>; GROUPS] = Default::default();
        for (rank, item) in self.items.iter().enumerate() {
            let source = self.width(item.from, &self.source_width) > threshold;
            let destination = self.width(item.to, &self.destination_width) > threshold;
            groups[usize::from(source) * 2 + usize::from(destination)].push(rank);
        }
        let mut left = budget;
        let mut built = Vec::new();
        for ranks in groups.iter().filter(|ranks| !ranks.is_empty()) {
            let group = self.build(ranks, left)?;
            left -= group.bytes().min(left);
            built.push(group);
        }
        Ok(built)
    }

    /// Works out the group of these ranks (ascending) within a budget of bytes.
    fn build(&self, ranks: &[usize], budget: usize) -> Result<Built, Refused> {
        let items = ranks.iter().map(|&rank| &self.items[rank]);
        let used = |pick: fn(&Item) -> u32| items.clone().map(pick).collect::<BTreeSet<u32>>();
        let (source_map, sources) = project(self.classes.source, &used(|item| item.from));
        let (destination_map, destinations) = project(self.classes.destination, &used(|item| item.to));
        let (service_map, services) = project(self.classes.service, &used(|item| item.what));
        let to_destinations = invert(&destinations);
        let to_services = invert(&services);

        let mut by_from: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for &rank in ranks {
            by_from.entry(self.items[rank].from).or_default().push(rank);
        }
        let anyone: Vec<usize> = by_from
            .iter()
            .filter(|(who, _)| self.everyone(**who))
            .flat_map(|(_, ranks)| ranks.iter().copied())
            .collect();
        let mut steps = 0usize;
        let mut listed = 0usize;
        let mut lists: Interner<Vec<usize>> = Interner::default();
        let mut cells: Vec<(u64, u32)> = Vec::new();
        let mut buckets: Vec<Vec<usize>> = vec![Vec::new(); destinations.len()];
        let too_big = |what, need| Refused::TooManyBytes { what, need, limit: budget };
        for (source, whos) in sources.iter().enumerate() {
            let mut candidates = anyone.clone();
            candidates.extend(whos.iter().filter_map(|who| by_from.get(who)).flatten());
            candidates.sort_unstable();
            let mut everywhere = Vec::new();
            let mut touched = BTreeSet::new();
            for &rank in &candidates {
                let to = self.items[rank].to;
                if self.everyone(to) {
                    everywhere.push(rank);
                    continue;
                }
                for &destination in to_destinations.get(&to).into_iter().flatten() {
                    steps += 1;
                    buckets[destination].push(rank);
                    touched.insert(destination);
                }
            }
            if steps > STEP_LIMIT {
                return Err(Refused::TooMuchWork { what: "pairs of ends", need: steps, limit: STEP_LIMIT });
            }
            let mut cell = |destination: usize, own: &[usize]| {
                let list = self.candidates(own, &everywhere, &to_services, services.len());
                if !list.is_empty() {
                    listed += list.len();
                    let row = lists.intern(list) + 1;
                    cells.push(((source as u64) << 32 | destination as u64, row));
                }
            };
            if everywhere.is_empty() {
                for &destination in &touched {
                    cell(destination, &buckets[destination]);
                }
            } else {
                for (destination, own) in buckets.iter().enumerate() {
                    cell(destination, own);
                }
            }
            for destination in touched {
                buckets[destination].clear();
            }
            if listed > LISTED_LIMIT {
                return Err(Refused::TooMuchWork {
                    what: "rules for one pair of ends",
                    need: listed,
                    limit: LISTED_LIMIT,
                });
            }
            // A cell costs at least 4 bytes in either form.
            if cells.len() * 4 > budget {
                return Err(too_big("pairs of ends", cells.len() * 4));
            }
            let row_bytes = lists.values().len() * services.len() * 4;
            if row_bytes > budget.saturating_mul(4) {
                return Err(too_big("rows of services", row_bytes));
            }
        }
        let (row_of, rows) = self.rows(&lists, &to_services, services.len());
        for (_, row) in &mut cells {
            *row = row_of[*row as usize - 1] + 1;
        }
        let built = Built {
            source_map,
            destination_map,
            service_map,
            cells,
            sources: sources.len(),
            destinations: destinations.len(),
            rows,
            services: services.len(),
        };
        if built.bytes() > budget {
            return Err(too_big("pairs of ends and rows of services", built.bytes()));
        }
        Ok(built)
    }

    /// Merges two ascending lists of ranks, less what an earlier rank already covers.
    fn candidates(
        &self,
        own: &[usize],
        everywhere: &[usize],
        to_services: &HashMap<u32, Vec<usize>>,
        services: usize,
    ) -> Vec<usize> {
        let mut merged = Vec::with_capacity(4);
        let (mut i, mut j) = (0, 0);
        let mut whats: Vec<u32> = Vec::with_capacity(4);
        loop {
            let rank = match (own.get(i), everywhere.get(j)) {
                (Some(&a), Some(&b)) if a < b => a,
                (_, Some(&b)) => b,
                (Some(&a), None) => a,
                (None, None) => break,
            };
            if own.get(i) == Some(&rank) {
                i += 1
            } else {
                j += 1
            }
            let what = self.items[rank].what;
            if whats.contains(&what) {
                continue;
            }
            whats.push(what);
            merged.push(rank);
            if to_services.get(&what).is_some_and(|classes| classes.len() == services) {
                break;
            }
        }
        merged
    }

    /// Ranks by service class for each list of candidates; equal rows are kept once.
    fn rows(
        &self,
        lists: &Interner<Vec<usize>>,
        to_services: &HashMap<u32, Vec<usize>>,
        services: usize,
    ) -> (Vec<u32>, Vec<u32>) {
        let mut distinct: Interner<Vec<u32>> = Interner::default();
        let mut row_of = Vec::with_capacity(lists.values().len());
        for list in lists.values() {
            let mut row = vec![RANK_NONE; services];
            for &rank in list.iter().rev() {
                for &class in to_services.get(&self.items[rank].what).into_iter().flatten() {
                    row[class] = rank as u32;
                }
            }
            row_of.push(distinct.intern(row));
        }
        (row_of, distinct.values().concat())
    }
}

/// Classes as a group sees them: those that differ only in conditions the group does not use become
/// one. Gives the map from class to group class, and what each group class meets.
fn project(classes: &[Vec<u32>], used: &BTreeSet<u32>) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut distinct: Interner<Vec<u32>> = Interner::default();
    let map = classes
        .iter()
        .map(|met| distinct.intern(met.iter().copied().filter(|condition| used.contains(condition)).collect()))
        .collect();
    (map, distinct.values().to_vec())
}

fn invert(classes: &[Vec<u32>]) -> HashMap<u32, Vec<usize>> {
    let mut inverse: HashMap<u32, Vec<usize>> = HashMap::new();
    for (class, met) in classes.iter().enumerate() {
        for &condition in met {
            inverse.entry(condition).or_default().push(class);
        }
    }
    inverse
}
