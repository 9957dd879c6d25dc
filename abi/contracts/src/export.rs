//! Contracts for others: a C header, and JSON Schema.

mod c;
mod json;

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{Contracts, Layout};

pub use c::c;
pub use json::json_schema;

/// Every record, also those that only lie within others, each behind those that it is made of.
fn layouts(contracts: &Contracts) -> Vec<&Layout> {
    fn visit<'l>(layout: &'l Layout, seen: &mut BTreeSet<&'l str>, order: &mut Vec<&'l Layout>) {
        if !seen.insert(&layout.name) {
            return;
        }
        layout.fields.iter().filter_map(|field| field.ty.record()).for_each(|inner| visit(inner, seen, order));
        order.push(layout);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    contracts.records.iter().for_each(|record| visit(&record.layout, &mut seen, &mut order));
    order
}

/// Names that other languages take for names of records: `RingBuf<Event, 4>` becomes `ring_buf_event_4`. No two are the
/// same.
fn identifiers<'l>(layouts: &[&'l Layout]) -> BTreeMap<&'l str, String> {
    let mut taken = BTreeSet::new();
    layouts.iter().map(|layout| (layout.name.as_str(), unique(snake(&layout.name), &mut taken))).collect()
}

/// The name, or the name and a number when it is taken.
fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut found = name.clone();
    let mut number = 2;
    while !taken.insert(found.clone()) {
        found = format!("{name}_{number}");
        number += 1;
    }
    found
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    let mut before = '_';
    for letter in name.chars() {
        let plain = if letter.is_ascii_alphanumeric() { letter } else { '_' };
        if plain.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            snake.push('_');
        }
        if plain != '_' || before != '_' {
            snake.push(plain.to_ascii_lowercase());
        }
        before = plain;
    }
    snake.trim_end_matches('_').to_owned()
}
