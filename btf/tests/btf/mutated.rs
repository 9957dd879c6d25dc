//! BTF that was changed, on purpose or blindly: the typed error or the right value, and never another one.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use gabion_btf::extract::{Need, extract};
use gabion_btf::{Btf, Defect, Error, Problem, Wanted};

use crate::extracts::PATHS;
use crate::fields::{path, sample, sampled};
use crate::oracle;
use gabion_testing_types::{Build, Member, SIGNED};

fn defect(error: &Error) -> &Defect {
    match &*error.problem {
        Problem::Malformed(defect) => defect,
        problem => panic!("{problem}"),
    }
}

/// A struct of twelve members of four bytes, with a gap behind each.
fn spaced(change: impl Fn(usize, &mut (String, u32, u32))) -> Btf {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    b.int("unsigned int", 4, 0);
    b.int("long int", 8, SIGNED);
    b.pointer(int);
    b.array(int, 2);
    b.raw("float", 16 << 24, 4, &[]);
    let mut members: Vec<(String, u32, u32)> = (0..12).map(|n| (format!("m{n}"), int, n * 128)).collect();
    members.iter_mut().enumerate().for_each(|(place, member)| change(place, member));
    let members: Vec<Member<'_>> = members.iter().map(|(name, of, at)| (name.as_str(), *of, *at, 0)).collect();
    b.structure("s", 12 * 16, &members);
    Btf::parse(b.bytes()).unwrap()
}

#[test]
fn moved_members_are_found_where_they_are() {
    let mut cases = 0;
    for moved in 0..12usize {
        for by in [8, 32, 64, 96] {
            let btf = spaced(|place, member| member.2 += if place == moved { by } else { 0 });
            for place in 0..12usize {
                let at = place as u32 * 16 + if place == moved { by / 8 } else { 0 };
                let field = btf.bind("s", path(&format!("m{place}")), Wanted::signed(4)).unwrap();
                assert_eq!(field.offset, at);
            }
            cases += 1;
        }
        // Within a byte, and out of the struct.
        let btf = spaced(|place, member| member.2 += u32::from(place == moved));
        let error = btf.resolve("s", path(&format!("m{moved}"))).unwrap_err();
        assert_eq!(*defect(&error), Defect::Unaligned { id: 1 });
        for at in [12 * 128 - 24, 12 * 128, u32::MAX - 31] {
            let btf = spaced(|place, member| member.2 = if place == moved { at } else { member.2 });
            let error = btf.resolve("s", path(&format!("m{moved}"))).unwrap_err();
            assert_eq!(*defect(&error), Defect::Outside { id: 7, offset: at, bits: 32 });
        }
        cases += 4;
    }
    assert_eq!(cases, 96);
}

#[test]
fn renamed_members_are_absent_unless_a_path_knows_both_names() {
    for renamed in 0..12usize {
        let btf = spaced(|place, member| {
            if place == renamed {
                member.0 = format!("__m{place}")
            }
        });
        for place in 0..12usize {
            let outcome = btf.resolve("s", path(&format!("m{place}")));
            assert_eq!(outcome.is_err_and(|error| error.is_absence()), place == renamed);
            let either = btf.resolve("s", path(&format!("__m{place} | m{place}"))).unwrap();
            assert_eq!(either.offset, place as u32 * 16);
        }
    }
}

#[test]
fn retyped_members_are_misfits() {
    // unsigned, twice as long, a pointer, an array, a float; and the struct itself, which is then outside of itself.
    for (of, found) in [(2, "unsigned int"), (3, "long int"), (4, "int *"), (5, "int [2]"), (6, "float")] {
        for retyped in 0..12usize {
            let btf = spaced(|place, member| {
                if place == retyped {
                    member.1 = of
                }
            });
            for place in 0..12usize {
                match btf.bind("s", path(&format!("m{place}")), Wanted::signed(4)) {
                    Ok(field) => assert_eq!((place != retyped, field.offset), (true, place as u32 * 16)),
                    Err(error) => {
                        assert!(place == retyped && matches!(*error.problem, Problem::Misfit { .. }), "{error}");
                        assert!(error.to_string().contains(&format!("found {found}")), "{error}");
                    }
                }
            }
        }
    }
    let btf = spaced(|place, member| {
        if place == 3 {
            member.1 = 7
        }
    });
    assert!(matches!(defect(&btf.resolve("s", path("m3")).unwrap_err()), Defect::Outside { .. }));
    for of in [8, 1000, u32::MAX] {
        let btf = spaced(|place, member| {
            if place == 3 {
                member.1 = of
            }
        });
        assert_eq!(*defect(&btf.resolve("s", path("m3")).unwrap_err()), Defect::TypeId { found: of, last: 7 });
        assert!(btf.resolve("s", path("m4")).is_ok());
    }
}

#[test]
fn no_part_of_it_passes_for_the_whole() {
    for build in [Build::new(), Build::big_endian()] {
        let whole = sample(build);
        for length in 0..whole.len() {
            let error = Btf::parse(whole[..length].to_vec()).expect_err("a part");
            assert!(matches!(*error.problem, Problem::Malformed(_) | Problem::Magic { .. }), "{length}: {error}");
        }
        // Types that end within a record, and strings that end early.
        for cut in (4..400).step_by(4) {
            let mut bytes = whole.clone();
            let (order, place) = (bytes[0] == 0xeb, 12..16);
            let types = u32::from_le_bytes(bytes[place.clone()].try_into().unwrap());
            let types = if order { types.swap_bytes() } else { types } - cut;
            bytes[place].copy_from_slice(&if order { types.to_be_bytes() } else { types.to_le_bytes() });
            match Btf::parse(bytes) {
                // A whole number of records is BTF of fewer types.
                Ok(btf) => assert!(btf.len() < sampled(Build::new()).next() - 1),
                Err(error) => assert!(matches!(defect(&error), Defect::TruncatedType { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn circles_end_in_an_error() {
    for length in 1..=40u32 {
        for kind in [8, 9, 10, 11, 18] {
            // s.x is of a modifier that leads to itself, over so many others.
            let mut b = Build::new();
            for step in 0..length {
                b.raw("t", kind << 24, 1 + (step + 1) % length, &[]);
            }
            b.structure("s", 8, &[("x", 1, 0, 0)]);
            let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x")).unwrap_err();
            assert!(matches!(defect(&error), Defect::TooDeep { .. }), "{error}");
        }
        // Arrays of arrays of the first.
        let mut b = Build::new();
        for step in 0..length {
            b.array(1 + (step + 1) % length, 1);
        }
        b.structure("s", 8, &[("x", 1, 0, 0)]);
        let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x")).unwrap_err();
        assert!(matches!(defect(&error), Defect::TooDeep { .. }), "{error}");
        // Members without a name in one another.
        let mut b = Build::new();
        for step in 0..length {
            b.structure("s", 8, &[("", 1 + (step + 1) % length, 0, 0)]);
        }
        let btf = Btf::parse(b.bytes()).unwrap();
        let error = btf.resolve("s", path("x")).unwrap_err();
        assert!(matches!(defect(&error), Defect::TooDeep { .. }), "{error}");
        assert!(extract(&btf, &[Need::Field { root: "s", path: path("x") }]).is_err());
        assert!(extract(&btf, &[Need::Type("s")]).is_ok());
    }
    // Pointers in a circle are what lists are made of.
    let mut b = Build::new();
    b.structure("list", 8, &[("next", 2, 0, 0)]);
    b.pointer(1);
    let way = vec!["next"; 500].join(".");
    let field = Btf::parse(b.bytes()).unwrap().resolve("list", path(&way)).unwrap();
    assert_eq!((field.chain, field.offset), (vec![0; 499], 0));
}

#[test]
fn work_is_bounded_whatever_the_types_say() {
    let start = Instant::now();
    // Thirty structs, each with 2,000 nameless members that are all the next one.
    let mut b = Build::new();
    let many: Vec<u32> = (0..30).map(|number| number + 2).collect();
    for next in many {
        let members: Vec<Member<'_>> = vec![("", next, 0, 0); 2000];
        b.structure("s", 8, &members);
    }
    b.int("int", 4, SIGNED);
    let btf = Btf::parse(b.bytes()).unwrap();
    let error = btf.resolve("s", path("x")).unwrap_err();
    assert!(matches!(defect(&error), Defect::TooMuch { .. }), "{error}");
    // 100,000 types of one name.
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    for _ in 0..100_000 {
        b.structure("s", 8, &[("x", int, 32, 0)]);
    }
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.resolve("s", path("x")).unwrap().offset, 4);
    assert!(btf.resolve("s", path("y")).unwrap_err().is_absence());
    // An extract of what contains itself by value.
    let mut b = Build::new();
    let members: Vec<Member<'_>> = vec![("x", 1, 0, 0); 2000];
    b.structure("s", 8, &members);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert!(btf.resolve("s", path("x")).is_err());
    extract(&btf, &[Need::Field { root: "s", path: path("x") }, Need::Type("s")]).ok();
    // Generous: a debug build on a busy machine takes a second.
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn sizes_that_no_machine_has_are_refused() {
    type Change = fn(&mut Build) -> u32;
    let cases: [Change; 10] = [
        |b| b.int("int", 3, SIGNED),
        |b| b.int("int", 0, SIGNED),
        |b| b.int("int", 32, SIGNED),
        |b| b.int_of_bits("int", 4, SIGNED, 0, 33),
        |b| b.int_of_bits("int", 4, SIGNED, 31, 2),
        |b| b.int_of_bits("int", 4, SIGNED, 0, 0),
        |b| b.int_of_bits("int", 4, SIGNED, 8, 0),
        |b| b.raw("enum", 6 << 24, 3, &[]),
        |b| b.raw("float", 16 << 24, 5, &[]),
        |b| {
            let odd = b.int_of_bits("int", 4, SIGNED, 0, 24);
            b.array(odd, 2)
        },
    ];
    for case in cases {
        let mut b = Build::new();
        let of = case(&mut b);
        b.structure("s", 64, &[("x", of, 0, 0)]);
        let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x")).unwrap_err();
        assert!(matches!(defect(&error), Defect::Width { .. }), "{error}");
    }
    for of in [0u32, 1, 2, 3] {
        // Void, a function, its prototype, a declaration.
        let mut b = Build::new();
        b.raw("", 13 << 24, 0, &[]);
        b.raw("f", 12 << 24, 1, &[]);
        b.forward("later");
        b.structure("s", 64, &[("x", of, 0, 0)]);
        let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x")).unwrap_err();
        assert!(matches!(defect(&error), Defect::NoSize { .. }), "{error}");
    }
    for (elements, rows) in [(u32::MAX, 1), (1 << 31, 2), (u32::MAX, u32::MAX)] {
        let mut b = Build::new();
        let int = b.int("int", 4, SIGNED);
        let row = b.array(int, elements);
        let of = b.array(row, rows);
        b.structure("s", u32::MAX, &[("x", of, 0, 0)]);
        let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x[0]")).unwrap_err();
        assert!(matches!(defect(&error), Defect::TooLong { .. }), "{error}");
    }
    // Four billion elements of four billion bytes, at the end of a struct.
    let mut b = Build::new();
    let huge = b.structure("huge", u32::MAX, &[]);
    let open = b.array(huge, 0);
    b.structure("s", 4, &[("x", open, 0, 0)]);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.resolve("s", path("x[1]")).unwrap().offset, u32::MAX);
    for text in ["x[2]", "x[4294967295]", "x[0..4294967295]", "x[1..3]"] {
        assert!(matches!(defect(&btf.resolve("s", path(text)).unwrap_err()), Defect::TooLong { .. }), "{text}");
    }
    // Bit-fields of what has none.
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    let inner = b.structure("", 4, &[("y", int, 0, 0)]);
    let (pointer, array) = (b.pointer(inner), b.array(int, 2));
    b.structure("s", 64, &[("p", pointer, 0, 8), ("a", array, 64, 8), ("i", inner, 128, 8), ("", inner, 192, 8)]);
    let btf = Btf::parse(b.bytes()).unwrap();
    for text in ["p", "p.y", "a", "a[0]", "i", "i.y", "y"] {
        assert!(matches!(defect(&btf.resolve("s", path(text)).unwrap_err()), Defect::Width { .. }), "{text}");
    }
    for (bits, width) in [(33, 4), (64, 4)] {
        let mut b = Build::new();
        let int = b.int("int", width, SIGNED);
        b.structure("s", 64, &[("x", int, 0, bits)]);
        let error = Btf::parse(b.bytes()).unwrap().resolve("s", path("x")).unwrap_err();
        assert!(matches!(defect(&error), Defect::Width { .. }), "{error}");
    }
}

/// Every word of header and types, replaced by what is likely to go wrong. What we still answer, another parser
/// answers alike.
#[test]
fn any_word_may_be_any_number() {
    let (mut cases, mut answers, mut compared) = (0, 0, 0);
    for build in [Build::new(), Build::big_endian()] {
        let whole = sample(build);
        let words = 6 + sampled(Build::new()).words.len();
        let big_endian = whole[0] == 0xeb;
        for word in 0..words {
            let place = word * 4..word * 4 + 4;
            let old = u32::from_le_bytes(whole[place.clone()].try_into().unwrap());
            let old = if big_endian { old.swap_bytes() } else { old };
            let hostile =
                [0, 1, 2, old.wrapping_add(1), old.wrapping_sub(1), old ^ 1 << 31, old ^ 0xff_0000, 0xffff, u32::MAX];
            for new in hostile.into_iter().filter(|new| *new != old) {
                let mut bytes = whole.clone();
                bytes[place.clone()].copy_from_slice(&if big_endian { new.to_be_bytes() } else { new.to_le_bytes() });
                cases += 1;
                let Ok(btf) = Btf::parse(bytes.clone()) else { continue };
                // The other parser may panic on it, and refuses some things that we do not look at.
                std::panic::set_hook(Box::new(|_| {}));
                let theirs = catch_unwind(|| btf_rs::Btf::from_bytes(&bytes).ok()).ok().flatten();
                let _ = std::panic::take_hook();
                for text in PATHS {
                    let Ok(field) = btf.resolve("task_struct", path(text)) else { continue };
                    answers += 1;
                    let Some(theirs) = &theirs else { continue };
                    compared += 1;
                    let places = oracle::places(theirs, "task_struct", path(text));
                    let ours = oracle::place(&field, big_endian);
                    assert!(
                        oracle::is_among(&ours, &places),
                        "word {word} {old:#x} → {new:#x}, {text}: {ours:?}, not {places:?}"
                    );
                }
                let needs: Vec<_> =
                    PATHS.iter().map(|text| Need::Field { root: "task_struct", path: path(text) }).collect();
                if let Ok(cut) = extract(&btf, &needs) {
                    Btf::parse(cut).unwrap();
                }
            }
        }
    }
    println!("{cases} cases, {answers} answers, {compared} of them compared");
    assert!(cases > 2000 && compared > cases);
}
