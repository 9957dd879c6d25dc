//! Foreign policy text → the typed model of [`gabion_policy_model`].
//!
//! Three languages are read: Kubernetes objects ([`k8s`]), ClassBench filter sets ([`classbench`])
//! and nftables rulesets ([`nft`]). Each importer is handed named texts and gives back a
//! [`PolicySet`] that means exactly what the text means, or refuses with the place, the offending
//! text and a remedy; it never guesses and it does no I/O. What is read but does not change a
//! verdict, or cannot be known from the text alone, comes back as a warning. Start with the module
//! of the language: its first paragraphs say how each construct is translated.

#![forbid(unsafe_code)]

pub mod classbench;
pub mod diagnostic;
pub mod k8s;
mod names;
pub mod nft;
mod source;
mod yaml;

pub use classbench::import_classbench;
pub use diagnostic::Diagnostic;
pub use k8s::import_k8s;
pub use nft::import_nft;
pub use source::Source;

use gabion_policy_model::PolicySet;

/// What an import gives: the policy, and what its reader should know.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The policy.
    pub policies: PolicySet,
    /// What was left out or cannot be known, by place.
    pub warnings: Vec<Diagnostic>,
}
