//! Maps of one element as memory that the kernel programs and we share.

use std::ffi::c_void;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::ptr::NonNull;

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Doing, Error};

/// The memory of a map, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: plain memory, whose accesses below are all volatile or of single words; which thread makes them is the same.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps all of a map's only element.
    pub(crate) fn of(map: &MapData) -> Result<Self, Error> {
        let bytes = map.info().doing("ask about a map")?.value_size() as usize;
        // SAFETY: a fresh mapping at an address of the kernel's choice, which nothing else refers to.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map.fd().as_fd(),
                0,
            )
        };
        let start = NonNull::new(start.doing("share the memory of a map")?).ok_or(Error::Object { what: "memory" })?;
        Ok(Self { start, bytes })
    }

    /// Maps the map that is pinned there.
    pub(crate) fn pinned(path: &Path) -> Result<Self, Error> {
        Self::of(&MapData::from_pin(path).doing(format!("open {}", path.display()))?)
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The word at `index`, or nothing beyond the end.
    pub(crate) fn word(&self, index: usize) -> Option<u64> {
        let place = self.place(index)?;
        // SAFETY: within the mapping and aligned. Volatile: the kernel programs write it meanwhile.
        Some(unsafe { place.read_volatile() })
    }

    /// Writes the word at `index`; false beyond the end. A program sees the old one or the new one.
    #[must_use]
    pub(crate) fn set_word(&self, index: usize, word: u64) -> bool {
        let Some(place) = self.place(index) else { return false };
        // SAFETY: within the mapping and aligned. Volatile: the kernel programs read it meanwhile.
        unsafe { place.write_volatile(word) };
        true
    }

    /// Writes words from byte `at` on, a multiple of 8; false when they do not fit, and nothing is written. Nobody may
    /// read there meanwhile.
    #[must_use]
    pub(crate) fn fill(&self, at: usize, words: &[u64]) -> bool {
        if !at.is_multiple_of(8) || at.checked_add(std::mem::size_of_val(words)).is_none_or(|end| end > self.bytes) {
            return false;
        }
        // SAFETY: within the mapping, which overlaps with no memory of ours.
        unsafe {
            let start = self.start.cast::<u64>().as_ptr().wrapping_add(at / 8);
            std::ptr::copy_nonoverlapping(words.as_ptr(), start, words.len());
        }
        true
    }

    /// Writes the first word after all that was written before it; false when there is none.
    #[must_use]
    pub(crate) fn publish(&self, word: u64) -> bool {
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        self.set_word(0, word)
    }

    fn place(&self, index: usize) -> Option<*mut u64> {
        let fits = index.checked_add(1)?.checked_mul(8)? <= self.bytes;
        fits.then(|| self.start.cast::<u64>().as_ptr().wrapping_add(index))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, with this length, and referred to by nothing that outlives this.
        // That it fails would mean that it is not mapped, which is as good.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.bytes) };
    }
}
