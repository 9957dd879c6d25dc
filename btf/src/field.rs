//! Where a field is, and what.

use std::fmt;

/// A field of a kernel type, as a path led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Pointers on the way, in order: each is read at this many bytes from where the one before pointed to, the first
    /// from the type that the path started from. Empty when the field is inside of that type.
    pub chain: Vec<u32>,
    /// Bytes from where the last pointer points to.
    pub offset: u32,
    /// Bytes of it; of a bit-field, of the load that holds all its bits.
    pub size: u32,
    /// Bytes that its type is aligned to, where nobody packs it.
    pub align: u32,
    /// What it is, or what its elements are.
    pub shape: Shape,
    /// Elements, if it is an array, all dimensions in one. None in an array whose length is not part of its type.
    pub elements: Option<u32>,
    /// Which bits of the load it is, if it is a bit-field.
    pub bits: Option<Bits>,
    /// Its type as the member declares it; of a range of elements, the array's.
    pub type_id: u32,
}

/// Bits of a load, made in the byte order of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits to shift the load to the right.
    pub shift: u32,
    /// Bits of the field, from the lowest after the shift.
    pub width: u32,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A number, or a character.
    Integer {
        /// Whether it has a sign.
        signed: bool,
    },
    /// True or false, as 1 or 0.
    Boolean,
    /// An address.
    Pointer,
    /// An enum.
    Enum {
        /// Whether its values have a sign. Never so in BTF of before kernel 6.0.
        signed: bool,
    },
    /// A floating-point number.
    Float,
    /// A struct.
    Struct,
    /// A union.
    Union,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer { signed: true } => "a signed integer",
            Self::Integer { signed: false } => "an unsigned integer",
            Self::Boolean => "a boolean",
            Self::Pointer => "a pointer",
            Self::Enum { signed: true } => "a signed enum",
            Self::Enum { signed: false } => "an enum",
            Self::Float => "a float",
            Self::Struct => "a struct",
            Self::Union => "a union",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, offset, size, shape, elements, bits, .. } = self;
        match (elements, bits) {
            (Some(elements), _) => write!(f, "{elements} times {shape}, {size} bytes in all,")?,
            (None, Some(Bits { width, .. })) => write!(f, "{shape} of {width} bits")?,
            (None, None) => write!(f, "{shape} of {size} bytes")?,
        }
        write!(f, " at ")?;
        for pointer in chain {
            write!(f, "{pointer} → ")?;
        }
        write!(f, "{offset}")
    }
}
