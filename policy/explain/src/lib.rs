//! Why a packet passes or not, which rules came close, and what would have let it pass.
//!
//! A [`Query`] is a question as people and programs write it; a [`Directory`] turns it into a
//! [`Packet`] with the help of inventory and site. [`verdict()`] says what happens to the packet, by
//! whichever [`Judge`] it is handed: the oracle, or compiled tables. [`explain`] adds the near
//! misses and remedies. Nothing here decides about packets by itself: whether a rule or a service
//! matches is always asked of the oracle. No I/O. Start with [`query`], then [`verdict`](mod@verdict).

#![forbid(unsafe_code)]

pub mod answer;
pub mod directory;
mod fields;
mod fill;
mod missed;
pub mod names;
mod near;
pub mod packet;
pub mod query;
mod remedy;
pub mod tables;
pub mod verdict;

pub use answer::{Answer, explain};
pub use directory::Directory;
pub use packet::{Asked, Packet};
pub use query::{Query, QueryError, Scalar};
pub use tables::Tables;
pub use verdict::{Judge, Oracle, Verdict, verdict};
