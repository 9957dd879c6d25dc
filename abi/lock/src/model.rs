//! What a lock says, as values.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use gabion_contracts::Service;

/// All that an object shares with others: what one version writes down and the next is held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Whether numbers have their highest byte first.
    pub big_endian: bool,
    /// Versions of what is meant, by the names of sets of contracts.
    pub sets: BTreeMap<String, u32>,
    /// Structs and unions.
    pub records: BTreeMap<String, Record>,
    /// Enums.
    pub enums: BTreeMap<String, Enum>,
    /// Numbers with names that are written into fields without being an enum.
    pub numbers: BTreeMap<String, Enum>,
    /// Maps.
    pub maps: BTreeMap<String, Map>,
    /// Sections of variables, which the kernel sees as maps of one element.
    pub sections: BTreeMap<String, Section>,
    /// Services.
    pub services: BTreeMap<String, Service>,
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether its fields share their bytes.
    pub union: bool,
    /// Its bytes.
    pub size: u64,
    /// What it is aligned to, if that is said.
    pub align: Option<u64>,
    /// Its fields. Those of members without a name are its own.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins, in bits.
    pub bit: u64,
    /// Its bits, if it is a bit-field.
    pub width: Option<u32>,
    /// What it counts.
    pub unit: Option<String>,
    /// Its type.
    pub ty: Type,
}

/// The type of a field. Other names of types are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// An integer.
    Integer {
        /// Whether it can be below 0.
        signed: bool,
        /// Its bytes.
        bytes: u64,
        /// Whether its highest byte comes first whatever the byte order of the rest is.
        big: bool,
    },
    /// True or false.
    Bool {
        /// Its bytes.
        bytes: u64,
    },
    /// A floating-point number.
    Float {
        /// Its bytes.
        bytes: u64,
    },
    /// An address.
    Pointer {
        /// Its bytes.
        bytes: u64,
        /// Of what.
        to: String,
    },
    /// So many of one type.
    Array {
        /// The type.
        element: Box<Self>,
        /// How many.
        length: u64,
    },
    /// A record, by its name.
    Record(String),
    /// An enum, by its name.
    Enum(String),
}

/// An enum, or numbers with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    /// Its bytes.
    pub size: u64,
    /// Its values in order.
    pub values: Vec<(String, i128)>,
    /// Values that it had once, by value and name: their numbers are never used again.
    pub retired: Vec<(String, i128)>,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The number of its type.
    pub kind: u32,
    /// What it is asked by.
    pub key: Slot,
    /// What it holds.
    pub value: Slot,
    /// How many entries; 0 where whoever loads it decides.
    pub entries: u64,
    /// Its flags.
    pub flags: u64,
    /// What more its type wants to know.
    pub extra: u64,
    /// Whether it outlives the programs.
    pub pinned: bool,
}

/// Keys or values of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Their type, if it is known.
    pub ty: Option<Type>,
    /// Their bytes; 0 for what a ring carries, whose map does not say it.
    pub bytes: u64,
}

/// A section of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Whether it outlives the programs.
    pub pinned: bool,
    /// Its variables, by place and name.
    pub variables: Vec<Variable>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it begins in its section, in bytes. None among constants, which are filled in by name before a program is
    /// loaded, and lie where the linker likes.
    pub place: Option<u64>,
    /// Its type.
    pub ty: Type,
}

impl Lock {
    /// With the numbers that the lock before this one had, and this one has not: a lock that is written anew must not
    /// forget them.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for (news, olds) in [(&mut self.enums, &before.enums), (&mut self.numbers, &before.numbers)] {
            for (name, new) in news {
                if let Some(old) = olds.get(name) {
                    new.retire(old);
                }
            }
        }
        self
    }

    /// Its bytes; none for what is not declared, or more than 64 bits can count.
    pub(crate) fn size(&self, ty: &Type) -> Option<u64> {
        match ty {
            Type::Integer { bytes, .. }
            | Type::Bool { bytes }
            | Type::Float { bytes }
            | Type::Pointer { bytes, .. } => Some(*bytes),
            Type::Array { element, length } => self.size(element)?.checked_mul(*length),
            Type::Record(name) => self.records.get(name).map(|record| record.size),
            Type::Enum(name) => self.enums.get(name).map(|found| found.size),
        }
    }

    /// Where a field ends, in bits.
    pub(crate) fn end(&self, field: &Field) -> Option<u64> {
        let bits = match field.width {
            Some(width) => u64::from(width),
            None => self.size(&field.ty)?.checked_mul(8)?,
        };
        field.bit.checked_add(bits)
    }
}

impl Enum {
    fn retire(&mut self, old: &Self) {
        let here: HashSet<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
        let gone = old.values.iter().chain(&old.retired).filter(|(name, _)| !here.contains(name.as_str()));
        let mut gone: Vec<_> = gone.cloned().collect();
        gone.sort_by(|one, two| (one.1, &one.0).cmp(&(two.1, &two.0)));
        self.retired = gone;
    }
}

impl Type {
    /// What it is made of in the end, through arrays; and whether there were any.
    pub(crate) fn innermost(&self) -> (&Self, bool) {
        let (mut found, mut array) = (self, false);
        while let Self::Array { element, .. } = found {
            (found, array) = (element, true);
        }
        (found, array)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { signed, bytes, big } => {
                let (sign, order) = (if *signed { 'i' } else { 'u' }, if *big { "be" } else { "" });
                write!(f, "{sign}{}{order}", bytes.saturating_mul(8))
            }
            Self::Bool { bytes: 1 } => f.write_str("bool"),
            Self::Bool { bytes } => write!(f, "bool{}", bytes.saturating_mul(8)),
            Self::Float { bytes } => write!(f, "f{}", bytes.saturating_mul(8)),
            Self::Pointer { bytes, to } => write!(f, "ptr{} {to}", bytes.saturating_mul(8)),
            Self::Array { element, length } => write!(f, "[{element}; {length}]"),
            Self::Record(name) => write!(f, "record {name}"),
            Self::Enum(name) => write!(f, "enum {name}"),
        }
    }
}

impl fmt::Display for Field {
    /// The field without its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.width {
            Some(width) => write!(f, "{} at bit {} width {width}", self.ty, self.bit)?,
            None => write!(f, "{} at {}", self.ty, self.bit / 8)?,
        }
        self.unit.as_ref().map_or(Ok(()), |unit| write!(f, " unit {unit}"))
    }
}

impl fmt::Display for Variable {
    /// The variable without its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty)?;
        self.place.map_or(Ok(()), |place| write!(f, " at {place}"))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Some(ty) => write!(f, "{ty} of {}", self.bytes),
            None => write!(f, "bytes of {}", self.bytes),
        }
    }
}
