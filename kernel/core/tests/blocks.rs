//! The building blocks against std.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap, VecDeque};

use gabion_kernel_core::blocks::{Bounded, ClassMap, Refusal, RingBuf, StrideTable, StrideWriter, Words};
use gabion_kernel_core::classify::SliceTables;
use proptest::collection::vec;
use proptest::prelude::*;

/// Numbers about as large as the containers, and any.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..40u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

proptest! {
    #[test]
    fn an_index_is_what_a_remainder_a_compare_or_a_minimum_gives(number in number()) {
        prop_assert_eq!(Bounded::<16>::masked(number).get(), number % 16);
        prop_assert_eq!(Bounded::<1>::masked(number).get(), 0);
        prop_assert_eq!(Bounded::<{ 1 << 31 }>::masked(number).get(), number % (1 << 31));
        prop_assert_eq!(Bounded::<20>::checked(number).map(Bounded::get), (number < 20).then_some(number));
        prop_assert_eq!(Bounded::<20>::clamped(number).get(), number.min(19));
        prop_assert_eq!(Bounded::<256>::from(number as u8).get(), number % 256);
        prop_assert_eq!(Bounded::<65536>::from(number as u16).get(), number % 65536);
    }

    #[test]
    fn an_array_gives_what_its_slice_gives(number in number(), value in any::<u16>()) {
        let mut even: [u32; 16] = std::array::from_fn(|at| at as u32 * 3);
        let mut odd: [u16; 20] = std::array::from_fn(|at| at as u16 * 5);
        prop_assert_eq!(even[Bounded::masked(number)], number % 16 * 3);
        prop_assert_eq!(odd[Bounded::clamped(number)], number.min(19) as u16 * 5);
        prop_assert_eq!(odd[Bounded::constant::<7>()], 35);
        let (mut even_after, mut odd_after) = (even, odd);
        even_after[number as usize % 16] = value as u32;
        odd_after[(number as usize).min(19)] = value;
        even[Bounded::masked(number)] = value as u32;
        odd[Bounded::clamped(number)] = value;
        prop_assert_eq!((even, odd), (even_after, odd_after));
    }

    #[test]
    fn a_ring_is_a_queue_that_holds_so_many(ops in vec((0..9u8, number()), 0..400)) {
        let mut ring = RingBuf::<u32, 8>::new(77);
        let mut queue = VecDeque::new();
        for (op, value) in ops {
            let mut out = 0;
            match op {
                0 | 1 => {
                    let fits = queue.len() < 8;
                    prop_assert_eq!(ring.push(value), fits);
                    if fits {
                        queue.push_back(value);
                    }
                }
                2 | 3 => {
                    ring.push_over(value);
                    queue.push_back(value);
                    if queue.len() > 8 {
                        queue.pop_front();
                    }
                }
                4 | 5 => prop_assert_eq!(ring.pop(&mut out).then_some(out), queue.pop_front()),
                6 => {
                    let at = value as usize;
                    prop_assert_eq!(ring.oldest(value, &mut out).then_some(out), queue.get(at).copied());
                    prop_assert_eq!(ring.newest(value, &mut out).then_some(out), queue.iter().rev().nth(at).copied());
                }
                7 => {
                    let mut walked = Vec::new();
                    ring.walk(|held| {
                        walked.push(held);
                        held % 4 != 3
                    });
                    let end = queue.iter().position(|held| held % 4 == 3).map_or(queue.len(), |at| at + 1);
                    prop_assert_eq!(walked, queue.iter().take(end).copied().collect::<Vec<_>>());
                }
                _ if value % 16 == 0 => {
                    ring.clear();
                    queue.clear();
                }
                _ => {}
            }
            prop_assert_eq!(ring.len() as usize, queue.len());
            prop_assert_eq!((ring.is_empty(), ring.is_full()), (queue.is_empty(), queue.len() == 8));
        }
    }

    #[test]
    fn a_class_map_is_a_map_of_pairs(ops in vec((number(), number(), any::<u64>()), 0..200)) {
        let mut map = ClassMap::<u64, 12, 10>::new(9);
        let mut pairs = HashMap::new();
        for (row, column, value) in ops {
            let mut found = 0;
            let expected = (row < 12 && column < 10).then(|| pairs.get(&(row, column)).copied().unwrap_or(9));
            prop_assert_eq!(map.find(row, column, &mut found).then_some(found), expected);
            if let (Some(row), Some(column)) = (Bounded::checked(row), Bounded::checked(column)) {
                *map.at_mut(row, column) = value;
                pairs.insert((row.get(), column.get()), value);
            }
        }
        for (row, column) in (0..12).flat_map(|row| (0..10).map(move |column| (row, column))) {
            let expected = pairs.get(&(row, column)).copied().unwrap_or(9);
            prop_assert_eq!(map.at(Bounded::clamped(row), Bounded::clamped(column)), expected);
        }
    }
}

/// Prefixes that lie close together and in each other; the length may be any.
fn prefixes<const LENGTH: usize>() -> impl Strategy<Value = Vec<([u32; LENGTH], u32, u32)>> {
    let word = prop_oneof![Just(0), Just(u32::MAX), 0..4u32, any::<u32>()];
    vec((proptest::array::uniform(word), 0..=32 * LENGTH as u32, 0..1u32 << 31), 0..24)
}

fn bit<const LENGTH: usize>(key: &[u32; LENGTH], at: u32) -> u32 {
    key[at as usize / 32] >> (31 - at % 32) & 1
}

/// Writes them, and compares all keys at the edges of all prefixes with a look at each length from the longest.
fn hold<const ROOT: u32, const STRIDE: u32, const LENGTH: usize>(mut prefixes: Vec<([u32; LENGTH], u32, u32)>) {
    prefixes.sort_by_key(|&(_, length, _)| length);
    let base = 3;
    let mut words = vec![0; base + StrideTable::<ROOT, STRIDE>::words(24 * 32 * LENGTH as u32 / STRIDE) as usize];
    let mut writer = StrideWriter::<ROOT, STRIDE>::new(&mut words[base..]).unwrap();
    let mut classes = BTreeMap::new();
    let head = |key: &[u32; LENGTH], length: u32| (0..length).map(|at| bit(key, at)).collect::<Vec<_>>();
    for (key, length, class) in &prefixes {
        assert_eq!(writer.insert(key, *length, *class), Ok(()));
        classes.insert(head(key, *length), *class);
    }
    let table = StrideTable::<ROOT, STRIDE>::at(base as u32);
    for (key, length, _) in &prefixes {
        for changed in [None, length.checked_sub(1), Some(*length), Some(32 * LENGTH as u32 - 1)] {
            let mut key = *key;
            if let Some(at) = changed.filter(|&at| (at as usize) < 32 * LENGTH) {
                key[at as usize / 32] ^= 1 << (31 - at % 32);
            }
            let longest = (0..=32 * LENGTH as u32).rev().find_map(|length| classes.get(&head(&key, length)));
            assert_eq!(table.class(words.as_slice(), &key), longest.copied().unwrap_or(0), "{key:08x?}");
            let view = SliceTables { params: &[], words: &words };
            assert_eq!(table.class(&view, &key), longest.copied().unwrap_or(0), "{key:08x?}");
        }
    }
}

proptest! {
    // Each case looks at hundreds of keys in seven tables.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_stride_table_finds_the_longest_prefix(four in prefixes::<1>(), six in prefixes::<4>()) {
        hold::<16, 8, 1>(four.clone());
        hold::<8, 8, 1>(four.clone());
        hold::<12, 4, 1>(four.clone());
        hold::<1, 1, 1>(four);
        hold::<16, 16, 4>(six.clone());
        hold::<8, 8, 4>(six.clone());
        hold::<4, 4, 4>(six);
    }

    #[test]
    fn any_words_are_a_table(words in any::<[u64; 32]>(), base in any::<u32>(), key in any::<[u32; 4]>()) {
        // It only has to end, and not to panic.
        let _ = StrideTable::<8, 8>::at(base).class(&words, &key);
        let _ = StrideTable::<4, 4>::at(base % 32).class(words.as_slice(), &key);
        prop_assert_eq!(words.half(4, 3), (words[5] >> 32) as u32);
    }
}

#[test]
fn nothing_written_is_class_0() {
    assert_eq!(StrideTable::<8, 8>::at(0).class(&[0u64; 128], &[0x1234_5678]), 0);
    assert_eq!(StrideTable::<8, 8>::at(0).class([].as_slice(), &[0x1234_5678]), 0);
}

#[test]
fn a_writer_says_why_it_does_not_write() {
    let mut words = [0u64; 128 + 2 * 128];
    assert!(StrideWriter::<8, 8>::new(&mut words[..127]).is_none(), "no room for the root");
    let mut writer = StrideWriter::<8, 8>::new(&mut words).unwrap();
    assert_eq!(writer.insert(&[0], 33, 1), Err(Refusal::Length));
    assert_eq!(writer.insert(&[0], 8, 1 << 31), Err(Refusal::Class));
    assert_eq!(writer.insert(&[0x0a00_0000], 8, 7), Ok(()));
    assert_eq!(writer.insert(&[0], 7, 1), Err(Refusal::Order));
    assert_eq!(writer.insert(&[0x0b00_0000], 24, 8), Ok(()));
    assert_eq!(writer.nodes(), 2);
    assert_eq!(writer.insert(&[0x0a01_0000], 16, 9), Err(Refusal::Order));
    assert_eq!(writer.insert(&[0x0a01_0000], 24, 9), Err(Refusal::Full));
    let table = StrideTable::<8, 8>::at(0);
    assert_eq!(table.class(&words[..], &[0x0a01_0203]), 7, "as before");
    assert_eq!(table.class(&words[..], &[0x0b00_0003]), 8);
    assert!(StrideWriter::<8, 8>::new(&mut words).is_none(), "something is there already");
}

#[test]
fn layouts_leave_no_byte_unsaid() {
    assert_eq!(size_of::<RingBuf<u8, 4>>(), 8 + 4);
    assert_eq!(size_of::<RingBuf<u64, 16>>(), 8 + 128);
    assert_eq!(size_of::<ClassMap<u8, 7, 3>>(), 21);
    assert_eq!(size_of::<ClassMap<u32, 12, 10>>(), 480);
    assert_eq!(size_of::<Bounded<5>>(), 4);
}
