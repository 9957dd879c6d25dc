//! Objects and locks, changed in every way that there is a rule for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../../btf/tests/btf/build.rs"]
#[allow(dead_code)]
mod build;
mod cases;
mod clang;
mod hostile;
mod objects;
mod program;
mod texts;
