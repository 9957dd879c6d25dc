//! Memory that kernel programs and the agent share.
//!
//! A map of one element is mapped into the agent, which reads and writes its records in place (`Shared`). Form and
//! contract of the map are checked once, when it is opened. A reader never sees a torn value, by construction: what it
//! can load is single words, which memory holds whole ([`Field`] names one within a record), and of larger records only
//! those behind a sequence counter ([`Sequenced`]). A kernel program writes these with `write`.
//!
//! On the host start with `Shared`, in a kernel program with `write`; the protocol of both is in [`sequenced`].

#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

mod field;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(not(target_arch = "bpf"))]
mod lanes;
#[cfg(not(target_arch = "bpf"))]
mod map;
#[cfg(not(target_arch = "bpf"))]
mod open;
pub mod sequenced;
#[cfg(not(target_arch = "bpf"))]
mod slot;

#[cfg(test)]
mod tests;

pub use field::Field;
#[cfg(target_arch = "bpf")]
pub use kernel::write;
#[cfg(not(target_arch = "bpf"))]
pub use lanes::Lanes;
#[cfg(not(target_arch = "bpf"))]
pub use map::{Reader, Shared, Torn, Writer};
#[cfg(not(target_arch = "bpf"))]
pub use open::OpenError;
pub use sequenced::Sequenced;
#[cfg(not(target_arch = "bpf"))]
pub use slot::Slot;
