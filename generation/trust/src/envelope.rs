//! Statements in envelopes: DSSE 1.0.2 around an in-toto statement, version 1.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::signer::{Signer, Unsigned};

/// What is in our envelopes.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Signatures on one envelope, at most.
const SIGNATURES: usize = 64;

/// An envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// It is no envelope that is taken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no envelope that is taken here: {0}")]
pub struct NoEnvelope(String);

impl Envelope {
    /// Around a statement, not signed yet.
    #[must_use]
    pub fn around(statement: &[u8]) -> Self {
        let payload = STANDARD.encode(statement);
        Self { payload_type: PAYLOAD_TYPE.to_owned(), payload, signatures: Vec::new() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It has not the form of one, or holds something else than a statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoEnvelope> {
        let envelope: Self = serde_json::from_slice(bytes).map_err(|error| NoEnvelope(error.to_string()))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            let found: String = envelope.payload_type.chars().take(80).collect();
            return Err(NoEnvelope(format!("payload of type {found:?}, not {PAYLOAD_TYPE}")));
        }
        let found = envelope.signatures.len();
        if found == 0 || found > SIGNATURES {
            return Err(NoEnvelope(format!("{found} signatures; there are 1 to {SIGNATURES}")));
        }
        decode(&envelope.payload).ok_or_else(|| NoEnvelope("payload: not in base64".to_owned()))?;
        Ok(envelope)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        // Text and lists of text: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The statement in it.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        decode(&self.payload).unwrap_or_default()
    }

    /// Adds a signature, or replaces the one by the same key.
    ///
    /// # Errors
    /// The key did not sign.
    pub fn sign(&mut self, key: &dyn Signer) -> Result<(), Unsigned> {
        let sig = STANDARD.encode(key.sign(&self.signed())?);
        let keyid = key.public().id();
        self.signatures.retain(|it| it.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
        Ok(())
    }

    /// The name of the key of each signature, and whether one of the given keys of that name made it; nothing where
    /// there is none of that name.
    pub fn signatures<'e>(
        &'e self,
        key: impl Fn(&str) -> Option<PublicKey> + 'e,
    ) -> impl Iterator<Item = (&'e str, Option<bool>)> {
        let text = self.signed();
        self.signatures.iter().map(move |it| {
            let key = key(&it.keyid);
            let sig = decode(&it.sig).unwrap_or_default();
            (it.keyid.as_str(), key.map(|key| key.verifies(&text, &sig)))
        })
    }

    /// What is signed: type and statement, each with its length.
    fn signed(&self) -> Vec<u8> {
        let payload = self.payload();
        let mut text =
            format!("DSSEv1 {} {} {} ", self.payload_type.len(), self.payload_type, payload.len()).into_bytes();
        text.extend(payload);
        text
    }
}

/// In either alphabet, as the specification asks.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the specification: payload `hello world`, type `http://example.com/HelloWorld`.
    #[test]
    fn what_is_signed_is_as_the_specification_says() {
        let envelope = Envelope {
            payload_type: "http://example.com/HelloWorld".to_owned(),
            payload: STANDARD.encode("hello world"),
            signatures: Vec::new(),
        };
        assert_eq!(envelope.signed(), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let cases = [
            ("{}", "missing field `payloadType`"),
            (r#"{"payloadType":"text/html","payload":"","signatures":[{"sig":""}]}"#, "\"text/html\""),
            (r#"{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[]}"#, "0 signatures"),
            (r#"{"payloadType":"application/vnd.in-toto+json","payload":"?","signatures":[{"sig":""}]}"#, "base64"),
        ];
        for (text, reason) in cases {
            let error = Envelope::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
