//! The agent: composition root of a node.
//!
//! It reads policy, has it compiled and puts it into force as numbered generations; keeps hooks on the interfaces of
//! the site as they come and go; names events and counts; and answers over a local API. It never judges a packet, and
//! enforcement does not need it: what it put in place stays when it stops.
//!
//! Start with [`mod@run`] (what is wired to what), then [`life`] (the state and what changes it), then [`kernel`]
//! (the one funnel to BPF). [`api::wire`] is what other programs read.

#![forbid(unsafe_code)]

pub mod api;
pub mod counters;
pub mod emergency;
pub mod events;
pub mod explain;
pub mod gatekeeper;
pub mod health;
pub mod interfaces;
pub mod kernel;
pub mod life;
pub mod load;
pub mod netlink;
pub mod policy;
pub mod processes;
mod readiness;
pub mod record;
pub mod run;
pub mod sealed;
pub mod watch;

#[cfg(test)]
mod life_tests;

#[cfg(test)]
mod emergency_tests;

#[cfg(test)]
mod dry_tests;
