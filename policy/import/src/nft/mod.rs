//! nftables rulesets, the common subset, as `nft list ruleset` prints them.
//!
//! Read are tables of the families inet, ip and ip6 with named sets, definitions, base chains of type filter at the
//! hooks input, forward and output, and chains to jump to. Everything else is refused at its place.
//!
//! | nft | becomes |
//! | --- | --- |
//! | input, forward | ingress rules of a `ClusterPolicy` for everyone |
//! | output | egress rules of one |
//! | policy drop | a last rule that denies |
//! | accept, drop | allow, deny |
//! | reject | deny, with a warning: no answer is sent |
//! | log | the rule's decisions are reported; without a verdict it is left out, with a warning |
//! | jump, goto | the rules of the other chain, each with the conditions of the jump |
//! | an interface or MAC beside an address, `!=` of one | a tier of its own: rules that `pass` before the rule |
//!
//! Rules are named by chain and number from 0, `input-3`, those behind a jump `input-3.chain-0`, the policy
//! `input-policy`.
//!
//! # What is not the same
//!
//! - *Which packets are input.* nft tells packets to the node from those that it forwards. With the node's addresses
//!   ([`import_nft_at`]) so does the import. Without them a lone input or forward chain judges all that arrives; two
//!   with rules are refused, and one without rules beside one with is left out, with a warning.
//! - *State.* `ct state established,related accept` is what Gabion does anyway, so it is not a rule. Where the chain
//!   that replies take (output for input, forward for forward) is restricted and has no such rule, rules become
//!   stateless. `ct state new` is no condition behind such a rule, and refused otherwise. `ct state invalid drop` is
//!   left out, with a warning.
//! - *ARP and genuine neighbour discovery* (`docs/policy.md`) are decided by rules that name ICMPv6 types, else by the
//!   site's `linkControl` default; packets that cannot be parsed by `unparsed`. nft's policy does not reach them here.
//! - *Frames without IP* are not seen by these tables, and so not judged by these rules.
//! - `ip6 nexthdr` compares the protocol behind the extension headers, not the first header.

mod conditions;
mod expand;
mod lower;
mod ruleset;
mod statement;
mod tiers;
mod token;
mod values;
mod words;

use std::net::IpAddr;

use gabion_policy_model::PolicySet;

use crate::diagnostic::Diagnostic;
use crate::source::Lines;
use crate::{Imported, Source};

/// Reads rulesets that are loaded one after the other, without the node's addresses.
///
/// # Errors
/// The first thing in each text that is not in the subset; see [`import_nft_at`].
pub fn import_nft(sources: &[Source<'_>]) -> Result<Imported, Vec<Diagnostic>> {
    import_nft_at(sources, &[])
}

/// Reads rulesets that are loaded one after the other on a node with these addresses.
///
/// # Errors
/// The first thing in each text that is not in the subset, and base chains that cannot be told apart.
pub fn import_nft_at(sources: &[Source<'_>], node: &[IpAddr]) -> Result<Imported, Vec<Diagnostic>> {
    let texts: Vec<Lines<'_>> = sources.iter().map(Lines::new).collect();
    let mut definitions = ruleset::Definitions::new();
    let (mut tables, mut errors) = (Vec::new(), Vec::new());
    for lines in &texts {
        let read = token::tokens(lines)
            .and_then(|tokens| ruleset::Reader { lines, tokens, at: 0, definitions: &mut definitions }.ruleset());
        match read {
            Ok(read) => tables.extend(read.into_iter().map(|table| (lines, table))),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let (cluster_policies, warnings) = lower::lower(&tables, node).map_err(|error| vec![error])?;
    Ok(Imported { policies: PolicySet { cluster_policies, ..PolicySet::default() }, warnings })
}
