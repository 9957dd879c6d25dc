//! Typed policy → YAML that [`super::parse`] reads back as the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::gather::stage_word;
use super::kinds::API_VERSION;
use super::names::{self, name_of};
use super::print_service::{one_or_list, service};
use super::subject::Scope;
use super::tree::{Plain, resolve};
use crate::inventory::{DEFAULT_NAMESPACE, Entry, Inventory};
use crate::rule::{Action, ClusterPolicy, Policy, Rule, Stage};
use crate::set::{PolicySet, Spanned};
use crate::site::{DefaultAction, Health, Look, Mode, Site};
use crate::subject::{AnySubject, LabelSelector, LabelTest, Namespaces, SpiffePath};

/// Writes a set as YAML documents: the site, the inventory, cluster policies, policies.
///
/// What text cannot say is written as what it means: a service that no packet can match is left
/// out, and a rule left with no service by that is written `from: nobody`. Otherwise
/// `parse(to_yaml(set)) == set` but for locations.
#[must_use]
pub fn to_yaml(set: &PolicySet) -> String {
    let mut documents = Vec::new();
    documents.extend(set.site.as_ref().map(site));
    if *set.inventory != Inventory::default() {
        documents.push(inventory(&set.inventory));
    }
    documents.extend(set.cluster_policies.iter().map(cluster_policy));
    documents.extend(set.policies.iter().map(policy));
    documents.join("---\n")
}

fn head(kind: &str, metadata: &[(&str, &str)]) -> String {
    let metadata = metadata.iter().map(|(key, value)| format!("{key}: {}", scalar(value))).collect();
    format!("apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {}\nspec:", map(metadata))
}

/// A head and the lines below it; a spec that says nothing is an empty map.
fn document(head: &str, lines: &str) -> String {
    if lines.is_empty() { format!("{head} {{}}\n") } else { format!("{head}\n{lines}") }
}

pub(super) fn map(pairs: Vec<String>) -> String {
    format!("{{{}}}", pairs.join(", "))
}

pub(super) fn list(items: Vec<String>) -> String {
    format!("[{}]", items.join(", "))
}

/// A scalar, in quotes wherever any reader of YAML could take it for something else than text.
pub(super) fn scalar(text: &str) -> String {
    let bare = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'e' | b'E' | b'x' | b'o'))
        && resolve(text) == Plain::Text
        // Booleans of YAML 1.1.
        && !matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    if bare {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                // Control characters are all below U+10000. Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What a policy says before its rules.
pub(super) fn policy_lines(policy: &Policy) -> String {
    format!("  subject: {}\n", subject(&policy.subject, Scope::Namespace(&policy.namespace)))
}

fn policy(policy: &Policy) -> String {
    let mut metadata = vec![("name", policy.name.as_str())];
    if policy.namespace != DEFAULT_NAMESPACE {
        metadata.push(("namespace", &policy.namespace));
    }
    let scope = Scope::Namespace(&policy.namespace);
    let mut lines = policy_lines(policy);
    for (key, rules) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
        if let Some(rules) = rules {
            lines.push_str(&self::rules(key, rules, scope));
        }
    }
    document(&head("Policy", &metadata), &lines)
}

/// What a cluster policy says before its rules.
pub(super) fn cluster_policy_lines(policy: &ClusterPolicy) -> String {
    let mut tier = vec![format!("name: {}", scalar(&policy.tier.name)), format!("order: {}", policy.tier.order)];
    if policy.tier.stage != Stage::default() {
        tier.push(format!("stage: {}", stage_word(policy.tier.stage)));
    }
    let mut lines = format!("  tier: {}\n", map(tier));
    if policy.order != 0 {
        let _ = writeln!(lines, "  order: {}", policy.order);
    }
    let _ = writeln!(lines, "  subject: {}", subject(&policy.subject, Scope::Cluster));
    lines
}

fn cluster_policy(policy: &ClusterPolicy) -> String {
    let mut lines = cluster_policy_lines(policy);
    for (key, rules) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
        if !rules.is_empty() {
            lines.push_str(&self::rules(key, rules, Scope::Cluster));
        }
    }
    document(&head("ClusterPolicy", &[("name", &policy.name)]), &lines)
}

fn rules(key: &str, rules: &[Spanned<Rule>], scope: Scope<'_>) -> String {
    if rules.is_empty() {
        return format!("  {key}: []\n");
    }
    let mut lines = format!("  {key}:\n");
    for (index, of) in rules.iter().enumerate() {
        rule(&mut lines, key, index, of, scope);
    }
    lines
}

/// The lines of one rule: `key` is its direction, `index` its place there.
pub(super) fn rule(lines: &mut String, key: &str, index: usize, rule: &Rule, scope: Scope<'_>) {
    let action = match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass => "pass",
        Action::Audit => "audit",
    };
    if rule.name == format!("{key}-{index}") {
        let _ = writeln!(lines, "    - action: {action}");
    } else {
        let _ = writeln!(lines, "    - name: {}\n      action: {action}", scalar(&rule.name));
    }
    let possible: Vec<_> = rule.services.iter().filter(|service| !service.matches_nothing()).collect();
    let never = !rule.services.is_empty() && possible.is_empty();
    let nobody = Some(Vec::new());
    peers(lines, "from", if never { &nobody } else { &rule.from }, scope);
    peers(lines, "to", &rule.to, scope);
    if !possible.is_empty() {
        lines.push_str("      services:\n");
        for possible in possible {
            let _ = writeln!(lines, "        - {}", service(possible));
        }
    }
    for (key, set) in [("stateless", rule.stateless), ("log", rule.log)] {
        if set {
            let _ = writeln!(lines, "      {key}: true");
        }
    }
}

fn peers(lines: &mut String, key: &str, peers: &Option<Vec<AnySubject>>, scope: Scope<'_>) {
    let Some(peers) = peers else { return };
    let _ = match peers[..] {
        [] => writeln!(lines, "      {key}: nobody"),
        [ref only] => writeln!(lines, "      {key}: [{}]", subject(only, scope)),
        _ => writeln!(lines, "      {key}:"),
    };
    if peers.len() > 1 {
        for peer in peers {
            let _ = writeln!(lines, "        - {}", subject(peer, scope));
        }
    }
}

fn subject(subject: &AnySubject, scope: Scope<'_>) -> String {
    let one = |key: &str, value: String| map(vec![format!("{key}: {}", scalar(&value))]);
    match subject {
        AnySubject::Any(_) => "any".to_owned(),
        AnySubject::Labels(labels) => {
            let mut pairs = selector(&labels.selector, true);
            match (&labels.namespaces, scope) {
                (Namespaces::All, Scope::Cluster) => {}
                (Namespaces::All, Scope::Namespace(_)) => pairs.push("namespaces: \"*\"".to_owned()),
                (Namespaces::Named(name), Scope::Namespace(own)) if name == own => {}
                (Namespaces::Named(name), _) => pairs.push(format!("namespaces: {}", scalar(name))),
                (Namespaces::Matching(of), _) => pairs.push(format!("namespaces: {}", map(selector(of, false)))),
            }
            map(pairs)
        }
        AnySubject::ServiceAccount(account) => one(
            "serviceAccount",
            match (&account.namespace, scope) {
                (None, Scope::Cluster) => account.name.clone(),
                (None, Scope::Namespace(_)) => format!("*/{}", account.name),
                (Some(namespace), Scope::Namespace(own)) if namespace == own => account.name.clone(),
                (Some(namespace), _) => format!("{namespace}/{}", account.name),
            },
        ),
        AnySubject::Spiffe(spiffe) => {
            let domain = &spiffe.trust_domain;
            one(
                "spiffeId",
                match &spiffe.path {
                    SpiffePath::Any => format!("spiffe://{domain}/*"),
                    SpiffePath::Exact(path) => format!("spiffe://{domain}{path}"),
                    SpiffePath::Prefix(path) => format!("spiffe://{domain}{path}/*"),
                },
            )
        }
        AnySubject::Cidr(cidr) => {
            let mut pairs = vec![format!("cidr: {}", scalar(&cidr.block.to_string()))];
            if !cidr.except.is_empty() {
                let except = cidr.except.iter().map(|block| scalar(&block.to_string())).collect();
                pairs.push(format!("except: {}", list(except)));
            }
            map(pairs)
        }
        AnySubject::Mac(mac) => one("mac", mac.to_string()),
        AnySubject::Interface(name) => one("interface", name.0.clone()),
    }
}

/// Tests of labels; `say` writes empty labels too, so that an empty selector is still one.
fn selector(selector: &LabelSelector, say: bool) -> Vec<String> {
    let mut pairs = Vec::new();
    if !selector.match_labels.is_empty() || (say && selector.match_expressions.is_empty()) {
        pairs.push(format!("labels: {}", labels(&selector.match_labels)));
    }
    if !selector.match_expressions.is_empty() {
        let tests = selector.match_expressions.iter().map(|test| {
            let (key, operator, values) = match test {
                LabelTest::In(key, values) => (key, "In", Some(values)),
                LabelTest::NotIn(key, values) => (key, "NotIn", Some(values)),
                LabelTest::Exists(key) => (key, "Exists", None),
                LabelTest::DoesNotExist(key) => (key, "DoesNotExist", None),
            };
            let mut pairs = vec![format!("key: {}", scalar(key)), format!("operator: {operator}")];
            if let Some(values) = values {
                pairs.push(format!("values: {}", list(values.iter().map(|value| scalar(value)).collect())));
            }
            map(pairs)
        });
        pairs.push(format!("matchExpressions: {}", list(tests.collect())));
    }
    pairs
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    map(labels.iter().map(|(key, value)| format!("{}: {}", scalar(key), scalar(value))).collect())
}

fn addresses(addresses: &[IpAddr]) -> String {
    list(addresses.iter().map(|address| scalar(&address.to_string())).collect())
}

fn inventory(inventory: &Inventory) -> String {
    let mut lines = String::new();
    if !inventory.namespaces.is_empty() {
        lines.push_str("  namespaces:\n");
        for (name, of) in &inventory.namespaces {
            namespace(&mut lines, name, of);
        }
    }
    if !inventory.entries.is_empty() {
        lines.push_str("  entries:\n");
        inventory.entries.iter().for_each(|of| entry(&mut lines, of));
    }
    document(&head("Inventory", &[("name", "inventory")]), &lines)
}

/// The line of one namespace.
pub(super) fn namespace(lines: &mut String, name: &str, of: &BTreeMap<String, String>) {
    let _ = writeln!(lines, "    {}: {{labels: {}}}", scalar(name), labels(of));
}

/// The lines of one entry.
pub(super) fn entry(lines: &mut String, entry: &Entry) {
    let mut pair = |key: &str, value: String| {
        let _ = writeln!(lines, "{}{key}: {value}", if key == "name" { "    - " } else { "      " });
    };
    pair("name", scalar(&entry.name));
    if entry.namespace != DEFAULT_NAMESPACE {
        pair("namespace", scalar(&entry.namespace));
    }
    if !entry.labels.is_empty() {
        pair("labels", labels(&entry.labels));
    }
    if let Some(account) = &entry.service_account {
        pair("serviceAccount", scalar(account));
    }
    if let Some(id) = &entry.spiffe_id {
        pair("spiffeId", scalar(id));
    }
    if !entry.addresses.is_empty() {
        pair("addresses", addresses(&entry.addresses));
    }
    if !entry.macs.is_empty() {
        pair("macs", list(entry.macs.iter().map(|mac| scalar(&mac.to_string())).collect()));
    }
    if !entry.interfaces.is_empty() {
        pair("interfaces", list(entry.interfaces.iter().map(|name| scalar(name)).collect()));
    }
    if !entry.ports.is_empty() {
        // A key can stand once: the pairs of a name are gathered, in the order of first mention.
        let mut names: Vec<(&str, Vec<String>)> = Vec::new();
        for port in &entry.ports {
            let value = format!("{}/{}", protocol_name(port.protocol), port.port);
            match names.iter_mut().find(|(name, _)| *name == port.name) {
                Some((_, values)) => values.push(value),
                None => names.push((&port.name, vec![value])),
            }
        }
        let pairs = names.into_iter().map(|(name, values)| format!("{}: {}", scalar(name), one_or_list(values)));
        pair("ports", map(pairs.collect()));
    }
}

fn protocol_name(number: u8) -> String {
    name_of(names::PROTOCOLS, number).map_or_else(|| number.to_string(), str::to_owned)
}

fn action(action: DefaultAction) -> &'static str {
    match action {
        DefaultAction::Allow => "allow",
        DefaultAction::Deny => "deny",
    }
}

/// The lines of a site.
pub(super) fn site_lines(site: &Site) -> String {
    let mut lines = String::new();
    if !site.interfaces.is_empty() {
        lines.push_str("  interfaces:\n");
    }
    for interface in &site.interfaces {
        let mut pairs = vec![format!("name: {}", scalar(&interface.name))];
        pairs.extend(interface.role.as_ref().map(|role| format!("role: {}", scalar(role))));
        if !interface.addresses.is_empty() {
            pairs.push(format!("addresses: {}", addresses(&interface.addresses)));
        }
        let _ = writeln!(lines, "    - {}", map(pairs));
    }
    let defaults = &site.defaults;
    let _ = write!(
        lines,
        "  defaults:\n    ingress: {}\n    egress: {}\n    linkControl: {}\n    unparsed: {}\n",
        action(defaults.ingress),
        action(defaults.egress),
        action(defaults.link_control),
        action(defaults.unparsed)
    );
    if !defaults.subjects.is_empty() {
        lines.push_str("    subjects:\n");
    }
    for of in &defaults.subjects {
        let mut pairs = vec![format!("subject: {}", subject(&of.subject, Scope::Cluster))];
        pairs.extend(of.ingress.map(|said| format!("ingress: {}", action(said))));
        pairs.extend(of.egress.map(|said| format!("egress: {}", action(said))));
        let _ = writeln!(lines, "      - {}", map(pairs));
    }
    let _ = writeln!(lines, "  mode: {}", if site.mode == Mode::Audit { "audit" } else { "enforce" });
    let failsafe =
        site.failsafe.iter().map(|port| format!("{{protocol: {}, port: {}}}", protocol_name(port.protocol), port.port));
    let _ = writeln!(lines, "  failsafe: {}", list(failsafe.collect()));
    let (events, connections) = (&site.events, &site.connections);
    let _ = writeln!(
        lines,
        "  events: {{deniedRate: {}, deniedBurst: {}, allowedRate: {}, allowedSample: {}}}",
        events.denied_rate, events.denied_burst, events.allowed_rate, events.allowed_sample
    );
    let _ = writeln!(
        lines,
        "  connections: {{established: {}, datagrams: {}, opening: {}, fragments: {}}}",
        connections.established, connections.datagrams, connections.opening, connections.fragments
    );
    let Health { window, keep_on_death, inventory_in_place, drops, probes } = &site.health;
    let _ = writeln!(
        lines,
        "  health:\n    windowSeconds: {}\n    onAgentDeath: {}\n    inventory: {}\n    drops: {{times: {}, above: {}}}",
        window.as_secs(),
        if *keep_on_death { "keep" } else { "rollBack" },
        if *inventory_in_place { "inPlace" } else { "onTrial" },
        drops.times,
        drops.above
    );
    let probes = probes.iter().map(|probe| {
        let look = match &probe.look {
            Look::Rule(rule) => format!("rule: {}", scalar(rule)),
            Look::Tcp(end) => format!("tcp: \"{end}\""),
        };
        let within = format!("withinSeconds: {}", probe.within.as_secs());
        map(vec![format!("name: {}", scalar(&probe.name)), look, within])
    });
    let _ = writeln!(lines, "    probes: {}", list(probes.collect()));
    let _ = writeln!(lines, "  gatekeeper: {{seal: {}}}", site.gatekeeper.seal);
    lines
}

fn site(site: &Site) -> String {
    document(&head("Site", &[("name", &site.name)]), &site_lines(site))
}
