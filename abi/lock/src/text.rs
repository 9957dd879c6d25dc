//! A lock as text: sorted by name, one fact a line, so that a difference of two reads like a change.

use std::fmt::Write as _;

use crate::kinds;
use crate::model::{Enum, Lock, Map, Record, Section};

/// The first line.
pub(crate) const FIRST: &str = "gabion abi 1";

impl Lock {
    /// The text that [`Lock::parse`] reads. There is one for each lock.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{FIRST}\norder {}\n", if self.big_endian { "big" } else { "little" });
        for (name, version) in &self.sets {
            line(&mut out, format_args!("set {name} version {version}"));
        }
        for (name, service) in &self.services {
            line(&mut out, format_args!("service {name} version {} of {}", service.version, service.payload));
        }
        self.records.iter().for_each(|(name, record)| self::record(&mut out, name, record));
        self.numbers.iter().for_each(|(name, found)| values(&mut out, "numbers", name, found));
        self.enums.iter().for_each(|(name, found)| values(&mut out, "enum", name, found));
        self.maps.iter().for_each(|(name, found)| map(&mut out, name, found));
        self.sections.iter().for_each(|(name, found)| section(&mut out, name, found));
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes what is written to it.
    let _ = writeln!(out, "{text}");
}

fn record(out: &mut String, name: &str, record: &Record) {
    line(out, format_args!("\n{} {name}\n  size {}", if record.union { "union" } else { "record" }, record.size));
    if let Some(align) = record.align {
        line(out, format_args!("  align {align}"));
    }
    record.fields.iter().for_each(|field| line(out, format_args!("  {}: {field}", field.name)));
}

fn values(out: &mut String, word: &str, name: &str, found: &Enum) {
    line(out, format_args!("\n{word} {name}\n  size {}", found.size));
    found.values.iter().for_each(|(name, value)| line(out, format_args!("  {name} = {value}")));
    found.retired.iter().for_each(|(name, value)| line(out, format_args!("  {name} = {value} retired")));
}

fn map(out: &mut String, name: &str, map: &Map) {
    line(out, format_args!("\nmap {name}\n  type {}", kinds::name(map.kind)));
    line(out, format_args!("  key {}\n  value {}", map.key, map.value));
    line(out, format_args!("  entries {}\n  flags {:#x}", map.entries, map.flags));
    if map.extra != 0 {
        line(out, format_args!("  extra {:#x}", map.extra));
    }
    if map.pinned {
        line(out, format_args!("  pinned"));
    }
}

fn section(out: &mut String, name: &str, section: &Section) {
    line(out, format_args!("\nsection {name}"));
    if section.pinned {
        line(out, format_args!("  pinned"));
    }
    section.variables.iter().for_each(|one| line(out, format_args!("  {}: {one}", one.name)));
}
