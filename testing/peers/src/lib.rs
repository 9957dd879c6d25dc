//! A bench for decisions: traces of many flows, a generator that sends them as live frames, and those who decide.
//!
//! Whoever is measured sits behind a veth in a network namespace of its own ([`stand`]); one generator
//! ([`live::Generator`]) sends the same frames to each of them in turn. Rule sets ([`rules`]) come with a trace and
//! with the verdict on each of its packets, which is found without the tables that are measured. Nothing here judges
//! a figure, and nothing touches the namespace it was started in. Start with [`rules::RuleSet`] and [`stand::Stand`].

#![deny(unsafe_code)]

mod contender;
pub mod gabion;
pub mod header;
pub mod iptables;
pub mod live;
pub mod loads;
pub mod nft;
mod object;
pub mod reference;
pub mod rules;
pub mod stand;
mod tree;

pub use contender::{Contender, Failure};
