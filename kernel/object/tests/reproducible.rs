//! Two builds of the same sources in different folders give the same object.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

#[path = "../src/toolchain.rs"]
mod toolchain;

fn copy(root: &Path, to: &Path) {
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().unwrap();
    for name in files.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).unwrap();
        let manifest = name.ends_with("Cargo.toml") || name == "Cargo.lock";
        let source = name.ends_with(".rs");
        if (manifest || source) && root.join(name).exists() {
            std::fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
            std::fs::copy(root.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn two_folders_give_the_same_object() {
    let toolchain = match toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let built = ["one", "another/and/deeper"].map(|name| {
        let copy_of = folder.path().join(name);
        std::fs::create_dir_all(&copy_of).unwrap();
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
