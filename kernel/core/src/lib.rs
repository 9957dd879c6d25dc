//! Packet → facts → verdict.
//!
//! The same code runs in the kernel over packet memory and BPF maps, and on the host over byte
//! slices and vectors; it never allocates, never panics and never touches a pointer. Start with
//! [`bytes::Bytes`] (where packet bytes come from), then [`parse`] (facts), [`classify`] (classes
//! and the entry that matches), [`judge`] (verdict, with state); [`short`] is how most packets go.

#![no_std]
#![forbid(unsafe_code)]

pub mod blocks;
pub mod bytes;
pub mod classify;
pub mod conn;
pub mod judge;
pub mod key;
pub mod marks;
pub mod offload;
pub mod parse;
pub mod report;
pub mod short;
pub mod track;
