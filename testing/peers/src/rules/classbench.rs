//! ClassBench filter sets: the importer reads them, the oracle says what they decide.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;

use fastrand::Rng;
use gabion_abi::facts::protocol;
use gabion_policy_import::classbench::Actions;
use gabion_policy_import::{Source, import_classbench};
use gabion_policy_model::oracle::{self, Action};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule;
use gabion_policy_model::service::PortMatch;
use gabion_policy_model::subject::AnySubject;
use gabion_policy_model::trace::Direction;
use ipnet::{IpNet, Ipv4Net};

use super::{FLOWS, Line, RuleSet};
use crate::Failure;
use crate::header::{Header, WITH_PORTS};

/// How often another packet is drawn in place of one that is there already.
const ATTEMPTS: usize = 20;

pub(super) fn read(name: &str, path: &Path) -> Result<RuleSet, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let imported = import_classbench(Source { name, text: &text }, Actions::Alternate)
        .map_err(|errors| format!("{}: {} lines are no rules", path.display(), errors.len()))?;
    let policies = imported.policies;
    let rules = policies.cluster_policies.iter().map(|policy| policy.ingress.len()).sum();
    let lines: Vec<Line> =
        policies.cluster_policies.iter().flat_map(|policy| &policy.ingress).filter_map(|rule| line(rule)).collect();
    let mut rng = Rng::with_seed(7);
    let mut seen = HashSet::new();
    let mut ways = HashSet::new();
    let mut trace = Vec::with_capacity(FLOWS);
    while trace.len() < FLOWS {
        for attempt in 0.. {
            let header = draw(&mut rng, &lines, trace.len() % 2 == 0);
            let (way, back) = ways_of(&header);
            // An answer to another packet may pass for that reason, which no rule says.
            let answers = way == back || ways.contains(&back);
            if !answers && (seen.insert(header) || attempt >= ATTEMPTS) {
                ways.insert(way);
                trace.push(header);
                break;
            }
        }
    }
    let passes = |header: &Header| {
        oracle::decide(&policies, &header.facts(), None, None, Direction::Ingress).action != Action::Deny
    };
    let expected = trace.iter().map(passes).collect();
    Ok(RuleSet { name: name.to_owned(), rules, lines, default_pass: true, segments: None, trace, expected, policies })
}

/// Ends, protocol and ports.
type Way = (Ipv4Addr, Ipv4Addr, u8, u16, u16);

/// The way of a packet, and that of an answer to it.
fn ways_of(header: &Header) -> (Way, Way) {
    let Header { source, destination, protocol, source_port, destination_port, .. } = *header;
    let (from, to) = if WITH_PORTS.contains(&protocol) { (source_port, destination_port) } else { (0, 0) };
    ((source, destination, protocol, from, to), (destination, source, protocol, to, from))
}

/// The rule for those who know no names; none when it matches nothing.
fn line(rule: &rule::Rule) -> Option<Line> {
    let block = |subjects: &Option<Vec<AnySubject>>| match subjects.as_deref() {
        Some([AnySubject::Cidr(cidr)]) => match cidr.block {
            IpNet::V4(block) => Some(block),
            IpNet::V6(_) => None,
        },
        _ => None,
    };
    Some(Line {
        source: block(&rule.from)?,
        destination: block(&rule.to)?,
        services: rule.services.clone(),
        pass: rule.action == rule::Action::Allow,
    })
}

/// A packet at an edge of a line, or any, from a source that a sender can have. Others count as malformed before any
/// rule is asked.
fn draw(rng: &mut Rng, lines: &[Line], at_edge: bool) -> Header {
    loop {
        let header = draw_any(rng, lines, at_edge);
        if !header.source.is_multicast() && !header.source.is_broadcast() {
            return header;
        }
    }
}

fn draw_any(rng: &mut Rng, lines: &[Line], at_edge: bool) -> Header {
    let line = &lines[rng.usize(..lines.len())];
    let any_protocol = [protocol::TCP, protocol::UDP, protocol::ICMP];
    let any_flags = [0x02, 0x10, 0x12, 0x04];
    let mut header = Header {
        source: Ipv4Addr::from_bits(rng.u32(..)),
        destination: Ipv4Addr::from_bits(rng.u32(..)),
        protocol: [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::GRE][rng.usize(..4)],
        source_port: rng.u16(..),
        destination_port: rng.u16(..),
        tcp_flags: any_flags[rng.usize(..4)],
    };
    if at_edge {
        let service = (!line.services.is_empty()).then(|| &line.services[rng.usize(..line.services.len())]);
        header.source = host(rng, line.source);
        header.destination = host(rng, line.destination);
        header.protocol = any_protocol[rng.usize(..3)];
        if let Some(service) = service {
            if let Some(protocols) = &service.protocols {
                header.protocol = edge(rng, protocols) as u8;
            }
            if let Some(ports) = &service.source_ports {
                header.source_port = edge(rng, ports) as u16;
            }
            if let Some(PortMatch::Numbers(ports)) = &service.ports {
                header.destination_port = edge(rng, ports) as u16;
            }
            if let Some(kinds) = &service.icmp {
                header.source_port = edge(rng, kinds) as u16;
            }
            if let Some(flags) = service.tcp_flags {
                header.tcp_flags = flags.value | any_flags[rng.usize(..4)] & !flags.mask;
            }
        }
    }
    // What the packet does not have makes no other flow.
    if !WITH_PORTS.contains(&header.protocol) {
        header.destination_port = 0;
        if header.protocol == protocol::ICMP && !at_edge {
            header.source_port = u16::from(rng.u8(..16)) << 8 | u16::from(rng.u8(..4));
        }
    }
    if header.protocol != protocol::TCP {
        header.tcp_flags = 0;
    }
    header
}

/// The first address of a block, its last, or one between.
fn host(rng: &mut Rng, block: Ipv4Net) -> Ipv4Addr {
    let mask = block.hostmask().to_bits();
    let host = [0, mask, rng.u32(..) & mask][rng.usize(..3)];
    Ipv4Addr::from_bits(block.network().to_bits() | host)
}

/// The first number of a range, its last, or one between.
fn edge(rng: &mut Rng, set: &RangeSet) -> u32 {
    let ranges: Vec<(u32, u32)> = set.iter().collect();
    let Some(&(low, high)) = ranges.get(rng.usize(..ranges.len().max(1))) else { return 0 };
    [low, high, rng.u32(low..=high)][rng.usize(..3)]
}
