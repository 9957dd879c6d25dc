//! Slots over memory of this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};

use gabion_abi::contract::Contract;
use proptest::prelude::*;

use crate::sequenced::{Claim, Unsettled, write};
use crate::{Field, Sequenced, Slot, field};

/// Fields of every width.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mixed {
    wide: u64,
    signed: i64,
    halves: [u32; 2],
    quarters: [i16; 2],
    bytes: [u8; 4],
    pair: Pair,
}

#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    one: u32,
    two: u32,
}

const MIXED: usize = size_of::<Mixed>() / 8;

/// Memory that a slot may lie in.
struct Words<const N: usize>([AtomicU64; N]);

impl<const N: usize> Words<N> {
    fn of(words: [u64; N]) -> Self {
        Self(words.map(AtomicU64::new))
    }

    fn slot<T: Contract + Copy>(&self) -> Slot<'_, T> {
        assert!(size_of::<T>() == N * 8 && align_of::<T>() <= 8);
        // SAFETY: memory of this size, which lives as long, and is aligned to 8 bytes.
        unsafe { Slot::new(NonNull::from(&self.0).cast()) }
    }
}

fn mixed() -> impl Strategy<Value = Mixed> {
    let fields = (any::<[u64; 2]>(), any::<[u32; 4]>(), any::<[i16; 2]>(), any::<[u8; 4]>());
    fields.prop_map(|([wide, signed], [a, b, one, two], quarters, bytes)| Mixed {
        wide,
        signed: signed.cast_signed(),
        halves: [a, b],
        quarters,
        bytes,
        pair: Pair { one, two },
    })
}

fn elements<U: Contract + Copy, const N: usize>(slot: Slot<'_, Mixed>, array: Field<Mixed, [U; N]>) -> [U; N] {
    assert!(array.element(N).is_none());
    std::array::from_fn(|at| slot.field(array.element(at).unwrap()).load())
}

proptest! {
    #[test]
    fn fields_are_read_where_the_compiler_put_them(value in mixed()) {
        let memory = Words::<MIXED>::of([0; MIXED]);
        let slot = memory.slot::<Mixed>();
        slot.put(&value);
        let pair = field!(Mixed, pair);
        let read = Mixed {
            wide: slot.field(field!(Mixed, wide)).load(),
            signed: slot.field(field!(Mixed, signed)).load(),
            halves: elements(slot, field!(Mixed, halves)),
            quarters: elements(slot, field!(Mixed, quarters)),
            bytes: elements(slot, field!(Mixed, bytes)),
            pair: slot.field(pair).load(),
        };
        prop_assert_eq!(read, value);
        prop_assert_eq!(slot.field(pair.then(field!(Pair, two))).load(), value.pair.two);
        prop_assert_eq!(slot.copy(), value);
    }

    #[test]
    fn what_is_published_changes_nothing_beside_it(before in mixed(), after in mixed()) {
        let memory = Words::<MIXED>::of([0; MIXED]);
        let slot = memory.slot::<Mixed>();
        slot.put(&before);
        slot.field(field!(Mixed, pair)).publish(&after.pair);
        slot.field(field!(Mixed, bytes).element(2).unwrap()).publish(&after.bytes[2]);
        slot.field(field!(Mixed, quarters).element(1).unwrap()).publish(&after.quarters[1]);
        slot.field(field!(Mixed, halves).element(0).unwrap()).publish(&after.halves[0]);
        let mut expected = Mixed { pair: after.pair, ..before };
        (expected.bytes[2], expected.quarters[1], expected.halves[0]) =
            (after.bytes[2], after.quarters[1], after.halves[0]);
        prop_assert_eq!(slot.copy(), expected);
    }

    #[test]
    fn a_record_is_read_exactly_when_nobody_is_writing(words in any::<[u64; MIXED + 1]>()) {
        let memory = Words::of(words);
        let slot = memory.slot::<Sequenced<Mixed>>();
        let plain = Words::<MIXED>::of(words[1..].try_into().unwrap());
        let expected = plain.slot::<Mixed>().copy();
        match slot.read() {
            Ok(read) => prop_assert!(words[0] % 2 == 0 && read == expected),
            Err(Unsettled { sequence }) => prop_assert!(words[0] % 2 == 1 && sequence == words[0]),
        }
    }
}

impl Claim for AtomicU64 {
    fn claim(&self, even: u64) -> bool {
        let claimed = self.compare_exchange(even, even | 1, SeqCst, SeqCst).is_ok();
        fence(SeqCst);
        claimed
    }

    fn settle(&self, even: u64) {
        fence(SeqCst);
        self.swap(even, SeqCst);
    }
}

/// What `loom` shows for two words, with the code that readers run, on the machine that is there.
#[test]
fn threads_do_not_tear_a_record() {
    let memory = Words::<9>::of([0; 9]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=200_000 {
                assert!(write(&memory.0[0], || memory.0[1..].iter().for_each(|word| word.store(number, Relaxed))));
            }
            done.store(true, Relaxed);
        });
        let mut last = 0;
        while !done.load(Relaxed) {
            if let Ok(words) = memory.slot::<Sequenced<[u64; 8]>>().read() {
                assert!(words.iter().all(|&word| word == words[0]) && words[0] >= last, "{last} {words:?}");
                last = words[0];
            }
        }
    });
    assert_eq!(memory.slot::<Sequenced<[u64; 8]>>().read(), Ok([200_000; 8]));
}
