//! What the library of metadata believes, and what it leaves to us.
#![allow(missing_docs, clippy::unwrap_used)]

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sigstore_tuf::TrustedMetadataSet;
use sigstore_tuf::canonical_json::to_canonical_bytes;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

enum Key {
    Ed(SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl Key {
    fn ed(seed: u8) -> Self {
        Self::Ed(SigningKey::from_bytes(&[seed; 32]))
    }

    fn p256(seed: u8) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn public(&self) -> Value {
        match self {
            Self::Ed(key) => {
                let public = hex(key.verifying_key().as_bytes());
                json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
            }
            Self::P256(key) => {
                use p256::pkcs8::EncodePublicKey as _;
                let pem = key.verifying_key().to_public_key_pem(p256::pkcs8::LineEnding::LF).unwrap();
                json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}})
            }
        }
    }

    fn sign(&self, bytes: &[u8]) -> String {
        match self {
            Self::Ed(key) => hex(&key.sign(bytes).to_bytes()),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(key, bytes);
                hex(signature.to_der().as_bytes())
            }
        }
    }
}

fn root(keys: &[(&str, &Key)], threshold: usize, signers: &[(&str, &Key)]) -> Vec<u8> {
    let ids: Vec<&str> = keys.iter().map(|(id, _)| *id).collect();
    let role = json!({"keyids": ids, "threshold": threshold});
    let all: serde_json::Map<String, Value> = keys.iter().map(|(id, key)| ((*id).to_owned(), key.public())).collect();
    let signed = json!({
        "_type": "root", "spec_version": "1.0.31", "version": 1, "expires": "2030-01-01T00:00:00Z",
        "consistent_snapshot": false, "keys": all,
        "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
    });
    let bytes = to_canonical_bytes(&signed).unwrap();
    let signatures: Vec<Value> =
        signers.iter().map(|(id, key)| json!({"keyid": id, "sig": key.sign(&bytes)})).collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
}

#[test]
fn thresholds_of_both_kinds_of_keys() {
    gabion_trust::install();
    let (a, b, c) = (Key::ed(1), Key::p256(2), Key::ed(3));
    let keys = [("a", &a), ("b", &b), ("c", &c)];
    assert!(TrustedMetadataSet::from_root(&root(&keys, 2, &keys[..2])).is_ok());
    assert!(TrustedMetadataSet::from_root(&root(&keys, 3, &keys[..2])).is_err(), "short by one");
    assert!(TrustedMetadataSet::from_root(&root(&keys, 2, &[keys[0], keys[0]])).is_err(), "one key twice");
    assert!(TrustedMetadataSet::from_root(&root(&keys, 2, &[keys[0], ("b", &c)])).is_err(), "another's signature");
}

#[test]
fn one_key_under_two_names() {
    gabion_trust::install();
    let a = Key::ed(1);
    let keys = [("a", &a), ("b", &a)];
    let believed = TrustedMetadataSet::from_root(&root(&keys, 2, &keys));
    assert!(believed.is_ok(), "the library counts names: whoever loads metadata has to compare keys");
}
