//! Text to a lock. The text is hostile, or was edited by hand: an error names line, what has to be there and what is.

use std::collections::HashSet;

use gabion_contracts::Service;

use crate::kinds;
use crate::model::{Enum, Field, Lock, Map, Record, Section, Slot, Type, Variable};
use crate::text::FIRST;

/// Longest text.
const BYTES: usize = 8 << 20;
/// Arrays within arrays.
const DEPTH: u32 = 16;

/// A text that is no lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// Where, from 1; 0 is the text as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It is too long.
    #[error("{bytes} bytes, the limit is {BYTES}")]
    Long {
        /// How long.
        bytes: usize,
    },
    /// It is not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// Something else is there than has to be.
    #[error("expected {expected}, found {found:?}")]
    Expected {
        /// What has to be there.
        expected: &'static str,
        /// The beginning of what is there.
        found: String,
    },
    /// Two things of one name.
    #[error("{name} is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A record or enum that is nowhere declared.
    #[error("{within}: {name} is nowhere declared in this text")]
    Unknown {
        /// Who refers to it.
        within: String,
        /// Its name.
        name: String,
    },
    /// It is not as `Lock::text` would write it: sorted, one spelling of everything.
    #[error("the text says the same as another that is written otherwise; write it with `gabion abi lock`")]
    NotCanonical,
}

fn expected(expected: &'static str, found: &str) -> What {
    What::Expected { expected, found: found.chars().take(60).collect() }
}

impl Lock {
    /// Reads a text.
    ///
    /// # Errors
    /// Where it is not what [`Lock::text`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let whole = |what| Malformed { line: 0, what };
        if bytes.len() > BYTES {
            return Err(whole(What::Long { bytes: bytes.len() }));
        }
        let text = str::from_utf8(bytes).map_err(|_| whole(What::NotText))?;
        let mut lines = Lines { lines: text.lines().collect(), at: 0 };
        let lock = lines.lock().map_err(|what| Malformed { line: lines.at, what })?;
        lock.references().map_err(whole)?;
        if lock.text() != text {
            return Err(whole(What::NotCanonical));
        }
        Ok(lock)
    }

    /// Whether all that is referred to is declared.
    fn references(&self) -> Result<(), What> {
        let fields = self.records.iter().flat_map(|(name, record)| record.fields.iter().map(move |f| (name, &f.ty)));
        let slots = self.maps.iter().flat_map(|(name, map)| {
            [&map.key, &map.value].into_iter().filter_map(move |slot| Some((name, slot.ty.as_ref()?)))
        });
        let variables = self.sections.iter().flat_map(|(name, one)| one.variables.iter().map(move |v| (name, &v.ty)));
        for (within, ty) in fields.chain(slots).chain(variables) {
            let (known, name) = match ty.innermost().0 {
                Type::Record(name) => (self.records.contains_key(name), name),
                Type::Enum(name) => (self.enums.contains_key(name), name),
                _ => continue,
            };
            if !known {
                return Err(What::Unknown { within: within.clone(), name: name.clone() });
            }
        }
        match self.services.values().find(|service| !self.records.contains_key(&service.payload)) {
            Some(service) => Err(What::Unknown { within: service.name.clone(), name: service.payload.clone() }),
            None => Ok(()),
        }
    }
}

struct Lines<'t> {
    lines: Vec<&'t str>,
    /// How many were read.
    at: usize,
}

impl<'t> Lines<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let line = self.lines.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    /// The next line, if it is indented.
    fn inner(&mut self) -> Option<&'t str> {
        let line = self.lines.get(self.at)?.strip_prefix("  ")?;
        self.at += 1;
        Some(line)
    }

    /// The number, or what else, behind a word.
    fn said(&mut self, word: &'static str) -> Result<&'t str, What> {
        let line = self.inner().unwrap_or_default();
        line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(|| expected(word, line))
    }

    /// What is behind a word, if that is the next line's.
    fn perhaps(&mut self, word: &'static str) -> Option<&'t str> {
        let line = self.lines.get(self.at)?.strip_prefix("  ")?.strip_prefix(word)?;
        let rest = if line.is_empty() { line } else { line.strip_prefix(' ')? };
        self.at += 1;
        Some(rest)
    }

    fn lock(&mut self) -> Result<Lock, What> {
        let first = self.next().unwrap_or_default();
        if first != FIRST {
            return Err(expected(FIRST, first));
        }
        let big_endian = match self.next().unwrap_or_default() {
            "order little" => false,
            "order big" => true,
            other => return Err(expected("order little, or order big", other)),
        };
        let mut lock = Lock { big_endian, ..Lock::default() };
        while let Some(line) = self.next() {
            if line.is_empty() {
                continue;
            }
            let (word, name) = line.split_once(' ').unwrap_or((line, ""));
            let declared = self.at;
            let new = match word {
                "set" => {
                    let (name, version) = name.split_once(" version ").ok_or_else(|| expected("a version", line))?;
                    lock.sets.insert(name.to_owned(), number(version)?).is_none()
                }
                "service" => {
                    let (name, rest) = name.split_once(" version ").ok_or_else(|| expected("a version", line))?;
                    let (version, of) = rest.split_once(" of ").ok_or_else(|| expected("of RECORD", line))?;
                    let (name, payload) = (name.to_owned(), of.to_owned());
                    let service = Service { name: name.clone(), version: number(version)?, payload };
                    lock.services.insert(name, service).is_none()
                }
                "record" | "union" => lock.records.insert(name.to_owned(), self.record(word == "union")?).is_none(),
                "numbers" => lock.numbers.insert(name.to_owned(), self.enumeration()?).is_none(),
                "enum" => lock.enums.insert(name.to_owned(), self.enumeration()?).is_none(),
                "map" => lock.maps.insert(name.to_owned(), self.map()?).is_none(),
                "section" => lock.sections.insert(name.to_owned(), self.section()?).is_none(),
                _ => return Err(expected("set, service, record, union, numbers, enum, map or section", line)),
            };
            if !new {
                self.at = declared;
                return Err(What::Twice { name: name.to_owned() });
            }
        }
        Ok(lock)
    }

    fn record(&mut self, union: bool) -> Result<Record, What> {
        let size = number(self.said("size")?)?;
        let align = self.perhaps("align").map(number).transpose()?;
        let (mut fields, mut names) = (Vec::new(), HashSet::new());
        while let Some(line) = self.inner() {
            let field = field(line)?;
            if !names.insert(field.name.clone()) {
                return Err(What::Twice { name: field.name });
            }
            fields.push(field);
        }
        Ok(Record { union, size, align, fields })
    }

    fn enumeration(&mut self) -> Result<Enum, What> {
        let size = number(self.said("size")?)?;
        let (mut values, mut retired, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        while let Some(line) = self.inner() {
            let (name, value) = line.split_once(" = ").ok_or_else(|| expected("NAME = NUMBER", line))?;
            if !names.insert(name) {
                return Err(What::Twice { name: name.to_owned() });
            }
            match value.strip_suffix(" retired") {
                Some(value) => retired.push((name.to_owned(), number(value)?)),
                None => values.push((name.to_owned(), number(value)?)),
            }
        }
        Ok(Enum { size, values, retired })
    }

    fn map(&mut self) -> Result<Map, What> {
        let kind = self.said("type")?;
        let kind = kinds::number(kind).ok_or_else(|| expected("a type of maps, or its number", kind))?;
        let (key, value) = (slot(self.said("key")?)?, slot(self.said("value")?)?);
        let (entries, flags) = (number(self.said("entries")?)?, hexadecimal(self.said("flags")?)?);
        let extra = self.perhaps("extra").map(hexadecimal).transpose()?.unwrap_or(0);
        let pinned = self.perhaps("pinned").is_some();
        Ok(Map { kind, key, value, entries, flags, extra, pinned })
    }

    fn section(&mut self) -> Result<Section, What> {
        let pinned = self.perhaps("pinned").is_some();
        let (mut variables, mut names) = (Vec::new(), HashSet::new());
        while let Some(line) = self.inner() {
            let (name, rest) = line.split_once(": ").ok_or_else(|| expected("NAME: TYPE", line))?;
            if !names.insert(name) {
                return Err(What::Twice { name: name.to_owned() });
            }
            let (spelled, place) = match rest.rsplit_once(" at ") {
                Some((spelled, place)) => (spelled, Some(number(place)?)),
                None => (rest, None),
            };
            variables.push(Variable { name: name.to_owned(), place, ty: ty(spelled, DEPTH)? });
        }
        Ok(Section { pinned, variables })
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, What> {
    text.parse().map_err(|_| expected("a number", text))
}

fn hexadecimal(text: &str) -> Result<u64, What> {
    let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or_else(|| expected("a hexadecimal number", text))
}

fn field(line: &str) -> Result<Field, What> {
    let wrong = || expected("NAME: TYPE at PLACE", line);
    let (name, rest) = line.split_once(": ").ok_or_else(wrong)?;
    let (spelled, place) = rest.rsplit_once(" at ").ok_or_else(wrong)?;
    let (place, unit) = match place.split_once(" unit ") {
        Some((place, unit)) => (place, Some(unit.to_owned())),
        None => (place, None),
    };
    let (bit, width) = match place.strip_prefix("bit ") {
        Some(bits) => {
            let (bit, width) = bits.split_once(" width ").ok_or_else(wrong)?;
            (number(bit)?, Some(number(width)?))
        }
        None => (number::<u64>(place)?.checked_mul(8).ok_or_else(wrong)?, None),
    };
    Ok(Field { name: name.to_owned(), bit, width, unit, ty: ty(spelled, DEPTH)? })
}

fn slot(text: &str) -> Result<Slot, What> {
    let (spelled, bytes) = text.rsplit_once(" of ").ok_or_else(|| expected("TYPE of BYTES", text))?;
    let ty = if spelled == "bytes" { None } else { Some(ty(spelled, DEPTH)?) };
    Ok(Slot { ty, bytes: number(bytes)? })
}

pub(crate) fn ty(text: &str, depth: u32) -> Result<Type, What> {
    let wrong = || expected("a type", text);
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let (element, length) = inner.rsplit_once("; ").ok_or_else(wrong)?;
        let depth = depth.checked_sub(1).ok_or_else(wrong)?;
        return Ok(Type::Array { element: Box::new(ty(element, depth)?), length: number(length)? });
    }
    if let Some(name) = text.strip_prefix("record ") {
        return Ok(Type::Record(name.to_owned()));
    }
    if let Some(name) = text.strip_prefix("enum ") {
        return Ok(Type::Enum(name.to_owned()));
    }
    let bytes = |digits: &str| {
        let bits = digits.parse::<u64>().ok().filter(|bits| *bits > 0 && bits.is_multiple_of(8));
        bits.map(|bits| bits / 8).ok_or_else(wrong)
    };
    if let Some((bits, to)) = text.strip_prefix("ptr").and_then(|rest| rest.split_once(' ')) {
        return Ok(Type::Pointer { bytes: bytes(bits)?, to: to.to_owned() });
    }
    if let Some(bits) = text.strip_prefix("bool") {
        return Ok(Type::Bool { bytes: if bits.is_empty() { 1 } else { bytes(bits)? } });
    }
    let (first, rest) = text.split_at_checked(1).ok_or_else(wrong)?;
    let (digits, big) = rest.strip_suffix("be").map_or((rest, false), |digits| (digits, true));
    match first {
        "u" | "i" => Ok(Type::Integer { signed: first == "i", bytes: bytes(digits)?, big }),
        "f" => Ok(Type::Float { bytes: bytes(rest)? }),
        _ => Err(wrong()),
    }
}
