//! Views of kernel structs: what a kernel program reads of a kernel type, declared once as a Rust struct.
//!
//! Rust emits no relocations against kernel types. A view takes their place: `#[derive(KernelView)]` names a kernel
//! type and a path for each field; where the kernel program needs an offset, the derive leaves an instruction with a
//! placeholder and a record of where it stands (section `.gabion.views`). Before an object is loaded, its views are
//! found among the types of the kernel that runs, and the placeholders become constants (`bind`, on the host). What the
//! verifier sees is what it would see of an offset that was written by hand. The object describes its views itself
//! ([`text`]), so that they can be held to any kernel by whoever has the object alone (`described`, `matrix`).
//!
//! A field that the kernel has not, or has otherwise, is an error before anything is loaded; one that is `optional`
//! reads as `None`, and the verifier removes the code that would have read it.
//!
//! ```ignore
//! #[derive(KernelView)]
//! #[view(of = "task_struct")]
//! struct Task {
//!     pid: i32,
//!     #[view(path = "__state | state")]
//!     state: u32,
//!     #[view(path = "mm->total_vm", optional)]
//!     total_vm: Option<u64>,
//!     comm: [u8; 16],
//! }
//! ```

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(not(target_arch = "bpf"), forbid(unsafe_code))]

#[cfg(not(target_arch = "bpf"))]
extern crate alloc;

#[cfg(not(target_arch = "bpf"))]
pub mod bind;
#[cfg(not(target_arch = "bpf"))]
pub mod described;
#[cfg(not(target_arch = "bpf"))]
pub mod matrix;
#[cfg(target_arch = "bpf")]
pub mod read;
pub mod text;

pub use gabion_view_derive::KernelView;

/// A struct that is read of a kernel type.
pub trait KernelView: Sized {
    /// What it reads.
    const VIEW: View<'static>;
}

/// What is read of a kernel type.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// Name of the Rust struct.
    pub name: &'v str,
    /// Name of the kernel type.
    pub of: &'v str,
    /// Its fields.
    pub fields: &'v [Field<'v>],
}

/// A field of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'v> {
    /// Name of the Rust field.
    pub name: &'v str,
    /// Where it is in the kernel type: members by `.`, pointers that are followed by `->`, alternatives by `|`.
    pub path: &'v str,
    /// How the program knows it; see [`id`].
    pub id: u64,
    /// What the Rust field can hold, and with [`Kind::Existence`] what the path is.
    pub kind: Kind,
    /// Bytes of the Rust field.
    pub size: u32,
    /// Pointers that are followed on the way.
    pub hops: u32,
    /// A kernel may have it not.
    pub is_optional: bool,
    /// It is a bit-field.
    pub is_bits: bool,
}

/// What a field of a view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number without a sign.
    Unsigned,
    /// A number with one.
    Signed,
    /// An address.
    Address,
    /// Bytes as they are.
    Bytes,
    /// Whether the kernel has what the path names: `type NAME`, `function NAME` or `value ENUM.NAME`.
    Existence,
}

/// An address in the kernel: of a field that is a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(pub u64);

/// What a field of a view can be.
pub trait Value: Copy {
    /// What it holds.
    const KIND: Kind;
    /// All zero.
    const ZERO: Self;
    /// Of the bits of a bit-field, which stand lowest.
    fn of_bits(bits: u64) -> Self;
}

macro_rules! numbers {
    ($($number:ty, $kind:ident;)*) => {
        $(impl Value for $number {
            const KIND: Kind = Kind::$kind;
            const ZERO: Self = 0;

            fn of_bits(bits: u64) -> Self {
                bits as Self
            }
        })*
    };
}

numbers! { u8, Unsigned; u16, Unsigned; u32, Unsigned; u64, Unsigned; }
numbers! { i8, Signed; i16, Signed; i32, Signed; i64, Signed; }

impl Value for Address {
    const KIND: Kind = Kind::Address;
    const ZERO: Self = Self(0);

    fn of_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl<const N: usize> Value for [u8; N] {
    const KIND: Kind = Kind::Bytes;
    const ZERO: Self = [0; N];

    fn of_bits(_: u64) -> Self {
        Self::ZERO
    }
}

/// What an instruction with a placeholder wants to know of its field.
pub mod site {
    /// Bytes from where the pointer before it points to; `hop` says which pointer.
    pub const OFFSET: u32 = 0;
    /// 1 if the kernel has it, else 0.
    pub const EXISTS: u32 = 1;
    /// Bytes of the load that holds a bit-field.
    pub const SIZE: u32 = 2;
    /// Bits to shift that load to the left, of 64.
    pub const LEFT: u32 = 3;
    /// Bits to shift what came of it to the right.
    pub const RIGHT: u32 = 4;

    /// The section with a record for each: address of the instruction (8 bytes, relocated), field (8), what (4), hop
    /// (4).
    pub const SECTION: &str = ".gabion.views";
    /// Bytes of a record.
    pub const BYTES: usize = 24;
    /// What stands in the instruction until it is known. No offset is so large.
    pub const PLACEHOLDER: i32 = 0x7a11_0000;
}

/// How a program and the host know a field: FNV-1a of the type and the path. Who binds views makes sure that no two
/// fields of theirs share one.
#[must_use]
pub const fn id(of: &str, path: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut part = 0;
    while part < 2 {
        let bytes = if part == 0 { of.as_bytes() } else { path.as_bytes() };
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        // Neither has a NUL in it.
        hash = hash.wrapping_mul(0x0100_0000_01b3);
        part += 1;
    }
    hash
}
