//! Packets that a policy is tried on before it judges traffic.
//!
//! They come from what a policy's owner expects ([`document`], [`golden`]) and from what a node reported of the packets
//! that it judged ([`live`]); each becomes a [`Probe`]: a frame, and where it meets the node. Whatever can judge one is
//! a [`Program`]; [`compare`](mod@compare) puts an old and a new one side by side, holds the new one to the core on the
//! host ([`host`]), and asks the oracle why a verdict changed. No I/O, and no kernel: who loads programs implements
//! [`Program`]. Start with [`probe`].

#![forbid(unsafe_code)]

pub mod compare;
pub mod document;
pub mod frame;
pub mod golden;
pub mod host;
pub mod live;
pub mod probe;

pub use compare::{Comparison, Side, compare};
pub use document::{Document, Expected, Malformed};
pub use frame::{NotFramed, assemble, frame};
pub use golden::{Golden, Missed, NotProbed, golden};
pub use host::interface_class;
pub use probe::{Place, Probe, Program, Seen, Sender};
