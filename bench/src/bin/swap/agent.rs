//! A sealed agent takes a signed bundle, goes back, and takes it again.

use std::path::Path;
use std::time::{Duration, Instant};

use gabion_agent::sealed::Seal;
use gabion_bench::Figure;
use gabion_policy_model::to_yaml;
use gabion_testing_peers::Failure;
use gabion_testing_peers::rules::{Recipe, RuleSet, Variant};
use gabion_testing_site::agent::{Agent, Workplace, json};
use gabion_testing_site::host::Host;
use gabion_testing_site::people::{Contents, People};
use gabion_trust::ClockPolicy;
use serde_json::Value;
use tempfile::TempDir;

/// Golden packets of a bundle.
const GOLDEN: usize = 16;
/// Swaps after which memory is looked at first: what is made once is there.
const WARM: usize = 10;
/// Who signs.
const SIGNERS: [&str; 3] = ["anna", "bert", "carl"];
/// Swaps for each one to a policy of another form.
const OTHER_FORM_SHARE: usize = 5;
/// Swaps for each agent that is started to look at its first one.
const FIRSTS_SHARE: usize = 50;
/// How long an agent has to be ready for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What gives a policy another form: a rule that keeps state.
const OTHER_FORM: &str = "---\napiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: other-form}\nspec:\n  \
                          subject: {cidr: 10.255.0.0/16}\n  ingress:\n    \
                          - {name: kept, action: allow, services: [{protocol: tcp, ports: [443]}]}\n";
/// Longest trial, so that none ends by itself.
const WINDOW: &str = "3600";

fn golden(set: &RuleSet, expected: &[bool]) -> String {
    let mut text = String::from("apiVersion: gabion.dev/v1alpha1\nkind: PolicyTest\ntests:\n");
    let tcp = set.trace.iter().zip(expected).filter(|(header, _)| header.protocol == 6);
    for (number, (header, &pass)) in tcp.take(GOLDEN).enumerate() {
        let (expect, port) = (if pass { "allow" } else { "deny" }, header.destination_port);
        text += &format!(
            "  - {{name: golden-{number}, expect: {expect}, from: {}, to: {}, protocol: tcp, port: {port}}}\n",
            header.source, header.destination
        );
    }
    text
}

/// Kibibytes by their name, of `/proc/meminfo` or of a process's status.
fn kibibytes(path: &str, names: &[&str]) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(path)?;
    let of = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    Ok(names.iter().map(of).sum())
}

struct Memory {
    agent: f64,
    kernel: f64,
    programs: usize,
    maps: usize,
}

impl Memory {
    fn of(agent: &Agent<'_>) -> Result<Self, Failure> {
        let status = format!("/proc/{}/status", agent.pid());
        Ok(Self {
            agent: kibibytes(&status, &["RssAnon"])? / 1024.0,
            kernel: kibibytes("/proc/meminfo", &["SUnreclaim", "VmallocUsed", "Percpu"])? / 1024.0,
            programs: aya::programs::loaded_programs().count(),
            maps: aya::maps::loaded_maps().count(),
        })
    }
}

/// When a generation took each step, in milliseconds after the first.
fn steps(agent: &Agent<'_>, generation: &Value) -> Result<Vec<(String, f64)>, Failure> {
    let shown = json(&agent.ask(&["generation", "show", &generation.to_string(), "--output", "json"])?)?;
    let lines = shown["journal"].as_array().ok_or_else(|| format!("no journal: {shown}"))?;
    let mut steps = Vec::new();
    for line in lines {
        let (Some(step), Some(time)) = (line["step"].as_str(), line["time"].as_str()) else { continue };
        let time = humantime::parse_rfc3339(time)?;
        steps.push((step.to_owned(), time));
    }
    let first = steps.iter().map(|(_, time)| *time).min().ok_or("an empty journal")?;
    let after = |time: std::time::SystemTime| time.duration_since(first).unwrap_or_default().as_secs_f64() * 1e3;
    Ok(steps.into_iter().map(|(step, time)| (step, after(time))).collect())
}

/// Has an agent take a bundle; what it says of that.
fn apply(agent: &Agent<'_>, bundle: &Path, more: &[&str]) -> Result<Value, Failure> {
    let path = bundle.to_string_lossy();
    let answer = agent.ask(&[&["generation", "apply", &path, "--output", "json"], more].concat())?;
    let said: Value = serde_json::from_slice(&answer.stdout)?;
    if said["ok"] == true { Ok(said) } else { Err(format!("{said:#}").into()) }
}

#[derive(Default)]
struct Times {
    live: Vec<f64>,
    loading: Vec<f64>,
    back: Vec<f64>,
}

impl Times {
    /// There, and back.
    fn swap(&mut self, agent: &Agent<'_>, bundle: &Path) -> Result<(), Failure> {
        let said = apply(agent, bundle, &["--again", "--window", WINDOW])?;
        self.live.extend(said["took_us"].as_f64().map(|us| us / 1e3));
        let steps = steps(agent, &said["generation"])?;
        let of = |name: &str| steps.iter().find(|(step, _)| step == name).map(|(_, at)| *at);
        // An arrow is written before it is taken.
        self.loading.extend(of("probed").zip(of("staged")).map(|(end, start)| end - start));
        let undone = json(&agent.ask(&["generation", "rollback", "--output", "json"])?)?;
        self.back.extend(undone["took_us"].as_f64().map(|us| us / 1e3));
        Ok(())
    }

    fn figures(self, of: &str) -> Vec<Option<Figure>> {
        vec![
            Figure::new(format!("{of}: signed bundle on disk until it is live (ms)"), self.live),
            Figure::new(
                format!("{of}: of it the kernel's work: programs, maps, tables, {GOLDEN} golden packets (ms)"),
                self.loading,
            ),
            Figure::new(format!("{of}: roll-back, until what was before is in force (ms)"), self.back),
        ]
    }
}

/// What one size of policy takes.
pub fn measure(binary: &Path, rules: usize, swaps: usize) -> Result<Vec<Figure>, Failure> {
    let folder = TempDir::new()?;
    let people = People::new(folder.path(), binary, SIGNERS.len() as u32)?;
    let set = Recipe::Segments(rules).make()?;
    let policy = to_yaml(&set.policies(Variant::Stateless));
    let golden = golden(&set, &set.expected(Variant::Stateless));
    // One port of one rule, which is another policy, and for the first golden packets the same one.
    let at = policy.rfind("ports: ").ok_or("a policy without ports")? + "ports: ".len();
    let end = at + policy[at..].find(|it: char| !it.is_ascii_digit()).unwrap_or(0);
    let other = format!("{}9{}", &policy[..at], &policy[end..]);
    let bundle =
        |version, policy: &str| people.bundle(Contents { name: "bench", version, policy, golden: &golden }, &SIGNERS);
    let (first, warm) = (bundle(1, &policy)?, bundle(2, &other)?);
    let foreign = bundle(3, &format!("{other}{OTHER_FORM}"))?;
    let second = bundle(4, &other)?;

    let host = Host::new("swap")?;
    let place = Workplace::new(&host)?;
    let arguments = ["--trust-root".into(), people.root(), "--clock".into(), "accept".into()];
    let mut agent = Agent::start_sealed(&host, &place, binary, &arguments)?;
    agent.until("up", |_| true)?;
    apply(&agent, &first, &["--window", "0"])?;
    // From now on there are programs of that form to be used again, and of no other.
    Times::default().swap(&agent, &warm)?;
    let mut others = Times::default();
    for _ in 0..swaps.div_ceil(OTHER_FORM_SHARE) {
        others.swap(&agent, &foreign)?;
    }
    let mut times = Times::default();
    let mut before = None;
    for swap in 0..swaps {
        if swap == WARM {
            before = Some(Memory::of(&agent)?);
        }
        times.swap(&agent, &second)?;
    }
    let after = Memory::of(&agent)?;
    let mut figures = times.figures(&format!("{rules} rules"));
    figures.extend(others.figures(&format!("{rules} rules and another form")));
    if let Some(before) = before {
        let more = swaps - WARM;
        let grown = |name: &str, after: f64, before: f64| {
            Figure::new(format!("{rules} rules: {name} more after {more} swaps and roll-backs"), vec![after - before])
        };
        figures.extend([
            grown("MiB of the agent (anonymous)", after.agent, before.agent),
            grown("MiB of the kernel (the whole machine's)", after.kernel, before.kernel),
            grown("programs in the kernel", after.programs as f64, before.programs as f64),
            grown("maps in the kernel", after.maps as f64, before.maps as f64),
        ]);
    }
    figures.push(verification(&people, &second, rules, swaps)?);
    let mut firsts = Times::default();
    for _ in 0..swaps.div_ceil(FIRSTS_SHARE).max(3) {
        agent.stop()?;
        agent = Agent::start_sealed(&host, &place, binary, &arguments)?;
        agent.until("up", |_| true)?;
        made_ready(&host, &place.bpffs().join("generations/spare"))?;
        firsts.swap(&agent, &second)?;
    }
    figures.extend(firsts.figures(&format!("{rules} rules, the first change of an agent")));
    agent.ask(&["detach"])?;
    Ok(figures.into_iter().flatten().collect())
}

/// Waits until an agent, to which nobody came for a while, has taken programs for the next change.
fn made_ready(host: &Host, spare: &Path) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !host.run(|| spare.is_dir()) {
        if Instant::now() > end {
            return Err(format!("nothing was made ready within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // The folder is there before the rest of it.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// A bundle judged by what a node trusts that took it once: hashes, three signatures, the walk through the metadata.
fn verification(people: &People, bundle: &Path, rules: usize, runs: usize) -> Result<Option<Figure>, Failure> {
    let failed = |problem: gabion_agent::api::wire::Problem| problem.message;
    let seal = Seal::new(&people.root(), ClockPolicy::AcceptWithAlarm, None).map_err(failed)?;
    let trust = seal.judge(bundle, &seal.begin().map_err(failed)?).map_err(failed)?.next;
    let mut values = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        seal.judge(bundle, &trust).map_err(failed)?;
        values.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figure::new(format!("{rules} rules: of it verification: hashes, 3 signatures, TUF (ms; aim 5)"), values))
}
