//! `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy`, policy.networking.k8s.io/v1alpha1.

use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{AnySubject, LabelSelector, Namespaces};
use gabion_policy_model::text::names::is_port_name;

use super::network_policy::Side;
use super::object::{Fields, Metadata, Text};
use super::selector::{block, cidr, labels, one, selector, transport};
use super::workload::Cluster;
use crate::yaml::Node;

/// Order of the tier of `AdminNetworkPolicy`: behind the tier of pods that reach themselves.
pub(super) const ADMIN_ORDER: u32 = 1;
/// Rules that one direction of an object may have, peers and ports that one rule may have.
const LIST_LIMIT: usize = 100;
/// Blocks that one peer may have.
const NETWORKS_LIMIT: usize = 25;
/// The last priority.
const PRIORITY_LIMIT: u32 = 1000;

/// Which of the two kinds is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Admin,
    Baseline,
}

pub(super) fn read(text: &Text<'_, '_>, object: &Fields<'_>, kind: Kind, cluster: &Cluster) -> Option<ClusterPolicy> {
    let what = match kind {
        Kind::Admin => "an AdminNetworkPolicy",
        Kind::Baseline => "a BaselineAdminNetworkPolicy",
    };
    let metadata = Metadata::read(text, object, what)?;
    let spec = object.required(text, "spec", what)?;
    let known: &[&str] = match kind {
        Kind::Admin => &["priority", "subject", "ingress", "egress"],
        Kind::Baseline => &["subject", "ingress", "egress"],
    };
    let fields = Fields::closed(text, spec, &format!("the spec of {what}"), known)?;
    let (tier, order) = match kind {
        Kind::Admin => {
            let priority = fields.required(text, "priority", "the spec")?;
            let tier = Tier { name: "admin".to_owned(), stage: Stage::Admin, order: ADMIN_ORDER };
            (tier, text.number(priority, "the priority", 0..=PRIORITY_LIMIT)?)
        }
        Kind::Baseline => {
            if metadata.name != "default" {
                let remedy = "a cluster has one BaselineAdminNetworkPolicy, and its name is `default`";
                text.refuse(object.node, format!("`{}` is no name for this kind", metadata.name), remedy);
                return None;
            }
            (Tier { name: "baseline".to_owned(), stage: Stage::Baseline, order: 0 }, 0)
        }
    };
    let subject = pods(text, fields.required(text, "subject", "the spec")?, "the subject", &["namespaces", "pods"])?;
    let reader = Reader { text, kind, cluster };
    Some(ClusterPolicy {
        name: metadata.name,
        tier,
        order,
        subject,
        ingress: reader.rules(fields.of("ingress"), Side::Ingress),
        egress: reader.rules(fields.of("egress"), Side::Egress),
        location: text.locate(object.node),
    })
}

/// A subject or peer that selects pods: exactly one of `known` is stated, and it is `namespaces` or `pods`.
fn pods(text: &Text<'_, '_>, node: &Node, what: &str, known: &[&str]) -> Option<AnySubject> {
    let fields = Fields::closed(text, node, what, known)?;
    if let Some(namespaces) = fields.of("namespaces") {
        let namespaces = selector(text, namespaces, "namespaces")?;
        return Some(labels(LabelSelector::default(), Namespaces::Matching(namespaces)));
    }
    let fields = Fields::closed(text, fields.of("pods")?, "pods", &["namespaceSelector", "podSelector"])?;
    let namespaces = selector(text, fields.required(text, "namespaceSelector", "pods")?, "namespaceSelector")?;
    let pods = selector(text, fields.required(text, "podSelector", "pods")?, "podSelector")?;
    Some(labels(pods, Namespaces::Matching(namespaces)))
}

struct Reader<'t, 'l, 'a> {
    text: &'t Text<'l, 'a>,
    kind: Kind,
    cluster: &'t Cluster,
}

impl Reader<'_, '_, '_> {
    fn rules(&self, node: Option<&Node>, side: Side) -> Vec<Spanned<Rule>> {
        let elements = self.text.list(node, side.section());
        if elements.len() > LIST_LIMIT
            && let Some(node) = node
        {
            let message = format!("{} rules, the kind allows {LIST_LIMIT}", elements.len());
            self.text.refuse(node, message, "divide them among several policies");
        }
        elements.iter().enumerate().filter_map(|(index, element)| self.rule(element, index, side)).collect()
    }

    fn rule(&self, node: &Node, index: usize, side: Side) -> Option<Spanned<Rule>> {
        let what = format!("an {} rule", side.section());
        let fields = Fields::closed(self.text, node, &what, &["name", "action", side.peers(), "ports"])?;
        let peers = self.bounded(fields.required(self.text, side.peers(), &what)?, side.peers())?;
        let subjects: Vec<_> = peers.iter().filter_map(|peer| self.peer(peer, side)).flatten().collect();
        let mut rule = side.rule(self.text, node, index, Some(subjects));
        rule.action = self.action(fields.required(self.text, "action", &what)?)?;
        if let Some(ports) = fields.of("ports") {
            let elements = self.bounded(ports, "ports")?;
            rule.services = elements.iter().filter_map(|port| self.port(port)).collect();
        }
        let named = rule.services.iter().any(|service| matches!(service.ports, Some(PortMatch::Named(_))));
        let outside = |peer: &std::rc::Rc<Node>| {
            Fields::open(self.text, peer, "a peer")
                .is_some_and(|fields| fields.of("networks").is_some() || fields.of("nodes").is_some())
        };
        if named && peers.iter().any(outside) {
            let remedy = "write a portNumber, or a rule of their own for networks and nodes";
            self.text.refuse(node, "namedPort in a rule with networks or nodes, which name no ports", remedy);
        }
        Some(rule)
    }

    fn bounded<'n>(&self, node: &'n Node, what: &str) -> Option<&'n [std::rc::Rc<Node>]> {
        let elements = self.text.list(Some(node), what);
        if elements.is_empty() || elements.len() > LIST_LIMIT {
            let message = format!("{what} has {} elements, the kind allows 1 to {LIST_LIMIT}", elements.len());
            let remedy = match what {
                "ports" => "for all ports leave `ports` out",
                _ => "for all pods write `namespaces: {}`",
            };
            self.text.refuse(node, message, remedy);
            return None;
        }
        Some(elements)
    }

    fn action(&self, node: &Node) -> Option<Action> {
        match (self.text.string(node, "the action")?, self.kind) {
            ("Allow", _) => Some(Action::Allow),
            ("Deny", _) => Some(Action::Deny),
            ("Pass", Kind::Admin) => Some(Action::Pass),
            (_, kind) => {
                let remedy = match kind {
                    Kind::Admin => "write Allow, Deny or Pass",
                    Kind::Baseline => "write Allow or Deny",
                };
                self.text.refuse(node, "no such action in this kind", remedy);
                None
            }
        }
    }

    fn peer(&self, node: &Node, side: Side) -> Option<Vec<AnySubject>> {
        let known: &[&str] = match (side, self.kind) {
            (Side::Ingress, _) => &["namespaces", "pods"],
            (Side::Egress, Kind::Admin) => &["namespaces", "pods", "nodes", "networks", "domainNames"],
            (Side::Egress, Kind::Baseline) => &["namespaces", "pods", "nodes", "networks"],
        };
        let fields = Fields::closed(self.text, node, "a peer", known)?;
        if fields.stated() != 1 {
            let message = format!("a peer states exactly one field, this one {}", fields.stated());
            self.text.refuse(node, message, format!("write one of {}", known.join(", ")));
            return None;
        }
        if let Some(names) = fields.of("domainNames") {
            let remedy = "write `networks` with the addresses that the names stand for";
            self.text.refuse(names, "domainNames are not supported: a packet carries no names", remedy);
            return None;
        }
        if let Some(nodes) = fields.of("nodes") {
            return self.nodes(nodes);
        }
        if let Some(networks) = fields.of("networks") {
            let elements = self.text.list(Some(networks), "networks");
            if elements.is_empty() || elements.len() > NETWORKS_LIMIT {
                let message = format!("{} networks, the kind allows 1 to {NETWORKS_LIMIT}", elements.len());
                self.text.refuse(networks, message, "divide them among several peers");
                return None;
            }
            return elements.iter().map(|element| Some(cidr(block(self.text, element)?, Vec::new()))).collect();
        }
        Some(vec![pods(self.text, node, "a peer", known)?])
    }

    /// Nodes are not inventory entries, which would make them pods: the addresses of those that
    /// are known now stand for them.
    fn nodes(&self, node: &Node) -> Option<Vec<AnySubject>> {
        let selector = selector(self.text, node, "nodes")?;
        let addresses: Vec<_> = self
            .cluster
            .nodes
            .iter()
            .filter(|(_, known)| selector.matches(&known.labels))
            .flat_map(|(_, known)| &known.addresses)
            .map(|&address| cidr(address.into(), Vec::new()))
            .collect();
        if addresses.is_empty() {
            let remedy = "add the Node objects to the import (`kubectl get nodes -o yaml`)";
            self.text.warn(node, "no Node with an address that is known matches, so this peer matches nobody", remedy);
        }
        Some(addresses)
    }

    fn port(&self, node: &Node) -> Option<Service> {
        let what = "a port";
        let text = self.text;
        let fields = Fields::closed(text, node, what, &["portNumber", "namedPort", "portRange"])?;
        if fields.stated() != 1 {
            let message = format!("a port states exactly one field, this one {}", fields.stated());
            text.refuse(node, message, "write portNumber, namedPort or portRange");
            return None;
        }
        if let Some(name) = fields.of("namedPort") {
            let word = text.string(name, "the name of a port")?;
            if !is_port_name(word) {
                text.refuse(name, "not a port's name", "write at most 15 of a-z, 0-9 and `-`, at least one letter");
                return None;
            }
            return Some(Service { ports: Some(PortMatch::Named(word.to_owned())), ..Service::default() });
        }
        let (protocol, ports) = if let Some(node) = fields.of("portNumber") {
            let fields = Fields::closed(text, node, "portNumber", &["protocol", "port"])?;
            let port = text.number(fields.required(text, "port", "portNumber")?, "a port", 1..=65535)?;
            (fields.of("protocol"), one(port))
        } else {
            let fields = Fields::closed(text, fields.of("portRange")?, "portRange", &["protocol", "start", "end"])?;
            let start = text.number(fields.required(text, "start", "portRange")?, "start", 1..=65535)?;
            let end = fields.required(text, "end", "portRange")?;
            let last = text.number(end, "end", 1..=65535)?;
            if last < start {
                text.refuse(end, format!("end is less than start ({start})"), "write the larger number here");
                return None;
            }
            (fields.of("protocol"), RangeSet::from_range(start..=last))
        };
        Some(Service {
            protocols: Some(one(transport(text, protocol)?.into())),
            ports: Some(PortMatch::Numbers(ports)),
            ..Service::default()
        })
    }
}
