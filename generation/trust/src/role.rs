//! Who signs what.

use std::fmt;
use std::str::FromStr;

use gabion_bundle::Name;

/// A role that signs what runs on a node. Which keys it has, `targets.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Signs kernel programs and plugins, by their digests.
    Release,
    /// Signs bundles, by what they are known by.
    Policy,
    /// Signs bundles that hold policy alone, with fewer people.
    Emergency,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Release, Self::Policy, Self::Emergency];

    /// What metadata calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Policy => "policy",
            Self::Emergency => "emergency",
        }
    }

    /// Its file.
    pub(crate) fn file(self) -> String {
        format!("{}.json", self.name())
    }

    /// The only paths that it signs.
    pub(crate) fn paths(self) -> String {
        format!("{}/*", self.name())
    }

    /// What it calls something of this name.
    pub(crate) fn target(self, name: impl fmt::Display) -> String {
        format!("{}/{name}", self.name())
    }

    /// Whether a path is one of its own.
    pub(crate) fn may_sign(self, path: &str) -> bool {
        let rest = path.strip_prefix(self.name()).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|name| name.parse::<Name>().is_ok() || is_hex(name))
    }
}

/// A digest, which is longer than a name may be.
fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: release, policy and emergency are")]
pub struct NoRole(String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| NoRole(text.chars().take(40).collect()))
    }
}
