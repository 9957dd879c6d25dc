//! `Namespace`, `Node` and `Pod`: who carries which labels.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::set::Spanned;

use super::object::{Fields, Metadata, Text};
use super::selector::transport;
use crate::yaml::Node;

/// What is known about the cluster besides its policies.
#[derive(Default)]
pub(super) struct Cluster {
    pub inventory: Inventory,
    /// By name.
    pub nodes: BTreeMap<String, ClusterNode>,
    /// Addresses of the node that each pod runs on, parallel to the inventory's entries; empty when unknown.
    pub node_addresses: Vec<Vec<IpAddr>>,
    /// Who has an address already.
    holders: HashMap<IpAddr, String>,
}

/// A machine of the cluster.
pub(super) struct ClusterNode {
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
}

impl Cluster {
    pub fn namespace(&mut self, text: &Text<'_, '_>, object: &Fields<'_>) -> Option<()> {
        let metadata = Metadata::read(text, object, "a Namespace")?;
        self.inventory.namespaces.insert(metadata.name, metadata.labels);
        Some(())
    }

    pub fn node(&mut self, text: &Text<'_, '_>, object: &Fields<'_>) -> Option<()> {
        let metadata = Metadata::read(text, object, "a Node")?;
        let mut addresses = Vec::new();
        if let Some(status) = object.of("status") {
            let status = Fields::open(text, status, "the status of a Node")?;
            for element in text.list(status.of("addresses"), "addresses") {
                let fields = Fields::open(text, element, "an address")?;
                let kind = text.string(fields.required(text, "type", "an address")?, "the type")?;
                if matches!(kind, "InternalIP" | "ExternalIP") {
                    addresses.push(address(text, fields.required(text, "address", "an address")?)?);
                }
            }
        }
        self.nodes.insert(metadata.name, ClusterNode { labels: metadata.labels, addresses });
        Some(())
    }

    /// Pods come after all nodes.
    pub fn pod(&mut self, text: &Text<'_, '_>, object: &Fields<'_>) -> Option<()> {
        let metadata = Metadata::read(text, object, "a Pod")?;
        let full_name = format!("{}/{}", metadata.namespace, metadata.name);
        let spec = Fields::open(text, object.required(text, "spec", "a Pod")?, "the spec of a Pod")?;
        let status = match object.of("status") {
            Some(node) => Some(Fields::open(text, node, "the status of a Pod")?),
            None => None,
        };
        let phase = match status.as_ref().and_then(|status| status.of("phase")) {
            Some(node) => text.string(node, "the phase")?,
            None => "",
        };
        if matches!(phase, "Succeeded" | "Failed") {
            // Its addresses are free for other pods.
            return Some(());
        }
        if let Some(node) = spec.of("hostNetwork")
            && text.flag(node, "hostNetwork")?
        {
            let remedy = "its traffic is the node's: reach it with ipBlock, nodes or networks";
            text.warn(object.node, format!("pod {full_name} is on the host's network: no policy selects it"), remedy);
            return Some(());
        }
        let mut addresses = Vec::new();
        let mut hosts = Vec::new();
        if let Some(status) = &status {
            addresses = listed_addresses(text, status, "podIP", "podIPs")?;
            hosts = listed_addresses(text, status, "hostIP", "hostIPs")?;
        }
        if addresses.is_empty() {
            let remedy = "import it again when `status.podIP` is there";
            text.warn(object.node, format!("pod {full_name} has no address yet, so no packet is its"), remedy);
        }
        for &address in &addresses {
            if let Some(other) = self.holders.insert(address, full_name.clone()) {
                let remedy = "remove the pod that is gone";
                text.warn(object.node, format!("{address} belongs to pods {other} and {full_name} at once"), remedy);
            }
        }
        let running_on = match spec.of("nodeName") {
            Some(node) => self.nodes.get(text.string(node, "nodeName")?),
            None => None,
        };
        for &address in running_on.into_iter().flat_map(|node| &node.addresses) {
            if !hosts.contains(&address) {
                hosts.push(address);
            }
        }
        let account = match spec.of("serviceAccountName").or_else(|| spec.of("serviceAccount")) {
            Some(node) => text.string(node, "serviceAccountName")?,
            // What the ServiceAccount admission controller fills in.
            None => "default",
        };
        let service_account = Some(account.to_owned());
        let entry = Entry {
            name: metadata.name,
            namespace: metadata.namespace,
            labels: metadata.labels,
            service_account,
            spiffe_id: None,
            addresses,
            macs: Vec::new(),
            interfaces: Vec::new(),
            ports: named_ports(text, &spec),
        };
        self.inventory.entries.push(Spanned::new(entry, text.locate(object.node)));
        self.node_addresses.push(hosts);
        Some(())
    }
}

fn address(text: &Text<'_, '_>, node: &Node) -> Option<IpAddr> {
    // An IPv6 address such as `::1` or an IPv4 one is never a number to YAML, so no quotes are needed.
    let parsed = text.string(node, "an address")?.parse().ok();
    if parsed.is_none() {
        text.refuse(node, "not an IP address", "write `192.0.2.1` or `2001:db8::1`");
    }
    parsed
}

/// `podIP` and `podIPs`, or the same of the host; the list repeats the single one first.
fn listed_addresses(text: &Text<'_, '_>, status: &Fields<'_>, single: &str, list: &str) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    if let Some(node) = status.of(single) {
        addresses.push(address(text, node)?);
    }
    for element in text.list(status.of(list), list) {
        let fields = Fields::open(text, element, "an address")?;
        let address = address(text, fields.required(text, "ip", "an address")?)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// Named ports of the containers, and of init containers that keep running (sidecars).
fn named_ports(text: &Text<'_, '_>, spec: &Fields<'_>) -> Vec<NamedPort> {
    let mut ports = Vec::new();
    for list in ["containers", "initContainers"] {
        for container in text.list(spec.of(list), list) {
            let Some(fields) = Fields::open(text, container, "a container") else { continue };
            let keeps_running = fields.of("restartPolicy").and_then(|node| text.string(node, "restartPolicy"));
            if list == "initContainers" && keeps_running != Some("Always") {
                continue;
            }
            for element in text.list(fields.of("ports"), "ports") {
                ports.extend(named_port(text, element));
            }
        }
    }
    ports
}

fn named_port(text: &Text<'_, '_>, node: &Node) -> Option<NamedPort> {
    let fields = Fields::open(text, node, "a container's port")?;
    let name = text.string(fields.of("name")?, "the name of a port")?.to_owned();
    let number = fields.required(text, "containerPort", "a container's port")?;
    let port = text.number(number, "containerPort", 1..=65535)? as u16;
    Some(NamedPort { name, protocol: transport(text, fields.of("protocol"))?, port })
}
