//! From a type and a path to a field, with bounded work whatever the bytes say.

mod reached;

use crate::btf::{Btf, prefixed};
use crate::describe::nearest;
use crate::error::{Defect, Error, Place, Problem};
use crate::field::Field;
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
    /// The first alternative counts that is there. Where several types have the name, all that have the field must
    /// agree.
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
                Err(error) if matches!(*error.problem, Problem::AbsentField { .. }) => last = Some(error),
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
                Kind::Fwd => {
                    let kind = if found.flag() { Kind::Union } else { Kind::Struct };
                    declared = prefix.is_none_or(|prefix| prefix == kind).then_some(found).or(declared);
                }
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
            (width, _) if !matches!(found.kind(), Kind::Int | Kind::Enum | Kind::Enum64) => {
                let size = found.size().unwrap_or(0);
                return Err(Defect::Width { id: found.id(), kind: found.kind(), size, bits: width });
            }
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
        // Both factors are below 2^32, and a place that is further away than that is none.
        let bytes = u64::from(index) * self.size(found)?;
        if u32::try_from(bytes).is_err() {
            return Err(Defect::TooLong { id: array.id() }.into());
        }
        let bits = here.bits + bytes * 8;
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

    fn incomplete(&self, found: Type<'_>) -> Problem {
        Problem::Incomplete { place: self.place(), found: self.btf.describe(found.id()) }
    }

    fn place(&self) -> Place {
        Place { root: self.root.to_owned(), path: self.path.to_string() }
    }
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
