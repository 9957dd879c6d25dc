//! Why the store does not answer.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// Another agent works here.
    #[error(
        "{path} is in use by another agent (pid {holder}); stop it first, or give this one a --state folder of its own"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// What is on disk is not what was written.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Whether the disk refused, or holds something that nobody wrote.
pub(crate) fn classified(path: &Path, action: &'static str, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        // A file that is no database, and one that is cut, are read errors of these kinds.
        redb::Error::Io(source)
            if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Io { path, action, source }
        }
        redb::Error::PreviousIo => StoreError::Io { path, action, source: io::Error::other("an earlier write failed") },
        other => StoreError::Damaged { path, what: other.to_string() },
    }
}
