//! Twins of generations: the same program, blank state, and nothing left behind. Needs root; says so and passes
//! without, unless `./x test` demands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bpffs;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use bpffs::Bpffs;
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4, Facts, tcp};
use gabion_abi::verdict::reason;
use gabion_generation::{Node, ProbeError, Programs, Sizes, Surroundings, Twin};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_explain::Directory;
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};
use gabion_policy_probes::{Document, Place, Probe, Program as _, Sender, frame, golden};

const AROUND: Surroundings<'_> = Surroundings { interfaces: &[], settings: &Settings::ZERO };

macro_rules! plant {
    ($($name:literal),*) => {
        [$(Source::new($name, include_str!(concat!("../../examples/substation/", $name)))),*]
    };
}

/// The text of the probes of the plant.
const PROBES: &str = include_str!("../../examples/substation/probes.yaml");

/// The policy of the plant.
fn substation() -> PolicySet {
    parse(&plant!["access.yaml", "cables.yaml", "inventory.yaml", "protection.yaml", "site.yaml", "telecontrol.yaml"])
        .unwrap()
}

fn policy(text: &str) -> (PolicySet, Compiled) {
    let set = parse(&[Source::new("policy", text.to_owned())]).unwrap();
    let compiled = compile(&set, &Options::default()).unwrap();
    (set, compiled)
}

/// A site, and a policy of one tier with these rules for arrivals at anybody.
fn one_tier(rules: &str) -> String {
    format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {{name: s}}\nspec: {{interfaces: [{{name: lan}}, {{name: wan}}], \
         defaults: {{ingress: deny, egress: allow}}}}\n---\napiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\n\
         metadata: {{name: p}}\nspec:\n  tier: {{name: t, order: 1}}\n  subject: any\n  ingress:\n{rules}"
    )
}

fn segment(source: u32, destination: u32, ports: (u16, u16), flags: u8) -> Facts {
    Facts {
        source: Address::v4(source),
        destination: Address::v4(destination),
        ethertype: 0x0800,
        family: FAMILY_V4,
        protocol: 6,
        transport: 1,
        source_port: ports.0,
        destination_port: ports.1,
        tcp_flags: flags,
        ..Facts::UNKNOWN
    }
}

fn probe(facts: &Facts, place: Place) -> Probe {
    let frame = frame(facts, false).unwrap();
    Probe { name: format!("{place:?}"), place, layer3: false, frame, node: None, follows: false }
}

fn arrival(on: Option<&str>) -> Place {
    Place::Arrival { on: on.map(str::to_owned) }
}

#[test]
fn golden_probes_of_the_plant_pass_and_leave_nothing_behind() {
    let Some(bpffs) = Bpffs::new("twin-plant") else { return };
    let set = substation();
    let compiled = compile(&set, &Options::default()).unwrap();
    let mut node = Node::open(&bpffs.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap().0;
    let staged = node.stage(&compiled, &[]).unwrap();
    let pins = || walk(&bpffs.root());
    let before = pins();

    let programs = Programs::parse().unwrap();
    let start = Instant::now();
    let mut twin = Twin::load(&programs, &compiled, &AROUND).unwrap();
    println!("twin of the plant loaded in {:?}", start.elapsed());
    // The verifier made of it what it made of the staged programs.
    for (info, twin) in staged.programs().unwrap().iter().zip(twin.programs().unwrap()) {
        assert_eq!(info.verified_instruction_count(), Some(twin.verified));
        assert_eq!(info.size_translated(), Some(twin.translated_bytes));
    }

    let directory = Directory::new(&set);
    let documents = Document::read(PROBES).unwrap();
    let cases = golden(&directory, &documents[0]).unwrap();
    assert!(cases.len() > 20, "{}", cases.len());
    for case in &cases {
        let seen = twin.judge(&case.probe).unwrap();
        case.check(&seen, &compiled).unwrap();
    }
    let start = Instant::now();
    let rounds = 200;
    for _ in 0..rounds {
        for case in &cases {
            twin.judge(&case.probe).unwrap();
        }
    }
    println!("{:?} a probe", start.elapsed() / (rounds * cases.len() as u32));

    assert_eq!(pins(), before);
    assert!(node.connections().unwrap().iter().all(Vec::is_empty));
    assert!(node.reason_counts().iter().all(|count| count.packets == 0));
    assert!(staged.rule_counts().iter().all(|count| count.packets == 0));
    assert!(node.events().unwrap().next().is_none());
    let ids = twin.programs().unwrap().map(|made| made.id);
    drop(twin);
    gone(ids);
}

/// Waits, with a bound, until the kernel has let go of these programs.
fn gone(ids: [u32; 2]) {
    let start = Instant::now();
    let loaded = || aya::programs::loaded_programs().flatten().any(|info| ids.contains(&info.id()));
    while loaded() {
        assert!(start.elapsed().as_secs() < 10, "programs of a twin outlive it");
        std::thread::yield_now();
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_policy_that_its_owner_does_not_want_misses_a_golden_probe() {
    let Some(_bpffs) = Bpffs::new("twin-missed") else { return };
    let mut set = substation();
    // The maintenance rule is lost.
    set.policies.iter_mut().chain(&mut Vec::new()).for_each(|policy| {
        policy.ingress.iter_mut().chain(&mut policy.egress).for_each(Vec::clear);
    });
    set.cluster_policies.clear();
    let compiled = compile(&set, &Options::default()).unwrap();
    let mut twin = Twin::load(&Programs::parse().unwrap(), &compiled, &AROUND).unwrap();
    let directory = Directory::new(&set);
    let documents = Document::read(PROBES).unwrap();
    let cases = golden(&directory, &documents[0]).unwrap();
    let missed: Vec<String> = cases
        .iter()
        .filter_map(|case| case.check(&twin.judge(&case.probe).unwrap(), &compiled).err())
        .map(|missed| missed.to_string())
        .collect();
    assert!(
        missed.iter().any(|text| text == "HMI polls the RTU: verdict is deny, and allow is expected"),
        "{missed:#?}"
    );
}

#[test]
fn each_probe_meets_a_node_to_which_nothing_happened_unless_it_follows() {
    let Some(_bpffs) = Bpffs::new("twin-state") else { return };
    let (_, compiled) =
        policy(&one_tier("    - {name: web, action: allow, from: [any], services: [{protocol: tcp, ports: 80}]}\n"));
    let mut twin = Twin::load(&Programs::parse().unwrap(), &compiled, &AROUND).unwrap();
    let opening = probe(&segment(1 << 24 | 1, 1 << 24 | 2, (4000, 80), tcp::SYN), arrival(None));
    let answer = probe(&segment(1 << 24 | 2, 1 << 24 | 1, (80, 4000), tcp::SYN | tcp::ACK), arrival(None));
    assert!(twin.judge(&opening).unwrap().passes());
    assert!(!twin.judge(&answer).unwrap().passes(), "nobody asked, as far as this probe knows");
    assert!(twin.judge(&opening).unwrap().passes());
    let seen = twin.judge(&Probe { follows: true, ..answer.clone() }).unwrap();
    assert_eq!((seen.passes(), seen.verdict.reason), (true, reason::REPLY));
    assert!(!twin.judge(&answer).unwrap().passes());
    // Whoever else it is.
    assert!(!twin.judge(&probe(&segment(5, 6, (4000, 81), tcp::SYN), arrival(None))).unwrap().passes());
}

#[test]
fn interfaces_and_the_nodes_ends_are_where_a_probe_has_them() {
    let Some(_bpffs) = Bpffs::new("twin-place") else { return };
    let rules = "    - {name: lan, action: allow, from: [{interface: lan}], services: [{protocol: tcp, ports: 80}]}\n";
    let text = one_tier(rules)
        .replace("egress: allow", "egress: deny, subjects: [{subject: {cidr: 10.0.0.9/32}, egress: allow}]");
    let (_, compiled) = policy(&text.replace("egress: deny", "egress: allow"));
    let (_, closed) = policy(&text);
    let programs = Programs::parse().unwrap();
    let mut twin = Twin::load(&programs, &compiled, &AROUND).unwrap();
    let mut closed = Twin::load(&programs, &closed, &AROUND).unwrap();
    let ends = (0x0a00_0001, 0x0a00_0002);
    let facts = segment(ends.0, ends.1, (4000, 80), tcp::SYN);
    let mut passes = |place: Place| twin.judge(&probe(&facts, place)).unwrap().passes();
    assert!(passes(arrival(Some("lan"))));
    assert!(!passes(arrival(Some("wan"))));
    assert!(!passes(arrival(None)));
    let behind = |name: &str| Sender::Behind(Some(name.to_owned()));
    let by = Some("wan".to_owned());
    assert!(passes(Place::Departure { from: behind("lan"), by: by.clone() }));
    assert!(!passes(Place::Departure { from: behind("wan"), by: by.clone() }));
    // Of what the node itself sends nobody asks whether others may receive it.
    assert!(passes(Place::Departure { from: Sender::Node, by }));
    // And of what it receives nobody asks whether others may send it.
    let to_node = Probe { node: Some((FAMILY_V4, Address::v4(ends.1))), ..probe(&facts, arrival(Some("lan"))) };
    assert!(closed.judge(&to_node).unwrap().passes());
    assert!(!closed.judge(&Probe { node: None, ..to_node }).unwrap().passes());
}

#[test]
fn failsafe_ports_pass_and_what_cannot_be_run_is_named() {
    let Some(_bpffs) = Bpffs::new("twin-failsafe") else { return };
    let (_, compiled) = policy(&one_tier("    - {name: none, action: deny, from: [any]}\n"));
    let mut settings = Settings { audit_mode: 1, failsafe_count: 1, ..Settings::ZERO };
    settings.failsafe[0] = 6 << 16 | 22;
    let around = Surroundings { interfaces: &[], settings: &settings };
    let mut twin = Twin::load(&Programs::parse().unwrap(), &compiled, &around).unwrap();
    let facts = segment(1, 2, (4000, 22), tcp::SYN);
    let node = Some((FAMILY_V4, Address::v4(2)));
    let seen = twin.judge(&Probe { node, ..probe(&facts, arrival(None)) }).unwrap();
    assert_eq!((seen.passes(), seen.verdict.reason), (true, reason::FAILSAFE));
    let seen = twin.judge(&probe(&facts, arrival(None))).unwrap();
    assert_eq!((seen.passes(), seen.verdict.reason), (false, reason::RULE), "the mode is not the policy's");

    let short = Probe { frame: vec![0; 9], ..probe(&facts, arrival(None)) };
    assert!(matches!(twin.judge(&short), Err(ProbeError::Short { bytes: 9, .. })));
}

#[test]
fn twins_of_a_thousand_rules_load_in_the_time_of_the_verifier() {
    let Some(_bpffs) = Bpffs::new("twin-thousand") else { return };
    let mut rules = String::new();
    for rule in 0..1_000 {
        let action = if rule % 2 == 0 { "allow" } else { "deny" };
        let (third, fourth) = (rule / 250, rule % 250);
        writeln!(
            rules,
            "    - {{name: r{rule}, action: {action}, from: [{{cidr: 10.1.{third}.{fourth}/32}}], services: [{{protocol: tcp, ports: {}}}]}}",
            1000 + rule % 7
        )
        .unwrap();
    }
    let (_, compiled) = policy(&one_tier(&rules));
    let programs = Programs::parse().unwrap();
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let start = Instant::now();
            let twin = Twin::load(&programs, &compiled, &AROUND).unwrap();
            let loaded = start.elapsed();
            drop(twin);
            loaded
        })
        .collect();
    times.sort();
    println!("twin of {} rules loaded in {:?} (median), {:?} (slowest)", compiled.rules.len(), times[10], times[19]);
    let mut twin = Twin::load(&programs, &compiled, &AROUND).unwrap();
    let facts = segment(0x0a01_0002, 0x0a00_0002, (4000, 1002), tcp::SYN);
    assert!(twin.judge(&probe(&facts, arrival(None))).unwrap().passes());
    assert!(!twin.judge(&probe(&Facts { source: Address::v4(0x0a01_0003), ..facts }, arrival(None))).unwrap().passes());
}
