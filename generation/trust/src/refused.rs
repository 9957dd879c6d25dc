//! Why a bundle is not accepted. Each reason has a code, by which an operator finds what to do.

use gabion_bundle::{Digest, Name, Path, Time};

use crate::clock::Doubt;
use crate::role::Role;

/// A bundle that is not accepted, or metadata that is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refused {
    /// Nobody says anything about the bundle.
    #[error("no metadata is attached to the bundle: `gabion bundle publish` attaches it")]
    NoMetadata,
    /// A file of metadata that must be there is not.
    #[error("{file}: is not attached; publish the bundle again")]
    Missing { file: String },
    /// A file of metadata without the form of one.
    #[error("{file}: {what}")]
    Form { file: String, what: String },
    /// Signatures of too few.
    #[error("{file}: {valid} of {threshold} signatures that {role} needs")]
    Threshold { file: String, role: String, valid: usize, threshold: usize },
    /// One key signed more than once.
    #[error("{file}: key {key} signed twice; {role} needs signatures of different keys")]
    SignedTwice { file: String, role: String, key: String },
    /// One key under two names, which would count as two.
    #[error("{file}: {one} and {other} are one key under two names")]
    KeyTwice { file: String, one: String, other: String },
    /// A signature by a key that had the role once.
    #[error("{file}: key {key} was revoked; {valid} of {threshold} signatures that {role} needs remain")]
    KeyRevoked { file: String, role: String, key: String, valid: usize, threshold: usize },
    /// A signature by a key that the role does not have.
    #[error("{file}: {role} has no key {key}; {valid} of {threshold} signatures that it needs remain")]
    KeyUnknown { file: String, role: String, key: String, valid: usize, threshold: usize },
    /// A signature that the key it names did not make, or of something else.
    #[error(
        "{file}: the signature by key {key} is not of this text; {valid} of {threshold} signatures that {role} needs \
         remain"
    )]
    Signature { file: String, role: String, key: String, valid: usize, threshold: usize },
    /// Metadata that nobody renewed: somebody may hold back what is newer.
    #[error("{file}: expired at {expires}, and it is {now}; publish the bundle again")]
    MetadataExpired { file: String, expires: String, now: Time },
    /// Metadata older than what this node has seen.
    #[error("{file}: version {found}, and this node has seen version {trusted}")]
    MetadataRolledBack { file: String, trusted: u64, found: u64 },
    /// A root out of its turn.
    #[error("{file}: version {found}, and the one after {trusted} is next")]
    RootVersion { file: String, trusted: u64, found: u64 },
    /// Files of metadata that were not published together.
    #[error("{file}: {what}; the files were not published together")]
    Mixed { file: String, what: String },
    /// A role that is not one of ours, or has more or less than it is to have.
    #[error("{file}: {role:?}: {what}")]
    Role { file: String, role: String, what: String },
    /// A role that signs what it has no say in.
    #[error("{file}: {path:?} is not for {role} to sign")]
    Path { file: String, role: String, path: String },
    /// Nobody signed the bundle.
    #[error("{role} signed no bundle {name}")]
    NotSigned { role: Role, name: Name },
    /// The bundle that was signed is another one.
    #[error("{role} signed another bundle {name}: {signed}, and this is {found}")]
    Other { role: Role, name: Name, signed: String, found: Digest },
    /// The version that was signed is another one.
    #[error("{role} signed version {signed} of {name}, and the manifest says {found}")]
    Version { role: Role, name: Name, signed: u64, found: u64 },
    /// A whole generation that only the emergency role signed.
    #[error("{name} is signed by emergency alone, and is a whole generation: emergency signs emergency bundles")]
    Emergency { name: Name },
    /// A program or plugin that nobody released.
    #[error("{path}: {digest} is not released, nor is it this agent's own: `gabion bundle sign --role release`")]
    Program { path: Path, digest: Digest },
    /// A bundle older than one that this node accepted.
    #[error("{name}: version {found} is below {floor}, which this node has accepted; going back takes a grant")]
    RolledBack { name: Name, floor: u64, found: u64 },
    /// A grant to go back that does not reach so far, or not any more.
    #[error("{name}: version {found} is below {floor}, and the grant to go back {what}")]
    Grant { name: Name, floor: u64, found: u64, what: String },
    /// A bundle for later.
    #[error("notBefore: {not_before}, and it is {now}")]
    Future { not_before: Time, now: Time },
    /// A bundle whose time is over.
    #[error("expires: {expires}, and it is {now}")]
    Expired { expires: Time, now: Time },
    /// An emergency for longer than one may be.
    #[error(
        "expires: {expires}, and what is in an emergency now is over by {last} (30 days): say an earlier end, and have \
         what is to stay signed as policy"
    )]
    EmergencyLife { expires: Time, last: Time },
    /// A bundle for another node.
    #[error("name: {found}, and this node takes bundles {wanted}; `gabion run --bundle {found}` if that is to change")]
    Stranger { found: Name, wanted: Name },
    /// A bundle for other machines.
    #[error("targets: not for {found}; it is for {wanted}")]
    Architecture { found: Name, wanted: String },
    /// A bundle for other kernels.
    #[error("targets: not for kernels {found} on {architecture}; it is for {wanted}")]
    Kernel { architecture: Name, found: Name, wanted: String },
    /// A bundle for an agent that lays out records otherwise.
    #[error("contracts, {set}: the bundle says {bundle}, this agent {agent}; build it for this version of gabion")]
    Contract { set: Name, bundle: String, agent: String },
    /// The clock of the node is not to be trusted, and the site does not want to go on without.
    #[error("{0}")]
    Clock(Doubt),
    /// A statement about the bundle that does not hold.
    #[error("provenance: {what}")]
    Provenance { what: String },
    /// What this node stored of trust is not what was stored.
    #[error("the stored trust of this node: {what}")]
    Stored { what: String },
}

impl Refused {
    /// Its code: stays the same whatever the text says.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoMetadata => "trust-none",
            Self::Missing { .. } => "trust-file-missing",
            Self::Form { .. } => "trust-form",
            Self::Threshold { .. } => "trust-threshold",
            Self::SignedTwice { .. } => "trust-signed-twice",
            Self::KeyTwice { .. } => "trust-key-twice",
            Self::KeyRevoked { .. } => "trust-key-revoked",
            Self::KeyUnknown { .. } => "trust-key-unknown",
            Self::Signature { .. } => "trust-signature",
            Self::MetadataExpired { .. } => "trust-expired",
            Self::MetadataRolledBack { .. } => "trust-rolled-back",
            Self::RootVersion { .. } => "trust-root-version",
            Self::Mixed { .. } => "trust-mixed",
            Self::Role { .. } => "trust-role",
            Self::Path { .. } => "trust-path",
            Self::NotSigned { .. } => "bundle-not-signed",
            Self::Other { .. } => "bundle-another",
            Self::Version { .. } => "bundle-version",
            Self::Emergency { .. } => "bundle-emergency",
            Self::Program { .. } => "bundle-program",
            Self::RolledBack { .. } => "bundle-rolled-back",
            Self::Grant { .. } => "bundle-grant",
            Self::Future { .. } => "bundle-future",
            Self::Expired { .. } => "bundle-expired",
            Self::EmergencyLife { .. } => "emergency-life",
            Self::Stranger { .. } => "bundle-stranger",
            Self::Architecture { .. } => "bundle-architecture",
            Self::Kernel { .. } => "bundle-kernel",
            Self::Contract { .. } => "bundle-contract",
            Self::Clock(Doubt::Unsynchronised { .. }) => "clock-unsynchronised",
            Self::Clock(Doubt::Behind { .. }) => "clock-behind",
            Self::Clock(Doubt::Until { .. }) => "clock-until",
            Self::Provenance { .. } => "bundle-provenance",
            Self::Stored { .. } => "trust-stored",
        }
    }
}
