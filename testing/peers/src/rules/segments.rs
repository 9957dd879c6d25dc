//! Micro-segmentation: who may talk to whom, and about what, between workloads with an identity each.
//!
//! One in five offers something, on one port or two. Most of the rules go to few of these, as most clients need the
//! same name servers, brokers and databases; who the client is, is even. Every workload has an address in the network
//! of the machine that it runs on, where those with consecutive numbers do not sit together. For Gabion each that
//! offers something has a `Policy` that names its clients by label; nothing else may be received.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use gabion_abi::facts::protocol;
use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{DEFAULT_NAMESPACE, Entry, Inventory};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, Policy, Rule};
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::site::{DefaultAction, Defaults, Site};
use gabion_policy_model::subject::{AnySubject, LabelSelector, Labels, Namespaces};
use ipnet::Ipv4Net;

use super::{FLOWS, Line, RuleSet};
use crate::Failure;
use crate::header::Header;

/// Workloads on one machine: the usual limit for pods.
const MACHINE: usize = 110;
/// What is offered, protocol and port.
const OFFERS: [(u8, u16); 16] = [
    (protocol::TCP, 80),
    (protocol::TCP, 443),
    (protocol::TCP, 8080),
    (protocol::TCP, 8443),
    (protocol::TCP, 5432),
    (protocol::TCP, 3306),
    (protocol::TCP, 6379),
    (protocol::TCP, 9092),
    (protocol::TCP, 5672),
    (protocol::TCP, 27017),
    (protocol::TCP, 9200),
    (protocol::TCP, 50051),
    (protocol::TCP, 502),
    (protocol::TCP, 2404),
    (protocol::UDP, 53),
    (protocol::UDP, 514),
];

/// One may reach the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Number of the client.
    pub from: u32,
    /// Number of the server.
    pub to: u32,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
}

/// Identities and rules.
pub struct Segments {
    /// The address of each identity, by its number.
    pub addresses: Vec<Ipv4Addr>,
    /// What may pass.
    pub rules: Vec<Segment>,
}

impl Segments {
    fn draw(count: usize, rng: &mut Rng) -> Self {
        let mut places: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut places);
        let address = |place: usize| {
            let (machine, slot) = ((place / MACHINE) as u32, (place % MACHINE) as u32);
            Ipv4Addr::from_bits(10 << 24 | (machine + 1) << 8 | (slot + 2))
        };
        let addresses = places.into_iter().map(address).collect();
        let servers = (count / 5).max(1);
        let offers: Vec<[(u8, u16); 2]> =
            (0..servers).map(|_| [OFFERS[rng.usize(..OFFERS.len())], OFFERS[rng.usize(..OFFERS.len())]]).collect();
        let mut seen = HashSet::new();
        let mut rules = Vec::with_capacity(count);
        while rules.len() < count {
            // The square of an even number: a quarter of the clients' needs go to the first sixteenth of the servers.
            let to = ((servers as f64) * rng.f64().powi(2)) as usize;
            let from = rng.usize(..count);
            // One rule in eight is about the second of the server's ports.
            let (protocol, port) = offers[to][usize::from(rng.usize(..8) == 0)];
            let rule = Segment { from: from as u32, to: to as u32, protocol, port };
            if from != to && seen.insert(rule) {
                rules.push(rule);
            }
        }
        Self { addresses, rules }
    }

    /// Whether the rules let a packet pass.
    fn lookup(&self) -> impl Fn(&Header) -> bool {
        let identities: HashMap<Ipv4Addr, u32> = self.addresses.iter().copied().zip(0..).collect();
        let rules: HashSet<Segment> = self.rules.iter().copied().collect();
        move |header| {
            let (Some(&from), Some(&to)) = (identities.get(&header.source), identities.get(&header.destination)) else {
                return false;
            };
            rules.contains(&Segment { from, to, protocol: header.protocol, port: header.destination_port })
        }
    }

    fn header(&self, rng: &mut Rng, at_edge: bool) -> Header {
        let rule = self.rules[rng.usize(..self.rules.len())];
        let address = |identity: u32| self.addresses[identity as usize];
        let mut header = Header {
            source: address(rule.from),
            destination: address(rule.to),
            protocol: rule.protocol,
            source_port: rng.u16(32_768..61_000),
            destination_port: rule.port,
            tcp_flags: if rng.usize(..8) == 0 { 0x02 } else { 0x10 },
        };
        if !at_edge {
            // Two who are known and no rule, mostly; or a stranger at one end.
            (header.protocol, header.destination_port) = OFFERS[rng.usize(..OFFERS.len())];
            header.source = self.addresses[rng.usize(..self.addresses.len())];
            header.destination = self.addresses[rng.usize(..self.addresses.len())];
            match rng.usize(..8) {
                0 => header.source = Ipv4Addr::from_bits(192 << 24 | rng.u32(..1 << 24)),
                1 => header.destination = Ipv4Addr::from_bits(192 << 24 | rng.u32(..1 << 24)),
                _ => {}
            }
        }
        if header.protocol != protocol::TCP {
            header.tcp_flags = 0;
        }
        header
    }

    fn policies(&self) -> PolicySet {
        let entries = (0..).zip(&self.addresses).map(|(number, &address)| entry(number, address).into()).collect();
        let mut by_server: BTreeMap<u32, Vec<Spanned<Rule>>> = BTreeMap::new();
        for rule in &self.rules {
            let rules = by_server.entry(rule.to).or_default();
            let rule = Rule {
                name: format!("ingress-{}", rules.len()),
                action: Action::Allow,
                from: Some(vec![labelled(rule.from)]),
                to: None,
                services: vec![service(rule)],
                stateless: false,
                log: false,
            };
            rules.push(rule.into());
        }
        let policy = |(server, rules): (u32, Vec<Spanned<Rule>>)| Policy {
            name: app(server),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            subject: labelled(server).into(),
            ingress: Some(rules),
            egress: None,
            location: Location::default(),
        };
        let defaults = Defaults { ingress: DefaultAction::Deny, ..Defaults::default() };
        PolicySet {
            policies: by_server.into_iter().map(policy).collect(),
            cluster_policies: Vec::new(),
            inventory: Inventory { entries, namespaces: BTreeMap::new() }.into(),
            site: Some(Site { defaults, ..Site::default() }),
        }
    }
}

fn app(identity: u32) -> String {
    // Names sort as their numbers do, as sets of documents are sorted.
    format!("app-{identity:06}")
}

fn labelled(identity: u32) -> AnySubject {
    let match_labels = BTreeMap::from([("app".to_owned(), app(identity))]);
    let selector = LabelSelector { match_labels, match_expressions: Vec::new() };
    AnySubject::Labels(Labels { selector, namespaces: Namespaces::Named(DEFAULT_NAMESPACE.to_owned()) })
}

fn entry(identity: u32, address: Ipv4Addr) -> Entry {
    let zone = ["control", "station", "office"][identity as usize % 3];
    Entry {
        name: app(identity),
        namespace: DEFAULT_NAMESPACE.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app(identity)), ("zone".to_owned(), zone.to_owned())]),
        service_account: None,
        spiffe_id: None,
        addresses: vec![IpAddr::V4(address)],
        macs: Vec::new(),
        interfaces: Vec::new(),
        ports: Vec::new(),
    }
}

fn service(rule: &Segment) -> Service {
    let only = |number: u32| RangeSet::from_range(number..=number);
    Service {
        protocols: Some(only(rule.protocol.into())),
        ports: Some(PortMatch::Numbers(only(rule.port.into()))),
        ..Service::default()
    }
}

pub(super) fn make(name: &str, count: usize) -> Result<RuleSet, Failure> {
    let mut rng = Rng::with_seed(11);
    let segments = Segments::draw(count, &mut rng);
    let mut seen = HashSet::new();
    let mut trace = Vec::with_capacity(FLOWS);
    while trace.len() < FLOWS {
        let header = segments.header(&mut rng, trace.len() % 2 == 0);
        if seen.insert(header) {
            trace.push(header);
        }
    }
    let passes = segments.lookup();
    let expected = trace.iter().map(&passes).collect();
    drop(passes);
    let line = |rule: &Segment| Line {
        source: Ipv4Net::from(segments.addresses[rule.from as usize]),
        destination: Ipv4Net::from(segments.addresses[rule.to as usize]),
        services: vec![service(rule)],
        pass: true,
    };
    Ok(RuleSet {
        name: name.to_owned(),
        rules: count,
        lines: segments.rules.iter().map(line).collect(),
        default_pass: false,
        policies: segments.policies(),
        segments: Some(segments),
        trace,
        expected,
    })
}
