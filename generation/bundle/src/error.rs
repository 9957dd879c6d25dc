//! Why a bundle is refused.

use std::fmt;

use crate::digest::Digest;

/// Where in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of the layout, by its path there.
    File(String),
    /// A field of a manifest.
    Field(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Field(field) => write!(f, "manifest, {field}"),
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of a manifest.
    Manifest,
    /// Bytes of a blob.
    Blob,
    /// Bytes of all blobs.
    Bundle,
    /// Number of files.
    Files,
    /// Number of manifests.
    Manifests,
    /// Bytes of all that is attached.
    Attached,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "bytes of a manifest",
            Self::Blob => "bytes of a blob",
            Self::Bundle => "bytes of all blobs",
            Self::Files => "files",
            Self::Manifests => "manifests",
            Self::Attached => "bytes of what is attached",
        })
    }
}

/// A bundle that is not taken. Each reason has a [code](Refused::code), by which an operator finds what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("{place}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        place: Place,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that must be there is not.
    #[error("{place}: is not there; the bundle is not whole, fetch it again")]
    Missing {
        /// Which file.
        place: Place,
    },
    /// It is no layout, or one of another version.
    #[error("{place}: expected {expected}, found {found:?}")]
    Form {
        /// Where.
        place: Place,
        /// What must be there.
        expected: &'static str,
        /// The beginning of what is.
        found: String,
    },
    /// Text that does not parse.
    #[error("{place}: {source}")]
    Syntax {
        /// Which file.
        place: Place,
        /// Where in it, and what.
        source: serde_json::Error,
    },
    /// A member of the archive that no layout has: a link, a device, a path that leads out of it, one name twice.
    #[error("member {name:?} of the archive: {what}")]
    Member {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A blob that is not what its digest says.
    #[error("{place}: its digest is {found}; it was changed, or cut, on the way here")]
    Digest {
        /// Which blob.
        place: Place,
        /// Digest of what is there.
        found: Digest,
    },
    /// A blob of another length than its manifest says.
    #[error("{place}: has {found} bytes, the manifest says {expected}")]
    Size {
        /// Which blob.
        place: Place,
        /// What the manifest says.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// More than a bundle may have.
    #[error("{place}: {found} {limit}, at most {most} are taken")]
    Limit {
        /// Where.
        place: Place,
        /// Of what.
        limit: Limit,
        /// How many there are.
        found: u64,
        /// How many there may be.
        most: u64,
    },
    /// A manifest that contradicts itself.
    #[error("{place}: {what}")]
    Contradiction {
        /// Which field.
        place: Place,
        /// What is wrong.
        what: String,
    },
    /// Something attached that is not about this bundle, or has not the form of an attachment.
    #[error("{place}: {what}")]
    Attachment {
        /// Which manifest.
        place: Place,
        /// What is wrong.
        what: String,
    },
}

impl Refused {
    /// Its code: stays the same whatever the text says.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "bundle-unreadable",
            Self::Missing { .. } => "bundle-file-missing",
            Self::Form { .. } => "bundle-form",
            Self::Syntax { .. } => "bundle-syntax",
            Self::Member { .. } => "bundle-archive",
            Self::Digest { .. } => "bundle-digest",
            Self::Size { .. } => "bundle-size",
            Self::Limit { .. } => "bundle-limit",
            Self::Contradiction { .. } => "bundle-manifest",
            Self::Attachment { .. } => "bundle-attachment",
        }
    }
}
