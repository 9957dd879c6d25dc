//! Who may decide what a node enforces.
//!
//! The metadata is TUF's (specification 1.0): root, targets, snapshot and timestamp, and three roles to which targets
//! delegates: `release` signs programs and plugins by digest, `policy` signs bundles, and `emergency` signs bundles
//! that hold policy alone ([`Role`]). A node keeps a [`Trust`]; [`Trust::verify`] is a pure function of it, of a bundle
//! and of the time, and what it accepts comes with the trust to keep from then on. [`Repository`] is the other side:
//! the site's folder of metadata, to which people add signatures one after the other. Nothing here reads a file, a
//! clock or a network, but for [`clock::synchronised`], and keys in a token.

#![deny(unsafe_code)]

pub mod clock;
mod envelope;
mod key;
mod provider;
mod refused;
mod repository;
mod role;
mod signer;
pub mod statement;
pub mod token;
mod verify;

pub use clock::{Clock, ClockPolicy, Doubt};
pub use envelope::{Envelope, NoEnvelope};
pub use key::{Algorithm, NoKey, PublicKey};
pub use provider::install;
pub use refused::Refused;
pub use repository::{Keys, Lives, Plan, Published, Repository, Status, Who, Wrong};
pub use role::{NoRole, Role};
pub use signer::{FileKey, Signer, Unopened, Unsigned};
pub use statement::Statement;
pub use verify::{Accepted, Alarm, Circumstances, Grant, Node, Provenance, Signed, Trust, Worth};
