//! Keys that sign: in memory, from a file that a passphrase opens. (Those in a token: `token`.)

use std::fmt;

use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use pkcs8::der::Decode as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::key::{Algorithm, PublicKey};

/// Whoever can sign.
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// A signature: 64 bytes of Ed25519, or ECDSA in DER.
    ///
    /// # Errors
    /// What a token says. A key in memory always signs.
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Unsigned>;
}

/// It did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token does not sign: {0}")]
pub struct Unsigned(pub(crate) String);

/// A key in memory.
pub struct FileKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.public())
    }
}

/// Why a file of a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is something else.
    #[error("no encrypted private key: {0}")]
    Form(String),
    /// Anybody could read it.
    #[error("a private key that is not encrypted: `openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt` encrypts it")]
    Open,
    /// It is another passphrase, or the file was changed.
    #[error("the passphrase does not open it")]
    Passphrase,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

impl FileKey {
    /// A new one, by the system's random numbers.
    ///
    /// # Errors
    /// [`Unopened::Random`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, Unopened> {
        let mut seed = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut *seed).map_err(|error| Unopened::Random(error.to_string()))?;
            // One in 2^32 numbers is none of P-256.
            if let Some(key) = Self::of_seed(algorithm, &seed) {
                return Ok(key);
            }
        }
    }

    /// The key that these 32 bytes are, if they are one. For tests, which want the same ones every time.
    #[must_use]
    pub fn of_seed(algorithm: Algorithm, seed: &[u8; 32]) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => Some(Self(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)))),
            Algorithm::EcdsaP256 => {
                p256::ecdsa::SigningKey::from_slice(seed).ok().map(|key| Self(Secret::EcdsaP256(key)))
            }
        }
    }

    /// From a file with `BEGIN ENCRYPTED PRIVATE KEY` (PKCS #8, PBES2 with scrypt or PBKDF2).
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn of_pem(text: &str, passphrase: &[u8]) -> Result<Self, Unopened> {
        let form = |error: &dyn fmt::Display| Unopened::Form(error.to_string());
        let (label, document) = SecretDocument::from_pem(text.trim()).map_err(|error| form(&error))?;
        match label {
            ENCRYPTED => {}
            "PRIVATE KEY" | "EC PRIVATE KEY" => return Err(Unopened::Open),
            other => return Err(Unopened::Form(format!("it is a {other:.40}"))),
        }
        let encrypted = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|error| form(&error))?;
        let opened = encrypted.decrypt(passphrase).map_err(|_| Unopened::Passphrase)?;
        // What a wrong passphrase gives may look like a text, and seldom like a key.
        let info = PrivateKeyInfoRef::from_der(opened.as_bytes()).map_err(|_| Unopened::Passphrase)?;
        if let Ok(pair) = ed25519_dalek::pkcs8::KeypairBytes::try_from(info) {
            return Ok(Self(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&pair.secret_key))));
        }
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(opened.as_bytes());
        let key = key.map_err(|_| Unopened::Form("neither Ed25519 nor ECDSA over P-256".to_owned()))?;
        Ok(Self(Secret::EcdsaP256(key)))
    }

    /// As such a file: AES-256 in CBC mode, the key of which scrypt makes of the passphrase (N = 2^15, r = 8, p = 1).
    ///
    /// # Errors
    /// [`Unopened::Random`].
    pub fn pem(&self, passphrase: &[u8]) -> Result<Zeroizing<String>, Unopened> {
        let form = |error: &dyn fmt::Display| Unopened::Form(error.to_string());
        let plain = match &self.0 {
            Secret::Ed25519(key) => {
                // Without the public half: that is the form of PKCS #8 that everybody reads.
                let pair = ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                pair.to_pkcs8_der()
            }
            Secret::EcdsaP256(key) => key.to_pkcs8_der(),
        };
        let plain = plain.map_err(|error| form(&error))?;
        let info = PrivateKeyInfoRef::from_der(plain.as_bytes()).map_err(|error| form(&error))?;
        let encrypted = info.encrypt(passphrase).map_err(|error| Unopened::Random(error.to_string()))?;
        encrypted.to_pem(ENCRYPTED, LineEnding::LF).map_err(|error| form(&error))
    }
}

impl Signer for FileKey {
    fn public(&self) -> PublicKey {
        // The public half of a key is one.
        match &self.0 {
            Secret::Ed25519(key) => key.verifying_key().into(),
            Secret::EcdsaP256(key) => (*key.verifying_key()).into(),
        }
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Unsigned> {
        Ok(match &self.0 {
            Secret::Ed25519(key) => ed25519_dalek::Signer::sign(key, data).to_bytes().to_vec(),
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(key, data);
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_with_its_passphrase_alone() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let key = FileKey::generate(algorithm).unwrap();
            let file = key.pem(b"a few words").unwrap();
            assert!(file.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
            let again = FileKey::of_pem(&file, b"a few words").unwrap();
            assert_eq!(again.public(), key.public());
            let signature = again.sign(b"text").unwrap();
            assert!(key.public().verifies(b"text", &signature));
            assert!(!key.public().verifies(b"other text", &signature));
            assert_eq!(FileKey::of_pem(&file, b"other words").unwrap_err(), Unopened::Passphrase);
            assert_eq!(PublicKey::of_pem(&key.public().pem()).unwrap(), key.public());
        }
    }
}
