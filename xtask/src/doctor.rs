//! `./x doctor`.
use crate::Outcome;
/// Placeholder until the checks are written.
pub fn run() -> Outcome {
    Err("not there yet".to_owned())
}
