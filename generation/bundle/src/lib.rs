//! Bundles: everything that a generation is made of, as files that say what they are.
//!
//! A bundle is an OCI image layout (image-spec 1.1), as a folder or as a tar archive of one: blobs by their SHA-256, an
//! image manifest that names them, and as its configuration our own [`Manifest`], which says what each of them is for.
//! The same inputs give the same bytes. [`Builder`] makes one; [`Bundle::open`] reads one, which is hostile until every
//! byte of it that is ever given away was compared with its digest, and its limits were kept. What is said about a
//! bundle is attached to it ([`Attachment`]), in the same layout, and no part of what it is known by. Who made it, and
//! whether that one may, is not decided here.

#![forbid(unsafe_code)]

mod attached;
mod build;
mod digest;
mod error;
mod layout;
mod manifest;
mod name;
mod open;

pub use attached::{Attachment, Metadata};
pub use build::{Builder, Layout};
pub use digest::Digest;
pub use error::{Limit, Place, Refused};
pub use manifest::{Content, Kind, Manifest, Target, Time, Use};
pub use name::{Name, Path};
pub use open::Bundle;

/// What a bundle may be, at most.
pub mod limits {
    /// Bytes of an index, an image manifest or a manifest of ours.
    pub const MANIFEST: u64 = 1 << 20;
    /// Bytes of one blob.
    pub const BLOB: u64 = 64 << 20;
    /// Bytes of all blobs.
    pub const BUNDLE: u64 = 256 << 20;
    /// Files that a manifest names.
    pub const FILES: usize = 10_000;
    /// Manifests in an index.
    pub const MANIFESTS: usize = 64;
    /// Files of one attachment.
    pub const ATTACHED_FILES: usize = 1_200;
    /// Bytes of all that is attached.
    pub const ATTACHED: u64 = 16 << 20;
    /// Bytes of a path within a bundle.
    pub const PATH: usize = 255;
    /// Bytes of a name.
    pub const NAME: usize = 63;
}
