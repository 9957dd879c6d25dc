//! Contracts as text: what another side says is read, compared with what we say, and written for others.
//!
//! `gabion_abi::contract` makes the text in `const`, for the kernel programs too; here is the other direction, on the
//! host only. What comes from outside is hostile: it is bounded, checked line by line, and never trusted to be what
//! its digests say. Nothing here loads, pins or sends anything. Start with [`Contracts::parse`], then [`differences`]
//! and [`meet`]; [`export`] writes JSON Schema and C.

#![forbid(unsafe_code)]

mod compare;
mod digest;
mod embedded;
pub mod export;
mod layout;
mod parse;
mod said;

use gabion_abi::contract::Set;

pub use compare::{Difference, Refusal, differences, meet};
pub use embedded::{NotEmbedded, embedded};
pub use layout::{Contracts, Field, Layout, Place, Record, Service, Type};
pub use parse::{BYTES, Malformed, What};
pub use said::Said;

/// The canonical text of a set.
#[must_use]
pub fn text(set: &Set<'_>) -> String {
    let mut bytes = vec![0; set.length()];
    set.write(&mut bytes);
    // Names in Rust are UTF-8, and so is all between them; nothing is lost.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Holds what another side says to what we expect.
///
/// # Errors
/// That it cannot be read, or how it differs: all differences, the first first.
pub fn check(expected: &Set<'_>, found: &[u8]) -> Result<(), Mismatch> {
    let ours = text(expected);
    if ours.as_bytes() == found {
        return Ok(());
    }
    // Ours is read first: if it cannot be, that is nobody else's fault.
    let ours = Contracts::parse(ours.as_bytes()).map_err(Mismatch::Ours)?;
    let found = Contracts::parse(found).map_err(Mismatch::Malformed)?;
    let differences = differences(&ours, &found);
    // The same in another order.
    if differences.is_empty() { Ok(()) } else { Err(Mismatch::Differs { differences }) }
}

/// Another side does not say what we expect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It says something that is no contract.
    #[error("what it says of its contracts cannot be read: {0}")]
    Malformed(Malformed),
    /// Our own text cannot be read: a defect of ours.
    #[error("our own contracts cannot be read: {0}")]
    Ours(Malformed),
    /// It says something else.
    #[error("{}", all(.differences))]
    Differs {
        /// What: at least one, the first first.
        differences: Vec<Difference>,
    },
}

/// The first difference, and how many more there are.
fn all(differences: &[Difference]) -> String {
    match differences {
        [] => String::new(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} (and {} more differences)", more.len()),
    }
}
