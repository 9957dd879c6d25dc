//! `PolicyTest` documents: what the owner of a policy expects of it.

use std::borrow::Cow;
use std::path::PathBuf;

use gabion_policy_explain::{Query, Scalar};
use gabion_policy_model::text::API_VERSION;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

/// The kind of these documents.
pub const KIND: &str = "PolicyTest";

/// A document as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document<'a> {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default)]
    #[allow(dead_code, reason = "people read it")]
    metadata: Option<Metadata>,
    /// Files or folders of policy, relative to the document's; its own folder when there are none.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    #[serde(borrow)]
    tests: Vec<Spanned<Case<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "people read it")]
struct Metadata {
    name: String,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

impl Expected {
    /// As documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One packet, and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case<'a> {
    /// What people call it.
    pub name: String,
    /// What becomes of it.
    pub expect: Expected,
    /// Full name of the rule or default that decides, where that is said.
    pub rule: Option<String>,
    /// Its tier, likewise.
    pub tier: Option<String>,
    from: Option<String>,
    to: Option<String>,
    from_mac: Option<String>,
    to_mac: Option<String>,
    #[serde(borrow)]
    protocol: Option<Scalar<'a>>,
    #[serde(borrow)]
    port: Option<Scalar<'a>>,
    #[serde(borrow)]
    source_port: Option<Scalar<'a>>,
    r#in: Option<String>,
    out: Option<String>,
    #[serde(borrow)]
    ether_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    llc: Option<Scalar<'a>>,
    #[serde(borrow)]
    icmp: Option<Scalar<'a>>,
    #[serde(borrow)]
    hop_limit: Option<Scalar<'a>>,
    #[serde(borrow)]
    tcp_flags: Option<Scalar<'a>>,
    #[serde(borrow)]
    vlan: Option<Scalar<'a>>,
    #[serde(borrow)]
    inner_vlan: Option<Scalar<'a>>,
    #[serde(borrow)]
    fragment: Option<Scalar<'a>>,
    #[serde(borrow)]
    unparsed: Option<Scalar<'a>>,
}

impl Case<'_> {
    /// The question that it is.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        fn text(value: &Option<String>) -> Option<Cow<'_, str>> {
            value.as_deref().map(Cow::Borrowed)
        }
        Query {
            src: text(&self.from),
            dst: text(&self.to),
            src_mac: text(&self.from_mac),
            dst_mac: text(&self.to_mac),
            proto: self.protocol.clone(),
            sport: self.source_port.clone(),
            dport: self.port.clone(),
            arrives: text(&self.r#in),
            leaves: text(&self.out),
            ethertype: self.ether_type.clone(),
            llc: self.llc.clone(),
            icmp: self.icmp.clone(),
            hop_limit: self.hop_limit.clone(),
            flags: self.tcp_flags.clone(),
            vlan: self.vlan.clone(),
            inner_vlan: self.inner_vlan.clone(),
            fragment: self.fragment.clone(),
            unparsed: self.unparsed.clone(),
        }
    }
}

/// A place in a document, from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// Text that is no `PolicyTest`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {message}", .at.line, .at.column)]
pub struct Malformed {
    /// Where.
    pub at: At,
    /// What is wrong.
    pub message: String,
}

impl<'a> Document<'a> {
    /// Reads the documents of a file.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn read(text: &'a str) -> Result<Vec<Self>, Malformed> {
        let malformed = |line, column, message| Malformed { at: At { line, column }, message };
        let documents: Vec<Self> = serde_saphyr::from_multiple(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            malformed(line, column, error.without_snippet().to_string())
        })?;
        if documents.is_empty() {
            return Err(malformed(1, 1, "there is no document in this file".to_owned()));
        }
        for Self { api_version, kind, tests, .. } in &documents {
            for (field, wanted) in [(api_version, API_VERSION), (kind, KIND)] {
                if field.value != wanted {
                    let (line, column) = (field.referenced.line(), field.referenced.column());
                    return Err(malformed(line, column, format!("this is {:?}, not {wanted}", field.value)));
                }
            }
            if tests.is_empty() {
                let (line, column) = (kind.referenced.line(), kind.referenced.column());
                return Err(malformed(line, column, "there are no tests in this document".to_owned()));
            }
        }
        Ok(documents)
    }

    /// Its cases, each with its place.
    pub fn cases(&self) -> impl Iterator<Item = (At, &Case<'a>)> {
        self.tests.iter().map(|case| {
            let at = At { line: case.referenced.line(), column: case.referenced.column() };
            (at, &case.value)
        })
    }
}
