//! What a bundle is for, and what each of its files is.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Limit, Place, Refused};
use crate::limits;
use crate::name::{Name, Path};

/// The manifest. What it says is believed only after whoever signed it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form: 1.
    pub bundle: u32,
    /// Whether it is a whole generation.
    pub kind: Kind,
    /// What it is a bundle of; versions of one name are compared.
    pub name: Name,
    /// Higher is newer.
    pub version: u64,
    /// From when on it may go into force, RFC 3339 in UTC.
    pub not_before: Time,
    /// Until when it may, likewise.
    pub expires: Time,
    /// Where it may run; anywhere when there is none.
    pub targets: Vec<Target>,
    /// Digest of the compiled tables, which the node compiles anew and compares.
    pub tables: Digest,
    /// Digests of the contracts of all shared records, by the name of their set.
    pub contracts: BTreeMap<Name, Digest>,
    /// Everything else, by path.
    pub files: BTreeMap<Path, Content>,
}

/// What a bundle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All that a generation is made of.
    Generation,
    /// Documents of policy and nothing else: what few may sign must not bring programs.
    Emergency,
}

/// An architecture, and the series of kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// As `uname -m` says it.
    pub architecture: Name,
    /// The first two numbers of a release, as `6.12`; any when there is none.
    pub kernels: Vec<Name>,
}

/// A file of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// What it is for.
    #[serde(rename = "use")]
    pub used_as: Use,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// An object of kernel programs.
    Programs,
    /// A document of policy.
    Policy,
    /// Packets with the verdicts that they must get.
    Probes,
    /// A plugin.
    Plugin,
}

/// A second of time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(SystemTime);

impl Time {
    /// The moment.
    #[must_use]
    pub fn moment(self) -> SystemTime {
        self.0
    }
}

impl From<SystemTime> for Time {
    /// To the second, downwards; what is before 1970 is 1970.
    fn from(moment: SystemTime) -> Self {
        let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
    }
}

/// The last second that RFC 3339 can write.
const LAST: u64 = 253_402_300_799;

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&humantime::format_rfc3339_seconds(self.0), f)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("{:?} is no time: write 2027-01-31T00:00:00Z", text.chars().take(40).collect::<String>());
        let time = humantime::parse_rfc3339(&text).map(Self).map_err(|_| wrong())?;
        // One way to write each.
        if String::from(time) == text { Ok(time) } else { Err(wrong()) }
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

/// The form that this version knows.
pub(crate) const FORM: u32 = 1;

impl Manifest {
    /// Reads one, and sees that it does not contradict itself.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let place = || Place::Field(String::from("as text"));
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|source| Refused::Syntax { place: place(), source })?;
        manifest.check()?;
        // One text for each: whoever compares manifests compares bytes.
        if manifest.text() != bytes {
            let what = String::from("not in canonical form (no spaces, fields in order, each once)");
            return Err(Refused::Contradiction { place: place(), what });
        }
        Ok(manifest)
    }

    /// Its text.
    pub(crate) fn text(&self) -> Vec<u8> {
        // Maps with text for keys, numbers and lists: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Sees that it does not contradict itself.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let wrong =
            |field: &str, what: String| Err(Refused::Contradiction { place: Place::Field(field.to_owned()), what });
        if self.bundle != FORM {
            return wrong("bundle", format!("form {}, this version of gabion knows form {FORM}", self.bundle));
        }
        if self.version == 0 {
            return wrong("version", String::from("versions begin at 1"));
        }
        if self.not_before >= self.expires {
            return wrong("expires", String::from("it expires before it may go into force"));
        }
        if self.files.len() > limits::FILES {
            let (found, most) = (self.files.len() as u64, limits::FILES as u64);
            return Err(Refused::Limit { place: Place::Field("files".into()), limit: Limit::Files, found, most });
        }
        let mut total = 0u64;
        for (path, content) in &self.files {
            if self.kind == Kind::Emergency && content.used_as != Use::Policy {
                let what = "an emergency bundle holds documents of policy and nothing else";
                return wrong(&format!("files, {path}"), what.to_owned());
            }
            let place = || Place::Field(format!("files, {path}"));
            let (found, most) = (content.size, limits::BLOB);
            if found > most {
                return Err(Refused::Limit { place: place(), limit: Limit::Blob, found, most });
            }
            total = total.saturating_add(content.size);
            // They are sorted, but not so that what is below a path would come right behind it.
            let parents = path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]);
            let file = parents.filter_map(|parent| parent.parse::<Path>().ok()).find(|it| self.files.contains_key(it));
            if let Some(file) = file {
                debug_assert!(path.is_below(&file));
                return wrong(&format!("files, {path}"), format!("it lies in {file}, which is a file"));
            }
        }
        if total > limits::BUNDLE {
            let place = Place::Field(String::from("files"));
            return Err(Refused::Limit { place, limit: Limit::Bundle, found: total, most: limits::BUNDLE });
        }
        Ok(())
    }
}
