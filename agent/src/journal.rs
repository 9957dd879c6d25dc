//! The state folder: what the agent must remember across its own death.
//!
//! `state.json` is one record, replaced as a whole; `journal` is a log of one JSON object a line that says what was
//! about to happen. Nothing here is needed to keep enforcing (links and maps are pinned in the bpffs); it gives
//! generations their numbers, rules their names and counts, and a bad policy something to fall back on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::api::wire::Amount;
use crate::counters::{BaseEntry, RuleName};
use crate::policy::SourceFile;

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Layout of this record.
    pub version: u32,
    /// The largest generation number ever given out.
    pub last_number: u32,
    /// The generation in force.
    pub current: Option<Current>,
    /// What rules of earlier generations counted.
    pub base: Vec<BaseEntry>,
    /// An operator's choice of mode, and since when (RFC 3339).
    pub mode_override: Option<ModeOverride>,
}

/// An operator's choice of mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeOverride {
    /// Audit instead of enforce, or the reverse.
    pub audit: bool,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What is known of the generation in force without its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Current {
    /// Its number.
    pub number: u32,
    /// Since when, RFC 3339.
    pub since: String,
    /// Digest of the policy text.
    pub digest: String,
    /// What its rule numbers mean.
    pub rules: Arc<[RuleName]>,
    /// Interface classes of its tables.
    pub classes: Vec<String>,
    /// Name of the site.
    pub site: String,
    /// Interfaces that it guards: name or pattern, and role.
    pub interfaces: Vec<(String, Option<String>)>,
    /// The mode that its policy asks for.
    pub audit: bool,
    /// What it had counted, by rule number, when the agent stopped: for the case that the maps are gone (a reboot).
    pub counted: Vec<Amount>,
}

/// Version of [`State`].
const VERSION: u32 = 1;

/// The step that spends a generation's number.
const STAGED: &str = "staged";

/// The largest record that is read back; more cannot have been written by us.
const STATE_LIMIT: u64 = 256 << 20;

/// The journal starts over beyond this size; one older file is kept.
const JOURNAL_LIMIT: u64 = 4 << 20;

/// The state folder, held by this process alone.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    log: File,
    /// Holds the lock while the agent lives.
    _lock: File,
}

/// What [`Journal::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The folder.
    pub journal: Journal,
    /// The record.
    pub state: State,
    /// Something was wrong with it.
    pub warning: Option<String>,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// Another agent works here.
    #[error(
        "{path} is in use by another agent (pid {holder}); stop it first, or give this one a --state folder of its own"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, action, source }
}

impl Journal {
    /// Opens the folder, makes it if need be, and takes its lock.
    ///
    /// A record that cannot be used never keeps a node open: it is moved aside, `warning` says so, and the numbers go
    /// on from what the journal shows.
    pub fn open(folder: &Path) -> Result<Opened, JournalError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed(folder, "create the folder"))?;
        let lock_path = folder.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed(&lock_path, "open"))?;
        if let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(&lock_path, "lock")(errno.into()));
            }
            let mut holder = String::new();
            // Only for the message: an unreadable lock file does not change the answer.
            let _ = Read::by_ref(&mut lock).take(32).read_to_string(&mut holder);
            return Err(JournalError::Locked { path: folder.to_owned(), holder: holder.trim().to_owned() });
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(failed(&lock_path, "write"))?;
        let log_path = folder.join("journal");
        let log = open_log(&log_path)?;
        let path = folder.join("state.json");
        let last_number = last_staged(&log_path).map_err(failed(&log_path, "read"))?;
        let (state, warning) = match read_state(&path).map_err(failed(&path, "read"))? {
            Ok(state) => (State { last_number: state.last_number.max(last_number), ..state }, None),
            Err(message) => {
                let aside = folder.join("state.json.damaged");
                fs::rename(&path, &aside).map_err(failed(&path, "move aside"))?;
                let warning = format!(
                    "{}: {message}; moved to {}, rule counts start over and generations go on after {last_number}",
                    path.display(),
                    aside.display()
                );
                (State { last_number, ..State::default() }, Some(warning))
            }
        };
        Ok(Opened { journal: Self { folder: folder.to_owned(), log, _lock: lock }, state, warning })
    }

    /// Replaces the record, durably.
    pub fn save(&self, state: &mut State) -> Result<(), JournalError> {
        state.version = VERSION;
        self.replace("state.json", state)
    }

    /// Keeps the sources of a policy that went into force, for a start with a bad one.
    pub fn save_last_good(&self, files: &[SourceFile]) -> Result<(), JournalError> {
        self.replace("last-good.json", &files)
    }

    /// The sources of the last policy that went into force; none when there are none that can be read.
    pub fn last_good(&self) -> Option<Vec<SourceFile>> {
        let mut bytes = Vec::new();
        let file = File::open(self.folder.join("last-good.json")).ok()?;
        file.take(STATE_LIMIT).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<(), JournalError> {
        let path = self.folder.join(name);
        let fresh = self.folder.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            let mut out = io::BufWriter::new(file);
            serde_json::to_writer(&mut out, value)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(failed(&path, "replace"))
    }

    /// Spends the number of a generation, durably, before it is used: a crash from here on skips it, and never gives it
    /// out twice.
    pub fn stage(&mut self, time: &str, generation: u32, digest: &str) -> Result<(), JournalError> {
        self.note(time, STAGED, generation, digest)?;
        self.log.sync_data().map_err(failed(&self.folder.join("journal"), "write out"))
    }

    /// Says what is about to happen, or what came of it.
    pub fn note(&mut self, time: &str, step: &str, generation: u32, detail: &str) -> Result<(), JournalError> {
        let path = self.folder.join("journal");
        let line = serde_json::json!({ "time": time, "step": step, "generation": generation, "detail": detail });
        if self.log.metadata().map_err(failed(&path, "read the size"))?.len() > JOURNAL_LIMIT {
            fs::rename(&path, self.folder.join("journal.old")).map_err(failed(&path, "rename"))?;
            self.log = open_log(&path)?;
        }
        self.log.write_all(format!("{line}\n").as_bytes()).map_err(failed(&path, "append"))
    }
}

fn open_log(path: &Path) -> Result<File, JournalError> {
    let open = || -> io::Result<File> {
        let mut log = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        // A crash may have cut the last line: what comes next is not to be a part of it.
        if log.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            log.seek(SeekFrom::End(-1))?;
            log.read_exact(&mut last)?;
            if last != *b"\n" {
                log.write_all(b"\n")?;
            }
        }
        Ok(log)
    };
    open().map_err(failed(path, "open"))
}

/// The record, or what is wrong with it.
fn read_state(path: &Path) -> io::Result<Result<State, String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(State::default())),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    if file.take(STATE_LIMIT).read_to_end(&mut bytes)? as u64 == STATE_LIMIT {
        return Ok(Err(format!("larger than {STATE_LIMIT} bytes")));
    }
    Ok(match serde_json::from_slice::<State>(&bytes) {
        Ok(state) if state.version > VERSION => {
            Err(format!("version {}, this agent knows up to {VERSION}", state.version))
        }
        Ok(state) => Ok(state),
        Err(error) => Err(error.to_string()),
    })
}

/// The last generation number that the journal spends; lines that make no sense are passed over.
fn last_staged(path: &Path) -> io::Result<u32> {
    #[derive(Deserialize)]
    struct Noted {
        step: String,
        generation: u32,
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(2 * JOURNAL_LIMIT).read_to_end(&mut bytes)?;
    let lines = bytes.rsplit(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Noted>(line).ok());
    let mut staged = lines.filter(|noted| noted.step == STAGED);
    Ok(staged.next().map_or(0, |noted| noted.generation))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let Opened { journal, mut state, .. } = Journal::open(folder.path()).unwrap();
        state.last_number = 41;
        journal.save(&mut state).unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path()).unwrap().state.last_number, 41);
    }

    #[test]
    fn a_second_agent_is_refused_and_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(folder.path()).unwrap();
        let error = Journal::open(folder.path()).unwrap_err();
        assert!(matches!(&error, JournalError::Locked { holder, .. } if *holder == std::process::id().to_string()));
        assert!(error.to_string().contains("--state"));
    }

    #[test]
    fn a_damaged_record_is_moved_aside_and_numbers_go_on() {
        for damaged in ["{\"last_number\": \"many\"}", "{\"version\": 99}", "\u{0}"] {
            let folder = tempfile::tempdir().unwrap();
            let mut opened = Journal::open(folder.path()).unwrap();
            opened.journal.note("t", "staged", 17, "").unwrap();
            drop(opened);
            fs::write(folder.path().join("state.json"), damaged).unwrap();
            let opened = Journal::open(folder.path()).unwrap();
            assert_eq!(opened.state.last_number, 17);
            assert!(opened.warning.unwrap().contains("state.json.damaged"));
            assert_eq!(fs::read_to_string(folder.path().join("state.json.damaged")).unwrap(), damaged);
        }
    }

    #[test]
    fn a_number_that_was_spent_is_not_given_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let Opened { mut journal, mut state, .. } = Journal::open(folder.path()).unwrap();
        state.last_number = 7;
        journal.save(&mut state).unwrap();
        journal.stage("t", 8, "").unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path()).unwrap().state.last_number, 8);
    }

    #[test]
    fn a_line_that_a_crash_cut_does_not_swallow_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        drop(Journal::open(folder.path()).unwrap());
        fs::write(folder.path().join("journal"), "{\"time\":\"t\",\"step\":\"sta").unwrap();
        let Opened { mut journal, .. } = Journal::open(folder.path()).unwrap();
        journal.stage("t", 8, "").unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path()).unwrap().state.last_number, 8);
    }

    #[test]
    fn a_state_cut_short_by_a_crash_does_not_replace_the_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let Opened { journal, mut state, .. } = Journal::open(folder.path()).unwrap();
        state.last_number = 7;
        journal.save(&mut state).unwrap();
        drop(journal);
        fs::write(folder.path().join("state.json.new"), "{\"last_num").unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().state.last_number, 7);
    }
}
