//! Records that cross a boundary: kernel program to agent, compiler to kernel program.
//!
//! Every shared layout is declared here, once, with explicit widths and padding, and has a contract that says so
//! ([`contract`], [`boundary`]). Nothing in this crate allocates, panics or touches a pointer. Start with
//! [`facts::Facts`] (what a packet is), then [`tables`] (what a compiled policy is), then [`verdict`] (what was
//! decided).

#![no_std]
#![forbid(unsafe_code)]

// What `derive(Contract)` writes names this crate.
extern crate self as gabion_abi;

pub mod boundary;
pub mod conn;
pub mod contract;
pub mod event;
pub mod facts;
pub mod gate;
pub mod local;
pub mod owner;
pub mod tables;
pub mod verdict;
