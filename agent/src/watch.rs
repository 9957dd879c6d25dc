//! Policy files that change: inotify, settled by events.
//!
//! Editors write beside the file and rename, or rename the file away and write a new one; a folder without a file that
//! is about to come back is a policy that nobody wrote. So a file that goes away, or is still being written, holds the
//! reading back until it is whole, or for [`GRACE`] when nothing comes.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::readiness::readable;

/// How long a file that went away may take to come back.
pub const GRACE: Duration = Duration::from_secs(2);

/// Folders that are watched at most.
const FOLDER_LIMIT: usize = 1_000;

/// What happened to one name of one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is whole: closed after writing, or renamed to this.
    Whole,
    /// It is gone, or not whole yet.
    Pending,
    /// Something about the folder itself, or too much to follow.
    Other,
}

/// Decides when to read: pure.
#[derive(Debug, Default)]
struct Settling {
    dirty: bool,
    pending: BTreeMap<(i32, CString), Instant>,
}

impl Settling {
    fn step(&mut self, folder: i32, name: &CStr, step: Step, now: Instant) {
        self.dirty = true;
        match step {
            Step::Whole => {
                self.pending.remove(&(folder, name.to_owned()));
            }
            Step::Pending => {
                self.pending.insert((folder, name.to_owned()), now + GRACE);
            }
            Step::Other => {}
        }
    }

    /// Whether to read now; otherwise until when to wait for more, if there is anything to wait for.
    fn due(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        self.pending.retain(|_, deadline| *deadline > now);
        match self.pending.values().max() {
            _ if !self.dirty => Err(None),
            Some(deadline) => Err(Some(*deadline)),
            None => {
                self.dirty = false;
                Ok(())
            }
        }
    }
}

/// Watches the files and folders of a policy.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    inotify: AsyncFd<OwnedFd>,
    /// Names that matter by watch; none: all do.
    folders: BTreeMap<i32, Option<Vec<CString>>>,
    settling: Settling,
}

impl Watch {
    /// Starts watching. Needs a tokio runtime.
    pub fn open(paths: &[PathBuf]) -> std::io::Result<Self> {
        let inotify = readable(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)?;
        let mut watch =
            Self { paths: paths.to_vec(), inotify, folders: BTreeMap::new(), settling: Settling::default() };
        watch.arm();
        Ok(watch)
    }

    /// Watches what is there now. Done again after every change, before the policy is read, so that what is written
    /// into a new folder is either seen by the reading or announced after it.
    pub fn arm(&mut self) {
        for path in self.paths.clone() {
            self.add_above(&path);
            if path.symlink_metadata().is_ok_and(|kind| kind.is_symlink()) {
                // What it points to may change, and so may where it points.
                if let Ok(target) = path.canonicalize() {
                    self.add_above(&target);
                }
            }
            if path.is_dir() {
                self.add_tree(&path);
            }
        }
    }

    /// Watches the folder above for this name: the path itself may be replaced.
    fn add_above(&mut self, path: &Path) {
        let above = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.add(above, path.file_name());
    }

    fn add_tree(&mut self, folder: &Path) {
        self.add(folder, None);
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if self.folders.len() < FOLDER_LIMIT && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add_tree(&entry.path());
            }
        }
    }

    /// Watches a folder for one name, or for all.
    fn add(&mut self, folder: &Path, name: Option<&OsStr>) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = match inotify::add_watch(self.inotify.get_ref(), folder, flags) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!("{}: cannot watch for changes: {error}", folder.display());
                return;
            }
        };
        let wanted = name.and_then(|name| CString::new(name.as_bytes()).ok());
        let names = self.folders.entry(watch).or_insert_with(|| Some(Vec::new()));
        match (wanted, names) {
            (Some(wanted), Some(names)) if !names.contains(&wanted) => names.push(wanted),
            (None, names) => *names = None,
            _ => {}
        }
    }

    /// Returns when something has changed and has settled.
    pub async fn changed(&mut self) -> std::io::Result<()> {
        loop {
            let deadline = match self.settling.due(Instant::now()) {
                Ok(()) => {
                    self.arm();
                    return Ok(());
                }
                Err(deadline) => deadline,
            };
            tokio::select! {
                ready = self.inotify.readable() => {
                    let mut guard = ready?;
                    let drained = drain(self.inotify.get_ref(), &self.folders, &mut self.settling);
                    guard.clear_ready();
                    drained?;
                }
                // The grace of a file that went away; the events decide, this only bounds them.
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
            }
        }
    }
}

fn drain(
    inotify: &OwnedFd,
    folders: &BTreeMap<i32, Option<Vec<CString>>>,
    settling: &mut Settling,
) -> std::io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let name = event.file_name().unwrap_or(c"");
        let matters = match folders.get(&event.wd()) {
            Some(Some(names)) => name.is_empty() || names.iter().any(|wanted| wanted.as_c_str() == name),
            _ => true,
        };
        if matters {
            settling.step(event.wd(), name, step_of(event.events()), Instant::now());
        }
    }
}

fn step_of(flags: ReadFlags) -> Step {
    if flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO)
        || flags.contains(ReadFlags::CREATE | ReadFlags::ISDIR)
    {
        Step::Whole
    } else if flags.intersects(ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        Step::Pending
    } else {
        Step::Other
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_renamed_away_is_waited_for() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.step(1, c"a.yaml", Step::Pending, start);
        settling.step(1, c"b.yaml", Step::Whole, start);
        assert_eq!(settling.due(start), Err(Some(start + GRACE)), "a.yaml is missing");
        settling.step(1, c"a.yaml", Step::Whole, start);
        assert_eq!(settling.due(start), Ok(()));
        assert_eq!(settling.due(start), Err(None), "once is enough");
    }

    #[test]
    fn a_file_that_stays_away_is_believed_after_the_grace() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.step(1, c"a.yaml", Step::Pending, start);
        assert_eq!(settling.due(start + GRACE), Ok(()));
    }

    async fn changes(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn writing_renaming_and_new_folders_are_noticed() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let policy = folder.path().join("policy");
            fs::create_dir(&policy).unwrap();
            let mut watch = Watch::open(std::slice::from_ref(&policy)).unwrap();
            fs::write(policy.join("a.yaml"), "1").unwrap();
            assert!(changes(&mut watch).await, "a new file");
            fs::write(folder.path().join("new"), "2").unwrap();
            fs::rename(folder.path().join("new"), policy.join("a.yaml")).unwrap();
            assert!(changes(&mut watch).await, "renamed over");
            fs::create_dir(policy.join("sub")).unwrap();
            assert!(changes(&mut watch).await, "a new folder");
            fs::write(policy.join("sub/b.yaml"), "3").unwrap();
            assert!(changes(&mut watch).await, "a file in it");
            fs::rename(&policy, folder.path().join("old")).unwrap();
            fs::create_dir(&policy).unwrap();
            assert!(changes(&mut watch).await, "the folder itself replaced");
        });
    }

    #[test]
    fn neighbours_of_a_single_file_do_not_matter() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let policy = folder.path().join("policy.yaml");
            fs::write(&policy, "1").unwrap();
            let mut watch = Watch::open(std::slice::from_ref(&policy)).unwrap();
            fs::write(folder.path().join("neighbour"), "2").unwrap();
            // Both events are in the queue when it is looked at, so that the one of the neighbour would show.
            let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
            assert!(quiet.is_err());
            fs::write(&policy, "3").unwrap();
            assert!(changes(&mut watch).await);
        });
    }
}
