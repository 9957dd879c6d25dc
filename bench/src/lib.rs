//! What the benchmarks share: medians with their spread, and a file that says where they were taken.
//!
//! Each benchmark is a binary, run by `./x bench NAME`. None is a test: nothing here fails because a machine is slow.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

/// Repeated measurements of one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured, with its unit.
    pub name: String,
    /// The smallest value.
    pub minimum: f64,
    /// The one in the middle.
    pub median: f64,
    /// All but one in a hundred are no larger.
    pub p99: f64,
    /// The largest value.
    pub maximum: f64,
    /// How often it was measured.
    pub runs: usize,
}

impl Figure {
    /// From its values; none without any.
    #[must_use]
    pub fn new(name: impl Into<String>, mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&minimum, &maximum) = (values.first()?, values.last()?);
        let runs = values.len();
        let (median, p99) = (values[runs / 2], values[(runs * 99).div_ceil(100) - 1]);
        Some(Self { name: name.into(), minimum, median, p99, maximum, runs })
    }
}

/// Where and when a benchmark was taken.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Of this checkout.
    pub commit: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Name of the processor.
    pub cpu: String,
    /// Load of the machine before the benchmark made its own.
    pub load_before: String,
}

impl Place {
    /// Here and now, with the load that [`load`] said before.
    #[must_use]
    pub fn here(load_before: String) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            commit: said(Command::new("git").args(["rev-parse", "--short", "HEAD"])),
            kernel: said(Command::new("uname").arg("-r")),
            cpu: cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown").to_owned(),
            load_before,
        }
    }
}

#[derive(Serialize)]
struct Results<'f> {
    #[serde(flatten)]
    place: Place,
    figures: &'f [Figure],
}

/// Prints the figures and writes them to `bench/results/NAME.json`.
///
/// # Errors
/// When the file cannot be written.
pub fn report(name: &str, load_before: String, figures: &[Figure]) -> std::io::Result<PathBuf> {
    let width = figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(name.len());
    println!("{name:<width$} {:>10} {:>10} {:>10} {:>10} {:>5}", "median", "minimum", "p99", "maximum", "runs");
    for figure in figures {
        let Figure { name, minimum, median, p99, maximum, runs } = figure;
        println!("{name:<width$} {median:>10.1} {minimum:>10.1} {p99:>10.1} {maximum:>10.1} {runs:>5}");
    }
    let text = serde_json::to_string_pretty(&Results { place: Place::here(load_before), figures })?;
    write(&format!("{name}.json"), &(text + "\n"))
}

/// Writes a file in `bench/results` and says so.
///
/// # Errors
/// When it cannot be written.
pub fn write(name: &str, text: &str) -> std::io::Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name);
    std::fs::write(&path, text)?;
    println!("written to {}", path.display());
    Ok(path)
}

/// Load of the machine, to be asked before a benchmark makes its own.
#[must_use]
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn said(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
