//! People who sign bundles, and a node that takes nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Output;

use gabion_testing_netns::Bench;
use gabion_testing_site::agent::Agent;
use gabion_testing_site::people::Contents;
use serde_json::Value;

/// People in a folder that goes with them. Two must sign a policy.
pub struct People {
    people: gabion_testing_site::people::People,
    _folder: tempfile::TempDir,
}

impl People {
    pub fn new(binary: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let people = gabion_testing_site::people::People::new(folder.path(), binary, 2).unwrap();
        Self { people, _folder: folder }
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.people.run(arguments).unwrap()
    }

    pub fn says(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.people.path(name)
    }

    /// A bundle of this policy, of which a packet to this port passes, signed by some, and published.
    pub fn bundle_for(&self, version: u32, policy: &str, port: u16, signers: &[&str]) -> PathBuf {
        self.bundle_named("bench", version, policy, port, signers)
    }

    /// The same of another name.
    pub fn bundle_named(&self, name: &str, version: u32, policy: &str, port: u16, signers: &[&str]) -> PathBuf {
        let golden = format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: PolicyTest\ntests:\n  - {{name: the port, expect: allow, in: c0, \
             from: 10.1.0.2, to: 10.2.0.2, protocol: udp, port: {port}}}\n"
        );
        self.people.bundle(Contents { name, version, policy, golden: &golden }, signers).unwrap()
    }
}

/// A node that trusts whom this root names, and takes its clock as it is.
pub fn start<'b>(bench: &'b Bench, binary: &Path, root: &Path) -> Agent<'b> {
    start_with(bench, binary, root, &[])
}

/// The same, told more.
pub fn start_with<'b>(bench: &'b Bench, binary: &Path, root: &Path, more: &[&str]) -> Agent<'b> {
    let mut arguments = vec!["--trust-root".into(), root.to_owned(), "--clock".into(), "accept".into()];
    arguments.extend(more.iter().map(PathBuf::from));
    Agent::start_sealed(&bench.node, &bench.place, binary, &arguments).unwrap()
}

/// Has a bundle applied: exit code, and what was said.
pub fn apply(agent: &Agent<'_>, bundle: &Path) -> (Option<i32>, Value) {
    let output = agent.ask(&["generation", "apply", bundle.to_str().unwrap(), "--output", "json"]).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}
