//! A question as people and programs write it, and what can be wrong with it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A word or a whole number: programs may write either where both make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// A word.
    Text(Cow<'a, str>),
    /// A number.
    Number(u64),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrNumber;

        impl<'de> Visitor<'de> for WordOrNumber {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a whole number that is not negative")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                u64::try_from(number)
                    .map(Scalar::Number)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
        }

        deserializer.deserialize_any(WordOrNumber)
    }
}

/// One packet, described by its fields. What is absent is filled in as [`crate::Directory::packet`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Query<'a> {
    /// Source: IP address, MAC address, or name of an inventory entry (`name` or `namespace/name`).
    #[serde(borrow)]
    pub src: Option<Cow<'a, str>>,
    /// Destination, likewise.
    #[serde(borrow)]
    pub dst: Option<Cow<'a, str>>,
    /// Source MAC beside an IP address.
    #[serde(borrow)]
    pub src_mac: Option<Cow<'a, str>>,
    /// Destination MAC beside an IP address.
    #[serde(borrow)]
    pub dst_mac: Option<Cow<'a, str>>,
    /// IP protocol, by name or number.
    #[serde(borrow)]
    pub proto: Option<Scalar<'a>>,
    /// Source port.
    #[serde(borrow)]
    pub sport: Option<Scalar<'a>>,
    /// Destination port.
    #[serde(borrow)]
    pub dport: Option<Scalar<'a>>,
    /// Interface that the packet arrives on.
    #[serde(borrow, rename = "in")]
    pub arrives: Option<Cow<'a, str>>,
    /// Interface that the packet leaves by.
    #[serde(borrow, rename = "out")]
    pub leaves: Option<Cow<'a, str>>,
    /// EtherType after VLAN tags, by name or number.
    #[serde(borrow)]
    pub ethertype: Option<Scalar<'a>>,
    /// DSAP and SSAP of an LLC frame, `0x42/0x42`.
    #[serde(borrow)]
    pub llc: Option<Scalar<'a>>,
    /// ICMP or ICMPv6 type and code, `8/0` or `8`.
    #[serde(borrow)]
    pub icmp: Option<Scalar<'a>>,
    /// Hop limit of an IPv6 packet.
    #[serde(borrow)]
    pub hop_limit: Option<Scalar<'a>>,
    /// TCP flags, `syn,ack` or a number.
    #[serde(borrow)]
    pub flags: Option<Scalar<'a>>,
    /// VID of the outer tag.
    #[serde(borrow)]
    pub vlan: Option<Scalar<'a>>,
    /// VID of the inner tag.
    #[serde(borrow)]
    pub inner_vlan: Option<Scalar<'a>>,
    /// `none`, `first` or `later`.
    #[serde(borrow)]
    pub fragment: Option<Scalar<'a>>,
    /// Why the packet cannot be parsed.
    #[serde(borrow)]
    pub unparsed: Option<Scalar<'a>>,
}

/// A question that has no answer. Fields are named as [`Query`] and the command line name them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A field that the packet needs is not there.
    #[error("{field} is missing: {remedy}")]
    Missing {
        /// Field.
        field: &'static str,
        /// What to write.
        remedy: String,
    },
    /// A value that the field cannot have.
    #[error("{field}: {value:?} is not {expected}")]
    Invalid {
        /// Field.
        field: &'static str,
        /// What was written, shortened.
        value: String,
        /// What would be.
        expected: String,
    },
    /// Neither an address nor a known name.
    #[error("{field}: {name:?} is no IP or MAC address, and no inventory entry has that name{similar}")]
    NobodyNamed {
        /// Field.
        field: &'static str,
        /// What was written, shortened.
        name: String,
        /// `; did you mean ...?`, or nothing.
        similar: String,
    },
    /// A name that several namespaces use.
    #[error("{field}: several inventory entries have the name {name:?}; write one of {choices}")]
    Ambiguous {
        /// Field.
        field: &'static str,
        /// The name.
        name: String,
        /// Full names.
        choices: String,
    },
    /// Fields that no packet can have together.
    #[error("{one} and {other} contradict each other: {remedy}")]
    Contradiction {
        /// One field.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// What to write.
        remedy: String,
    },
}

/// Hostile input is echoed back, but not at any length.
pub(crate) fn shorten(value: &str) -> String {
    const LONGEST: usize = 80;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
