//! Text to contracts. The text is hostile: it may be long, deep, cut off, or lie about sizes and digests.

mod names;

use std::collections::HashMap;

use crate::digest::digest;
use crate::layout::{Contracts, Field, Layout, Place, Record, Service, Type};
use names::{Spelled, end, identifier, keyword, number, spelled, word};

/// Longest text.
pub const BYTES: usize = 1 << 20;
/// Longest line.
const LINE: usize = 512;
/// Records within records.
const DEPTH: usize = 16;
/// Fields of a record, and lines of a set that declare something.
const MANY: usize = 1024;
/// Largest alignment: a page.
const ALIGN: u64 = 4096;

/// A text that is no contract.
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
    #[error("{bytes} bytes, the limit is {limit}")]
    Long {
        /// How long.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It is not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// Something else is there than has to be.
    #[error("expected {expected}, found {found:?}")]
    Expected {
        /// What has to be there.
        expected: String,
        /// The beginning of what is there.
        found: String,
    },
    /// There are too many of something.
    #[error("more than {limit} {what}")]
    Many {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Records lie within records too deep.
    #[error("more than {limit} records lie within each other")]
    Deep {
        /// How deep they may lie.
        limit: usize,
    },
    /// The digest is not that of the text.
    #[error("the digest of {name} is said to be {said:016x} and is {is:016x}: the text was damaged or edited")]
    Digest {
        /// The record.
        name: String,
        /// What the text says.
        said: u64,
        /// What it is.
        is: u64,
    },
    /// Sizes, places and alignments contradict each other.
    #[error("{name}: {what} is said to be {said} and must be {must}")]
    Layout {
        /// The record or field.
        name: String,
        /// Which number.
        what: &'static str,
        /// What the text says.
        said: u64,
        /// What it has to be.
        must: u64,
    },
    /// An alignment that there is not.
    #[error("{name}: an alignment is a power of two up to {ALIGN}, not {said}")]
    Align {
        /// The record.
        name: String,
        /// What the text says.
        said: u64,
    },
    /// Two things of one name.
    #[error("{name} is declared twice, and differently; rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// A record that is nowhere declared.
    #[error("{name} is nowhere declared in this text")]
    Unknown {
        /// Its name.
        name: String,
    },
}

impl Contracts {
    /// Reads a text.
    ///
    /// # Errors
    /// Where it is not canonical, contradicts itself, or is beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let whole = |what| Malformed { line: 0, what };
        if bytes.len() > BYTES {
            return Err(whole(What::Long { bytes: bytes.len(), limit: BYTES }));
        }
        let text = str::from_utf8(bytes).map_err(|_| whole(What::NotText))?;
        let mut reader = Reader { text, at: 0, line: 0, layouts: HashMap::new() };
        reader.set().map_err(|what| Malformed { line: reader.line, what })
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Where the next line begins.
    at: usize,
    /// The number of the line that was read last.
    line: usize,
    /// Every record that was seen, within others too.
    layouts: HashMap<String, Layout>,
}

impl<'t> Reader<'t> {
    /// The next line without its end, if there is one.
    fn next(&self) -> Option<&'t str> {
        let rest = &self.text[self.at..];
        (!rest.is_empty()).then(|| rest.split('\n').next().unwrap_or_default())
    }

    /// Reads a line.
    fn take(&mut self, expected: &'static str) -> Result<&'t str, What> {
        self.line += 1;
        let line = self.next().ok_or_else(|| names::expected(expected, ""))?;
        if line.len() > LINE {
            return Err(What::Long { bytes: line.len(), limit: LINE });
        }
        self.at += line.len();
        if !self.text[self.at..].starts_with('\n') {
            return Err(names::expected("a line feed at the end", ""));
        }
        self.at += 1;
        Ok(line)
    }

    fn set(&mut self) -> Result<Contracts, What> {
        let first = self.take("gabion contracts 1")?;
        end(keyword(first, "gabion contracts 1")?)?;
        let line = self.take("set NAME version NUMBER")?;
        let (name, rest) = word(keyword(line, "set ")?)?;
        let (version, rest) = number(keyword(rest, " version ")?)?;
        end(rest)?;
        let (version, name) = (small(version)?, name.to_owned());
        let mut found = Contracts { name, version, records: Vec::new(), places: Vec::new(), services: Vec::new() };
        let mut names = HashMap::new();
        let mut wanted = Vec::new();
        while let Some(line) = self.next() {
            let kind = line.split(' ').next().unwrap_or_default();
            let name = match kind {
                "contract" => {
                    let record = self.contract()?;
                    let name = record.layout.name.clone();
                    found.records.push(record);
                    name
                }
                "map" => {
                    let (place, records) = place(self.take("a map")?)?;
                    wanted.extend(records.into_iter().map(|record| (self.line, record)));
                    let name = place.name.clone();
                    found.places.push(place);
                    name
                }
                "service" => {
                    let service = service(self.take("a service")?)?;
                    wanted.push((self.line, service.payload.clone()));
                    let name = service.name.clone();
                    found.services.push(service);
                    name
                }
                _ => {
                    self.line += 1;
                    return Err(names::expected("contract, map or service", line));
                }
            };
            if names.len() == MANY {
                return Err(What::Many { what: "records, maps and services", limit: MANY });
            }
            if names.insert((kind, name.clone()), ()).is_some() {
                return Err(What::Twice { name });
            }
        }
        for (line, name) in wanted {
            if !names.contains_key(&("contract", name.clone())) {
                self.line = line;
                return Err(What::Unknown { name });
            }
        }
        Ok(found)
    }

    fn contract(&mut self) -> Result<Record, What> {
        let expected = "contract DIGEST NAME";
        let line = self.take(expected)?;
        let rest = keyword(line, "contract ")?;
        let digits = rest.get(..16).filter(|text| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        let said = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let said = said.ok_or_else(|| names::expected("16 hexadecimal digits", rest))?;
        let (name, rest) = spelled(keyword(&rest[16..], " ")?)?;
        end(rest)?;
        let Spelled::Record(name) = name else {
            return Err(names::expected("the name of a record", line));
        };
        let (at, first) = (self.at - name.len() - 1, self.line);
        let layout = self.layout(name, 1)?;
        let signature = self.text[at..self.at].to_owned();
        let is = digest(&signature);
        if is != said {
            self.line = first;
            return Err(What::Digest { name: layout.name, said, is });
        }
        Ok(Record { digest: is, signature, layout })
    }

    /// The lines of a record, which are indented by `depth`.
    fn layout(&mut self, name: String, depth: usize) -> Result<Layout, What> {
        if depth > DEPTH {
            return Err(What::Deep { limit: DEPTH });
        }
        let indent = "  ".repeat(depth);
        let line = self.take("size BYTES align BYTES")?;
        let (size, rest) = number(keyword(keyword(line, &indent)?, "size ")?)?;
        let (align, rest) = number(keyword(rest, " align ")?)?;
        end(rest)?;
        if !align.is_power_of_two() || align > ALIGN {
            return Err(What::Align { name, said: align });
        }
        let mut layout = Layout { name, size, align, fields: Vec::new() };
        let mut position = 0_u64;
        while let Some(line) = self.next().and_then(|line| line.strip_prefix(&indent)) {
            let field = self.field(line, depth)?;
            let wrong = |what, said, must| What::Layout { name: field.name.clone(), what, said, must };
            if field.offset != position {
                return Err(wrong("the place", field.offset, position));
            }
            let align = field.ty.align();
            if !position.is_multiple_of(align) {
                return Err(wrong("the place", position, position.next_multiple_of(align)));
            }
            if align > layout.align {
                return Err(wrong("the alignment of its record", layout.align, align));
            }
            let too_large = || wrong("the size of its record", layout.size, u64::MAX);
            position = field.ty.size().and_then(|size| position.checked_add(size)).ok_or_else(too_large)?;
            if layout.fields.iter().any(|other: &Field| other.name == field.name) {
                return Err(What::Twice { name: field.name });
            }
            if layout.fields.len() == MANY {
                return Err(What::Many { what: "fields", limit: MANY });
            }
            layout.fields.push(field);
        }
        if layout.fields.is_empty() {
            return Err(names::expected("a field", self.next().unwrap_or_default()));
        }
        let must = position.next_multiple_of(align);
        if position != size || must != size {
            return Err(What::Layout { name: layout.name, what: "the size", said: size, must });
        }
        match self.layouts.get(&layout.name) {
            Some(known) if *known != layout => Err(What::Twice { name: layout.name }),
            Some(_) => Ok(layout),
            None => {
                self.layouts.insert(layout.name.clone(), layout.clone());
                Ok(layout)
            }
        }
    }

    fn field(&mut self, line: &str, depth: usize) -> Result<Field, What> {
        self.take("a field")?;
        let (name, rest) = identifier(line)?;
        let (ty, rest) = spelled(keyword(rest, ": ")?)?;
        let (offset, rest) = number(keyword(rest, " at ")?)?;
        let unit = if rest.is_empty() {
            None
        } else {
            let (unit, rest) = names::unit(keyword(rest, " unit ")?)?;
            end(rest)?;
            Some(unit.to_owned())
        };
        let ty = self.resolve(ty, depth)?;
        Ok(Field { name: name.to_owned(), offset, unit, ty })
    }

    /// A type, whose record stands in the lines that follow.
    fn resolve(&mut self, ty: Spelled, depth: usize) -> Result<Type, What> {
        Ok(match ty {
            Spelled::Integer { signed, bytes, big } => Type::Integer { signed, bytes, big },
            Spelled::Array { element, length } => {
                Type::Array { element: Box::new(self.resolve(*element, depth)?), length }
            }
            Spelled::Record(name) => Type::Record(Box::new(self.layout(name, depth + 1)?)),
        })
    }
}

/// A map, and the records that it names.
fn place(line: &str) -> Result<(Place, Vec<String>), What> {
    let (name, rest) = word(keyword(line, "map ")?)?;
    let (kind, rest) = word(keyword(rest, " ")?)?;
    let (first, rest) = spelled(keyword(rest, " of ")?)?;
    let (key, value) = if rest.is_empty() {
        (None, first)
    } else {
        let (value, rest) = spelled(keyword(rest, " to ")?)?;
        end(rest)?;
        (Some(first), value)
    };
    let records = key.iter().chain([&value]).filter_map(|ty| ty.record().map(str::to_owned)).collect();
    let key = key.map(|key| key.to_string());
    Ok((Place { name: name.to_owned(), kind: kind.to_owned(), key, value: value.to_string() }, records))
}

fn service(line: &str) -> Result<Service, What> {
    let (name, rest) = word(keyword(line, "service ")?)?;
    let (version, rest) = number(keyword(rest, " version ")?)?;
    let (payload, rest) = spelled(keyword(rest, " of ")?)?;
    end(rest)?;
    Ok(Service { name: name.to_owned(), version: small(version)?, payload: payload.to_string() })
}

fn small(number: u64) -> Result<u32, What> {
    u32::try_from(number).map_err(|_| names::expected("a number of 32 bits", &number.to_string()))
}
