//! The kernel matrix: what runs on this machine's kernel runs on the others, with the same object inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gabion_testing_vm::{Kernel, SERIES, instructions, run, suite};

/// Random decisions in each guest: emulated, one takes about a millisecond.
const DECISIONS: u32 = 24_000;

/// A guest kernel, or none where it cannot be had; `./x test` demands it when it runs this tier.
fn kernel(series: &str) -> Option<Kernel> {
    let qemu = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    let missing = match (qemu, Kernel::fetch(series)) {
        (Ok(_), Ok(kernel)) => return Some(kernel),
        (Err(error), _) => format!("qemu-system-x86_64: {error}; as root: apt-get install qemu-system-x86"),
        (Ok(_), Err(error)) => error.to_string(),
    };
    assert!(std::env::var_os("GABION_REQUIRE_VM").is_none(), "the vm tier is demanded: {missing}");
    println!("skipped: no guest with Linux {series}: {missing}");
    None
}

/// Runs tests of this workspace in a guest of the series; gives back what they printed.
fn hold(series: &str, suite: &suite::Suite) -> Option<String> {
    let kernel = kernel(series)?;
    let mut files: Vec<(&str, PathBuf)> = vec![("/test", suite.test().unwrap())];
    for (guest, package, binary) in suite.programs {
        files.push((guest, gabion_testing_vm::program(package, binary).unwrap()));
    }
    let files: Vec<(&str, &Path)> = files.iter().map(|(guest, host)| (*guest, host.as_path())).collect();
    let decisions = format!("GABION_DECISIONS={DECISIONS}");
    let some = if std::env::var_os("GABION_ALL_RULES").is_some() { &[] } else { suite.arguments };
    let command = [&[decisions.as_str(), "/test", "--nocapture", "--test-threads=1"], some].concat();
    let outcome = run(&kernel, &files, &command).unwrap();
    assert_eq!(outcome.exit, 0, "{} on {}\n{}\n{}", suite.name, kernel.release, outcome.stdout, outcome.console);
    // A test that skips itself passes; here it has everything that it may ask for.
    assert!(!outcome.stdout.contains("skipped:"), "{} on {}\n{}", suite.name, kernel.release, outcome.stdout);
    assert!(!outcome.stdout.contains("running 0 tests"), "{}", outcome.stdout);
    println!("{} on {}\n{}", suite.name, kernel.release, outcome.stdout);
    Some(outcome.stdout)
}

fn hold_counts(series: &str) {
    if let Some(printed) = hold(series, &suite::NODE)
        && let Err(differences) = instructions::hold(series, &printed)
    {
        panic!("{}\nGABION_RECORD=1 ./x test --tier vm records what is meant", differences.join("\n"));
    }
}

#[test]
fn both_kernels_boot_load_their_modules_and_make_maps() {
    for series in SERIES {
        let Some(kernel) = kernel(series) else { return };
        let outcome = run(&kernel, &[], &["/init", "--probe"]).unwrap();
        assert_eq!(outcome.exit, 0, "{}\n{}", outcome.stdout, outcome.console);
        assert!(outcome.stdout.contains(&kernel.release), "{}", outcome.stdout);
        assert!(kernel.release.starts_with(&format!("{}.", kernel.series)), "{}", kernel.release);
        for module in ["8021q", "bridge", "cls_bpf", "sch_ingress", "tun", "veth"] {
            assert!(outcome.stdout.contains(&format!(" {module}")), "{module}: {}", outcome.stdout);
        }
    }
}

#[test]
fn the_exit_code_of_the_command_is_the_exit_code_of_the_outcome() {
    let Some(kernel) = kernel("6.12") else { return };
    let outcome = run(&kernel, &[], &["/no/such/program"]).unwrap();
    assert_eq!(outcome.exit, 127);
    assert!(outcome.stdout.contains("/no/such/program"), "{}", outcome.stdout);
}

#[test]
fn the_object_loads_on_6_1_with_the_recorded_instructions() {
    hold_counts("6.1");
}

#[test]
fn the_object_loads_on_6_12_with_the_recorded_instructions() {
    hold_counts("6.12");
}

#[test]
fn programs_core_and_oracle_agree_on_6_1() {
    hold("6.1", &suite::AGREEMENT);
}

#[test]
fn programs_core_and_oracle_agree_on_6_12() {
    hold("6.12", &suite::AGREEMENT);
}

#[test]
fn building_blocks_hold_on_6_1() {
    hold("6.1", &suite::BLOCKS);
}

#[test]
fn building_blocks_hold_on_6_12() {
    hold("6.12", &suite::BLOCKS);
}

#[test]
fn shared_memory_is_written_and_read_on_6_1() {
    hold("6.1", &suite::SHARED);
}

#[test]
fn shared_memory_is_written_and_read_on_6_12() {
    hold("6.12", &suite::SHARED);
}

#[test]
fn views_and_owners_of_sockets_hold_on_6_1() {
    for suite in [suite::VIEWS, suite::PROCESSES, suite::OWNERS] {
        hold("6.1", &suite);
    }
}

#[test]
fn views_and_owners_of_sockets_hold_on_6_12() {
    for suite in [suite::VIEWS, suite::PROCESSES, suite::OWNERS] {
        hold("6.12", &suite);
    }
}

#[test]
fn twins_judge_probes_on_6_1() {
    hold("6.1", &suite::TWIN);
    hold("6.1", &suite::TWINS);
}

#[test]
fn twins_judge_probes_on_6_12() {
    hold("6.12", &suite::TWIN);
    hold("6.12", &suite::TWINS);
}

#[test]
fn the_gate_is_kept_on_6_1() {
    for suite in [suite::DIGESTS, suite::GATEKEEPER, suite::GATE] {
        hold("6.1", &suite);
    }
}

#[test]
fn the_gate_is_kept_on_6_12() {
    for suite in [suite::DIGESTS, suite::GATEKEEPER, suite::GATE] {
        hold("6.12", &suite);
    }
}

#[test]
fn tables_change_in_place_on_6_1() {
    hold("6.1", &suite::PATCH);
}

#[test]
fn tables_change_in_place_on_6_12() {
    hold("6.12", &suite::PATCH);
}

#[test]
fn hooks_on_a_cable_hold_on_6_1_where_egress_is_clsact() {
    if let Some(printed) = hold("6.1", &suite::HOOKS) {
        assert!(printed.contains("xdp: Some(Native), egress: Some(Clsact)"), "{printed}");
    }
}

#[test]
fn hooks_on_a_cable_hold_on_6_12_where_egress_is_tcx() {
    if let Some(printed) = hold("6.12", &suite::HOOKS) {
        assert!(printed.contains("xdp: Some(Native), egress: Some(Tcx)"), "{printed}");
    }
}

#[test]
fn the_agent_enforces_rules_on_6_1() {
    hold("6.1", &suite::RULES);
}

#[test]
fn the_agent_enforces_rules_on_6_12() {
    hold("6.12", &suite::RULES);
}

#[test]
fn the_agent_judges_vlan_devices_on_6_1() {
    hold("6.1", &suite::DEVICES);
}

#[test]
fn the_agent_judges_vlan_devices_on_6_12() {
    hold("6.12", &suite::DEVICES);
}

/// No guest: the kernel of this machine, when it is a recorded one, or when it is to be recorded.
#[test]
fn the_object_loads_on_this_machine_with_the_recorded_instructions() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
    if !instructions::is_recorded(&series).unwrap() && std::env::var_os("GABION_RECORD").is_none() {
        println!("skipped: nothing is recorded for Linux {series}");
        return;
    }
    let test = suite::NODE.test().unwrap();
    let output = std::process::Command::new(test).args(["--nocapture", "loads_and_counts"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    if printed.contains("skipped:") {
        println!("{printed}");
        return;
    }
    if let Err(differences) = instructions::hold(&series, &printed) {
        panic!("{}", differences.join("\n"));
    }
}
