//! Guest kernels out of Debian's archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::{Archive, output};
use crate::{Error, entries};

/// The kernel series of the matrix: what Debian 12 boots, and what its backports boot.
pub const SERIES: [&str; 2] = ["6.1", "6.12"];

/// The modules that guests load, each after those it needs. Debian's cloud kernels have the rest built in. A module
/// that a kernel does not have is left out: it may be built in there, and whoever needs it will say so.
const MODULES: [&str; 14] = [
    "llc",
    "stp",
    "garp",
    "mrp",
    "8021q",
    "bridge",
    "veth",
    "tun",
    "dummy",
    "sch_ingress",
    "cls_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
];

/// A kernel that guests can boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The series, as in [`SERIES`].
    pub series: String,
    /// The release, as `uname -r` says it.
    pub release: String,
    pub(crate) image: PathBuf,
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// Takes the kernel of a series from `target/vm`, or fetches the newest from Debian's archive with
    /// `apt-get download`, which needs no root.
    pub fn fetch(series: &str) -> Result<Self, Error> {
        let folder = crate::folder().join("kernels").join(series);
        if let Some(kernel) = Self::open(series, &folder) {
            return Ok(kernel);
        }
        if std::env::var_os("GABION_OFFLINE").is_some_and(|value| !value.is_empty()) {
            return Err(Error::Offline(series.to_owned(), folder));
        }
        let archive = Archive::configured();
        let package = archive.kernel(series, "cloud-amd64")?;
        // Unpacked beside its place and renamed, so that an interrupted download is not taken for a kernel.
        let unpacking = folder.with_extension(format!("unpacking-{}", std::process::id()));
        let archive = archive.download(&package, &unpacking)?;
        output("dpkg-deb", Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacking))?;
        std::fs::remove_file(&archive).map_err(Error::file(&archive))?;
        if std::fs::rename(&unpacking, &folder).is_err() {
            // Another process was quicker, or a half-removed folder is in the way.
            let _ = std::fs::remove_dir_all(&unpacking);
        }
        Self::open(series, &folder).ok_or_else(|| Error::NoKernel(series.to_owned()))
    }

    fn open(series: &str, folder: &Path) -> Option<Self> {
        let image = entries(&folder.join("boot")).ok()?.into_iter().find(|path| release_of(path).is_some())?;
        let release = release_of(&image)?;
        let tree = folder.join("lib/modules").join(&release).join("kernel");
        let mut modules = Vec::new();
        for name in MODULES {
            modules.extend(find_module(&tree, name));
        }
        Some(Self { series: series.to_owned(), release, image, modules })
    }
}

fn release_of(image: &Path) -> Option<String> {
    image.file_name()?.to_str()?.strip_prefix("vmlinuz-").map(str::to_owned)
}

fn find_module(folder: &Path, name: &str) -> Option<PathBuf> {
    for path in entries(folder).ok()? {
        if path.is_dir() {
            if let Some(found) = find_module(&path, name) {
                return Some(found);
            }
        } else if let Some(file) = path.file_name().and_then(|file| file.to_str())
            && file.strip_prefix(name).is_some_and(|kind| matches!(kind, ".ko" | ".ko.xz"))
        {
            return Some(path);
        }
    }
    None
}
