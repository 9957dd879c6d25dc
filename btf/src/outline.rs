//! A type with all that is in it, for people: as C declares it, with places and sizes.

use std::fmt;

use crate::btf::Btf;
use crate::error::{Defect, Error};
use crate::record::{Kind, Member, Type};

/// Structs and unions within one another.
const DEPTH: u32 = 32;
/// Members and values in all.
const WORK: u32 = 1 << 17;

/// A type, or a member of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What C writes before the name: `struct list_head`, `unsigned int`. Of what shows its members, this is what they
    /// are in.
    pub of: String,
    /// The name with all that C writes around it: `*next`, `comm[16]`; empty if it has none.
    pub declarator: String,
    /// The name of a member; empty if it has none.
    pub name: String,
    /// Bits from the beginning of the outermost type.
    pub bit_offset: u64,
    /// Bytes; those of its type for a bit-field.
    pub size: u64,
    /// Bits, if it is a bit-field.
    pub bits: Option<u32>,
    /// Members, of the type itself and of what has no name to look it up by.
    pub members: Option<Vec<Self>>,
    /// Names and values of an enum.
    pub values: Option<Vec<(String, i128)>>,
}

impl Btf {
    /// All types of a name as [`Btf::type_named`] takes it: a kernel has a few that share one.
    ///
    /// # Errors
    /// When there is none, or when it is not sound.
    pub fn outlines(&self, name: &str) -> Result<Vec<Outline>, Error> {
        let mut drawer = Drawer { btf: self, left: WORK };
        let drawn: Result<Vec<_>, _> = self.all_named(name).map(|found| drawer.root(found)).collect();
        match drawn? {
            none if none.is_empty() => Err(self.absent_named(name)),
            drawn => Ok(drawn),
        }
    }
}

struct Drawer<'b> {
    btf: &'b Btf,
    left: u32,
}

impl<'b> Drawer<'b> {
    fn root(&mut self, found: Type<'b>) -> Result<Outline, Error> {
        let (id, name) = (found.id(), found.name()?.to_owned());
        let size = self.size(found)?.unwrap_or(0);
        let (mut of, mut declarator) = (self.btf.describe(id), String::new());
        let mut inner = found;
        if found.kind() == Kind::Typedef {
            let target = found.target().unwrap_or(0);
            (of, declarator) = self.btf.declared(target, &name);
            inner = self.nameless(target)?.unwrap_or(found);
            of = format!("typedef {}", if inner.id() == id { of } else { word(inner) });
        }
        let members = self.members(inner, 0, DEPTH)?;
        let values = self.values(inner)?;
        Ok(Outline { of, declarator, name, bit_offset: 0, size, bits: None, members, values })
    }

    fn members(&mut self, within: Type<'b>, start: u64, depth: u32) -> Result<Option<Vec<Outline>>, Error> {
        if !within.kind().is_composite() {
            return Ok(None);
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.btf.error(Defect::TooDeep { id: within.id(), limit: DEPTH }));
        };
        within.members().map(|member| self.member(within, member, start, depth)).collect::<Result<_, _>>().map(Some)
    }

    fn member(&mut self, within: Type<'b>, member: Member<'b>, start: u64, depth: u32) -> Result<Outline, Error> {
        self.spend()?;
        let found = self.btf.get(member.type_id)?;
        let Some(size) = self.size(found)? else {
            let kind = found.kind();
            return Err(self.btf.error(Defect::NoSize { id: member.type_id, kind }));
        };
        // Older compilers say in the type which bits of it there are.
        let narrow = self.plain(member.type_id)?.int().filter(|int| u64::from(int.bits) < size * 8);
        let (more, bits) = match (member.bits, narrow) {
            (0, Some(int)) => (int.offset, Some(int.bits)),
            (0, None) => (0, None),
            (width, _) => (0, Some(width)),
        };
        let (offset, width) = (u64::from(member.bit_offset) + u64::from(more), bits.map_or(size * 8, u64::from));
        if offset + width > u64::from(within.size().unwrap_or(0)) * 8 {
            let (id, offset) = (within.id(), member.bit_offset);
            return Err(self.btf.error(Defect::Outside { id, offset, bits: width }));
        }
        let name = member.name()?.to_owned();
        let (mut of, mut declarator) = self.btf.declared(member.type_id, &name);
        if let Some(bits) = bits {
            declarator = format!("{declarator} : {bits}");
        }
        let bit_offset = start + offset;
        let mut outline = Outline { of, declarator, name, bit_offset, size, bits, members: None, values: None };
        if let Some(inner) = self.nameless(member.type_id)? {
            of = word(inner);
            outline.members = self.members(inner, bit_offset, depth)?;
            outline.values = self.values(inner)?;
            outline.of = of;
        }
        Ok(outline)
    }

    fn values(&mut self, found: Type<'b>) -> Result<Option<Vec<(String, i128)>>, Error> {
        if !matches!(found.kind(), Kind::Enum | Kind::Enum64) {
            return Ok(None);
        }
        let mut values = Vec::new();
        for value in found.enumerators() {
            self.spend()?;
            values.push((value.name()?.to_owned(), value.value));
        }
        Ok(Some(values))
    }

    /// What a type is made of by value, if that has no name to look it up by.
    fn nameless(&self, id: u32) -> Result<Option<Type<'b>>, Error> {
        let mut found = self.btf.get(id)?;
        for _ in 0..DEPTH {
            match found.kind() {
                Kind::Array | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    found = self.btf.get(found.target().unwrap_or(0))?;
                }
                Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 if found.name()?.is_empty() => {
                    return Ok(Some(found));
                }
                _ => return Ok(None),
            }
        }
        Err(self.btf.error(Defect::TooDeep { id, limit: DEPTH }))
    }

    /// Behind other names and qualifiers.
    fn plain(&self, id: u32) -> Result<Type<'b>, Error> {
        let mut found = self.btf.get(id)?;
        for _ in 0..DEPTH {
            if !found.kind().is_modifier() {
                return Ok(found);
            }
            found = self.btf.get(found.target().unwrap_or(0))?;
        }
        Err(self.btf.error(Defect::TooDeep { id, limit: DEPTH }))
    }

    /// Bytes, of what has any.
    fn size(&self, found: Type<'b>) -> Result<Option<u64>, Error> {
        let (mut found, mut times) = (found, 1u64);
        for _ in 0..DEPTH {
            let one = match found.kind() {
                Kind::Ptr => Some(u64::from(self.btf.pointer_size())),
                Kind::Array => {
                    let length = u64::from(found.elements().unwrap_or(0));
                    times = times
                        .checked_mul(length)
                        .filter(|times| *times <= u64::from(u32::MAX))
                        .ok_or_else(|| self.btf.error(Defect::TooLong { id: found.id() }))?;
                    found = self.btf.get(found.target().unwrap_or(0))?;
                    continue;
                }
                kind if kind.is_modifier() => {
                    found = self.btf.get(found.target().unwrap_or(0))?;
                    continue;
                }
                _ => found.size().map(u64::from),
            };
            // Both factors are below 2^32.
            return Ok(one.map(|one| one * times));
        }
        Err(self.btf.error(Defect::TooDeep { id: found.id(), limit: DEPTH }))
    }

    fn spend(&mut self) -> Result<(), Error> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| self.btf.error(Defect::TooMuch { limit: WORK }))?;
        Ok(())
    }
}

/// What C writes before the members of a type without a name.
fn word(found: Type<'_>) -> String {
    match found.kind() {
        Kind::Enum64 => "enum".to_owned(),
        kind => kind.to_string(),
    }
}

impl fmt::Display for Outline {
    /// A line for each member: a comment with its place (bytes, or bytes:bits) and its size (bytes, or bits with a b),
    /// and what C declares it with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(f, 0)
    }
}

impl Outline {
    fn line(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 4;
        let (byte, bit) = (self.bit_offset / 8, self.bit_offset % 8);
        match self.bits {
            _ if depth == 0 => write!(f, "/* {:>8} {:>6} */ ", "", self.size)?,
            Some(bits) => write!(f, "/* {:>8} {:>6} */ ", format!("{byte}:{bit}"), format!("{bits}b"))?,
            None => write!(f, "/* {byte:>8} {:>6} */ ", self.size)?,
        }
        write!(f, "{:indent$}{}", "", self.of)?;
        let end = |f: &mut fmt::Formatter<'_>| match self.declarator.as_str() {
            "" => f.write_str(";\n"),
            declarator => writeln!(f, " {declarator};"),
        };
        let blank = format!("{:22}{:indent$}", "", "");
        if let Some(members) = &self.members {
            f.write_str(" {\n")?;
            members.iter().try_for_each(|member| member.line(f, depth + 1))?;
            write!(f, "{blank}}}")?;
        } else if let Some(values) = &self.values {
            f.write_str(" {\n")?;
            values.iter().try_for_each(|(name, value)| writeln!(f, "{blank}    {name} = {value},"))?;
            write!(f, "{blank}}}")?;
        }
        end(f)
    }
}
