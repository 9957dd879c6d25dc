//! What the kernel programs and the host do alike with the building blocks: operations of a packet, one after the
//! other.
//!
//! Records and safe code only; how a program gets at its packet and its map is in `main.rs`. Start with [`Machine`].

#![no_std]
#![forbid(unsafe_code)]

mod bounds;
mod classes;
mod rings;
mod strides;

pub use bounds::Bounds;
pub use classes::Classes;
pub use rings::{Record, Rings};
pub use strides::{BASES, Strides, V4_COARSE, V4_FINE, V6, WORDS};

/// Where the operations of a packet begin: behind an Ethernet header, and aligned.
pub const HEADER: usize = 16;
/// Operations of a packet.
pub const OPS: usize = 16;
/// Bytes of a packet.
pub const FRAME_BYTES: usize = HEADER + OPS * size_of::<Op>();

/// What to do, and three numbers for it. What came of it replaces the first.
pub type Op = [u32; 4];

/// What an operation says when there is nothing to say.
pub const MISS: u32 = u32::MAX;

/// Containers that lie in the value of a map, and what can be done with them.
pub trait Machine {
    /// Does one operation.
    fn apply(&mut self, op: &Op) -> u32;
}

/// A value of 64 bits as an answer.
#[must_use]
#[inline(always)]
pub const fn folded(value: u64) -> u32 {
    (value >> 32) as u32 ^ (value as u32).rotate_left(7)
}
