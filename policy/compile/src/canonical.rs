//! Numbers that tell of what was compiled before → numbers that follow from the policy alone, in order of first
//! appearance in the two lists.

use std::sync::Arc;

use gabion_policy_model::subject::Subject;

use crate::intern::Interner;
use crate::known::{Known, NONE};
use crate::lists::{ListInterner, Lists};
use crate::normal::{Flat, Item, Union};
use crate::term::Term;

/// Both lists and what their numbers mean.
#[derive(Debug, Default)]
pub(crate) struct Normal {
    pub unions: Vec<Arc<Union>>,
    /// All of some unions at once; none of them for anyone.
    pub whos: Lists,
    pub terms: Vec<Arc<Term>>,
    /// Any of some terms.
    pub whats: Lists,
    /// What the source may send.
    pub egress: Vec<Item>,
    /// What the destination may receive.
    pub ingress: Vec<Item>,
}

/// Numbers the lists anew.
pub(crate) fn renumber<S: Subject>(flat: Flat, known: &Known<S>) -> Normal {
    let mut normal = Normal::default();
    let mut whos = Sets::new(&known.whos, &known.unions);
    let mut whats = Sets::new(&known.whats, &known.terms);
    let mut numbered = |mut items: Vec<Item>| {
        for item in &mut items {
            item.from = whos.number(item.from, &mut normal.whos, &mut normal.unions);
            item.to = whos.number(item.to, &mut normal.whos, &mut normal.unions);
            item.what = whats.number(item.what, &mut normal.whats, &mut normal.terms);
        }
        items
    };
    let (egress, ingress) = (numbered(flat.egress), numbered(flat.ingress));
    Normal { egress, ingress, ..normal }
}

/// Sets of values, as they were numbered and as they are numbered now.
struct Sets<'k, T> {
    sets: &'k Lists,
    values: &'k [Arc<T>],
    new_sets: Vec<u32>,
    new_values: Vec<u32>,
    fresh: Vec<u32>,
}

impl<'k, T: Ord + Eq + std::hash::Hash> Sets<'k, T> {
    fn new(sets: &'k ListInterner, values: &'k Interner<Arc<T>>) -> Self {
        let (sets, values) = (sets.lists(), values.values());
        Self { sets, values, new_sets: vec![NONE; sets.len()], new_values: vec![NONE; values.len()], fresh: Vec::new() }
    }

    fn number(&mut self, set: u32, sets: &mut Lists, values: &mut Vec<Arc<T>>) -> u32 {
        let Self { sets: old_sets, values: old_values, new_sets, new_values, fresh } = self;
        let number = &mut new_sets[set as usize];
        if *number != NONE {
            return *number;
        }
        *number = sets.len() as u32;
        let old = old_sets.get(set);
        fresh.clear();
        fresh.extend(old.iter().copied().filter(|&value| new_values[value as usize] == NONE));
        // Several that come at once come in their own order.
        fresh.sort_by(|&a, &b| old_values[a as usize].cmp(&old_values[b as usize]));
        for &value in &*fresh {
            new_values[value as usize] = values.len() as u32;
            values.push(Arc::clone(&old_values[value as usize]));
        }
        fresh.clear();
        fresh.extend(old.iter().map(|&value| new_values[value as usize]));
        fresh.sort_unstable();
        sets.push(fresh.iter().copied());
        *number
    }
}
