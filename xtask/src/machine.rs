//! What this machine has and may do, found by looking and never by asking the operator.

use std::io::IsTerminal as _;
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

/// rustup's nightly compiler, if it is there: to ask must not install it, which rustup does by itself.
pub fn nightly_compiler() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    rustup.args(["which", "rustc", "--toolchain", "nightly"]).env("RUSTUP_AUTO_INSTALL", "0");
    let output = rustup.output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).filter(|rustc| rustc.is_file())
}

/// The compiler for kernel programs, or the sentence that says what is missing.
pub fn kernel_toolchain() -> Result<KernelToolchain, String> {
    let compiler = if Path::new("/usr/bin/rustc").exists() && Path::new("/usr/lib/rustlib/bpfel-unknown-none").is_dir()
    {
        KernelToolchain::Debian
    } else {
        let sources = nightly_compiler().is_some_and(|rustc| {
            let sysroot = rustc.ancestors().nth(2);
            sysroot.is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir())
        });
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

/// The operator asked that nothing is fetched.
pub fn offline() -> bool {
    std::env::var_os("GABION_OFFLINE").is_some_and(|value| !value.is_empty())
}

/// Installs Debian packages when this process is root on a Debian, or may be by sudo; says what is to be done when not.
pub fn install(packages: &[&str]) -> Result<(), String> {
    let remedy = format!("as root, apt-get install {}", packages.join(" "));
    // Asks for a password only where somebody can type one.
    let sudo = !is_root();
    let may =
        !sudo || succeeds("sudo", &["-n", "true"]) || (program("sudo").is_some() && std::io::stdin().is_terminal());
    if program("apt-get").is_none() || !may || offline() {
        return Err(remedy);
    }
    println!("x: apt-get install {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if sudo { "sudo" } else { "env" });
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-oDPkg::Lock::Timeout=300", "-y", "-qq"]);
        command.args(["--no-install-recommends"]).args(arguments);
        let output = command.output().map_err(|error| format!("apt-get: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let install: Vec<&str> = ["install"].into_iter().chain(packages.iter().copied()).collect();
    // The lists may name versions that the archive has no more.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install))).map_err(|error| {
        eprint!("{error}");
        remedy
    })
}

/// Installs a tool that is a crate, where the shell script keeps its own.
pub fn install_tool(name: &str) -> Result<(), String> {
    let remedy = format!("cargo install --locked {name}");
    let Some(folder) = std::env::var_os("GABION_TOOLS").filter(|_| !offline()) else {
        return Err(format!("no {name}: {remedy}"));
    };
    println!("x: {remedy} (into {})", folder.display());
    let status = crate::cargo().args(["install", "--quiet", "--locked", name, "--root"]).arg(folder).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("{name} did not build: {remedy}")) }
}
