//! `NetworkPolicy`, networking.k8s.io/v1.

use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, Policy, Rule};
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{AnySubject, LabelSelector, Namespaces};
use gabion_policy_model::text::names::is_port_name;

use super::object::{Fields, Metadata, Text};
use super::selector::{block, cidr, labels, one, selector, transport};
use crate::yaml::{Node, Value};

/// The two directions with the words that the kind has for them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ingress,
    Egress,
}

impl Side {
    pub fn section(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub fn peers(self) -> &'static str {
        match self {
            Self::Ingress => "from",
            Self::Egress => "to",
        }
    }

    /// An allow rule without conditions, to be filled in.
    pub fn rule(self, text: &Text<'_, '_>, node: &Node, index: usize, peers: Option<Vec<AnySubject>>) -> Spanned<Rule> {
        let (from, to) = match self {
            Self::Ingress => (peers, None),
            Self::Egress => (None, peers),
        };
        let rule = Rule {
            name: format!("{}-{index}", self.section()),
            action: Action::Allow,
            from,
            to,
            services: Vec::new(),
            stateless: false,
            log: false,
        };
        Spanned::new(rule, text.locate(node))
    }
}

pub(super) fn read(text: &Text<'_, '_>, object: &Fields<'_>) -> Option<Policy> {
    let metadata = Metadata::read(text, object, "a NetworkPolicy")?;
    let Some(spec) = object.of("spec") else {
        // The API takes this for a spec without fields: everyone in the namespace is isolated for ingress.
        return Some(policy(text, object, metadata, LabelSelector::default(), Some(Vec::new()), None));
    };
    let known = ["podSelector", "policyTypes", "ingress", "egress"];
    let fields = Fields::closed(text, spec, "the spec of a NetworkPolicy", &known)?;
    let subject = match fields.of("podSelector") {
        Some(node) => selector(text, node, "podSelector")?,
        None => LabelSelector::default(),
    };
    let (speaks_ingress, speaks_egress) = policy_types(text, &fields)?;
    let mut sections = [(Side::Ingress, speaks_ingress), (Side::Egress, speaks_egress)].map(|(side, speaks)| {
        let node = fields.of(side.section());
        let rules = rules(text, node, side, &metadata.namespace);
        if !speaks && let Some(node) = node {
            let message = format!("`{}` has no effect: policyTypes does not name it", side.section());
            text.warn(node, message, "name it in policyTypes, or remove the section");
        }
        speaks.then_some(rules)
    });
    let [ingress, egress] = [sections[0].take(), sections[1].take()];
    Some(policy(text, object, metadata, subject, ingress, egress))
}

fn policy(
    text: &Text<'_, '_>,
    object: &Fields<'_>,
    metadata: Metadata,
    subject: LabelSelector,
    ingress: Option<Vec<Spanned<Rule>>>,
    egress: Option<Vec<Spanned<Rule>>>,
) -> Policy {
    Policy {
        subject: labels(subject, Namespaces::Named(metadata.namespace.clone())).into(),
        name: metadata.name,
        namespace: metadata.namespace,
        ingress,
        egress,
        location: text.locate(object.node),
    }
}

/// Which directions the policy speaks of. Unstated or empty: ingress, and egress when it has egress rules.
fn policy_types(text: &Text<'_, '_>, fields: &Fields<'_>) -> Option<(bool, bool)> {
    let stated = text.list(fields.of("policyTypes"), "policyTypes");
    if stated.is_empty() {
        let egress = fields.of("egress");
        let rules = text.list(egress, "egress");
        if let Some(node) = egress
            && rules.is_empty()
        {
            let remedy = "to isolate egress, write `policyTypes: [Ingress, Egress]`";
            text.warn(node, "an empty `egress` without policyTypes does not isolate egress", remedy);
        }
        return Some((true, !rules.is_empty()));
    }
    let mut speaks = (false, false);
    for node in stated {
        match text.string(node, "a policy type")? {
            "Ingress" => speaks.0 = true,
            "Egress" => speaks.1 = true,
            _ => {
                text.refuse(node, "no such policy type", "write Ingress or Egress");
                return None;
            }
        }
    }
    Some(speaks)
}

fn rules(text: &Text<'_, '_>, node: Option<&Node>, side: Side, namespace: &str) -> Vec<Spanned<Rule>> {
    let mut rules = Vec::new();
    for (index, element) in text.list(node, side.section()).iter().enumerate() {
        let what = format!("an {} rule", side.section());
        // `- ` with nothing behind it is a rule without conditions, like `- {}`.
        if element.is_null() {
            rules.push(side.rule(text, element, index, None));
            continue;
        }
        let Some(fields) = Fields::closed(text, element, &what, &[side.peers(), "ports"]) else { continue };
        let peers = text.list(fields.of(side.peers()), side.peers());
        let subjects = (!peers.is_empty())
            .then(|| peers.iter().filter_map(|peer| self::peer(text, peer, namespace)).collect::<Vec<_>>());
        let mut rule = side.rule(text, element, index, subjects);
        rule.services = text.list(fields.of("ports"), "ports").iter().filter_map(|node| port(text, node)).collect();
        rules.push(rule);
    }
    rules
}

fn peer(text: &Text<'_, '_>, node: &Node, namespace: &str) -> Option<AnySubject> {
    let what = "a peer";
    let fields = Fields::closed(text, node, what, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let (pods, namespaces) = (fields.of("podSelector"), fields.of("namespaceSelector"));
    if let Some(node) = fields.of("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            text.refuse(node, "ipBlock stands beside a selector", "write two peers, one with ipBlock alone");
            return None;
        }
        return ip_block(text, node);
    }
    if pods.is_none() && namespaces.is_none() {
        let remedy = "write podSelector, namespaceSelector or ipBlock; for everyone remove the list";
        text.refuse(node, "a peer that names nobody", remedy);
        return None;
    }
    let pods = match pods {
        Some(node) => selector(text, node, "podSelector")?,
        None => LabelSelector::default(),
    };
    let namespaces = match namespaces {
        Some(node) => Namespaces::Matching(selector(text, node, "namespaceSelector")?),
        None => Namespaces::Named(namespace.to_owned()),
    };
    Some(labels(pods, namespaces))
}

fn ip_block(text: &Text<'_, '_>, node: &Node) -> Option<AnySubject> {
    let what = "an ipBlock";
    let fields = Fields::closed(text, node, what, &["cidr", "except"])?;
    let whole = block(text, fields.required(text, "cidr", what)?)?;
    let mut except = Vec::new();
    for element in text.list(fields.of("except"), "except") {
        let part = block(text, element)?;
        if !whole.contains(&part) || part.prefix_len() <= whole.prefix_len() {
            text.refuse(
                element,
                format!("not a smaller block inside {whole}"),
                "an exception lies inside the cidr that it is taken from",
            );
            return None;
        }
        except.push(part);
    }
    Some(cidr(whole, except))
}

fn port(text: &Text<'_, '_>, node: &Node) -> Option<Service> {
    let what = "a port";
    let fields = Fields::closed(text, node, what, &["protocol", "port", "endPort"])?;
    let protocol = transport(text, fields.of("protocol"))?;
    let mut service = Service { protocols: Some(one(protocol.into())), ..Service::default() };
    let end = fields.of("endPort");
    let Some(port) = fields.of("port") else {
        if let Some(end) = end {
            text.refuse(end, "endPort without port", "add `port`, the first of the range");
            return None;
        }
        return Some(service);
    };
    if let Value::Scalar { text: word, plain } = &port.value
        && (!plain || word.contains(|c: char| !c.is_ascii_digit()))
    {
        if !is_port_name(word) {
            let remedy = "write a number from 1 to 65535 without quotes, or a port's name (a-z, 0-9, `-`, at most 15)";
            text.refuse(port, "neither a port nor a name of one", remedy);
            return None;
        }
        if let Some(end) = end {
            text.refuse(end, "endPort beside a named port", "a range wants numbers: write `port` as a number");
            return None;
        }
        service.ports = Some(PortMatch::Named(word.clone()));
        return Some(service);
    }
    let first = text.number(port, "a port", 1..=65535)?;
    let last = match end {
        Some(end) => {
            let last = text.number(end, "endPort", 1..=65535)?;
            if last < first {
                text.refuse(end, format!("endPort is less than port ({first})"), "write the larger number here");
                return None;
            }
            last
        }
        None => first,
    };
    service.ports = Some(PortMatch::Numbers(RangeSet::from_range(first..=last)));
    Some(service)
}
