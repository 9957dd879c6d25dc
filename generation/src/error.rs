//! What can go wrong, sorted by whose fault it is.

use std::io::ErrorKind::PermissionDenied;
use std::path::PathBuf;

use gabion_shared::OpenError;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The policy or the configuration.
    Operator,
    /// The kernel refused, or lacks something.
    Kernel,
    /// A defect of ours.
    Ourselves,
}

/// Why a generation could not be loaded, attached or adopted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something does not fit; nothing was changed.
    #[error("{what}: {need} needed, the limit is {limit}; {remedy}")]
    TooLarge {
        /// What does not fit.
        what: &'static str,
        /// How much of it is needed.
        need: u64,
        /// How much there can be.
        limit: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The folder is no bpffs.
    #[error("{} is not on a bpffs; mount one there (mount -t bpf bpf {})", .path.display(), .path.display())]
    NotBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The pinned state was written by another version.
    #[error(transparent)]
    Contract(#[from] crate::ContractMismatch),
    /// The interface is not attached.
    #[error("interface {name} is not attached")]
    NotAttached {
        /// Its name.
        name: String,
    },
    /// No generation is in force yet.
    #[error("no generation is in force: commit one before attaching")]
    NoGeneration,
    /// The kernel refused.
    #[error("{doing}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The verifier refused a program that we built.
    #[error("the kernel's verifier refused {program}: {log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The binary holds no kernel programs.
    #[error(transparent)]
    NotBuilt(#[from] gabion_kernel_object::NotBuilt),
    /// The kernel programs take the records that we share with them for something else.
    #[error(transparent)]
    ObjectContract(#[from] crate::ObjectContract),
    /// Memory that we share with the kernel programs is not what it should be.
    #[error(transparent)]
    Memory(#[from] OpenError),
    /// The embedded object is not what this crate expects.
    #[error("the embedded object lacks {what}")]
    Object {
        /// What is missing.
        what: &'static str,
    },
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooLarge { .. } | Self::NotBpffs { .. } | Self::Contract(_) | Self::NotAttached { .. } => {
                Blame::Operator
            }
            Self::Kernel { .. } | Self::Memory(OpenError::Kernel { .. }) => Blame::Kernel,
            Self::NoGeneration
            | Self::Verifier { .. }
            | Self::NotBuilt(_)
            | Self::ObjectContract(_)
            | Self::Memory(_)
            | Self::Object { .. } => Blame::Ourselves,
        }
    }

    /// Whether the kernel refused because the process may not.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        let (Self::Kernel { source, .. } | Self::Memory(OpenError::Kernel { source, .. })) = self else { return false };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == PermissionDenied) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// A refusal of the kernel while `doing`.
    pub(crate) fn kernel(doing: impl Into<String>) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        let doing = doing.into();
        move |source| Self::Kernel { doing: format!("{doing}: {}", chain(&*source)), source }
    }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Adds what was being done to a kernel's refusal.
pub(crate) trait Doing<T> {
    /// Names the step.
    fn doing(self, step: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Doing<T> for Result<T, E> {
    fn doing(self, step: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::kernel(step)(Box::new(error)))
    }
}
