//! What `./x` does once a toolchain is there: run the tiers of tests, check the house style, say what the machine can
//! do, and make what is shipped. It never installs a toolchain (that is the shell script's part) and holds no product
//! code. Start reading at `tiers.rs`.
#![forbid(unsafe_code)]

mod benches;
mod dist;
mod doctor;
mod machine;
mod report;
mod style;
mod tidy;
mod tiers;
mod workspace;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What a command of `./x` comes back with: the exit code, or the sentence that says why it could not be done.
type Outcome = Result<ExitCode, String>;

/// The top of the checkout, from which every path in this crate is reckoned.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Cargo as the shell script chose it.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", arguments.as_slice()),
    };
    let outcome = match name {
        "test" => tiers::run(rest),
        "lint" => style::lint(),
        "tidy" => tidy::run(),
        "doctor" => doctor::run(),
        "dist" => dist::run(rest),
        "bench" => benches::bench(rest),
        "fuzz" => benches::fuzz(rest),
        "up" => pass_on("gabion-testing-site", "gabion-site", Some("up"), rest),
        "vm" => pass_on("gabion-testing-vm", "gabion-vm", None, rest),
        other => Err(format!("there is no command {other}; `./x help` lists them")),
    };
    match outcome {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("x: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Builds a program of this workspace and hands the arguments to it. The dev profile: it compiles in a third of the
/// time, and what the kernel runs is always optimised by `kernel/object`.
fn pass_on(package: &str, binary: &str, verb: Option<&str>, rest: &[String]) -> Outcome {
    let members = workspace::members()?;
    if !members.iter().any(|member| member.name == package) {
        return Err(format!("this checkout has no crate {package}"));
    }
    // The plant runs the agent as its own process, so that must be built too.
    if verb == Some("up") && members.iter().any(|member| member.name == "gabion") {
        let built = cargo().args(["build", "--package", "gabion", "--package", package]).status();
        if !built.map_err(|error| format!("cargo build: {error}"))?.success() {
            return Err("the build failed".to_owned());
        }
    }
    let status = cargo()
        .args(["run", "--quiet", "--package", package, "--bin", binary, "--"])
        .args(verb)
        .args(rest)
        .status()
        .map_err(|error| format!("cargo run {binary}: {error}"))?;
    Ok(exit_code(status))
}

/// The exit code of a child, with 1 for a child that a signal ended.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
