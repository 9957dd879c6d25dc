//! What BTF says, asked of bytes that the tests make, of bytes that are broken on purpose, and of the kernel that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elf;
mod extracts;
mod fields;
mod format;
mod kernel;
mod mutated;
mod oracle;
mod outlines;
mod random;
mod views;
