//! What the control plane keeps: records by name, and a journal of what was about to happen.
//!
//! A [`Batch`] changes any number of records and adds lines to the journal; it is on disk as a whole when
//! [`Store::write`] comes back, and as a whole or not at all when it does not, whatever happens to the machine. The
//! disk below it is a [`redb`] file, which writes copies and one checksummed root; nothing here relies on a file
//! system that orders writes.
//!
//! Nothing in it is needed to keep enforcing. So a store that cannot be read never keeps an agent from its work: it is
//! moved aside, a new one begins, and [`Opened::warning`] says so.

#![forbid(unsafe_code)]

mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::StoreError;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// How many batches were written: under the empty name.
const WRITTEN: TableDefinition<'_, &str, u64> = TableDefinition::new("written");

/// File of the store in its folder.
const FILE: &str = "store.redb";
/// Memory for pages that were read or will be written, in bytes.
const CACHE: usize = 1 << 20;
/// Lines of the journal that are kept; the oldest go first.
pub const JOURNAL_LINES: u64 = 10_000;

/// The store, held by this process alone.
pub struct Store {
    /// None after it failed: it is opened again when it is needed next.
    database: Option<Database>,
    folder: PathBuf,
    below: Below,
    /// Holds the lock while the process lives; none of what is only in memory.
    _lock: Option<File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Where the pages are, for tests that break it.
pub type Below = Arc<dyn Fn(&Builder, File) -> Result<Database, DatabaseError> + Send + Sync>;

/// What [`Store::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Something was wrong with it.
    pub warning: Option<String>,
}

/// What is to be changed together.
#[derive(Debug, Default)]
pub struct Batch {
    puts: Vec<(String, Option<Vec<u8>>)>,
    lines: Vec<Vec<u8>>,
}

impl Batch {
    /// Replaces a record.
    pub fn put(&mut self, name: &str, record: &impl Serialize) -> &mut Self {
        // Our records are maps with text for keys, numbers and lists.
        let text = serde_json::to_vec(record).unwrap_or_default();
        self.puts.push((name.to_owned(), Some(text)));
        self
    }

    /// Replaces a record of bytes; [`Store::bytes`] reads it.
    pub fn put_bytes(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        self.puts.push((name.to_owned(), Some(bytes.to_vec())));
        self
    }

    /// Removes a record, if it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.puts.push((name.to_owned(), None));
        self
    }

    /// Adds a line to the journal.
    pub fn note(&mut self, line: &impl Serialize) -> &mut Self {
        self.lines.push(serde_json::to_vec(line).unwrap_or_default());
        self
    }
}

impl Store {
    /// Opens the folder, makes it if need be, and takes its lock.
    ///
    /// # Errors
    /// [`StoreError`]; not for a store that is damaged.
    pub fn open(folder: &Path) -> Result<Opened, StoreError> {
        Self::open_on(folder, Arc::new(|builder, file| builder.create_with_backend(FileBackend::new(file)?)))
    }

    /// The same, on a disk of the caller's.
    ///
    /// # Errors
    /// Likewise.
    pub fn open_on(folder: &Path, below: Below) -> Result<Opened, StoreError> {
        let failed = |action| move |source| StoreError::Io { path: folder.to_owned(), action, source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create the folder"))?;
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        let (database, warning) = match database(&path, &below) {
            Ok(database) => (database, None),
            Err(StoreError::Damaged { what, .. }) => {
                let aside = folder.join(format!("{FILE}.damaged"));
                fs::rename(&path, &aside).map_err(failed("move the damaged store aside"))?;
                let (path, aside) = (path.display(), aside.display());
                (
                    database(&folder.join(FILE), &below)?,
                    Some(format!("{path}: {what}; moved to {aside}, what it kept is gone")),
                )
            }
            Err(error) => return Err(error),
        };
        // The file's name is durable, too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write out"))?;
        let store = Self { database: Some(database), folder: folder.to_owned(), below, _lock: Some(lock) };
        Ok(Opened { store, warning })
    }

    /// A store that forgets everything when the process ends, for a node whose disk refuses.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        let folder = PathBuf::from("memory");
        let backend = Builder::new().create_with_backend(InMemoryBackend::new());
        let failed = |error: redb::Error| error::classified(&folder, "make a store in memory", error);
        let database = backend.map_err(|error| failed(error.into()))?;
        prepare(&database).map_err(failed)?;
        // Memory that refused once is not asked again.
        let below: Below = Arc::new(|_, _| Err(DatabaseError::Storage(redb::StorageError::PreviousIo)));
        Ok(Self { database: Some(database), folder, below, _lock: None })
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => database(&self.folder.join(FILE), &self.below)?,
        };
        Ok(self.database.insert(database))
    }

    /// Does something with the database; after a failure it is opened again, since it believes in nothing any more.
    fn with<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let outcome = work(self.database()?);
        outcome.map_err(|error| {
            self.database = None;
            error::classified(&self.folder.join(FILE), action, error)
        })
    }

    /// A record; none when it was never written, or makes no sense to this version.
    ///
    /// # Errors
    /// [`StoreError`], when the disk does not answer.
    pub fn read<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, StoreError> {
        let text = self.bytes(name)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// A record of bytes.
    ///
    /// # Errors
    /// Likewise.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("read", |database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            Ok(table.get(name)?.map(|text| text.value().to_vec()))
        })
    }

    /// Names of the records that begin so, in order.
    ///
    /// # Errors
    /// Likewise.
    pub fn names(&mut self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.with("read", |database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let mut names = Vec::new();
            for entry in table.range(prefix..)? {
                let name = entry?.0.value().to_owned();
                if !name.starts_with(prefix) {
                    break;
                }
                names.push(name);
            }
            Ok(names)
        })
    }

    /// The latest lines of the journal, the oldest of them first, each with its number.
    ///
    /// # Errors
    /// Likewise.
    pub fn journal<T: DeserializeOwned>(&mut self, most: usize) -> Result<Vec<(u64, T)>, StoreError> {
        let lines = self.with("read", |database| {
            let table = database.begin_read()?.open_table(JOURNAL)?;
            let mut lines = Vec::new();
            for entry in table.iter()?.rev().take(most) {
                let (number, text) = entry?;
                lines.push((number.value(), text.value().to_vec()));
            }
            Ok(lines)
        })?;
        let lines = lines.into_iter().rev();
        Ok(lines.filter_map(|(number, text)| Some((number, serde_json::from_slice(&text).ok()?))).collect())
    }

    /// Changes what a batch says, durably and as a whole. A disk that refuses once is asked again: it may have taken
    /// the batch all the same, and only the last of it, the word that it is safe, was missing.
    ///
    /// # Errors
    /// [`StoreError`]; the batch is on disk as a whole then, or not at all.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let before = self.written()?;
        let Err(error) = self.attempt(batch) else { return Ok(()) };
        match self.written() {
            Ok(written) if written == before => self.attempt(batch),
            // Another root, with nothing new, is written and safe, and so is what it refers to.
            Ok(_) => self.attempt(&Batch::default()),
            Err(_) => Err(error),
        }
    }

    /// Batches that were ever written.
    fn written(&mut self) -> Result<u64, StoreError> {
        self.with("read", |database| {
            let table = database.begin_read()?.open_table(WRITTEN)?;
            Ok(table.get("")?.map_or(0, |written| written.value()))
        })
    }

    fn attempt(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.with("write", |database| {
            let transaction = database.begin_write()?;
            {
                let mut written = transaction.open_table(WRITTEN)?;
                let before = written.get("")?.map_or(0, |written| written.value());
                written.insert("", before + 1)?;
                let mut records = transaction.open_table(RECORDS)?;
                for (name, record) in &batch.puts {
                    match record {
                        Some(text) => drop(records.insert(name.as_str(), text.as_slice())?),
                        None => drop(records.remove(name.as_str())?),
                    }
                }
                let mut journal = transaction.open_table(JOURNAL)?;
                let mut next = journal.last()?.map_or(0, |(number, _)| number.value() + 1);
                for line in &batch.lines {
                    journal.insert(next, line.as_slice())?;
                    next += 1;
                }
                let gone = next.saturating_sub(JOURNAL_LINES);
                journal.retain_in(..gone, |_, _| false)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

fn database(path: &Path, below: &Below) -> Result<Database, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|source| StoreError::Io { path: path.to_owned(), action: "open", source })?;
    let opened = below(Builder::new().set_cache_size(CACHE), file);
    let database = opened.map_err(|error| error::classified(path, "open", error.into()))?;
    prepare(&database).map_err(|error| error::classified(path, "open", error))?;
    Ok(database)
}

/// Makes the tables that are not there yet.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let known = database.begin_read().map_err(redb::Error::from).and_then(|it| {
        it.open_table(RECORDS)?;
        it.open_table(JOURNAL)?;
        it.open_table(WRITTEN)?;
        Ok(())
    });
    let Err(redb::Error::TableDoesNotExist(_)) = known else { return known };
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(JOURNAL)?;
    transaction.open_table(WRITTEN)?;
    transaction.commit()?;
    Ok(())
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let failed = |action| {
        let path = path.clone();
        move |source| StoreError::Io { path, action, source }
    };
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut lock = opened.map_err(failed("open"))?;
    if let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(failed("lock")(errno.into()));
        }
        let mut holder = String::new();
        // Only for the message: an unreadable lock file does not change the answer.
        let _ = std::io::Read::by_ref(&mut lock).take(32).read_to_string(&mut holder);
        return Err(StoreError::Locked { path: folder.to_owned(), holder: holder.trim().to_owned() });
    }
    let pid = format!("{}\n", std::process::id());
    lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(failed("write"))?;
    Ok(lock)
}
