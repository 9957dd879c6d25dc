//! Typed policy and inventory → tables.
//!
//! Deterministic: the same input gives byte-identical tables. The result is what
//! [`gabion_abi::tables`] describes, plus the names that make verdicts readable.

#![forbid(unsafe_code)]

use gabion_abi::tables::PARAM_COUNT;
use gabion_policy_model::trace::{Direction, RuleRef};

/// A compiled policy: all that a loader needs, and nothing of the text.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Parameters, to become read-only globals.
    pub params: [u32; PARAM_COUNT],
    /// Words, to become an array map.
    pub words: Vec<u64>,
    /// What the rule numbers in verdicts and counters mean.
    pub rules: Vec<RuleInfo>,
    /// Names of interfaces that rules speak of: the interface named by element `i` has class
    /// `i + 1`, every other one class 0.
    pub interfaces: Vec<String>,
}

/// The meaning of one rule number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// What it goes back to.
    pub reference: RuleRef,
    /// Which end's list it stands in.
    pub direction: Direction,
    /// Full name: `policy/rule`, `namespace/policy/rule` outside the default namespace,
    /// `policy/isolation`, `default/ingress`, `default/unparsed`, ...
    pub name: String,
    /// Tier, `policy` for `Policy` documents, `default` for defaults.
    pub tier: String,
}
