//! People who sign bundles, and a node that takes nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gabion_testing_netns::Bench;
use gabion_testing_site::agent::Agent;
use serde_json::Value;

/// People with keys, and the site's metadata.
pub struct People {
    folder: tempfile::TempDir,
    binary: PathBuf,
}

impl People {
    pub fn new(binary: &Path) -> Self {
        let people = Self { folder: tempfile::tempdir().unwrap(), binary: binary.to_owned() };
        for (name, algorithm) in
            [("anna", "ed25519"), ("bert", "ecdsa-p256"), ("dora", "ed25519"), ("server", "ed25519")]
        {
            people.says(&["key", "new", "--algorithm", algorithm, &format!("{name}.key")]);
        }
        let role = |role: &str, who: &str| format!("{role}={who}");
        let roles = [
            role("root", "2:anna.key.pub,bert.key.pub"),
            role("targets", "2:anna.key.pub,bert.key.pub"),
            role("publisher", "1:server.key.pub"),
            role("release", "1:dora.key.pub"),
            role("policy", "2:anna.key.pub,bert.key.pub"),
            role("emergency", "1:anna.key.pub"),
        ];
        let mut init = vec!["trust", "init", "site"];
        for role in &roles {
            init.extend(["--role", role]);
        }
        people.says(&init);
        for key in ["anna.key", "bert.key"] {
            people.says(&["trust", "sign", "--key", key, "site"]);
        }
        people
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path()).env("GABION_PASSPHRASE", "correct horse");
        command.output().unwrap()
    }

    pub fn says(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A bundle of this policy, of which a packet to this port passes, signed by some, and published.
    pub fn bundle_for(&self, version: u32, policy: &str, port: u16, signers: &[&str]) -> PathBuf {
        let golden = format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: PolicyTest\ntests:\n  - {{name: the port, expect: allow, in: c0, \
             from: 10.1.0.2, to: 10.2.0.2, protocol: udp, port: {port}}}\n"
        );
        std::fs::write(self.path("golden.yaml"), golden).unwrap();
        std::fs::write(self.path("policy.yaml"), policy).unwrap();
        let (name, version) = (format!("bench-{version}.tar"), version.to_string());
        self.says(&[
            "bundle",
            "build",
            "--name",
            "bench",
            "--version",
            &version,
            "--policy",
            "policy.yaml",
            "--probes",
            "golden.yaml",
            "--out",
            &name,
        ]);
        for key in signers {
            self.says(&["bundle", "sign", "--role", "policy", "--key", key, "--trust", "site", &name]);
        }
        self.says(&["bundle", "publish", "--key", "server.key", "--trust", "site", &name]);
        self.path(&name)
    }
}

/// A node that trusts whom this root names, and takes its clock as it is.
pub fn start<'b>(bench: &'b Bench, binary: &Path, root: &Path) -> Agent<'b> {
    let arguments = ["--trust-root".into(), root.to_owned(), "--clock".into(), "accept".into()];
    Agent::start_sealed(&bench.node, &bench.place, binary, &arguments).unwrap()
}

/// Has a bundle applied: exit code, and what was said.
pub fn apply(agent: &Agent<'_>, bundle: &Path) -> (Option<i32>, Value) {
    let output = agent.ask(&["generation", "apply", bundle.to_str().unwrap(), "--output", "json"]).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}
