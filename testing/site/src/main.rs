//! `gabion-site up`: the plant, its agent, and what the two make of each other.
#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use gabion_testing_site::agent::{Agent, Workplace, binary};
use gabion_testing_site::error::{Result, SiteError};
use gabion_testing_site::expectation::{Case, Promise, table};
use gabion_testing_site::plant::{DEVICES, Plant};
use gabion_testing_site::role::server::serve;
use gabion_testing_site::scenario::{Extent, Scenario, legend};
use gabion_testing_site::update;
use serde_json::Value;

/// A small plant in network namespaces, with the agent in its gateway.
#[derive(Parser)]
#[command(name = "gabion-site")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the plant, enforce the policy, show what happens; Ctrl-C takes everything away
    Up(Up),
}

#[derive(clap::Args)]
struct Up {
    /// Play one minute's worth in a few seconds, print the verdicts, exit 0 only when all are as promised
    #[arg(long)]
    once: bool,
    /// What is played, with --once
    #[arg(long, value_enum, default_value = "round", requires = "once", conflicts_with = "unguarded")]
    scenario: Story,
    /// Stop after so many seconds
    #[arg(long, value_name = "N", conflicts_with = "once")]
    seconds: Option<u64>,
    /// Policy to enforce: files or folders [default: examples/substation of this source tree]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Without the agent: shows that every attack would arrive
    #[arg(long)]
    unguarded: bool,
}

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Story {
    /// One minute in the life of the plant, with attacks
    Round,
    /// An edit takes the RTU away from the operators, and is undone by the node itself
    BadUpdate,
}

/// Time between two summaries where no terminal is.
const SUMMARY: Duration = Duration::from_secs(3);
/// How long the agent's events about a finished round may take to come.
const EVENTS_SETTLE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let Verb::Up(up) = Arguments::parse().verb;
    match run(&up) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gabion-site: {error}");
            ExitCode::from(match error {
                SiteError::Content { .. } | SiteError::File { .. } => 2,
                SiteError::Unable { .. }
                | SiteError::Link { .. }
                | SiteError::System { .. }
                | SiteError::Agent { .. } => 3,
                SiteError::Role { .. } => 4,
            })
        }
    }
}

fn run(up: &Up) -> Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| SiteError::System { call: format!("handle signal {signal}"), source })?;
    }
    let binary = match binary() {
        Some(binary) => Some(binary),
        None if up.unguarded => None,
        None => {
            return Err(SiteError::Unable {
                what: String::from("the plant"),
                need: "the gabion binary",
                remedy: "build it (cargo build -p gabion), name it in GABION_BIN, or say --unguarded",
            });
        }
    };
    let policy = match up.policy.as_slice() {
        [] => vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/substation")],
        named => named.to_vec(),
    };
    for path in &policy {
        std::fs::metadata(path).map_err(|source| SiteError::File { path: path.clone(), source })?;
    }

    let plant = Plant::build()?;
    let _servers = serve(&plant)?;
    let place = Workplace::new(&plant.gateway)?;
    let policy = if up.scenario == Story::BadUpdate {
        update::copy(&policy, &place.policy())?;
        vec![place.policy()]
    } else {
        policy
    };
    let mut agent = match binary {
        Some(binary) if !up.unguarded => Some(Agent::start_on(&plant.gateway, &place, &binary, &policy)?),
        _ => None,
    };
    if let Some(agent) = &mut agent {
        agent.enforcing(DEVICES.len())?;
    }
    if let (Story::BadUpdate, Some(agent)) = (up.scenario, &mut agent) {
        println!("The plant\n{}", legend());
        let undone = update::bad_update(&plant, agent, &place.policy())?;
        let known = agent.ask(&["generation", "list"])?;
        let differs = agent.ask(&["generation", "diff"])?;
        println!("\n$ gabion generation diff\n{}", String::from_utf8_lossy(&differs.stdout));
        println!("\n$ gabion generation list\n{}", String::from_utf8_lossy(&known.stdout));
        println!(
            "{}",
            if undone { "The node undid the change by itself." } else { "The node did NOT undo the change." }
        );
        return Ok(undone);
    }
    let kept =
        if up.once { once(&plant, agent.as_ref(), &policy)? } else { keep_up(up, &plant, agent.as_ref(), &stop)? };
    if let Some(agent) = agent {
        agent.stop()?;
    }
    Ok(kept)
}

fn once(plant: &Plant, agent: Option<&Agent<'_>>, policy: &[PathBuf]) -> Result<bool> {
    let scenario = Scenario::new(plant, Extent::MINUTE)?;
    let events = agent.map(|agent| agent.events(&[])).transpose()?;
    let started = Instant::now();
    let cases = scenario.round()?;
    let took = started.elapsed();
    let heard = events.map_or_else(Vec::new, |events| {
        // Waits for events until a while passed without a new one; what is printed is best effort, the
        // verdicts themselves come from the wire.
        let mut count = usize::MAX;
        while std::mem::replace(&mut count, events.so_far().len()) != events.so_far().len() {
            std::thread::sleep(EVENTS_SETTLE);
        }
        events.so_far()
    });
    println!("The plant\n{}", legend());
    match agent {
        Some(_) => println!("Policy in force: {}\n", words(policy)),
        None => println!("Nobody guards the gateway.\n"),
    }
    println!("One minute's worth in {:.1} s, as seen on the wire\n{}", took.as_secs_f64(), table(&cases, &heard));
    if let Some(agent) = agent {
        println!("{}", totals(&agent.status()?));
    }
    Ok(verdict(&cases))
}

fn verdict(cases: &[Case]) -> bool {
    let broken: Vec<&Case> = cases.iter().filter(|case| !case.kept()).collect();
    let count = |promise| cases.iter().filter(|case| case.promise == promise).count();
    if broken.is_empty() {
        println!(
            "All {} verdicts as promised: {} conversations passed, {} attempts refused.",
            cases.len(),
            count(Promise::Pass),
            count(Promise::Refuse)
        );
        return true;
    }
    println!("{} of {} verdicts are not as promised:", broken.len(), cases.len());
    for case in broken {
        println!("  {}: {}: {} of {} arrived", case.who, case.what, case.delivered, case.sent);
    }
    false
}

fn keep_up(up: &Up, plant: &Plant, agent: Option<&Agent<'_>>, stop: &AtomicBool) -> Result<bool> {
    // Short rounds, so that Ctrl-C is heard within a second.
    let extent = Extent { polls: 12, goose: 24, flood: 500, ..Extent::MINUTE };
    let scenario = Scenario::new(plant, extent)?;
    let end = up.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let mut top = match agent {
        Some(agent) if terminal => Some(agent.top()?),
        _ => None,
    };
    if top.is_none() {
        println!("The plant\n{}", legend());
    }
    let (mut rounds, mut broken, mut told) = (0_u64, 0_u64, Instant::now());
    let result = loop {
        let ended = match &mut top {
            Some(top) => top.try_wait().is_ok_and(|status| status.is_some()),
            None => false,
        };
        if ended || stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end) {
            break Ok(broken == 0);
        }
        let cases = match scenario.round() {
            Ok(cases) => cases,
            Err(error) => break Err(error),
        };
        rounds += 1;
        broken += u64::from(!cases.iter().all(Case::kept));
        if top.is_none() && told.elapsed() >= SUMMARY {
            told = Instant::now();
            summary(rounds, &cases, agent);
        }
    };
    if let Some(mut top) = top {
        // It restores the terminal on SIGTERM; it may have ended by itself.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(top.id() as i32), nix::sys::signal::Signal::SIGTERM);
        let _ = top.wait();
    }
    println!("{rounds} rounds, {broken} of them with verdicts that were not as promised.");
    result
}

fn summary(rounds: u64, cases: &[Case], agent: Option<&Agent<'_>>) {
    let count = |promise| {
        let all = cases.iter().filter(|case| case.promise == promise);
        all.fold((0, 0), |(sent, delivered), case| (sent + case.sent, delivered + case.delivered))
    };
    let ((asked, answered), (tried, arrived)) = (count(Promise::Pass), count(Promise::Refuse));
    println!(
        "round {rounds}: {answered} of {asked} declared exchanges passed, {} of {tried} undeclared packets refused",
        tried - arrived.min(tried)
    );
    for case in cases.iter().filter(|case| !case.kept()) {
        println!("  not as promised: {}: {}: {} of {} arrived", case.who, case.what, case.delivered, case.sent);
    }
    match agent.map(Agent::status) {
        Some(Ok(status)) => println!("  {}", totals(&status)),
        Some(Err(error)) => println!("  no status: {error}"),
        None => {}
    }
}

/// The agent's ledger in a line.
fn totals(status: &Value) -> String {
    let packets = |kind: &str| status["totals"][kind]["packets"].as_u64().unwrap_or(0);
    let suppressed: u64 = status["events"]["suppressed"]
        .as_array()
        .map_or(0, |all| all.iter().filter_map(|one| one["count"].as_u64()).sum());
    format!(
        "generation {}, {}: {} packets seen = {} passed + {} dropped; {} events, {suppressed} suppressed",
        status["generation"]["number"],
        status["mode"]["current"].as_str().unwrap_or("?"),
        packets("seen"),
        packets("passed"),
        packets("dropped"),
        status["events"]["received"],
    )
}

fn words(paths: &[PathBuf]) -> String {
    let tidy = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
    paths.iter().map(tidy).collect::<Vec<_>>().join(" ")
}
