//! `gabion abi ...`: what this binary, an object or a lock shares, and what became of it.

use std::path::Path;

use gabion_lock::{Change, Lock, Verdict, compare};
use serde::Serialize;

use crate::btf::{Kernels, Matrix, objects};
use crate::command::{AbiCheckArgs, AbiCommand, LockArgs};
use crate::exit::{Exit, Failure};
use crate::file::Input;
use crate::output;

/// Where the lock of a project is.
const LOCK: &str = "abi.lock";

pub fn run(command: AbiCommand) -> Result<Exit, Failure> {
    match command {
        AbiCommand::Lock(arguments) => lock(&arguments),
        AbiCommand::Check(arguments) => check(&arguments),
    }
}

fn lock(arguments: &LockArgs) -> Result<Exit, Failure> {
    let said = match &arguments.object {
        Some(path) => read(path)?,
        None => Said::ours()?,
    };
    let lock = said.lock()?;
    if arguments.to.as_os_str() == "-" {
        return output::print(&lock.text()).map(|()| Exit::Fine);
    }
    // The numbers that the lock there has used stay used. What is no lock is not written over.
    let lock = match arguments.to.try_exists() {
        Ok(true) => lock.after(&read(&arguments.to)?.lock()?),
        _ => lock,
    };
    let failed = |error| Failure::file(&arguments.to.display().to_string(), "write this file", &error);
    std::fs::write(&arguments.to, lock.text()).map_err(failed)?;
    Ok(Exit::Fine)
}

fn check(arguments: &AbiCheckArgs) -> Result<Exit, Failure> {
    if let Some(folder) = &arguments.kernels {
        let matrix = Matrix::of(&objects(arguments.object.as_deref())?, &Kernels::of_folder(folder)?)?;
        output::show(arguments.output.output, &matrix, Matrix::table)?;
        return Ok(matrix.exit());
    }
    let (old, new) = match (&arguments.against, arguments.files.as_slice()) {
        (None, []) => (read(Path::new(LOCK))?, Said::ours()?),
        (None, [new]) => (read(Path::new(LOCK))?, read(new)?),
        (None, [old, new]) => (read(old)?, read(new)?),
        (Some(old), []) => (read(old)?, Said::ours()?),
        (Some(old), [new]) => (read(old)?, read(new)?),
        (_, files) => {
            let message = format!("--against names the version before, and {} files say it again", files.len());
            return Err(Failure::input(message).help("give --against OLD NEW, or OLD NEW"));
        }
    };
    let (mut older, mut newer) = (old.lock()?, new.lock()?);
    // What one side cannot know did not go away.
    if [old.source, new.source].contains(&Source::Object) {
        (older, newer) = (older.as_object(), newer.as_object());
    }
    let report = Report::of(&compare(&older, &newer));
    output::show(arguments.output.output, &report, Report::table)?;
    if report.exit != Exit::Fine {
        output::say(&format!(
            "  help: change it back, or append instead; if {} is meant to change, say so in its change log and write\n        \
             the lock anew with `gabion abi lock`\n",
            new.file.by
        ));
    }
    Ok(report.exit)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A lock, or all of this gabion.
    Whole,
    /// An object, which knows its maps and types.
    Object,
}

/// What somebody shares, not yet understood.
struct Said {
    file: Input,
    source: Source,
}

impl Said {
    fn ours() -> Result<Self, Failure> {
        Ok(Self { file: Input::programs()?, source: Source::Whole })
    }

    fn lock(&self) -> Result<Lock, Failure> {
        let Input { by, bytes } = &self.file;
        let wrong = |error: &dyn std::fmt::Display| Failure::input(format!("{by}: {error}"));
        match self.source {
            Source::Whole if self.file.is_object() => Lock::ours(bytes).map_err(|error| wrong(&error)),
            Source::Object => Lock::of_object(bytes).map(Lock::with_pins).map_err(|error| wrong(&error)),
            Source::Whole => {
                let help = "what is read here is a lock that `gabion abi lock` wrote, or a BPF object";
                Lock::parse(bytes).map_err(|error| wrong(&error).help(help))
            }
        }
    }
}

fn read(path: &Path) -> Result<Said, Failure> {
    let file = Input::read(path)?;
    let source = if file.is_object() { Source::Object } else { Source::Whole };
    Ok(Said { file, source })
}

/// The answer.
#[derive(Serialize)]
struct Report {
    verdict: &'static str,
    changes: Vec<Shown>,
    #[serde(skip)]
    exit: Exit,
    #[serde(skip)]
    lines: String,
}

#[derive(Serialize)]
struct Shown {
    verdict: &'static str,
    path: String,
    was: Option<String>,
    is: Option<String>,
    rule: &'static str,
    why: String,
}

impl Report {
    fn of(changes: &[Change]) -> Self {
        let worst = changes.iter().map(|change| change.verdict).max().unwrap_or(Verdict::Compatible);
        let (exit, summary) = match worst {
            Verdict::Compatible => (Exit::Fine, "compatible"),
            Verdict::Migration => (Exit::Migration, "compatible with a migration"),
            Verdict::Breaking => (Exit::No, "breaking"),
        };
        let shown = changes.iter().map(|change| Shown {
            verdict: change.verdict.word(),
            path: change.path.clone(),
            was: change.was.clone(),
            is: change.is.clone(),
            rule: change.rule.code(),
            why: change.rule.to_string(),
        });
        let mut lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
        lines += summary;
        lines += match changes {
            [] => ": no change\n",
            _ => "\n",
        };
        Self { verdict: worst.word(), changes: shown.collect(), exit, lines }
    }

    fn table(&self) -> String {
        self.lines.clone()
    }
}
