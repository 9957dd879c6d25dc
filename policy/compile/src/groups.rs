//! An ordered list → groups of candidates by pairs of ends.
//!
//! A plain cross product of source and destination classes explodes where wide rules meet narrow
//! ones. So a list can be split in four by the width of its two ends; each group has few distinct
//! rows, and the lowest rank of all groups decides.

use gabion_abi::tables::GROUPS;
use gabion_policy_model::trace::Direction;
use hashbrown::HashMap;

use crate::Excess;
use crate::canonical::Normal;
use crate::known::NONE;
use crate::lists::{Inverse, Lists};
use crate::normal::Item;
use crate::refused::Weights;
use crate::work::Work;

/// Classes of all three dimensions, each with the interned conditions it meets.
pub(crate) struct Classes<'c> {
    pub source: &'c Lists,
    pub destination: &'c Lists,
    pub service: &'c Lists,
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
    pub lists: Lists,
    /// The row that stands for a list, by its number; [`NONE`] for those that stay lists.
    pub row_of: Vec<u32>,
    /// Ranks by service class, for the lists that are too long: one row after the other.
    pub rows: Vec<u32>,
    /// Service classes of the group by condition.
    pub of_service: Inverse,
}

/// What the pairs of one cell ask, in this order.
#[derive(Clone, Copy)]
pub(crate) enum Candidates<'b> {
    /// Ranks; whether one of them, or all together, cover every service.
    Listed(&'b [u32]),
    /// A row.
    Row(u32),
}

impl Built {
    /// All lists of candidates.
    pub fn candidates(&self) -> impl Iterator<Item = Candidates<'_>> {
        let lists = self.lists.iter().zip(&self.row_of);
        lists.map(|(ranks, &row)| if row == NONE { Candidates::Listed(ranks) } else { Candidates::Row(row) })
    }

    fn list_bytes(&self) -> usize {
        let listed = |candidates| match candidates {
            Candidates::Listed(ranks) if ranks.len() > 1 => (ranks.len() + 1) * 4,
            _ => 0,
        };
        self.candidates().map(listed).sum()
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
/// The first rank of each service class that speaks of anyone and anyone. The last item does, and of everything: it is
/// what remains when nothing else is found.
pub(crate) fn floor(normal: &Normal, items: &[Item], classes: &Classes<'_>) -> Vec<u32> {
    let mut first: HashMap<u32, u32> = HashMap::new();
    for (rank, item) in items.iter().enumerate().filter(|(_, item)| is_for_all(normal, item)) {
        first.entry(item.what).or_insert(rank as u32);
    }
    let last = items.len() as u32 - 1;
    let least = |met: &[u32]| met.iter().filter_map(|what| first.get(what)).copied().min();
    classes.service.iter().map(|met| least(met).unwrap_or(last)).collect()
}

/// Whether an item speaks of anyone and anyone.
pub(crate) fn is_for_all(normal: &Normal, item: &Item) -> bool {
    normal.whos.get(item.from).is_empty() && normal.whos.get(item.to).is_empty()
}

/// A list with all it takes to build groups of it.
pub(crate) struct Shape<'a> {
    pub(crate) normal: &'a Normal,
    pub(crate) items: &'a [Item],
    pub(crate) classes: &'a Classes<'a>,
    /// Number of classes that meet each interned who.
    source_width: Vec<usize>,
    destination_width: Vec<usize>,
}

fn widths(classes: &Lists, whos: usize) -> Vec<usize> {
    let mut width = vec![0; whos];
    classes.items().iter().for_each(|&who| width[who as usize] += 1);
    width
}

impl<'a> Shape<'a> {
    pub(crate) fn new(normal: &'a Normal, items: &'a [Item], classes: &'a Classes<'a>) -> Self {
        let whos = normal.whos.len();
        let (source_width, destination_width) = (widths(classes.source, whos), widths(classes.destination, whos));
        Self { normal, items, classes, source_width, destination_width }
    }

    pub(crate) fn everyone(&self, who: u32) -> bool {
        self.normal.whos.get(who).is_empty()
    }

    fn width(&self, who: u32, widths: &[usize]) -> usize {
        if self.everyone(who) { usize::MAX } else { widths[who as usize] }
    }

    /// Adds how many pairs of classes each rule speaks of.
    pub(crate) fn weigh(&self, direction: Direction, weights: &mut Weights) {
        for item in self.items.iter().filter(|item| !is_for_all(self.normal, item)) {
            weights.add(item.reference, direction, self.pairs_of(item) as u64);
        }
    }

    /// Pairs of classes that an item speaks of.
    fn pairs_of(&self, item: &Item) -> usize {
        let from = self.width(item.from, &self.source_width).min(self.classes.source.len());
        let to = self.width(item.to, &self.destination_width).min(self.classes.destination.len());
        from.saturating_mul(to)
    }

    /// Works out the groups of the direction: one group when it fits into `single` bytes, else several within `budget`.
    pub(crate) fn choose(&self, single: usize, budget: usize, work: &mut Work) -> Result<Vec<Built>, Excess> {
        let all: Vec<usize> =
            (0..self.items.len()).filter(|&rank| !is_for_all(self.normal, &self.items[rank])).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        if self.bytes_at_most(&all) / 2 <= single
            && let Ok(group) = work.attempt(|work| self.build(&all, single, work))
        {
            return Ok(vec![group]);
        }
        let mut best: Option<(usize, Vec<Built>)> = None;
        let mut refused = None;
        for (number, &threshold) in WIDTHS.iter().enumerate() {
            let is_last = number + 1 == WIDTHS.len() && best.is_none();
            let split = |work: &mut Work| self.split(threshold, budget, work);
            match if is_last { split(work) } else { work.attempt(split) } {
                Ok(groups) => {
                    let bytes = groups.iter().map(Built::bytes).sum();
                    if best.as_ref().is_none_or(|(least, _)| bytes < *least) {
                        best = Some((bytes, groups));
                    }
                    if bytes <= GOOD_BYTES {
                        break;
                    }
                }
                // What one can do about the budget says more than that there is no time left.
                Err(excess) => {
                    if !matches!(refused, Some(Excess::TooManyBytes { .. })) {
                        refused = Some(excess);
                    }
                }
            }
        }
        match (best, refused) {
            (Some((_, groups)), _) => Ok(groups),
            (None, Some(excess)) => Err(excess),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Bytes that the pairs of one group cannot exceed, without working it out: as if no two rules shared one.
    fn bytes_at_most(&self, ranks: &[usize]) -> usize {
        let (sources, destinations) = (self.classes.source.len(), self.classes.destination.len());
        let pairs = ranks.iter().map(|&rank| self.pairs_of(&self.items[rank]));
        dense_bytes(sources, destinations).min(hash_bytes(pairs.fold(0, usize::saturating_add)))
    }

    fn split(&self, threshold: usize, budget: usize, work: &mut Work) -> Result<Vec<Built>, Excess> {
        let mut groups: [Vec<usize>; GROUPS] = Default::default();
        for (rank, item) in self.items.iter().enumerate().filter(|(_, item)| !is_for_all(self.normal, item)) {
            let source = self.width(item.from, &self.source_width) > threshold;
            let destination = self.width(item.to, &self.destination_width) > threshold;
            groups[usize::from(source) * 2 + usize::from(destination)].push(rank);
        }
        let mut left = budget;
        let mut built = Vec::new();
        for ranks in groups.iter().filter(|ranks| !ranks.is_empty()) {
            let group = self.build(ranks, left, work)?;
            left -= group.bytes().min(left);
            built.push(group);
        }
        Ok(built)
    }
}
