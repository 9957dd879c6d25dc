//! `gabion apply`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use gabion_agent::api::wire::{Apply, Generations};

use super::{Connection, exit_of, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::progress::Progress;

/// Pause between two looks at a trial.
const WAIT_STEP: Duration = Duration::from_millis(250);

/// Flags of `gabion apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "A change is on trial before the node relies on it (site.health): when drops rise beyond their\n\
    bound, an interface loses its guard, or a probe of the site fails, the generation before comes back\n\
    by itself. What failed stays out until you insist (--again).\n\n\
    Exit codes: 0 in force (with --wait: committed), 1 rolled back while --wait waited, 2 the policy is\n\
    wrong, 3 the system refused, 6 held back (pinned, or it failed before)"
)]
pub struct ApplyArgs {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

/// How a change is made.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Take it although it failed before
    #[arg(long)]
    again: bool,
    /// Only this interface runs it; all others stay as they are. May be given several times
    #[arg(long, value_name = "INTERFACE")]
    only: Vec<String>,
    /// How long it is on trial, in seconds, instead of what the site says; 0 commits it at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    window: Option<u32>,
    /// Wait for the end of the trial, and say how it ended
    #[arg(long)]
    wait: bool,
}

impl ChangeArgs {
    /// Whether the end of the trial is waited for.
    pub fn waits(&self) -> bool {
        self.wait
    }

    /// As a query of the API.
    pub fn query(&self) -> Vec<String> {
        let mut query: Vec<String> = self.only.iter().map(|name| format!("only={}", encode(name))).collect();
        query.extend(self.again.then(|| String::from("again=true")));
        query.extend(self.window.map(|window| format!("window={window}")));
        query
    }
}

/// Has a change made, shows what came of it, and waits for the end of its trial if that is wanted.
pub fn make(connection: &Connection, format: Format, path: &str, waits: bool) -> Result<Exit, Failure> {
    let apply = connection.ask(|client| async move { client.change(path).await.map_err(failed) })?;
    output::show(format, &apply, table)?;
    if let Some(problem) = &apply.error {
        if format == Format::Table {
            let details = problem.details.trim_end();
            output::say(&format!("{details}\ngeneration {} stays in force\n", apply.generation));
        }
        return Ok(exit_of(problem));
    }
    if waits && apply.trial_ms != 0 { wait(connection, apply.generation) } else { Ok(Exit::Fine) }
}

/// Percent-encodes what is not plain.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Waits until a generation is no longer on trial.
fn wait(connection: &Connection, number: u32) -> Result<Exit, Failure> {
    let _progress = Progress::begin("on trial");
    connection.ask(|client| async move {
        loop {
            let known: Generations = client.get("/v1/generations").await.map_err(failed)?;
            if known.trial.as_ref().is_some_and(|trial| trial.number == number) {
                tokio::time::sleep(WAIT_STEP).await;
                continue;
            }
            let of = |step: &str| known.journal.iter().rev().find(|it| it.generation == number && it.step == step);
            return match of("rolled back") {
                Some(line) => {
                    output::say(&format!("generation {number} was rolled back: {}\n", line.detail));
                    Ok(Exit::No)
                }
                None => {
                    output::print(&format!("generation {number} is committed\n"))?;
                    Ok(Exit::Fine)
                }
            };
        }
    })
}

pub(super) fn run(arguments: &ApplyArgs) -> Result<Exit, Failure> {
    let query = arguments.change.query().join("&");
    let path = format!("/v1/apply?{query}");
    make(&arguments.connection, arguments.output.output, &path, arguments.change.wait)
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
    if apply.trial_ms != 0 {
        let seconds = apply.trial_ms.div_ceil(1_000);
        let _ = writeln!(text, "on trial for {seconds} s: `gabion generation commit` ends it, `rollback` undoes it");
    }
    for warning in &apply.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
