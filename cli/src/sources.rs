//! Policy text from files and folders.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{self, SOURCE_LIMIT, Source};

use crate::exit::{Exit, Failure, plain};
use crate::progress::Progress;
use crate::report::{self, Problem};

/// Folders inside each other.
const DEPTH_LIMIT: usize = 32;
/// Files that are read at most.
const FILE_LIMIT: usize = 10_000;
/// Bytes that are read at most, over all files.
const TOTAL_LIMIT: usize = 256 << 20;

/// What could be read, and what could not.
#[derive(Debug, Default)]
pub struct Sources {
    /// Texts.
    pub texts: Vec<Source>,
    /// What is wrong with the files themselves.
    pub problems: Vec<Problem>,
    /// Whether the system refused something that is there.
    pub refused: bool,
}

impl Sources {
    /// The exit code that the problems call for.
    pub fn exit(&self) -> Exit {
        if self.refused { Exit::System } else { Exit::Input }
    }
}

/// Reads policy: files as they are, folders as all policy files below them.
pub fn read(paths: &[PathBuf]) -> Sources {
    let mut reader = Reader { folders_hold: is_policy, ..Reader::default() };
    reader.paths(paths);
    reader.sources
}

/// Reads files of any language; folders are refused.
pub fn read_files(paths: &[PathBuf]) -> Sources {
    let mut reader = Reader::default();
    for path in paths {
        if path.is_dir() {
            let problem = Problem::file("folder", &name(path), "this is a folder").help("name the files in it");
            reader.sources.problems.push(problem);
        } else {
            reader.named(path);
        }
    }
    reader.sources
}

/// Reads and parses policy; what is wrong is said on stderr.
pub fn load(paths: &[PathBuf]) -> Result<PolicySet, Failure> {
    let progress = Progress::begin("reading policy");
    let sources = read(paths);
    let exit = sources.exit();
    let mut problems = sources.problems;
    let parsed = text::parse(&sources.texts);
    drop(progress);
    match parsed {
        Ok(set) if problems.is_empty() => return Ok(set),
        // That there are no documents is no news when the files could not be read.
        Err(findings) if problems.is_empty() || !sources.texts.is_empty() => {
            problems.extend(findings.into_iter().map(Problem::from));
        }
        _ => {}
    }
    report::print(&problems, &sources.texts);
    Err(Failure::reported(exit))
}

struct Reader {
    sources: Sources,
    folders_hold: fn(&Path) -> bool,
    seen: HashSet<PathBuf>,
    folders: HashSet<PathBuf>,
    /// How often something was met that had been read before.
    again: usize,
    bytes: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            sources: Sources::default(),
            folders_hold: |_| false,
            seen: HashSet::new(),
            folders: HashSet::new(),
            again: 0,
            bytes: 0,
        }
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_policy(path: &Path) -> bool {
    let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
        return path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    };
    let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.ends_with(".test"))
}

impl Reader {
    fn paths(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if path.as_os_str() != "-" && path.is_dir() {
                let found = |reader: &Self| (reader.sources.texts.len(), reader.sources.problems.len(), reader.again);
                let before = found(self);
                self.folder(path, 0);
                if before == found(self) {
                    let problem = Problem::file("empty-folder", &name(path), "there is no policy in this folder");
                    self.sources.problems.push(problem.help("policy is *.yaml and *.yml; hidden files do not count"));
                }
            } else {
                self.named(path);
            }
        }
    }

    /// A file that was named: whatever it is, short of a folder, is read.
    fn named(&mut self, path: &Path) {
        if path.as_os_str() == "-" {
            let bytes = self.limited("<stdin>", io::stdin().lock());
            self.keep("<stdin>", bytes, false);
        } else if let Some(file) = self.open(path) {
            self.file(path, file, false);
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        if depth > DEPTH_LIMIT {
            let message = format!("more than {DEPTH_LIMIT} folders inside each other");
            self.sources.problems.push(Problem::file("too-deep", &name(folder), message));
            return;
        }
        // Links to folders are followed, in a circle once.
        if let Ok(real) = fs::canonicalize(folder)
            && !self.folders.insert(real)
        {
            self.again += 1;
            return;
        }
        let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut paths: Vec<PathBuf> = match listed {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect(),
            Err(error) => return self.refuse(folder, "read this folder", &error),
        };
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.folder(&path, depth + 1);
            } else if (self.folders_hold)(&path) {
                // Looked at before it is opened: opening a FIFO waits for whoever writes into it.
                if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
                    let problem = Problem::file("not-a-file", &name(&path), "this is no regular file");
                    self.sources.problems.push(problem.help("remove it from the folder, or name it itself"));
                } else if let Some(file) = self.open(&path) {
                    self.file(&path, file, true);
                }
            }
        }
    }

    fn open(&mut self, path: &Path) -> Option<File> {
        match File::open(path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.refuse(path, "open this file", &error);
                None
            }
        }
    }

    fn file(&mut self, path: &Path, file: File, in_folder: bool) {
        if let Ok(real) = fs::canonicalize(path)
            && !self.seen.insert(real)
        {
            self.again += 1;
            return;
        }
        if self.seen.len() > FILE_LIMIT {
            if self.seen.len() == FILE_LIMIT + 1 {
                let message = format!("more than {FILE_LIMIT} files are not read");
                self.sources.problems.push(Problem::file("too-many-files", &name(path), message));
            }
            return;
        }
        let bytes = self.limited(&name(path), file);
        self.keep(&name(path), bytes, in_folder);
    }

    fn limited(&mut self, name: &str, input: impl Read) -> Option<Vec<u8>> {
        let limit = SOURCE_LIMIT.min(TOTAL_LIMIT.saturating_sub(self.bytes));
        let mut bytes = Vec::new();
        if let Err(error) = input.take(limit as u64 + 1).read_to_end(&mut bytes) {
            self.refuse(Path::new(name), "read this file", &error);
            return None;
        }
        if bytes.len() > limit {
            let message = format!(
                "this file has more than {limit} bytes ({SOURCE_LIMIT} are read of one file, {TOTAL_LIMIT} of all)"
            );
            self.sources.problems.push(Problem::file("too-large", name, message).help("split it, or remove it"));
            return None;
        }
        self.bytes += bytes.len();
        Some(bytes)
    }

    fn keep(&mut self, name: &str, bytes: Option<Vec<u8>>, in_folder: bool) {
        match bytes.map(|bytes| Source::from_bytes(name, bytes)) {
            None => {}
            Some(Ok(source)) if in_folder && text::is_policy_test(&source.text) => {}
            Some(Ok(source)) => self.sources.texts.push(source),
            Some(Err(finding)) => self.sources.problems.push((*finding).into()),
        }
    }

    fn refuse(&mut self, path: &Path, attempt: &str, error: &io::Error) {
        let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        self.sources.refused |= !missing;
        let (code, message) = if missing && path.is_symlink() {
            ("dangling-link", "this link leads nowhere".to_owned())
        } else if missing {
            ("not-found", "there is no such file or folder".to_owned())
        } else {
            ("unreadable", format!("cannot {attempt}: {}", plain(error)))
        };
        self.sources.problems.push(Problem::file(code, &name(path), message));
    }
}
