//! Signatures by pure Rust: what the metadata of roles is verified with. Ed25519 and ECDSA over P-256, nothing else.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sigstore_crypto::{CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider};
use sigstore_types::HashAlgorithm;

#[derive(Debug)]
struct Pure;

/// Has `sigstore-tuf` verify with these from now on. More than once is once.
pub fn install() {
    // Whoever was quicker installed the same.
    let _ = install_default_provider(&Pure);
}

enum Hash {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(data),
            Self::Sha384(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        match *self {
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha384(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::Verification(why.to_string())
}

impl CryptoProvider for Pure {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(Box::new(match algorithm {
            HashAlgorithm::Sha2256 => Hash::Sha256(Sha256::new()),
            HashAlgorithm::Sha2384 => Hash::Sha384(Sha384::new()),
            HashAlgorithm::Sha2512 => Hash::Sha512(Sha512::new()),
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        }))
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
        match scheme {
            SigningScheme::Ed25519 => {
                let key = key.try_into().map_err(refused)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(refused)?;
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(refused)?;
                // Keys of small order, under which one signature is of many messages, are refused, too.
                key.verify_strict(data, &signature).map_err(refused)
            }
            SigningScheme::EcdsaP256Sha256 => self.verify_prehashed(scheme, key, &self.sha256(data), signature),
            other => Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        }
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<()> {
        let SigningScheme::EcdsaP256Sha256 = scheme else {
            return Err(Error::UnsupportedAlgorithm(format!("{scheme:?}")));
        };
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(refused)?;
        let signature = p256::ecdsa::Signature::from_der(signature).map_err(refused)?;
        key.verify_prehash(digest, &signature).map_err(refused)
    }
}
