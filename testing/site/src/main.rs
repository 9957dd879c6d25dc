//! Builds the plant and shows it.

fn main() {}
