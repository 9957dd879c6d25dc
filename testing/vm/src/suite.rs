//! The tests of this workspace that guests run. `./x vm prepare` builds them all, so that the time of a test is the
//! time that it takes inside.

use std::path::PathBuf;

use crate::{Error, test_binary};

/// An integration test of a package, and the programs that it looks for beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// The name of the test.
    pub name: &'static str,
    pub(crate) package: &'static str,
    /// Path in the guest, package, binary.
    pub programs: &'static [(&'static str, &'static str, &'static str)],
    /// Which of the tests, when not all.
    pub arguments: &'static [&'static str],
}

/// Verifier, verdicts, swap, adoption.
pub const NODE: Suite = Suite { name: "verifier_node", package: "gabion-generation", programs: &[], arguments: &[] };

/// Tables that change in place. Not the ten million packets under which they do so, which take too long here.
pub const PATCH: Suite = Suite {
    name: "verifier_patch",
    package: "gabion-generation",
    programs: &[],
    arguments: &["a_connection_that_the_new_tables_forbid", "what_has_another_form"],
};

/// Twins of generations: the same program, each probe at a node to which nothing happened.
pub const TWIN: Suite = Suite { name: "verifier_twin", package: "gabion-generation", programs: &[], arguments: &[] };

/// Twins of random policies: oracle = core = twin, and every change of verdict explained.
pub const TWINS: Suite =
    Suite { name: "verifier_twin", package: "gabion-testing-oracle", programs: &[], arguments: &[] };

/// Random policies and packets: oracle = core = loaded programs.
pub const AGREEMENT: Suite =
    Suite { name: "verifier_agreement", package: "gabion-testing-oracle", programs: &[], arguments: &[] };

/// Building blocks of kernel programs, each in a program of its own: verifier, and kernel = host = std.
pub const BLOCKS: Suite =
    Suite { name: "verifier_blocks", package: "gabion-testing-blocks", programs: &[], arguments: &[] };

/// Shared memory: the writer's atomic instructions, and maps that are opened by contract. Not the loads that show how
/// a record is torn or how two writers meet: emulated, they show little and take long.
pub const SHARED: Suite = Suite {
    name: "verifier_shared",
    package: "gabion-testing-shared",
    programs: &[],
    arguments: &["a_map_that_is", "a_writer_that_died", "counters_by_cpu", "no_read_under_load"],
};

/// Native XDP, tcx and clsact on a cable between two namespaces, with processes that die.
pub const HOOKS: Suite = Suite { name: "netns_hooks", package: "gabion-generation", programs: &[], arguments: &[] };

/// The whole agent between a client and a server. Emulated, all of these tests take three minutes on each kernel, so
/// that only some run; `GABION_ALL_RULES=1` runs the rest as well.
pub const RULES: Suite = Suite {
    name: "netns_rules",
    package: "gabion-testing-netns",
    programs: &[("/gabion", "gabion", "gabion")],
    arguments: &["egress_rules_bind", "frames_without_ip", "tags_inside_the_frame"],
};

/// The same on VLAN and QinQ devices, which are a module that not every kernel has, so that guests are where these
/// tests surely run.
pub const DEVICES: Suite = Suite {
    name: "netns_devices",
    package: "gabion-testing-netns",
    programs: &[("/gabion", "gabion", "gabion")],
    arguments: &["vlan_devices_are_judged", "a_connection_through_a_vlan", "a_tag_beside_the_frame"],
};

/// Views of kernel types: a thread and a thousand processes, against `/proc`.
pub const VIEWS: Suite =
    Suite { name: "verifier_views", package: "gabion-testing-views", programs: &[], arguments: &[] };
/// See [`VIEWS`].
pub const PROCESSES: Suite =
    Suite { name: "verifier_processes", package: "gabion-testing-views", programs: &[], arguments: &[] };

/// Whose sockets are.
pub const OWNERS: Suite = Suite { name: "verifier_owners", package: "gabion-owners", programs: &[], arguments: &[] };

/// Who may load programs, and which. Guests are started with BPF among their security modules.
pub const GATEKEEPER: Suite = Suite { name: "gatekeeper", package: "gabion-gatekeeper", programs: &[], arguments: &[] };

/// The whole agent at a site that wants the gate sealed.
pub const GATE: Suite = Suite {
    name: "netns_gatekeeper",
    package: "gabion-testing-netns",
    programs: &[("/gabion", "gabion", "gabion")],
    arguments: &["a_sealed_gate"],
};

/// Digests of programs that were computed, against the kernel's.
pub const DIGESTS: Suite =
    Suite { name: "verifier_digests", package: "gabion-gatekeeper", programs: &[], arguments: &[] };

/// All of them.
pub const SUITES: [Suite; 16] = [
    NODE, PATCH, TWIN, TWINS, AGREEMENT, BLOCKS, SHARED, HOOKS, RULES, DEVICES, VIEWS, PROCESSES, OWNERS, GATEKEEPER,
    GATE, DIGESTS,
];

impl Suite {
    /// Builds the test.
    pub fn test(&self) -> Result<PathBuf, Error> {
        test_binary(self.package, self.name)
    }
}
