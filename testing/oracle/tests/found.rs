//! What the fuzzer `policy` found worth keeping, again without a fuzzer.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use fastrand::Rng;
use gabion_testing_oracle::{Met, agree};

#[test]
fn kept_policies_decide_as_the_oracle_does() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/policy"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut met = Met::default();
    for file in &files {
        match agree(&std::fs::read(file).unwrap()) {
            Ok(here) => met.add(&here),
            Err(difference) => panic!("{}: {difference}", file.display()),
        }
    }
    println!("{} kept: {met:?}", files.len());
    assert!(met.decided.iter().chain([&met.in_lanes, &met.short]).all(|&count| count > 0), "{met:?}");
}

/// What the fuzzer starts from: octets without any order.
#[test]
fn random_octets_decide_as_the_oracle_does() {
    let mut met = Met::default();
    for seed in 1..=600 {
        let mut rng = Rng::with_seed(seed);
        let octets: Vec<u8> = (0..rng.usize(0..3_000)).map(|_| rng.u8(..)).collect();
        match agree(&octets) {
            Ok(here) => met.add(&here),
            Err(difference) => panic!("seed {seed}: {difference}"),
        }
    }
    println!("{met:?}");
    assert!(met.decided.iter().chain([&met.in_lanes, &met.short]).all(|&count| count > 100), "{met:?}");
}
