//! Programs of this workspace, linked statically, because a guest has no C library.

use std::path::PathBuf;
use std::process::Command;

use crate::Error;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds a binary of a package for guests, and says where it is.
pub fn program(package: &str, binary: &str) -> Result<PathBuf, Error> {
    executable(&["build", "--package", package, "--bin", binary])
}

/// Builds an integration test of a package for guests, and says where it is.
pub fn test_binary(package: &str, test: &str) -> Result<PathBuf, Error> {
    executable(&["test", "--no-run", "--package", package, "--test", test])
}

fn executable(arguments: &[&str]) -> Result<PathBuf, Error> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).args(["--target", TARGET, "--message-format", "json", "--target-dir"]);
    cargo.arg(crate::folder().join("build")).current_dir(env!("CARGO_MANIFEST_DIR"));
    // Emulated, an optimised program is worth its compile time; symbols only make the initramfs larger.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Guests run nothing without kernel programs.
    cargo.env("GABION_REQUIRE_BPF", "1");
    cargo.env("CARGO_PROFILE_DEV_STRIP", "symbols").env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What the surrounding `cargo test` set for its own packages is not meant for these.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    let messages = crate::package::output("cargo", &mut cargo)?;
    let found = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    found.ok_or_else(|| Error::Program { program: "cargo", detail: format!("{arguments:?} built no program") })
}
