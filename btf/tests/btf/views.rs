//! What a program wants, against what the sample has.

use gabion_btf::{Btf, Problem, Wanted};

use crate::fields::{path, sample};
use gabion_testing_types::{Build, SIGNED};

#[test]
fn what_fits_is_bound_and_everything_else_is_a_misfit() {
    let cases = [
        ("pid", Wanted::signed(4), true),
        ("pid", Wanted::unsigned(4), false),
        ("pid", Wanted::signed(8), false),
        ("pid", Wanted::signed(2), false),
        ("pid", Wanted::bytes(4), true),
        ("pid", Wanted::pointer(4), false),
        ("pid", Wanted::signed(4).times(1), false),
        ("__state", Wanted::enumeration(4), true),
        ("__state", Wanted::unsigned(4), true),
        ("__state", Wanted::signed(4), true),
        ("__state", Wanted::unsigned(8), false),
        ("comm", Wanted::bytes(16), true),
        ("comm", Wanted::bytes(1).times(16), true),
        ("comm", Wanted::bytes(15), false),
        ("comm", Wanted::signed(1).times(16), true),
        ("comm", Wanted::unsigned(1).times(16), false),
        ("comm", Wanted::signed(1), false),
        ("comm", Wanted::signed(2).times(16), false),
        ("comm[0..8]", Wanted::bytes(8), true),
        ("mm", Wanted::pointer(8), true),
        ("mm", Wanted::unsigned(8), false),
        ("mm", Wanted::bytes(8), true),
        ("mm.total_vm", Wanted::unsigned(8), true),
        ("mm.total_vm", Wanted::float(8), false),
        ("matrix", Wanted::signed(4).times(6), true),
        ("matrix", Wanted::signed(4).times(5), false),
        ("low", Wanted::unsigned(1), true),
        ("low", Wanted::unsigned(4), true),
        ("low", Wanted::signed(4), false),
        ("low", Wanted::bytes(4), false),
        ("high", Wanted::signed(4), true),
        ("high", Wanted::signed(2), false),
        ("flag", Wanted::unsigned(1), true),
        ("flag", Wanted::signed(1), false),
        ("load", Wanted::float(8), true),
        ("load", Wanted::float(4), false),
        ("load", Wanted::unsigned(8), false),
        ("upids", Wanted::bytes(16), true),
        ("upids", Wanted::unsigned(8).times(2), false),
        ("opened.numbers", Wanted::bytes(0), false),
    ];
    for build in [Build::new(), Build::big_endian()] {
        let btf = Btf::parse(sample(build)).unwrap();
        for (text, wanted, fits) in cases {
            match btf.bind("task_struct", path(text), wanted) {
                Ok(_) => assert!(fits, "{text} is not {wanted}"),
                Err(error) => {
                    assert!(!fits && matches!(*error.problem, Problem::Misfit { .. }), "{text}: {error}");
                    assert!(!error.is_absence());
                }
            }
        }
    }
}

#[test]
fn a_misfit_names_kernel_type_field_expected_and_found() {
    let btf = Btf::parse(sample(Build::new())).unwrap().named("kernel 6.1.0-test");
    let error = btf.bind("task_struct", path("pid"), Wanted::unsigned(8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel 6.1.0-test: field pid of task_struct: expected an unsigned integer of 8 bytes, found const pid_t, which is a \
         signed integer of 4 bytes at 0; change the field of the view to what the kernel has, or its path"
    );
}

#[test]
fn pointers_have_the_size_that_long_has() {
    let mut b = Build::new();
    let long = b.int("long unsigned int", 4, 0);
    let pointer = b.pointer(long);
    let int = b.int("int", 4, SIGNED);
    b.structure("s", 12, &[("at", pointer, 0, 0), ("behind", int, 32, 0)]);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.pointer_size(), 4);
    assert!(btf.bind("s", path("at"), Wanted::pointer(4)).is_ok());
}
