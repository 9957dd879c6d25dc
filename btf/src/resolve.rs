//! From a type and a path to a field, with bounded work whatever the bytes say.

use crate::btf::{Btf, prefixed};
use crate::describe::nearest;
use crate::error::{Defect, Error, Place, Problem};
use crate::field::{Bits, Field, Shape};
use crate::path::{Path, Step};
use crate::record::{Kind, Member, Type};

/// Typedefs, qualifiers, arrays, and anonymous members within one another. The kernel's own limit is the same.
const DEPTH: u32 = 32;
/// Members that one question may look at: task_struct, which has the most, has about three hundred.
const WORK: u32 = 1 << 20;

/// Who wants to know which types a path goes through.
pub(crate) trait Trace {
    /// A type that has the name that the path starts from.
    fn root(&mut self, _root: Type<'_>) {}
    /// A struct or union in which a member is looked for.
    fn entered(&mut self, _within: Type<'_>) {}
    /// The member that was found in it, by its place among the members.
    fn taken(&mut self, _within: Type<'_>, _member: u32) {}
    /// The type of the field.
    fn reached(&mut self, _found: Type<'_>) {}
}

impl Trace for () {}

impl Btf {
    /// Finds the field that a path leads to from a type: a struct or union, or a typedef of one, by its name, with or
    /// without `struct` or `union` in front.
    ///
    /// The first alternative counts that is there. Where several types have the name, all that have the field must agree.
    ///
    /// # Errors
    /// When there is no such type or field ([`Error::is_absence`]), when the path does not apply to what is there, and
    /// when the BTF is not sound.
    pub fn resolve(&self, root: &str, path: Path<'_>) -> Result<Field, Error> {
        self.resolve_traced(root, path, &mut ())
    }

    pub(crate) fn resolve_traced(&self, root: &str, path: Path<'_>, trace: &mut impl Trace) -> Result<Field, Error> {
        let mut search = Search { btf: self, root, path, work: WORK, trace };
        let mut last = None;
        for alternative in path.alternatives() {
            match search.alternative(alternative) {
                Err(error) if error.is_absence() => last = Some(error),
                outcome => return outcome,
            }
        }
        // A path has one alternative at least.
        Err(last.unwrap_or_else(|| self.absent_type("type", root)))
    }
}

struct Search<'b, 's, T> {
    btf: &'b Btf,
    root: &'s str,
    path: Path<'s>,
    work: u32,
    trace: &'s mut T,
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct Here<'b> {
    found: Type<'b>,
    /// Bits from where the last pointer points to.
    bits: u64,
    /// Bits of the member that was taken, if it is a bit-field that says so itself.
    width: u32,
    /// An element of an array, which is whole bytes.
    element: bool,
    /// Everything that was taken was the last of what contains it, so that an array of no length may go on behind it.
    last: bool,
}

/// A member that was found by its name, in its struct or in a nameless member of it.
struct Taken<'b> {
    member: Member<'b>,
    /// Bits from the struct that was searched.
    bits: u64,
    last: bool,
}

impl<'b, T: Trace> Search<'b, '_, T> {
    fn alternative(&mut self, path: Path<'_>) -> Result<Field, Error> {
        let (prefix, name) = prefixed(self.root);
        let (mut answer, mut failure): (Option<Field>, Option<Problem>) = (None, None);
        let (mut declared, mut typedefs) = (None, Vec::new());
        for found in self.btf.roots(name) {
            match found.kind() {
                Kind::Fwd => declared = Some(found),
                Kind::Typedef => typedefs.push(found),
                kind if kind.is_composite() && prefix.is_none_or(|prefix| prefix == kind) => {
                    self.candidate(found, path, &mut answer, &mut failure)?;
                }
                _ => {}
            }
        }
        if answer.is_none() && failure.is_none() && matches!(prefix, None | Some(Kind::Typedef)) {
            for found in typedefs {
                self.candidate(found, path, &mut answer, &mut failure)?;
            }
        }
        match (answer, failure, declared) {
            (Some(field), _, _) => Ok(field),
            (None, Some(problem), _) => Err(self.btf.error(problem)),
            (None, None, Some(declared)) => {
                self.trace.root(declared);
                Err(self.btf.error(self.incomplete(declared)))
            }
            (None, None, None) => {
                let expected = prefix.map_or("struct or union".to_owned(), |kind| kind.to_string());
                Err(self.btf.absent_type(&expected, name))
            }
        }
    }

    /// One of the types that have the name.
    fn candidate(
        &mut self,
        found: Type<'b>,
        path: Path<'_>,
        answer: &mut Option<Field>,
        failure: &mut Option<Problem>,
    ) -> Result<(), Error> {
        match self.walk(found, path) {
            Ok(field) => match &answer {
                Some(first) if !same(first, &field) => {
                    let said = |field: &Field| format!("{}, {field}", self.btf.describe(field.type_id));
                    let (first, second) = (said(first), said(&field));
                    return Err(self.btf.error(Problem::Ambiguous { place: self.place(), first, second }));
                }
                Some(_) => {}
                None => *answer = Some(field),
            },
            Err(problem @ Problem::Malformed(_)) => return Err(self.btf.error(problem)),
            Err(problem) => *failure = Some(problem),
        }
        Ok(())
    }

    fn walk(&mut self, root: Type<'b>, path: Path<'_>) -> Result<Field, Problem> {
        self.trace.root(root);
        let mut chain = Vec::new();
        let mut here = Here { found: root, bits: 0, width: 0, element: false, last: true };
        for (place, step) in path.steps().enumerate() {
            match step {
                Step::Member(name) => {
                    let bare = self.bare(here.found)?;
                    if bare.kind() == Kind::Ptr && place > 0 {
                        chain.push(bytes(here, here.found.id())?);
                        let target = self.btf.at(bare.target().unwrap_or(0))?;
                        here = Here { found: target, bits: 0, width: 0, element: false, last: true };
                    }
                    here = self.member(here, name)?;
                }
                Step::Element(index) => here = self.element(here, index)?,
                Step::Range(first, behind) => {
                    let array = here.found;
                    // The last of the range is the one that may be outside.
                    self.element(here, behind - 1)?;
                    let element = self.element(here, first)?;
                    let mut field = self.field(chain, element)?;
                    field.size = field.size.checked_mul(behind - first).ok_or(Defect::TooLong { id: array.id() })?;
                    field.elements = Some(field.elements.unwrap_or(1).saturating_mul(behind - first));
                    field.type_id = array.id();
                    self.trace.reached(array);
                    return Ok(field);
                }
            }
        }
        self.trace.reached(here.found);
        self.field(chain, here)
    }

    fn member(&mut self, here: Here<'b>, name: &str) -> Result<Here<'b>, Problem> {
        let within = self.bare(here.found)?;
        match within.kind() {
            kind if kind.is_composite() => {}
            Kind::Fwd => return Err(self.incomplete(within)),
            _ => {
                let (member, found) = (name.to_owned(), self.btf.describe(here.found.id()));
                return Err(Problem::NoMembers { place: self.place(), member, found });
            }
        }
        self.trace.entered(within);
        let Some(taken) = self.find(within, name, DEPTH)? else {
            let names = within.members().filter_map(|member| member.name().ok());
            let similar = nearest(name, names.take(self.work as usize));
            let (within, member) = (self.btf.describe(within.id()), name.to_owned());
            return Err(Problem::AbsentField { place: self.place(), within, member, similar });
        };
        let found = self.btf.at(taken.member.type_id)?;
        Ok(Here {
            found,
            bits: here.bits + taken.bits,
            width: taken.member.bits,
            element: false,
            last: here.last && taken.last,
        })
    }

    /// The member of that name, here or in a member without a name, in the order of their declaration.
    fn find(&mut self, within: Type<'b>, name: &str, depth: u32) -> Result<Option<Taken<'b>>, Defect> {
        let depth = depth.checked_sub(1).ok_or(Defect::TooDeep { id: within.id(), limit: DEPTH })?;
        let members = within.members();
        let count = members.len();
        for (place, member) in members.enumerate() {
            self.work = self.work.checked_sub(1).ok_or(Defect::TooMuch { limit: WORK })?;
            let last = place + 1 == count || within.kind() == Kind::Union;
            if member.is_named(name)? {
                self.is_inside(within, &member)?;
                // A record has at most 65,535 members.
                self.trace.taken(within, place as u32);
                return Ok(Some(Taken { member, bits: u64::from(member.bit_offset), last }));
            }
            if !member.is_anonymous()? {
                continue;
            }
            let nested = self.bare(self.btf.at(member.type_id)?)?;
            if !nested.kind().is_composite() {
                continue;
            }
            if let Some(taken) = self.find(nested, name, depth)? {
                self.is_inside(within, &member)?;
                self.trace.taken(within, place as u32);
                let bits = taken.bits + u64::from(member.bit_offset);
                return Ok(Some(Taken { bits, last: taken.last && last, ..taken }));
            }
        }
        Ok(None)
    }

    /// A member outside of its struct would be a wrong value, and never what a compiler made.
    fn is_inside(&mut self, within: Type<'b>, member: &Member<'b>) -> Result<(), Defect> {
        let found = self.bare(self.btf.at(member.type_id)?)?;
        let (offset, bits) = match (member.bits, found.int()) {
            (0, Some(int)) => (int.offset, u64::from(int.bits)),
            (0, None) => (0, self.size(found)? * 8),
            (width, _) => (0, u64::from(width)),
        };
        let end = u64::from(member.bit_offset) + u64::from(offset) + bits;
        if end > u64::from(within.size().unwrap_or(0)) * 8 {
            return Err(Defect::Outside { id: within.id(), offset: member.bit_offset, bits });
        }
        Ok(())
    }

    fn element(&mut self, here: Here<'b>, index: u32) -> Result<Here<'b>, Problem> {
        let array = self.bare(here.found)?;
        let (Some(length), Some(element)) = (array.elements(), array.target()) else {
            let found = self.btf.describe(here.found.id());
            return Err(Problem::NotAnArray { place: self.place(), index, found });
        };
        // An array without a length ends where its struct's memory ends, which only the program knows.
        if index >= length && !(length == 0 && here.last) {
            let found = self.btf.describe(here.found.id());
            return Err(Problem::OutOfBounds { place: self.place(), index, length, found });
        }
        let found = self.btf.at(element)?;
        let bits = here.bits + u64::from(index) * self.size(found)? * 8;
        Ok(Here { found, bits, width: 0, element: true, last: false })
    }

    /// Without typedefs and qualifiers.
    fn bare(&mut self, found: Type<'b>) -> Result<Type<'b>, Defect> {
        let mut here = found;
        for _ in 0..DEPTH {
            match here.target() {
                Some(target) if here.kind().is_modifier() => {
                    here = self.btf.at(target)?;
                }
                _ => return Ok(here),
            }
        }
        Err(Defect::TooDeep { id: found.id(), limit: DEPTH })
    }

    /// Bytes of a type, below 2^32.
    fn size(&mut self, found: Type<'b>) -> Result<u64, Defect> {
        let (mut here, mut times) = (self.bare(found)?, 1u64);
        for _ in 0..DEPTH {
            let size = match here.kind() {
                Kind::Ptr => self.btf.pointer_size(),
                Kind::Array => {
                    times = times.saturating_mul(u64::from(here.elements().unwrap_or(0)));
                    here = self.bare(self.btf.at(here.target().unwrap_or(0))?)?;
                    continue;
                }
                Kind::Datasec => return Err(Defect::NoSize { id: here.id(), kind: here.kind() }),
                kind => here.size().ok_or(Defect::NoSize { id: here.id(), kind })?,
            };
            let size = times.saturating_mul(u64::from(size));
            return if u32::try_from(size).is_ok() { Ok(size) } else { Err(Defect::TooLong { id: found.id() }) };
        }
        Err(Defect::TooDeep { id: found.id(), limit: DEPTH })
    }

    /// What was reached, as a program reads it.
    fn field(&mut self, chain: Vec<u32>, here: Here<'b>) -> Result<Field, Problem> {
        let type_id = here.found.id();
        let bare = self.bare(here.found)?;
        if bare.kind() == Kind::Fwd {
            return Err(self.incomplete(bare));
        }
        // Of an array, what its elements are.
        let (mut element, mut elements) = (bare, None::<u32>);
        for _ in 0..DEPTH {
            let (Some(length), Some(target)) = (element.elements(), element.target()) else { break };
            elements = Some(elements.unwrap_or(1).saturating_mul(length));
            element = self.bare(self.btf.at(target)?)?;
        }
        let size = u32::try_from(self.size(bare)?).map_err(|_| Defect::TooLong { id: type_id })?;
        let shape = shape(element, self.btf.pointer_size())?;
        // A bit-field is a part of an integer or enum, and no element of an array.
        let odd = match element.int() {
            _ if here.width != 0 => {
                elements.is_some() || !is_number(shape) || u64::from(here.width) > u64::from(size) * 8
            }
            Some(int) => (here.element || elements.is_some()) && int.bits != element.size().unwrap_or(0) * 8,
            None => false,
        };
        if odd {
            let bits = if here.width == 0 { element.int().map_or(0, |int| int.bits) } else { here.width };
            return Err(Defect::Width { id: type_id, kind: element.kind(), size, bits }.into());
        }
        let align = self.align(element, DEPTH)?;
        let mut field = Field { chain, offset: 0, size, align, shape, elements, bits: None, type_id };
        match (bits_of(here, bare, size), elements) {
            (Some((first, width)), None) => self.load(&mut field, first, width)?,
            _ => field.offset = bytes(here, type_id)?,
        }
        Ok(field)
    }

    /// The smallest aligned load of 1, 2, 4 or 8 bytes, not smaller than the declared type, that has all bits of the field.
    fn load(&self, field: &mut Field, first: u64, width: u32) -> Result<(), Problem> {
        let wide = || Problem::WideBits { place: self.place(), offset: first as u32, width };
        let mut size = field.size;
        loop {
            if size > 8 {
                return Err(wide());
            }
            let start = first / 8 / u64::from(size) * u64::from(size);
            let within = first - start * 8;
            let rest = (u64::from(size) * 8).checked_sub(within + u64::from(width));
            let Some(rest) = rest else {
                size *= 2;
                continue;
            };
            field.offset = u32::try_from(start).map_err(|_| wide())?;
            field.size = size;
            // Bits are counted from the first byte's lowest on, or, in the other byte order, from its highest. Both are below 64.
            let shift = if self.btf.is_big_endian() { rest } else { within } as u32;
            field.bits = Some(Bits { shift, width });
            return Ok(());
        }
    }

    /// What a compiler aligns a type to that nobody packs: BTF does not say it.
    fn align(&mut self, found: Type<'b>, depth: u32) -> Result<u32, Defect> {
        let depth = depth.checked_sub(1).ok_or(Defect::TooDeep { id: found.id(), limit: DEPTH })?;
        let found = self.bare(found)?;
        let mut align = match found.kind() {
            Kind::Array => return self.align(self.btf.at(found.target().unwrap_or(0))?, depth),
            Kind::Ptr => return Ok(self.btf.pointer_size()),
            kind if kind.is_composite() => 1,
            _ => return Ok(found.size().unwrap_or(1).clamp(1, 16)),
        };
        for member in found.members() {
            self.work = self.work.checked_sub(1).ok_or(Defect::TooMuch { limit: WORK })?;
            align = align.max(self.align(self.btf.at(member.type_id)?, depth)?);
        }
        Ok(align)
    }

    fn incomplete(&self, found: Type<'_>) -> Problem {
        Problem::Incomplete { place: self.place(), found: self.btf.describe(found.id()) }
    }

    fn place(&self) -> Place {
        Place { root: self.root.to_owned(), path: self.path.to_string() }
    }
}

fn is_number(shape: Shape) -> bool {
    matches!(shape, Shape::Integer { .. } | Shape::Boolean | Shape::Enum { .. })
}

/// Whether a program reads the same for both.
fn same(one: &Field, other: &Field) -> bool {
    let Field { chain, offset, size, align: _, shape, elements, bits, type_id: _ } = one;
    let theirs = (&other.chain, &other.offset, &other.size, &other.shape, &other.elements, &other.bits);
    (chain, offset, size, shape, elements, bits) == theirs
}

/// Bytes of a place that is one.
fn bytes(here: Here<'_>, id: u32) -> Result<u32, Defect> {
    if !here.bits.is_multiple_of(8) {
        return Err(Defect::Unaligned { id });
    }
    u32::try_from(here.bits / 8).map_err(|_| Defect::TooLong { id })
}

/// First bit and width, of what is not whole bytes of its own.
fn bits_of(here: Here<'_>, bare: Type<'_>, size: u32) -> Option<(u64, u32)> {
    let (first, width) = match (here.width, bare.int()) {
        (0, Some(int)) if (int.offset, int.bits) != (0, size * 8) => (here.bits + u64::from(int.offset), int.bits),
        (0, _) => return None,
        (width, _) => (here.bits, width),
    };
    (!first.is_multiple_of(8) || width != size * 8).then_some((first, width))
}

fn shape(found: Type<'_>, pointer: u32) -> Result<Shape, Defect> {
    let (id, kind) = (found.id(), found.kind());
    let size = found.size().unwrap_or(pointer);
    let (sizes, bits): (&[u32], u32) = match kind {
        Kind::Int => (&[1, 2, 4, 8, 16], found.int().map_or(0, |int| int.offset + int.bits)),
        Kind::Enum | Kind::Enum64 => (&[1, 2, 4, 8], 1),
        Kind::Float => (&[2, 4, 8, 12, 16], 1),
        Kind::Ptr => return Ok(Shape::Pointer),
        Kind::Struct => return Ok(Shape::Struct),
        Kind::Union => return Ok(Shape::Union),
        _ => return Err(Defect::NoSize { id, kind }),
    };
    if !sizes.contains(&size) || bits == 0 || bits > size * 8 {
        return Err(Defect::Width { id, kind, size, bits });
    }
    Ok(match (kind, found.int()) {
        (_, Some(int)) if int.boolean => Shape::Boolean,
        (_, Some(int)) => Shape::Integer { signed: int.signed },
        (Kind::Float, _) => Shape::Float,
        _ => Shape::Enum { signed: found.flag() },
    })
}
