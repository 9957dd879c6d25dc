//! BTF to the types of a lock: other names resolved, members without a name taken for their record's own.

use std::collections::{BTreeMap, HashMap, HashSet};

use gabion_btf::{Btf, Kind, Type as Found};

use crate::error::{Error, checked};
use crate::model::{Enum, Field, Lock, Record, Type};

/// Types within types.
const DEPTH: u32 = 32;
/// Fields and values of all records and enums.
const MANY: usize = 1 << 17;
/// Types of one name that are not the same.
const SAME: usize = 100;

/// Puts types of an object into a lock.
pub(crate) struct Types<'b> {
    pub(crate) btf: &'b Btf,
    pub(crate) lock: Lock,
    /// Types that were met, with their bytes.
    known: HashMap<u32, (Type, u64)>,
    /// Records that are being read: what is met again contains itself.
    open: HashSet<u32>,
    /// Fields and values so far.
    count: usize,
}

impl<'b> Types<'b> {
    /// Records that the lock has already are those of the same name and size.
    pub(crate) fn new(btf: &'b Btf, lock: Lock) -> Self {
        Self { btf, lock, known: HashMap::new(), open: HashSet::new(), count: 0 }
    }

    /// The type behind other names and qualifiers, and the last of those names.
    pub(crate) fn plain(&self, id: u32, within: &str) -> Result<(Found<'b>, Option<&'b str>), Error> {
        let (mut found, mut alias) = (self.btf.get(id)?, None);
        for _ in 0..DEPTH {
            if !found.kind().is_modifier() {
                return Ok((found, alias));
            }
            if found.kind() == Kind::Typedef {
                alias = Some(found.name()?);
            }
            found = self.btf.get(found.target().unwrap_or(0))?;
        }
        Err(Error::Deep { within: within.to_owned(), limit: DEPTH })
    }

    /// A type and its bytes. `within` is the place that is of it, which also names what has no name.
    pub(crate) fn of(&mut self, id: u32, within: &str) -> Result<(Type, u64), Error> {
        self.within(id, within, DEPTH)
    }

    fn within(&mut self, id: u32, within: &str, depth: u32) -> Result<(Type, u64), Error> {
        let deep = || Error::Deep { within: within.to_owned(), limit: DEPTH };
        let depth = depth.checked_sub(1).ok_or_else(deep)?;
        let (found, alias) = self.plain(id, within)?;
        if let Some(known) = self.known.get(&found.id()) {
            return Ok(known.clone());
        }
        let no_size = || Error::NoSize { within: within.to_owned(), found: self.btf.describe(id) };
        let bytes = u64::from(found.size().unwrap_or(0));
        let named = match found.name()? {
            "" => alias.unwrap_or(within),
            name => name,
        };
        let new = match found.kind() {
            Kind::Int => {
                let int = found.int().ok_or_else(no_size)?;
                if !matches!(bytes, 1 | 2 | 4 | 8 | 16) {
                    return Err(no_size());
                }
                let ty = if int.boolean {
                    Type::Bool { bytes }
                } else {
                    Type::Integer { signed: int.signed, bytes, big: false }
                };
                (ty, bytes)
            }
            Kind::Float if matches!(bytes, 2 | 4 | 8 | 10 | 12 | 16) => (Type::Float { bytes }, bytes),
            Kind::Ptr => {
                let bytes = u64::from(self.btf.pointer_size());
                let to = self.pointed(found.target().unwrap_or(0), within)?;
                (Type::Pointer { bytes, to }, bytes)
            }
            Kind::Array => {
                let (element, size) = self.within(found.target().unwrap_or(0), within, depth)?;
                let length = u64::from(found.elements().unwrap_or(0));
                let bytes = size.checked_mul(length).ok_or_else(no_size)?;
                (Type::Array { element: Box::new(element), length }, bytes)
            }
            Kind::Struct | Kind::Union => (self.record(found, named, depth)?, bytes),
            Kind::Enum | Kind::Enum64 if matches!(bytes, 1 | 2 | 4 | 8) => (self.enumeration(found, named)?, bytes),
            _ => return Err(no_size()),
        };
        self.known.insert(found.id(), new.clone());
        Ok(new)
    }

    /// What a pointer points to, in one word.
    fn pointed(&self, id: u32, within: &str) -> Result<String, Error> {
        let (found, alias) = self.plain(id, within)?;
        let word = match (found.kind(), found.name()?) {
            (Kind::Void, _) => "void",
            (Kind::Ptr, _) => "pointer",
            (Kind::FuncProto, _) => "function",
            (Kind::Array, _) => "array",
            (_, "") => alias.unwrap_or("unnamed"),
            (_, name) => name,
        };
        checked(word).map(str::to_owned)
    }

    fn record(&mut self, found: Found<'b>, name: &str, depth: u32) -> Result<Type, Error> {
        let name = checked(name)?;
        let size = u64::from(found.size().unwrap_or(0));
        // What has a contract is said by it, with units.
        let contracted = |record: &Record| record.align.is_some() && record.size == size;
        if self.lock.records.get(name).is_some_and(contracted) {
            return Ok(Type::Record(name.to_owned()));
        }
        if !self.open.insert(found.id()) {
            return Err(Error::Deep { within: name.to_owned(), limit: DEPTH });
        }
        let mut fields = Vec::new();
        self.members(found, name, [0, size.saturating_mul(8)], &mut fields, depth)?;
        self.open.remove(&found.id());
        let mut names = HashSet::new();
        if let Some(field) = fields.iter().find(|field| !names.insert(field.name.as_str())) {
            return Err(Error::Twice { within: name.to_owned(), name: field.name.clone() });
        }
        let record = Record { union: found.kind() == Kind::Union, size, align: None, fields };
        put(&mut self.lock.records, name, record).map(Type::Record)
    }

    /// Members of a struct or union that begins and ends at those bits of the record.
    fn members(
        &mut self,
        found: Found<'b>,
        name: &str,
        [start, end]: [u64; 2],
        fields: &mut Vec<Field>,
        depth: u32,
    ) -> Result<(), Error> {
        let deep = || Error::Deep { within: name.to_owned(), limit: DEPTH };
        let depth = depth.checked_sub(1).ok_or_else(deep)?;
        for member in found.members() {
            self.spend()?;
            let bit = start + u64::from(member.bit_offset);
            let member_name = member.name()?;
            let outside = |within: String| Error::Outside { within, size: end / 8 };
            let (plain, _) = self.plain(member.type_id, name)?;
            if member_name.is_empty() {
                if plain.kind().is_composite() {
                    let inner = bit.saturating_add(u64::from(plain.size().unwrap_or(0)) * 8);
                    if inner > end || !bit.is_multiple_of(8) {
                        return Err(outside(format!("a member without a name of {name}")));
                    }
                    self.members(plain, name, [bit, inner], fields, depth)?;
                }
                // Other members without a name are padding between bit-fields.
                continue;
            }
            let within = format!("{name}.{}", checked(member_name)?);
            let (ty, bytes) = self.within(member.type_id, &within, depth)?;
            // Older compilers say in the type which bits of it there are.
            let narrow = plain.int().filter(|int| u64::from(int.bits) < bytes * 8);
            let (bit, width) = match (member.bits, narrow) {
                (0, Some(int)) => (bit + u64::from(int.offset), Some(int.bits)),
                (0, None) => (bit, None),
                (width, _) => (bit, Some(width)),
            };
            let bits = width.map_or(bytes.saturating_mul(8), u64::from);
            let aligned = width.is_some() || bit.is_multiple_of(8);
            if bit.saturating_add(bits) > end || !aligned {
                return Err(outside(within));
            }
            fields.push(Field { name: member_name.to_owned(), bit, width, unit: None, ty });
        }
        Ok(())
    }

    fn enumeration(&mut self, found: Found<'b>, name: &str) -> Result<Type, Error> {
        let name = checked(name)?;
        let mut values = Vec::new();
        let mut names = HashSet::new();
        for value in found.enumerators() {
            self.spend()?;
            let word = checked(value.name()?)?;
            if !names.insert(word) {
                return Err(Error::Twice { within: name.to_owned(), name: word.to_owned() });
            }
            values.push((word.to_owned(), value.value));
        }
        let new = Enum { size: u64::from(found.size().unwrap_or(0)), values, retired: Vec::new() };
        put(&mut self.lock.enums, name, new).map(Type::Enum)
    }

    fn spend(&mut self) -> Result<(), Error> {
        self.count += 1;
        if self.count > MANY { Err(Error::Many { what: "fields and values", limit: MANY }) } else { Ok(()) }
    }
}

/// Declares something by its name, or by its name and a number where another one has it; the name that it got.
fn put<T: PartialEq>(declared: &mut BTreeMap<String, T>, name: &str, new: T) -> Result<String, Error> {
    let numbered = (2..=SAME).map(|number| format!("{name}#{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| declared.get(name).is_none_or(|other| *other == new));
    let name = free.ok_or(Error::Many { what: "different types of one name", limit: SAME })?;
    declared.insert(name.clone(), new);
    Ok(name)
}
