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

/// Where a list is cut in groups: by whether their source, their destination or either covers more classes than that.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    Source(usize),
    Destination(usize),
    Both(usize),
}

/// Tried in this order.
const CUTS: [Cut; 6] =
    [Cut::Nowhere, Cut::Source(24), Cut::Destination(24), Cut::Both(24), Cut::Both(96), Cut::Both(6)];

/// Bytes below which the first of the finest cuts is good enough.
const GOOD_BYTES: usize = 32 << 20;

/// What the work on one group takes, in tenths of a nanosecond.
const GROUP_COST: u64 = 40;

/// What it takes to read a cache line of tables of this size, when packets of many flows come by, likewise.
const fn line_cost(bytes: usize) -> u64 {
    match bytes >> 20 {
        0 => 25,
        1..8 => 70,
        8..32 => 120,
        _ => 250,
    }
}

/// What a decision takes by these groups, likewise: the chain of each is its pair, behind a displacement where that is
/// found by a perfect hash, and the list or row there.
fn cost(groups: &[Built]) -> u64 {
    let bytes = groups.iter().map(Built::bytes).sum();
    let lines = |group: &Built| {
        let is_dense = dense_bytes(group.sources, group.destinations) <= hash_bytes(group.cells.len());
        if is_dense { 2 } else { 3 }
    };
    groups.iter().map(|group| lines(group) * line_cost(bytes) + GROUP_COST).sum()
}

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

    /// Works out the groups of the direction within a budget: of the cuts that fit, that by which a packet is decided
    /// soonest.
    ///
    /// What a cut comes to is known when it is made. Before, there is a bound: those that cannot be made within
    /// `quick` bytes are not tried, but for the finest, of which one must be.
    pub(crate) fn choose(&self, quick: usize, budget: usize, work: &mut Work) -> Result<Vec<Built>, Excess> {
        if self.items.iter().all(|item| is_for_all(self.normal, item)) {
            return Ok(Vec::new());
        }
        let mut best: Option<(u64, Vec<Built>)> = None;
        let mut refused = None;
        for (number, &cut) in CUTS.iter().enumerate() {
            let is_fine = matches!(cut, Cut::Both(_));
            let groups = self.cut(cut);
            // As if every line of it were in the nearest cache.
            let least = groups.len() as u64 * (2 * line_cost(0) + GROUP_COST);
            if best.as_ref().is_some_and(|(cost, _)| *cost <= least) {
                continue;
            }
            let within = if is_fine { budget } else { quick.min(budget) };
            let bound: usize = groups.iter().map(|ranks| self.bytes_at_most(ranks)).fold(0, usize::saturating_add);
            if !is_fine && bound / 2 > within {
                continue;
            }
            let is_last = number + 1 == CUTS.len() && best.is_none();
            let build = |work: &mut Work| self.build_all(&groups, within, work);
            // The finest are what must be left to try.
            let share = if is_fine { 2 } else { 16 };
            match if is_last { build(work) } else { work.attempt(share, build) } {
                Ok(built) => {
                    let (cost, bytes) = (cost(&built), built.iter().map(Built::bytes).sum::<usize>());
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, built));
                    }
                    if is_fine && bytes <= GOOD_BYTES {
                        break;
                    }
                }
                // What one can do about the budget says more than that there is no time left.
                Err(excess) if is_fine => {
                    if !matches!(refused, Some(Excess::TooManyBytes { .. })) {
                        refused = Some(excess);
                    }
                }
                Err(_) => {}
            }
        }
        match (best, refused) {
            (Some((_, groups)), _) => Ok(groups),
            (None, Some(excess)) => Err(excess),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The ranks of each group of a cut, but for those that speak of anyone and anyone.
    fn cut(&self, cut: Cut) -> Vec<Vec<usize>> {
        let mut groups: [Vec<usize>; GROUPS] = Default::default();
        for (rank, item) in self.items.iter().enumerate().filter(|(_, item)| !is_for_all(self.normal, item)) {
            let source = |width| usize::from(self.width(item.from, &self.source_width) > width);
            let destination = |width| usize::from(self.width(item.to, &self.destination_width) > width);
            let group = match cut {
                Cut::Nowhere => 0,
                Cut::Source(width) => source(width),
                Cut::Destination(width) => destination(width),
                Cut::Both(width) => source(width) * 2 + destination(width),
            };
            groups[group].push(rank);
        }
        groups.into_iter().filter(|ranks| !ranks.is_empty()).collect()
    }

    fn build_all(&self, groups: &[Vec<usize>], budget: usize, work: &mut Work) -> Result<Vec<Built>, Excess> {
        let mut left = budget;
        let mut built = Vec::new();
        for ranks in groups {
            let group = self.build(ranks, left, work)?;
            left -= group.bytes().min(left);
            built.push(group);
        }
        Ok(built)
    }

    /// Bytes that the pairs of one group cannot exceed, without working it out: as if no two rules shared one.
    fn bytes_at_most(&self, ranks: &[usize]) -> usize {
        let (sources, destinations) = (self.classes.source.len(), self.classes.destination.len());
        let pairs = ranks.iter().map(|&rank| self.pairs_of(&self.items[rank]));
        dense_bytes(sources, destinations).min(hash_bytes(pairs.fold(0, usize::saturating_add)))
    }
}
