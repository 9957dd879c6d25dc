//! The toolchain for BPF: Debian's compiler with its precompiled `core`, or rustup's nightly with rust-src.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler that knows BPF.
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    /// `core` has to be compiled from its source.
    build_core: bool,
}

/// Finds a toolchain.
///
/// # Errors
/// What is missing.
pub fn find() -> Result<Toolchain, String> {
    let linker = linker().ok_or("no bpf-linker; ./x doctor says how to get it")?;
    let (rustc, cargo) = (PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/bin/cargo"));
    if rustc.exists() && cargo.exists() && Path::new("/usr/lib/rustlib/bpfel-unknown-none").exists() {
        return Ok(Toolchain { cargo, rustc, linker, build_core: false });
    }
    if let Some(bin) = nightly() {
        return Ok(Toolchain { cargo: bin.join("cargo"), rustc: bin.join("rustc"), linker, build_core: true });
    }
    Err("no compiler for BPF (neither Debian's libstd-rust-web-dev-bpf nor rustup's nightly with rust-src); \
         ./x doctor says how to get one"
        .to_owned())
}

/// Home of whoever builds, below which sources may lie that no object should name.
pub fn home() -> PathBuf {
    PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()))
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

fn linker() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push(cache.join("gabion/bin"));
    folders.push(cargo_home().join("bin"));
    folders.into_iter().map(|folder| folder.join("bpf-linker")).find(|file| file.exists())
}

fn nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    // To ask must not install, which rustup does by itself for a toolchain that it lacks.
    let output =
        rustup.args(["which", "rustc", "--toolchain", "nightly"]).env("RUSTUP_AUTO_INSTALL", "0").output().ok()?;
    let rustc = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let bin = rustc.parent()?;
    bin.parent()?.join("lib/rustlib/src/rust/library/core").exists().then(|| bin.to_owned())
}

impl Toolchain {
    /// The command that builds the programs of `package` in the checkout `root` into `target`.
    #[must_use]
    pub fn cargo(&self, root: &Path, target: &Path, package: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        // What the outer cargo tells its build scripts would change the inner build, or deadlock on its target folder.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_HTTP")
                || text.starts_with("RUST") && text != "RUSTUP_HOME"
            {
                command.env_remove(&name);
            }
        }
        let mut flags = OsString::from("-Cdebuginfo=2\u{1f}-Clink-arg=--btf\u{1f}-Ctarget-cpu=v3\u{1f}-Clinker=");
        flags.push(&self.linker);
        let mut folders = vec![(root.to_owned(), "/gabion"), (cargo_home(), "/cargo")];
        // Where a precompiled core was built is not to be seen any more; the sources are in the home of somebody.
        if let Some(sysroot) = self.rustc.ancestors().nth(2).filter(|_| self.build_core) {
            let sources = sysroot.join("lib/rustlib/src/rust");
            folders.extend(sources.canonicalize().ok().into_iter().chain([sources]).map(|path| (path, "/rust")));
        }
        for (from, to) in folders {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        command
            .current_dir(root)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            // The workspace's profile is for the host: here BTF comes from debug info, and the linker optimises.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
            .env("CARGO_PROFILE_RELEASE_STRIP", "none")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
            .args(["build", "--quiet", "--release", "--locked", "--target", "bpfel-unknown-none"])
            .args(["--package", package, "--target-dir"])
            .arg(target);
        if self.build_core {
            command.arg("-Zbuild-std=core");
        }
        command
    }
}
