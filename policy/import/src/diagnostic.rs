//! What is wrong with a text, where, and what to do about it.

use std::fmt;

use gabion_policy_model::set::Location;

/// One error or warning about a place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub location: Location,
    /// The offending text, shortened to one line.
    pub text: String,
    /// What is wrong, with the limit where there is one.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { source, line, column, .. } = &self.location;
        write!(f, "{source}:{line}:{column}: {}", self.message)?;
        if !self.text.is_empty() {
            write!(f, ": `{}`", self.text)?;
        }
        write!(f, "; {}", self.remedy)
    }
}

impl std::error::Error for Diagnostic {}

/// Errors after which an importer stops reading: the reader has enough to do.
pub(crate) const ERROR_LIMIT: usize = 100;
