//! What → classes: all packets that no service tells apart, whoever their ends are, share one.

use std::collections::BTreeSet;

use gabion_abi::tables::{PARAM_COUNT, service};
use gabion_policy_model::range::RangeSet;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::Excess;
use crate::canonical::Normal;
use crate::lanes::{self, Combined, Parts};
use crate::lists::Lists;
use crate::term::{self, FIELDS, SPACES};
use crate::words::Words;
use crate::work::Work;

/// List `c` of `classes` has, sorted, the interned whats that service class `c` meets.
#[derive(Debug)]
pub(crate) struct Services {
    pub classes: Lists,
    /// The classes that lanes lead to.
    pub in_lanes: BTreeSet<u32>,
    /// The classes of TCP and UDP.
    pub of_ports: BTreeSet<u32>,
    /// The classes of all that can have a connection.
    pub of_state: BTreeSet<u32>,
    /// Classes of each field.
    pub fields: [usize; FIELDS],
}

/// A set of terms, one bit each.
type Bits = Box<[u64]>;

/// Terms still possible after some fields, by class of those fields.
struct Partial {
    classes: Vec<Bits>,
}

/// Steps of a class or a pair of them, beside those of the words of its bits.
const CLASS_STEPS: usize = 60;
/// Steps of a condition that a class meets.
const MEET_STEPS: usize = 10;

/// Holds what another class takes: its bits, twice.
fn another_class(work: &mut Work, what: &'static str, width: usize) -> Result<(), Excess> {
    work.hold(what, width * 16 + 64)
}

/// Computes the service classes, lays their tables and sets their parameters.
pub(crate) fn lay(
    normal: &Normal,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
    work: &mut Work,
) -> Result<Services, Excess> {
    let array_params = [
        service::KIND,
        service::DETAIL,
        service::SOURCE_PORT,
        service::FLAGS,
        service::VLAN_OUTER,
        service::VLAN_INNER,
        service::ETHERTYPE,
    ];
    let mut partials = Vec::with_capacity(FIELDS);
    let mut parts = Parts::default();
    for field in 0..FIELDS {
        let (array, partial) = field_classes(normal, field, work)?;
        if partial.classes.len() > 1 {
            let paged = [term::DETAIL, term::SOURCE_PORT, term::ETHERTYPE].contains(&field);
            let what = "service fields";
            let base = if paged { words.paged(&array, what)? } else { words.quarters(&array, what)? };
            params[array_params[field]] = base;
            parts.fields.push(array);
        } else {
            parts.fields.push(Vec::new());
        }
        partials.push(partial);
    }
    let fields = std::array::from_fn(|field| partials.get(field).map_or(1, |partial| partial.classes.len()));
    let mut take = partials.into_iter();
    let mut next = || take.next().unwrap_or(Partial { classes: Vec::new() });
    let [kind, detail, source_port, flags, outer, inner, ethertype] = std::array::from_fn(|_| next());
    let mut combine = |a: &Partial, b: &Partial, at: usize| {
        let (partial, combined) = combine(a, b, at, words, params, work)?;
        parts.combined.push(combined);
        Ok(partial)
    };
    let transport = combine(&kind, &detail, service::KIND_DETAIL)?;
    let transport = combine(&transport, &source_port, service::PORTS)?;
    let transport = combine(&transport, &flags, service::TRANSPORT)?;
    let vlans = combine(&outer, &inner, service::VLANS)?;
    let link = combine(&ethertype, &vlans, service::LINK)?;
    let all = combine(&transport, &link, service::SERVICE)?;
    let in_lanes = lanes::lay(&parts, words, params)?;

    let mut of_term: Vec<Vec<u32>> = vec![Vec::new(); normal.terms.len()];
    for (what, terms) in normal.whats.iter().enumerate() {
        for &term in terms {
            of_term[term as usize].push(what as u32);
        }
    }
    let mut classes = Lists::default();
    for bits in &all.classes {
        let met: usize = ones(bits).map(|term| of_term[term].len()).sum();
        work.spend("services", met.saturating_mul(MEET_STEPS))?;
        let mut met: Vec<u32> = ones(bits).flat_map(|term| of_term[term].iter().copied()).collect();
        met.sort_unstable();
        met.dedup();
        work.hold("services", met.len() * 4)?;
        classes.push(met);
    }
    let (of_ports, of_state) = (lanes::of_ports(&parts), lanes::of_state(&parts));
    Ok(Services { classes, in_lanes, of_ports, of_state, fields })
}

/// Most classes that 16-bit entries can number.
const CLASS_LIMIT: usize = 0x1_0000;

fn numbered(what: &'static str, need: usize) -> Result<(), Excess> {
    if need > CLASS_LIMIT { Err(Excess::TooManyClasses { what, need, limit: CLASS_LIMIT }) } else { Ok(()) }
}

fn ones(bits: &Bits) -> impl Iterator<Item = usize> + '_ {
    bits.iter().enumerate().flat_map(|(at, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}

/// Splits one index space into classes: the array from index to class, and the terms of each.
fn field_classes(normal: &Normal, field: usize, work: &mut Work) -> Result<(Vec<u32>, Partial), Excess> {
    let terms = &normal.terms;
    let width = terms.len().div_ceil(64).max(1);
    let space = SPACES[field];
    let mut toggles: Vec<(u32, usize)> = Vec::new();
    let mut bits: Bits = vec![0; width].into_boxed_slice();
    let mut by_set: HashMap<&RangeSet, Vec<usize>> = HashMap::new();
    for (number, term) in terms.iter().enumerate() {
        match &term.fields[field] {
            None => bits[number / 64] |= 1 << (number % 64),
            Some(set) => by_set.entry(set).or_default().push(number),
        }
    }
    let mut sets: Vec<(&RangeSet, Vec<usize>)> = by_set.into_iter().collect();
    sets.sort_by(|a, b| a.1.cmp(&b.1));
    for (at, (set, _)) in sets.iter().enumerate() {
        for (low, high) in set.iter() {
            toggles.push((low, at));
            if high < space - 1 {
                toggles.push((high + 1, at));
            }
        }
    }
    toggles.sort_unstable();
    let flips: usize = sets.iter().map(|(set, terms)| 2 * set.iter().count() * terms.len()).sum();
    work.spend("service fields", flips.saturating_add(toggles.len().saturating_mul(width + CLASS_STEPS)))?;
    let mut known: HashMap<Bits, u32> = HashMap::new();
    let mut classes = Vec::new();
    let mut class_of = |bits: &Bits| {
        if let Some(&class) = known.get(bits) {
            return Ok(class);
        }
        numbered("service fields", classes.len() + 1)?;
        another_class(work, "service fields", width)?;
        classes.push(bits.clone());
        let class = classes.len() as u32 - 1;
        known.insert(bits.clone(), class);
        Ok(class)
    };
    let mut array = Vec::with_capacity(space as usize);
    let mut at = 0;
    while array.len() < space as usize {
        let here = array.len() as u32;
        while let Some(&(_, set)) = toggles.get(at).filter(|&&(start, _)| start == here) {
            for &term in &sets[set].1 {
                bits[term / 64] ^= 1 << (term % 64);
            }
            at += 1;
        }
        let until = toggles.get(at).map_or(space, |&(start, _)| start.min(space));
        array.resize(until as usize, class_of(&bits)?);
    }
    Ok((array, Partial { classes }))
}

fn combine(
    a: &Partial,
    b: &Partial,
    at: usize,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
    work: &mut Work,
) -> Result<(Partial, Combined), Excess> {
    let what = "service combinations";
    let width = a.classes.first().map_or(0, |bits| bits.len());
    let pairs = a.classes.len().saturating_mul(b.classes.len());
    work.spend(what, pairs.saturating_mul(width + CLASS_STEPS))?;
    work.hold(what, pairs.saturating_mul(4))?;
    let mut known: HashMap<Bits, u32> = HashMap::new();
    let mut classes = Vec::new();
    let mut table = Vec::with_capacity(a.classes.len() * b.classes.len());
    for left in &a.classes {
        numbered(what, classes.len())?;
        for right in &b.classes {
            let both: Bits = left.iter().zip(right).map(|(l, r)| l & r).collect();
            let next = classes.len() as u32;
            let class = match known.entry(both) {
                Entry::Occupied(class) => *class.get(),
                Entry::Vacant(slot) => {
                    another_class(work, what, width)?;
                    classes.push(slot.key().clone());
                    *slot.insert(next)
                }
            };
            table.push(class);
        }
    }
    if b.classes.len() > 1 {
        params[at] = words.quarters(&table, what)?;
        params[at + 1] = b.classes.len() as u32;
        return Ok((Partial { classes }, Combined { table, columns: b.classes.len() }));
    }
    // One column: the first class stands for the combination, whatever its number.
    work.hold(what, pairs.saturating_mul(width * 8 + 32))?;
    let renumbered = table.iter().map(|&class| classes[class as usize].clone()).collect();
    Ok((Partial { classes: renumbered }, Combined::default()))
}

const _: () = assert!(term::KIND == 0 && term::DETAIL == 1 && term::SOURCE_PORT == 2 && term::FLAGS == 3);
const _: () = assert!(term::VLAN_OUTER == 4 && term::VLAN_INNER == 5 && term::ETHERTYPE == 6);
