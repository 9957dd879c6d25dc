//! One file of metadata that is being written: what it says, and who signed that.

use std::collections::BTreeMap;

use gabion_bundle::Time;
use serde_json::{Map, Value, json};
use sigstore_tuf::Key;
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::key::hex;
use crate::signer::{Signer, Unsigned};
use crate::verify::{Signed, Worth, judge};

/// The version of the specification that is written.
const SPECIFICATION: &str = "1.0.31";

/// A file of metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub signed: Value,
    signatures: Vec<Value>,
}

/// Keys of a role, and how many of them it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authority {
    pub keys: BTreeMap<String, Key>,
    pub ids: Vec<String>,
    pub threshold: usize,
}

impl Authority {
    /// The role of a root, or of delegations: `keys` beside, `of` the role.
    pub(crate) fn of(keys: &Value, role: &Value) -> Self {
        let parsed = |value: &Value| serde_json::from_value(value.clone()).unwrap_or_default();
        let ids = serde_json::from_value(role["keyids"].clone()).unwrap_or_default();
        let threshold = role["threshold"].as_u64().and_then(|it| it.try_into().ok()).unwrap_or(usize::MAX);
        Self { keys: parsed(keys), ids, threshold }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.ids.iter().any(|it| it == key)
    }
}

impl Document {
    /// A new one, which nobody signed.
    pub(crate) fn new(kind: &str, version: u64, expires: Time, rest: Value) -> Self {
        let mut signed = json!({
            "_type": kind, "spec_version": SPECIFICATION, "version": version, "expires": expires.to_string(),
        });
        if let (Some(signed), Value::Object(rest)) = (signed.as_object_mut(), rest) {
            signed.extend(rest);
        }
        Self { signed, signatures: Vec::new() }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let signatures = value["signatures"].as_array().cloned().ok_or("no file of metadata: no signatures")?;
        if !value["signed"].is_object() {
            return Err("no file of metadata: nothing that is signed".to_owned());
        }
        Ok(Self { signed: value["signed"].clone(), signatures })
    }

    /// Its text, for people too.
    pub(crate) fn text(&self) -> Vec<u8> {
        let value = json!({"signatures": self.signatures, "signed": self.signed});
        // Values that were read, or made of text and numbers.
        let mut text = serde_json::to_vec_pretty(&value).unwrap_or_default();
        text.push(b'\n');
        text
    }

    pub(crate) fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap_or(0)
    }

    pub(crate) fn expires(&self) -> &str {
        self.signed["expires"].as_str().unwrap_or_default()
    }

    pub(crate) fn targets(&self) -> Map<String, Value> {
        self.signed["targets"].as_object().cloned().unwrap_or_default()
    }

    /// Whose signatures it bears.
    pub(crate) fn judged(&self, by: &Authority) -> Vec<Signed> {
        let value = json!({"signatures": self.signatures, "signed": self.signed});
        judge(&value, &by.keys, &by.ids, &Default::default())
    }

    pub(crate) fn valid(&self, by: &Authority) -> usize {
        self.judged(by).iter().filter(|it| it.worth == Worth::Counts).count()
    }

    pub(crate) fn complete(&self, by: &Authority) -> bool {
        self.valid(by) >= by.threshold.max(1)
    }

    pub(crate) fn signed_by(&self, key: &str) -> bool {
        self.signatures.iter().any(|it| it["keyid"] == key)
    }

    pub(crate) fn has_signatures(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Leaves the signatures that count by one of these.
    pub(crate) fn prune(&mut self, by: &[&Authority]) {
        let good: Vec<String> =
            by.iter().flat_map(|by| self.judged(by)).filter(|it| it.worth == Worth::Counts).map(|it| it.key).collect();
        self.signatures.retain(|it| good.iter().any(|key| it["keyid"] == key.as_str()));
    }

    pub(crate) fn sign(&mut self, key: &dyn Signer) -> Result<(), Unsigned> {
        let text = to_canonical_bytes(&self.signed).map_err(|error| Unsigned(error.to_string()))?;
        let signature = hex(&key.sign(&text)?);
        let id = key.public().id();
        self.signatures.retain(|it| it["keyid"] != id.as_str());
        self.signatures.push(json!({"keyid": id, "sig": signature}));
        Ok(())
    }
}
