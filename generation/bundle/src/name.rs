//! Names and paths within a bundle: what can be written to a disk, a log and a registry without a second thought.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// A name: a to z, digits, dots, dashes and underscores, no mark first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A path: names with slashes between, of a file. It leads nowhere but down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

/// What is wrong with a name or a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is too long, or there is nothing.
    #[error("{what} of {bytes} bytes; there are 1 to {limit}")]
    Length {
        /// A name or a path.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It has something in it that it must not have.
    #[error("{text:?} is no {what}: {rule}")]
    Form {
        /// A name or a path.
        what: &'static str,
        /// The beginning of it.
        text: String,
        /// What it must be.
        rule: &'static str,
    },
}

const NAME_RULE: &str = "letters, digits, `.`, `-` and `_`, of which a letter or a digit comes first";
const PATH_RULE: &str = "names with one `/` between, none at either end, and no `.` or `..`";

fn check(what: &'static str, text: &str, limit: usize, rule: &'static str, fits: bool) -> Result<(), Wrong> {
    if text.is_empty() || text.len() > limit {
        return Err(Wrong::Length { what, bytes: text.len(), limit });
    }
    if fits { Ok(()) } else { Err(Wrong::Form { what, text: text.chars().take(80).collect(), rule }) }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

impl FromStr for Name {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        check("name", text, limits::NAME, NAME_RULE, is_name(text)).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for Path {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = text.split('/').all(is_name);
        check("path", text, limits::PATH, PATH_RULE, fits).map(|()| Self(text.to_owned()))
    }
}

macro_rules! text {
    ($($kind:ident),*) => {$(
        impl $kind {
            /// As it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

text!(Name, Path);

impl Path {
    /// Whether one would have to be a folder for the other to be a file.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_nowhere_but_down() {
        for path in ["site.yaml", "policy/plc-1.yaml", "a/b/c/D_4.x"] {
            assert_eq!(path.parse::<Path>().unwrap().as_str(), path);
        }
        let long = "a/".repeat(128);
        let others =
            ["", "/", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a b", "a\0b", ".hidden"];
        for path in others.into_iter().chain(["-rf", "a/-b", "C:/x", "ä", "a\nb", &long]) {
            assert!(path.parse::<Path>().is_err(), "{path:?}");
        }
        assert!("substation-7".parse::<Name>().is_ok());
        assert!("a/b".parse::<Name>().is_err());
    }

    #[test]
    fn a_file_is_no_folder() {
        let path = |text: &str| text.parse::<Path>().unwrap();
        assert!(path("a/b").is_below(&path("a")));
        assert!(!path("ab").is_below(&path("a")) && !path("a").is_below(&path("a")));
    }
}
