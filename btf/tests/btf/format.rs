//! Headers, parts, split BTF and names.

use gabion_btf::{Btf, Bytes, Defect, Kind, Problem};

use crate::fields::{path, sample, sampled};
use gabion_testing_types::{Build, SIGNED};

fn defect(bytes: Vec<u8>) -> Defect {
    match *Btf::parse(bytes).expect_err("unsound BTF").problem {
        Problem::Malformed(defect) => defect,
        problem => panic!("{problem}"),
    }
}

fn with_word(place: usize, word: u32) -> Vec<u8> {
    let mut bytes = sample(Build::new());
    bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
    bytes
}

#[test]
fn headers_that_lie_are_refused() {
    let whole = sample(Build::new());
    let behind = whole.len() as u32 - 24;
    assert_eq!(defect(whole[..23].to_vec()), Defect::ShortHeader { length: 23 });
    assert_eq!(defect(with_word(0, 0x0002_eb9f)), Defect::Version { found: 2 });
    assert_eq!(defect(with_word(0, 0x0101_eb9f)), Defect::Flags { found: 1 });
    for found in [0, 23, behind + 25, u32::MAX] {
        assert_eq!(defect(with_word(4, found)), Defect::HeaderLength { found });
    }
    assert!(matches!(defect(with_word(8, 2)), Defect::Part { part: "types", offset: 2, .. }));
    assert!(matches!(defect(with_word(12, u32::MAX)), Defect::Part { part: "types", length: u32::MAX, .. }));
    assert!(matches!(defect(with_word(16, u32::MAX)), Defect::Part { part: "strings", .. }));
    assert_eq!(defect(with_word(16, 0)), Defect::Overlap);
    assert!(matches!(defect(with_word(20, behind)), Defect::Part { part: "strings", .. }));
}

#[test]
fn a_longer_header_is_read_over() {
    let plain = sample(Build::new());
    let mut longer = plain[..24].to_vec();
    longer[4] = 32;
    longer.extend([0xff; 8]);
    longer.extend(&plain[24..]);
    let btf = Btf::parse(longer).unwrap();
    assert_eq!(btf.resolve("task_struct", path("mm.total_vm")).unwrap().chain, [40]);
}

#[test]
fn what_is_neither_btf_nor_elf_is_said_so() {
    for bytes in [vec![], vec![0x9f], b"#!/bin/sh".to_vec(), vec![0; 64]] {
        let start: Vec<u8> = bytes.iter().take(4).copied().collect();
        let problem = *Btf::parse(bytes).unwrap_err().problem;
        assert!(matches!(problem, Problem::Magic { found } if found == start));
    }
    let error = Btf::open("/nonexistent/btf").unwrap_err();
    assert!(matches!(*error.problem, Problem::Read { .. }) && error.to_string().starts_with("/nonexistent/btf: "));
}

#[test]
fn strings_begin_and_end_with_a_nul() {
    let mut bytes = sample(Build::new());
    *bytes.last_mut().unwrap() = b'x';
    assert_eq!(defect(bytes), Defect::Strings);
    let mut bytes = sample(Build::new());
    let first = 24 + u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    bytes[first] = b'x';
    assert_eq!(defect(bytes), Defect::Strings);
}

#[test]
fn kinds_and_bits_that_are_not_known_are_refused() {
    for kind in [0, 20, 31] {
        let mut b = Build::new();
        b.int("int", 4, SIGNED);
        b.raw("", kind << 24, 0, &[]);
        assert_eq!(defect(b.bytes()), Defect::UnknownKind { id: 2, found: kind });
    }
    for bit in [16, 23, 29, 30] {
        let mut b = Build::new();
        let info = 2 << 24 | 1 << bit;
        b.raw("", info, 0, &[]);
        assert_eq!(defect(b.bytes()), Defect::ReservedBits { id: 1, info });
    }
}

#[test]
fn records_that_go_on_behind_the_types_are_refused() {
    // Each kind with what follows its head, which is missing, or of which one word is.
    for (kind, words) in [(1, 1), (3, 3), (4, 3), (5, 3), (6, 2), (13, 2), (14, 1), (15, 3), (17, 1), (19, 3)] {
        for there in 0..words {
            let mut b = Build::new();
            b.int("int", 4, SIGNED);
            b.raw("", kind << 24 | 1, 0, &vec![0; there]);
            assert_eq!(defect(b.bytes()), Defect::TruncatedType { id: 2, at: 16 }, "kind {kind}, {there} words");
        }
        let mut b = Build::new();
        b.raw("", kind << 24 | 1, 0, &vec![0; words]);
        assert_eq!(Btf::parse(b.bytes()).unwrap().len(), 1);
    }
    for there in 1..3 {
        let mut b = Build::new();
        b.words = vec![0; there];
        assert_eq!(defect(b.bytes()), Defect::TruncatedType { id: 1, at: 0 });
    }
}

#[test]
fn names_outside_of_the_strings_are_refused() {
    let mut b = Build::new();
    b.int("int", 4, SIGNED);
    b.words[0] = 5;
    assert_eq!(defect(b.bytes()), Defect::Name { offset: 5 });
}

#[test]
fn names_that_are_not_text_are_errors_when_they_are_asked_for() {
    let mut b = Build::new();
    b.int("int", 4, SIGNED);
    let mut bytes = b.bytes();
    let place = bytes.len() - 4;
    bytes[place] = 0xff;
    let btf = Btf::parse(bytes).unwrap();
    let error = btf.get(1).unwrap().name().unwrap_err();
    assert!(matches!(*error.problem, Problem::Malformed(Defect::Name { offset: 1 })), "{error}");
}

#[test]
fn a_name_may_be_the_end_of_another() {
    let mut b = Build::new();
    let int = b.int("upid", 4, SIGNED);
    b.structure("s", 4, &[("upid", int, 0, 0)]);
    // The name of the member, and that of the integer, one byte later.
    b.words[0] += 1;
    b.words[7] += 1;
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.resolve("s", path("pid")).unwrap().offset, 0);
    assert_eq!(btf.find(Kind::Int, "pid").unwrap().id(), int);
}

#[test]
fn an_empty_name_is_none_wherever_it_is() {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    b.structure("s", 4, &[("x", int, 0, 0)]);
    // The NUL behind "int".
    b.words[4] = 4;
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.get(2).unwrap().name().unwrap(), "");
    assert!(btf.find(Kind::Struct, "").is_none());
    assert!(btf.resolve("struct ", path("x")).unwrap_err().is_absence());
}

#[test]
fn a_split_btf_goes_on_where_its_base_ends() {
    for build in [Build::new(), Build::big_endian()] {
        let first = sampled(build);
        let mut second = first.split();
        let task = first.next() - 4;
        let pointer = second.pointer(task);
        let own = second.structure("own", 16, &[("task", pointer, 0, 0), ("pid", 1, 64, 0)]);
        // A base that is itself split.
        let mut third = second.split();
        let at_own = third.pointer(own);
        third.structure("third", 8, &[("own", at_own, 0, 0)]);
        // Names that the one below has, and the lowest.
        let [own_name, lowest_name] = [second.string("own"), first.clone().string("mm_struct")];
        for (name, kind) in [(own_name, 8), (lowest_name, 8)] {
            let id = third.raw("", kind << 24, at_own, &[]);
            let place = third.words.len() - 3;
            third.words[place] = name;
            assert_eq!(id + 1, third.next());
        }
        let base = Btf::parse(first.bytes()).unwrap();
        let split = Btf::split(&base, second.bytes()).unwrap();
        let split = Btf::split(&split, third.bytes()).unwrap();
        assert_eq!(split.len(), third.next() - 1);
        let field = split.resolve("third", path("own.task.mm.total_vm")).unwrap();
        assert_eq!((field.chain, field.offset), (vec![0, 0, 40], 0));
        assert_eq!(split.resolve("task_struct", path("pid")).unwrap().offset, 0);
        assert_eq!(split.find(Kind::Func, "wake").unwrap().id(), first.next() - 1);
        assert_eq!(split.types().map(|found| found.id()).collect::<Vec<_>>(), (at_own..at_own + 4).collect::<Vec<_>>());
        assert_eq!(split.find(Kind::Typedef, "own").unwrap().id(), at_own + 2);
        assert_eq!(split.find(Kind::Typedef, "mm_struct").unwrap().id(), at_own + 3);
        // Alone, its numbers mean nothing.
        assert!(Btf::parse(second.bytes()).is_err());
        assert!(base.resolve("own", path("pid")).unwrap_err().is_absence());
    }
}

#[test]
fn a_split_btf_has_the_byte_order_of_its_base() {
    let base = Btf::parse(sample(Build::new())).unwrap();
    let mut other = Build::big_endian().split();
    other.pointer(0);
    let error = Btf::split(&base, other.bytes()).unwrap_err();
    assert!(matches!(*error.problem, Problem::Malformed(Defect::ByteOrder | Defect::Strings)), "{error}");
}

#[test]
fn bytes_may_be_anybodys() {
    let vec = sample(Build::new());
    let fixed: &'static [u8] = vec.clone().leak();
    for bytes in [Bytes::from(vec.clone()), Bytes::from(fixed), Bytes::kept_by(std::sync::Arc::<[u8]>::from(vec))] {
        assert!(Btf::parse(bytes).is_ok());
    }
}

#[test]
fn numbers_are_those_of_the_order_in_the_bytes() {
    for build in [Build::new(), Build::big_endian()] {
        let built = sampled(build);
        let btf = Btf::parse(built.bytes()).unwrap();
        assert_eq!(btf.len(), built.next() - 1);
        for (found, id) in btf.types().zip(1..) {
            assert_eq!(found.id(), id);
            assert_eq!(format!("{:?}", btf.get(id).unwrap()), format!("{found:?}"));
            if let (kind, name @ ("task_struct" | "wake" | "int" | "state")) = (found.kind(), found.name().unwrap()) {
                assert_eq!(btf.find(kind, name).unwrap().id(), id);
            }
        }
        assert!(btf.get(built.next()).is_err());
        assert!(btf.get(u32::MAX).is_err());
        assert_eq!(btf.get(0).unwrap().kind(), Kind::Void);
    }
}
