//! Keys in a token (PKCS #11), named by URI (RFC 7512).

#[cfg(feature = "pkcs11")]
mod session;

use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "pkcs11")]
pub use session::TokenKey;

use crate::key::Algorithm;
use crate::signer::Signer;

/// A key in a token: `pkcs11:token=site;object=policy-1?module-path=/usr/lib/softhsm/libsofthsm2.so`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    /// Label of the token.
    pub token: String,
    /// Label of the key.
    pub object: String,
    /// The token's library.
    pub module: PathBuf,
}

/// Why a key in a token cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no name of a key in a token.
    #[error("{0:?} names no key in a token: write pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY ({1})")]
    Uri(String, String),
    /// There is no such token, or no such key in it, or one that is not taken here.
    #[error("{0}")]
    Key(String),
    /// What the token's library says.
    #[error("{attempt}: {said}")]
    Said {
        /// What was attempted.
        attempt: &'static str,
        /// What it said.
        said: String,
    },
    /// This program cannot load a library.
    #[error(
        "this gabion is linked statically, and cannot load the library of a token (PKCS #11): sign with one that is linked \
         to the C library of the system (`cargo build --release -p gabion`)"
    )]
    Static,
}

impl FromStr for TokenUri {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = |why: &str| TokenError::Uri(text.chars().take(200).collect(), why.to_owned());
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| wrong("it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut token, mut object, mut module) = (None, None, None);
        for attribute in path.split(';').chain(query.split('&')).filter(|it| !it.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| wrong("an attribute without ="))?;
            let value = decoded(value).ok_or_else(|| wrong("a % without two digits behind it"))?;
            let place = match name {
                "token" => &mut token,
                "object" => &mut object,
                "module-path" => &mut module,
                // Kinds of objects are known: a key is asked for by its use.
                "type" => continue,
                other => return Err(wrong(&format!("there is no attribute {other:.40} here"))),
            };
            if place.replace(value).is_some() {
                return Err(wrong(&format!("{name} is there twice")));
            }
        }
        Ok(Self {
            token: token.ok_or_else(|| wrong("no token"))?,
            object: object.ok_or_else(|| wrong("no object"))?,
            module: module.ok_or_else(|| wrong("no module-path"))?.into(),
        })
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first == b'%' {
            let (digits, more) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = more;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The key that a URI names.
///
/// # Errors
/// [`TokenError`].
#[cfg(feature = "pkcs11")]
pub fn open(uri: &TokenUri, pin: &str) -> Result<Box<dyn Signer>, TokenError> {
    Ok(Box::new(TokenKey::open(uri, pin)?))
}

/// The key that a URI names.
///
/// # Errors
/// [`TokenError::Static`].
#[cfg(not(feature = "pkcs11"))]
pub fn open(_uri: &TokenUri, _pin: &str) -> Result<Box<dyn Signer>, TokenError> {
    Err(TokenError::Static)
}

/// A new key in a token, which never leaves it.
///
/// # Errors
/// [`TokenError`].
#[cfg(feature = "pkcs11")]
pub fn generate(uri: &TokenUri, pin: &str, algorithm: Algorithm) -> Result<Box<dyn Signer>, TokenError> {
    Ok(Box::new(TokenKey::generate(uri, pin, algorithm)?))
}

/// A new key in a token, which never leaves it.
///
/// # Errors
/// [`TokenError::Static`].
#[cfg(not(feature = "pkcs11"))]
pub fn generate(_uri: &TokenUri, _pin: &str, _algorithm: Algorithm) -> Result<Box<dyn Signer>, TokenError> {
    Err(TokenError::Static)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_and_library() {
        let uri: TokenUri = "pkcs11:token=The%20site;object=a%3Bb;type=private?module-path=/lib/x.so".parse().unwrap();
        let wanted = TokenUri { token: "The site".into(), object: "a;b".into(), module: "/lib/x.so".into() };
        assert_eq!(uri, wanted);
        for text in ["pkcs11:", "file:x", "pkcs11:token=a;object=b", "pkcs11:token=a;token=b", "pkcs11:token=%4"] {
            assert!(text.parse::<TokenUri>().is_err(), "{text}");
        }
    }
}
