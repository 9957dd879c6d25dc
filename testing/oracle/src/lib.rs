//! Random policies, inventories and packets from a seed, in a small world where they meet often.
//!
//! Addresses, MACs, ports, labels and VLANs come from short lists, so that a random packet has a
//! fair chance to match a random rule, and every field of every rule is exercised. The same seed
//! always gives the same policy and packets. Start with [`policy_set`] and [`packet`].

#![forbid(unsafe_code)]

mod features;
mod host;
mod packets;
mod policies;

pub use features::{Feature, everything, features};
pub use host::Host;
pub use packets::{Discovery, Sent, follow_up, frame, packet};
pub use policies::{INTERFACES, policy_set};
