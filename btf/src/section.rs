//! One BTF section: its header checked, its records walked once, its words read in its byte order.

use std::ops::Range;

use crate::btf::Btf;
use crate::bytes::Bytes;
use crate::error::Defect;
use crate::index::{Entry, Index, hash_in};
use crate::record::Kind;

const HEADER: usize = 24;
const RECORD: usize = 12;
/// Not every record's place is kept: from the nearest one that is, at most seven records are passed over. That takes an
/// eighth of the memory, whose page faults cost more than the steps.
const STRIDE: u32 = 8;

/// The first three words of each record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) name: u32,
    pub(crate) info: u32,
    /// A size or a type, depending on the kind.
    pub(crate) tail: u32,
}

/// The bytes, and where in them what is. All records were walked: those places are inside of the bytes.
pub(crate) struct Section {
    bytes: Bytes,
    big_endian: bool,
    types: Range<usize>,
    strings: Range<usize>,
    /// Of every `STRIDE`th record, from the start of the types.
    places: Vec<u32>,
    pub(crate) count: u32,
    /// Types that a path can start from.
    pub(crate) names: Index,
}

/// Ids and strings that come before those of a split BTF.
#[derive(Clone, Copy, Default)]
pub(crate) struct Before {
    pub(crate) types: u32,
    pub(crate) strings: u32,
}

impl Section {
    /// `range` is where in the bytes the section is; ids and strings are counted from `before`, where its base ends.
    pub(crate) fn parse(bytes: Bytes, range: Range<usize>, before: Before, base: Option<&Btf>) -> Result<Self, Defect> {
        let header = Header::read(&bytes[range.clone()])?;
        if base.is_some_and(|base| base.is_big_endian() != header.big_endian) {
            return Err(Defect::ByteOrder);
        }
        let (types, strings) = (header.types, header.strings);
        let types = types.start + range.start..types.end + range.start;
        let strings = strings.start + range.start..strings.end + range.start;
        let text = &bytes[strings.clone()];
        // A split BTF may have no string of its own.
        let sound = match (base, text) {
            (Some(_), []) => true,
            (None, [first, .., last]) => (*first, *last) == (0, 0),
            (_, [.., last]) => *last == 0,
            (None, []) => false,
        };
        if !sound {
            return Err(Defect::Strings);
        }
        let walk = Walk { types: &bytes[types.clone()], big_endian: header.big_endian, before, text, base };
        let (places, named, count) = walk.records()?;
        let names = Index::new(&named);
        Ok(Self { big_endian: header.big_endian, types, strings, places, count, names, bytes })
    }

    pub(crate) fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    fn records(&self) -> &[u8] {
        &self.bytes[self.types.clone()]
    }

    /// All strings, with the NULs between them.
    pub(crate) fn strings(&self) -> &[u8] {
        &self.bytes[self.strings.clone()]
    }

    /// The word at this place behind the start of the types.
    pub(crate) fn word(&self, at: usize) -> u32 {
        // Whoever asks has a place from a record, and all of those were walked.
        word(&self.records()[at..], self.big_endian)
    }

    /// The head of the record at this place.
    pub(crate) fn head(&self, at: usize) -> Head {
        Head { name: self.word(at), info: self.word(at + 4), tail: self.word(at + 8) }
    }

    /// Where the record of this number is, counted from 0 in this section. It must be below `count`.
    pub(crate) fn place(&self, number: u32) -> usize {
        let mut at = self.places[(number / STRIDE) as usize] as usize;
        for _ in 0..number % STRIDE {
            at = self.after(at);
        }
        at
    }

    /// Where the record behind the one at this place is.
    pub(crate) fn after(&self, at: usize) -> usize {
        // The kinds of all records were looked at.
        at + length(self.word(at + 4)).unwrap_or(RECORD)
    }
}

struct Header {
    big_endian: bool,
    types: Range<usize>,
    strings: Range<usize>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Defect> {
        if bytes.len() < HEADER {
            return Err(Defect::ShortHeader { length: bytes.len() });
        }
        let big_endian = bytes[..2] == [0xeb, 0x9f];
        let (version, flags) = (bytes[2], bytes[3]);
        if version != 1 {
            return Err(Defect::Version { found: version });
        }
        if flags != 0 {
            return Err(Defect::Flags { found: flags });
        }
        let word = |at: usize| word(&bytes[at..], big_endian);
        // A longer header has fields that a reader of this version may leave alone.
        let length = word(4);
        let available = bytes.len().checked_sub(length as usize).filter(|_| length as usize >= HEADER);
        let available = available.ok_or(Defect::HeaderLength { found: length })?;
        let part = |part, offset: u32, size: u32| {
            let end = u64::from(offset) + u64::from(size);
            if end > available as u64 || (part == "types" && !offset.is_multiple_of(4)) {
                return Err(Defect::Part { part, offset, length: size, available });
            }
            let start = length as usize + offset as usize;
            Ok(start..start + size as usize)
        };
        let types = part("types", word(8), word(12))?;
        let strings = part("strings", word(16), word(20))?;
        if types.start < strings.end && strings.start < types.end {
            return Err(Defect::Overlap);
        }
        Ok(Self { big_endian, types, strings })
    }
}

/// The one pass over all records.
struct Walk<'w> {
    types: &'w [u8],
    big_endian: bool,
    before: Before,
    text: &'w [u8],
    base: Option<&'w Btf>,
}

impl Walk<'_> {
    fn records(&self) -> Result<(Vec<u32>, Vec<Entry>, u32), Defect> {
        // The byte order is asked once and not for each word.
        if self.big_endian { self.in_order(u32::from_be_bytes) } else { self.in_order(u32::from_le_bytes) }
    }

    #[inline(always)]
    fn in_order(&self, order: impl Fn([u8; 4]) -> u32) -> Result<(Vec<u32>, Vec<Entry>, u32), Defect> {
        let strings = u64::from(self.before.strings) + self.text.len() as u64;
        // A guess that saves growing: records of vmlinux have 25 bytes on average.
        let mut places = Vec::with_capacity(self.types.len() / 25 / STRIDE as usize + 1);
        let mut named = Vec::with_capacity(self.types.len() / 200);
        let (mut at, mut number) = (0, 0u32);
        while at < self.types.len() {
            let id = self.before.types.checked_add(number).ok_or(Defect::TooLarge)?;
            let truncated = Defect::TruncatedType { id, at };
            let Some(head) = self.types.get(at..at + RECORD) else { return Err(truncated) };
            let word = |place: usize| order(head[place..].first_chunk().copied().unwrap_or_default());
            let (name, info) = (word(0), word(4));
            let Some(length) = length(info) else {
                return Err(match kind_bits(info) {
                    found if found == 0 || found > Kind::LAST => Defect::UnknownKind { id, found },
                    _ => Defect::ReservedBits { id, info },
                });
            };
            if length > self.types.len() - at {
                return Err(truncated);
            }
            if u64::from(name) >= strings && name != 0 {
                return Err(Defect::Name { offset: name });
            }
            if number.is_multiple_of(STRIDE) {
                // Lengths are words of the header: 32 bits hold every place.
                places.push(at as u32);
            }
            if name != 0 && ROOTS >> kind_bits(info) & 1 != 0 {
                let name = self.strings_from(name);
                // An empty name is none, wherever it is.
                if !matches!(name, [] | [0, ..]) {
                    named.push(Entry { hash: hash_in(name), id });
                }
            }
            at += length;
            number += 1;
        }
        Ok((places, named, number))
    }

    fn strings_from(&self, offset: u32) -> &[u8] {
        let found = match (offset.checked_sub(self.before.strings), self.base) {
            (Some(own), _) => self.text.get(own as usize..),
            (None, base) => base.and_then(|base| base.strings_from(offset).ok()),
        };
        found.unwrap_or_default()
    }
}

/// Kinds that are looked up by name often enough to be indexed in the first pass; functions, half of all records, are
/// not.
const ROOTS: u32 = 1 << Kind::Int as u32
    | 1 << Kind::Struct as u32
    | 1 << Kind::Union as u32
    | 1 << Kind::Enum as u32
    | 1 << Kind::Fwd as u32
    | 1 << Kind::Typedef as u32
    | 1 << Kind::Float as u32
    | 1 << Kind::Enum64 as u32;

/// Whether types of this kind are in the index of the first pass.
pub(crate) fn is_root(kind: Kind) -> bool {
    ROOTS >> kind as u32 & 1 != 0
}

fn word(bytes: &[u8], big_endian: bool) -> u32 {
    let word = bytes.first_chunk().copied().unwrap_or_default();
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

fn kind_bits(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes of a whole record, from its head; none for a kind that is unknown, and where reserved bits say that the format
/// is another one.
fn length(info: u32) -> Option<usize> {
    let (fixed, each) = *LENGTHS.get(kind_bits(info) as usize)?;
    let sound = fixed != 0 && info & 0x60ff_0000 == 0;
    sound.then(|| fixed as usize + each as usize * (info & 0xffff) as usize)
}

/// By kind: bytes of the record, and of each member, enumerator, parameter or variable. Zero for no kind.
const LENGTHS: [(u8, u8); 20] = {
    let mut lengths = [(12, 0); 20];
    lengths[0] = (0, 0);
    lengths[Kind::Int as usize] = (16, 0);
    lengths[Kind::Array as usize] = (24, 0);
    lengths[Kind::Struct as usize] = (12, 12);
    lengths[Kind::Union as usize] = (12, 12);
    lengths[Kind::Enum as usize] = (12, 8);
    lengths[Kind::FuncProto as usize] = (12, 8);
    lengths[Kind::Var as usize] = (16, 0);
    lengths[Kind::Datasec as usize] = (12, 12);
    lengths[Kind::DeclTag as usize] = (16, 0);
    lengths[Kind::Enum64 as usize] = (12, 12);
    lengths
};
