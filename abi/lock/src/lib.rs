//! The lock: what an object of kernel programs shares with others, written down, and what a change of it means.
//!
//! [`Lock::of_object`] takes any BPF object with types (BTF), whoever compiled it, and [`Lock::ours`] adds what only
//! the agent knows of our own. [`Lock::text`] is what lies in a repository as `abi.lock`, [`Lock::parse`] reads it, and
//! [`compare()`] says of each [`Change`] by which rule it is compatible, needs a migration, or breaks somebody. What
//! is read here is hostile: it is bounded and checked. Nothing is loaded or pinned. Start with `model.rs`.

#![forbid(unsafe_code)]

mod compare;
mod contracts;
mod error;
mod kinds;
mod maps;
mod model;
mod ours;
mod parse;
mod read;
mod roles;
mod rules;
mod text;
mod types;

pub use compare::compare;
pub use error::Error;
pub use model::{Enum, Field, Lock, Map, Record, Section, Slot, Type, Variable};
pub use parse::{Malformed, What};
pub use rules::{Change, Rule, Verdict};
