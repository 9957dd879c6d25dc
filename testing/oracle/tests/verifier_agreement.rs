//! Oracle = core on the host = the loaded programs, for random policies and frames, state included.
//! Needs root and the kernel object; says so and passes without, unless `./x test` demands them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use fastrand::Rng;
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4, FAMILY_V6, Facts};
use gabion_abi::tables::{OPENS, entry};
use gabion_abi::verdict::{DROP, Interface, Verdict, hook, reason};
use gabion_generation::{InterfaceEntry, Node, Programs, Sizes, event};
use gabion_kernel_core::judge::{Case, Place, counted_rules, judge, may_quote, quote};
use gabion_kernel_core::parse::parse;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action};
use gabion_policy_model::trace::Direction;
use gabion_testing_oracle::{Discovery, Host, INTERFACES, everything, features, follow_up, frame, packet, policy_set};

/// Random decisions in one run; `GABION_DECISIONS` changes it.
const DECISIONS: usize = 120_000;
/// Frames for each policy.
const FRAMES: usize = 3_000;
/// The loopback stands for the interface that frames arrive on: it exists in every namespace.
const LOOPBACK: u32 = 1;

/// A bpffs of the test's own, gone when the test ends however it ends.
struct Bpffs(PathBuf);

impl Bpffs {
    fn mount() -> Option<Self> {
        let missing = match gabion_kernel_object::object() {
            _ if !nix::unistd::geteuid().is_root() => Some("not root".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(missing) = missing {
            assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
            println!("skipped: {missing}");
            return None;
        }
        let path = std::env::temp_dir().join(format!("gabion-agreement-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        nix::mount::mount(Some("bpf"), &path, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
        Some(Self(path))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A frame of a random packet, or of one that follows on the last; one in ten is cut or has a byte changed.
fn random_frame(rng: &mut Rng, last: &mut Facts) -> Vec<u8> {
    let mut bytes = if rng.usize(0..3) == 0 && last.ethertype != 0 {
        follow_up(rng, last)
    } else {
        *last = Facts { unparsed: 0, ..packet(rng).facts };
        frame(last)
    };
    match rng.usize(0..20) {
        // BPF_PROG_RUN takes no frame below an Ethernet header.
        0 => bytes.truncate(rng.usize(15..bytes.len())),
        1 => {
            let at = rng.usize(12..bytes.len().min(80));
            bytes[at] = rng.u8(..);
        }
        _ => {}
    }
    bytes
}

/// What the tables found must be what the oracle says.
fn holds_oracle(set: &PolicySet, compiled: &Compiled, case: &Case, source: Option<&str>, context: &str) {
    let judged = oracle::judge(set, &case.facts, source, None);
    for (direction, expected, word) in [
        (Direction::Egress, judged.egress, case.entries.egress),
        (Direction::Ingress, judged.ingress, case.entries.ingress),
    ] {
        let rule = &compiled.rules[entry::rule(word) as usize];
        let action = match entry::action(word) {
            entry::ALLOW => Action::Allow,
            entry::DENY => Action::Deny,
            _ => Action::Audit,
        };
        assert_eq!((rule.direction, rule.reference, action), (direction, expected.rule, expected.action), "{context}");
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings {
        denied_rate: u32::MAX,
        denied_burst: u32::MAX,
        allowed_rate: u32::MAX,
        allowed_sample: 1,
        audit_mode: u32::from(rng.usize(0..4) == 0),
        failsafe_count: 1,
        ..Settings::default()
    };
    settings.failsafe[0] = 6 << 16 | 22;
    settings
}

/// A random policy; every third is one that uses little, or all.
fn drawn(seed: u64, rng: &mut Rng) -> PolicySet {
    let mut few: Vec<PolicySet> = features().into_iter().map(|feature| feature.set).collect();
    few.push(everything());
    if seed.is_multiple_of(3) { few.swap_remove(seed as usize / 3 % few.len()) } else { policy_set(rng) }
}

#[test]
fn loaded_programs_decide_as_core_and_oracle_do() {
    let Some(bpffs) = Bpffs::mount() else { return };
    let first = std::env::var("GABION_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let decisions = std::env::var("GABION_DECISIONS").ok().map_or(DECISIONS, |n| n.parse().unwrap());
    let mut reasons = [[0usize; reason::COUNT as usize]; 2];
    let mut discovery = Discovery::default();
    for seed in first..first + decisions.div_ceil(FRAMES) as u64 {
        let mut rng = Rng::with_seed(seed);
        let set = drawn(seed, &mut rng);
        let options = Options { single_group_bytes: [0, 4 << 20][rng.usize(0..2)], ..Options::default() };
        let compiled = compile(&set, &options).unwrap();
        // Each policy starts without connections: the state belongs to the seed.
        let root = bpffs.0.join(format!("seed-{seed}"));
        let (mut node, _) = Node::open(&root, &Sizes::default(), Programs::parse().unwrap()).unwrap();
        let class = if compiled.interfaces.is_empty() { 0 } else { rng.usize(0..=compiled.interfaces.len()) };
        let arrived_on = class.checked_sub(1).map(|at| compiled.interfaces[at].as_str());
        assert!(arrived_on.is_none_or(|name| INTERFACES.contains(&name)));
        let interface = Interface { class: class as u16, ..Interface::default() };
        let staged = node.stage(&compiled, &[InterfaceEntry { ifindex: LOOPBACK, interface }]).unwrap();
        let mut settings = settings(&mut rng);
        // Where nobody is told, most packets take the short way: then the counters say which rules decided.
        let quiet = seed % 2 == 0;
        if quiet {
            (settings.denied_rate, settings.denied_burst) = (0, 0);
            (settings.allowed_rate, settings.allowed_sample) = (0, 0);
        }
        node.set_settings(&settings).unwrap();
        let v6 = |low: u128| (FAMILY_V6, Address::v6((0xfd00 << 112) + low));
        let local: Vec<(u8, Address)> =
            (0..4).map(|low| (FAMILY_V4, Address::v4(0x0a00_0000 + low))).chain((0..4).map(v6)).collect();
        node.set_local(&local).unwrap();
        let mut events = node.events().unwrap();

        let mut host = Host::new(&compiled, staged.number());
        host.local.extend(local);
        host.interfaces.insert(LOOPBACK, interface);
        host.settings = settings;
        let mut last = Facts::UNKNOWN;
        let mut counted = vec![0u64; compiled.rules.len()];
        for number in 0..FRAMES {
            let bytes = random_frame(&mut rng, &mut last);
            // BPF_PROG_RUN of tc programs refuses frames that end inside the first IP header.
            let mut leaves = rng.usize(0..4) == 0 && bytes.len() >= 54;
            let facts = parse(&bytes.as_slice(), false);
            // Where no rule keeps state, only what the node opens from an address of its own has answers
            // (docs/decisions/0010).
            leaves &= compiled.params[OPENS] != 0 || host.local.contains(&(facts.family, facts.source));
            let place = if leaves {
                Place { hook: u32::from(hook::EGRESS), source_ifindex: 0, destination_ifindex: LOOPBACK }
            } else {
                Place { hook: u32::from(hook::INGRESS), source_ifindex: LOOPBACK, destination_ifindex: 0 }
            };
            let mut case = Case::new(place, facts);
            if may_quote(&case) {
                quote(&bytes.as_slice(), &mut case);
            }
            judge(&host, &mut case);
            let context = format!("GABION_SEED={seed} frame {number} {bytes:02x?} {facts:#?}");
            if !leaves {
                holds_oracle(&set, &compiled, &case, arrived_on, &context);
            }
            let passed = if leaves { staged.run_egress(&bytes) } else { staged.run_ingress(&bytes, LOOPBACK) }.unwrap();
            let Verdict { action, reason, .. } = case.verdict;
            assert_eq!(passed, action != DROP, "{:?} {context}", case.verdict);
            for rule in counted_rules(&case.verdict) {
                if let Some(count) = counted.get_mut(rule as usize) {
                    *count += 1;
                }
            }
            if quiet {
                assert!(events.next().is_none(), "an event that nobody asked for: {context}");
                continue;
            }
            let reported = event(&events.next().unwrap_or_else(|| panic!("no event: {context}"))).unwrap();
            assert_eq!(reported.facts, case.facts, "{context}");
            assert_eq!(reported.verdict, case.verdict, "{context}");
            reasons[usize::from(action)][usize::from(reason)] += 1;
            discovery.count(&case.facts);
        }
        let counts: Vec<u64> = staged.rule_counts().iter().map(|count| count.packets).collect();
        assert_eq!(counts[..counted.len()], counted, "GABION_SEED={seed}: packets by rule");
        node.detach_all().unwrap();
    }
    for (action, counts) in ["passed", "dropped"].iter().zip(&reasons) {
        let counts: Vec<String> =
            reason::NAMES.iter().zip(counts).map(|(name, count)| format!("{name} {count}")).collect();
        println!("{action}: {}", counts.join(", "));
    }
    discovery.has_everything();
    let [passed, dropped] = reasons;
    for wanted in [
        reason::RULE,
        reason::REPLY,
        reason::RELATED,
        reason::FRAGMENT,
        reason::FAILSAFE,
        reason::AUDIT_RULE,
        reason::AUDIT_MODE,
    ] {
        assert!(passed[usize::from(wanted)] > 0, "no packet passed for {}", reason::NAMES[usize::from(wanted)]);
    }
    assert!(dropped[usize::from(reason::RULE)] > 0);
}
