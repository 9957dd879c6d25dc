//! Contracts: what a record that crosses a boundary looks like, worked out by the compiler that compiles it.
//!
//! [`Contract`] gives a type its [`Shape`]; its *signature* is a text that says all of it, and its *digest* is 64
//! bits of that text. Digests tell that two sides differ; what is compared and printed then are the signatures. A
//! [`Set`] is what one side has to say: records, where they lie ([`Place`]), and who serves what to whom
//! ([`ServiceContract`]). All of it is `const`, so that a kernel program carries its text in a section and no
//! instruction for it.

mod digest;
mod service;
mod set;
mod signature;

pub use gabion_abi_derive::Contract;
pub use service::{Invalid, Payload, Service, ServiceContract};
pub use set::{Memory, Place, SECTION, Set};

/// A type whose values mean the same on both sides of a boundary: integers, and arrays and structs of them with no
/// bytes that nobody sets.
///
/// Derive it; whoever implements it by hand promises what the derive checks.
#[diagnostic::on_unimplemented(
    message = "`{Self}` must not cross a boundary: it has no contract",
    label = "has no contract",
    note = "u8 to u64, i8 to i64, arrays of what has a contract, and `#[repr(C)]` structs with `#[derive(Contract)]` \
            have one",
    note = "for bool take u8; for an enum an integer and named constants; for usize u32 or u64; for a pointer or a \
            reference an index"
)]
pub trait Contract: Sized {
    /// What it looks like.
    const SHAPE: &'static Shape;
}

/// What a type looks like on the target that it is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its bytes.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
    /// What it is made of.
    pub kind: Kind,
}

/// What a type is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer in the byte order of the target, as wide as it is large.
    Integer {
        /// Whether it can be below 0.
        signed: bool,
    },
    /// So many of one type, one behind the other.
    Array {
        /// The type.
        element: &'static Shape,
        /// How many.
        length: usize,
    },
    /// A struct.
    Record {
        /// Its name, without those of modules.
        name: &'static str,
        /// What a generic type was made with.
        arguments: &'static [Argument],
        /// Its fields in order; there are no bytes between them.
        fields: &'static [Field],
    },
}

/// One argument of a generic type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A type.
    Type {
        /// Its shape.
        shape: &'static Shape,
    },
    /// A number.
    Number {
        /// Its value.
        value: i128,
    },
}

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// What it counts, if the record says so.
    pub unit: Option<&'static str>,
    /// Its type.
    pub shape: &'static Shape,
}

impl Shape {
    /// The record that this is, or that it is an array of.
    #[must_use]
    pub const fn record(&self) -> Option<&Shape> {
        match self.kind {
            Kind::Integer { .. } => None,
            Kind::Array { element, .. } => element.record(),
            Kind::Record { .. } => Some(self),
        }
    }
}

macro_rules! integers {
    ($($integer:ty: $signed:literal),*) => {$(
        impl Contract for $integer {
            const SHAPE: &'static Shape = &Shape {
                size: size_of::<Self>(),
                align: align_of::<Self>(),
                kind: Kind::Integer { signed: $signed },
            };
        }
    )*};
}

integers!(u8: false, u16: false, u32: false, u64: false, i8: true, i16: true, i32: true, i64: true);

impl<T: Contract, const N: usize> Contract for [T; N] {
    const SHAPE: &'static Shape = &Shape {
        size: size_of::<Self>(),
        align: align_of::<Self>(),
        kind: Kind::Array { element: T::SHAPE, length: N },
    };
}

#[cfg(test)]
mod tests;
