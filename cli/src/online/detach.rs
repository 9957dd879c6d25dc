//! `gabion detach`.

use std::path::PathBuf;

use clap::Args;

use super::{BPFFS, Connection, STATE, failed};
use crate::exit::{Exit, Failure};
use crate::output;

/// Flags of `gabion detach`.
#[derive(Debug, Args)]
#[command(after_help = "\
With a running agent, it takes everything away and stops. Without one, what is pinned in the bpffs goes.")]
pub struct DetachArgs {
    /// Folder of the bpffs that the agent owns
    #[arg(long, value_name = "DIR", default_value = BPFFS, env = "GABION_BPFFS")]
    bpffs: PathBuf,
    /// The agent's state folder, to be sure that none is running
    #[arg(long, value_name = "DIR", default_value = STATE, env = "GABION_STATE")]
    state: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: &DetachArgs) -> Result<Exit, Failure> {
    let asked = arguments.connection.ask(|client| async move {
        let answer: Result<serde_json::Value, _> = client.post("/v1/detach", Vec::new()).await;
        match answer {
            Ok(_) => Ok(true),
            Err(problem) if problem.code == "agent-unreachable" => Ok(false),
            Err(problem) => Err(failed(problem)),
        }
    })?;
    if asked {
        output::print("detached; the agent has stopped, nothing is enforced any more\n")?;
        return Ok(Exit::Fine);
    }
    let found = gabion_agent::kernel::bpf::detach(&arguments.bpffs, &arguments.state).map_err(failed)?;
    output::print(if found { "detached; nothing is enforced any more\n" } else { "nothing was attached\n" })?;
    Ok(Exit::Fine)
}
