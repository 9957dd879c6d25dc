//! What is left behind is found, named and said whose it is. Needs root; says so and passes without, unless `./x test`
//! demands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bpffs;

use std::path::Path;
use std::process::{Command, Stdio};

use aya::programs::Xdp;
use bpffs::Bpffs;
use gabion_generation::{AgentFolder, Kind, Node, Orphan, Programs, Sizes, survey};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;

fn policy() -> Compiled {
    let set: PolicySet = PolicySet::default();
    compile(&set, &Options::default()).unwrap()
}

fn open(root: &Path) -> Node {
    Node::open(root, &Sizes::default(), Programs::parse().unwrap()).unwrap().0
}

/// What was found below a folder: other tests of this machine have theirs.
fn orphans(below: &Path) -> Vec<Orphan> {
    let found = survey().unwrap().orphans;
    found.into_iter().filter(|orphan| orphan.pins.iter().any(|pin| pin.starts_with(below))).collect()
}

fn folder(root: &Path) -> Option<AgentFolder> {
    survey().unwrap().folders.into_iter().find(|folder| folder.path == root)
}

#[test]
fn a_generation_without_an_agent_and_a_pin_elsewhere_are_orphans() {
    let Some(bpffs) = Bpffs::new("orphans") else { return };
    let root = bpffs.root();
    assert_eq!(folder(&root), None);
    let mut node = open(&root);
    let staged = node.stage(&policy(), &[]).unwrap();
    node.commit(staged).unwrap();
    let generation = root.join("generations/1");
    // We do not count as those who hold it: whoever asks is no agent.
    let [left] = &orphans(&root)[..] else { panic!("{:?}", survey()) };
    assert_eq!((left.kind, left.name.as_str()), (Kind::Folder, generation.to_str().unwrap()));
    assert_eq!(left.why, "no hook runs generation 1, and no process holds it: its agent does not run");
    assert!(left.remedy.contains(root.to_str().unwrap()), "{}", left.remedy);
    let seen = folder(&root).unwrap();
    assert_eq!(seen.generations, [("1".to_owned(), false)]);

    // The same program at a place that no agent looks at, after its generation went.
    let mut program =
        Xdp::from_pin(generation.join("gabion_ingress"), aya_obj::programs::XdpAttachType::Interface).unwrap();
    let elsewhere = root.parent().unwrap().join("forgotten");
    program.pin(&elsewhere).unwrap();
    let id = program.info().unwrap().id();
    drop(program);
    node.detach_all().unwrap();
    let [left] = &orphans(root.parent().unwrap())[..] else { panic!("{:?}", survey()) };
    assert_eq!((left.kind, left.id, left.name.as_str()), (Kind::Program, Some(id), "gabion_ingress"));
    assert_eq!(left.pins, [elsewhere.as_path()]);
    assert_eq!(left.why, "it is pinned in no agent's folder");
    std::fs::remove_file(&elsewhere).unwrap();
    assert_eq!(orphans(root.parent().unwrap()), []);
}

/// Tells the second process of a test where to work.
const ROOT: &str = "GABION_TEST_ROOT";

#[test]
fn holds_a_generation() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let mut node = open(Path::new(&root));
    let staged = node.stage(&policy(), &[]).unwrap();
    node.commit(staged).unwrap();
    println!("it holds");
    // Until the other one has seen enough.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn what_a_process_holds_is_its_own_and_it_is_named() {
    use std::io::BufRead as _;

    let Some(bpffs) = Bpffs::new("held") else { return };
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_a_generation", "--nocapture"])
        .env(ROOT, bpffs.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = std::io::BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(printed.any(|line| line.unwrap().contains("it holds")));
    assert_eq!(orphans(&bpffs.root()), []);
    let seen = folder(&bpffs.root()).unwrap();
    let [held_by] = &seen.held_by[..] else { panic!("{seen:?}") };
    assert!(held_by.starts_with(&format!("process {} (", holder.id())), "{held_by}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(orphans(&bpffs.root()).len(), 1, "its agent died");
}
