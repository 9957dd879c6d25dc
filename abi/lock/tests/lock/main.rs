//! Objects and locks, changed in every way that there is a rule for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod clang;
mod hostile;
mod objects;
mod program;
mod texts;
