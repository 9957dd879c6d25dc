//! Kernel types as the kernel describes them: BTF, read lazily.
//!
//! For whoever has to know where a field of a kernel struct is on the kernel that runs, or on another one whose BTF
//! is at hand. [`Btf::open`] takes `/sys/kernel/btf/vmlinux`, a module's split BTF, or an ELF file with a section
//! `.BTF`, of either byte order; it walks the records once, and allocates nothing for a type. [`Btf::resolve`]
//! follows a [`Path`] (`mm.total_vm`, `comm[0..16]`, `__state | state`) to a [`Field`], through anonymous members,
//! arrays, bit-fields and pointers; [`Btf::bind`] holds what was found against what a program [`Wanted`]. [`extract`]
//! writes the few types that a list of paths needs as BTF of its own.
//!
//! What it is handed is hostile: nothing here panics or loops on it, and what cannot be trusted is an [`Error`],
//! never a value. It loads no program and knows nothing of the rest of Gabion. Start with [`Btf`], then `resolve.rs`.

#![forbid(unsafe_code)]

mod btf;
mod bytes;
mod describe;
mod error;
pub mod extract;
mod field;
mod index;
mod path;
mod record;
mod resolve;
mod section;
mod wanted;

pub use btf::Btf;
pub use bytes::Bytes;
pub use error::{Defect, Error, Place, Problem};
pub use field::{Bits, Field, Shape};
pub use path::{Path, PathError, Step};
pub use record::{Enumerator, Int, Kind, Member, Parameter, Type};
pub use wanted::{Wanted, WantedKind};
