//! Where something comes from: an in-toto statement, version 1, with a SLSA provenance predicate, version 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of what ours say.
pub const PROVENANCE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// A statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Resource>,
    /// What kind of thing it says.
    pub predicate_type: String,
    /// What it says.
    #[serde(default)]
    pub predicate: Value,
}

/// Something with a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// By kind of digest: `sha256`, `gitCommit`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// What else is to be known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}

impl Resource {
    /// A file.
    #[must_use]
    pub fn file(name: impl Into<String>, sha256: impl Into<String>) -> Self {
        let digest = BTreeMap::from([("sha256".to_owned(), sha256.into())]);
        Self { name: Some(name.into()), digest, ..Self::default() }
    }

    /// A commit.
    #[must_use]
    pub fn commit(uri: Option<String>, hash: impl Into<String>) -> Self {
        let digest = BTreeMap::from([("gitCommit".to_owned(), hash.into())]);
        Self { name: Some("source".to_owned()), uri, digest, ..Self::default() }
    }

    /// The same, when what was built is not quite what the digest names.
    #[must_use]
    pub fn changed_since(mut self) -> Self {
        self.annotations.insert("uncommittedChanges".to_owned(), Value::Bool(true));
        self
    }
}

/// How something was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for, and what went in.
    pub build_definition: Definition,
    /// Who did it.
    pub run_details: Run,
}

/// What was asked for, and what went in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// What kind of build: says what the parameters mean.
    pub build_type: String,
    /// What whoever asked for the build chose.
    pub external_parameters: Value,
    /// What went in.
    #[serde(default)]
    pub resolved_dependencies: Vec<Resource>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The builder.
    pub builder: Builder,
}

/// A builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Which one.
    pub id: String,
    /// Versions of what it is made of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

impl Statement {
    /// That these were built so.
    #[must_use]
    pub fn provenance(subject: Vec<Resource>, provenance: &Provenance) -> Self {
        // A record of text, lists and values: there is nothing that could fail.
        let predicate = serde_json::to_value(provenance).unwrap_or_default();
        let (kind, predicate_type) = (STATEMENT_TYPE.to_owned(), PROVENANCE_TYPE.to_owned());
        Self { kind, subject, predicate_type, predicate }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(bytes).map_err(|error| format!("no statement: {error}"))?;
        if statement.kind != STATEMENT_TYPE {
            let found: String = statement.kind.chars().take(80).collect();
            return Err(format!("no statement: of type {found:?}, not {STATEMENT_TYPE}"));
        }
        if statement.predicate_type == PROVENANCE_TYPE {
            statement.built()?;
        }
        Ok(statement)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it is about something with this digest.
    #[must_use]
    pub fn is_about(&self, sha256: &str) -> bool {
        self.subject.iter().any(|it| it.digest.get("sha256").is_some_and(|digest| digest == sha256))
    }

    /// What it says of a build; nothing where it says something else.
    ///
    /// # Errors
    /// It says that it does, and does not.
    pub fn built(&self) -> Result<Option<Provenance>, String> {
        if self.predicate_type != PROVENANCE_TYPE {
            return Ok(None);
        }
        let parsed = serde_json::from_value(self.predicate.clone());
        parsed.map(Some).map_err(|error| format!("no provenance: {error}"))
    }
}

impl Provenance {
    /// The commit that went in.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let all = &self.build_definition.resolved_dependencies;
        all.iter().find_map(|it| it.digest.get("gitCommit")).map(String::as_str)
    }
}
