//! Who may decide what a node enforces.

#![forbid(unsafe_code)]

mod provider;

pub use provider::install;
