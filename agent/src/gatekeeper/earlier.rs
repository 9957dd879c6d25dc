//! The gate that an earlier agent left sealed.

use std::path::{Path, PathBuf};

use aya::programs::ProgramType;
use aya::sys::is_program_supported;
use sha2::{Digest as _, Sha256};

use super::{QUESTIONS, said};

/// What the programs of this agent are called, so that another build is told from this one.
fn build() -> String {
    let objects = [gabion_kernel_object::object().ok(), gabion_owners::object().ok(), gabion_gatekeeper::object().ok()];
    let mut hash = Sha256::new();
    objects.into_iter().flatten().for_each(|object| hash.update(object));
    QUESTIONS.iter().for_each(|(_, instructions)| hash.update(instructions));
    crate::policy::hex(&hash.finalize()[..8])
}

/// Where a gatekeeper is pinned next: a name that is free. Whoever asks owns the folder alone.
pub(super) fn own_folder(folder: &Path) -> PathBuf {
    let build = build();
    let mut names = (0_u32..).map(|number| folder.join(format!("{build}-{number}")));
    // There are more numbers than a folder has names.
    names.find(|path| !path.exists()).unwrap_or_default()
}

/// Folders of gatekeepers that are pinned within this one.
fn pinned(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("{}: cannot list: {error}", folder.display()))?,
    };
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn let_go_of(gates: &[PathBuf]) -> Result<bool, String> {
    let mut found = false;
    for path in gates {
        found |= gabion_gatekeeper::let_go(path).map_err(said)?;
    }
    Ok(found)
}

/// Opens the gate that an agent left sealed. Whether there was one.
///
/// # Errors
/// It cannot be opened.
pub fn let_go(folder: &Path) -> Result<bool, String> {
    let_go_of(&pinned(folder)?)
}

/// Lets go of a gate that an earlier agent left.
pub type LetGo = Box<dyn FnOnce() -> Result<bool, String>>;

/// Takes over the gate that an earlier agent left sealed, if it lets this one in: the same file, in the same cgroup. It
/// stays sealed until that is let go of. Else it is opened at once, as an agent that cannot load its programs is none.
///
/// # Errors
/// It cannot be opened.
pub fn take_over(folder: &Path) -> Result<Option<LetGo>, String> {
    let found = pinned(folder)?;
    if found.is_empty() {
        return Ok(None);
    }
    let ours = format!("{}-", build());
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours));
    // A program that does nothing, and is among what such a gate lets in.
    if found.iter().all(is_ours) && matches!(is_program_supported(ProgramType::SocketFilter), Ok(true)) {
        return Ok(Some(Box::new(move || let_go_of(&found))));
    }
    tracing::warn!("the gate of an earlier agent does not let this one in: it is open until this one seals its own");
    let_go_of(&found).map(|_| None)
}
