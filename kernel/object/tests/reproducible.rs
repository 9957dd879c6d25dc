//! Two builds of the same sources in different folders give the same object.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

#[path = "../src/toolchain.rs"]
mod toolchain;

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
    let toolchain = match toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: {reason}");
            return println!("skipped: {reason}");
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let built = ["one", "another/and/deeper"].map(|name| {
        let copy_of = folder.path().join(name);
        copy(&root, &copy_of);
        let target = copy_of.join("target");
        let output = toolchain.cargo(&copy_of, &target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(target.join("bpfel-unknown-none/release/gabion-kernel-programs")).unwrap()
    });
    assert!(built[0] == built[1], "the objects differ: {} and {} bytes", built[0].len(), built[1].len());
    let path = folder.path().to_str().unwrap().as_bytes();
    assert!(!built[0].windows(path.len()).any(|window| window == path), "the object names the folder it was built in");
}
