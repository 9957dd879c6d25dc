//! What records are used for, which decides what may be appended to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Lock, Type};

/// Uses of one record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roles {
    /// It is a key of a map, or in one.
    pub(crate) key: bool,
    /// It lies in what outlives the programs.
    pub(crate) pinned: bool,
    /// It is the element of an array, or lies in one.
    pub(crate) element: bool,
}

/// Uses of all records.
pub(crate) fn roles(lock: &Lock) -> BTreeMap<&str, Roles> {
    let keys = lock.maps.values().filter_map(|map| map.key.ty.as_ref());
    let values = lock.maps.values().filter(|map| map.pinned).filter_map(|map| map.value.ty.as_ref());
    let sections = lock.sections.values().filter(|section| section.pinned);
    let variables = sections.flat_map(|section| section.variables.iter().map(|variable| &variable.ty));
    let all = lock
        .records
        .values()
        .flat_map(|record| record.fields.iter().map(|field| &field.ty))
        .chain(lock.maps.values().flat_map(|map| [&map.key, &map.value]).filter_map(|slot| slot.ty.as_ref()))
        .chain(lock.sections.values().flat_map(|section| section.variables.iter().map(|variable| &variable.ty)));
    let mut found: BTreeMap<&str, Roles> = BTreeMap::new();
    for name in reached(lock, keys) {
        found.entry(name).or_default().key = true;
    }
    for name in reached(lock, values.chain(variables)) {
        found.entry(name).or_default().pinned = true;
    }
    for name in reached(lock, all.filter(|ty| ty.innermost().1)) {
        found.entry(name).or_default().element = true;
    }
    found
}

/// The records that these types are made of, each once.
fn reached<'l>(lock: &'l Lock, from: impl Iterator<Item = &'l Type>) -> BTreeSet<&'l str> {
    let mut open: Vec<&Type> = from.collect();
    let mut seen = BTreeSet::new();
    while let Some(ty) = open.pop() {
        if let Type::Record(name) = ty.innermost().0
            && let Some((name, record)) = lock.records.get_key_value(name)
            && seen.insert(name.as_str())
        {
            open.extend(record.fields.iter().map(|field| &field.ty));
        }
    }
    seen
}
