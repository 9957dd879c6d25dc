//! Policy text from files and folders, and what becomes of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_policy_compile::Compiled;
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Rereader, is_policy_test};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::wire::Problem;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Path as it was found.
    pub name: String,
    /// All of it.
    pub text: Arc<str>,
}

/// A policy that could go into force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The typed policy, for explanations and the site.
    pub set: Arc<PolicySet>,
    /// The tables.
    pub compiled: Compiled,
    /// What the author should know, rendered.
    pub warnings: Vec<String>,
}

/// What was read and compiled last, so that an edit costs what it changes.
#[derive(Debug, Default)]
pub struct Known {
    /// What the documents say.
    pub text: Rereader,
    /// What their rules come to.
    pub meaning: gabion_policy_compile::Known,
}

/// Text → typed policy → tables. Replaceable, so that the pipeline can be tested without.
pub type LoadPolicy = fn(&[SourceFile], usize, &mut Known) -> Result<Loaded, Problem>;

/// Files that are read at most.
const FILE_LIMIT: usize = 10_000;
/// Bytes of text that are read at most, over all files.
const TEXT_LIMIT: u64 = 256 << 20;
/// Folders deeper than this are a mistake (or a loop of links); the same for `gabion policy check`.
const DEPTH_LIMIT: usize = 32;

/// Reads all files that the paths name, in the order of the paths, folders in the order of names.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Problem> {
    let mut reader = Reader::default();
    for path in paths {
        let kind = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if kind.is_dir() {
            reader.folder(path, 0)?;
        } else {
            reader.file(path, false)?;
        }
    }
    if reader.files.is_empty() {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(problem(
            "policy-empty",
            format!(
                "no policy in {}: a folder counts its *.yaml and *.yml files; an empty policy would open the node, \
                 `gabion detach` does that on purpose",
                places.join(", ")
            ),
        ));
    }
    Ok(reader.files)
}

/// A digest over names and texts, for people and for "is it still the same".
pub fn digest(files: &[SourceFile]) -> String {
    let mut hash = Sha256::new();
    for SourceFile { name, text } in files {
        // Lengths first, so that no two lists of files run together to the same bytes.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(text.as_bytes());
    }
    hex(hash.finalize().as_slice())
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Reader {
    files: Vec<SourceFile>,
    /// Files and folders, by their real paths: one that is named twice, or linked to, is read once.
    seen: HashSet<PathBuf>,
    bytes: u64,
}

impl Reader {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_LIMIT {
            let message = format!("{}: folders nest deeper than {DEPTH_LIMIT}", path.display());
            return Err(problem("policy-unreadable", message));
        }
        // Links to folders are followed, in a circle once.
        let real = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
        if !self.seen.insert(real) {
            return Ok(());
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut children: Vec<PathBuf> =
            entries.map_err(|error| unreadable(path, &error))?.into_iter().map(|entry| entry.path()).collect();
        children.sort();
        for child in children {
            if child.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let is_policy = is_policy(&child);
            match fs::metadata(&child) {
                Ok(kind) if kind.is_dir() => self.folder(&child, depth + 1)?,
                Ok(_) if is_policy => self.file(&child, true)?,
                // Something else, or something that an editor took away between listing and looking.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_policy => {}
                Err(error) => return Err(unreadable(&child, &error)),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, in_folder: bool) -> Result<(), Problem> {
        let real = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
        if !self.seen.insert(real) {
            return Ok(());
        }
        if self.files.len() == FILE_LIMIT {
            let message = format!("{}: more than {FILE_LIMIT} policy files; merge some", path.display());
            return Err(problem("policy-too-large", message));
        }
        // Looked at before it is opened: opening a FIFO waits for whoever writes into it, and the agent with it.
        if !fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_file() {
            let message = format!("{}: this is no regular file; remove it, or put a file there", path.display());
            return Err(problem("policy-unreadable", message));
        }
        let room = TEXT_LIMIT - self.bytes;
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        file.take(room + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        if bytes.len() as u64 > room {
            let message = format!("{}: policy text of more than {TEXT_LIMIT} bytes in all", path.display());
            return Err(problem("policy-too-large", message));
        }
        self.bytes += bytes.len() as u64;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let message = format!("{}: not UTF-8 at byte {offset}; save the file as UTF-8", path.display());
            problem("policy-unreadable", message)
        })?;
        // Probes that lie beside a policy. A file that holds policy as well is read, and refused with its place.
        if in_folder && is_policy_test(&text) {
            return Ok(());
        }
        self.files.push(SourceFile { name: path.display().to_string(), text: text.into() });
        Ok(())
    }
}

/// Files of a folder that are policy; others are passed over: editors' swap files, and probes that lie beside a policy.
fn is_policy(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let stem = name.strip_suffix(b".yaml").or_else(|| name.strip_suffix(b".yml"));
    stem.is_some_and(|stem| !stem.ends_with(b".test"))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    problem("policy-unreadable", format!("{}: cannot read: {error}", path.display()))
}

fn problem(code: &str, message: String) -> Problem {
    Problem { code: code.to_owned(), blame: String::from("input"), details: message.clone(), message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_policy_files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in
            ["c.yml", "a.yaml", "b/x.yaml", ".a.yaml.swp", ".hidden.yaml", "notes.txt", "a.yaml~", "a.test.yaml"]
        {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::write(folder.path().join("probes.yaml"), "apiVersion: x\nkind: PolicyTest # beside\n").unwrap();
        fs::write(folder.path().join("d.yaml"), "kind: PolicyTest\n---\nkind: Policy\n").unwrap();
        let texts: Vec<_> =
            read(&[folder.path().to_owned()]).unwrap().into_iter().map(|file| file.text.to_string()).collect();
        assert_eq!(texts, ["a.yaml", "b/x.yaml", "c.yml", "kind: PolicyTest\n---\nkind: Policy\n"]);
    }

    #[test]
    fn an_empty_folder_a_missing_file_and_latin_1_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&[folder.path().to_owned()]).unwrap_err();
        assert_eq!(error.code, "policy-empty");
        let gone = folder.path().join("gone.yaml");
        assert!(read(&[gone]).unwrap_err().message.contains("gone.yaml"));
        let latin = folder.path().join("latin.yaml");
        fs::write(&latin, b"name: M\xfchle").unwrap();
        assert!(read(&[latin]).unwrap_err().message.contains("byte 7"));
    }

    #[test]
    fn linked_folders_count_and_nothing_is_read_twice() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        fs::write(other.path().join("b.yaml"), "b").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path().join("linked")).unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("a.yaml"), other.path().to_owned()];
        let texts: Vec<_> = read(&paths).unwrap().into_iter().map(|file| file.text.to_string()).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("a.yaml");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [folder.path(), &fifo] {
            let error = read(&[path.to_owned()]).unwrap_err();
            assert!(error.message.contains("a.yaml: this is no regular file"), "{}", error.message);
        }
    }

    #[test]
    fn the_digest_tells_where_one_file_ends() {
        let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
        assert_ne!(digest(&[file("a", "xy"), file("b", "")]), digest(&[file("a", "x"), file("b", "y")]));
        assert_eq!(digest(&[file("a", "x")]), digest(&[file("a", "x")]));
    }
}
