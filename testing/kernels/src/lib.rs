//! The types of supported kernels, as far as our views need them: kept in `kept/`, two kilobytes each.
//!
//! `tests/matrix.rs` holds every view of [`objects`] to them without network, root or other kernels. `./x kernels`
//! takes them anew out of Debian's newest packages, and has to be run when a view asks for something else, or a series
//! is added to [`KERNELS`]. Nothing is booted or loaded here. Start with [`renew`].

#![forbid(unsafe_code)]

pub mod image;
mod renew;

use std::collections::BTreeSet;
use std::path::PathBuf;

use gabion_view::View;

pub use renew::renew;

/// Series and flavours of Debian's kernels, with the architecture whose package it is.
pub const KERNELS: [(&str, &str, &str); 8] = [
    ("6.1", "amd64", "amd64"),
    ("6.1", "cloud-amd64", "amd64"),
    ("6.1", "rt-amd64", "amd64"),
    ("6.1", "arm64", "arm64"),
    ("6.12", "amd64", "amd64"),
    ("6.12", "cloud-amd64", "amd64"),
    ("6.12", "rt-amd64", "amd64"),
    ("6.12", "arm64", "arm64"),
];

/// The extract of the kernel on which the tests of views run outside of guests, a series that Debian's archive has not.
/// It is written when `./x kernels` runs on a kernel of that series, and stays as it is otherwise.
pub const RUNNING: (&str, &str) = ("6.18-running", "6.18.");

/// Names of all extracts.
#[must_use]
pub fn names() -> Vec<String> {
    let packaged = KERNELS.iter().map(|(series, flavour, _)| format!("{series}-{flavour}"));
    packaged.chain([RUNNING.0.to_owned()]).collect()
}

/// Why the types of a kernel could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, or a program's output.
    #[error("{path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The archive does not have it, or cannot be asked.
    #[error(transparent)]
    Archive(#[from] gabion_testing_vm::Error),
    /// A package without a kernel.
    #[error("{0}: there is no boot/vmlinuz-* in this package")]
    NoImage(PathBuf),
    /// An image whose types cannot be found.
    #[error("{0}: {1}")]
    Image(String, image::Error),
    /// Types that cannot be used.
    #[error(transparent)]
    Types(#[from] gabion_btf::Error),
    /// An object that does not say what it reads.
    #[error("{0}: {1}")]
    Views(&'static str, gabion_view::described::Unread),
    /// An object that was not built.
    #[error("{0} was not built; `./x doctor` says what is missing")]
    NotBuilt(&'static str),
    /// Nothing may be fetched.
    #[error("kernels are fetched from the network, and GABION_OFFLINE forbids it")]
    Offline,
}

/// What the views ask for, a line each: the list of what the extracts were made for. What nobody looked for in a kernel
/// cannot be told from what it does not have.
#[must_use]
pub fn asked(views: &[View<'_>]) -> String {
    let fields = views.iter().flat_map(|view| view.fields.iter().map(|field| format!("{} {}\n", view.of, field.path)));
    fields.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where the extracts are.
#[must_use]
pub fn kept() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kept")
}

/// The objects whose views are held to all kernels: those of the product, and those that test views.
///
/// # Errors
/// When one was not built.
pub fn objects() -> Result<[(&'static str, Vec<u8>); 4], Error> {
    let product = gabion_kernel_object::object().map_err(|_| Error::NotBuilt("kernel/programs"))?;
    let owners = gabion_owners::object().map_err(|_| Error::NotBuilt("kernel/owners/programs"))?;
    let gatekeeper = gabion_gatekeeper::object().map_err(|_| Error::NotBuilt("kernel/gatekeeper/programs"))?;
    let tests = gabion_testing_views::object().map_err(|_| Error::NotBuilt("testing/views/programs"))?;
    Ok([
        ("kernel/programs", product.to_vec()),
        ("kernel/owners/programs", owners.to_vec()),
        ("kernel/gatekeeper/programs", gatekeeper.to_vec()),
        ("testing/views/programs", tests),
    ])
}
