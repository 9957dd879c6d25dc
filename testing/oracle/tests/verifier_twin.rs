//! Twins of random policies judge random frames as core and oracle do, at every place, each at a node to which nothing
//! happened yet. Needs root and the kernel object; says so and passes without, unless `./x test` demands them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use fastrand::Rng;
use gabion_abi::event::Settings;
use gabion_abi::facts::Facts;
use gabion_generation::{Programs, Surroundings, Twin};
use gabion_policy_compile::{Options, compile};
use gabion_policy_probes::{Place, Probe, Sender, Side, compare};
use gabion_testing_oracle::{INTERFACES, everything, features, follow_up, frame, packet, policy_set};

/// Random probes in one run; `GABION_DECISIONS` changes it.
const DECISIONS: usize = 24_000;
/// Probes for each pair of policies.
const PROBES: usize = 1_000;

fn is_possible() -> bool {
    let missing = match gabion_kernel_object::object() {
        _ if !nix::unistd::geteuid().is_root() => "not root".to_owned(),
        Ok(_) => return true,
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
    println!("skipped: {missing}");
    false
}

fn random_probe(rng: &mut Rng, number: usize) -> Probe {
    let facts = Facts { unparsed: 0, ..packet(rng).facts };
    let mut bytes = if rng.usize(0..4) == 0 { follow_up(rng, &facts) } else { frame(&facts) };
    match rng.usize(0..20) {
        0 => bytes.truncate(rng.usize(15..bytes.len())),
        1 => {
            let at = rng.usize(12..bytes.len().min(80));
            bytes[at] = rng.u8(..);
        }
        _ => {}
    }
    let mut name = || (rng.usize(0..4) > 0).then(|| INTERFACES[rng.usize(0..INTERFACES.len())].to_owned());
    let (one, other) = (name(), name());
    let place = match rng.usize(0..4) {
        0 => Place::Departure { from: Sender::Node, by: one },
        1 => Place::Departure { from: Sender::Behind(one), by: other },
        _ => Place::Arrival { on: one },
    };
    let read = gabion_kernel_core::parse::parse(&bytes.as_slice(), false);
    let end = if matches!(place, Place::Arrival { .. }) { read.destination } else { read.source };
    // What the node sends comes from an address of its own.
    let sends = matches!(place, Place::Departure { from: Sender::Node, .. });
    let node = (read.family != 0 && (sends || rng.usize(0..4) == 0)).then_some((read.family, end));
    Probe { name: format!("{number}"), place, layer3: false, frame: bytes, node, follows: false }
}

#[test]
fn twins_judge_as_core_and_oracle_do() {
    if !is_possible() {
        return;
    }
    let first = std::env::var("GABION_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let decisions = std::env::var("GABION_DECISIONS").ok().map_or(DECISIONS, |n| n.parse().unwrap());
    let mut settings = Settings { failsafe_count: 1, ..Settings::ZERO };
    settings.failsafe[0] = 6 << 16 | 22;
    let around = Surroundings { interfaces: &[], settings: &settings };
    let programs = Programs::parse().unwrap();
    let mut few: Vec<_> = features().into_iter().map(|feature| feature.set).collect();
    few.push(everything());
    let (mut same, mut changed, mut not_run, mut spent) = (0, 0, 0, Duration::ZERO);
    for seed in first..first + decisions.div_ceil(PROBES) as u64 {
        let mut rng = Rng::with_seed(seed);
        let drawn = |rng: &mut Rng| if rng.bool() { policy_set(rng) } else { few[rng.usize(0..few.len())].clone() };
        let sets = [drawn(&mut rng), drawn(&mut rng)];
        let compiled = [&sets[0], &sets[1]].map(|set| compile(set, &Options::default()).unwrap());
        let mut twins = [&compiled[0], &compiled[1]].map(|compiled| Twin::load(&programs, compiled, &around).unwrap());
        let probes: Vec<Probe> = (0..PROBES).map(|number| random_probe(&mut rng, number)).collect();
        let [old, new] = &mut twins;
        let side = |program, at: usize| Side { set: &sets[at], compiled: &compiled[at], program, settings: &settings };
        let start = Instant::now();
        let found = compare(&mut side(old, 0), &mut side(new, 1), &probes, usize::MAX);
        spent += start.elapsed();
        assert!(found.is_sound() && found.is_complete(), "GABION_SEED={seed} {:#?}", found.defects);
        for difference in &found.changed {
            assert!(!difference.explained_by.is_empty(), "GABION_SEED={seed} {difference:#?}");
        }
        same += found.same + found.by_another_rule.len();
        changed += found.changed.len();
        not_run += found.not_run.len();
        for cut in &found.not_run {
            // BPF_PROG_RUN of tc programs refuses frames that end inside the first IP header.
            let probe = probes.iter().find(|probe| probe.name == cut.probe).unwrap();
            assert!(probe.frame.len() < 54 && matches!(probe.place, Place::Departure { .. }), "{cut:?}");
        }
    }
    println!(
        "{same} the same, {changed} changed, {not_run} not run; {:?} a probe",
        spent / (same + changed + not_run) as u32
    );
    assert!(same > 0 && changed > 0);
}
