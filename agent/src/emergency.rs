//! Deny lists that are in force beside the policy: what comes with one, and what is remembered of it.

use std::collections::BTreeMap;
use std::time::Instant;

use gabion_bundle::Time;
use gabion_trust::Trust;
use serde::{Deserialize, Serialize};

use crate::policy::SourceFile;

/// A deny list that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// What it is a version of: there is one of each name.
    pub name: String,
    /// Which.
    pub version: u64,
    /// Id of its bundle.
    pub id: String,
    /// Who vouches for it, for people.
    pub vouched: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// By which time it was accepted.
    pub at: Time,
    /// Until when.
    pub until: Time,
    /// Number of its denials.
    pub denials: usize,
    /// Its documents.
    pub files: Vec<SourceFile>,
}

/// Deny lists in force, by name.
pub type Lists = BTreeMap<String, Emergency>;

/// Names of lists, and which version of each it is: what a generation was made with.
pub type Ids = BTreeMap<String, String>;

/// Which lists they are.
pub fn ids(lists: &Lists) -> Ids {
    lists.values().map(|it| (it.name.clone(), it.id.clone())).collect()
}

impl Emergency {
    /// Name and version.
    pub fn what(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// An emergency bundle that may be taken.
#[derive(Clone, Debug)]
pub struct Brought {
    /// What is in it. A list without denials lifts what was in force under its name.
    pub emergency: Emergency,
    /// What to trust from then on.
    pub trust: Option<Trust>,
    /// What to tell.
    pub alarms: Vec<String>,
    /// When it was opened.
    pub since: Instant,
}
