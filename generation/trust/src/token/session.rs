//! A session with a token.

use std::fmt;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use sha2::{Digest as _, Sha256};

use super::{TokenError, TokenUri};
use crate::key::{Algorithm, PublicKey};
use crate::signer::{Signer, Unsigned};

/// Names of curves in DER: P-256 by number (RFC 5480), Ed25519 by its name (PKCS #11 3.0, 6.3.5) or by number (RFC
/// 8410).
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const EDWARDS: &[u8] = b"\x13\x0cedwards25519";
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];

/// A key in a token.
pub struct TokenKey {
    session: Session,
    private: ObjectHandle,
    public: PublicKey,
    // The library stays as long as there is a session.
    _library: Pkcs11,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in a token", self.public)
    }
}

fn said(attempt: &'static str) -> impl FnOnce(Error) -> TokenError {
    move |error| TokenError::Said { attempt, said: error.to_string() }
}

fn session(uri: &TokenUri, pin: &str) -> Result<(Pkcs11, Session), TokenError> {
    let library = Pkcs11::new(&uri.module).map_err(said("loading the library of the token"))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another key of the same library was used before.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(said("beginning to use the library of the token")(error)),
    }
    let slots = library.get_slots_with_initialized_token().map_err(said("listing tokens"))?;
    let mut labels = Vec::new();
    for slot in slots {
        let info = library.get_token_info(slot).map_err(said("asking for a token's name"))?;
        if info.label() == uri.token {
            let session = library.open_rw_session(slot).map_err(said("opening a session"))?;
            match session.login(UserType::User, Some(&AuthPin::new(pin.to_owned().into()))) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(said("the PIN")(error)),
            }
            return Ok((library, session));
        }
        labels.push(info.label().to_owned());
    }
    Err(TokenError::Key(format!("{:?}: no token of this label; there are {labels:?}", uri.token)))
}

impl TokenKey {
    /// The key that a URI names.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(uri: &TokenUri, pin: &str) -> Result<Self, TokenError> {
        let (library, session) = session(uri, pin)?;
        let find = |class| {
            let template = [Attribute::Class(class), Attribute::Label(uri.object.clone().into_bytes())];
            match session.find_objects(&template).map_err(said("looking for the key"))?.as_slice() {
                [one] => Ok(*one),
                found => Err(TokenError::Key(format!(
                    "{:?}: {} keys of this label in token {:?}; give each its own",
                    uri.object,
                    found.len(),
                    uri.token
                ))),
            }
        };
        let private = find(ObjectClass::PRIVATE_KEY)?;
        let public = public(&session, find(ObjectClass::PUBLIC_KEY)?)?;
        Ok(Self { session, private, public, _library: library })
    }

    /// A new key, which never leaves the token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn generate(uri: &TokenUri, pin: &str, algorithm: Algorithm) -> Result<Self, TokenError> {
        let (library, session) = session(uri, pin)?;
        let label = Attribute::Label(uri.object.clone().into_bytes());
        let there = session.find_objects(std::slice::from_ref(&label)).map_err(said("looking for the key"))?;
        if !there.is_empty() {
            return Err(TokenError::Key(format!("{:?}: a key of this label is there already", uri.object)));
        }
        let (mechanism, curve, kind) = match algorithm {
            Algorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, EDWARDS, KeyType::EC_EDWARDS),
            Algorithm::EcdsaP256 => (Mechanism::EccKeyPairGen, P256, KeyType::EC),
        };
        let shared = [Attribute::Token(true), Attribute::KeyType(kind), label];
        let public = [&shared[..], &[Attribute::Verify(true), Attribute::EcParams(curve.to_vec())]].concat();
        let private = [
            &shared[..],
            &[
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ],
        ]
        .concat();
        session.generate_key_pair(&mechanism, &public, &private).map_err(said("making a key"))?;
        drop((session, library));
        Self::open(uri, pin)
    }
}

/// The public half, out of its attributes.
fn public(session: &Session, handle: ObjectHandle) -> Result<PublicKey, TokenError> {
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let found = session.get_attributes(handle, &wanted).map_err(said("reading the public key"))?;
    let (mut curve, mut point) = (Vec::new(), Vec::new());
    for attribute in found {
        match attribute {
            Attribute::EcParams(bytes) => curve = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    // An octet string around it; some tokens leave that out.
    let inner = match point.as_slice() {
        [4, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        all => all,
    };
    let key = match curve.as_slice() {
        P256 => PublicKey::p256(inner),
        EDWARDS | ED25519 => PublicKey::ed25519(inner),
        _ => return Err(TokenError::Key("a key on another curve than Ed25519's or P-256".to_owned())),
    };
    key.map_err(|error| TokenError::Key(error.to_string()))
}

impl Signer for TokenKey {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let unsigned = |error: Error| Unsigned(error.to_string());
        match self.public.algorithm() {
            Algorithm::Ed25519 => {
                let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
                self.session.sign(&mechanism, self.private, data).map_err(unsigned)
            }
            Algorithm::EcdsaP256 => {
                let digest = Sha256::digest(data);
                let signed = self.session.sign(&Mechanism::Ecdsa, self.private, &digest).map_err(unsigned)?;
                // Two numbers side by side, which metadata wants in DER.
                let signature = p256::ecdsa::Signature::from_slice(&signed);
                let signature = signature.map_err(|error| Unsigned(error.to_string()))?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}
