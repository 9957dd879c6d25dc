//! `gabion mode`.

use clap::{Args, ValueEnum};
use gabion_agent::api::wire::{Mode, ModeRequest};

use super::{Connection, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output;

/// Flags of `gabion mode`.
#[derive(Debug, Args)]
pub struct ModeArgs {
    /// What to do with what the policy denies
    mode: Choice,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Refuse it
    Enforce,
    /// Let it pass, and report it
    Audit,
    /// What the policy's site says
    Policy,
}

pub(super) fn run(arguments: &ModeArgs) -> Result<Exit, Failure> {
    let mode = match arguments.mode {
        Choice::Enforce => "enforce",
        Choice::Audit => "audit",
        Choice::Policy => "policy",
    };
    let request = ModeRequest { mode: mode.to_owned() };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::defect(error.to_string()))?;
    let mode: Mode =
        arguments.connection.ask(|client| async move { client.post("/v1/mode", body).await.map_err(failed) })?;
    output::show(arguments.output.output, &mode, |mode| match &mode.overridden_since {
        Some(_) => format!("mode {} (the policy says {}; `gabion mode policy` goes back)\n", mode.current, mode.policy),
        None => format!("mode {}, as the policy says\n", mode.current),
    })?;
    Ok(Exit::Fine)
}
