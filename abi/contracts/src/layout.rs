//! What a text says, as values.

use std::fmt;

/// All that one side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// What it is about.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its records, no two of one name.
    pub records: Vec<Record>,
    /// Its maps and globals, no two of one name.
    pub places: Vec<Place>,
    /// Its services, no two of one name.
    pub services: Vec<Service>,
}

impl Contracts {
    /// A record by its name, arguments included.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.layout.name == name)
    }
}

/// A record with its contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The digest of `signature`.
    pub digest: u64,
    /// The canonical text.
    pub signature: String,
    /// What the text says.
    pub layout: Layout,
}

/// The layout of a record: its fields follow each other without a byte between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name, arguments included.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins in its record, in bytes.
    pub offset: u64,
    /// What it counts.
    pub unit: Option<String>,
    /// Its type.
    pub ty: Type,
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// An integer.
    Integer {
        /// Whether it can be below 0.
        signed: bool,
        /// 1, 2, 4 or 8.
        bytes: u64,
        /// Whether its highest byte comes first.
        big: bool,
    },
    /// So many of one type.
    Array {
        /// The type.
        element: Box<Self>,
        /// How many.
        length: u64,
    },
    /// A record.
    Record(Box<Layout>),
}

impl Type {
    /// The record that it is, or that it is an array of.
    #[must_use]
    pub fn record(&self) -> Option<&Layout> {
        match self {
            Self::Integer { .. } => None,
            Self::Array { element, .. } => element.record(),
            Self::Record(layout) => Some(layout),
        }
    }

    /// Its alignment in bytes.
    #[must_use]
    pub fn align(&self) -> u64 {
        match self {
            Self::Integer { bytes, .. } => *bytes,
            Self::Array { element, .. } => element.align(),
            Self::Record(layout) => layout.align,
        }
    }

    /// Its bytes; nothing when 64 bits cannot count them.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Integer { bytes, .. } => Some(*bytes),
            Self::Array { element, length } => element.size()?.checked_mul(*length),
            Self::Record(layout) => Some(layout.size),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { signed, bytes, big } => {
                let (sign, order) = (if *signed { 'i' } else { 'u' }, if *big { "be" } else { "" });
                write!(formatter, "{sign}{}{order}", bytes * 8)
            }
            Self::Array { element, length } => write!(formatter, "[{element}; {length}]"),
            Self::Record(layout) => formatter.write_str(&layout.name),
        }
    }
}

/// A map or a global.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The type that it is asked by, if not a number.
    pub key: Option<String>,
    /// The type that it holds.
    pub value: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(formatter, "{} of {key} to {}", self.kind, self.value),
            None => write!(formatter, "{} of {}", self.kind, self.value),
        }
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The record that it carries.
    pub payload: String,
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "version {} of {}", self.version, self.payload)
    }
}
