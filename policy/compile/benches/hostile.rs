//! What policies made to explode cost: each is compiled by a process of its own, which tells the time and the most
//! memory that it had. Fails when a refusal takes longer than a second or more than 512 MiB.
#![allow(missing_docs, clippy::expect_used, clippy::panic, dead_code)]

#[path = "../tests/recipes/mod.rs"]
mod recipes;

use std::process::{Command, ExitCode};
use std::time::Instant;

use gabion_policy_compile::{Compiled, Options, compile};

use crate::recipes::RECIPES;

/// Most that a refusal may take.
const LIMIT_MS: f64 = 1000.0;
const LIMIT_MIB: f64 = 512.0;

/// The most memory that this process ever had, MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// Time that this process had of a processor, milliseconds: what it takes by the clock when nobody else computes.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux has it");
    let ns: f64 = text.split(' ').next().unwrap_or_default().parse().expect("a number");
    ns / 1e6
}

/// Compiles one, and tells what it took: milliseconds by the clock and of a processor, MiB before and at most, and what
/// came of it.
fn child(name: &str) {
    let (_, make) = RECIPES.iter().find(|(known, _)| *known == name).expect("a recipe's name");
    let set = make();
    let before = peak_mib();
    let (start, cpu) = (Instant::now(), cpu_ms());
    let compiled = compile(&set, &Options::default());
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    let cpu = cpu_ms() - cpu;
    let outcome = match &compiled {
        Ok(Compiled { stats, .. }) => {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            format!("fits: {:.1} MiB of tables, {} steps", mib(stats.bytes), stats.steps)
        }
        Err(refused) => format!("refused: {refused}"),
    };
    println!("{ms:.0}\t{cpu:.0}\t{before:.0}\t{:.0}\t{outcome}", peak_mib());
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, name] = arguments.as_slice()
        && flag == "--child"
    {
        child(name);
        return ExitCode::SUCCESS;
    }
    let itself = std::env::current_exe().expect("the path of this program");
    println!(
        "| policy | ms | of a processor | MiB of it | peak MiB | outcome |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut over = Vec::new();
    for (name, _) in RECIPES.iter().filter(|(name, _)| arguments.iter().all(|wanted| name.contains(wanted.as_str()))) {
        let output = Command::new(&itself).args(["--child", name]).output().expect("this program starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.trim().splitn(5, '\t').collect();
        let [ms, cpu, before, peak, outcome] = fields[..] else {
            println!("| {name} | | | | | died: {} |", output.status);
            over.push(*name);
            continue;
        };
        println!("| {name} | {ms} | {cpu} | {before} | {peak} | {outcome} |");
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::MAX);
        if outcome.starts_with("refused") && (number(cpu) > LIMIT_MS || number(peak) > LIMIT_MIB) {
            over.push(*name);
        }
    }
    if over.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nbeyond {LIMIT_MS} ms or {LIMIT_MIB} MiB: {}", over.join(", "));
    ExitCode::FAILURE
}
