//! Runs static programs of this workspace on kernels other than the one of this machine: Debian's 6.1 and 6.12 cloud
//! kernels, under QEMU's software emulation, with an initramfs and nothing else. It needs neither root nor KVM nor a
//! disk image, and it never touches the network of the host. The guest's first process is `gabion-guest` (`src/bin`);
//! start reading at [`run`].
#![forbid(unsafe_code)]

mod cpio;
mod guest;
pub mod instructions;
mod kernel;
mod package;
mod static_build;
pub mod suite;

pub use guest::{Outcome, run};
pub use kernel::{Kernel, SERIES};
pub use package::Archive;
pub use static_build::{build, program, test_binary};

/// Why a guest could not be run. Whether the command inside succeeded is not an error but [`Outcome::exit`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the host.
    #[error("{path}: {cause}")]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A program of the host could not be started, or said that it failed.
    #[error("{program}: {detail}")]
    Program {
        /// Which program.
        program: &'static str,
        /// What it said.
        detail: String,
    },
    /// The configured archives have no kernel of this series.
    #[error("no kernel package ({0}) in the configured archives; as root: apt-get update")]
    NoKernel(String),
    /// The kernel is not here, and nothing may be fetched.
    #[error("no kernel of the series {0} in {1}, and GABION_OFFLINE forbids to fetch one")]
    Offline(String, std::path::PathBuf),
    /// A file is too large for the archive format of the initramfs.
    #[error("{0} has {1} bytes; a file of an initramfs holds less than 4 GiB")]
    TooLarge(String, usize),
    /// The guest stopped without saying how its command ended; whether anything of ours had run.
    #[error("the guest stopped before its command ended; its console closed with:\n{0}")]
    Died(String, bool),
    /// The guest was still running at the limit.
    #[error("the guest was still running after {0} s; its console closed with:\n{1}")]
    TimedOut(u64, String),
}

impl Error {
    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        |cause| Self::File { path, cause }
    }
}

/// What is in a folder, by name.
fn entries(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut paths: Vec<std::path::PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Where kernels, guest programs and their output are kept: `target/vm` of this checkout.
fn folder() -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    target.unwrap_or_else(|| checkout.join("target")).join("vm")
}
