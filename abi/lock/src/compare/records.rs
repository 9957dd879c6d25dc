//! Structs and unions by the rules.

use std::collections::{BTreeMap, HashMap};

use super::{Changes, pairs};
use crate::model::{Field, Lock, Record};
use crate::roles::{Roles, roles};
use crate::rules::{Rule, Verdict};

impl Changes {
    pub(super) fn records(&mut self, old: &Lock, new: &Lock) {
        // What was used in one way and is in another counts in both.
        let mut uses: BTreeMap<&str, Roles> = roles(old);
        for (name, more) in roles(new) {
            let known = uses.entry(name).or_default();
            known.key |= more.key;
            known.element |= more.element;
        }
        for (name, was, is) in pairs(&old.records, &new.records) {
            match (was, is) {
                (Some(was), Some(is)) if was != is => {
                    let uses = uses.get(name).copied().unwrap_or_default();
                    self.record(name, [old, new], [was, is], uses);
                }
                (Some(was), None) => {
                    let same = |(other, record): &(&String, &Record)| {
                        !old.records.contains_key(other.as_str()) && *record == was
                    };
                    let other = new.records.iter().find(same).map(|(other, _)| format!("{} as {other}", text(was)));
                    let rule = if other.is_some() { Rule::Renamed } else { Rule::Deleted };
                    self.push(Verdict::Breaking, name, Some(text(was)), other, rule);
                }
                _ => self.said(name, was.map(text), is.map(text), |_| (Verdict::Breaking, Rule::Resized)),
            }
        }
    }

    fn record(&mut self, name: &str, [older, newer]: [&Lock; 2], [old, new]: [&Record; 2], uses: Roles) {
        let whole = |record: &Record| Some(text(record));
        if old.union != new.union {
            self.push(Verdict::Breaking, name, whole(old), whole(new), Rule::Resized);
            return;
        }
        if let (Some(was), Some(is)) = (old.align, new.align)
            && is < was
        {
            let align = |align: u64| Some(format!("aligned to {align}"));
            self.push(Verdict::Breaking, name, align(was), align(is), Rule::Alignment);
        }
        let before = self.0.len();
        let news: HashMap<&str, &Field> = new.fields.iter().map(|field| (field.name.as_str(), field)).collect();
        let olds: HashMap<&str, &Field> = old.fields.iter().map(|field| (field.name.as_str(), field)).collect();
        // New names by place: one of a field that is gone, with its type, is another name of it.
        let mut heirs: HashMap<u64, Vec<&Field>> = HashMap::new();
        for field in new.fields.iter().filter(|field| !olds.contains_key(field.name.as_str())) {
            heirs.entry(field.bit).or_default().push(field);
        }
        for field in &old.fields {
            let path = format!("{name}.{}", field.name);
            let was = Some(field.to_string());
            let Some(now) = news.get(field.name.as_str()) else {
                let here = heirs.get_mut(&field.bit);
                let same = |other: &&Field| other.ty == field.ty && other.width == field.width;
                let heir = here.and_then(|here| here.iter().position(same).map(|at| here.swap_remove(at)));
                let rule = if heir.is_some() { Rule::Renamed } else { Rule::Deleted };
                let is = heir.map(|heir| format!("{}: {heir}", heir.name));
                self.push(Verdict::Breaking, &path, was, is, rule);
                continue;
            };
            let retyped = (&field.ty, field.width, &field.unit) != (&now.ty, now.width, &now.unit);
            let rule = if retyped { Rule::Retyped } else { Rule::Moved };
            self.said(&path, was, Some(now.to_string()), |_| (Verdict::Breaking, rule));
        }
        let (verdict, rule) = appended(uses);
        let end = old.fields.iter().filter_map(|field| older.end(field)).max().unwrap_or(0);
        let mut more: Vec<&Field> = heirs.into_values().flatten().collect();
        more.sort_by_key(|field| (field.bit, &field.name));
        for field in more {
            let path = format!("{name}.{}", field.name);
            let inside = newer.end(field).is_some_and(|end| end <= old.size.saturating_mul(8));
            let (verdict, rule) = match (old.union, inside) {
                // One more view of the same bytes.
                (true, true) => (Verdict::Compatible, Rule::Added),
                (false, _) if field.bit < end => (Verdict::Breaking, Rule::Inserted),
                _ => (verdict, rule),
            };
            self.push(verdict, &path, None, Some(field.to_string()), rule);
        }
        // Fields that were told explain a size; else the record is another one.
        let explained = self.0.len() > before;
        if new.size < old.size || (new.size > old.size && !explained) {
            let grown = new.size > old.size && old.fields.iter().any(|field| last_grew(field, [older, newer], old));
            let (verdict, rule) = if grown { (verdict, rule) } else { (Verdict::Breaking, Rule::Resized) };
            self.push(verdict, name, whole(old), whole(new), rule);
        }
    }
}

/// Whether a field is a record at the end of its own that grew, as the record's own change tells.
fn last_grew(field: &Field, [older, newer]: [&Lock; 2], old: &Record) -> bool {
    let behind = old.fields.iter().all(|other| other.bit <= field.bit || old.union);
    behind && newer.size(&field.ty) > older.size(&field.ty)
}

/// What it means to append to a record of these uses.
fn appended(uses: Roles) -> (Verdict, Rule) {
    match uses {
        Roles { key: true, .. } => (Verdict::Breaking, Rule::AppendedKey),
        Roles { element: true, .. } => (Verdict::Breaking, Rule::AppendedElement),
        Roles { pinned: true, .. } => (Verdict::Migration, Rule::AppendedPinned),
        _ => (Verdict::Compatible, Rule::Appended),
    }
}

fn text(record: &Record) -> String {
    format!("a {} of {} bytes", if record.union { "union" } else { "record" }, record.size)
}
