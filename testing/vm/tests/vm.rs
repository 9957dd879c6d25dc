//! The kernel matrix.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_testing_vm::{Kernel, SERIES, run};

/// The guest kernels, or none where they cannot be had; `./x test` demands them when it runs this tier.
fn kernels() -> Vec<Kernel> {
    let required = std::env::var_os("GABION_REQUIRE_VM").is_some();
    let qemu = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    let kernels: Result<Vec<Kernel>, _> = SERIES.iter().map(|series| Kernel::fetch(series)).collect();
    match (qemu, kernels) {
        (Ok(_), Ok(kernels)) => kernels,
        (qemu, kernels) => {
            assert!(!required, "the vm tier is demanded: {:?} {:?}", qemu.err(), kernels.err());
            eprintln!("skipped: no QEMU or no guest kernels");
            Vec::new()
        }
    }
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
