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

use std::os::unix::process::CommandExt as _;
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
        "build" => build().map(|()| ExitCode::SUCCESS),
        "up" => up(rest),
        "vm" => helper("gabion-testing-vm", "gabion-vm", rest),
        "kernels" => helper("gabion-testing-kernels", "gabion-kernels", rest),
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

/// What `./x up` starts. The plant runs the agent as a process of its own, so that both are built, and in one go: cargo
/// chooses features for what it builds together. The dev profile, because it compiles in a third of the time, and what
/// the kernel runs is always optimised by `kernel/object`.
fn build() -> Result<(), String> {
    let built = cargo().args(["build", "--package", "gabion", "--package", "gabion-testing-site"]).status();
    if !built.map_err(|error| format!("cargo build: {error}"))?.success() {
        return Err("the build failed".to_owned());
    }
    Ok(())
}

/// `./x up`.
fn up(arguments: &[String]) -> Outcome {
    build()?;
    let program = workspace::target_folder()?.join("debug/gabion-site");
    // In place of this process: it takes Ctrl-C as the order to clean up, and nobody must go home before it is done.
    let error = Command::new(&program).arg("up").args(arguments).current_dir(root()).exec();
    Err(format!("{}: {error}", program.display()))
}

/// A program of the workspace that does it.
fn helper(package: &str, program: &str, arguments: &[String]) -> Outcome {
    let status = cargo()
        .args(["run", "--quiet", "--package", package, "--bin", program, "--"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cargo run {program}: {error}"))?;
    Ok(exit_code(status))
}

/// The exit code of a child, with 1 for a child that a signal ended.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
