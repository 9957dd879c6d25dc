//! Deny lists that are in force beside a policy: what one may say, and what a policy with them says.
//!
//! A list comes from few people and in a hurry. So it may only refuse: everything else about the policy stays what it
//! was, whatever the list says. In return it is asked first, before any tier, and for both ends of every packet, and
//! it holds for connections that are there already.

use crate::finding::{Code, Finding, quote};
use crate::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use crate::set::{Location, PolicySet, Spanned};
use crate::subject::{Any, AnySubject};
use crate::trace::{Direction, EMERGENCY_TIER};

/// Everything in a set that no deny list may say, in the order of its documents.
#[must_use]
pub fn check(list: &PolicySet) -> Vec<Finding> {
    let help = "a deny list is ClusterPolicy documents of an admin tier whose rules deny; all else waits for a policy";
    let found =
        |location: &Location, message: String| Finding::new(Code::NotADenial, location.clone(), message).help(help);
    let mut findings = Vec::new();
    if let Some(site) = &list.site {
        findings.push(found(&site.location, format!("the site {} in a deny list", quote(&site.name))));
    }
    // Whom labels and names mean is the policy's to say: another answer would change what its rules allow.
    for entry in &list.inventory.entries {
        findings.push(found(&entry.location, format!("the inventory entry {} in a deny list", quote(&entry.name))));
    }
    if list.inventory.entries.is_empty()
        && let Some(name) = list.inventory.namespaces.keys().next()
    {
        findings.push(found(&Location::default(), format!("labels of the namespace {} in a deny list", quote(name))));
    }
    // Who is selected by one is isolated, which is more than its rules say.
    for policy in &list.policies {
        findings.push(found(&policy.location, format!("the Policy {} in a deny list", quote(&policy.name))));
    }
    for policy in &list.cluster_policies {
        if policy.tier.stage != Stage::Admin {
            let message = format!("{} is asked after the policy, and a deny list before it", quote(&policy.name));
            findings.push(found(&policy.location, message));
        }
        for (direction, rules) in [(Direction::Egress, &policy.egress), (Direction::Ingress, &policy.ingress)] {
            for rule in rules {
                findings.extend(of_rule(rule, direction).map(|message| found(&rule.location, message)));
            }
        }
    }
    findings
}

fn of_rule(rule: &Spanned<Rule>, direction: Direction) -> Option<String> {
    let name = quote(&rule.name);
    match rule.action {
        Action::Deny => {}
        Action::Allow => return Some(format!("the rule {name} allows, in a deny list")),
        Action::Pass => return Some(format!("the rule {name} passes, in a deny list")),
        Action::Audit => return Some(format!("the rule {name} audits, in a deny list")),
    }
    // Both would have to hold of one end. A rule that is asked at both ends has no place for that.
    match direction {
        Direction::Egress if rule.from.is_some() => {
            Some(format!("the rule {name} narrows its subject by `from`: write that as the subject"))
        }
        Direction::Ingress if rule.to.is_some() => {
            Some(format!("the rule {name} narrows its subject by `to`: write that as the subject"))
        }
        _ => None,
    }
}

/// A policy with a deny list, of this name, that [`check`] finds nothing in: before every tier of it.
#[must_use]
pub fn with(policy: PolicySet, name: &str, list: &PolicySet) -> PolicySet {
    let mut both = policy;
    let tier = Tier { name: EMERGENCY_TIER.to_owned(), stage: Stage::Emergency, order: 0 };
    for document in &list.cluster_policies {
        let subject = || Some(vec![document.subject.clone()]);
        let egress = document.egress.iter().map(|rule| denial(rule, subject(), rule.to.clone()));
        let ingress = document.ingress.iter().map(|rule| denial(rule, rule.from.clone(), subject()));
        let rules: Vec<Spanned<Rule>> = egress.chain(ingress).collect();
        if rules.is_empty() {
            continue;
        }
        both.cluster_policies.push(ClusterPolicy {
            // No document can have such a name: whoever reads it sees where the rule comes from.
            name: format!("{name}:{}", document.name),
            tier: tier.clone(),
            order: document.order,
            subject: AnySubject::Any(Any),
            ingress: rules.clone(),
            egress: rules,
            location: document.location.clone(),
        });
    }
    both.sort();
    both
}

/// The rule as both ends are asked it.
fn denial(rule: &Spanned<Rule>, from: Option<Vec<AnySubject>>, to: Option<Vec<AnySubject>>) -> Spanned<Rule> {
    // Connections that are there are refused, too.
    let rule_of_both = Rule { from, to, stateless: true, ..Rule::clone(rule) };
    Spanned::new(rule_of_both, rule.location.clone())
}

/// Whether a set has rules of deny lists.
#[must_use]
pub fn is_with_lists(set: &PolicySet) -> bool {
    set.cluster_policies.first().is_some_and(|policy| policy.tier.stage == Stage::Emergency)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use gabion_abi::facts::{Address, FAMILY_V4, Facts, TRANSPORT_PORTS, protocol};

    use super::*;
    use crate::oracle::{Action as Verdict, decide};
    use crate::text::{Source, parse};

    const HEAD: &str = "apiVersion: gabion.dev/v1alpha1\nkind: ";

    fn set(documents: &[&str]) -> PolicySet {
        let text: Vec<String> = documents.iter().map(|document| format!("{HEAD}{document}\n")).collect();
        parse(&[Source::new("deny.yaml", text.join("---\n"))]).unwrap()
    }

    fn list(rules: &str) -> PolicySet {
        let tier = "tier: {name: worm, order: 0}";
        set(&[&format!(
            "ClusterPolicy\nmetadata: {{name: infected}}\nspec:\n  {tier}\n  subject: {{cidr: 10.0.0.66/32}}\n{rules}"
        )])
    }

    fn packet(source: [u8; 4], destination: [u8; 4], port: u16) -> Facts {
        Facts {
            family: FAMILY_V4,
            ethertype: 0x0800,
            protocol: protocol::TCP,
            transport: TRANSPORT_PORTS,
            source: Address::v4(u32::from_be_bytes(source)),
            destination: Address::v4(u32::from_be_bytes(destination)),
            source_port: 40_000,
            destination_port: port,
            ..Facts::UNKNOWN
        }
    }

    #[test]
    fn only_denials_are_a_deny_list() {
        let plain = "  egress: [{name: out, action: deny}]\n  ingress: [{name: in, action: deny, from: [any]}]";
        assert_eq!(check(&list(plain)), []);
        assert_eq!(check(&list("")), [], "none at all");
        for (document, word) in [
            ("Site\nmetadata: {name: s}\nspec: {interfaces: [{name: eth0}]}", "site `s`"),
            ("Inventory\nmetadata: {name: i}\nspec: {entries: [{name: a, addresses: [10.0.0.1]}]}", "entry `a`"),
            ("Inventory\nmetadata: {name: i}\nspec: {namespaces: {plant: {labels: {a: b}}}}", "namespace `plant`"),
            ("Policy\nmetadata: {name: p}\nspec: {subject: any, ingress: [{action: deny}]}", "Policy `p`"),
            (
                "ClusterPolicy\nmetadata: {name: c}\nspec: {tier: {name: t, order: 1, stage: baseline}, subject: any}",
                "`c` is asked after",
            ),
        ] {
            let found = check(&set(&[document]));
            assert!(found.len() == 1 && found[0].message.contains(word), "{document}: {found:?}");
        }
        for (rules, word) in [
            ("  egress: [{name: r, action: allow}]", "allows"),
            ("  ingress: [{name: r, action: pass}]", "passes"),
            ("  ingress: [{name: r, action: audit}]", "audits"),
            ("  egress: [{name: r, action: deny, from: [any]}]", "`from`"),
            ("  ingress: [{name: r, action: deny, to: [any]}]", "`to`"),
        ] {
            let found = check(&list(rules));
            assert!(found.len() == 1 && found[0].message.contains(word), "{rules}: {found:?}");
            let place = &found[0].location;
            assert_eq!((&*place.source, place.line), ("deny.yaml", 7), "{rules}");
        }
    }

    #[test]
    fn a_list_is_asked_first_at_both_ends_and_for_connections() {
        let policy =
            set(&["ClusterPolicy\nmetadata: {name: first}\nspec:\n  tier: {name: a, order: 0}\n  subject: any\n  \
                            ingress: [{name: all, action: allow}]\n  egress: [{name: all-out, action: allow}]"]);
        let list = list("  egress: [{name: out, action: deny, services: [{protocol: tcp, ports: [502]}]}]");
        let both = with(policy.clone(), "worm", &list);
        let (bad, other) = ([10, 0, 0, 66], [10, 0, 0, 1]);
        for direction in [Direction::Egress, Direction::Ingress] {
            let decision = |facts: &Facts| decide(&both, facts, None, None, direction);
            let refused = decision(&packet(bad, other, 502));
            assert_eq!((refused.action, refused.stateless), (Verdict::Deny, true));
            assert_eq!(refused.rule.name(&both, direction), "worm:infected/out");
            for rest in [packet(other, bad, 502), packet(bad, other, 503)] {
                assert_eq!(decision(&rest).action, Verdict::Allow);
            }
        }
        assert!(is_with_lists(&both) && !is_with_lists(&policy));
        let twice = with(both, "flood", &list);
        assert_eq!(twice.cluster_policies.len(), 3, "lists have names of their own");
    }
}
