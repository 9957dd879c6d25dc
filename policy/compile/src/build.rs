//! Ranks → one group: which candidates each pair of ends asks.

use gabion_abi::tables::{RANK_NONE, group};

use crate::Excess;
use crate::ends::numbers;
use crate::groups::{Built, Shape, dense_bytes, hash_bytes};
use crate::known::NONE;
use crate::lists::{Inverse, ListInterner, Lists};
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
        let to_destinations = Inverse::of_lists(&destinations, whos);
        let to_services = Inverse::of_lists(&services, whats);
        let by_from = Inverse::of(ranks.iter().map(|&rank| (self.items[rank].from, rank as u32)), whos);
        let everyone = (0..whos as u32).find(|&who| self.everyone(who));
        let anyone = everyone.map_or(&[][..], |who| by_from.get(who));
        // What it takes is known before it is worked out, but for how soon the services of a pair are covered.
        let too_big = |what, need| Excess::TooManyBytes { what, need, limit: budget };
        let to_sources = Inverse::of_lists(&sources, whos);
        let (mut pushes, mut most) = (0usize, 0usize);
        for item in ranks.iter().map(|&rank| &self.items[rank]) {
            let width =
                |who, inverse: &Inverse, all: usize| if self.everyone(who) { all } else { inverse.get(who).len() };
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
        let conditions = numbers(whats, ranks.iter().map(|&rank| self.items[rank].what));
        work.hold(PAIRS, conditions.len().saturating_mul(services.len().div_ceil(64)).saturating_mul(8))?;
        let mut cover = Cover::new(&to_services, &conditions, whats, services.len());
        let mut lists = ListInterner::default();
        let mut cells: Vec<(u64, u32)> = Vec::new();
        let mut buckets = Buckets::new(destinations.len());
        let (mut candidates, mut everywhere, mut touched) = (Vec::new(), Vec::new(), Vec::new());
        let (mut own, mut list) = (Vec::new(), Vec::new());
        for (source, whos) in sources.iter().enumerate() {
            candidates.clear();
            candidates.extend_from_slice(anyone);
            candidates.extend(whos.iter().flat_map(|&who| by_from.get(who)));
            work.spend(PAIRS, candidates.len() * SORT_STEPS)?;
            candidates.sort_unstable();
            everywhere.clear();
            touched.clear();
            for &rank in &candidates {
                let to = self.items[rank as usize].to;
                if self.everyone(to) {
                    everywhere.push(rank);
                    continue;
                }
                for &destination in to_destinations.get(to) {
                    if buckets.push(destination, rank) {
                        touched.push(destination);
                    }
                }
            }
            touched.sort_unstable();
            let mut cell = |destination: u32| {
                own.clear();
                own.extend(buckets.of(destination));
                self.candidates(&own, &everywhere, &mut cover, &mut list);
                work.spend(PAIRS, CELL_STEPS + std::mem::take(&mut cover.steps))?;
                if list.is_empty() {
                    return Ok(());
                }
                let known = lists.lists().len();
                let number = lists.intern(&list);
                if number as usize == known {
                    work.hold("rules for one pair of ends", list.len() * 4 + LIST_BYTES)?;
                }
                work.hold(PAIRS, size_of::<(u64, u32)>())?;
                cells.push(((source as u64) << 32 | u64::from(destination), number));
                Ok::<(), Excess>(())
            };
            if everywhere.is_empty() {
                touched.iter().try_for_each(|&destination| cell(destination))?;
            } else {
                (0..destinations.len() as u32).try_for_each(cell)?;
            }
            buckets.clear(&touched);
            if cells.len() * 4 > budget {
                return Err(too_big(PAIRS, cells.len() * 4));
            }
        }
        let lists = lists.into_lists();
        let mut rows = Vec::new();
        let mut row_of = Vec::with_capacity(lists.len());
        for list in lists.iter() {
            if list.len() <= LONGEST_LIST {
                row_of.push(NONE);
                continue;
            }
            row_of.push((rows.len() / services.len()) as u32);
            let first = rows.len();
            let need = (first + services.len()) * 4;
            if need > budget {
                return Err(too_big(ROWS, need));
            }
            work.hold(ROWS, services.len() * 4)?;
            let classes = |&rank: &u32| to_services.get(self.items[rank as usize].what);
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
            lists,
            row_of,
            rows,
            of_service: to_services,
        };
        if built.bytes() > budget {
            return Err(too_big("pairs of ends and what they ask", built.bytes()));
        }
        Ok(built)
    }

    /// Merges two ascending lists of ranks, less what earlier ranks already cover.
    fn candidates(&self, own: &[u32], everywhere: &[u32], cover: &mut Cover<'_>, merged: &mut Vec<u32>) {
        merged.clear();
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
            match cover.add(self.items[rank as usize].what) {
                Added::Nothing => {}
                Added::Some => merged.push(rank),
                Added::Last => {
                    merged.push(rank);
                    break;
                }
            }
        }
    }
}

/// Ranks by destination, in the order in which they come; few destinations have any.
struct Buckets {
    /// First and last of each destination in `ranks`.
    ends: Vec<(u32, u32)>,
    /// Ranks, each with the place of the next one of its destination.
    ranks: Vec<(u32, u32)>,
}

impl Buckets {
    fn new(destinations: usize) -> Self {
        Self { ends: vec![(NONE, NONE); destinations], ranks: Vec::new() }
    }

    /// Adds a rank; whether it is the first one.
    fn push(&mut self, destination: u32, rank: u32) -> bool {
        let place = self.ranks.len() as u32;
        self.ranks.push((rank, NONE));
        let (first, last) = &mut self.ends[destination as usize];
        let is_first = *first == NONE;
        if is_first {
            *first = place;
        } else {
            self.ranks[*last as usize].1 = place;
        }
        *last = place;
        is_first
    }

    fn of(&self, destination: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.ends[destination as usize].0;
        std::iter::from_fn(move || {
            let &(rank, next) = self.ranks.get(at as usize)?;
            at = next;
            Some(rank)
        })
    }

    fn clear(&mut self, touched: &[u32]) {
        touched.iter().for_each(|&destination| self.ends[destination as usize] = (NONE, NONE));
        self.ranks.clear();
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
    /// Where the services of each condition are in `bits`.
    first: Vec<u32>,
    bits: Vec<u64>,
    covered: Vec<u64>,
    left: usize,
    total: usize,
    steps: usize,
    whole: &'s Inverse,
}

impl<'s> Cover<'s> {
    fn new(whole: &'s Inverse, conditions: &[u32], count: usize, total: usize) -> Self {
        let width = total.div_ceil(64);
        let mut first = vec![NONE; count];
        let mut bits = vec![0; width * conditions.len()];
        for (at, &what) in conditions.iter().enumerate() {
            first[what as usize] = (at * width) as u32;
            for &class in whole.get(what) {
                bits[at * width + class as usize / 64] |= 1 << (class % 64);
            }
        }
        Self { first, bits, covered: vec![0; width], left: total, total, steps: 0, whole }
    }

    fn clear(&mut self) {
        if self.left != self.total {
            self.covered.fill(0);
            self.left = self.total;
        }
    }

    /// Adds what a condition covers, one of those that were named.
    fn add(&mut self, what: u32) -> Added {
        if self.left == self.total && self.whole.get(what).len() == self.total {
            // The usual case needs no look at the bits.
            return Added::Last;
        }
        let width = self.covered.len();
        let services = &self.bits[self.first[what as usize] as usize..][..width];
        self.steps += width + ADD_STEPS;
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
    classes: &Lists,
    used: impl Iterator<Item = u32>,
    conditions: usize,
    work: &mut Work,
) -> Result<(Vec<u32>, Lists), Excess> {
    work.spend(PAIRS, (classes.items().len() + classes.len()).saturating_mul(MEET_STEPS))?;
    let mut is_used = vec![false; conditions];
    used.for_each(|condition| is_used[condition as usize] = true);
    let mut distinct = ListInterner::default();
    let mut left = Vec::new();
    let map = classes.iter().map(|met| {
        left.clear();
        left.extend(met.iter().copied().filter(|&condition| is_used[condition as usize]));
        distinct.intern(&left)
    });
    let map = map.collect();
    Ok((map, distinct.into_lists()))
}
