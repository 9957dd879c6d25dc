//! Paths through everything that C can nest. Offsets are those that the test wrote down, as a compiler would.

use gabion_btf::{Bits, Btf, Error, Field, Path, Problem, Shape};

use gabion_testing_types::{BOOL, Build, SIGNED};

/// A small kernel: a task with what a real one has.
pub fn sample(build: Build) -> Vec<u8> {
    sampled(build).bytes()
}

pub fn sampled(mut b: Build) -> Build {
    let int = b.int("int", 4, SIGNED);
    let unsigned = b.int("unsigned int", 4, 0);
    let long = b.int("long unsigned int", 8, 0);
    let char = b.int("char", 1, SIGNED);
    let bool = b.int("_Bool", 1, BOOL);
    let double = b.raw("double", 16 << 24, 8, &[]);
    let pid_t = b.typedef("pid_t", int);
    let constant = b.constant(pid_t);
    let state = b.enumeration("state", false, &[("RUNNING", 0), ("DEAD", 7)]);
    let comm = b.array(char, 16);
    let row = b.array(int, 3);
    let matrix = b.array(row, 2);
    // struct mm_struct { struct { long total_vm; }; int users[4]; };
    let counters = b.structure("", 8, &[("total_vm", long, 0, 0)]);
    let users = b.array(int, 4);
    let mm = b.structure("mm_struct", 24, &[("", counters, 0, 0), ("users", users, 64, 0)]);
    let mm_pointer = b.pointer(mm);
    let mm_pointer = b.constant(mm_pointer);
    // struct upid { int nr; void *ns; };
    let void = b.pointer(0);
    let upid = b.structure("upid", 16, &[("nr", int, 0, 0), ("ns", void, 64, 0)]);
    let open = b.array(upid, 0);
    let pid = b.structure("pid", 16, &[("level", unsigned, 0, 0), ("empty", open, 64, 0), ("refs", long, 64, 0)]);
    let pid_open = b.structure("pid_open", 8, &[("level", unsigned, 0, 0), ("numbers", open, 64, 0)]);
    let inner = b.union("", 8, &[("first", long, 0, 0), ("second", unsigned, 0, 0)]);
    let outer = b.structure("", 16, &[("head", unsigned, 0, 0), ("", inner, 64, 0)]);
    let lone = b.forward("lone");
    let (pid_at, open_at, lone_at) = (b.pointer(pid), b.pointer(pid_open), b.pointer(lone));
    let task = b.next() + 1;
    let parent = b.pointer(task);
    b.structure(
        "task_struct",
        256,
        &[
            ("pid", constant, 0, 0),
            ("__state", state, 32, 0),
            ("", outer, 64, 0),
            ("comm", comm, 192, 0),
            ("mm", mm_pointer, 320, 0),
            ("parent", parent, 384, 0),
            ("low", unsigned, 448, 3),
            ("high", int, 451, 29),
            ("flag", bool, 480, 1),
            ("odd", unsigned, 510, 4),
            ("matrix", matrix, 544, 0),
            ("thread_pid", pid_at, 768, 0),
            ("opened", open_at, 832, 0),
            ("lone", lone_at, 896, 0),
            ("load", double, 960, 0),
            ("upids", upid, 1024, 0),
        ],
    );
    b.typedef("task_t", task);
    b.function("wake", &[("task", parent), ("mode", int)], pid_t);
    b
}

pub fn path(text: &str) -> Path<'_> {
    Path::parse(text).unwrap()
}

fn at(field: &Field) -> (&[u32], u32, u32) {
    (&field.chain, field.offset, field.size)
}

fn refused(btf: &Btf, root: &str, text: &str) -> Error {
    match btf.resolve(root, path(text)) {
        Ok(field) => panic!("{root}.{text} is {field}"),
        Err(error) => error,
    }
}

fn both() -> [Btf; 2] {
    [Build::new(), Build::big_endian()].map(|build| Btf::parse(sample(build)).unwrap())
}

#[test]
fn a_field_is_where_and_what_the_compiler_made_it() {
    let signed = Shape::Integer { signed: true };
    let unsigned = Shape::Integer { signed: false };
    type Case<'c> = (&'c str, &'c str, &'c [u32], u32, u32, Shape, Option<u32>);
    let cases: [Case<'_>; 19] = [
        ("task_struct", "pid", &[], 0, 4, signed, None),
        ("struct task_struct", "pid", &[], 0, 4, signed, None),
        ("task_t", "pid", &[], 0, 4, signed, None),
        ("typedef task_t", "pid", &[], 0, 4, signed, None),
        ("task_struct", "__state", &[], 4, 4, Shape::Enum { signed: false }, None),
        ("task_struct", "head", &[], 8, 4, unsigned, None),
        ("task_struct", "second", &[], 16, 4, unsigned, None),
        ("task_struct", "comm", &[], 24, 16, signed, Some(16)),
        ("task_struct", "comm[0..8]", &[], 24, 8, signed, Some(8)),
        ("task_struct", "comm[15]", &[], 39, 1, signed, None),
        ("task_struct", "mm", &[], 40, 8, Shape::Pointer, None),
        ("task_struct", "mm.total_vm", &[40], 0, 8, unsigned, None),
        ("task_struct", "parent.parent.mm.users[2]", &[48, 48, 40], 16, 4, signed, None),
        ("task_struct", "matrix", &[], 68, 24, signed, Some(6)),
        ("task_struct", "matrix[1][2]", &[], 88, 4, signed, None),
        ("task_struct", "matrix[0..1]", &[], 68, 12, signed, Some(3)),
        ("task_struct", "opened.numbers[3].nr", &[104], 8 + 48, 4, signed, None),
        ("task_struct", "load", &[], 120, 8, Shape::Float, None),
        ("task_struct", "upids", &[], 128, 16, Shape::Struct, None),
    ];
    for btf in both() {
        for (root, text, chain, offset, size, shape, elements) in cases {
            let field = btf.resolve(root, path(text)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(at(&field), (chain, offset, size), "{root}.{text}");
            assert_eq!((field.shape, field.elements, field.bits), (shape, elements, None), "{root}.{text}");
        }
        assert_eq!(btf.resolve("task_struct", path("upids")).unwrap().align, 8);
        assert_eq!(btf.resolve("task_struct", path("comm")).unwrap().align, 1);
    }
}

#[test]
fn bits_are_in_the_load_where_the_byte_order_puts_them() {
    let cases = [
        // Bits 0 to 2 of the word at 56, counted from its lowest or from its highest.
        ("low", 56, 4, [(0, 3), (29, 3)]),
        ("high", 56, 4, [(3, 29), (0, 29)]),
        ("flag", 60, 1, [(0, 1), (7, 1)]),
        // Bits 510 to 513: no word of 32 holds them, and the one of 64 bits that does begins with bit 448.
        ("odd", 56, 16, [(0, 0), (0, 0)]),
    ];
    for (btf, order) in both().iter().zip(0..) {
        for (text, offset, size, bits) in cases {
            let (shift, width) = bits[order];
            if width == 0 {
                // They cross that one as well.
                let error = refused(btf, "task_struct", text);
                assert!(matches!(*error.problem, Problem::WideBits { offset: 510, width: 4, .. }), "{error}");
                continue;
            }
            let field = btf.resolve("task_struct", path(text)).unwrap();
            assert_eq!((field.offset, field.size, field.bits), (offset, size, Some(Bits { shift, width })), "{text}");
        }
    }
}

#[test]
fn bits_that_only_the_integer_tells_are_found_as_well() {
    let mut b = Build::new();
    let three = b.int_of_bits("unsigned int", 4, 0, 5, 3);
    b.structure("old", 8, &[("bits", three, 32, 0)]);
    let field = Btf::parse(b.bytes()).unwrap().resolve("old", path("bits")).unwrap();
    assert_eq!((field.offset, field.size, field.bits), (4, 4, Some(Bits { shift: 5, width: 3 })));
}

#[test]
fn a_bit_field_of_a_whole_integer_is_no_bit_field() {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    b.structure("s", 8, &[("one", int, 0, 1), ("whole", int, 32, 32)]);
    let field = Btf::parse(b.bytes()).unwrap().resolve("s", path("whole")).unwrap();
    assert_eq!((field.offset, field.size, field.bits), (4, 4, None));
}

#[test]
fn the_first_alternative_that_is_there_counts() {
    for btf in both() {
        for (text, offset) in [("state | __state", 4), ("pid | __state", 0), ("mm.rss | comm.x.y | mm.total_vm", 0)] {
            match btf.resolve("task_struct", path(text)) {
                Ok(field) => assert_eq!(field.offset, offset, "{text}"),
                // comm is there, and has no members: that is no absence.
                Err(error) => assert!(matches!(*error.problem, Problem::NoMembers { .. }) && text.contains("comm")),
            }
        }
        let error = refused(&btf, "task_struct", "state | status");
        assert!(error.is_absence());
        assert!(error.to_string().contains("field state | status of task_struct"), "{error}");
    }
}

#[test]
fn each_refusal_says_what_it_met() {
    type Is = fn(&Problem) -> bool;
    let cases: [(&str, &str, Is, &str); 13] = [
        ("tusk_struct", "pid", |p| matches!(p, Problem::AbsentType { .. }), "there is task_struct"),
        ("union task_struct", "pid", |p| matches!(p, Problem::AbsentType { .. }), "no union task_struct"),
        ("task_struct", "pidd", |p| matches!(p, Problem::AbsentField { .. }), "has no member pidd; there is pid"),
        ("task_struct", "mm.rss", |p| matches!(p, Problem::AbsentField { .. }), "struct mm_struct has no member rss"),
        ("task_struct", "pid.x", |p| matches!(p, Problem::NoMembers { .. }), "x is looked for in const pid_t"),
        ("task_struct", "comm.x", |p| matches!(p, Problem::NoMembers { .. }), "char [16]"),
        ("task_struct", "upids.ns.x", |p| matches!(p, Problem::NoMembers { .. }), "void"),
        ("task_struct", "mm[0]", |p| matches!(p, Problem::NotAnArray { .. }), "struct mm_struct *"),
        ("task_struct", "comm[16]", |p| matches!(p, Problem::OutOfBounds { .. }), "the last is 15"),
        ("task_struct", "comm[8..17]", |p| matches!(p, Problem::OutOfBounds { .. }), "element 16"),
        // No length, but not at the end of its struct: what is behind it is something else.
        ("task_struct", "thread_pid.empty[0]", |p| matches!(p, Problem::OutOfBounds { .. }), "element 0"),
        ("task_struct", "lone.x", |p| matches!(p, Problem::Incomplete { .. }), "struct lone is only declared"),
        ("lone", "x", |p| matches!(p, Problem::Incomplete { .. }), "struct lone is only declared"),
    ];
    for btf in both() {
        for (root, text, is, says) in cases {
            let error = refused(&btf, root, text);
            assert!(is(&error.problem) && error.to_string().contains(says), "{root}.{text}: {error}");
            assert!(error.to_string().starts_with("BTF in memory: "));
        }
    }
}

#[test]
fn an_array_without_a_length_goes_on_only_where_nothing_is_behind_it() {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    let open = b.array(int, 0);
    let nameless = b.structure("", 4, &[("count", int, 0, 0), ("open", open, 32, 0)]);
    let named = b.structure("named", 4, &[("count", int, 0, 0), ("open", open, 32, 0)]);
    b.structure("first", 8, &[("", nameless, 0, 0), ("behind", int, 32, 0)]);
    b.structure("second", 8, &[("named", named, 0, 0), ("behind", int, 32, 0)]);
    b.structure("third", 8, &[("before", int, 0, 0), ("", nameless, 32, 0)]);
    b.structure("fourth", 8, &[("before", int, 0, 0), ("named", named, 32, 0)]);
    // Members of a union are all at its end.
    b.union("fifth", 8, &[("", nameless, 0, 0), ("long", int, 0, 0)]);
    let several = b.array(named, 2);
    b.structure("sixth", 8, &[("several", several, 0, 0)]);
    let btf = Btf::parse(b.bytes()).unwrap();
    for (root, text) in [("first", "open[1]"), ("second", "named.open[1]"), ("sixth", "several[0].open[1]")] {
        assert!(matches!(*refused(&btf, root, text).problem, Problem::OutOfBounds { length: 0, .. }), "{root}.{text}");
    }
    for (root, text, offset) in [("third", "open[1]", 12), ("fourth", "named.open[1]", 12), ("fifth", "open[1]", 8)] {
        assert_eq!(btf.resolve(root, path(text)).unwrap().offset, offset, "{root}.{text}");
    }
}

#[test]
fn types_of_one_name_must_agree() {
    let build = |second: u32, name: &str| {
        let mut b = Build::new();
        let int = b.int("int", 4, SIGNED);
        b.structure("twice", 16, &[("a", int, 32, 0)]);
        b.structure("twice", 16, &[(name, int, second, 0)]);
        Btf::parse(b.bytes()).unwrap()
    };
    assert_eq!(build(32, "a").resolve("twice", path("a")).unwrap().offset, 4);
    // Only one of them has it: whoever asks for it means that one.
    assert_eq!(build(64, "b").resolve("twice", path("a")).unwrap().offset, 4);
    let error = refused(&build(64, "a"), "twice", "a");
    assert!(matches!(*error.problem, Problem::Ambiguous { .. }), "{error}");
    assert!(error.to_string().ends_with("bytes at 4; int, a signed integer of 4 bytes at 8"), "{error}");
}

#[test]
fn types_values_and_functions_are_there_or_absent() {
    for btf in both() {
        assert_eq!(btf.type_named("task_t").unwrap().kind(), gabion_btf::Kind::Typedef);
        assert_eq!(btf.type_named("enum state").unwrap().size(), Some(4));
        assert_eq!(btf.type_named("struct mm_struct").unwrap().size(), Some(24));
        assert!(btf.type_named("struct lone").unwrap_err().is_absence());
        assert!(btf.type_named("union mm_struct").unwrap_err().is_absence());
        assert_eq!(btf.enumerator("enum state", "DEAD").unwrap().1.value, 7);
        assert_eq!(btf.enumerator("", "RUNNING").unwrap().1.value, 0);
        for (within, name) in [("state", "DEED"), ("states", "DEAD"), ("", "DEED")] {
            assert!(btf.enumerator(within, name).unwrap_err().is_absence());
        }
        let wake = btf.function("wake").unwrap();
        let prototype = btf.get(wake.target().unwrap()).unwrap();
        let names: Vec<&str> = prototype.parameters().map(|parameter| parameter.name().unwrap()).collect();
        assert_eq!(names, ["task", "mode"]);
        assert_eq!(
            btf.function("wakes").unwrap_err().to_string(),
            "BTF in memory: there is no function wakes; there is wake"
        );
    }
}
