//! Man pages and shell completions, out of the one declaration of the command line.

use std::path::Path;

use clap_complete::Shell;

use super::deb::Entry;

/// Writes them below `folder` for those who ship the bare binary, and returns them as files of the package.
pub fn entries(folder: &Path) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let man = folder.join("man");
    super::create(&man)?;
    let failed = |error: std::io::Error| format!("man pages and completions: {error}");
    clap_mangen::generate_to(gabion::command(), &man).map_err(failed)?;
    for page in super::files(&man) {
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        let text = super::read(&page)?;
        entries.push(Entry::compressed(&format!("usr/share/man/man1/{name}"), &text).map_err(failed)?);
    }
    let completions = folder.join("completions");
    super::create(&completions)?;
    for (shell, place) in [
        (Shell::Bash, "usr/share/bash-completion/completions/gabion"),
        (Shell::Zsh, "usr/share/zsh/vendor-completions/_gabion"),
        (Shell::Fish, "usr/share/fish/vendor_completions.d/gabion.fish"),
    ] {
        let path = clap_complete::generate_to(shell, &mut gabion::command(), "gabion", &completions).map_err(failed)?;
        entries.push(Entry::file(place, super::read(&path)?));
    }
    Ok(entries)
}
