//! Who gives what to whom: version, payload and validation as one type.

use core::fmt;
use core::marker::PhantomData;

use super::{Contract, Shape};

/// What a service carries. A contract says that any bytes are a value of the type; this says which values make sense.
pub trait Payload: Contract {
    /// Whether the value is one that a provider may send.
    ///
    /// # Errors
    /// The first field that is not.
    fn validate(&self) -> Result<(), Invalid>;
}

/// A value that no provider may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, as `record.field`.
    pub field: &'static str,
    /// What is in it.
    pub found: u64,
    /// What may be in it.
    pub expected: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}, and must be {}", self.field, self.found, self.expected)
    }
}

impl core::error::Error for Invalid {}

impl Invalid {
    /// Judges one field.
    ///
    /// # Errors
    /// When it is not `fine`.
    pub const fn unless(fine: bool, field: &'static str, found: u64, expected: &'static str) -> Result<(), Self> {
        if fine { Ok(()) } else { Err(Self { field, found, expected }) }
    }
}

/// The contract between who provides values of `P` and who consumes them.
///
/// Each side declares its own, or takes the other's. Within one workspace they [`meet`](Self::meet) where the two sides
/// are put together, which does not compile when their payloads are two types; across processes their [`Service`]s are
/// compared as text.
pub struct ServiceContract<P> {
    name: &'static str,
    version: u32,
    payload: PhantomData<fn() -> P>,
}

impl<P: Payload> ServiceContract<P> {
    /// A contract. Raise `version` when what a value means changes and its layout does not.
    #[must_use]
    pub const fn new(name: &'static str, version: u32) -> Self {
        Self { name, version, payload: PhantomData }
    }

    /// The contract of a provider and a consumer.
    ///
    /// # Panics
    /// When their names or versions differ: call it in a constant, so that this does not compile either.
    #[must_use]
    #[track_caller]
    pub const fn meet(provider: &Self, consumer: &Self) -> Self {
        assert!(provider.version == consumer.version, "provider and consumer have different versions of this service");
        assert!(same(provider.name, consumer.name), "provider and consumer mean different services");
        Self::new(provider.name, provider.version)
    }

    /// What is said of it to others.
    #[must_use]
    pub const fn service(&self) -> Service {
        Service { name: self.name, version: self.version, payload: P::SHAPE }
    }

    /// Lets a value in that came from the other side.
    ///
    /// # Errors
    /// When no provider may send it.
    pub fn admit(&self, payload: P) -> Result<P, Invalid> {
        payload.validate().map(|()| payload)
    }
}

impl<P> fmt::Debug for ServiceContract<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServiceContract").field("name", &self.name).field("version", &self.version).finish()
    }
}

/// A [`ServiceContract`] without its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, one word.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// What it carries.
    pub payload: &'static Shape,
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}
