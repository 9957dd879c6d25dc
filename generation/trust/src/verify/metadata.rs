//! Root, timestamp, snapshot, targets, in this order (TUF specification 1.0, 5.3 to 5.6), on top of what is trusted.

use std::collections::BTreeSet;

use gabion_bundle::{Metadata, Time};
use serde_json::Value;
use sigstore_tuf::metadata::{Delegations, Metadata as File, RoleKeys, Root, Targets};
use sigstore_tuf::{Error, TrustedMetadataSet};

use super::Cached;
use super::shape;
use super::signatures::{Signed, Worth, judge, short};
use crate::refused::Refused;
use crate::role::Role;

/// Roots that are walked at most, from the one that is trusted.
const ROOTS: u64 = 1024;

/// Metadata that is believed.
pub(crate) struct Believed<'m> {
    files: &'m Metadata,
    set: TrustedMetadataSet,
    now: Time,
    delegations: Delegations,
    known: BTreeSet<String>,
    /// What is to be kept of it: the root, and the rest.
    kept: (String, Cached),
}

fn jiff(time: Time) -> jiff::Timestamp {
    // A time has four digits of a year, which that takes.
    jiff::Timestamp::try_from(time.moment()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn file<'m>(files: &'m Metadata, name: &str) -> Result<&'m [u8], Refused> {
    let found = files.iter().find(|(it, _)| it.as_str() == name).map(|(_, bytes)| bytes.as_slice());
    found.ok_or_else(|| Refused::Missing { file: name.to_owned() })
}

/// Starts from a root that is trusted.
pub(crate) fn begin(name: &str, root: &[u8]) -> Result<TrustedMetadataSet, Refused> {
    crate::install();
    let set = TrustedMetadataSet::from_root(root).map_err(|error| {
        let parsed = File::<Root>::from_slice(root).ok();
        let by = |file: &Value| {
            parsed.as_ref().map_or_else(Vec::new, |it| by_root(file, it.signed(), "root", &BTreeSet::new()))
        };
        refused(name, error, root, None, by)
    })?;
    shape::root(name, set.root())?;
    Ok(set)
}

/// Signatures of a file, held against the keys that a root gives a role.
fn by_root(file: &Value, root: &Root, role: &str, known: &BTreeSet<String>) -> Vec<Signed> {
    root.role(role).map_or_else(Vec::new, |role| judge(file, &root.keys, &role.keyids, known))
}

/// What the library says, in our words; where signatures are too few, with the reason that `by` finds.
fn refused(
    name: &str,
    error: Error,
    bytes: &[u8],
    now: Option<Time>,
    by: impl FnOnce(&Value) -> Vec<Signed>,
) -> Refused {
    let file = name.to_owned();
    match error {
        Error::ThresholdNotMet { role, threshold, .. } => {
            let signed = by(&serde_json::from_slice(bytes).unwrap_or_default());
            short(name, &role, &signed, threshold)
        }
        Error::DuplicateSignature { role, key_id } => {
            Refused::SignedTwice { file, role, key: key_id.chars().take(64).collect() }
        }
        Error::Rollback { trusted, new, .. } => Refused::MetadataRolledBack { file, trusted, found: new },
        Error::BadRootVersion { trusted, new } => Refused::RootVersion { file, trusted, found: new },
        Error::Expired { role, expires } => {
            let now = now.unwrap_or_else(|| Time::from(std::time::SystemTime::UNIX_EPOCH));
            Refused::MetadataExpired { file: format!("{role}.json"), expires: expires.to_string(), now }
        }
        Error::IntegrityMismatch(what) => Refused::Mixed { file, what },
        other => {
            let mut what = other.to_string();
            let mut source = std::error::Error::source(&other);
            while let Some(cause) = source {
                what = format!("{what}: {cause}");
                source = cause.source();
            }
            Refused::Form { file, what: what.chars().take(300).collect() }
        }
    }
}

impl<'m> Believed<'m> {
    /// Walks all of it, from a root that is trusted and what was believed before.
    pub(crate) fn walk(
        root: &[u8],
        before: Option<&Cached>,
        known: &BTreeSet<String>,
        files: &'m Metadata,
        now: Time,
    ) -> Result<Self, Refused> {
        let mut known = known.clone();
        let mut set = begin("root.json", root)?;
        known.extend(set.root().keys.keys().cloned());
        only_ours(files)?;
        for _ in 0..ROOTS {
            let name = format!("{}.root.json", set.root().version.saturating_add(1));
            let Ok(bytes) = file(files, &name) else { break };
            if let Err(error) = set.update_root(bytes) {
                let by = |file: &Value| by_both(file, set.root(), bytes, &known);
                return Err(refused(&name, error, bytes, Some(now), by));
            }
            shape::root(&name, set.root())?;
            known.extend(set.root().keys.keys().cloned());
        }
        let at = jiff(now);
        let root = set.root().clone();
        let wrong = |role: &str, error, bytes: &[u8]| {
            refused(&format!("{role}.json"), error, bytes, Some(now), |file| by_root(file, &root, role, &known))
        };
        set.check_root_expired(at).map_err(|error| wrong("root", error, &[]))?;
        // What was believed before is the floor, as long as the keys that signed it still may: after they were changed,
        // numbers begin anew, which is the way back from numbers that a thief pushed up.
        if let Some(before) = before {
            let then = jiff(before.at);
            if set.update_timestamp(before.timestamp.as_bytes(), then).is_ok() {
                // Without its timestamp a snapshot cannot be believed.
                let _ = set.update_snapshot(before.snapshot.as_bytes(), then);
            }
        }
        let timestamp = file(files, "timestamp.json")?;
        let mut newest = timestamp;
        match set.update_timestamp(timestamp, at) {
            Ok(()) => {}
            // The same one again, or another of the same number, which is not looked at.
            Err(Error::EqualVersion { .. }) => newest = before.map_or(timestamp, |it| it.timestamp.as_bytes()),
            Err(error) => return Err(wrong("timestamp", error, timestamp)),
        }
        set.check_timestamp_expired(at).map_err(|error| wrong("timestamp", error, &[]))?;
        shape::pinned("timestamp.json", "snapshot.json", set.timestamp().and_then(|it| it.snapshot_meta()))?;
        let snapshot = file(files, "snapshot.json")?;
        set.update_snapshot(snapshot, at).map_err(|error| wrong("snapshot", error, snapshot))?;
        pinned_by_snapshot(&set, "targets.json")?;
        let bytes = file(files, "targets.json")?;
        let targets = set.update_targets(bytes, at).map_err(|error| wrong("targets", error, bytes))?;
        let delegations = shape::targets(targets)?.clone();
        let kept = Cached {
            timestamp: text("timestamp.json", newest)?,
            snapshot: text("snapshot.json", snapshot)?,
            targets: text("targets.json", bytes)?,
            at: now,
        };
        let kept = (text("root.json", set.root_bytes())?, kept);
        Ok(Self { files, set, now, delegations, known, kept })
    }

    /// What a role signs, if there is such a role and it ever signed something.
    pub(crate) fn role(&mut self, role: Role) -> Result<Option<&Targets>, Refused> {
        let Some(keys) = self.keys(role) else { return Ok(None) };
        let name = role.file();
        if self.set.targets_role(role.name()).is_none() {
            // What it said once could not be left out again.
            if self.set.snapshot().is_none_or(|it| !it.meta.contains_key(&name)) {
                return Ok(None);
            }
            pinned_by_snapshot(&self.set, &name)?;
            let bytes = file(self.files, &name)?;
            let (known, delegations, now) = (&self.known, &self.delegations, self.now);
            let updated = self.set.update_delegated_targets(bytes, role.name(), "targets", jiff(now));
            let targets = updated.map_err(|error| {
                refused(&name, error, bytes, Some(now), |file| judge(file, &delegations.keys, &keys.keyids, known))
            })?;
            shape::delegated(role, targets)?;
        }
        Ok(self.set.targets_role(role.name()))
    }

    /// What a node keeps of it.
    pub(crate) fn into_kept(mut self) -> (String, Cached, BTreeSet<String>) {
        self.known.extend(self.delegations.keys.into_keys());
        (self.kept.0, self.kept.1, self.known)
    }

    fn keys(&self, role: Role) -> Option<RoleKeys> {
        self.delegations.roles.iter().find(|it| it.name == role.name()).map(|it| it.role_keys())
    }

    /// Who signed what a role says.
    pub(crate) fn signers(&self, role: Role) -> Vec<Signed> {
        let Some(keys) = self.keys(role) else { return Vec::new() };
        let value = file(self.files, &role.file()).ok().and_then(|bytes| serde_json::from_slice(bytes).ok());
        value.map_or_else(Vec::new, |value: Value| judge(&value, &self.delegations.keys, &keys.keyids, &self.known))
    }

    /// Keys that have a role, by what metadata calls them.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = (&String, &sigstore_tuf::Key)> {
        self.delegations.keys.iter().chain(&self.set.root().keys)
    }
}

/// A root has to be signed by those of the root before, and by its own.
fn by_both(file: &Value, old: &Root, new: &[u8], known: &BTreeSet<String>) -> Vec<Signed> {
    let signed = by_root(file, old, "root", known);
    let counts = signed.iter().filter(|it| it.worth == Worth::Counts).count();
    if old.role("root").is_some_and(|role| counts < role.threshold) {
        return signed;
    }
    File::<Root>::from_slice(new).map_or(signed, |new| by_root(file, new.signed(), "root", known))
}

fn pinned_by_snapshot(set: &TrustedMetadataSet, name: &str) -> Result<(), Refused> {
    shape::pinned("snapshot.json", name, set.snapshot().and_then(|it| it.meta.get(name)))
}

/// What was verified is JSON, and so text.
fn text(name: &str, bytes: &[u8]) -> Result<String, Refused> {
    let form = |what: &str| Refused::Form { file: name.to_owned(), what: what.to_owned() };
    String::from_utf8(bytes.to_vec()).map_err(|_| form("is no text"))
}

/// A file that belongs to no role is somebody's mistake, or worse.
fn only_ours(files: &Metadata) -> Result<(), Refused> {
    for name in files.keys() {
        let stem = name.as_str().strip_suffix(".json").unwrap_or_default();
        let root = stem.strip_suffix(".root").is_some_and(|number| number.parse::<u64>().is_ok());
        let fits = root || matches!(stem, "timestamp" | "snapshot" | "targets") || stem.parse::<Role>().is_ok();
        if !fits {
            let what = "is no file of metadata".to_owned();
            return Err(Refused::Role { file: name.to_string(), role: stem.chars().take(40).collect(), what });
        }
    }
    Ok(())
}
