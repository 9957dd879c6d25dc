//! Text → typed policy, and the naive evaluator of it.
//!
//! This crate does no I/O: it is handed text and gives back a [`PolicySet`] or errors with source
//! spans. [`oracle`] evaluates the typed policy rule by rule, as the documents read; the compiled
//! tables must agree with it on every packet. Start with [`rule`] (what a rule is), then
//! [`subject`] (whom it speaks about), then [`set`] (what a folder of documents amounts to).

#![forbid(unsafe_code)]

mod carry;
pub mod emergency;
pub mod finding;
pub mod index;
pub mod inventory;
pub mod lint;
pub mod oracle;
pub mod range;
mod report;
pub mod rule;
pub mod service;
pub mod set;
pub mod site;
pub mod subject;
pub mod text;
pub mod trace;

pub use finding::Finding;
pub use set::PolicySet;
pub use text::{Source, parse, to_yaml};
