//! What an extract keeps, and that it answers as the whole does.

use std::mem::discriminant;

use gabion_btf::extract::{Need, extract};
use gabion_btf::{Btf, Defect, Field, Kind, Problem};

use crate::fields::{path, sample, sampled};
use gabion_testing_types::{Build, SIGNED};

fn field<'n>(root: &'n str, text: &'n str) -> Need<'n> {
    Need::Field { root, path: path(text) }
}

/// Every path that the sample has an answer to, and some that it refuses.
pub const PATHS: [&str; 27] = [
    "pid",
    "__state",
    "head",
    "second",
    "comm",
    "comm[3]",
    "comm[0..8]",
    "comm[16]",
    "mm",
    "mm.total_vm",
    "mm.users[1]",
    "parent.parent.mm.users[2]",
    "low",
    "high",
    "flag",
    "odd",
    "matrix",
    "matrix[1][2]",
    "opened.numbers[3].nr",
    "thread_pid.empty[0]",
    "thread_pid.refs",
    "upids",
    "upids[0]",
    "load",
    "lone.x",
    "state | __state",
    "pid.x",
];

fn answers_are_the_same(whole: &Btf, cut: &Btf, text: &str) {
    match (whole.resolve("task_struct", path(text)), cut.resolve("task_struct", path(text))) {
        (Ok(field), Ok(again)) => {
            assert_eq!(cut.describe(again.type_id), whole.describe(field.type_id), "{text}");
            assert_eq!(Field { type_id: 0, ..again }, Field { type_id: 0, ..field }, "{text}");
        }
        (Err(error), Err(again)) => {
            assert_eq!(discriminant(&*error.problem), discriminant(&*again.problem), "{text}: {error}; {again}");
        }
        (one, other) => panic!("{text}: {one:?}, from the extract {other:?}"),
    }
}

#[test]
fn an_extract_answers_what_was_asked_as_the_whole_does() {
    for build in [Build::new(), Build::big_endian()] {
        let whole = Btf::parse(sample(build)).unwrap();
        for text in PATHS {
            let cut = Btf::parse(extract(&whole, &[field("task_struct", text)]).unwrap()).unwrap();
            assert_eq!(cut.is_big_endian(), whole.is_big_endian());
            answers_are_the_same(&whole, &cut, text);
        }
        let all: Vec<Need<'_>> = PATHS.iter().map(|text| field("task_struct", text)).collect();
        let cut = Btf::parse(extract(&whole, &all).unwrap()).unwrap();
        for text in PATHS {
            answers_are_the_same(&whole, &cut, text);
        }
        // What it was cut from may itself be cut.
        let again = extract(&cut, &all).unwrap();
        assert_eq!(again, extract(&whole, &all).unwrap());
    }
}

#[test]
fn a_type_that_is_only_declared_stays_declared() {
    let whole = Btf::parse(sample(Build::new())).unwrap();
    let cut = Btf::parse(extract(&whole, &[field("lone", "x")]).unwrap()).unwrap();
    for btf in [&whole, &cut] {
        let error = btf.resolve("lone", path("x")).unwrap_err();
        assert!(matches!(*error.problem, Problem::Incomplete { .. }), "{error}");
        // A struct of that name is declared, and no union.
        assert!(btf.resolve("union lone", path("x")).unwrap_err().is_absence());
    }
}

#[test]
fn what_is_no_type_is_not_written_as_one() {
    for kind in [14, 15, 17] {
        let mut b = Build::new();
        let odd = b.raw("odd", kind << 24, 0, &[0; 1][..usize::from(kind != 15)]);
        let pointer = b.pointer(odd);
        b.structure("s", 8, &[("at", pointer, 0, 0)]);
        let whole = Btf::parse(b.bytes()).unwrap();
        assert_eq!(whole.resolve("s", path("at")).unwrap().offset, 0);
        let error = extract(&whole, &[field("s", "at")]).unwrap_err();
        assert!(matches!(*error.problem, Problem::Malformed(Defect::NoType { .. })), "{error}");
    }
}

#[test]
fn the_order_of_questions_does_not_change_a_byte() {
    let whole = Btf::parse(sample(Build::new())).unwrap();
    let mut needs: Vec<Need<'_>> = PATHS.iter().map(|text| field("task_struct", text)).collect();
    needs.extend([Need::Function("wake"), Need::Type("pid"), Need::Enumerator { within: "state", name: "DEAD" }]);
    let once = extract(&whole, &needs).unwrap();
    for _ in 0..needs.len() {
        needs.rotate_left(1);
        assert_eq!(extract(&whole, &needs).unwrap(), once);
    }
    needs.reverse();
    assert_eq!(extract(&whole, &needs).unwrap(), once);
}

#[test]
fn what_nobody_asked_for_is_left_out() {
    let whole = Btf::parse(sample(Build::new())).unwrap();
    let cut = Btf::parse(extract(&whole, &[field("task_struct", "mm.users[1]")]).unwrap()).unwrap();
    let kinds: Vec<(Kind, &str)> = cut.types().map(|found| (found.kind(), found.name().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Int, "int"),
            (Kind::Int, "long unsigned int"),
            (Kind::Array, ""),
            (Kind::Struct, "mm_struct"),
            (Kind::Ptr, ""),
            (Kind::Const, ""),
            (Kind::Struct, "task_struct"),
        ]
    );
    let task = cut.type_named("task_struct").unwrap();
    assert_eq!((task.size(), task.members().len()), (Some(256), 1));
    assert!(cut.resolve("task_struct", path("mm.total_vm")).unwrap_err().is_absence());
    // A pointer that nobody follows leads to a declaration.
    let cut = Btf::parse(extract(&whole, &[field("task_struct", "mm")]).unwrap()).unwrap();
    assert_eq!(cut.find(Kind::Fwd, "mm_struct").map(|found| found.kind()), Some(Kind::Fwd));
    assert!(cut.find(Kind::Struct, "mm_struct").is_none());
}

#[test]
fn types_values_and_functions_are_kept() {
    let whole = Btf::parse(sample(Build::new())).unwrap();
    let needs = [
        Need::Type("struct pid"),
        Need::Type("pid_t"),
        Need::Type("nothing"),
        Need::Enumerator { within: "enum state", name: "DEAD" },
        Need::Enumerator { within: "state", name: "ALIVE" },
        Need::Function("wake"),
        Need::Function("sleep"),
    ];
    let cut = Btf::parse(extract(&whole, &needs).unwrap()).unwrap();
    assert_eq!(cut.type_named("struct pid").unwrap().size(), Some(16));
    assert_eq!(cut.type_named("pid_t").unwrap().kind(), Kind::Typedef);
    assert_eq!(cut.enumerator("state", "DEAD").unwrap().1.value, 7);
    assert!(cut.enumerator("state", "RUNNING").is_err());
    let wake = cut.get(cut.function("wake").unwrap().target().unwrap()).unwrap();
    let types: Vec<String> = wake.parameters().map(|parameter| cut.describe(parameter.type_id)).collect();
    assert_eq!(types, ["struct task_struct *", "int"]);
}

#[test]
fn a_split_btf_is_extracted_with_what_it_needs_of_its_base() {
    let first = sampled(Build::new());
    let mut second = first.split();
    let pointer = second.pointer(first.next() - 4);
    second.structure("own", 16, &[("task", pointer, 0, 0), ("mark", 1, 64, 0)]);
    let base = Btf::parse(first.bytes()).unwrap();
    let whole = Btf::split(&base, second.bytes()).unwrap();
    let cut = Btf::parse(extract(&whole, &[field("own", "task.mm.total_vm")]).unwrap()).unwrap();
    let field = cut.resolve("own", path("task.mm.total_vm")).unwrap();
    assert_eq!((field.chain, field.offset), (vec![0, 40], 0));
}

#[test]
fn a_struct_without_a_name_behind_a_pointer_keeps_no_name() {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    let nameless = b.structure("", 4, &[("x", int, 0, 0)]);
    let pointer = b.pointer(nameless);
    b.structure("s", 8, &[("at", pointer, 0, 0)]);
    let whole = Btf::parse(b.bytes()).unwrap();
    let cut = Btf::parse(extract(&whole, &[field("s", "at")]).unwrap()).unwrap();
    // A declaration would need one.
    assert_eq!(cut.types().map(|found| found.kind()).collect::<Vec<_>>(), [Kind::Struct, Kind::Ptr, Kind::Struct]);
}

/// Where the search of `fuzz/fuzz_targets/btf.rs` starts: `cargo test -p gabion-btf --test btf -- --ignored
/// write_the_fuzz_corpus`.
#[test]
#[ignore = "writes files of the checkout"]
fn write_the_fuzz_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/btf");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    for (order, build) in [("little", Build::new()), ("big", Build::big_endian())] {
        let whole = sample(build);
        let types = u32::from_le_bytes(whole[12..16].try_into().unwrap());
        let types = if order == "big" { types.swap_bytes() } else { types } as usize;
        write(&format!("sample-{order}"), &whole);
        // The first octet says the byte order, and where a module begins.
        let behind = [&[u8::from(order == "big")], &whole[24..24 + types]].concat();
        write(&format!("types-{order}"), &behind);
        let btf = Btf::parse(whole).unwrap();
        for (place, text) in PATHS.iter().enumerate() {
            write(&format!("extract-{order}-{place}"), &extract(&btf, &[field("task_struct", text)]).unwrap());
        }
    }
}
