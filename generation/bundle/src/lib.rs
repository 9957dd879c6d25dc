//! Bundles: everything that a generation is made of, as files that say what they are.
//!
//! A bundle is an OCI image layout (image-spec 1.1), as a folder or as a tar archive of one: blobs by their SHA-256, an image manifest
//! that names them, and as its configuration our own [`Manifest`], which says what each of them is for. The same inputs
//! give the same bytes. [`Builder`] makes one; [`Bundle::open`] reads one, which is hostile until every byte of it that
//! is ever given away was compared with its digest, and its limits were kept. Who made it, and whether that one may, is
//! not said here.

#![forbid(unsafe_code)]

mod build;
mod digest;
mod error;
mod layout;
mod manifest;
mod name;
mod open;

pub use build::{Builder, Layout};
pub use digest::Digest;
pub use error::{Limit, Place, Refused};
pub use manifest::{Content, Manifest, Target, Use};
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
    /// Bytes of a path within a bundle.
    pub const PATH: usize = 255;
    /// Bytes of a name.
    pub const NAME: usize = 63;
}
