//! The kernel matrix.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_testing_vm::{Kernel, SERIES, run};

/// Without QEMU and the guest kernels there is nothing to test; `./x test` says so in its table.
fn kernels() -> Vec<Kernel> {
    let qemu = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    if qemu.is_err() {
        eprintln!("skipped: no qemu-system-x86_64");
        return Vec::new();
    }
    SERIES.iter().map(|series| Kernel::fetch(series).unwrap()).collect()
}

#[test]
fn both_kernels_boot_load_their_modules_and_make_maps() {
    for kernel in kernels() {
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
    let Some(kernel) = kernels().pop() else { return };
    let outcome = run(&kernel, &[], &["/no/such/program"]).unwrap();
    assert_eq!(outcome.exit, 127);
    assert!(outcome.stdout.contains("/no/such/program"), "{}", outcome.stdout);
}
