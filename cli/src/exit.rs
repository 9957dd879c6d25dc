//! Exit codes, and what went wrong when it is not an answer.

use std::io;
use std::process::ExitCode;

use crate::output;

/// What the process says to its caller; the numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well, or the answer is yes.
    Fine = 0,
    /// The answer is no.
    No = 1,
    /// What was given is wrong.
    Input = 2,
    /// The operating system refused.
    System = 3,
    /// A defect of ours.
    Defect = 4,
    /// The answer is yes, once something was carried over.
    Migration = 5,
    /// It is held back: somebody pinned what is, or it failed before.
    Held = 6,
    /// It may not be taken: who signed it, when, for what, or what is in it.
    Refused = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// Whose fault it is.
    pub exit: Exit,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// What was given is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self { exit: Exit::Input, message: message.into(), help: None }
    }

    /// What is wrong has been said already.
    pub fn reported(exit: Exit) -> Self {
        Self { exit, ..Self::input("") }
    }

    /// The operating system refused.
    pub fn system(message: impl Into<String>) -> Self {
        Self { exit: Exit::System, ..Self::input(message) }
    }

    /// A defect of ours.
    pub fn defect(message: impl Into<String>) -> Self {
        let help = "this is a defect of gabion, please report it with the policy and the question".to_owned();
        Self { exit: Exit::Defect, help: Some(help), ..Self::input(message) }
    }

    /// Something about a file: that it is not there, or is a folder, is the caller's mistake, all else the system's.
    pub fn file(path: &str, attempt: &str, error: &io::Error) -> Self {
        let message = format!("{path}: cannot {attempt}: {}", plain(error));
        Self { exit: blame(error), ..Self::input(message) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says it on stderr.
    pub fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        let red = anstyle::AnsiColor::Red.on_default().effects(anstyle::Effects::BOLD);
        let help = self.help.as_ref().map(|help| format!("  help: {help}\n"));
        output::say(&format!("{red}error{red:#}: {}\n{}", self.message, help.unwrap_or_default()));
    }
}

/// Whose fault it is that a file cannot be used.
pub fn blame(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput => Exit::Input,
        _ => Exit::System,
    }
}

/// An error of the system without the number behind it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
