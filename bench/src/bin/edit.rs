//! From edited text to tables in force, on the real agent: 100,000 rules of micro-segmentation over as many
//! identities, of which one in a hundred is edited, again and again. Needs root. `./x bench edit [ROUNDS]`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;
use gabion_bench::{Figure, load, report};
use gabion_policy_model::to_yaml;
use gabion_testing_peers::rules::{Recipe, Variant};
use gabion_testing_site::agent::{Agent, Workplace, binary};
use gabion_testing_site::host::Host;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const RULES: usize = 100_000;
/// How long an edit may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ports that services have in the set.
const PORTS: [u16; 5] = [443, 8443, 8080, 53, 5432];

/// What is edited.
#[derive(Clone, Copy)]
enum Edit {
    /// One port of one rule.
    OneRule,
    /// The port of one rule in a hundred.
    Ports,
    /// The peer of one rule in a hundred.
    Peers,
    /// The address of one workload in a hundred.
    Addresses,
}

const EDITS: [(Edit, &str); 4] = [
    (Edit::OneRule, "one rule"),
    (Edit::Ports, "the port of 1 % of the rules"),
    (Edit::Peers, "the peer of 1 % of the rules"),
    (Edit::Addresses, "the address of 1 % of the workloads"),
];

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(7), |rounds| rounds.parse())?;
    let before = load();
    let binary = binary().ok_or("there is no gabion beside this program; cargo build --release -p gabion")?;
    let mut text = to_yaml(&Recipe::Segments(RULES).make()?.policies(Variant::Stateless));
    let host = Host::new("edit")?;
    let place = Workplace::new(&host)?;
    place.write_policy(&text)?;
    let mut agent = Agent::start(&host, &place, &binary)?;
    let mut last = agent.enforcing(0)?["last_apply"].clone();
    let mut rng = Rng::with_seed(1);
    let mut took = [const { Vec::new() }; EDITS.len()];
    for _ in 0..rounds {
        for ((edit, _), took) in EDITS.iter().zip(&mut took) {
            text = edited(&text, *edit, &mut rng);
            place.write_policy(&text)?;
            let before = last["time"].clone();
            let end = Instant::now() + PATIENCE;
            while last["time"] == before {
                if Instant::now() > end {
                    return Err(format!("not in force after {PATIENCE:?}: {last}").into());
                }
                // Asking takes the time of the one who is asked.
                std::thread::sleep(PATIENCE / 50);
                last = agent.status()?["last_apply"].clone();
            }
            if last["ok"] != true || last["unchanged"] != false {
                return Err(format!("the edit did not go into force: {last}").into());
            }
            took.push(last["took_us"].as_f64().ok_or("the agent does not say how long it took")? / 1e3);
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let resident = resident.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default();
    let named = EDITS.iter().zip(took);
    let mut figures: Vec<Figure> = named
        .filter_map(|((_, name), took)| Figure::new(format!("{name} edited, until it is in force (ms)"), took))
        .collect();
    figures.extend(Figure::new("resident memory of the agent afterwards (MiB)", vec![resident / 1024.0]));
    agent.ask(&["detach"])?;
    report("edit", before, &figures)?;
    Ok(())
}

/// The text with an edit.
fn edited(text: &str, edit: Edit, rng: &mut Rng) -> String {
    let wanted = match edit {
        Edit::OneRule | Edit::Ports => "ports: ",
        Edit::Peers => "from: [{labels: {app: app-",
        Edit::Addresses => "addresses: [\"10.",
    };
    let places = text.matches(wanted).count();
    let only = rng.usize(..places.max(1));
    let mut seen = 0;
    let mut out = String::with_capacity(text.len() + text.len() / 64);
    let mut rest = text;
    while let Some(at) = rest.find(wanted) {
        let (before, after) = rest.split_at(at + wanted.len());
        out.push_str(before);
        rest = after;
        let chosen = if matches!(edit, Edit::OneRule) { seen == only } else { rng.usize(..100) == 0 };
        seen += 1;
        if !chosen {
            continue;
        }
        let (end, value) = match edit {
            Edit::OneRule | Edit::Ports => ('\n', format!("{}}}", PORTS[rng.usize(..PORTS.len())])),
            Edit::Peers => ('}', format!("{:06}", rng.usize(..RULES))),
            Edit::Addresses => ('"', format!("{}.{}.{}", rng.u8(64..), rng.u8(..), rng.u8(..))),
        };
        out.push_str(&value);
        rest = &rest[rest.find(end).unwrap_or(0)..];
    }
    out.push_str(rest);
    out
}
