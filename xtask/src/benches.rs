//! `./x bench` and `./x fuzz`: both list what there is, and run what is named.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, cargo, exit_code, machine, root, workspace};

/// What the benchmark of decisions is compared with, and the Debian package that holds it.
const PEERS: [(&str, &str); 3] = [("nft", "nftables"), ("iptables-legacy", "iptables"), ("ipset", "ipset")];

/// One benchmark: a `[[bench]]` of any member, or a binary of a crate under `bench/`.
struct Benchmark {
    name: String,
    package: String,
    binary: bool,
}

fn benchmarks() -> Result<Vec<Benchmark>, String> {
    let mut found = Vec::new();
    for member in workspace::members()? {
        let in_room = member.folder.starts_with(root().join("bench"));
        for (names, binary) in [(&member.benches, false), (&member.binaries, true)] {
            if binary && !in_room {
                continue;
            }
            found.extend(names.iter().map(|name| Benchmark {
                name: name.clone(),
                package: member.name.clone(),
                binary,
            }));
        }
    }
    Ok(found)
}

/// `./x bench [NAME] [ARGUMENT]…`.
pub fn bench(arguments: &[String]) -> Outcome {
    let benchmarks = benchmarks()?;
    let Some((name, rest)) = arguments.split_first() else {
        for benchmark in &benchmarks {
            println!("{:<24} {}", benchmark.name, benchmark.package);
        }
        if benchmarks.is_empty() {
            println!("x: this checkout has no benchmark");
        }
        return Ok(std::process::ExitCode::SUCCESS);
    };
    let benchmark = benchmarks
        .iter()
        .find(|benchmark| benchmark.name == *name)
        .ok_or_else(|| format!("there is no benchmark {name}; `./x bench` lists them"))?;
    for (program, package) in PEERS.iter().filter(|_| name == "classify") {
        // Whoever is missing is left out, and the benchmark says so.
        if machine::program(program).is_none()
            && !Path::new("/usr/sbin").join(program).exists()
            && let Err(remedy) = machine::install(&[package])
        {
            println!("x: no {program} to compare with: {remedy}");
        }
    }
    let mut command = cargo();
    if benchmark.binary {
        // The benchmarks of that room measure the program itself, from outside.
        let built = cargo().args(["build", "--release", "--quiet", "--package", "gabion"]).status();
        if !built.map_err(|error| format!("cargo: {error}"))?.success() {
            return Err("gabion does not build".to_owned());
        }
        command.args(["run", "--release", "--quiet", "--package", &benchmark.package, "--bin", name, "--"]);
    } else {
        command.args(["bench", "--quiet", "--package", &benchmark.package, "--bench", name, "--"]);
    }
    Ok(exit_code(command.args(rest).status().map_err(|error| format!("cargo: {error}"))?))
}

/// `./x fuzz [NAME] [ARGUMENT]…`.
pub fn fuzz(arguments: &[String]) -> Outcome {
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets: Vec<String> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    targets.retain(|name| name.ends_with(".rs"));
    targets.sort();
    let Some((name, rest)) = arguments.split_first() else {
        for target in &targets {
            println!("{}", target.trim_end_matches(".rs"));
        }
        if targets.is_empty() {
            println!("x: this checkout has no fuzz target");
        }
        return Ok(std::process::ExitCode::SUCCESS);
    };
    if !targets.contains(&format!("{name}.rs")) {
        return Err(format!("there is no fuzz target {name}; `./x fuzz` lists them"));
    }
    if !machine::has_cargo_command("fuzz") {
        machine::install_tool("cargo-fuzz")?;
    }
    let mut command = if machine::nightly_compiler().is_some() {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "fuzz", "run", name]);
        // What the surrounding cargo chose is the stable toolchain.
        command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        command
    } else {
        // Coverage works on a stable compiler that is told to allow it; only the address sanitiser needs nightly, and
        // what is fuzzed forbids unsafe code.
        println!("x: no nightly: fuzzing without the address sanitiser");
        let mut command = cargo();
        command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--sanitizer", "none", name]);
        command
    };
    let status = command.current_dir(root()).args(rest).status();
    Ok(exit_code(status.map_err(|error| format!("cargo fuzz: {error}"))?))
}
