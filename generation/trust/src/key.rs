//! Public keys: what they are made of, and the names by which metadata calls them.

use std::fmt;

use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_tuf::Key;
use sigstore_tuf::canonical_json::to_canonical_bytes;

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
        })
    }
}

/// The public half of a key. Two are the same when they are made of the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(Half);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(p256::ecdsa::VerifyingKey),
}

impl From<ed25519_dalek::VerifyingKey> for PublicKey {
    fn from(key: ed25519_dalek::VerifyingKey) -> Self {
        Self(Half::Ed25519(key))
    }
}

impl From<p256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        Self(Half::EcdsaP256(key))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.id())
    }
}

/// It is no public key that is taken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no public key that is taken here ({0}): Ed25519 and ECDSA over P-256 are")]
pub struct NoKey(pub(crate) String);

fn no_key(why: impl fmt::Display) -> NoKey {
    NoKey(why.to_string())
}

impl PublicKey {
    /// Of 32 bytes.
    ///
    /// # Errors
    /// They are no point of the curve, or one that would verify what nobody signed.
    pub fn ed25519(bytes: &[u8]) -> Result<Self, NoKey> {
        let bytes = bytes.try_into().map_err(|_| no_key("an Ed25519 key has 32 bytes"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(no_key)?;
        // One point has one text: two would count as two keys.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(no_key("not the one way to write its point"));
        }
        if key.is_weak() { Err(no_key("a point of small order")) } else { Ok(Self(Half::Ed25519(key))) }
    }

    /// Of a point as SEC 1 writes it.
    ///
    /// # Errors
    /// It is no point of the curve.
    pub fn p256(point: &[u8]) -> Result<Self, NoKey> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(|key| Self(Half::EcdsaP256(key))).map_err(no_key)
    }

    /// Of a file with `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// It is something else, or a key of another kind.
    pub fn of_pem(text: &str) -> Result<Self, NoKey> {
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(text.trim()) {
            return Self::ed25519(key.as_bytes());
        }
        let key = p256::ecdsa::VerifyingKey::from_public_key_pem(text.trim()).map_err(no_key)?;
        Ok(Self(Half::EcdsaP256(key)))
    }

    /// As such a file.
    #[must_use]
    pub fn pem(&self) -> String {
        let pem = match &self.0 {
            Half::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            Half::EcdsaP256(key) => key.to_public_key_pem(LineEnding::LF),
        };
        // A key that is there has a text.
        pem.unwrap_or_default()
    }

    /// Of a key in metadata, whatever that calls it.
    pub(crate) fn of_metadata(key: &Key) -> Result<Self, NoKey> {
        let public = key.keyval.public.as_str();
        let found = match (key.keytype.as_str(), key.scheme.as_str()) {
            ("ed25519", "ed25519") if !public.contains("BEGIN") => {
                Self::ed25519(&unhex(public).ok_or_else(|| no_key("not in digits 0-9 and a-f"))?)?
            }
            ("ed25519", "ed25519") | ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => Self::of_pem(public)?,
            (kind, scheme) => return Err(no_key(format!("{kind:.20} with {scheme:.30}"))),
        };
        let wanted = if key.keytype == "ed25519" { Algorithm::Ed25519 } else { Algorithm::EcdsaP256 };
        if found.algorithm() == wanted { Ok(found) } else { Err(no_key("a key of another kind than it says")) }
    }

    /// As metadata has it.
    #[must_use]
    pub fn metadata(&self) -> Value {
        match &self.0 {
            Half::Ed25519(key) => json!({
                "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex(key.as_bytes())},
            }),
            Half::EcdsaP256(_) => json!({
                "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": self.pem()},
            }),
        }
    }

    /// What metadata calls it: the digest of what it is made of.
    #[must_use]
    pub fn id(&self) -> String {
        // Text alone: there is no number that could not be written.
        hex(&Sha256::digest(to_canonical_bytes(&self.metadata()).unwrap_or_default()))
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Half::Ed25519(_) => Algorithm::Ed25519,
            Half::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// Whether it made this signature: 64 bytes of Ed25519, or ECDSA in DER.
    #[must_use]
    pub fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Half::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(data, &signature).is_ok()),
            Half::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| p256::ecdsa::signature::Verifier::verify(key, data, &signature).is_ok()),
        }
    }

    /// What two keys that are made of the same have in common.
    pub(crate) fn material(&self) -> Vec<u8> {
        match &self.0 {
            Half::Ed25519(key) => key.as_bytes().to_vec(),
            Half::EcdsaP256(key) => key.to_sec1_point(true).as_bytes().to_vec(),
        }
    }
}

/// In digits 0-9 and a-f.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|&byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// From digits 0-9 and a-f.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}
