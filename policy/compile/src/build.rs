//! Ranks → one group: which candidates each pair of ends asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gabion_abi::tables::{RANK_NONE, group};

use crate::Excess;
use crate::groups::{Built, Candidates, Shape, dense_bytes, hash_bytes};
use crate::intern::Interner;
use crate::work::Work;

/// Steps of a rule at a pair of ends, of a rule at a source, of a rule that is added to those of a pair, and of a pair.
const PUSH_STEPS: usize = 6;
const SORT_STEPS: usize = 10;
const ADD_STEPS: usize = 6;
const CELL_STEPS: usize = 60;
/// Steps of a pair in a perfect hash, and of a condition that a class meets.
const HASH_STEPS: usize = 60;
const MEET_STEPS: usize = 8;
/// Bytes of a list beside its rules.
const LIST_BYTES: usize = 64;
const PAIRS: &str = "pairs of ends";
const ROWS: &str = "rows of services";

impl Shape<'_> {
    /// Works out the group of these ranks (ascending) within a budget of bytes.
    pub(crate) fn build(&self, ranks: &[usize], budget: usize, work: &mut Work) -> Result<Built, Excess> {
        let items = ranks.iter().map(|&rank| &self.items[rank]);
        let (whos, whats) = (self.normal.whos.len(), self.normal.whats.len());
        let (source_map, sources) = project(self.classes.source, items.clone().map(|item| item.from), whos, work)?;
        let (destination_map, destinations) =
            project(self.classes.destination, items.clone().map(|item| item.to), whos, work)?;
        let (service_map, services) = project(self.classes.service, items.map(|item| item.what), whats, work)?;
        let to_destinations = Inverse::of(&destinations, whos);
        let to_services = Inverse::of(&services, whats);

        let mut by_from: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for &rank in ranks {
            by_from.entry(self.items[rank].from).or_default().push(rank);
        }
        let anyone: Vec<usize> = by_from
            .iter()
            .filter(|(who, _)| self.everyone(**who))
            .flat_map(|(_, ranks)| ranks.iter().copied())
            .collect();
        // What it takes is known before it is worked out, but for how soon the services of a pair are covered.
        let too_big = |what, need| Excess::TooManyBytes { what, need, limit: budget };
        let to_sources = Inverse::of(&sources, whos);
        let (mut pushes, mut most) = (0usize, 0usize);
        for item in ranks.iter().map(|&rank| &self.items[rank]) {
            let width =
                |who, inverse: &Inverse, all: usize| if self.everyone(who) { all } else { inverse.classes(who).len() };
            let pairs = width(item.from, &to_sources, sources.len()).saturating_mul(width(
                item.to,
                &to_destinations,
                destinations.len(),
            ));
            most = most.max(pairs);
            if !self.everyone(item.to) {
                pushes = pushes.saturating_add(pairs);
            }
        }
        drop(to_sources);
        // A cell costs at least 4 bytes in either form.
        if most.saturating_mul(4) > budget {
            return Err(too_big(PAIRS, most.saturating_mul(4)));
        }
        work.spend(PAIRS, pushes.saturating_mul(PUSH_STEPS))?;
        let conditions: BTreeSet<u32> = ranks.iter().map(|&rank| self.items[rank].what).collect();
        work.hold(PAIRS, conditions.len().saturating_mul(services.len().div_ceil(64)).saturating_mul(8))?;
        let mut cover = Cover::new(&to_services, &conditions, services.len());
        let mut lists: Interner<Vec<u32>> = Interner::default();
        let mut cells: Vec<(u64, u32)> = Vec::new();
        let mut buckets: Vec<Vec<usize>> = vec![Vec::new(); destinations.len()];
        for (source, whos) in sources.iter().enumerate() {
            let mut candidates = anyone.clone();
            candidates.extend(whos.iter().filter_map(|who| by_from.get(who)).flatten());
            work.spend(PAIRS, candidates.len() * SORT_STEPS)?;
            candidates.sort_unstable();
            let mut everywhere = Vec::new();
            let mut touched = Vec::new();
            for &rank in &candidates {
                let to = self.items[rank].to;
                if self.everyone(to) {
                    everywhere.push(rank);
                    continue;
                }
                for &destination in to_destinations.classes(to) {
                    let bucket = &mut buckets[destination as usize];
                    if bucket.is_empty() {
                        touched.push(destination as usize);
                    }
                    bucket.push(rank);
                }
            }
            touched.sort_unstable();
            let mut cell = |destination: usize, own: &[usize]| {
                let list = self.candidates(own, &everywhere, &mut cover);
                work.spend(PAIRS, CELL_STEPS + std::mem::take(&mut cover.steps))?;
                if list.is_empty() {
                    return Ok(());
                }
                let (known, length) = (lists.values().len(), list.len());
                let number = lists.intern(list);
                if number as usize == known {
                    work.hold("rules for one pair of ends", length * 4 + LIST_BYTES)?;
                }
                work.hold(PAIRS, size_of::<(u64, u32)>())?;
                cells.push(((source as u64) << 32 | destination as u64, number));
                Ok::<(), Excess>(())
            };
            if everywhere.is_empty() {
                for &destination in &touched {
                    cell(destination, &buckets[destination])?;
                }
            } else {
                for (destination, own) in buckets.iter().enumerate() {
                    cell(destination, own)?;
                }
            }
            for destination in touched {
                buckets[destination].clear();
            }
            if cells.len() * 4 > budget {
                return Err(too_big(PAIRS, cells.len() * 4));
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
            let need = (first + services.len()) * 4;
            if need > budget {
                return Err(too_big(ROWS, need));
            }
            work.hold(ROWS, services.len() * 4)?;
            let classes = |&rank: &u32| to_services.classes(self.items[rank as usize].what);
            work.spend(ROWS, services.len() + list.iter().map(|rank| classes(rank).len()).sum::<usize>())?;
            rows.resize(first + services.len(), RANK_NONE);
            for &rank in list.iter().rev() {
                for &class in classes(&rank) {
                    rows[first + class as usize] = rank;
                }
            }
        }
        if dense_bytes(sources.len(), destinations.len()) > hash_bytes(cells.len()) {
            work.spend(PAIRS, cells.len() * HASH_STEPS)?;
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
            of_service: to_services,
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
    whole: &'s Inverse,
}

impl<'s> Cover<'s> {
    fn new(whole: &'s Inverse, conditions: &BTreeSet<u32>, total: usize) -> Self {
        let width = total.div_ceil(64);
        let services = conditions
            .iter()
            .map(|&what| {
                let mut bits = vec![0; width].into_boxed_slice();
                for &class in whole.classes(what) {
                    bits[class as usize / 64] |= 1 << (class % 64);
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
        if self.left == self.total && self.whole.classes(what).len() == self.total {
            // The usual case needs no look at the bits.
            return Added::Last;
        }
        self.steps += services.len() + ADD_STEPS;
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
fn project(
    classes: &[Vec<u32>],
    used: impl Iterator<Item = u32>,
    conditions: usize,
    work: &mut Work,
) -> Result<(Vec<u32>, Vec<Vec<u32>>), Excess> {
    let met: usize = classes.iter().map(Vec::len).sum();
    work.spend(PAIRS, (met + classes.len()).saturating_mul(MEET_STEPS))?;
    let mut is_used = vec![false; conditions];
    used.for_each(|condition| is_used[condition as usize] = true);
    let mut distinct: Interner<Vec<u32>> = Interner::default();
    let map = classes.iter().map(|met| {
        let met = met.iter().copied().filter(|&condition| is_used[condition as usize]);
        distinct.intern(met.collect())
    });
    Ok((map.collect(), distinct.into_values()))
}

/// Classes by condition.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// Where those of each condition start.
    starts: Vec<u32>,
    classes: Vec<u32>,
}

impl Inverse {
    fn of(met: &[Vec<u32>], conditions: usize) -> Self {
        let mut starts = vec![0u32; conditions + 1];
        for &condition in met.iter().flatten() {
            starts[condition as usize + 1] += 1;
        }
        for at in 0..conditions {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut classes = vec![0; starts[conditions] as usize];
        for (class, met) in (0..).zip(met) {
            for &condition in met {
                classes[next[condition as usize] as usize] = class;
                next[condition as usize] += 1;
            }
        }
        Self { starts, classes }
    }

    /// The classes that meet a condition, ascending.
    pub fn classes(&self, condition: u32) -> &[u32] {
        let at = condition as usize;
        &self.classes[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}
