//! What can go wrong while a plant is built, sorted by who must act.

use std::path::PathBuf;

/// A failure of the test site. None of them is a verdict: those are in [`crate::expectation`].
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The machine or the user lacks something.
    #[error("{what} needs {need}; {remedy}")]
    Unable {
        /// What was tried.
        what: String,
        /// What is missing.
        need: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The kernel refused a request about links, addresses or routes.
    #[error("{request}: the kernel answered {source}")]
    Link {
        /// The request in words, with names.
        request: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A system call about namespaces, mounts or sockets failed.
    #[error("{call}: {source}")]
    System {
        /// The call and what it was about.
        call: String,
        /// Its errno.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A capture or a document is not what it should be.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it and where.
        what: String,
    },
    /// A role of the plant could not do its work for a reason that is no verdict.
    #[error("{role}: {what}")]
    Role {
        /// Which role.
        role: &'static str,
        /// What failed.
        what: String,
    },
    /// The agent did not do what it was asked in time, or ended.
    #[error("gabion: {what}")]
    Agent {
        /// What was awaited, and what came.
        what: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, SiteError>;

/// Names the call that failed.
pub(crate) trait Calling<T> {
    fn calling(self, call: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Calling<T> for std::result::Result<T, E> {
    fn calling(self, call: impl Into<String>) -> Result<T> {
        self.map_err(|source| SiteError::System { call: call.into(), source: source.into() })
    }
}
