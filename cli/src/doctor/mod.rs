//! `gabion doctor`: whether this node has what gabion relies on, and what of gabion was left behind on it.

mod signatures;

use gabion_generation::{AgentFolder, Blame, Check, Orphan, State, Survey, checkup, survey};
use serde::Serialize;

use crate::command::DoctorArgs;
use crate::exit::{Exit, Failure};
use crate::output;

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    checks: Vec<Checked>,
    /// None when the kernel does not let us look.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Objects>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    name: &'static str,
    /// `there`, `missing`, `needed` or `unknown`.
    state: &'static str,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    means: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Objects {
    programs: usize,
    maps: usize,
    links: usize,
    folders: Vec<Folder>,
    orphans: Vec<LeftBehind>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Folder {
    path: String,
    generations: Vec<Generation>,
    hooks: Vec<String>,
    held_by: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    name: String,
    in_force: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftBehind {
    /// `program`, `map`, `link` or `folder`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    name: String,
    pins: Vec<String>,
    held_by: Vec<String>,
    why: String,
    remedy: String,
}

pub fn run(arguments: &DoctorArgs) -> Result<Exit, Failure> {
    let mut checks = checkup();
    checks.push(signatures::check());
    let needed = checks.iter().any(|check| check.state == State::Needed);
    let mut report = Report { checks: checks.into_iter().map(Checked::of).collect(), objects: None, refused: None };
    let exit = match survey() {
        Ok(survey) => {
            let found = !survey.orphans.is_empty();
            report.objects = Some(Objects::of(survey));
            if found || needed { Exit::No } else { Exit::Fine }
        }
        Err(error) => {
            report.refused = Some(error.to_string());
            if error.blame() == Blame::Kernel { Exit::System } else { Exit::Defect }
        }
    };
    output::show(arguments.output.output, &report, table)?;
    Ok(exit)
}

impl Checked {
    fn of(Check { name, state, found, means }: Check) -> Self {
        Self { name, state: state.name(), found, means }
    }
}

impl Objects {
    fn of(Survey { programs, maps, links, folders, orphans }: Survey) -> Self {
        let folder = |AgentFolder { path, generations, hooks, held_by }| Folder {
            path: path.display().to_string(),
            generations: generations.into_iter().map(|(name, in_force)| Generation { name, in_force }).collect(),
            hooks,
            held_by,
        };
        let left = |Orphan { kind, id, name, pins, held_by, why, remedy }| LeftBehind {
            kind: kind.name(),
            id,
            name,
            pins: pins.iter().map(|path| path.display().to_string()).collect(),
            held_by,
            why,
            remedy,
        };
        let (folders, orphans) = (folders.into_iter().map(folder).collect(), orphans.into_iter().map(left).collect());
        Self { programs, maps, links, folders, orphans }
    }
}

fn table(report: &Report) -> String {
    let (red, green) = (anstyle::AnsiColor::Red.on_default().bold(), anstyle::AnsiColor::Green.on_default().bold());
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    let mut text = String::new();
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for Checked { name, state, found, means } in &report.checks {
        let colour = match *state {
            "there" => green,
            "needed" => red,
            _ => yellow,
        };
        text += &format!("{name:width$}  {colour}{state:8}{colour:#} {found}\n");
        if !means.is_empty() {
            text += &format!("{:width$}           {means}\n", "");
        }
    }
    text.push('\n');
    let Some(objects) = &report.objects else {
        let refused = report.refused.as_deref().unwrap_or_default();
        return text + &format!("{red}error{red:#}: {refused}\n  help: what the kernel holds is shown to root only\n");
    };
    for Folder { path, generations, hooks, held_by } in &objects.folders {
        let said = |Generation { name, in_force }: &Generation| {
            if *in_force { format!("{name} in force") } else { name.clone() }
        };
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        text += &format!("{path}\n  generations: {}\n", list(generations.iter().map(said).collect()));
        text += &format!("  hooks: {}\n  held by: {}\n", list(hooks.clone()), list(held_by.clone()));
    }
    for LeftBehind { kind, id, name, pins, held_by, why, remedy } in &objects.orphans {
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        text += &format!("{red}orphan{red:#} {kind}{id} {name}: {why}\n");
        for (what, list) in [("pinned at", pins), ("held by", held_by)] {
            if !list.is_empty() && *kind != "folder" {
                text += &format!("  {what} {}\n", list.join(", "));
            }
        }
        text += &format!("  {remedy}\n");
    }
    let Objects { programs, maps, links, orphans, .. } = objects;
    text + &format!("{programs} programs, {maps} maps and {links} links of gabion, {} orphans\n", orphans.len())
}
