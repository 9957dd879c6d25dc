//! What was written is there as a whole, or not at all, whatever the disk does.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use gabion_store::{Batch, JOURNAL_LINES, Opened, Store, StoreError};
use proptest::prelude::*;
use redb::StorageBackend;

#[test]
fn records_and_lines_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap().store;
    assert_eq!(store.read::<u32>("a").unwrap(), None);
    store.write(Batch::default().put("a", &41).put("list/1", &"x").put("list/2", &"y").note(&"first")).unwrap();
    store.write(Batch::default().remove("list/1").note(&"second").note(&"third")).unwrap();
    drop(store);
    let Opened { mut store, warning } = Store::open(folder.path()).unwrap();
    assert_eq!((store.read::<u32>("a").unwrap(), warning), (Some(41), None));
    assert_eq!(store.read::<Vec<u8>>("a").unwrap(), None, "of another form");
    assert_eq!(store.names("list/").unwrap(), ["list/2"]);
    assert_eq!(store.journal::<String>(2).unwrap(), [(1, "second".into()), (2, "third".into())]);
}

#[test]
fn a_second_agent_is_refused_and_told_who_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { holder, .. } if *holder == std::process::id().to_string()));
    assert!(error.to_string().contains("--state"));
}

#[test]
fn a_file_that_is_no_store_is_moved_aside() {
    for damage in [&b"{\"version\": 1}"[..], &[0; 100_000], &[0xff; 5_000]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("store.redb"), damage).unwrap();
        let Opened { mut store, warning } = Store::open(folder.path()).unwrap();
        assert!(warning.unwrap().contains("store.redb.damaged"));
        assert_eq!(fs::read(folder.path().join("store.redb.damaged")).unwrap(), damage);
        store.write(Batch::default().put("a", &1)).unwrap();
    }
}

#[test]
fn the_journal_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap().store;
    let mut batch = Batch::default();
    for line in 0..JOURNAL_LINES + 10 {
        batch.note(&line);
    }
    store.write(&batch).unwrap();
    let kept = store.journal::<u64>(usize::MAX).unwrap();
    assert_eq!((kept.len() as u64, kept[0]), (JOURNAL_LINES, (10, 10)));
}

#[test]
fn a_store_in_memory_forgets() {
    let mut store = Store::in_memory().unwrap();
    store.write(Batch::default().put("a", &1).note(&"first")).unwrap();
    assert_eq!((store.read::<u32>("a").unwrap(), store.journal::<String>(9).unwrap().len()), (Some(1), 1));
    assert_eq!(Store::in_memory().unwrap().read::<u32>("a").unwrap(), None);
}

/// A disk that loses, tears and reorders what was not synced, and refuses when told to.
#[derive(Debug, Default)]
struct Disk {
    /// What is on it.
    platter: Vec<u8>,
    /// What its cache shows.
    cache: Vec<u8>,
    /// What of that is not on it yet.
    pending: Vec<(usize, Vec<u8>)>,
    /// Operations until it refuses.
    fuse: Option<u32>,
    /// It refuses once, and no more.
    once: bool,
}

impl Disk {
    fn burns(&mut self) -> io::Result<()> {
        let Some(left) = &mut self.fuse else { return Ok(()) };
        if *left == 0 {
            if self.once {
                self.fuse = None;
            }
            return Err(io::Error::other("the disk refuses"));
        }
        *left -= 1;
        Ok(())
    }

    /// The power goes: of what was not synced, anything may be there, whole or in part.
    fn cut(&mut self, mut chance: impl FnMut() -> u32) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            let length = match chance() % 3 {
                0 => 0,
                1 => bytes.len(),
                // Sectors are written as a whole.
                _ => (chance() as usize % (bytes.len() / 512 + 1)) * 512,
            };
            if self.platter.len() < at + length {
                self.platter.resize(at + length, 0);
            }
            self.platter[at..at + length].copy_from_slice(&bytes[..length]);
        }
        self.cache.clone_from(&self.platter);
        self.fuse = None;
    }
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Disk>>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let from = offset as usize;
        let bytes = disk.cache.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burns()?;
        disk.cache.resize(len as usize, 0);
        // Sizes are metadata, which a file system keeps in order.
        disk.platter.resize(len as usize, 0);
        disk.pending.retain(|(at, bytes)| at + bytes.len() <= len as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burns()?;
        disk.pending.clear();
        disk.platter = disk.cache.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burns()?;
        let at = offset as usize;
        disk.cache[at..at + data.len()].copy_from_slice(data);
        disk.pending.push((at, data.to_vec()));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_batch_is_there_as_a_whole_or_not_at_all(
        steps in proptest::collection::vec(
            (proptest::option::of(0u32..40), any::<bool>(), any::<bool>(), any::<u32>(), 0usize..30_000),
            1..12,
        ),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Shared::default();
        let open = || {
            let disk = disk.clone();
            let below = move |builder: &redb::Builder, _| builder.create_with_backend(disk.clone());
            Store::open_on(folder.path(), Arc::new(below)).unwrap()
        };
        let mut store = open().store;
        let mut known = 0u64;
        for (fuse, once, cut, seed, size) in steps {
            {
                let mut disk = disk.0.lock().unwrap();
                (disk.fuse, disk.once) = (fuse, once);
            }
            let next = known + 1;
            let text = "x".repeat(size);
            let written = store.write(Batch::default().put("a", &next).put("b", &(next, &text)).note(&next));
            disk.0.lock().unwrap().fuse = None;
            prop_assert!(written.is_ok() || !once, "a disk that refuses once is asked again: {:?}", written);
            if cut {
                drop(store);
                let mut state = seed;
                disk.0.lock().unwrap().cut(|| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 8
                });
                let opened = open();
                prop_assert_eq!(opened.warning, None);
                store = opened.store;
            }
            let a = store.read::<u64>("a").unwrap().unwrap_or(0);
            prop_assert!(a == next || written.is_err() && a == known, "{} of {} {:?}", a, next, written);
            let b = store.read::<(u64, String)>("b").unwrap();
            prop_assert_eq!(b.as_ref().map_or(0, |b| b.0), a);
            let last = store.journal::<u64>(1).unwrap();
            prop_assert_eq!(last.first().map_or(0, |line| line.1), a);
            known = a;
        }
    }
}
