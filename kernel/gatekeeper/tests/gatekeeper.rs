//! The gate, open and sealed. It runs where the kernel was started with BPF among its security modules: in guests.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aya::maps::MapData;
use aya::programs::loaded_programs;
use gabion_abi::event::Settings;
use gabion_abi::gate::{Attempt, attempt, state};
use gabion_btf::Btf;
use gabion_gatekeeper::{Digest, Gatekeeper, KERNEL_TYPES, bound, by_tag, let_go};
use gabion_generation::{Programs, Surroundings, Twin, digests as computed};
use gabion_policy_compile::{Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};

/// Tells a second process what to try.
const TRY: &str = "GABION_TEST_TRY";
const PERMISSION_DENIED: &str = "Operation not permitted";
/// Replacements that are timed.
const CHANGES: usize = 20;

fn keeps_gates() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    let modules = line.split_whitespace().find_map(|word| word.strip_prefix("lsm=")).unwrap_or_default();
    if nix::unistd::geteuid().is_root() && modules.split(',').any(|name| name == "bpf") {
        return true;
    }
    println!("skipped: this kernel was not started with lsm=...,bpf, or this is not root");
    false
}

fn load(text: &str) -> Result<Twin, String> {
    let set: PolicySet =
        if text.is_empty() { PolicySet::default() } else { parse(&[Source::new("policy", text.to_owned())]).unwrap() };
    let compiled = compile(&set, &Options::default()).unwrap();
    let around = Surroundings { interfaces: &[], settings: &Settings::ZERO };
    Twin::load(&Programs::parse().unwrap(), &compiled, &around).map_err(|error| error.to_string())
}

/// In no order that they were loaded in, which two threads do at once.
fn digests(wanted: impl Fn(u32, &str) -> bool) -> Vec<Digest> {
    let wanted = loaded_programs()
        .flatten()
        .filter(|info| wanted(info.id(), info.name_as_str().unwrap_or_default()))
        .map(|info| by_tag(info.tag()));
    wanted.collect::<BTreeSet<_>>().into_iter().collect()
}

fn digests_of(twin: &Twin) -> Vec<Digest> {
    let ids = twin.programs().unwrap().map(|made| made.id);
    digests(|id, _| ids.contains(&id))
}

/// What the second process does.
#[test]
fn tries() {
    let Ok(what) = std::env::var(TRY) else { return };
    match what.strip_prefix("open ").and_then(|id| id.parse().ok()) {
        None => println!("{}", load("").map_or_else(|error| error, |_| "loaded".to_owned())),
        Some(id) => {
            println!("{}", MapData::from_id(id).map_or_else(|error| format!("{error:?}"), |_| "opened".to_owned()));
        }
    }
}

fn other(program: &Path, what: &str) -> String {
    let mut command = Command::new(program);
    let output = command.args(["--exact", "tries", "--nocapture"]).env(TRY, what).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn reasons(attempts: &[Attempt]) -> Vec<(u32, String)> {
    let name = |comm: &[u8; 16]| String::from_utf8_lossy(comm).trim_end_matches('\0').to_owned();
    attempts.iter().map(|attempt| (attempt.reason, name(&attempt.comm))).collect()
}

#[test]
fn only_who_sealed_loads_and_only_what_is_allowed() {
    if !keeps_gates() {
        return;
    }
    let stranger = std::env::temp_dir().join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &stranger).unwrap();
    let ours = load("").unwrap();
    let policy = "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\n\
                  spec: {subject: {cidr: 10.0.0.0/8}, ingress: [{services: [{protocol: tcp, ports: 22}]}]}\n";
    let allowed = digests_of(&ours);
    assert_eq!(allowed.len(), 2);
    assert_eq!(digests_of(&load(policy).unwrap()), allowed, "a digest says nothing of constants, tables and maps");

    let mut keeper = Gatekeeper::attach().unwrap_or_else(|error| panic!("{error:?}"));
    assert!(other(&stranger, "load").contains("loaded"), "the gate is open");
    for digest in &allowed {
        keeper.allow(digest).unwrap();
    }
    keeper.seal().unwrap();
    let sealed = keeper.gate().unwrap();
    assert_eq!(sealed.state, state::SEALED);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/exe").unwrap());
    assert_eq!(sealed.inode, inode);
    assert_eq!(reasons(&keeper.attempts()), []);

    load(policy).unwrap();
    let refused = other(&stranger, "load");
    assert!(refused.contains(PERMISSION_DENIED), "{refused}");
    let found = reasons(&keeper.attempts());
    assert!(
        !found.is_empty() && found.iter().all(|found| *found == (attempt::WHO, "stranger".to_owned())),
        "{found:?}"
    );
    for map in sealed.maps {
        let refused = other(&stranger, &format!("open {map}"));
        assert!(refused.contains("PermissionDenied"), "{map}: {refused}");
        assert_eq!(reasons(&keeper.attempts()), [(attempt::GATE, "stranger".to_owned())]);
    }

    // Another gatekeeper is another program.
    let refused = Gatekeeper::attach().err().map(|error| format!("{error:?}")).unwrap();
    assert!(refused.contains("PermissionDenied"), "{refused}");
    let found = keeper.attempts();
    // It was tried again, to get the verifier's log.
    let [Attempt { reason: attempt::WHAT, digest, pid, .. }, ..] = found[..] else { panic!("{found:?}") };
    assert!(found.iter().all(|attempt| attempt.reason == attempt::WHAT && attempt.digest == digest), "{found:?}");
    assert_eq!(pid, std::process::id());
    let own = digests(|_, name| ["gabion_who", "gabion_what", "gabion_own"].contains(&name));
    assert!(own.contains(&digest), "{digest:02x?} {own:02x?}");
    // They could have been known before.
    let (object, hash) = bound(&Btf::open(KERNEL_TYPES).unwrap()).unwrap();
    let known = computed(&object).unwrap();
    let mut known: Vec<Digest> = known.iter().map(|it| hash.digest(&it.sha1, &it.sha256)).collect();
    known.sort_unstable();
    assert_eq!(own, known);
    changes(keeper, &allowed, &own, &stranger);
    assert!(other(&stranger, "load").contains("loaded"), "the gate is open again");
    std::fs::remove_file(&stranger).unwrap();
}

/// One gatekeeper takes the place of another: the new one is attached and sealed before the old one goes, so that both
/// are asked meanwhile.
fn changes(mut keeper: Gatekeeper, allowed: &[Digest], own: &[Digest], stranger: &Path) {
    own.iter().for_each(|digest| keeper.allow(digest).unwrap());
    let mut overlaps: Vec<Duration> = Vec::new();
    for _ in 0..CHANGES {
        let mut next = Gatekeeper::attach().unwrap_or_else(|error| panic!("{error:?}"));
        let start = Instant::now();
        allowed.iter().chain(own).for_each(|digest| next.allow(digest).unwrap());
        next.seal().unwrap();
        if overlaps.is_empty() {
            assert!(other(stranger, "load").contains(PERMISSION_DENIED), "while there are two");
        }
        let start = if overlaps.is_empty() { Instant::now() } else { start };
        drop(std::mem::replace(&mut keeper, next));
        overlaps.push(start.elapsed());
    }
    let refused = other(stranger, "load");
    assert!(refused.contains(PERMISSION_DENIED), "{refused}");
    assert!(reasons(&keeper.attempts()).contains(&(attempt::WHO, "stranger".to_owned())));
    overlaps.sort();
    // It outlives who made it, and lets go at once.
    let pins = Path::new("/sys/fs/bpf/gatekeeper");
    keeper.pin(pins).unwrap();
    drop(keeper);
    let refused = other(stranger, "load");
    assert!(refused.contains(PERMISSION_DENIED), "{refused}");
    assert!(let_go(pins).unwrap() && !let_go(pins).unwrap() && !pins.exists());
    println!("both keep the gate for {:?} (median), {:?} (longest)", overlaps[CHANGES / 2], overlaps[CHANGES - 1]);
}
