//! `./x test`: which tiers this machine can run, and the one run of the test runner that covers them.
//!
//! An integration test belongs to the tier that its file name begins with: `tests/verifier_loads.rs` is of the tier
//! `verifier`. Every other test is of the tier `unit`.

use std::path::Path;
use std::process::ExitCode;

use crate::Outcome;
use crate::machine;
use crate::report::{Counts, State, Table, Tests, run_tests};
use crate::style;
use crate::workspace::{self, Member};

/// The tiers that need more than an unprivileged user.
const PRIVILEGED: [&str; 3] = ["verifier", "netns", "vm"];

/// Guests that run at a time.
const GUESTS: usize = 2;

/// The library of a token made of software, which Debian's softhsm2 brings.
const TOKEN: &str = "/usr/lib/softhsm/libsofthsm2.so";

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
    if runnable.contains(&"unit") && !Path::new(TOKEN).exists() {
        // Whoever cannot have a token is told by the test that goes without.
        if let Err(remedy) = machine::install(&["softhsm2"]) {
            println!("x: no token to test keys in: {remedy}");
        }
    }
    let mut tests = Tests { success: true, ..Tests::default() };
    if !runnable.is_empty() {
        println!("x: tests ({})", runnable.join(", "));
        tests = run_all(&members, &runnable, &request)?;
    }
    for tier in &runnable {
        let mut sum = Counts::default();
        for (_, counts) in tests.by_binary.iter().filter(|(binary, _)| tier_of(binary) == *tier) {
            sum.add(*counts);
        }
        table.add(
            tier,
            match (sum.passed, sum.failed) {
                (0, 0) if tests.success => State::Skipped("no test of this tier matches".to_owned()),
                (0, 0) => State::Failed("not run: the build failed, or the runner stopped early".to_owned()),
                (passed, 0) => State::Passed(format!("{passed} tests, {:.1} s of tests", sum.seconds)),
                (passed, failed) => State::Failed(format!("{failed} of {} tests", passed + failed)),
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
    if tier == "netns"
        && machine::program("strace").is_none()
        && let Err(remedy) = machine::install(&["strace"])
    {
        println!("x: crashes at every step are not tried: {remedy}");
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

/// The names of all integration tests, each once.
fn test_names(members: &[Member]) -> Vec<&str> {
    let mut names: Vec<&str> = members.iter().flat_map(|member| &member.tests).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn run_all(members: &[Member], tiers: &[&str], request: &Request) -> Result<Tests, String> {
    let mut environment = Vec::new();
    if machine::is_root() {
        environment.push(("GABION_REQUIRE_ROOT", "1"));
    }
    if tiers.contains(&"vm") {
        environment.push(("GABION_REQUIRE_VM", "1"));
    }
    if Path::new(TOKEN).exists() {
        environment.push(("GABION_REQUIRE_TOKEN", "1"));
    }
    let names = test_names(members);
    let (privileged, plain): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| tier_of(name) != "unit");
    let wanted: Vec<&str> = privileged.iter().copied().filter(|name| tiers.contains(&tier_of(name))).collect();
    let unit = tiers.contains(&"unit");
    let mut tests = Tests { success: true, ..Tests::default() };
    if unit && request.filters.is_empty() && members.iter().any(|member| member.library) {
        tests.success = documentation()?;
    }
    if machine::has_cargo_command("nextest") {
        let mut command = crate::cargo();
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"]);
        if !privileged.is_empty() {
            command.arg("--tool-config-file").arg(groups(&privileged)?);
            command.args(["-E", &nextest_filter(unit, &privileged, &wanted)]);
        }
        tests.merge(run_tests(command.args(&request.filters).envs(environment))?);
        return Ok(tests);
    }
    // Without nextest the privileged tiers run by themselves, one test at a time: they share the machine.
    if unit {
        let mut command = crate::cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
        command.args(plain.iter().flat_map(|name| ["--test", name]));
        tests.merge(run_tests(command.arg("--").args(&request.filters).envs(environment.clone()))?);
    }
    if !wanted.is_empty() {
        // Some of them run the agent as a process of its own, and must not meet one of yesterday. (nextest always
        // builds all of the workspace.)
        let built = crate::cargo().args(["test", "--workspace", "--no-run", "--quiet"]).status();
        if !built.map_err(|error| format!("cargo test --no-run: {error}"))?.success() {
            return Ok(Tests::default());
        }
        let mut command = crate::cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        command.args(wanted.iter().flat_map(|name| ["--test", name]));
        command.args(["--", "--test-threads=1"]).args(&request.filters).envs(environment);
        tests.merge(run_tests(&mut command)?);
    }
    Ok(tests)
}

/// Examples in the documentation, which nextest does not run. Their output matters only when one is wrong.
fn documentation() -> Result<bool, String> {
    let mut command = crate::cargo();
    command.args(["test", "--doc", "--workspace", "--quiet", "--no-fail-fast"]);
    let output = command.output().map_err(|error| format!("cargo test --doc: {error}"))?;
    if !output.status.success() {
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("x: an example in the documentation is wrong (cargo test --doc --workspace)");
    }
    Ok(output.status.success())
}

/// Writes the nextest configuration by which privileged tests run, and returns it as an argument. Those of this machine
/// run one at a time and before all others. Guests have a machine each, and come last: beside each other, as each keeps
/// one processor busy, and not beside tests that look at the clock.
/// It is written for each run, because nextest refuses a filter that matches no binary of the checkout.
fn groups(privileged: &[&str]) -> Result<String, String> {
    let folder = crate::root().join("target/x");
    let path = folder.join("nextest.toml");
    let (guests, machine): (Vec<&str>, Vec<&str>) = privileged.iter().partition(|name| tier_of(name) == "vm");
    let mut text = String::new();
    for (group, names, threads, priority) in [("machine", machine, 1, 100), ("guests", guests, GUESTS, -100)] {
        if names.is_empty() {
            continue;
        }
        text += &format!(
            "[test-groups.\"@tool:gabion:{group}\"]\nmax-threads = {threads}\n\n[[profile.default.overrides]]\n\
             filter = '{}'\npriority = {priority}\ntest-group = \"@tool:gabion:{group}\"\n\
             slow-timeout = {{ period = \"60s\", terminate-after = 10 }}\n\n",
            any_of(&names)
        );
    }
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("gabion:{}", path.display()))
}

fn any_of(binaries: &[&str]) -> String {
    let each: Vec<String> = binaries.iter().map(|name| format!("(kind(test) & binary(={name}))")).collect();
    each.join(" | ")
}

/// The filter expression for the privileged tests that are wanted, and for all others when `unit` is.
fn nextest_filter(unit: bool, privileged: &[&str], wanted: &[&str]) -> String {
    let unit = unit.then(|| format!("not ({})", any_of(privileged)));
    let wanted = (!wanted.is_empty()).then(|| any_of(wanted));
    unit.into_iter().chain(wanted).collect::<Vec<_>>().join(" | ")
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
