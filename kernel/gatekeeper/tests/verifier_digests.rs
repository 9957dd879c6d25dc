//! Digests of programs that were computed before they are loaded, against those of the kernel that loads them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use aya::programs::loaded_programs;
use gabion_abi::event::Settings;
use gabion_btf::Btf;
use gabion_gatekeeper::{Hash, KERNEL_TYPES, bound};
use gabion_generation::{ProgramDigest, Programs, Surroundings, Twin, digests};
use gabion_owners::{Owners, cgroups};
use gabion_policy_compile::{Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};

/// What kernels tell of a digest, and keep of a program's name.
const TAG_BYTES: usize = 8;
const NAME_LETTERS: usize = 15;

fn loads_programs() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: loading programs takes root");
    println!("skipped: loading programs takes root");
    false
}

fn short(name: &str) -> String {
    name.get(..NAME_LETTERS).unwrap_or(name).to_owned()
}

fn computed(all: Vec<ProgramDigest>, hash: Hash) -> BTreeMap<String, [u8; TAG_BYTES]> {
    let tag = |it: &ProgramDigest| std::array::from_fn(|at| hash.digest(&it.sha1, &it.sha256)[at]);
    all.iter().map(|it| (short(&it.name), tag(it))).collect()
}

/// Those of a kernel's programs that are named so and were loaded by these numbers, or by this process.
fn loaded(wanted: impl Fn(u32) -> bool) -> BTreeMap<String, [u8; TAG_BYTES]> {
    let ours = loaded_programs().flatten().filter(|info| wanted(info.id()));
    ours.map(|info| (info.name_as_str().unwrap_or_default().to_owned(), info.tag().to_be_bytes())).collect()
}

#[test]
fn they_are_the_same_with_each_policy() {
    if !loads_programs() {
        return;
    }
    let (_, hash) = bound(&Btf::open(KERNEL_TYPES).unwrap()).unwrap();
    let expected = computed(digests(gabion_kernel_object::object().unwrap()).unwrap(), hash);
    assert_eq!(expected.len(), 2);
    let text = "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\n\
                spec: {subject: {cidr: 10.0.0.0/8}, ingress: [{services: [{protocol: tcp, ports: 22}]}]}\n";
    for set in [PolicySet::default(), parse(&[Source::new("policy", text.to_owned())]).unwrap()] {
        let compiled = compile(&set, &Options::default()).unwrap();
        let around = Surroundings { interfaces: &[], settings: &Settings::ZERO };
        let twin = Twin::load(&Programs::parse().unwrap(), &compiled, &around).unwrap();
        let ids = twin.programs().unwrap().map(|made| made.id);
        assert_eq!(loaded(|id| ids.contains(&id)), expected);
    }
}

#[test]
fn programs_that_another_loader_loads_have_theirs() {
    if !loads_programs() {
        return;
    }
    let kernel = Btf::open(KERNEL_TYPES).unwrap();
    let (_, hash) = bound(&kernel).unwrap();
    let (object, _) = gabion_owners::bound(&kernel).unwrap();
    let expected = computed(digests(&object).unwrap(), hash);
    let before: Vec<u32> = loaded_programs().flatten().map(|info| info.id()).collect();
    let _owners = Owners::attach(&cgroups().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let new = loaded(|id| !before.contains(&id));
    // The list of open files is gone again once it was read; programs of other tests may have come.
    let seen: Vec<&String> = new.keys().filter(|name| expected.contains_key(*name)).collect();
    assert_eq!(seen, ["gabion_changed", "gabion_made"]);
    for name in seen {
        assert_eq!(new[name], expected[name], "{name}");
    }
}
