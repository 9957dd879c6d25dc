//! An ordered list → groups of candidates by pairs of ends.
//!
//! A plain cross product of source and destination classes explodes where wide rules meet narrow
//! ones. So a list can be split in four by the width of its two ends; each group has few distinct
//! rows, and the lowest rank of all groups decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gabion_abi::tables::{GROUPS, RANK_NONE, group};

use crate::Refused;
use crate::intern::Interner;
use crate::normal::{Item, Normal};

/// Classes of all three dimensions, each with the interned conditions it meets.
pub(crate) struct Classes<'c> {
    pub source: &'c [Vec<u32>],
    pub destination: &'c [Vec<u32>],
    pub service: &'c [Vec<u32>],
}

/// A group that was worked out, not laid yet.
pub(crate) struct Built {
    pub source_map: Vec<u32>,
    pub destination_map: Vec<u32>,
    pub service_map: Vec<u32>,
    pub sources: usize,
    pub destinations: usize,
    pub services: usize,
    /// (source << 32 | destination, number of its candidates in `candidates`), sorted.
    pub cells: Vec<(u64, u32)>,
    /// Distinct lists of candidates: ranks, ascending, none of them covered by those before it.
    pub candidates: Vec<Candidates>,
    /// Ranks by service class, for the lists that are too long: one row after the other.
    pub rows: Vec<u32>,
}

/// What the pairs of one cell ask, in this order.
pub(crate) enum Candidates {
    /// Ranks; whether one of them, or all together, cover every service.
    Listed(Vec<u32>),
    /// A row.
    Row(u32),
}

impl Built {
    fn list_bytes(&self) -> usize {
        let listed = |candidates: &Candidates| match candidates {
            Candidates::Listed(ranks) if ranks.len() > 1 => (ranks.len() + 1) * 4,
            _ => 0,
        };
        self.candidates.iter().map(listed).sum()
    }

    /// Bytes of the tables, about.
    pub fn bytes(&self) -> usize {
        dense_bytes(self.sources, self.destinations).min(hash_bytes(self.cells.len()))
            + self.list_bytes()
            + self.rows.len() * 4
    }
}

/// Bytes of a dense array of pairs.
pub(crate) fn dense_bytes(sources: usize, destinations: usize) -> usize {
    sources.saturating_mul(destinations).saturating_mul(4)
}

/// Bytes of a perfect hash of pairs.
pub(crate) fn hash_bytes(pairs: usize) -> usize {
    pairs.saturating_mul(10) + 64
}

/// A condition that covers more classes than this is wide; tried in this order.
const WIDTHS: [usize; 3] = [24, 96, 6];
/// Bytes below which the first split is good enough.
const GOOD_BYTES: usize = 32 << 20;
/// Steps (item × destination class, and looks at candidates) that working out one group may take.
const STEP_LIMIT: usize = 400_000_000;

/// Works out the groups of one direction: one group when it fits into `single` bytes, else several within `budget`.
pub(crate) fn choose(
    normal: &Normal,
    items: &[Item],
    classes: &Classes<'_>,
    single: usize,
    budget: usize,
) -> Result<Vec<Built>, Refused> {
    Shape::new(normal, items, classes).choose(single, budget)
}

/// The first rank of each service class that speaks of anyone and anyone. The last item does, and of everything: it is
/// what remains when nothing else is found.
pub(crate) fn floor(normal: &Normal, items: &[Item], classes: &Classes<'_>) -> Vec<u32> {
    let mut first: HashMap<u32, u32> = HashMap::new();
    for (rank, item) in items.iter().enumerate().filter(|(_, item)| is_for_all(normal, item)) {
        first.entry(item.what).or_insert(rank as u32);
    }
    let last = items.len() as u32 - 1;
    let least = |met: &Vec<u32>| met.iter().filter_map(|what| first.get(what)).copied().min();
    classes.service.iter().map(|met| least(met).unwrap_or(last)).collect()
}

/// Whether an item speaks of anyone and anyone.
pub(crate) fn is_for_all(normal: &Normal, item: &Item) -> bool {
    normal.whos.value(item.from).is_empty() && normal.whos.value(item.to).is_empty()
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
        let all: Vec<usize> =
            (0..self.items.len()).filter(|&rank| !is_for_all(self.normal, &self.items[rank])).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        if self.bytes_at_most(&all) / 2 <= single
            && let Ok(group) = self.build(&all, single)
        {
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

    /// Bytes that the pairs of one group cannot exceed, without working it out: as if no two rules shared one.
    fn bytes_at_most(&self, ranks: &[usize]) -> usize {
        let (sources, destinations) = (self.classes.source.len(), self.classes.destination.len());
        let mut pairs = 0usize;
        for item in ranks.iter().map(|&rank| &self.items[rank]) {
            let from = self.width(item.from, &self.source_width).min(sources);
            let to = self.width(item.to, &self.destination_width).min(destinations);
            pairs = pairs.saturating_add(from.saturating_mul(to));
        }
        dense_bytes(sources, destinations).min(hash_bytes(pairs))
    }

    fn split(&self, threshold: usize, budget: usize) -> Result<Vec<Built>, Refused> {
        let mut groups: [Vec<usize>; GROUPS] = Default::default();
        for (rank, item) in self.items.iter().enumerate().filter(|(_, item)| !is_for_all(self.normal, item)) {
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
        let mut cover = Cover::new(&to_services, services.len());
        let mut steps = 0usize;
        let mut listed = 0usize;
        let mut lists: Interner<Vec<u32>> = Interner::default();
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
            let mut cell = |destination: usize, own: &[usize]| {
                let list = self.candidates(own, &everywhere, &mut cover);
                if !list.is_empty() {
                    listed += list.len();
                    let number = lists.intern(list);
                    cells.push(((source as u64) << 32 | destination as u64, number));
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
            if steps + cover.steps > STEP_LIMIT {
                let need = steps + cover.steps;
                return Err(Refused::TooMuchWork { what: "pairs of ends", need, limit: STEP_LIMIT });
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
        }
        let mut rows = Vec::new();
        let mut candidates = Vec::with_capacity(lists.values().len());
        for list in lists.into_values() {
            if list.len() <= LONGEST_LIST {
                candidates.push(Candidates::Listed(list));
                continue;
            }
            candidates.push(Candidates::Row((rows.len() / services.len()) as u32));
            let first = rows.len();
            rows.resize(first + services.len(), RANK_NONE);
            if rows.len() * 4 > budget {
                return Err(too_big("rows of services", rows.len() * 4));
            }
            for &rank in list.iter().rev() {
                for &class in to_services.get(&self.items[rank as usize].what).into_iter().flatten() {
                    rows[first + class] = rank;
                }
            }
        }
        let built = Built {
            source_map,
            destination_map,
            service_map,
            sources: sources.len(),
            destinations: destinations.len(),
            services: services.len(),
            cells,
            candidates,
            rows,
        };
        if built.bytes() > budget {
            return Err(too_big("pairs of ends and what they ask", built.bytes()));
        }
        Ok(built)
    }

    /// Merges two ascending lists of ranks, less what earlier ranks already cover.
    fn candidates(&self, own: &[usize], everywhere: &[usize], cover: &mut Cover<'_>) -> Vec<u32> {
        let mut merged = Vec::new();
        let (mut i, mut j) = (0, 0);
        cover.clear();
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
            match cover.add(self.items[rank].what) {
                Added::Nothing => {}
                Added::Some => merged.push(rank as u32),
                Added::Last => {
                    merged.push(rank as u32);
                    break;
                }
            }
        }
        merged
    }
}

/// Most candidates in a list; with more a row is quicker. One place is for the end.
const LONGEST_LIST: usize = 2 * group::LIST_WORDS as usize - 1;

/// What a condition adds to those before it.
enum Added {
    Nothing,
    Some,
    /// All services are covered now.
    Last,
}

/// Which services the candidates of a pair cover so far.
struct Cover<'s> {
    /// Services by condition.
    services: HashMap<u32, Box<[u64]>>,
    covered: Vec<u64>,
    left: usize,
    total: usize,
    steps: usize,
    whole: &'s HashMap<u32, Vec<usize>>,
}

impl<'s> Cover<'s> {
    fn new(whole: &'s HashMap<u32, Vec<usize>>, total: usize) -> Self {
        let width = total.div_ceil(64);
        let services = whole
            .iter()
            .map(|(&what, classes)| {
                let mut bits = vec![0; width].into_boxed_slice();
                for class in classes {
                    bits[class / 64] |= 1 << (class % 64);
                }
                (what, bits)
            })
            .collect();
        Self { services, covered: vec![0; width], left: total, total, steps: 0, whole }
    }

    fn clear(&mut self) {
        if self.left != self.total {
            self.covered.fill(0);
            self.left = self.total;
        }
    }

    fn add(&mut self, what: u32) -> Added {
        let Some(services) = self.services.get(&what) else { return Added::Nothing };
        if self.left == self.total && self.whole.get(&what).is_some_and(|classes| classes.len() == self.total) {
            // The usual case needs no look at the bits.
            return Added::Last;
        }
        self.steps += services.len();
        let mut added = 0;
        for (covered, new) in self.covered.iter_mut().zip(services) {
            added += (new & !*covered).count_ones() as usize;
            *covered |= new;
        }
        self.left -= added;
        match (added, self.left) {
            (0, _) => Added::Nothing,
            (_, 0) => Added::Last,
            _ => Added::Some,
        }
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
