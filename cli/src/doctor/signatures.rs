//! Whether the kernel checks signatures of programs as it loads them.

use std::path::Path;

use gabion_btf::{Btf, Kind};
use gabion_generation::{Check, State};

/// Types of the kernel that runs.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// What a program is loaded with.
const ATTRIBUTES: &str = "bpf_attr";
/// The field of it that points to a signature (Linux 6.18).
const SIGNATURE: &str = "signature";
/// What checks signatures of the kernel's keys (`CONFIG_SYSTEM_DATA_VERIFICATION`).
const VERIFIER: &str = "verify_pkcs7_signature";

/// Says what is missing until an unsigned program is refused.
pub fn check() -> Check {
    let done = |state, found: &str, means: &str| Check {
        name: "bpf-signatures",
        state,
        found: found.to_owned(),
        means: means.to_owned(),
    };
    let Ok(kernel) = Btf::open(Path::new(TYPES)) else {
        return done(
            State::Unknown,
            "the kernel does not show its types",
            "build it with CONFIG_DEBUG_INFO_BTF to see",
        );
    };
    if !takes_signatures(&kernel) {
        let means = "programs are loaded unsigned: the agent checks bundles before it loads them, and a gatekeeper can \
                     keep others from loading any; Linux 6.18 takes signatures";
        return done(State::Missing, "the kernel takes no signatures of programs", means);
    }
    if kernel.find(Kind::Func, VERIFIER).is_none() {
        let means = "it refuses every signature: build it with CONFIG_SYSTEM_DATA_VERIFICATION and keys of its own";
        return done(
            State::Missing,
            "the kernel takes signatures of programs, and has nothing to check them with",
            means,
        );
    }
    let means = "the kernel records whether a signature holds, and refuses nobody who has none: that takes a security \
                 module (IPE, or a BPF LSM program at bpf_prog_load)";
    done(State::Missing, "the kernel checks signatures of programs that have one", means)
}

/// Whether the attributes of a load have a place for a signature, within whichever of their unions.
fn takes_signatures(kernel: &Btf) -> bool {
    fn has(kernel: &Btf, id: u32, depth: u32) -> bool {
        let Ok(of) = kernel.get(id) else { return false };
        of.members().any(|member| {
            let name = member.name().unwrap_or_default();
            name == SIGNATURE || (name.is_empty() && depth > 0 && has(kernel, member.type_id, depth - 1))
        })
    }
    kernel.find(Kind::Union, ATTRIBUTES).is_some_and(|union| has(kernel, union.id(), 3))
}
