//! `gabion policy diff`: what two policies say differently, rule by rule.

use gabion_policy_model::text::diff::{Change, Kind, What, diff};
use serde::Serialize;

use crate::command::PolicyDiffArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::sources;

#[derive(Debug, Serialize)]
struct Difference {
    added: usize,
    removed: usize,
    changed: usize,
    moved: usize,
    changes: Vec<Change>,
}

pub fn run(arguments: &PolicyDiffArgs) -> Result<Exit, Failure> {
    let load = |path| sources::load(std::slice::from_ref(path));
    let changes = diff(&load(&arguments.old)?, &load(&arguments.new)?);
    let count = |kind| changes.iter().filter(|change| change.kind == kind).count();
    let difference = Difference {
        added: count(Kind::Added),
        removed: count(Kind::Removed),
        changed: count(Kind::Changed),
        moved: count(Kind::Moved),
        changes,
    };
    output::show(arguments.output.output, &difference, table)?;
    Ok(if difference.changes.is_empty() { Exit::Fine } else { Exit::No })
}

fn table(difference: &Difference) -> String {
    let mut text = String::new();
    for change in &difference.changes {
        text += &told(change);
    }
    let Difference { added, removed, changed, moved, .. } = difference;
    text + &format!("{added} added, {removed} removed, {changed} changed, {moved} moved\n")
}

/// One change as people read it.
pub fn told(change: &Change) -> String {
    let (red, green) = (anstyle::AnsiColor::Red.on_default(), anstyle::AnsiColor::Green.on_default());
    let what = match change.what {
        What::Site => "site",
        What::Namespace => "namespace",
        What::Entry => "inventory entry",
        What::ClusterPolicy => "cluster policy",
        What::Policy => "policy",
        What::Rule => "rule",
    };
    let verb = match change.kind {
        Kind::Added => "added",
        Kind::Removed => "removed",
        Kind::Changed => "changed",
        Kind::Moved => "moved",
    };
    let direction = change.direction.map_or_else(String::new, |direction| format!(" ({direction})"));
    let location = change.location.as_ref().map_or_else(String::new, |location| format!("  {location}"));
    let mut text = format!("{verb} {what} {}{direction}{location}\n", change.name);
    if change.kind == Kind::Moved {
        return text;
    }
    let lines =
        |said: &Option<String>| said.iter().flat_map(|said| said.lines()).map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(&change.before), lines(&change.after));
    for line in before.iter().filter(|line| !after.contains(line)) {
        text += &format!("{red}  - {}{red:#}\n", line.trim_start());
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        text += &format!("{green}  + {}{green:#}\n", line.trim_start());
    }
    text
}
