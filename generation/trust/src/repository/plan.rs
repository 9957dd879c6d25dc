//! Who has which role, from the beginning and later.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gabion_bundle::Time;
use serde_json::{Map, Value, json};
use sigstore_tuf::metadata::{Root, Targets};

use super::{Document, Repository, Wrong, root_file};
use crate::key::PublicKey;
use crate::role::{NoRole, Role};
use crate::verify::shape;

/// Somebody with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Says who all others are.
    Root,
    /// Says who has the roles.
    Targets,
    /// Says what is current: snapshot and timestamp.
    Publisher,
    /// Signs what runs.
    Role(Role),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Targets => f.write_str("targets"),
            Self::Publisher => f.write_str("publisher"),
            Self::Role(role) => role.fmt(f),
        }
    }
}

impl FromStr for Who {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        Ok(match text {
            "root" => Self::Root,
            "targets" => Self::Targets,
            "publisher" => Self::Publisher,
            other => Self::Role(other.parse()?),
        })
    }
}

/// Keys, and how many of them have to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many of them.
    pub threshold: usize,
}

/// How long what somebody signs is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Root and targets.
    pub keys: Duration,
    /// What release, policy and emergency sign.
    pub roles: Duration,
    /// Snapshot and timestamp: so long can somebody hold back what is newer.
    pub publication: Duration,
}

const DAY: u64 = 24 * 60 * 60;

impl Default for Lives {
    fn default() -> Self {
        let days = |days| Duration::from_secs(days * DAY);
        Self { keys: days(365), roles: days(365), publication: days(30) }
    }
}

/// Who has which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By who it is. Root, targets, publisher and at least one role have to be there.
    pub keys: BTreeMap<Who, Keys>,
}

/// Keys by name.
fn named(keys: &[PublicKey]) -> Map<String, Value> {
    keys.iter().map(|key| (key.id(), key.metadata())).collect()
}

fn role(keys: &Keys) -> Value {
    json!({"keyids": keys.keys.iter().map(PublicKey::id).collect::<Vec<_>>(), "threshold": keys.threshold})
}

const REMEDY: &str = "each role takes keys, each of them once, and a threshold from 1 to as many";

fn root(plan: &BTreeMap<Who, Keys>, version: u64, expires: Time) -> Result<Document, Wrong> {
    let of = |who: Who| plan.get(&who).ok_or_else(|| Wrong::new(format!("{who} has no keys"), REMEDY));
    let (root, targets, publisher) = (of(Who::Root)?, of(Who::Targets)?, of(Who::Publisher)?);
    let all: Vec<PublicKey> = [root, targets, publisher].iter().flat_map(|it| it.keys.iter().copied()).collect();
    let document = Document::new(
        "root",
        version,
        expires,
        json!({
            "consistent_snapshot": false, "keys": named(&all),
            "roles": {"root": role(root), "targets": role(targets), "snapshot": role(publisher), "timestamp": role(publisher)},
        }),
    );
    let parsed: Root =
        serde_json::from_value(document.signed.clone()).map_err(|it| Wrong::new(it.to_string(), REMEDY))?;
    shape::root(&root_file(version), &parsed).map_err(|it| Wrong::new(it.to_string(), REMEDY))?;
    Ok(document)
}

fn targets(plan: &BTreeMap<Who, Keys>, version: u64, expires: Time) -> Result<Document, Wrong> {
    let given = || Role::ALL.into_iter().filter_map(|it| Some((it, plan.get(&Who::Role(it))?)));
    let all: Vec<PublicKey> = given().flat_map(|(_, keys)| keys.keys.iter().copied()).collect();
    let roles = given().map(|(it, keys)| {
        let mut delegated = role(keys);
        delegated["name"] = it.name().into();
        delegated["paths"] = json!([it.paths()]);
        delegated["terminating"] = true.into();
        delegated
    });
    let delegations = json!({"keys": named(&all), "roles": roles.collect::<Vec<_>>()});
    let document = Document::new("targets", version, expires, json!({"targets": {}, "delegations": delegations}));
    let parsed: Targets =
        serde_json::from_value(document.signed.clone()).map_err(|it| Wrong::new(it.to_string(), REMEDY))?;
    shape::targets(&parsed).map_err(|it| Wrong::new(it.to_string(), REMEDY))?;
    if all.is_empty() {
        return Err(Wrong::new("no role has keys", REMEDY));
    }
    Ok(document)
}

impl Repository {
    /// Drafts of the first root and the first targets.
    ///
    /// # Errors
    /// Somebody has no keys, one twice, or a threshold that they do not reach.
    pub fn begin(plan: &Plan, expires: Time) -> Result<Self, Wrong> {
        let mut site = Self::default();
        site.drafts.insert(root_file(1), root(&plan.keys, 1, expires)?);
        site.drafts.insert("targets.json".to_owned(), targets(&plan.keys, 1, expires)?);
        Ok(site)
    }

    /// Who has which role, by what is in force, or else by the drafts.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut keys = BTreeMap::new();
        let of = |all: &Value, role: &Value| {
            let authority = super::Authority::of(all, role);
            let public = authority.ids.iter().filter_map(|id| PublicKey::of_metadata(authority.keys.get(id)?).ok());
            Keys { keys: public.collect(), threshold: authority.threshold }
        };
        if let Some((_, root)) = self.root().or_else(|| self.draft_root()) {
            for (who, role) in [(Who::Root, "root"), (Who::Targets, "targets"), (Who::Publisher, "timestamp")] {
                keys.insert(who, of(&root.signed["keys"], &root.signed["roles"][role]));
            }
        }
        if let Some(targets) = self.files.get("targets.json").or_else(|| self.drafts.get("targets.json")) {
            let delegations = &targets.signed["delegations"];
            for role in delegations["roles"].as_array().into_iter().flatten() {
                if let Some(who) = role["name"].as_str().and_then(|name| name.parse().ok()) {
                    keys.insert(Who::Role(who), of(&delegations["keys"], role));
                }
            }
        }
        Plan { keys }
    }

    /// Gives somebody other keys, or another threshold: a draft of the next root, or of the next targets. Also without
    /// a change, to renew what expires.
    ///
    /// # Errors
    /// As [`Repository::begin`]; or nothing is in force yet; or such a draft waits already, for another change.
    pub fn rotate(&mut self, who: Who, to: Keys, expires: Time) -> Result<(), Wrong> {
        let mut plan = self.plan();
        plan.keys.insert(who, to);
        let (current, file) = match who {
            Who::Role(_) => (self.files.get("targets.json").map(Document::version), "targets.json".to_owned()),
            _ => {
                let current = self.root().map(|(version, _)| version);
                (current, root_file(current.unwrap_or(0) + 1))
            }
        };
        let Some(current) = current else {
            return Err(Wrong::new(format!("{file} is not in force yet"), "have it signed first: `gabion trust show`"));
        };
        if self.drafts.contains_key(&file) {
            let what = format!("a draft of {file} waits already");
            return Err(Wrong::new(what, "let it be signed to its end, or remove it from the folder drafts"));
        }
        let draft = match who {
            Who::Role(_) => targets(&plan.keys, current + 1, expires)?,
            _ => root(&plan.keys, current + 1, expires)?,
        };
        self.drafts.insert(file, draft);
        Ok(())
    }
}
