//! People with keys, and the metadata by which a node trusts them: made and used by `gabion` itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::error::{Calling, Result, SiteError};

/// Their keys' passphrase.
const PASSPHRASE: &str = "correct horse";

/// Who there is. Anna, Bert and Carl decide about policy; any two of them about the metadata, Anna alone in an
/// emergency. Dora releases programs.
pub struct People {
    folder: PathBuf,
    binary: PathBuf,
}

/// What goes into a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its version.
    pub version: u32,
    /// Its policy.
    pub policy: &'c str,
    /// Its golden packets.
    pub golden: &'c str,
}

impl People {
    /// Makes keys and metadata in a folder, which must exist and stays. So many of the three must sign a policy.
    pub fn new(folder: &Path, binary: &Path, threshold: u32) -> Result<Self> {
        let people = Self { folder: folder.to_owned(), binary: binary.to_owned() };
        let keys = [
            ("anna", "ed25519"),
            ("bert", "ecdsa-p256"),
            ("carl", "ed25519"),
            ("dora", "ed25519"),
            ("server", "ed25519"),
        ];
        for (name, algorithm) in keys {
            people.says(&["key", "new", "--algorithm", algorithm, &format!("{name}.key")])?;
        }
        let roles = [
            "root=2:anna.key.pub,bert.key.pub".to_owned(),
            "targets=2:anna.key.pub,bert.key.pub".to_owned(),
            "publisher=1:server.key.pub".to_owned(),
            "release=1:dora.key.pub".to_owned(),
            format!("policy={threshold}:anna.key.pub,bert.key.pub,carl.key.pub"),
            "emergency=1:anna.key.pub".to_owned(),
        ];
        let mut init = vec!["trust", "init", "site"];
        for role in &roles {
            init.extend(["--role", role]);
        }
        people.says(&init)?;
        for key in ["anna.key", "bert.key"] {
            people.says(&["trust", "sign", "--key", key, "site"])?;
        }
        Ok(people)
    }

    /// `gabion` in their folder.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.folder).env("GABION_PASSPHRASE", PASSPHRASE);
        command.output().calling(format!("run gabion {}", arguments.join(" ")))
    }

    /// The same; an error that carries its words when it failed.
    pub fn says(&self, arguments: &[&str]) -> Result<()> {
        let output = self.run(arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(SiteError::Agent { what: format!("gabion {}: {}", arguments.join(" "), words.trim()) })
    }

    /// Something in their folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The root by which a node begins to trust them.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path("site/1.root.json")
    }

    /// A bundle, signed by some, and published: an archive in their folder.
    pub fn bundle(&self, contents: Contents<'_>, signers: &[&str]) -> Result<PathBuf> {
        let Contents { name, version, policy, golden } = contents;
        let archive = format!("{name}-{version}.tar");
        for (file, text) in [("policy.yaml", policy), ("golden.yaml", golden)] {
            let path = self.path(file);
            fs::write(&path, text).map_err(|source| SiteError::File { path, source })?;
        }
        let version = version.to_string();
        let identity = ["bundle", "build", "--name", name, "--version", &version];
        let files = ["--policy", "policy.yaml", "--probes", "golden.yaml", "--out", &archive];
        self.says(&[&identity[..], &files].concat())?;
        for who in signers {
            let key = format!("{who}.key");
            self.says(&["bundle", "sign", "--role", "policy", "--key", &key, "--trust", "site", &archive])?;
        }
        self.says(&["bundle", "publish", "--key", "server.key", "--trust", "site", &archive])?;
        Ok(self.path(&archive))
    }
}
