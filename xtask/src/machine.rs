//! What this machine has and may do, found by looking and never by asking the operator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds a program on the PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Whether a command runs and says that all is well.
pub fn succeeds(name: &str, arguments: &[&str]) -> bool {
    Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first line that a command prints, or nothing when it fails.
pub fn first_line(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// The effective user id is 0.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        .is_some_and(|effective| effective == "0")
}

/// Which compiler can build kernel programs.
pub enum KernelToolchain {
    /// Debian's `/usr/bin/rustc` with its precompiled core for BPF.
    Debian,
    /// rustup's nightly, with the sources of core.
    Nightly,
}

impl KernelToolchain {
    /// The words for a person.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Debian => "Debian's rustc with its core for BPF",
            Self::Nightly => "rustup's nightly with rust-src",
        }
    }
}

/// The compiler for kernel programs, or the sentence that says what is missing.
pub fn kernel_toolchain() -> Result<KernelToolchain, String> {
    let compiler = if Path::new("/usr/bin/rustc").exists() && Path::new("/usr/lib/rustlib/bpfel-unknown-none").is_dir()
    {
        KernelToolchain::Debian
    } else {
        let sources = first_line("rustc", &["+nightly", "--print", "sysroot"])
            .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir());
        if !sources {
            return Err("no compiler with a core library for BPF".to_owned());
        }
        KernelToolchain::Nightly
    };
    match program("bpf-linker") {
        Some(_) => Ok(compiler),
        None => Err("no bpf-linker on the PATH".to_owned()),
    }
}

/// `cargo SUBCOMMAND --version` works, which a rustup proxy for a component that is not installed does not.
pub fn has_cargo_command(name: &str) -> bool {
    crate::cargo()
        .args([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs Debian packages when this process is root on a Debian; says what is to be done when it is not.
pub fn install(packages: &[&str]) -> Result<(), String> {
    let remedy = format!("as root, apt-get install {}", packages.join(" "));
    if program("apt-get").is_none() || !is_root() || std::env::var_os("GABION_OFFLINE").is_some() {
        return Err(remedy);
    }
    println!("x: apt-get install {}", packages.join(" "));
    let install = || {
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if install() || (succeeds("apt-get", &["update", "-qq"]) && install()) { Ok(()) } else { Err(remedy) }
}

/// Installs a tool that is a crate, where the shell script keeps its own.
pub fn install_tool(name: &str) -> Result<(), String> {
    let remedy = format!("cargo install --locked {name}");
    let Some(folder) = std::env::var_os("GABION_TOOLS").filter(|_| std::env::var_os("GABION_OFFLINE").is_none()) else {
        return Err(format!("no {name}: {remedy}"));
    };
    println!("x: {remedy} (into {})", folder.display());
    let status = crate::cargo().args(["install", "--quiet", "--locked", name, "--root"]).arg(folder).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("{name} did not build: {remedy}")) }
}
