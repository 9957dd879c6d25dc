//! `gabion policy ...`.

mod check;
mod compile;
mod diff;
mod import;
mod schema;
mod stats;
pub mod test;

use crate::command::PolicyCommand;
use crate::exit::{Exit, Failure};

pub fn run(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check(arguments) => check::run(&arguments),
        PolicyCommand::Schema(arguments) => schema::run(&arguments),
        PolicyCommand::Compile(arguments) => compile::run(&arguments),
        PolicyCommand::Import(arguments) => import::run(&arguments),
        PolicyCommand::Diff(arguments) => diff::run(&arguments),
        PolicyCommand::Test(arguments) => test::run(&arguments),
    }
}
