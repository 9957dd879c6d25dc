//! What each kernel makes of the rules that the blocks rest on, and of what looks like one: `programs/src/rules.rs`.

use aya::Ebpf;
use aya::programs::{ProgramError, Xdp};

use super::{can_load, release};

/// What the kernels of the matrix say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// All take it: blocks may rest on it.
    Yes,
    /// All refuse it: it is no bound.
    No,
    /// It depends on the kernel, so that nothing may rest on it.
    Some,
}

const RULES: [(&str, Says); 23] = [
    ("rule_mask", Says::Yes),
    ("rule_shift", Says::Yes),
    ("rule_remainder", Says::Some),
    ("rule_load", Says::Yes),
    ("rule_compare", Says::Yes),
    ("rule_compare_signed", Says::No),
    ("rule_compare_half", Says::No),
    ("rule_compare_half_then_clear", Says::Yes),
    ("rule_compare_half_cleared", Says::Yes),
    ("rule_compare_copy", Says::Yes),
    ("rule_compare_copy_half", Says::Some),
    ("rule_compare_after", Says::No),
    ("rule_sum", Says::Yes),
    ("rule_sum_beyond", Says::No),
    ("rule_spill", Says::Yes),
    ("rule_spill_half", Says::Yes),
    ("rule_spill_narrowed", Says::Some),
    ("rule_spill_then_compare", Says::Some),
    ("rule_map_memory", Says::No),
    ("rule_stack", Says::Yes),
    ("rule_stack_unwritten", Says::Some),
    ("rule_loop_up", Says::Yes),
    ("rule_loop_down", Says::Some),
];

/// The sentence of the verifier, which comes before its statistics.
fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError { verifier_log, .. } = error else { return error.to_string() };
    let log = verifier_log.to_string();
    let closing = ["processed ", "stack depth", "verification time"];
    let last = log.lines().rev().find(|line| !line.is_empty() && !closing.iter().any(|word| line.starts_with(word)));
    last.unwrap_or_default().to_owned()
}

#[test]
fn rules_hold_on_this_kernel_and_what_is_none_is_refused() {
    if !can_load() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, says) in RULES.into_iter().chain([("rule_global", Says::No)]) {
        // Each from an object of its own: what one program leaves behind is no business of the next.
        let mut object = Ebpf::load(gabion_testing_blocks::object().unwrap()).unwrap();
        let program: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
        let loaded = program.load();
        let said = loaded.as_ref().map_or_else(|error| format!("refused: {}", reason(error)), |()| "taken".to_owned());
        println!("{name} on {}: {said}", release());
        if says != Says::Some && (says == Says::Yes) != loaded.is_ok() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not as the documentation of the blocks says: {wrong:?}");
}
