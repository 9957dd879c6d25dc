//! Build scripts' way from a crate of kernel programs to an object that another crate embeds.
//!
//! It finds a toolchain for BPF and calls its cargo; it never loads what came of it. A build script calls [`embed`],
//! and its crate includes `OUT_DIR/object.rs`, which declares `EMBEDDED`. Start there.

#![forbid(unsafe_code)]

mod toolchain;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use toolchain::{Toolchain, find, home};

/// Builds `package` for BPF with whatever toolchain is there, and writes `object.rs` into `OUT_DIR`.
///
/// `sources` are what it is built of, from the top of the checkout, which is `../..` from the crate whose build script
/// calls. Without a toolchain nothing is embedded and the crate says so, unless `GABION_REQUIRE_BPF` is set.
pub fn embed(package: &str, sources: &[&str]) {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let root = manifest.join("../..");
    for source in ["Cargo.lock"].iter().chain(sources) {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=GABION_REQUIRE_BPF");
    println!("cargo::rerun-if-env-changed=PATH");

    let required = env::var_os("GABION_REQUIRE_BPF").is_some_and(|value| value != "0");
    let source = match build(&root, &out, package) {
        Ok(object) => format!("Ok(&Aligned(*include_bytes!({:?})).0)", object.display().to_string()),
        Err(reason) if required => {
            println!("cargo::error={}", reason.replace('\n', "\ncargo::error="));
            String::new()
        }
        Err(reason) => {
            println!("cargo::warning={package} is left out: {}", reason.lines().next().unwrap_or_default());
            format!("Err({reason:?})")
        }
    };
    let text = format!(
        "/// ELF readers want the file where its largest integers are aligned.\n\
         #[allow(dead_code, reason = \"not used when nothing was built\")]\n\
         #[repr(align(8))]\n\
         struct Aligned<B: ?Sized>(B);\n\
         static EMBEDDED: Result<&[u8], &str> = {source};\n"
    );
    // OUT_DIR exists and is ours; when it cannot be written there is nothing sensible to go on with.
    if let Err(error) = std::fs::write(out.join("object.rs"), text) {
        println!("cargo::error=cannot write {}: {error}", out.join("object.rs").display());
    }
}

fn build(root: &Path, out: &Path, package: &str) -> Result<PathBuf, String> {
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let root = root.canonicalize().map_err(|error| at(root, error))?;
    let target = shared(&root, out);
    std::fs::create_dir_all(&target).map_err(|error| at(&target, error))?;
    // Held until the object is ours: whoever builds the same for another profile replaces it.
    let lock = target.join("embed.lock");
    let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(|error| at(&lock, error))?;
    let mut command = find()?.cargo(&root, &target, package);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let (built, object) = (target.join("bpfel-unknown-none/release").join(package), out.join("object.o"));
    std::fs::copy(&built, &object).map_err(|error| at(&built, error))?;
    drop(lock);
    Ok(object)
}

/// A folder for all crates of kernel programs, all profiles and all builds of a checkout: what they share is the same
/// for all of them. It lies in the checkout's target folder, or in the one that this build has elsewhere.
fn shared(root: &Path, out: &Path) -> PathBuf {
    let targets = || out.ancestors().filter(|folder| folder.join("CACHEDIR.TAG").exists());
    let ours = targets().filter(|folder| folder.starts_with(root)).last();
    ours.or_else(|| targets().next()).unwrap_or(out).join("bpf")
}
