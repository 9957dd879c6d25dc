//! The object that is embedded and one built of the same sources in another folder are the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

/// Copies manifests, the lock file and Rust sources: all that cargo wants to see of a workspace.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if text != "target" && !text.starts_with('.') {
                copy(&entry.path(), &to.join(&name));
            }
        } else if text.ends_with(".rs") || text == "Cargo.toml" || text == "Cargo.lock" {
            std::fs::copy(entry.path(), to.join(&name)).unwrap();
        }
    }
}

#[test]
fn two_folders_give_the_same_object() {
    let toolchain = match gabion_kernel_build::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: {reason}");
            return println!("skipped: {reason}");
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let embedded = gabion_kernel_object::object().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("another/and/deeper");
    copy(&root, &elsewhere);
    let target = elsewhere.join("target");
    let output = toolchain.cargo(&elsewhere, &target, "gabion-kernel-programs").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = std::fs::read(target.join("bpfel-unknown-none/release/gabion-kernel-programs")).unwrap();
    assert!(embedded == built, "the objects differ: {} and {} bytes", embedded.len(), built.len());
    let home = gabion_kernel_build::home();
    // (A home that is the root folder says nothing.)
    for path in [root.as_path(), folder.path(), &home].into_iter().filter(|path| path.file_name().is_some()) {
        let path = format!("{}/", path.to_str().unwrap().trim_end_matches('/'));
        assert!(!built.windows(path.len()).any(|window| window == path.as_bytes()), "the object names {path}");
    }
}
