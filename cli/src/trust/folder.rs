//! The site's metadata in a folder: what is in force, and in `drafts` what waits for signatures.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gabion_trust::Repository;

use crate::exit::Failure;
use crate::file::Input;

const DRAFTS: &str = "drafts";

/// A folder, and what was in it.
pub struct Folder {
    path: PathBuf,
    pub site: Repository,
    written: BTreeMap<PathBuf, Vec<u8>>,
}

fn failed<'p>(path: &'p Path, attempt: &'static str) -> impl Fn(io::Error) -> Failure + 'p {
    move |error| Failure::file(&path.display().to_string(), attempt, &error)
}

/// Files of metadata in a folder, by name.
fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed(folder, "read this folder"))? {
        let path = entry.map_err(failed(folder, "read this folder"))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_file() && name.ends_with(".json") && !name.starts_with('.') {
            files.insert(name.to_owned(), Input::read(&path)?.bytes);
        }
    }
    Ok(files)
}

fn borrowed(files: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&str, &[u8])> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}

impl Folder {
    /// Begins one that is not there yet.
    pub fn begin(path: &Path, site: Repository) -> Result<Self, Failure> {
        if fs::read_dir(path).is_ok_and(|mut it| it.next().is_some()) {
            let message = format!("{}: this folder is not empty", path.display());
            return Err(Failure::input(message).help("name one that is not there yet"));
        }
        Ok(Self { path: path.to_owned(), site, written: BTreeMap::new() })
    }

    /// Opens one.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let files = read(path)?;
        let below = path.join(DRAFTS);
        let drafts = if below.is_dir() { read(&below)? } else { BTreeMap::new() };
        if files.is_empty() && drafts.is_empty() {
            let message = format!("{}: there is no metadata in this folder", path.display());
            return Err(Failure::input(message).help("`gabion trust init` begins one"));
        }
        let site = Repository::of(borrowed(&files), borrowed(&drafts));
        let site = site.map_err(|error| super::failure(&error, &path.display().to_string()))?;
        let mut written: BTreeMap<PathBuf, Vec<u8>> =
            files.into_iter().map(|(name, bytes)| (path.join(name), bytes)).collect();
        written.extend(drafts.into_iter().map(|(name, bytes)| (below.join(name), bytes)));
        Ok(Self { path: path.to_owned(), site, written })
    }

    /// Writes what changed. What comes into force is there before its draft goes.
    pub fn save(&self) -> Result<(), Failure> {
        let below = self.path.join(DRAFTS);
        fs::create_dir_all(&below).map_err(failed(&below, "create"))?;
        let in_force = self.site.files().map(|(name, bytes)| (self.path.join(name), bytes));
        let drafts = self.site.drafts().map(|(name, bytes)| (below.join(name), bytes));
        let wanted: BTreeMap<PathBuf, Vec<u8>> = in_force.chain(drafts).collect();
        for (path, bytes) in &wanted {
            if self.written.get(path) != Some(bytes) {
                replace(path, bytes).map_err(failed(path, "write this file"))?;
            }
        }
        for path in self.written.keys().filter(|path| !wanted.contains_key(*path)) {
            fs::remove_file(path).map_err(failed(path, "remove"))?;
        }
        Ok(())
    }
}

/// Writes a file beside its place, and then puts it there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.draft", std::process::id()));
    let written = fs::File::create_new(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let put = written.and_then(|()| fs::rename(&draft, path));
    if put.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&draft);
    }
    put
}
