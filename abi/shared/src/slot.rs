//! One place in shared memory.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

use gabion_abi::contract::Contract;

use crate::Field;
use crate::sequenced::{Counter, Look, Sequenced, Unsettled, read};

/// How often a reader looks at a record that others are writing. A writer needs some 10 ns, so that this many looks
/// without an answer mean that one was stopped half way.
pub(crate) const LOOKS: u32 = 4_096;

/// A `T` in shared memory, which somebody else may be writing. There is no reference to it, since what a reference
/// refers to does not change; a value comes out where it cannot be torn.
///
/// Within the memory of a map that outlives `'m`, aligned as `T` is, and to 8 bytes if the size of `T` is a multiple of
/// these.
pub struct Slot<'m, T> {
    start: NonNull<u8>,
    memory: PhantomData<&'m ()>,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<'_, T> {}

impl<T> Slot<'_, T> {
    /// # Safety
    /// What is said of the type: within memory that lives as long, and aligned.
    pub(crate) unsafe fn new(start: NonNull<u8>) -> Self {
        Self { start, memory: PhantomData, value: PhantomData }
    }

    /// # Safety
    /// `at` bytes from here an atomic integer of this type lies within the slot, aligned.
    unsafe fn atom<A>(&self, at: usize) -> &A {
        // SAFETY: within the slot and aligned, as promised; atomic integers may be changed by others meanwhile.
        unsafe { self.start.add(at).cast().as_ref() }
    }
}

impl<'m, T: Contract + Copy> Slot<'m, T> {
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(8), "read and written by words");
        size_of::<T>() / 8
    };

    /// A field of the record.
    #[must_use]
    pub fn field<U: Contract + Copy>(self, field: Field<T, U>) -> Slot<'m, U> {
        // SAFETY: within the record, and aligned as a slot is, as `Field` was made.
        unsafe { Slot::new(self.start.add(field.offset())) }
    }

    /// The value, whole: of integers, and of records as large as one. Others do not compile.
    #[must_use]
    pub fn load(self) -> T {
        const {
            let bytes = size_of::<T>();
            assert!(bytes == 8 || bytes < 8 && bytes == align_of::<T>(), "only as much as memory holds whole");
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: a slot of this size is aligned to it: to 8 bytes as slots are, or to its own size as just said. What
        // is loaded has as many bytes as `T`, of which every bit pattern is one by its contract.
        unsafe {
            match size_of::<T>() {
                1 => value.as_mut_ptr().cast::<u8>().write_unaligned(self.atom::<AtomicU8>(0).load(Relaxed)),
                2 => value.as_mut_ptr().cast::<u16>().write_unaligned(self.atom::<AtomicU16>(0).load(Relaxed)),
                4 => value.as_mut_ptr().cast::<u32>().write_unaligned(self.atom::<AtomicU32>(0).load(Relaxed)),
                _ => value.as_mut_ptr().cast::<u64>().write_unaligned(self.word(0).load(Relaxed)),
            }
            value.assume_init()
        }
    }

    /// Stores it, whole, after everything that was stored before.
    pub(crate) fn publish(self, value: &T) {
        const {
            let bytes = size_of::<T>();
            assert!(bytes == 8 || bytes < 8 && bytes == align_of::<T>(), "only as much as memory holds whole");
        }
        let from = std::ptr::from_ref(value);
        // SAFETY: as in `load`, and the value has no byte that is not set.
        unsafe {
            use std::sync::atomic::Ordering::Release;
            match size_of::<T>() {
                1 => self.atom::<AtomicU8>(0).store(from.cast::<u8>().read_unaligned(), Release),
                2 => self.atom::<AtomicU16>(0).store(from.cast::<u16>().read_unaligned(), Release),
                4 => self.atom::<AtomicU32>(0).store(from.cast::<u32>().read_unaligned(), Release),
                _ => self.word(0).store(from.cast::<u64>().read_unaligned(), Release),
            }
        }
    }

    /// # Safety
    /// The slot has so many words.
    unsafe fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: within the slot; one of whole words is aligned to them.
        unsafe { self.atom(at * 8) }
    }

    /// Word by word, of several states if somebody writes meanwhile.
    pub(crate) fn copy(self) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        for at in 0..Self::WORDS {
            // SAFETY: both have so many words. Every bit pattern is a `T`, as its contract says.
            unsafe { value.as_mut_ptr().cast::<u64>().add(at).write_unaligned(self.word(at).load(Relaxed)) };
        }
        // SAFETY: all words of it were written.
        unsafe { value.assume_init() }
    }

    /// Word by word: who reads meanwhile sees whole words, some of them old.
    pub(crate) fn put(self, value: &T) {
        for at in 0..Self::WORDS {
            // SAFETY: both have so many words, and the value has no byte that is not set.
            unsafe {
                let word = std::ptr::from_ref(value).cast::<u64>().add(at).read_unaligned();
                self.word(at).store(word, Relaxed);
            }
        }
    }
}

impl<T: Contract + Copy> Slot<'_, Sequenced<T>> {
    /// The record as one writer left it. It is copied to the stack: a reference to memory that somebody else writes
    /// would be undefined behaviour. Who wants some fields only copies no more than these with [`Self::look`].
    ///
    /// # Errors
    /// Somebody was writing it whenever this looked.
    #[inline]
    pub fn read(self) -> Result<T, Unsettled> {
        self.look(|slot| slot.copy())
    }

    /// What `look` makes of the record, in place. It may be called several times, and sees parts of several states in
    /// all of them but the last, whose answer is given.
    ///
    /// # Errors
    /// Somebody was writing whenever it looked.
    #[inline]
    pub fn look<R>(self, look: impl Fn(Slot<'_, T>) -> R) -> Result<R, Unsettled> {
        // SAFETY: within the record, and on a word, since a sequenced record is all words.
        let value = unsafe { Slot::<T>::new(self.start.add(Sequenced::<T>::VALUE)) };
        // SAFETY: its first word.
        let counter = unsafe { self.word(0) };
        read(counter, LOOKS, || look(value))
    }
}

impl Counter for AtomicU64 {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.load(Relaxed)
    }
}

impl Look for AtomicU64 {
    #[inline(always)]
    fn acquire(&self) {
        fence(Acquire);
    }

    fn pause(&self) {
        std::hint::spin_loop();
    }
}
