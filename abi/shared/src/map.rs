//! A map's memory in this process.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;

use aya::maps::MapData;
use gabion_abi::contract::{Contract, Memory};
use gabion_contracts::Said;
use rustix::mm::{MapFlags, ProtFlags};

use crate::lanes::Lanes;
use crate::open::{OpenError, formed};
use crate::sequenced::{Sequenced, Unsettled};
use crate::slot::{LOOKS, Slot};

/// Others write this memory. It is mapped for reading only.
#[derive(Debug)]
pub struct Reader(());

/// Nobody but the holder writes this memory.
#[derive(Debug)]
pub struct Writer(());

/// The records of a map that kernel programs share with us, for as long as this lives: an array of `T`. Which record of
/// a place of `T` is checked once, here; after that there is nothing between a reader and the memory but a compare of
/// the index.
pub struct Shared<T, Who = Reader> {
    start: NonNull<u8>,
    length: usize,
    map: &'static str,
    types: PhantomData<fn() -> (T, Who)>,
}

// SAFETY: memory that is not this thread's more than another's, all of whose accesses are atomic.
unsafe impl<T, Who> Send for Shared<T, Who> {}
// SAFETY: as above.
unsafe impl<T, Who> Sync for Shared<T, Who> {}

impl<T: Contract + Copy> Shared<T> {
    /// Maps what programs write. `said` is what the other side says of its maps.
    ///
    /// # Errors
    /// The map is not memory of whole `T`, or the other side says that something else lies there.
    pub fn open(map: &MapData, memory: &Memory<T>, said: &Said<'_>) -> Result<Self, OpenError> {
        Self::mapped(map, memory, said, ProtFlags::READ)
    }

    /// Its records as those of CPUs, of which each has as many; what is left over at the end is not looked at.
    #[must_use]
    pub fn lanes(&self, cpus: usize) -> Lanes<'_, T> {
        Lanes::new(self, self.length.checked_div(cpus).unwrap_or(0))
    }
}

impl<T: Contract + Copy> Shared<T, Writer> {
    /// Maps what we write and programs read.
    ///
    /// # Errors
    /// As [`Shared::open`].
    pub fn open_to_write(map: &MapData, memory: &Memory<T>, said: &Said<'_>) -> Result<Self, OpenError> {
        Self::mapped(map, memory, said, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// A record that we wrote; nothing beyond the end.
    #[must_use]
    pub fn written(&self, index: usize) -> Option<T> {
        self.slot(index).map(Slot::copy)
    }

    /// Writes a record, word by word: a program that reads meanwhile sees some of its words changed and others not yet.
    /// False beyond the end.
    #[must_use]
    pub fn put(&mut self, index: usize, value: &T) -> bool {
        self.slot(index).map(|slot| slot.put(value)).is_some()
    }

    /// Writes records from `first` on. False, and nothing is written, when they do not fit.
    #[must_use]
    pub fn fill(&mut self, first: usize, values: &[T]) -> bool {
        let fits = first.checked_add(values.len()).is_some_and(|end| end <= self.length);
        if fits {
            self.slots(first).zip(values).for_each(|(slot, value)| slot.put(value));
        }
        fits
    }

    /// Writes a record that memory holds whole, after everything that was written before: a program sees the old one or
    /// the new one. False beyond the end.
    #[must_use]
    pub fn publish(&mut self, index: usize, value: &T) -> bool {
        self.slot(index).map(|slot| slot.publish(value)).is_some()
    }
}

impl<T: Contract + Copy> Shared<Sequenced<T>> {
    /// A record as one writer left it. See [`Slot::read`], which does not name the map.
    ///
    /// # Errors
    /// [`Torn`].
    #[inline]
    pub fn read(&self, index: usize) -> Result<T, Torn> {
        let slot = self.slot(index).ok_or(Torn::Beyond { map: self.map, index, length: self.length })?;
        slot.read().map_err(|Unsettled { sequence }| Torn::Unsettled { map: self.map, index, sequence })
    }
}

impl<T: Contract + Copy, Who> Shared<T, Who> {
    fn mapped(map: &MapData, memory: &Memory<T>, said: &Said<'_>, access: ProtFlags) -> Result<Self, OpenError> {
        let name = memory.name();
        let refused = |difference| OpenError::Contract { map: name, difference };
        said.holds(memory).map_err(|difference| refused(Box::new(difference)))?;
        let bytes = formed(map, name, size_of::<T>())?;
        // SAFETY: a fresh mapping at an address of the kernel's choice, which nothing else refers to.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, map.fd().as_fd(), 0) };
        let kernel = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Kernel {
            map: name,
            doing: "share its memory",
            source,
        };
        let start = start.map_err(|errno| kernel(std::io::Error::from(errno).into()))?;
        let start = NonNull::new(start.cast()).ok_or_else(|| kernel("it lies at address 0".into()))?;
        Ok(Self { start, length: bytes / size_of::<T>(), map: name, types: PhantomData })
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// There is always one: a map without bytes is not opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The place of a record; nothing beyond the end.
    #[must_use]
    #[inline]
    pub fn slot(&self, index: usize) -> Option<Slot<'_, T>> {
        // SAFETY: within the mapping, which this slot does not outlive. Records follow each other from the beginning of
        // a page on, so that each is aligned, and one of whole words lies on a word.
        (index < self.length).then(|| unsafe { Slot::new(self.start.add(index * size_of::<T>())) })
    }

    /// All places from `first` on.
    pub fn slots(&self, first: usize) -> impl Iterator<Item = Slot<'_, T>> {
        (first..self.length).filter_map(|index| self.slot(index))
    }
}

impl<T, Who> fmt::Debug for Shared<T, Who> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("map", &self.map).field("length", &self.length).finish_non_exhaustive()
    }
}

impl<T, Who> Drop for Shared<T, Who> {
    fn drop(&mut self) {
        // SAFETY: mapped by `mapped`, with this length up to the end of its last page, and referred to by nothing that
        // outlives this. That it fails would mean that it is not mapped, which is as good.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}

/// Why a record was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// It was being written at every look.
    #[error(
        "map {map}: record {index} was being written whenever it was looked at, {LOOKS} times, the last time under \
         sequence {sequence}; ask again, and if this is odd and stays the same, its writer died half way"
    )]
    Unsettled {
        /// The map.
        map: &'static str,
        /// The record.
        index: usize,
        /// The counter at the last look.
        sequence: u64,
    },
    /// There is no such record.
    #[error("map {map}: there is no record {index}, there are {length}")]
    Beyond {
        /// The map.
        map: &'static str,
        /// The record that was asked for.
        index: usize,
        /// How many there are.
        length: usize,
    },
}
