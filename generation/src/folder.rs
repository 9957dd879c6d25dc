//! The folder on the bpffs: where everything is, and how it appears and goes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The part of an agent's folder in which its gatekeeper is pinned.
pub(crate) const GATEKEEPER: &str = "gatekeeper";

/// The generation that is kept for the next one, among the others.
pub(crate) const SPARE: &str = "spare";

/// The folder that one agent owns.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder, which must be on a bpffs.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        create(root)?;
        let kind = rustix::fs::statfs(root).doing(format!("look at {}", root.display()))?;
        // The field's width differs between architectures; the magic is 32 bits on all.
        #[allow(clippy::unnecessary_cast)]
        if (kind.f_type as i64) & 0xffff_ffff != BPF_FS_MAGIC {
            return Err(Error::NotBpffs { path: root.to_owned() });
        }
        let folder = Self { root: root.to_owned() };
        create(&folder.links())?;
        create(&folder.generations())?;
        Ok(folder)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub(crate) fn state_in_making(&self) -> PathBuf {
        self.root.join("state-new")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    pub(crate) fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    pub(crate) fn generation(&self, number: u32) -> PathBuf {
        self.generations().join(number.to_string())
    }

    pub(crate) fn generation_in_making(&self, number: u32) -> PathBuf {
        self.generations().join(format!("new-{number}"))
    }

    /// What the next generation can be made of.
    pub(crate) fn spare(&self) -> PathBuf {
        self.generations().join(SPARE)
    }

    /// Pin of one hook of an interface. bpffs reserves dots, which interface names may hold.
    pub(crate) fn link(&self, interface: &str, hook: &str) -> PathBuf {
        let name = interface.replace('%', "%25").replace('.', "%2E");
        self.links().join(format!("{name}-{hook}"))
    }

    /// Interfaces and hooks that have a pin.
    pub(crate) fn pinned_links(&self) -> Result<Vec<(String, String)>, Error> {
        let mut found = Vec::new();
        for name in names(&self.links())? {
            if let Some((interface, hook)) = name.rsplit_once('-') {
                found.push((interface.replace("%2E", ".").replace("%25", "%"), hook.to_owned()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes everything.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let gatekeeper = gatekeeper_folder(&self.root);
        for path in [self.links(), self.generations(), self.state(), self.state_in_making(), gatekeeper] {
            remove(&path)?;
        }
        Ok(())
    }
}

/// Where the gatekeeper of the agent with this folder is pinned.
#[must_use]
pub fn gatekeeper_folder(root: &Path) -> PathBuf {
    root.join(GATEKEEPER)
}

/// Makes a folder and its parents.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).doing(format!("create {}", path.display()))
}

/// Names in a folder.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let step = || format!("list {}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).doing(step())? {
        found.push(entry.doing(step())?.file_name().to_string_lossy().into_owned());
    }
    Ok(found)
}

/// Removes a folder with all that is pinned in it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).doing(format!("remove {}", path.display())),
        _ => Ok(()),
    }
}

/// Gives a complete folder its name.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).doing(format!("rename {} to {}", from.display(), to.display()))
}
