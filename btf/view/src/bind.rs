//! Views on the host: found among the types of a kernel, and put into an object in place of its placeholders.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use gabion_btf::extract::Need;
use gabion_btf::{Btf, Path, PathError, Wanted};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use crate::described::existence;
use crate::{Field, Kind, View, site};

/// Why a view does not fit a kernel.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A path that makes no sense.
    #[error("the field {field} of the view {view}: {source}")]
    Path {
        /// Name of the view.
        view: String,
        /// Name of the field.
        field: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A question for existence that asks nothing.
    #[error("the field {field} of the view {view}: `{path}` is not `type NAME`, `function NAME` or `value ENUM.NAME`")]
    Question {
        /// Name of the view.
        view: String,
        /// Name of the field.
        field: String,
        /// What is asked.
        path: String,
    },
    /// The kernel has it not, or otherwise.
    #[error("the field {field} of the view {view}: {source}")]
    Kernel {
        /// Name of the view.
        view: String,
        /// Name of the field.
        field: String,
        /// What was expected and found.
        source: gabion_btf::Error,
    },
    /// The way to it follows other pointers than the view.
    #[error(
        "the field {field} of the view {view}: `{path}` follows {found} pointers on this kernel, the view {wanted}"
    )]
    Pointers {
        /// Name of the view.
        view: String,
        /// Name of the field.
        field: String,
        /// Its path.
        path: String,
        /// Pointers that the view follows.
        wanted: u32,
        /// Pointers that there are.
        found: usize,
    },
    /// A bit-field, or not.
    #[error("the field {field} of the view {view}: `{path}` is {found} on this kernel, the view reads {wanted}")]
    Bits {
        /// Name of the view.
        view: String,
        /// Name of the field.
        field: String,
        /// Its path.
        path: String,
        /// What the view reads.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Two fields that a program could not tell apart.
    #[error("the views {first} and {second} have fields with one number: write the path of one of them otherwise")]
    SameNumber {
        /// Name of the one view and field.
        first: String,
        /// Name of the other.
        second: String,
    },
}

/// Why an object's placeholders cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// It is no object.
    #[error("this is no object of kernel programs: {0}")]
    Object(object::Error),
    /// A record makes no sense.
    #[error("record {number} of {section}: {what}", section = site::SECTION)]
    Record {
        /// Which record, from 0.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A field that no view has.
    #[error("the object reads a field with the number {field:#018x}, which is in none of the views that were bound")]
    Unknown {
        /// Its number.
        field: u64,
    },
}

/// Where a field is on a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The view and the field of it.
    pub view: String,
    /// See [`Field`].
    pub field: String,
    /// The kernel type and the path.
    pub of: String,
    /// See [`Field`].
    pub path: String,
    /// Bytes from each pointer on the way to the next one, and to the field at last; none when the kernel has it not.
    pub offsets: Option<Vec<u32>>,
    /// Bytes of the field in the kernel; of a bit-field, of the load that holds it.
    pub size: u32,
    /// Bits to shift the load of a bit-field to the left, of 64, and to the right.
    pub bits: Option<(u32, u32)>,
}

/// Views that were found on a kernel.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    places: BTreeMap<u64, Place>,
}

impl Bound {
    /// Finds all fields of all views.
    ///
    /// # Errors
    /// [`BindError`] for the first field that does not fit, unless it may be absent and is.
    pub fn find(kernel: &Btf, views: &[View<'_>]) -> Result<Self, BindError> {
        let mut bound = Self::default();
        for view in views {
            for field in view.fields {
                let place = Place::find(kernel, view, field)?;
                let name = |place: &Place| alloc::format!("{}.{}", place.view, place.field);
                if let Some(other) = bound.places.get(&field.id)
                    && (&other.of, &other.path) != (&place.of, &place.path)
                {
                    return Err(BindError::SameNumber { first: name(other), second: name(&place) });
                }
                bound.places.insert(field.id, place);
            }
        }
        Ok(bound)
    }

    /// All fields, and where they are.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    /// Replaces the placeholders of an object; how many there were. When anything is wrong, nothing is replaced.
    ///
    /// # Errors
    /// [`PatchError`].
    pub fn patch(&self, object: &mut [u8]) -> Result<usize, PatchError> {
        let constants = self.constants(object)?;
        for &(at, value) in &constants {
            object[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        Ok(constants.len())
    }

    /// Where in the object which constant belongs.
    fn constants(&self, object: &[u8]) -> Result<Vec<(usize, u32)>, PatchError> {
        let elf = ElfFile64::<Endianness>::parse(object).map_err(PatchError::Object)?;
        let Some(section) = elf.section_by_name(site::SECTION) else { return Ok(Vec::new()) };
        let records = section.data().map_err(PatchError::Object)?;
        let mut constants = Vec::new();
        let mut relocated = 0;
        for (offset, relocation) in section.relocations() {
            let number = offset as usize / site::BYTES;
            let wrong = |what| PatchError::Record { number, what };
            let record = records.get(number * site::BYTES..(number + 1) * site::BYTES);
            let record = record.filter(|_| (offset as usize).is_multiple_of(site::BYTES)).ok_or(wrong("is cut"))?;
            let RelocationTarget::Symbol(symbol) = relocation.target() else { return Err(wrong("names no code")) };
            let symbol = elf.symbol_by_index(symbol).map_err(PatchError::Object)?;
            let code = symbol.section_index().ok_or(wrong("names no code"))?;
            let code = elf.section_by_index(code).map_err(PatchError::Object)?;
            let (start, length) = code.file_range().ok_or(wrong("names no code"))?;
            let place = symbol.address().wrapping_add(word(record, 0)) as usize;
            let fits = place.is_multiple_of(8) && place.checked_add(8).is_some_and(|end| end as u64 <= length);
            let at = (start as usize).checked_add(place).filter(|_| fits).ok_or(wrong("points outside of the code"))?;
            let instruction = object.get(at..at + 8).ok_or(wrong("points outside of the object"))?;
            let (what, hop) = (word(record, 16) as u32, (word(record, 16) >> 32) as u32);
            if instruction[0] != if what == site::OFFSET { ADD } else { MOVE }
                || instruction[4..] != site::PLACEHOLDER.to_le_bytes()
            {
                return Err(wrong("points to an instruction without a placeholder"));
            }
            let field = word(record, 8);
            let known = self.places.get(&field).ok_or(PatchError::Unknown { field })?;
            constants.push((at + 4, known.constant(what, hop).ok_or(wrong("asks for what its field has not"))?));
            relocated += 1;
        }
        if relocated * site::BYTES != records.len() {
            return Err(PatchError::Record { number: relocated, what: "is not relocated" });
        }
        Ok(constants)
    }
}

/// Instructions: add a constant to a register of 64 bits, and move one into it.
const ADD: u8 = 0x07;
const MOVE: u8 = 0xb7;

/// A path as types know it: they tell pointers from members by themselves.
pub(crate) fn dotted(field: &Field<'_>) -> String {
    field.path.replace("->", ".")
}

impl Place {
    /// Finds a field of a view.
    ///
    /// # Errors
    /// [`BindError`] when it does not fit, unless it may be absent and is.
    pub fn find(kernel: &Btf, view: &View<'_>, field: &Field<'_>) -> Result<Self, BindError> {
        let mut place = Self {
            view: view.name.to_string(),
            field: field.name.to_string(),
            of: view.of.to_string(),
            path: field.path.to_string(),
            offsets: None,
            size: 0,
            bits: None,
        };
        if field.kind == Kind::Existence {
            // Neither place nor size: that it is there is all.
            place.offsets = place.exists(kernel)?.then(Vec::new);
            return Ok(place);
        }
        let Some(found) = place.resolved(kernel, field)? else { return Ok(place) };
        if found.chain.len() != field.hops as usize {
            let (wanted, found) = (field.hops, found.chain.len());
            return Err(BindError::Pointers { view: place.view, field: place.field, path: place.path, wanted, found });
        }
        let of_bits = |is_bits| if is_bits { "a bit-field" } else { "whole bytes" };
        let misfit = match found.bits {
            bits if bits.is_some() != field.is_bits => Some((of_bits(field.is_bits), of_bits(bits.is_some()))),
            Some(bits) if bits.width > field.size * 8 => Some(("fewer bits", "wider")),
            _ => None,
        };
        if let Some((wanted, found)) = misfit {
            return Err(BindError::Bits { view: place.view, field: place.field, path: place.path, wanted, found });
        }
        place.bits = found.bits.map(|bits| (64 - bits.shift - bits.width, 64 - bits.width));
        place.size = found.size;
        let mut offsets = found.chain;
        offsets.push(found.offset);
        place.offsets = Some(offsets);
        Ok(place)
    }

    fn exists(&self, kernel: &Btf) -> Result<bool, BindError> {
        let (view, field) = (self.view.clone(), self.field.clone());
        let found = match existence(&self.path) {
            Some(Need::Type(name)) => kernel.type_named(name).map(drop),
            Some(Need::Function(name)) => kernel.function(name).map(drop),
            Some(Need::Enumerator { within, name }) => kernel.enumerator(within, name).map(drop),
            Some(Need::Field { .. }) | None => {
                return Err(BindError::Question { view, field, path: self.path.clone() });
            }
        };
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.is_absence() => Ok(false),
            Err(source) => Err(BindError::Kernel { view, field, source }),
        }
    }

    /// Of a bit-field: bits below it in the load, and its own.
    #[must_use]
    pub fn bit_field(&self) -> Option<(u32, u32)> {
        self.bits.map(|(left, right)| (right - left, 64 - right))
    }

    fn resolved(&self, kernel: &Btf, field: &Field<'_>) -> Result<Option<gabion_btf::Field>, BindError> {
        let names = || (self.view.clone(), self.field.clone());
        let dotted = dotted(field);
        let path = Path::parse(&dotted).map_err(|source| {
            let (view, field) = names();
            BindError::Path { view, field, source }
        })?;
        let found = if field.is_bits {
            kernel.resolve(&self.of, path)
        } else {
            let wanted = match field.kind {
                Kind::Unsigned => Wanted::unsigned(field.size),
                Kind::Signed => Wanted::signed(field.size),
                Kind::Address => Wanted::pointer(field.size),
                // Whether something exists is no question for a path.
                Kind::Bytes | Kind::Existence => Wanted::bytes(field.size),
            };
            kernel.bind(&self.of, path, wanted)
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if field.is_optional && error.is_absence() => Ok(None),
            Err(source) => {
                let (view, field) = names();
                Err(BindError::Kernel { view, field, source })
            }
        }
    }

    fn constant(&self, what: u32, hop: u32) -> Option<u32> {
        match (what, &self.offsets, self.bits) {
            (site::EXISTS, offsets, _) => Some(offsets.is_some().into()),
            // Nothing reads it.
            (_, None, _) => Some(0),
            (site::OFFSET, Some(offsets), _) => offsets.get(hop as usize).copied(),
            (site::SIZE, _, Some(_)) => Some(self.size),
            (site::LEFT, _, Some((left, _))) => Some(left),
            (site::RIGHT, _, Some((_, right))) => Some(right),
            _ => None,
        }
    }
}

fn word(record: &[u8], at: usize) -> u64 {
    record.iter().skip(at).take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{} = {}: ", self.view, self.field, self.of)?;
        match &self.offsets {
            None => write!(f, "`{}` is not there", self.path),
            Some(offsets) if offsets.is_empty() => write!(f, "`{}` is there", self.path),
            Some(offsets) => {
                let offsets: Vec<String> = offsets.iter().map(u32::to_string).collect();
                write!(f, "`{}` at {}", self.path, offsets.join(", then "))
            }
        }
    }
}
