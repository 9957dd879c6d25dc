//! Whose signatures a file of metadata bears, and which of them count.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sigstore_tuf::Key;
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::key::{PublicKey, unhex};
use crate::refused::Refused;

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worth {
    /// It counts.
    Counts,
    /// It is by a key of the role, and not of this text.
    Wrong,
    /// Its key had the role once.
    Revoked,
    /// Its key does not have the role.
    Unknown,
    /// Its key signed already.
    Again,
}

/// A signature on a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// What metadata calls the key.
    pub key: String,
    /// What it is worth.
    pub worth: Worth,
}

/// All signatures of a file, held against the keys of a role. `known` are keys that somebody had once.
pub(crate) fn judge(
    file: &Value,
    keys: &BTreeMap<String, Key>,
    of_role: &[String],
    known: &BTreeSet<String>,
) -> Vec<Signed> {
    let text = to_canonical_bytes(&file["signed"]).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for signature in file["signatures"].as_array().into_iter().flatten() {
        let (Some(key), Some(bytes)) = (signature["keyid"].as_str(), signature["sig"].as_str()) else { continue };
        let public = keys.get(key).filter(|_| of_role.iter().any(|it| it == key));
        let worth = match public.map(PublicKey::of_metadata) {
            None if known.contains(key) => Worth::Revoked,
            None | Some(Err(_)) => Worth::Unknown,
            Some(Ok(_)) if !seen.insert(key.to_owned()) => Worth::Again,
            Some(Ok(public)) => match unhex(bytes) {
                Some(bytes) if public.verifies(&text, &bytes) => Worth::Counts,
                _ => Worth::Wrong,
            },
        };
        all.push(Signed { key: key.chars().take(64).collect(), worth });
    }
    all
}

/// Why a file has not enough signatures: the worst reason first.
pub(crate) fn short(file: &str, role: &str, signed: &[Signed], threshold: usize) -> Refused {
    let (file, role) = (file.to_owned(), role.to_owned());
    let valid = signed.iter().filter(|it| it.worth == Worth::Counts).count();
    let of = |worth| signed.iter().find(|it| it.worth == worth).map(|it| it.key.clone());
    if let Some(key) = of(Worth::Again) {
        return Refused::SignedTwice { file, role, key };
    }
    if let Some(key) = of(Worth::Revoked) {
        return Refused::KeyRevoked { file, role, key, valid, threshold };
    }
    if let Some(key) = of(Worth::Unknown) {
        return Refused::KeyUnknown { file, role, key, valid, threshold };
    }
    if let Some(key) = of(Worth::Wrong) {
        return Refused::Signature { file, role, key, valid, threshold };
    }
    Refused::Threshold { file, role, valid, threshold }
}
