//! `gabion generation`: what is in force, on trial, committed before, and how that changes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gabion_agent::api::wire::{Generations, JournalLine, KnownGeneration};

use super::apply::{ChangeArgs, encode, make};
use super::{Connection, difference, emergencies, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, columns};

/// What can be done with generations.
#[derive(Debug, Subcommand)]
pub enum GenerationCommand {
    /// List what is in force, on trial, and was committed before
    List(ListArgs),
    /// Show one generation and its journal; without a number the whole journal
    Show(ShowArgs),
    /// Put a signed bundle into force: verified, loaded beside what is in force, probed, swapped, watched
    #[command(after_help = "\
Examples:
  gabion generation apply /var/lib/gabion-inbox/substation-7.tar --wait
  gabion generation apply substation-7.tar --only eth3 --window 300

For an agent that runs with --trust-root. Nothing changes before everything speaks for the bundle. An emergency
goes into force at once, beside the policy and everywhere: without --only and --window.

Exit codes: 0 in force (with --wait: committed), 1 rolled back while --wait waited, 2 what was given is wrong,
3 the system refused, 6 held back (pinned, or it failed before), 7 refused (signatures, versions, time, contents)")]
    Apply(ApplyBundleArgs),
    /// Go back: undo what is on trial, else put into force what was committed before
    #[command(after_help = "\
What was in force stays out, whatever the files say, until you insist (`gabion apply --again`). On a sealed node \
undoing a trial needs nobody; going below the version that it accepted takes a bundle with a grant (`gabion bundle \
sign --grant-floor`).

Exit codes: 0 done, 2 what was given is wrong, 3 the system refused, 6 held back (pinned), 7 refused (takes a grant)")]
    Rollback(RollbackArgs),
    /// What a bundle, or the files, would change; of neither what the last change did: rules, and verdicts
    #[command(after_help = "\
Examples:
  gabion generation diff substation-7.tar
  gabion generation diff --files
  gabion generation diff

A change is tried on packets of late before it judges any: by its programs and by those before it, in copies
that nobody else uses. With a bundle or --files that is all that happens. Verdicts that change as the policies
say are listed; all else stops a change.

Exit codes with a bundle or --files: 0 it changes nothing, 1 it changes something, 2 what was given is wrong,
3 the system refused, 7 it would be refused (signatures, versions, time, contents, golden packets)")]
    Diff(DiffArgs),
    /// Commit what is on trial, before its window is over
    Commit(ListArgs),
    /// Let nothing change until `unpin`
    Pin(PinArgs),
    /// Let generations change again
    Unpin(ListArgs),
}

/// Flags that all have.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `gabion generation show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its number
    number: Option<u32>,
    #[command(flatten)]
    common: ListArgs,
}

/// Flags of `gabion generation apply`.
#[derive(Debug, Args)]
pub struct ApplyBundleArgs {
    /// The bundle: an archive or a folder
    bundle: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    common: ListArgs,
}

/// Flags of `gabion generation diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// What this bundle would change: an archive or a folder
    bundle: Option<PathBuf>,
    /// What the files that the agent reads would change
    #[arg(long, conflicts_with = "bundle")]
    files: bool,
    #[command(flatten)]
    common: ListArgs,
}

/// Flags of `gabion generation rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// To this generation, which was committed before
    #[arg(long, value_name = "NUMBER")]
    to: Option<u32>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: ListArgs,
}

/// Flags of `gabion generation pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Why, for those who wonder
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: ListArgs,
}

/// Runs the command.
pub(super) fn run(command: GenerationCommand) -> Result<Exit, Failure> {
    match command {
        GenerationCommand::List(arguments) => {
            let known = get(&arguments.connection)?;
            output::show(arguments.output.output, &known, list)?;
        }
        GenerationCommand::Apply(arguments) => {
            let mut query = vec![format!("bundle={}", encode(&found(&arguments.bundle)?))];
            query.extend(arguments.change.query());
            let path = format!("/v1/generations/apply?{}", query.join("&"));
            let ListArgs { connection, output } = &arguments.common;
            return make(connection, output.output, &path, arguments.change.waits());
        }
        GenerationCommand::Show(arguments) => return show(&arguments),
        GenerationCommand::Rollback(arguments) => {
            let mut query: Vec<String> = arguments.to.map(|to| format!("to={to}")).into_iter().collect();
            query.extend(arguments.reason.map(|reason| format!("reason={}", encode(&reason))));
            let path = format!("/v1/generations/rollback?{}", query.join("&"));
            return make(&arguments.common.connection, arguments.common.output.output, &path, false);
        }
        GenerationCommand::Diff(arguments) => {
            let ListArgs { connection, output } = &arguments.common;
            let query = match &arguments.bundle {
                Some(bundle) => format!("bundle={}", encode(&found(bundle)?)),
                None if arguments.files => String::from("files"),
                None => return difference::last(connection, output.output),
            };
            return difference::dry(connection, output.output, &query);
        }
        GenerationCommand::Commit(arguments) => tell(&arguments, "/v1/generations/commit")?,
        GenerationCommand::Pin(arguments) => {
            let query = arguments.reason.map(|reason| format!("?reason={}", encode(&reason))).unwrap_or_default();
            tell(&arguments.common, &format!("/v1/generations/pin{query}"))?;
        }
        GenerationCommand::Unpin(arguments) => tell(&arguments, "/v1/generations/unpin")?,
    }
    Ok(Exit::Fine)
}

/// Where a bundle is: the agent may have another working folder.
fn found(bundle: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(bundle);
    let path = path.map_err(|error| Failure::file(&bundle.display().to_string(), "find", &error))?;
    Ok(path.display().to_string())
}

fn get(connection: &Connection) -> Result<Generations, Failure> {
    connection.ask(|client| async move { client.get("/v1/generations").await.map_err(failed) })
}

/// Has something changed at once, and shows how things are then.
fn tell(arguments: &ListArgs, path: &str) -> Result<(), Failure> {
    let known: Generations =
        arguments.connection.ask(|client| async move { client.post(path, Vec::new()).await.map_err(failed) })?;
    output::show(arguments.output.output, &known, list)
}

fn list(known: &Generations) -> String {
    let heads = ["number", "state", "since", "rules", "origin", "interfaces"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(known.generations.iter().map(|it| {
        vec![
            it.number.to_string(),
            state(it, known),
            it.since.clone(),
            it.rules.to_string(),
            it.origin.clone(),
            if it.interfaces.is_empty() { String::from("-") } else { it.interfaces.join(", ") },
        ]
    }));
    let mut text = columns(&rows);
    text.push_str(&emergencies::table(&known.emergencies));
    // Writing to a String cannot fail.
    if let Some(why) = &known.pinned {
        let _ = writeln!(text, "\npinned: {why} (`gabion generation unpin`)");
    }
    for failed in known.failed.iter().rev().take(FAILED_SHOWN) {
        let _ = writeln!(text, "\ngeneration {} failed: {}", failed.number, failed.why);
    }
    text
}

/// Failures that a list shows.
const FAILED_SHOWN: usize = 3;

fn state(it: &KnownGeneration, known: &Generations) -> String {
    match known.trial.as_ref().filter(|trial| trial.number == it.number) {
        Some(trial) => format!("on trial, {} s left, else back to {}", trial.left_s, trial.back_to),
        None => it.state.clone(),
    }
}

fn show(arguments: &ShowArgs) -> Result<Exit, Failure> {
    let mut known = get(&arguments.common.connection)?;
    if let Some(number) = arguments.number {
        known.generations.retain(|it| it.number == number);
        known.failed.retain(|it| it.number == number);
        known.journal.retain(|it| it.generation == number);
        if known.generations.is_empty() && known.journal.is_empty() {
            let help = "`gabion generation list` shows what is remembered";
            return Err(Failure::input(format!("generation {number} is not remembered")).help(help));
        }
    }
    output::show(arguments.common.output.output, &known, |known| {
        let mut text = String::new();
        for it in known.generations.iter().filter(|_| arguments.number.is_some()) {
            text.push_str(&columns(&facts(it, known)));
            text.push('\n');
        }
        text.push_str(&columns(&known.journal.iter().map(line).collect::<Vec<_>>()));
        text
    })?;
    Ok(Exit::Fine)
}

fn facts(it: &KnownGeneration, known: &Generations) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let interfaces = if it.interfaces.is_empty() { String::from("none") } else { it.interfaces.join(", ") };
    vec![
        row("generation", it.number.to_string()),
        row("state", state(it, known)),
        row("since", it.since.clone()),
        row("origin", it.origin.clone()),
        row("site", it.site.clone()),
        row("rules", it.rules.to_string()),
        row("policy", it.digest.clone()),
        row("loaded", if it.loaded { "yes" } else { "no" }.to_owned()),
        row("interfaces", interfaces),
        row("emergencies", if it.emergencies.is_empty() { "none".to_owned() } else { it.emergencies.join(", ") }),
    ]
}

fn line(it: &JournalLine) -> Vec<String> {
    let step = match &it.from {
        Some(from) => format!("{from} -> {}", it.step),
        None => it.step.clone(),
    };
    vec![it.time.clone(), it.generation.to_string(), step, it.detail.clone()]
}
