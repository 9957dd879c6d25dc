//! What a policy does not use is not in its program, and what was there before is judged as it would be all the same.
//! Needs root and the kernel object; says so and passes without, unless `./x test` demands them.
#![allow(missing_docs, clippy::unwrap_used)]

use gabion_generation::{ProgramStats, Programs};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_testing_oracle::{everything, features};

/// Functions that only state needs.
const OF_STATE: [&str; 4] = ["gabion_track", "gabion_find", "gabion_ingress_quote", "gabion_egress_quote"];

fn can_load() -> bool {
    let missing = match gabion_kernel_object::object() {
        _ if !nix::unistd::geteuid().is_root() => Some("not root".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    if let Some(missing) = &missing {
        assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
        println!("skipped: {missing}");
    }
    missing.is_none()
}

fn compiled(set: &PolicySet) -> Compiled {
    compile(set, &Options::default()).unwrap()
}

/// The policy of all features with its rules in as many groups as there can be.
fn full() -> Compiled {
    compile(&everything(), &Options { single_group_bytes: 0, ..Options::default() }).unwrap()
}

fn show(name: &str, programs: &[ProgramStats; 2], full: &[ProgramStats; 2]) {
    for (program, full) in programs.iter().zip(full) {
        println!(
            "{name}: {} {} of {} instructions ({} %), object {}, JITed {} B, verified {}",
            program.name,
            program.instructions,
            full.instructions,
            program.instructions * 100 / full.instructions,
            program.object_instructions,
            program.jited_bytes,
            program.verified
        );
    }
}

#[test]
fn a_policy_of_one_feature_has_fewer_instructions_than_one_of_all() {
    if !can_load() {
        return;
    }
    let programs = Programs::parse().unwrap();
    let full = programs.measure(&full(), 1).unwrap();
    show("everything", &full, &full);
    for feature in features() {
        let policy = compiled(&feature.set);
        let measured = programs.measure(&policy, 1).unwrap();
        show(feature.name, &measured, &full);
        for (program, full) in measured.iter().zip(&full) {
            assert!(program.instructions < full.instructions, "{}: {program:?}", feature.name);
            assert_eq!(program.object_instructions, full.object_instructions, "one object for all");
            assert_eq!(program.translated_bytes, program.instructions * 8);
            let sum: usize = program.functions.iter().map(|function| function.instructions).sum();
            assert_eq!(sum, program.instructions, "{}: the functions are the program", feature.name);
            let left = program.functions.iter().filter(|function| OF_STATE.contains(&function.name.as_str()));
            let of_state: usize = left.map(|function| function.instructions).sum();
            if feature.keeps_state {
                assert!(of_state > 0, "{}: state is kept by what is there", feature.name);
            } else {
                // Kernels before 6.8 verify and keep functions that nobody calls.
                println!("{}: {} {of_state} instructions of state", feature.name, program.name);
                assert!(program.instructions * 100 < full.instructions * 60, "{}: {program:?}", feature.name);
            }
        }
    }
}
