//! Traffic that Kubernetes lets no policy block: of a pod with itself, and with its own node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gabion_policy_model::PolicySet;
use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::Inventory;
use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::subject::{Any, AnySubject, Subject};
use gabion_policy_model::trace::Direction;

use super::admin_policy::ADMIN_ORDER;
use super::selector::cidr;
use crate::names::RULE_NAME_LIMIT;

/// Adds the tiers `pod-itself` and `pod-node` as far as policies select someone.
///
/// `pod-itself` is consulted before everything else. `pod-node` stands between the AdminNetworkPolicies, which
/// know no such exemption, and the NetworkPolicies, which do. Returns the first isolated pod
/// whose node's addresses are not known.
pub(super) fn exempt(set: &mut PolicySet, node_addresses: &[Vec<IpAddr>]) -> Option<usize> {
    let isolated = Selected::by_policies(set);
    let mut selected = Selected::by_cluster_policies(set);
    selected.ingress.extend(&isolated.ingress);
    selected.egress.extend(&isolated.egress);

    let inventory = &set.inventory;
    let itself = |direction: &str, pods: &BTreeSet<usize>| {
        pods.iter()
            .map(|&pod| (pod, &inventory.entries[pod]))
            .filter(|(_, entry)| !entry.addresses.is_empty())
            .map(|(pod, entry)| {
                let full = format!("{direction}.{}.{}", entry.namespace, entry.name);
                let name = if full.len() <= RULE_NAME_LIMIT { full } else { format!("{direction}-{pod}") };
                rule(name, Some(subjects(&entry.addresses)), Some(subjects(&entry.addresses)), &entry.location)
            })
            .collect()
    };
    let itself = policy(
        set,
        "pod-itself",
        ADMIN_ORDER - 1,
        itself("ingress", &selected.ingress),
        itself("egress", &selected.egress),
    );

    let ingress = by_node(inventory, &isolated.ingress, node_addresses)
        .into_iter()
        .enumerate()
        .map(|(n, (node, pods))| {
            rule(format!("from-node-{n}"), Some(subjects(&node)), Some(pods), &Location::default())
        })
        .collect();
    let egress = by_node(inventory, &isolated.egress, node_addresses)
        .into_iter()
        .enumerate()
        .map(|(n, (node, pods))| rule(format!("to-node-{n}"), Some(pods), Some(subjects(&node)), &Location::default()))
        .collect();
    let of_node = policy(set, "pod-node", ADMIN_ORDER + 1, ingress, egress);

    set.cluster_policies.extend([itself, of_node].into_iter().flatten());
    let mut unknown = isolated.ingress.union(&isolated.egress).copied();
    unknown.find(|&pod| node_addresses[pod].is_empty())
}

/// Positions in the inventory of the pods that are selected, by direction.
#[derive(Default)]
struct Selected {
    ingress: BTreeSet<usize>,
    egress: BTreeSet<usize>,
}

impl Selected {
    fn add(&mut self, index: &Index<'_>, subject: &AnySubject, direction: Direction) {
        let pods = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        pods.extend(subject.entries(index).into_iter().map(|position| position as usize));
    }

    fn by_policies(set: &PolicySet) -> Self {
        let (mut selected, index) = (Self::default(), Index::new(&set.inventory));
        for policy in &set.policies {
            for direction in [Direction::Ingress, Direction::Egress] {
                if policy.rules(direction).is_some() {
                    selected.add(&index, &policy.subject, direction);
                }
            }
        }
        selected
    }

    fn by_cluster_policies(set: &PolicySet) -> Self {
        let (mut selected, index) = (Self::default(), Index::new(&set.inventory));
        for policy in &set.cluster_policies {
            for direction in [Direction::Ingress, Direction::Egress] {
                if !policy.rules(direction).is_empty() {
                    selected.add(&index, &policy.subject, direction);
                }
            }
        }
        selected
    }
}

/// The pods that run on each node whose addresses are known.
fn by_node(
    inventory: &Inventory,
    pods: &BTreeSet<usize>,
    node_addresses: &[Vec<IpAddr>],
) -> BTreeMap<Vec<IpAddr>, Vec<AnySubject>> {
    let mut nodes: BTreeMap<Vec<IpAddr>, Vec<AnySubject>> = BTreeMap::new();
    for &pod in pods {
        let entry = &inventory.entries[pod];
        if !node_addresses[pod].is_empty() && !entry.addresses.is_empty() {
            nodes.entry(node_addresses[pod].clone()).or_default().extend(subjects(&entry.addresses));
        }
    }
    nodes
}

fn subjects(addresses: &[IpAddr]) -> Vec<AnySubject> {
    addresses.iter().map(|&address| cidr(address.into(), Vec::new())).collect()
}

fn rule(
    name: String,
    from: Option<Vec<AnySubject>>,
    to: Option<Vec<AnySubject>>,
    location: &Location,
) -> Spanned<Rule> {
    let (services, stateless, log) = (Vec::new(), false, false);
    Spanned::new(Rule { name, action: Action::Allow, from, to, services, stateless, log }, location.clone())
}

/// A policy for everyone in a tier of its own; none without rules. A name that an object of
/// the cluster has already gets a suffix.
fn policy(
    set: &PolicySet,
    name: &str,
    order: u32,
    ingress: Vec<Spanned<Rule>>,
    egress: Vec<Spanned<Rule>>,
) -> Option<ClusterPolicy> {
    if ingress.is_empty() && egress.is_empty() {
        return None;
    }
    Some(ClusterPolicy {
        name: free_name(set, name),
        tier: Tier { name: name.to_owned(), stage: Stage::Admin, order },
        order: 0,
        subject: AnySubject::Any(Any),
        ingress,
        egress,
        location: Location::default(),
    })
}

/// The name, or the name with the first number that makes it free among the cluster policies.
pub(super) fn free_name(set: &PolicySet, name: &str) -> String {
    let taken = |wanted: &str| set.cluster_policies.iter().any(|policy| policy.name == wanted);
    if !taken(name) {
        return name.to_owned();
    }
    let mut number = 2;
    while taken(&format!("{name}-{number}")) {
        number += 1;
    }
    format!("{name}-{number}")
}
