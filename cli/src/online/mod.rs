//! Commands that start an agent or talk to one.
//!
//! They share [`Connection`]: one Unix socket, one question at a time. What the agent says is
//! [`gabion_agent::api::wire`]; nothing here knows more than that.

mod amounts;
mod apply;
mod detach;
mod events;
mod generation;
mod mode;
mod run;
mod status;
mod top;

use std::future::Future;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gabion_agent::api::client::Client;
use gabion_agent::api::wire::Problem;

use crate::exit::{Exit, Failure};
use crate::output;

pub use apply::ApplyArgs;
pub use detach::DetachArgs;
pub use events::EventsArgs;
pub use generation::GenerationCommand;
pub use mode::ModeArgs;
pub use run::RunArgs;
pub use status::StatusArgs;
pub use top::TopArgs;

/// Where the agent's links and maps are pinned unless said otherwise.
const BPFFS: &str = "/sys/fs/bpf/gabion";
/// Where the agent keeps what it must remember.
const STATE: &str = "/var/lib/gabion";
/// Where the agent answers.
const SOCKET: &str = "/run/gabion/agent.sock";

/// Commands that start an agent or talk to one.
#[derive(Debug, Subcommand)]
pub enum OnlineCommand {
    /// Enforce a policy on this node until told to stop; what is in force then stays in force
    Run(Box<RunArgs>),
    /// Show generation, mode, interfaces, totals, and what needs attention
    Status(StatusArgs),
    /// Watch rules, rates and denials in the terminal
    Top(TopArgs),
    /// Show verdicts: recent denials, or everything as it happens
    Events(EventsArgs),
    /// Have the agent read its policy again, and say what came of it
    Apply(ApplyArgs),
    /// List, undo, commit and pin generations
    #[command(subcommand)]
    Generation(GenerationCommand),
    /// Switch between enforcing and auditing without reloading
    Mode(ModeArgs),
    /// Take everything out of the kernel: the node is open afterwards
    Detach(DetachArgs),
}

/// Runs the command.
pub fn run(command: OnlineCommand) -> Result<Exit, Failure> {
    match command {
        OnlineCommand::Run(arguments) => run::run(&arguments),
        OnlineCommand::Status(arguments) => status::run(&arguments),
        OnlineCommand::Top(arguments) => top::run(&arguments),
        OnlineCommand::Events(arguments) => events::run(&arguments),
        OnlineCommand::Apply(arguments) => apply::run(&arguments),
        OnlineCommand::Generation(command) => generation::run(command),
        OnlineCommand::Mode(arguments) => mode::run(&arguments),
        OnlineCommand::Detach(arguments) => detach::run(&arguments),
    }
}

/// Which agent is meant.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Unix socket of the agent
    #[arg(long, value_name = "PATH", default_value = SOCKET, env = "GABION_SOCKET")]
    pub socket: PathBuf,
}

impl Connection {
    /// Asks the agent something.
    fn ask<T, F: Future<Output = Result<T, Failure>>>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, Failure> {
        runtime()?.block_on(ask(Client::new(&self.socket)))
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::system(format!("cannot start: {error}")))
}

/// The exit code for a problem, by whose fault it is.
fn exit_of(problem: &Problem) -> Exit {
    if matches!(problem.code.as_str(), "generations-pinned" | "failed-before") {
        return Exit::Held;
    }
    match problem.blame.as_str() {
        "input" => Exit::Input,
        "refused" => Exit::Refused,
        "ours" => Exit::Defect,
        _ => Exit::System,
    }
}

/// A problem of the agent as a failure of this command; details that are more than the message are printed first.
pub fn failed(problem: Problem) -> Failure {
    let exit = exit_of(&problem);
    if problem.details.trim() != problem.message.trim() && !problem.details.is_empty() {
        output::say(&problem.details);
        return Failure::reported(exit);
    }
    match exit {
        Exit::Input => Failure::input(problem.message),
        Exit::Defect => Failure::defect(problem.message),
        _ => Failure::system(problem.message),
    }
}
