//! `gabion apply`.

use std::fmt::Write as _;

use clap::Args;
use gabion_agent::api::wire::Apply;

use super::{Connection, exit_of, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Flags of `gabion apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(arguments: &ApplyArgs) -> Result<Exit, Failure> {
    let apply = arguments.connection.ask(|client| async move { client.apply().await.map_err(failed) })?;
    output::show(arguments.output.output, &apply, table)?;
    let Some(problem) = &apply.error else { return Ok(Exit::Fine) };
    if arguments.output.output == Format::Table {
        output::say(&format!("{}generation {} stays in force\n", problem.details, apply.generation));
    }
    Ok(exit_of(problem))
}

fn table(apply: &Apply) -> String {
    if apply.error.is_some() {
        return String::new();
    }
    let milliseconds = apply.took_us as f64 / 1_000.0;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = if apply.unchanged {
        writeln!(text, "unchanged: generation {} is this policy already", apply.generation)
    } else if apply.in_place {
        writeln!(text, "generation {} has the new inventory, changed in place ({milliseconds:.1} ms)", apply.generation)
    } else {
        writeln!(text, "generation {} is in force ({milliseconds:.1} ms)", apply.generation)
    };
    for warning in &apply.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
