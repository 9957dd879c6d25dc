//! Kernel types as the kernel describes them: BTF, read lazily.
//!
//! For whoever has to know where a field of a kernel struct is on the kernel that runs, or on another one whose BTF
//! is at hand. [`Btf::open`] takes `/sys/kernel/btf/vmlinux` or an ELF file with a section `.BTF`, of either byte
//! order, [`Btf::open_split`] a module's types; both walk the records once, and allocate nothing for a type.
//! [`Btf::resolve`] follows a [`Path`] (`mm.total_vm`, `comm[0..16]`, `__state | state`) to a [`Field`], through
//! anonymous members, arrays, bit-fields and pointers; [`Btf::bind`] holds what was found against what a program
//! [`Wanted`]. [`Btf::outlines`] shows a type with all its members, [`extract`] writes the few types
//! that a list of paths needs as BTF of its own.
//!
//! What it is handed is hostile: nothing here panics or loops on it, and what cannot be trusted is an [`Error`],
//! never a value. It loads no program and knows nothing of the rest of Gabion. Start with [`Btf`], then `resolve.rs`.
//!
//! ```no_run
//! use gabion_btf::{Btf, Path, Wanted};
//!
//! let kernel = Btf::open("/sys/kernel/btf/vmlinux")?;
//! let state = kernel.bind("task_struct", Path::parse("__state | state")?, Wanted::unsigned(4))?;
//! let memory = kernel.bind("task_struct", Path::parse("mm.total_vm")?, Wanted::unsigned(8))?;
//! // A task's memory: read the pointer at the first, then the number at the second.
//! println!("state at {}, memory at {:?} and {}", state.offset, memory.chain, memory.offset);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod btf;
mod bytes;
mod data;
mod describe;
mod error;
pub mod extract;
mod field;
mod index;
mod outline;
mod path;
mod record;
mod resolve;
mod section;
mod wanted;

pub use btf::Btf;
pub use bytes::Bytes;
pub use data::{Linkage, Variable};
pub use error::{Defect, Error, Place, Problem};
pub use field::{Bits, Field, Shape};
pub use outline::Outline;
pub use path::{Path, PathError, Step};
pub use record::{Enumerator, Int, Kind, Member, Parameter, Type};
pub use wanted::{Wanted, WantedKind};
