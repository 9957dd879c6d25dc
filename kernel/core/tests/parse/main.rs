//! The parser and the connection keys, held to literal frames, to another parser, and to captures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agreement;
mod captures;
mod discovery;
mod fragments;
mod frames;
mod ipv4;
mod ipv6;
mod key;
mod link;
mod properties;
mod short;
mod transport;
