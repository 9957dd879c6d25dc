//! Digests of texts that came from outside.

use std::hash::Hasher;

/// The digest of a signature: SipHash-2-4 under the key 0, as `gabion_abi` works it out in `const`.
#[allow(deprecated, reason = "its successor promises no algorithm")]
pub(crate) fn digest(signature: &str) -> u64 {
    let mut hasher = std::hash::SipHasher::new();
    hasher.write(signature.as_bytes());
    hasher.finish()
}
