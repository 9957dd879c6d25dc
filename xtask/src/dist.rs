//! `./x dist`.
use crate::Outcome;
/// Placeholder until the package is written.
pub fn run(_arguments: &[String]) -> Outcome {
    Err("not there yet".to_owned())
}
