//! Policies that use one feature each, and one that uses them all: what a policy does not use is not in its program.

use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};

/// A policy in the small world of [`crate::packet`].
#[derive(Clone, Debug)]
pub struct Feature {
    /// What it uses.
    pub name: &'static str,
    /// Whether anything that it allows keeps state.
    pub keeps_state: bool,
    /// The policy.
    pub set: PolicySet,
}

/// Defaults of a site: ingress, egress, link control, unparsed.
fn site(defaults: [&str; 4]) -> String {
    let [ingress, egress, link, unparsed] = defaults;
    format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {{name: site}}\nspec:\n  interfaces: [{{name: eth0}}]\n  \
         defaults: {{ingress: {ingress}, egress: {egress}, linkControl: {link}, unparsed: {unparsed}}}\n"
    )
}

/// A rule for both ends of everyone.
fn both_ends(rule: &str) -> String {
    format!(
        "---\napiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: one}}\nspec:\n  \
         tier: {{name: tier, order: 1}}\n  subject: any\n  ingress: [{rule}]\n  egress: [{rule}]\n"
    )
}

const DENY: [&str; 4] = ["deny", "deny", "deny", "deny"];
const ALLOW: [&str; 4] = ["allow", "allow", "allow", "allow"];

/// Policies of one feature.
///
/// # Panics
/// Never: the texts are here, and tests read them.
#[must_use]
pub fn features() -> Vec<Feature> {
    let stateless = |what: &str| format!("{{action: allow, stateless: true, {what}}}");
    let keeping = |what: &str| format!("{{action: allow, {what}}}");
    [
        ("everything denied", false, DENY, None),
        ("everything allowed", true, ALLOW, None),
        ("an IPv4 block", false, DENY, Some(stateless("from: [{cidr: 10.0.0.0/24}]"))),
        ("an IPv6 block", false, DENY, Some(stateless("from: [{cidr: 'fd00::/48'}]"))),
        ("a TCP port", false, DENY, Some(stateless("services: [{protocol: tcp, ports: 502}]"))),
        ("a VLAN", false, DENY, Some(stateless("services: [{vlan: '100-102'}]"))),
        ("fragments", false, DENY, Some(stateless("services: [{fragments: first}]"))),
        ("TCP flags", false, DENY, Some(stateless("services: [{tcpFlags: 'syn,!ack'}]"))),
        ("a MAC", false, DENY, Some(stateless("from: [{mac: '02:00:00:00:00:01'}]"))),
        ("ARP", false, DENY, Some(keeping("services: [{etherType: arp}]"))),
        ("GOOSE", false, DENY, Some(keeping("services: [{etherType: goose}]"))),
        ("unparsed", false, DENY, Some(keeping("services: [{unparsed: any}]"))),
        ("state of a TCP port", true, DENY, Some(keeping("services: [{protocol: tcp, ports: 502}]"))),
        ("state of an ICMP query", true, DENY, Some(keeping("services: [{icmp: echo-request}]"))),
    ]
    .into_iter()
    .map(|(name, keeps_state, defaults, rule)| {
        let text = site(defaults) + &rule.map(|rule| both_ends(&rule)).unwrap_or_default();
        Feature { name, keeps_state, set: read(&text) }
    })
    .collect()
}

/// A policy that uses every feature, but for MACs beside addresses: those take the short way out of the program.
#[must_use]
pub fn everything() -> PolicySet {
    read(include_str!("everything.yaml"))
}

fn read(text: &str) -> PolicySet {
    // A mistake in a text above is a mistake of this crate's, and every test that asks for it says so.
    parse(&[Source::new("features", text)]).unwrap_or_else(|findings| unreachable!("{findings:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_abi::tables::STATELESS;
    use gabion_policy_compile::{Options, compile};

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn the_compiler_knows_what_keeps_state() {
        for feature in features() {
            let compiled = compile(&feature.set, &Options::default()).unwrap();
            assert_eq!(compiled.params[STATELESS] == 0, feature.keeps_state, "{}", feature.name);
        }
        assert_eq!(compile(&everything(), &Options::default()).unwrap().params[STATELESS], 0);
    }
}
