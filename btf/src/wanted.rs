//! What a program reads, held against what the kernel has.

use std::fmt;

use crate::btf::Btf;
use crate::error::{Error, Place, Problem};
use crate::field::{Field, Shape};
use crate::path::Path;

/// The field of a view: what it must be in the kernel for the program to read it rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub kind: WantedKind,
    /// Bytes of it, or of each element.
    pub size: u32,
    /// How many of it there are in an array.
    pub elements: Option<u32>,
}

/// What a field of a view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedKind {
    /// A number of the same sign and size, or the bits of one that fit. An enum of that size is one, too: BTF of before
    /// kernel 6.0 does not say of an enum whether it is signed.
    Integer {
        /// Whether it has a sign.
        signed: bool,
    },
    /// An address.
    Pointer,
    /// An enum of that size.
    Enum,
    /// Bytes as they are: whatever has that size, and is not a bit-field.
    Bytes,
    /// A floating-point number.
    Float,
}

impl Wanted {
    const fn new(kind: WantedKind, size: u32) -> Self {
        Self { kind, size, elements: None }
    }

    /// An unsigned integer of so many bytes.
    #[must_use]
    pub const fn unsigned(size: u32) -> Self {
        Self::new(WantedKind::Integer { signed: false }, size)
    }

    /// A signed integer of so many bytes.
    #[must_use]
    pub const fn signed(size: u32) -> Self {
        Self::new(WantedKind::Integer { signed: true }, size)
    }

    /// An address of so many bytes.
    #[must_use]
    pub const fn pointer(size: u32) -> Self {
        Self::new(WantedKind::Pointer, size)
    }

    /// An enum of so many bytes.
    #[must_use]
    pub const fn enumeration(size: u32) -> Self {
        Self::new(WantedKind::Enum, size)
    }

    /// So many bytes, as they are.
    #[must_use]
    pub const fn bytes(size: u32) -> Self {
        Self::new(WantedKind::Bytes, size)
    }

    /// A floating-point number of so many bytes.
    #[must_use]
    pub const fn float(size: u32) -> Self {
        Self::new(WantedKind::Float, size)
    }

    /// So many of it in an array.
    #[must_use]
    pub const fn times(self, elements: u32) -> Self {
        Self { elements: Some(elements), ..self }
    }

    /// Whether a program that expects this reads that field rightly.
    #[must_use]
    pub fn is_met_by(&self, field: &Field) -> bool {
        if self.kind == WantedKind::Bytes {
            let total = self.size.checked_mul(self.elements.unwrap_or(1));
            return field.bits.is_none() && total == Some(field.size) && field.size != 0;
        }
        if self.elements != field.elements {
            return false;
        }
        let sized = match (field.bits, field.elements) {
            (Some(bits), _) => bits.width <= self.size.saturating_mul(8),
            (None, None) => self.size == field.size,
            (None, Some(elements)) => self.size.checked_mul(elements) == Some(field.size) && elements != 0,
        };
        let kind = match (self.kind, field.shape) {
            (WantedKind::Integer { signed }, Shape::Integer { signed: found }) => signed == found,
            (WantedKind::Integer { signed }, Shape::Boolean) => !signed,
            (WantedKind::Integer { .. } | WantedKind::Enum, Shape::Enum { .. }) => true,
            (WantedKind::Pointer, Shape::Pointer) | (WantedKind::Float, Shape::Float) => true,
            _ => false,
        };
        sized && kind
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(elements) = self.elements {
            write!(f, "{elements} times ")?;
        }
        let size = self.size;
        match self.kind {
            WantedKind::Integer { signed: true } => write!(f, "a signed integer of {size} bytes"),
            WantedKind::Integer { signed: false } => write!(f, "an unsigned integer of {size} bytes"),
            WantedKind::Pointer => write!(f, "a pointer of {size} bytes"),
            WantedKind::Enum => write!(f, "an enum of {size} bytes"),
            WantedKind::Bytes => write!(f, "{size} bytes"),
            WantedKind::Float => write!(f, "a float of {size} bytes"),
        }
    }
}

impl Btf {
    /// Finds a field, and holds it against what a program reads.
    ///
    /// # Errors
    /// What [`Btf::resolve`] says, and that the field is there and is another one than the program expects.
    pub fn bind(&self, root: &str, path: Path<'_>, wanted: Wanted) -> Result<Field, Error> {
        let field = self.resolve(root, path)?;
        if wanted.is_met_by(&field) {
            return Ok(field);
        }
        let place = Place { root: root.to_owned(), path: path.to_string() };
        let found = format!("{}, which is {field}", self.describe(field.type_id));
        Err(self.error(Problem::Misfit { place, expected: wanted, found }))
    }
}
