//! Formatting, lints and the licences of what we depend on, each skipped by name when its tool is not there.

use std::process::ExitCode;

use crate::Outcome;
use crate::machine;
use crate::report::{State, Table};

/// `./x lint`.
pub fn lint() -> Outcome {
    let mut table = Table::default();
    add(&mut table);
    if machine::has_cargo_command("deny") {
        table.run("deny", crate::cargo().args(["deny", "check"]));
    } else {
        table.add("deny", State::Skipped("no cargo-deny: cargo install cargo-deny".to_owned()));
    }
    table.print();
    Ok(if table.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The style tiers that `./x test` runs too.
pub fn add(table: &mut Table) {
    if machine::has_cargo_command("fmt") {
        table.run("fmt", crate::cargo().args(["fmt", "--all", "--check"]));
    } else {
        table.add("fmt", State::Skipped("no rustfmt".to_owned()));
    }
    crate::tidy::add(table);
    if machine::has_cargo_command("clippy") {
        let mut clippy = crate::cargo();
        table.run("clippy", clippy.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]));
    } else {
        table.add("clippy", State::Skipped("no clippy".to_owned()));
    }
}
