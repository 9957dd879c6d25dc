//! `Inventory` and `Site` documents.

use std::time::Duration;

use gabion_abi::event::FAILSAFE_LIMIT;

use super::decode::{Decoder, Document};
use super::names::{self, WITH_PORTS, number_of};
use super::shape::integer;
use super::subject::Scope;
use super::tree::{Node, Value};
use crate::finding::{Code, quote};
use crate::inventory::{Entry, NamedPort};
use crate::set::Spanned;
use crate::site::{
    ConnectionLimits, DefaultAction, Defaults, DropBound, EventLimits, FailsafePort, Gatekeeper, Health, HealthProbe,
    Interface, Look, Mode, Site, SubjectDefault,
};

/// Seconds in which a probe must succeed, unless stated.
const PROBE_WITHIN: u64 = 5;

impl Decoder<'_, '_> {
    pub fn inventory(&mut self, spec: &Node) -> Document {
        let mut namespaces = Vec::new();
        for (key, node) in spec.get("namespaces").map(Node::pairs).unwrap_or_default() {
            if !names::is_dns_label(&key.text) {
                let help = "up to 63 lower-case letters, digits and `-`, with a letter or digit at both ends";
                self.report(Code::Name, key.span, format!("{} is not a namespace", quote(&key.text)), help);
            }
            let labels = self.labels(node.get("labels"));
            namespaces.push((key.text.to_string(), labels, self.place.locate(key.span)));
        }
        let entries = spec.get("entries").map(Node::items).unwrap_or_default();
        Document::Inventory(entries.iter().filter_map(|entry| self.entry(entry)).collect(), namespaces)
    }

    fn entry(&mut self, node: &Node) -> Option<Spanned<Entry>> {
        if !matches!(node.value, Value::Map(_)) {
            return None;
        }
        let items = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
        let name = node.get("name").and_then(|name| self.dns_name(name, names::is_dns_subdomain, "a name", 253));
        let namespace = self.namespace(node.get("namespace"));
        let labels = self.labels(node.get("labels"));
        let service_account = node
            .get("serviceAccount")
            .and_then(|account| self.dns_name(account, names::is_dns_subdomain, "the name of a service account", 253));
        let spiffe_id = node.get("spiffeId").and_then(|id| self.spiffe_id(id));
        let addresses = items("addresses").iter().filter_map(|address| self.address(address)).collect();
        let macs = items("macs").iter().filter_map(|mac| self.mac(mac)).collect();
        let interfaces = items("interfaces").iter().filter_map(|name| self.interface_name(name, false)).collect();
        let ports = self.named_ports(node.get("ports"));
        let at = node.get("name").map_or_else(|| self.place.first_line(node.span), |name| name.span);
        let entry =
            Entry { name: name?, namespace, labels, service_account, spiffe_id, addresses, macs, interfaces, ports };
        Some(Spanned::new(entry, self.place.locate(at)))
    }

    fn named_ports(&mut self, node: Option<&Node>) -> Vec<NamedPort> {
        let mut ports = Vec::new();
        for (key, value) in node.map(Node::pairs).unwrap_or_default() {
            if !names::is_port_name(&key.text) {
                let help = "1 to 15 lower-case letters, digits and single dashes, with a letter among them";
                self.report(Code::Port, key.span, format!("{} is not the name of a port", quote(&key.text)), help);
            }
            for item in value.one_or_more() {
                let Some(text) = item.word() else { continue };
                let read = text.split_once('/').and_then(|(protocol, port)| {
                    let number = number_of(names::PROTOCOLS, protocol)
                        .or_else(|| integer(protocol).and_then(|number| number.try_into().ok()))?;
                    Some((number, integer(port).and_then(|port| u16::try_from(port).ok())?))
                });
                match read {
                    Some((protocol, port)) if WITH_PORTS.contains(&protocol) => {
                        ports.push(NamedPort { name: key.text.to_string(), protocol, port });
                    }
                    _ => {
                        let message = format!("{} is not a protocol with ports and a port", quote(text));
                        let help = "write tcp, udp, udplite, sctp or dccp, `/` and a port from 0 to 65535";
                        self.report(Code::Port, item.span, message, help);
                    }
                }
            }
        }
        ports
    }

    pub fn site(&mut self, node: &Node, metadata: &Node, spec: &Node) -> Option<Site> {
        let name_node = metadata.get("name");
        let name = name_node.and_then(|name| self.dns_name(name, names::is_dns_subdomain, "a name", 253));
        let interfaces = spec.get("interfaces").map(Node::items).unwrap_or_default();
        let interfaces = interfaces.iter().filter_map(|interface| self.interface(interface)).collect();
        let defaults = self.defaults(spec.get("defaults"));
        let failsafe = match spec.get("failsafe") {
            None => Site::<crate::subject::AnySubject>::default().failsafe,
            Some(list) => self.failsafe(list),
        };
        let (events, connections) = (EventLimits::default(), ConnectionLimits::default());
        let limit = |key: &str, field: &str, unstated: u32| {
            spec.get(key).and_then(|map| map.get(field)).and_then(Node::number).unwrap_or(unstated)
        };
        let at = name_node.map_or_else(|| self.place.first_line(node.span), |name| name.span);
        Some(Site {
            name: name?,
            interfaces,
            defaults,
            mode: if spec.get("mode").and_then(Node::word) == Some("audit") { Mode::Audit } else { Mode::Enforce },
            failsafe,
            events: EventLimits {
                denied_rate: limit("events", "deniedRate", events.denied_rate),
                denied_burst: limit("events", "deniedBurst", events.denied_burst),
                allowed_rate: limit("events", "allowedRate", events.allowed_rate),
                allowed_sample: limit("events", "allowedSample", events.allowed_sample),
            },
            connections: ConnectionLimits {
                established: limit("connections", "established", connections.established),
                datagrams: limit("connections", "datagrams", connections.datagrams),
                opening: limit("connections", "opening", connections.opening),
                fragments: limit("connections", "fragments", connections.fragments),
            },
            health: self.health(spec.get("health")),
            gatekeeper: Gatekeeper {
                seal: spec.get("gatekeeper").and_then(|map| map.get("seal")).and_then(Node::flag).unwrap_or(false),
            },
            location: self.place.locate(at),
        })
    }

    fn health(&mut self, node: Option<&Node>) -> Health {
        let unstated = Health::default();
        let Some(node) = node else { return unstated };
        let seconds = |node: &Node, key: &str| node.get(key).and_then(Node::number).map(u64::from);
        let drops = |key: &str| node.get("drops").and_then(|drops| drops.get(key)).and_then(Node::number);
        let probes = node.get("probes").map(Node::items).unwrap_or_default();
        Health {
            window: seconds(node, "windowSeconds").map_or(unstated.window, Duration::from_secs),
            keep_on_death: node.get("onAgentDeath").and_then(Node::word) == Some("keep"),
            inventory_in_place: node.get("inventory").and_then(Node::word) != Some("onTrial"),
            drops: DropBound {
                times: drops("times").unwrap_or(unstated.drops.times),
                above: drops("above").unwrap_or(unstated.drops.above),
            },
            probes: probes.iter().filter_map(|probe| self.health_probe(probe)).collect(),
        }
    }

    fn health_probe(&mut self, node: &Node) -> Option<HealthProbe> {
        let name = node.get("name").and_then(Node::word)?.to_owned();
        let within = node.get("withinSeconds").and_then(Node::number).map_or(PROBE_WITHIN, u64::from);
        let look = match (node.get("rule"), node.get("tcp")) {
            (Some(rule), None) => Look::Rule(rule.word()?.to_owned()),
            (None, Some(end)) => {
                let text = end.word()?;
                let Ok(address) = text.parse() else {
                    let help = "write 192.0.2.1:2404 or [2001:db8::1]:2404";
                    self.report(Code::Address, end.span, format!("{} is no address and port", quote(text)), help);
                    return None;
                };
                Look::Tcp(address)
            }
            // Refused when the keys were checked.
            _ => return None,
        };
        Some(HealthProbe { name, look, within: Duration::from_secs(within) })
    }

    fn interface(&mut self, node: &Node) -> Option<Interface> {
        let name_node = node.get("name")?;
        let name = self.interface_name(name_node, true);
        let addresses = node.get("addresses").map(Node::items).unwrap_or_default();
        let addresses = addresses.iter().filter_map(|address| self.address(address)).collect();
        let role = node.get("role").and_then(Node::word).map(str::to_owned);
        Some(Interface { name: name?, role, addresses, location: self.place.locate(name_node.span) })
    }

    fn defaults(&mut self, node: Option<&Node>) -> Defaults {
        let unstated = Defaults::default();
        let Some(node) = node else { return unstated };
        let mut subjects = Vec::new();
        for item in node.get("subjects").map(Node::items).unwrap_or_default() {
            if !matches!(item.value, Value::Map(_)) {
                continue;
            }
            let (ingress, egress) = (default_action(item, "ingress"), default_action(item, "egress"));
            let span = self.place.first_line(item.span);
            if item.get("ingress").is_none() && item.get("egress").is_none() {
                let help = "add `ingress`, `egress` or both: allow or deny";
                self.report(Code::MissingKey, span, "this SubjectDefault says nothing about either direction", help);
            }
            let location = self.place.locate(span);
            let subject = item.get("subject").and_then(|subject| self.subject(subject, Scope::Cluster));
            subjects.extend(subject.map(|subject| SubjectDefault { subject, ingress, egress, location }));
        }
        Defaults {
            ingress: default_action(node, "ingress").unwrap_or(unstated.ingress),
            egress: default_action(node, "egress").unwrap_or(unstated.egress),
            link_control: default_action(node, "linkControl").unwrap_or(unstated.link_control),
            unparsed: default_action(node, "unparsed").unwrap_or(unstated.unparsed),
            subjects,
        }
    }

    fn failsafe(&mut self, list: &Node) -> Vec<FailsafePort> {
        let items = list.items();
        if let Some(item) = items.get(FAILSAFE_LIMIT) {
            let message = format!("{} fail-safe ports are more than the {FAILSAFE_LIMIT} that fit", items.len());
            let span = self.place.first_line(item.span);
            self.report(Code::OutOfRange, span, message, "keep those without which nobody can reach the node");
        }
        let mut ports = Vec::new();
        for item in items {
            let protocol_node = item.get("protocol");
            let protocols = self.protocols(protocol_node);
            let port = item.get("port").and_then(Node::number).and_then(|port| u16::try_from(port).ok());
            let mut numbers = protocols.iter().flat_map(|set| set.iter());
            let single = match (numbers.next(), numbers.next()) {
                (Some((low, high)), None) if low == high => u8::try_from(low).ok(),
                _ => None,
            };
            match (single, port) {
                (Some(protocol), Some(port)) if WITH_PORTS.contains(&protocol) => {
                    ports.push(FailsafePort { protocol, port });
                }
                (_, Some(_)) if protocols.is_some() => {
                    let span = protocol_node.map_or(item.span, |node| node.span);
                    let help = "write tcp, udp, udplite, sctp or dccp";
                    self.report(Code::Protocol, span, "a fail-safe port is of one protocol with ports", help);
                }
                _ => {}
            }
        }
        ports
    }
}

fn default_action(node: &Node, key: &str) -> Option<DefaultAction> {
    match node.get(key)?.word()? {
        "allow" => Some(DefaultAction::Allow),
        "deny" => Some(DefaultAction::Deny),
        _ => None,
    }
}
