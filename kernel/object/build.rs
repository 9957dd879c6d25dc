//! Builds `kernel/programs` for BPF with whatever toolchain is there, and leaves the object in `OUT_DIR`.
//!
//! Without a toolchain nothing is embedded and the crate says so, unless `GABION_REQUIRE_BPF` is set.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "src/toolchain.rs"]
mod toolchain;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let root = manifest.join("../..");
    for source in
        ["Cargo.lock", "abi/src", "abi/Cargo.toml", "kernel/core/src", "kernel/core/Cargo.toml", "kernel/programs"]
    {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rerun-if-changed=src/toolchain.rs");
    println!("cargo::rerun-if-env-changed=GABION_REQUIRE_BPF");
    println!("cargo::rerun-if-env-changed=PATH");

    let required = env::var_os("GABION_REQUIRE_BPF").is_some_and(|value| value != "0");
    let result = build(&root, &out);
    let source = match &result {
        Ok(object) => format!("Ok(&Aligned(*include_bytes!({:?})).0)", object.display().to_string()),
        Err(reason) if required => {
            println!("cargo::error={}", reason.replace('\n', "\ncargo::error="));
            String::new()
        }
        Err(reason) => {
            println!("cargo::warning=kernel programs are left out: {}", reason.lines().next().unwrap_or_default());
            format!("Err({reason:?})")
        }
    };
    // OUT_DIR exists and is ours; when it cannot be written there is nothing sensible to go on with.
    if let Err(error) =
        std::fs::write(out.join("object.rs"), format!("static EMBEDDED: Result<&[u8], &str> = {source};\n"))
    {
        println!("cargo::error=cannot write {}: {error}", out.join("object.rs").display());
    }
}

fn build(root: &Path, out: &Path) -> Result<PathBuf, String> {
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let toolchain = toolchain::find()?;
    let target = out.join("bpf");
    let mut command: Command = toolchain.cargo(&root, &target);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(target.join("bpfel-unknown-none/release/gabion-kernel-programs"))
}
