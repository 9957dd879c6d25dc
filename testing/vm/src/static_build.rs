//! Programs of this workspace, linked statically, because a guest has no C library.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::Error;
use crate::suite::SUITES;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The first program of every guest: package, binary.
pub(crate) const GUEST: (&str, &str) = ("gabion-testing-vm", "gabion-guest");

/// Builds everything that guests run.
pub fn build() -> Result<(), Error> {
    program(GUEST.0, GUEST.1).map(|_| ())
}

/// Builds everything that guests run, and says where a binary is.
pub fn program(package: &str, binary: &str) -> Result<PathBuf, Error> {
    built(package, "bin", binary)
}

/// Builds everything that guests run, and says where an integration test is.
pub fn test_binary(package: &str, test: &str) -> Result<PathBuf, Error> {
    built(package, "test", test)
}

/// One build for all: built one by one, each would have what they share with features of its own, and compile it anew.
fn built(package: &str, kind: &str, name: &str) -> Result<PathBuf, Error> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--target", TARGET, "--message-format", "json", "--target-dir"]);
    cargo.arg(crate::folder().join("build")).current_dir(env!("CARGO_MANIFEST_DIR"));
    let programs = SUITES.iter().flat_map(|suite| suite.programs).map(|(_, package, binary)| (*package, *binary));
    let programs: BTreeSet<_> = programs.chain([GUEST]).collect();
    let tests: BTreeSet<_> = SUITES.iter().map(|suite| (suite.package, suite.name)).collect();
    let packages: BTreeSet<_> = programs.iter().chain(&tests).map(|(package, _)| *package).collect();
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    cargo.args(programs.iter().flat_map(|(_, binary)| ["--bin", binary]));
    cargo.args(tests.iter().map(|(_, test)| *test).collect::<BTreeSet<_>>().iter().flat_map(|test| ["--test", test]));
    // Emulated, an optimised program is worth its compile time; symbols only make the initramfs larger.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Guests run nothing without kernel programs.
    cargo.env("GABION_REQUIRE_BPF", "1");
    cargo.env("CARGO_PROFILE_DEV_STRIP", "symbols").env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What the surrounding `cargo test` set for its own packages is not meant for these.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    let messages = crate::package::output("cargo", &mut cargo)?;
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let (target, id) = (&message["target"], message["package_id"].as_str()?);
        let wanted = target["name"] == name && target["kind"][0] == kind && is_of(id, package);
        message["executable"].as_str().filter(|_| wanted).map(PathBuf::from)
    });
    let detail = || format!("built no {kind} {name} of {package}");
    found.ok_or_else(|| Error::Program { program: "cargo", detail: detail() })
}

/// Whether an id of cargo's is of a package: `path+file:///folder#name@version`, or `…/name#version` where the folder
/// is called like it.
fn is_of(id: &str, package: &str) -> bool {
    let Some((place, rest)) = id.rsplit_once('#') else { return false };
    match rest.split_once('@') {
        Some((name, _)) => name == package,
        None => place.rsplit('/').next() == Some(package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_id() {
        assert!(is_of("path+file:///work/generation#gabion-generation@0.1.0", "gabion-generation"));
        assert!(is_of("path+file:///work/gabion#0.1.0", "gabion"));
        assert!(!is_of("path+file:///work/testing/oracle#gabion-testing-oracle@0.1.0", "gabion-generation"));
    }
}
