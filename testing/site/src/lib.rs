//! A small plant on one machine, out of network namespaces and veth pairs.
//!
//! For tests and demonstrations: it builds topologies ([`host`], [`link`]), plays the roles of a
//! substation ([`plant`], [`role`]) and compares what arrived on the wire with what was expected
//! ([`expectation`]). It never touches the namespace it was started in, runs no `ip`, and leaves
//! nothing behind, also when it is killed. Start with [`plant::Plant`], or with [`host::Host`] and
//! [`link::cable`] for a topology of your own.

#![deny(unsafe_code)]

pub mod agent;
mod death;
pub mod error;
pub mod expectation;
pub mod frame;
pub mod goose;
pub mod host;
pub mod link;
mod offload;
pub mod people;
pub mod plant;
pub mod role;
pub mod scenario;
pub mod tun;
pub mod update;
pub mod wire;
