//! The table of tiers, and the closing lines of the test runner that come after it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// How one tier ended.
pub enum State {
    /// All of it passed.
    Passed(String),
    /// Something failed.
    Failed(String),
    /// It did not run, for this reason.
    Skipped(String),
}

/// The tiers in the order in which they were run.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, State)>,
}

impl Table {
    /// Adds one tier.
    pub fn add(&mut self, tier: &str, state: State) {
        self.rows.push((tier.to_owned(), state));
    }

    /// Runs a command as a tier of its own, and adds what came of it.
    pub fn run(&mut self, tier: &str, command: &mut Command) {
        println!("x: {tier}");
        let start = Instant::now();
        let state = match command.status() {
            Ok(status) if status.success() => State::Passed(seconds(start.elapsed())),
            Ok(status) => State::Failed(status.to_string()),
            Err(error) => State::Failed(error.to_string()),
        };
        self.add(tier, state);
    }

    /// Whether any tier failed.
    pub fn failed(&self) -> bool {
        self.rows.iter().any(|(_, state)| matches!(state, State::Failed(_)))
    }

    /// Prints one line for each tier.
    pub fn print(&self) {
        println!("\n{:<10} {:<8} detail", "tier", "state");
        for (tier, state) in &self.rows {
            let (word, detail) = match state {
                State::Passed(detail) => ("passed", detail),
                State::Failed(detail) => ("FAILED", detail),
                State::Skipped(detail) => ("skipped", detail),
            };
            println!("{tier:<10} {word:<8} {detail}");
        }
        println!();
    }
}

/// A duration as a person reads it.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// What some tests came to.
#[derive(Default, Clone, Copy, PartialEq, Debug)]
pub struct Counts {
    /// How many passed.
    pub passed: u32,
    /// How many failed.
    pub failed: u32,
    /// What they took together, although they may have run side by side.
    pub seconds: f64,
}

impl Counts {
    /// Adds others to these.
    pub fn add(&mut self, others: Counts) {
        self.passed += others.passed;
        self.failed += others.failed;
        self.seconds += others.seconds;
    }
}

/// What a run of the test runner showed.
#[derive(Default)]
pub struct Tests {
    /// Tests by the binary that holds them.
    pub by_binary: BTreeMap<String, Counts>,
    /// The lines with which the runner closed.
    pub closing: Vec<String>,
    /// The runner said that all is well.
    pub success: bool,
}

/// Runs nextest or `cargo test`, shows its output as it comes, and keeps the counts and the closing lines.
pub fn run_tests(command: &mut Command) -> Result<Tests, String> {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("pipe: {error}"))?;
    let mut child = command.stdout(writer).stderr(second).spawn().map_err(|error| format!("test runner: {error}"))?;
    // The command still holds the writing ends; without them the reader below would never see the end.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut tests = Tests::default();
    let mut binary = String::new();
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|error| format!("test runner: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        let shown = writeln!(out, "{line}");
        shown.map_err(|error| format!("standard output: {error}"))?;
        tests.read(&line, &mut binary);
    }
    drop(out);
    let status = child.wait().map_err(|error| format!("test runner: {error}"))?;
    tests.success = status.success();
    Ok(tests)
}

impl Tests {
    /// Takes one line of output. `binary` remembers which test binary `cargo test` is in.
    fn read(&mut self, line: &str, binary: &mut String) {
        let trimmed = line.trim();
        if let Some(running) = trimmed.strip_prefix("Running ") {
            *binary = binary_of(running);
        } else if let Some(result) = trimmed.strip_prefix("test result: ").filter(|_| !binary.is_empty()) {
            // (nextest shows the same line for each test that failed, but no binary before it.)
            let count = |word: &str| {
                let mut words = result.split_whitespace().collect::<Vec<_>>().into_iter().rev();
                words.find(|found| found.trim_end_matches(';') == word);
                words.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0)
            };
            let seconds = result.rsplit(' ').next().and_then(|word| word.strip_suffix('s')?.parse().ok());
            let seconds = seconds.unwrap_or_default();
            let counts = Counts { passed: count("passed"), failed: count("failed"), seconds };
            self.by_binary.entry(binary.clone()).or_default().add(counts);
            // A binary without tests closes too; of those there is nothing to say again.
            if count("passed") + count("failed") > 0 {
                self.closing.push(format!("     Running {binary}"));
                self.closing.push(trimmed.to_owned());
            }
        } else if trimmed.starts_with("Summary [") || self.nextest_closed() {
            if !trimmed.is_empty() {
                self.closing.push(line.to_owned());
            }
        } else if let Some((status, rest)) = trimmed.split_once(" [")
            && let Some((time, rest)) = rest.split_once(']')
            && status.chars().all(|letter| letter.is_ascii_uppercase())
            && !matches!(status, "SLOW" | "START" | "SETUP PASS")
        {
            // "PASS [   0.004s] ( 1/10) gabion-abi::layout name": the counter is not there in every version.
            let rest = rest.trim_start();
            let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, after)| after);
            let name = rest.split_whitespace().next().unwrap_or_default();
            let binary = name.split_once("::").map_or(name, |(_, binary)| binary);
            let passed = matches!(status, "PASS" | "LEAK");
            let seconds = time.trim().trim_end_matches('s').parse().unwrap_or_default();
            let counts = Counts { passed: passed.into(), failed: (!passed).into(), seconds };
            self.by_binary.entry(binary.to_owned()).or_default().add(counts);
        }
    }

    fn nextest_closed(&self) -> bool {
        self.closing.first().is_some_and(|line| line.trim_start().starts_with("Summary ["))
    }

    /// Adds what another run showed.
    pub fn merge(&mut self, other: Tests) {
        for (binary, counts) in other.by_binary {
            self.by_binary.entry(binary).or_default().add(counts);
        }
        self.closing.extend(other.closing);
        self.success &= other.success;
    }
}

/// "tests/verifier.rs (target/debug/deps/verifier-0a1b)" is `verifier`; "unittests src/lib.rs (…/gabion_abi-0a1b)" is
/// `gabion_abi`.
fn binary_of(running: &str) -> String {
    let path = running.rsplit_once('(').map_or(running, |(_, path)| path.trim_end_matches(')'));
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read(lines: &[&str]) -> Tests {
        let mut tests = Tests::default();
        let mut binary = String::new();
        for line in lines {
            tests.read(line, &mut binary);
        }
        tests
    }

    #[test]
    fn nextest_lines_are_counted_once_although_failures_are_shown_again() {
        let tests = read(&[
            "        PASS [   0.004s] (1/3) gabion-abi conn::tests::fits",
            "        PASS [   0.004s] gabion-generation::verifier loads",
            "        FAIL [   1.004s] (3/3) gabion-generation::verifier agrees",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Summary [   1.1s] 3 tests run: 2 passed, 1 failed, 0 skipped",
            "        FAIL [   1.004s] (3/3) gabion-generation::verifier agrees",
        ]);
        assert_eq!(tests.by_binary["gabion-abi"], Counts { passed: 1, failed: 0, seconds: 0.004 });
        assert_eq!(tests.by_binary["verifier"], Counts { passed: 1, failed: 1, seconds: 1.008 });
        assert_eq!(tests.closing.len(), 2);
    }

    #[test]
    fn cargo_test_lines_are_counted_by_binary() {
        let tests = read(&[
            "     Running unittests src/lib.rs (target/debug/deps/gabion_abi-0a1b)",
            "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s",
            "     Running tests/netns_vlan.rs (target/debug/deps/netns_vlan-0a1b)",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(tests.by_binary["gabion_abi"], Counts { passed: 7, failed: 0, seconds: 0.25 });
        assert_eq!(tests.by_binary["netns_vlan"], Counts { passed: 1, failed: 2, seconds: 0.0 });
        assert_eq!(tests.closing.len(), 4);
    }
}
