//! Metadata and a bundle → whether a node may take it.

mod bundle;
mod metadata;
mod provenance;
pub(crate) mod shape;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use gabion_bundle::{Attachment, Bundle, Digest, Kind, Metadata, Name, Time};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, ClockPolicy, Doubt, Moment};
use crate::refused::Refused;
use crate::role::Role;
pub(crate) use metadata::Believed;
pub use provenance::Provenance;
pub(crate) use signatures::judge;
pub use signatures::{Signed, Worth};

/// What a node trusts: a root, what it has seen so far, and the versions below which it does not go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trust {
    /// Version of this form: 1.
    trust: u32,
    root: String,
    before: Option<Cached>,
    /// Keys that had a role once, by name: whose signature counts no more was revoked.
    known: BTreeSet<String>,
    /// The latest time that is known to have been.
    latest: Time,
    /// By role and name.
    floors: BTreeMap<String, u64>,
}

/// Metadata that was believed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cached {
    timestamp: String,
    snapshot: String,
    targets: String,
    at: Time,
}

/// The node that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As `uname -m` says it.
    pub architecture: Name,
    /// The first two numbers of its kernel's release.
    pub kernel: Name,
    /// Digests of the contracts that its agent has, by the name of their set.
    pub contracts: BTreeMap<Name, Digest>,
    /// The name of bundles that it takes; every one that policy signs when there is none.
    pub bundle: Option<Name>,
}

/// What a bundle is judged by, beside what is trusted.
#[derive(Clone, Debug)]
pub struct Circumstances<'n> {
    /// What the clock says.
    pub clock: Clock,
    /// What the site wants where that cannot be trusted.
    pub policy: ClockPolicy,
    /// Where it is to run.
    pub node: &'n Node,
    /// Digests of programs that need nobody's signature: those that came with the agent.
    pub programs: &'n BTreeSet<Digest>,
}

/// A grant to go back below what a node has accepted: signed by the role with the bundle that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The lowest version that it lets in.
    pub floor: u64,
    /// Until when.
    pub expires: Time,
    /// Why.
    pub reason: String,
}

/// What a role says of a bundle, beside its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Custom {
    /// As its manifest.
    pub version: u64,
    /// How far back a node may go for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
}

/// Something that an operator has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Everything was judged by a clock that is not to be trusted.
    Clock(Doubt),
    /// The node went back below its floor.
    WentBack {
        /// From.
        floor: u64,
        /// To.
        version: u64,
        /// By what right.
        grant: Grant,
    },
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clock(doubt) => doubt.fmt(f),
            Self::WentBack { floor, version, grant: Grant { expires, reason, .. } } => {
                write!(f, "back from version {floor} to {version}, as was granted until {expires}: {reason}")
            }
        }
    }
}

/// A bundle that may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What to trust from now on: to be stored, once the bundle has passed everything else, and not before.
    pub next: Trust,
    /// Which role signed it.
    pub by: Role,
    /// Whose signatures that took.
    pub signed: Vec<Signed>,
    /// The time by which it was judged.
    pub at: Time,
    /// What to tell.
    pub alarms: Vec<Alarm>,
    /// Where it comes from, as far as somebody says so.
    pub provenance: Vec<Provenance>,
}

/// How long an emergency bundle may be in force after it was accepted: long enough for the many to say the same in a
/// policy, and too short for the few to rule instead of them.
pub const EMERGENCY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Attempts with metadata that is attached more than once.
const ATTEMPTS: usize = 8;

impl Trust {
    /// Begins with a root that somebody brought here by another way.
    ///
    /// # Errors
    /// It is no root, or its own keys did not sign it.
    pub fn begin(root: &[u8]) -> Result<Self, Refused> {
        metadata::begin("root.json", root)?;
        let form = |_| Refused::Form { file: String::from("root.json"), what: String::from("is no text") };
        let root = String::from_utf8(root.to_vec()).map_err(form)?;
        let latest = Time::from(SystemTime::UNIX_EPOCH);
        Ok(Self { trust: 1, root, before: None, known: BTreeSet::new(), latest, floors: BTreeMap::new() })
    }

    /// What was stored, again.
    ///
    /// # Errors
    /// [`Refused::Stored`].
    pub fn open(stored: &[u8]) -> Result<Self, Refused> {
        let wrong = |what: String| Refused::Stored { what };
        let trust: Self = serde_json::from_slice(stored).map_err(|error| wrong(error.to_string()))?;
        if trust.trust != 1 {
            return Err(wrong(format!("form {}, this version of gabion knows form 1", trust.trust)));
        }
        metadata::begin("root.json", trust.root.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        Ok(trust)
    }

    /// What is to be stored.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        // Text, numbers and maps with text for keys: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The version below which it does not go.
    #[must_use]
    pub fn floor(&self, role: Role, name: &Name) -> Option<u64> {
        self.floors.get(&role.target(name)).copied()
    }

    /// The latest time that is known to have been.
    #[must_use]
    pub fn latest(&self) -> Time {
        self.latest
    }

    /// The root that is trusted.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        self.root.as_bytes()
    }

    /// Whether a bundle may be taken. It changes nothing: what it comes to trust is in what it gives back.
    ///
    /// # Errors
    /// [`Refused`], by its first reason.
    pub fn verify(&self, bundle: &Bundle, circumstances: &Circumstances<'_>) -> Result<Accepted, Refused> {
        let moment = circumstances.policy.moment(circumstances.clock, self.latest)?;
        let mut sets: Vec<&Metadata> = bundle.attached().iter().filter_map(metadata_of).collect();
        // A registry keeps what was attached before. The newest is the one to try; what it says of its number is as
        // yet nobody's word, so that the others come after it.
        sets.sort_by_cached_key(|set| std::cmp::Reverse(number(set)));
        let mut first = None;
        for set in sets.into_iter().take(ATTEMPTS) {
            match self.verify_with(bundle, set, circumstances, moment) {
                Ok(mut accepted) => {
                    if let Some(doubt) = moment.doubt {
                        accepted.alarms.insert(0, Alarm::Clock(doubt));
                    } else {
                        accepted.next.latest = moment.at;
                    }
                    return Ok(accepted);
                }
                Err(refused) => first = first.or(Some(refused)),
            }
        }
        Err(first.unwrap_or(Refused::NoMetadata))
    }

    fn verify_with(
        &self,
        bundle: &Bundle,
        files: &Metadata,
        circumstances: &Circumstances<'_>,
        Moment { at, doubt }: Moment,
    ) -> Result<Accepted, Refused> {
        let mut believed = Believed::walk(self.root.as_bytes(), self.before.as_ref(), &self.known, files, at)?;
        let (by, custom) = bundle::signed_by(&mut believed, bundle)?;
        bundle::programs(&mut believed, bundle, circumstances.programs)?;
        bundle::in_time(bundle.manifest(), at)?;
        // By a clock that may be far behind, nothing can be said of how long it is.
        if doubt.is_none() {
            bundle::soon_over(bundle.manifest(), at)?;
        }
        bundle::fits(bundle.manifest(), circumstances.node)?;
        let mut alarms = Vec::new();
        let name = &bundle.manifest().name;
        // An emergency's versions are its own, whoever signed which of them.
        let line = if bundle.manifest().kind == Kind::Emergency { Role::Emergency } else { by };
        alarms.extend(bundle::above(self.floor(line, name), bundle.manifest(), &custom, at)?);
        let provenance = provenance::read(bundle, &believed)?;
        let mut floors = self.floors.clone();
        floors.insert(line.target(name), bundle.manifest().version);
        let signed = believed.signers(by).into_iter().filter(|it| it.worth == Worth::Counts).collect();
        let (root, before, known) = believed.into_kept();
        let next = Self { trust: 1, root, before: Some(before), known, latest: self.latest, floors };
        Ok(Accepted { next, by, signed, at, alarms, provenance })
    }
}

fn metadata_of(attachment: &Attachment) -> Option<&Metadata> {
    match attachment {
        Attachment::Trust(metadata) => Some(metadata),
        _ => None,
    }
}

/// The number that a timestamp gives itself.
fn number(files: &Metadata) -> u64 {
    let timestamp = files.iter().find(|(name, _)| name.as_str() == "timestamp.json");
    let value: Option<serde_json::Value> = timestamp.and_then(|(_, bytes)| serde_json::from_slice(bytes).ok());
    value.and_then(|value| value["signed"]["version"].as_u64()).unwrap_or(0)
}
