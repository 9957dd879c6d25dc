//! Random policies, inventories and packets from a seed, in a small world where they meet often.
//!
//! Addresses, MACs, ports, labels and VLANs come from short lists, so that a random packet has a
//! fair chance to match a random rule, and every field of every rule is exercised. The same seed
//! always gives the same policy and packets, and so do the octets of a fuzzer, which may leave the small world
//! ([`Choices`]). Start with [`policy_set`] and [`packet`]; [`agree`] holds the tables of one such policy to the
//! oracle.

#![forbid(unsafe_code)]

mod agreement;
mod choices;
mod corners;
mod features;
mod host;
mod packets;
mod policies;

pub use agreement::{Met, agree, decoded, interface_class};
pub use choices::Choices;
pub use corners::Corners;
pub use features::{Feature, everything, features};
pub use host::Host;
pub use packets::{Discovery, Sent, follow_up, frame, packet, packet_near};
pub use policies::{INTERFACES, policy_set, without_macs};
