//! The `gabion` command: what people and scripts type.
//!
//! It parses arguments, reads files, prints answers and sets the exit code; what policies mean is decided in
//! `policy/*`, and it never loads a kernel program itself. Start with [`command`](mod@command) (the one
//! table of flags), then the folder of the command: `policy`, `explain`, `contract`, `abi`,
//! `btf`, `key`, `trust`, `bundle` or `doctor`.

#![forbid(unsafe_code)]

mod abi;
mod btf;
mod bundle;
pub mod command;
mod contract;
mod doctor;
mod exit;
mod explain;
mod file;
mod key;
mod online;
mod output;
mod policy;
mod progress;
mod report;
mod sources;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::command::{Cli, Command};
use crate::exit::{Exit, Failure};

/// The whole command line as clap sees it, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the arguments name (the first is the name of the program).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().ansi().to_string();
            if error.use_stderr() {
                output::say(&text);
                return Exit::Input.into();
            }
            // Help that was asked for is the answer, and goes to stdout.
            return output::print(&text).map_or_else(
                |failure| {
                    failure.print();
                    failure.exit.into()
                },
                |()| Exit::Fine.into(),
            );
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        None => output::print(&command().render_long_help().ansi().to_string()).map(|()| Exit::Fine),
        Some(Command::Policy(command)) => policy::run(command),
        Some(Command::Contract(command)) => contract::run(command),
        Some(Command::Abi(command)) => abi::run(command),
        Some(Command::Btf(command)) => btf::run(command),
        Some(Command::Key(command)) => key::run(command),
        Some(Command::Trust(command)) => trust::run(command),
        Some(Command::Bundle(command)) => bundle::run(command),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments),
        Some(Command::Online(command)) => online::run(command),
        Some(Command::Explain(arguments)) => explain::run(&arguments),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "gabion", &mut script);
            output::print_bytes(&script).map(|()| Exit::Fine)
        }
    }
}
