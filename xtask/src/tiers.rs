//! `./x test`: which tiers this machine can run, and the one run of the test runner that covers them.
//!
//! An integration test belongs to the tier that its file name begins with: `tests/verifier_loads.rs` is of the tier
//! `verifier`. Every other test is of the tier `unit`.

use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::machine;
use crate::report::{State, Table, Tests, run_tests};
use crate::style;
use crate::workspace::{self, Member};

/// The tiers that need more than an unprivileged user.
const PRIVILEGED: [&str; 3] = ["verifier", "netns", "vm"];

struct Request {
    tiers: Vec<String>,
    filters: Vec<String>,
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut request = Self { tiers: Vec::new(), filters: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let tier = if argument == "--tier" {
                Some(arguments.next().ok_or("--tier needs a name")?.as_str())
            } else {
                argument.strip_prefix("--tier=")
            };
            match tier {
                Some(tier) if known(tier) => request.tiers.push(tier.to_owned()),
                Some(tier) => {
                    return Err(format!("there is no tier {tier}; there are style, unit, {}", PRIVILEGED.join(", ")));
                }
                None if argument.starts_with('-') => return Err(format!("{argument} is not an option of ./x test")),
                None => request.filters.push(argument.clone()),
            }
        }
        Ok(request)
    }

    fn wants(&self, tier: &str) -> bool {
        self.tiers.is_empty() || self.tiers.iter().any(|wanted| wanted == tier)
    }
}

fn known(tier: &str) -> bool {
    matches!(tier, "style" | "unit") || PRIVILEGED.contains(&tier)
}

/// The tier that a test binary belongs to.
fn tier_of(binary: &str) -> &'static str {
    let prefix = binary.split(['_', '-']).next().unwrap_or(binary);
    PRIVILEGED.into_iter().find(|tier| *tier == prefix).unwrap_or("unit")
}

/// `./x test [--tier TIER]… [FILTER]…`.
pub fn run(arguments: &[String]) -> Outcome {
    let request = Request::parse(arguments)?;
    let members = workspace::members()?;
    let mut table = Table::default();
    if request.filters.is_empty() && request.wants("style") {
        style::add(&mut table);
    }
    let toolchain = machine::kernel_toolchain();
    let mut runnable = Vec::new();
    let mut skipped = Vec::new();
    for tier in ["unit"].into_iter().chain(PRIVILEGED) {
        if !request.wants(tier) {
            continue;
        }
        match can_run(tier, &members, toolchain.as_ref().err()) {
            Ok(()) => runnable.push(tier),
            Err(reason) => skipped.push((tier, reason)),
        }
    }
    let mut tests = Tests { success: true, ..Tests::default() };
    if !runnable.is_empty() {
        println!("x: tests ({})", runnable.join(", "));
        tests = run_all(&members, &runnable, &request, toolchain.is_ok())?;
    }
    for tier in &runnable {
        let (mut passed, mut failed) = (0, 0);
        for (binary, counts) in &tests.by_binary {
            if tier_of(binary) == *tier {
                passed += counts.0;
                failed += counts.1;
            }
        }
        table.add(
            tier,
            match (passed, failed) {
                (0, 0) if tests.success => State::Skipped("no test of this tier matches".to_owned()),
                (0, 0) => State::Failed("not run: the build failed, or the runner stopped early".to_owned()),
                (_, 0) => State::Passed(format!("{passed} tests")),
                _ => State::Failed(format!("{failed} of {} tests", passed + failed)),
            },
        );
    }
    for (tier, reason) in skipped {
        table.add(tier, State::Skipped(reason));
    }
    if let Err(missing) = toolchain {
        println!("x: kernel programs are not built: {missing}; `./x doctor` says how to get it");
    }
    table.print();
    for line in &tests.closing {
        println!("{line}");
    }
    Ok(if tests.success && !table.failed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether this machine can run a tier, or why not.
fn can_run(tier: &str, members: &[Member], missing_toolchain: Option<&String>) -> Result<(), String> {
    if tier == "unit" {
        return Ok(());
    }
    if !members.iter().flat_map(|member| &member.tests).any(|test| tier_of(test) == tier) {
        return Err("this checkout has no test of this tier".to_owned());
    }
    if let Some(missing) = missing_toolchain {
        return Err(missing.clone());
    }
    if tier != "vm" {
        return if machine::is_root() { Ok(()) } else { Err("needs root: sudo ./x test".to_owned()) };
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Err("the recipe for guests is for x86-64 only".to_owned());
    }
    if machine::program("apt-get").is_none() || machine::program("dpkg-deb").is_none() {
        return Err("guest kernels come from Debian's archive: needs apt-get and dpkg-deb".to_owned());
    }
    if machine::program("qemu-system-x86_64").is_none() {
        machine::install(&["qemu-system-x86"])?;
    }
    prepare_guests()
}

/// Fetches the guest kernels and builds what runs inside, so that the time of a test is the time of a boot.
fn prepare_guests() -> Result<(), String> {
    let status = crate::cargo()
        .args(["run", "--quiet", "--package", "gabion-testing-vm", "--bin", "gabion-vm", "--", "prepare"])
        .status()
        .map_err(|error| format!("gabion-vm prepare: {error}"))?;
    if status.success() { Ok(()) } else { Err("the guest kernels could not be prepared (see above)".to_owned()) }
}

fn run_all(members: &[Member], tiers: &[&str], request: &Request, kernel: bool) -> Result<Tests, String> {
    let mut environment = Vec::new();
    if kernel {
        environment.push(("GABION_REQUIRE_BPF", "1"));
    }
    if machine::is_root() {
        environment.push(("GABION_REQUIRE_ROOT", "1"));
    }
    if machine::has_cargo_command("nextest") {
        let mut command = crate::cargo();
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass", "-E"]);
        command.arg(nextest_filter(tiers)).args(&request.filters).envs(environment);
        let mut tests = run_tests(&mut command)?;
        if tiers.contains(&"unit") && request.filters.is_empty() && members.iter().any(|member| member.library) {
            let documentation = run_tests(crate::cargo().args(["test", "--doc", "--workspace", "--quiet"]))?;
            tests.success &= documentation.success;
        }
        return Ok(tests);
    }
    // Without nextest the privileged tiers run by themselves, one test at a time: they share the machine.
    let mut tests = Tests { success: true, ..Tests::default() };
    if tiers.contains(&"unit") {
        let mut command = crate::cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
        add_tests(&mut command, members, |test| tier_of(test) == "unit");
        tests.merge(run_tests(command.arg("--").args(&request.filters).envs(environment.clone()))?);
        if request.filters.is_empty() && members.iter().any(|member| member.library) {
            let documentation = run_tests(crate::cargo().args(["test", "--doc", "--workspace", "--quiet"]))?;
            tests.success &= documentation.success;
        }
    }
    if tiers.iter().any(|tier| *tier != "unit") {
        let mut command = crate::cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        add_tests(&mut command, members, |test| tier_of(test) != "unit" && tiers.contains(&tier_of(test)));
        command.args(["--", "--test-threads=1"]).args(&request.filters).envs(environment);
        tests.merge(run_tests(&mut command)?);
    }
    Ok(tests)
}

fn add_tests(command: &mut Command, members: &[Member], belongs: impl Fn(&str) -> bool) {
    let mut names: Vec<&String> = members.iter().flat_map(|member| &member.tests).collect();
    names.sort();
    names.dedup();
    for name in names.into_iter().filter(|name| belongs(name)) {
        command.args(["--test", name]);
    }
}

/// The filter expression that leaves only the tests of these tiers.
fn nextest_filter(tiers: &[&str]) -> String {
    let of_tier = |tier: &str| format!("(kind(test) & binary(/^{tier}([_-]|$)/))");
    let privileged = PRIVILEGED.map(of_tier).join(" | ");
    let wanted: Vec<String> =
        tiers.iter().map(|tier| if *tier == "unit" { format!("not ({privileged})") } else { of_tier(tier) }).collect();
    wanted.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_of_a_test_names_its_tier() {
        assert_eq!(tier_of("verifier"), "verifier");
        assert_eq!(tier_of("netns_vlan"), "netns");
        assert_eq!(tier_of("vm"), "vm");
        assert_eq!(tier_of("vmstat"), "unit");
        assert_eq!(tier_of("gabion-abi"), "unit");
    }

    #[test]
    fn an_unknown_tier_is_refused() {
        assert!(Request::parse(&["--tier".to_owned(), "moon".to_owned()]).is_err());
        assert!(Request::parse(&["--tier=unit".to_owned(), "conn".to_owned()]).is_ok());
    }
}
