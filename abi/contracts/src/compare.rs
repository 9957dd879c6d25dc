//! Two sides, held to each other.

use std::fmt;

use crate::layout::{Contracts, Field, Layout, Place};

/// One thing that two sides say differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What: `Event.flow.source_port`, `map LOCAL`, `service events`, `set`.
    pub path: String,
    /// What we say; nothing when only the other side says something.
    pub expected: Option<String>,
    /// What the other side says.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |said: &Option<String>| said.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{}: expected {}, found {}", self.path, word(&self.expected), word(&self.found))
    }
}

/// A provider and a consumer do not mean the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One side has no such service.
    #[error("there is no service {service} on {side}")]
    Absent {
        /// The service.
        service: String,
        /// Which side.
        side: &'static str,
    },
    /// Their versions or payloads differ.
    #[error("service {service}: {}", crate::all(.differences))]
    Differs {
        /// The service.
        service: String,
        /// How: at least one, the first first.
        differences: Vec<Difference>,
    },
}

/// Everything that two sides say differently, in the order of what is expected; within a record by place.
#[must_use]
pub fn differences(expected: &Contracts, found: &Contracts) -> Vec<Difference> {
    let mut all = Vec::new();
    let head = |side: &Contracts| format!("{} version {}", side.name, side.version);
    said("set", Some(head(expected)), Some(head(found)), &mut all);

    for record in &expected.records {
        match found.record(&record.layout.name) {
            Some(other) if other.digest == record.digest && other.signature == record.signature => {}
            Some(other) => all.extend(layouts(&record.layout.name, [0, 0], &record.layout, &other.layout)),
            None => said(&record.layout.name, Some(whole(&record.layout)), None, &mut all),
        }
    }
    for other in found.records.iter().filter(|other| expected.record(&other.layout.name).is_none()) {
        said(&other.layout.name, None, Some(whole(&other.layout)), &mut all);
    }
    let places = |side: &Contracts| side.places.iter().map(|one| (one.name.clone(), one.to_string())).collect();
    named("map", places(expected), places(found), &mut all);
    let services = |side: &Contracts| side.services.iter().map(|one| (one.name.clone(), one.to_string())).collect();
    named("service", services(expected), services(found), &mut all);
    all
}

/// Whether a provider and a consumer of one service mean the same.
///
/// # Errors
/// What they say differently, the first field first.
pub fn meet(ours: &Contracts, theirs: &Contracts, service: &str) -> Result<(), Refusal> {
    let of = |contracts: &Contracts, side| {
        let found = contracts.services.iter().find(|one| one.name == service);
        found.cloned().ok_or_else(|| Refusal::Absent { service: service.to_owned(), side })
    };
    let (our, their) = (of(ours, "our side")?, of(theirs, "the other side")?);
    let mut differences = Vec::new();
    said(&format!("service {service}"), Some(our.to_string()), Some(their.to_string()), &mut differences);
    // That a payload is declared was checked when the text was read.
    if let (Some(our), Some(their)) = (ours.record(&our.payload), theirs.record(&their.payload)) {
        differences.extend(layouts(&our.layout.name, [0, 0], &our.layout, &their.layout));
    }
    if differences.is_empty() { Ok(()) } else { Err(Refusal::Differs { service: service.to_owned(), differences }) }
}

/// The first thing that two sides say differently of one map, and of what lies in it.
pub(crate) fn place(expected: &Contracts, found: &Contracts, name: &str) -> Option<Difference> {
    let of = |side: &Contracts| side.places.iter().find(|one| one.name == name).cloned();
    let (ours, theirs) = (of(expected), of(found));
    let mut differences = Vec::new();
    let text = |place: &Option<Place>| place.as_ref().map(ToString::to_string);
    said("place", text(&ours), text(&theirs), &mut differences);
    if !differences.is_empty() {
        return differences.into_iter().next();
    }
    for record in &expected.records {
        match found.record(&record.layout.name) {
            Some(other) => differences.extend(layouts(&record.layout.name, [0, 0], &record.layout, &other.layout)),
            None => said(&record.layout.name, Some(whole(&record.layout)), None, &mut differences),
        }
    }
    differences.into_iter().next()
}

fn said(path: &str, expected: Option<String>, found: Option<String>, all: &mut Vec<Difference>) {
    if expected != found {
        all.push(Difference { path: path.to_owned(), expected, found });
    }
}

fn named(what: &str, expected: Vec<(String, String)>, found: Vec<(String, String)>, all: &mut Vec<Difference>) {
    let of = |side: &[(String, String)], name: &str| side.iter().find(|one| one.0 == name).map(|one| one.1.clone());
    for (name, one) in &expected {
        said(&format!("{what} {name}"), Some(one.clone()), of(&found, name), all);
    }
    for (name, other) in found.iter().filter(|(name, _)| of(&expected, name).is_none()) {
        said(&format!("{what} {name}"), None, Some(other.clone()), all);
    }
}

fn whole(layout: &Layout) -> String {
    format!("a record of size {} align {}", layout.size, layout.align)
}

/// A field where it lies in the outermost record.
fn spelled(field: &Field, base: u64, named: bool) -> String {
    let name = if named { format!("{}: ", field.name) } else { String::new() };
    let unit = field.unit.as_ref().map(|unit| format!(" unit {unit}")).unwrap_or_default();
    format!("{name}{} at {}{unit}", field.ty, base.saturating_add(field.offset))
}

/// What two records say differently; `bases` is where they begin in the outermost ones.
fn layouts(path: &str, bases: [u64; 2], expected: &Layout, found: &Layout) -> Vec<Difference> {
    if expected == found {
        return Vec::new();
    }
    let [ours, theirs] = bases;
    let unknown = |name: &str, side: &Layout| side.fields.iter().all(|field| field.name != name);
    // What was put in comes before what it pushed away.
    let mut all: Vec<(u64, bool, Vec<Difference>)> = Vec::new();
    let mut renamed = Vec::new();
    for field in &expected.fields {
        let here = format!("{path}.{}", field.name);
        let mut some = Vec::new();
        if let Some(other) = found.fields.iter().find(|other| other.name == field.name) {
            // A field that only moved with its record is told by the record.
            if spelled(field, 0, false) != spelled(other, 0, false) {
                // Two moves can cancel out; then where it lies in its own record tells them apart.
                let cancelled = spelled(field, ours, false) == spelled(other, theirs, false);
                let [ours, theirs] = if cancelled { [0, 0] } else { bases };
                said(&here, Some(spelled(field, ours, false)), Some(spelled(other, theirs, false)), &mut some);
            }
            if let (Some(one), Some(two)) = (field.ty.record(), other.ty.record())
                && field.ty.to_string() == other.ty.to_string()
            {
                let arrays = field.ty.to_string().bytes().take_while(|&byte| byte == b'[').count();
                let here = here + &"[0]".repeat(arrays);
                let bases = [ours.saturating_add(field.offset), theirs.saturating_add(other.offset)];
                some.extend(layouts(&here, bases, one, two));
            }
        } else {
            let new = found
                .fields
                .iter()
                .find(|other| other.offset == field.offset && other.ty == field.ty && unknown(&other.name, expected));
            renamed.extend(new.map(|other| other.name.as_str()));
            let other = new.map(|other| spelled(other, theirs, true));
            said(&here, Some(spelled(field, ours, other.is_some())), other, &mut some);
        }
        all.push((field.offset, true, some));
    }
    for other in &found.fields {
        if unknown(&other.name, expected) && !renamed.contains(&other.name.as_str()) {
            let mut some = Vec::new();
            said(&format!("{path}.{}", other.name), None, Some(spelled(other, theirs, false)), &mut some);
            all.push((other.offset, false, some));
        }
    }
    all.sort_by_key(|&(offset, pushed, _)| (offset, pushed));
    let mut all: Vec<Difference> = all.into_iter().flat_map(|(_, _, some)| some).collect();
    if all.is_empty() {
        said(path, Some(whole(expected)), Some(whole(found)), &mut all);
    }
    all
}
