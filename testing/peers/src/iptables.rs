//! iptables-legacy in the raw table, before anything else of the stack: rule by rule, and with ipset.

use std::fmt::Write as _;
use std::process::Command;

use gabion_abi::facts::protocol;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{PortMatch, Service};

use crate::Failure;
use crate::header::WITH_PORTS;
use crate::nft::{feed, is_common};
use crate::rules::{Line, RuleSet, Segments};
use crate::stand::Stand;

/// The mangle table comes next; what the raw table lets through ends and is counted there, before routing.
const SINK: &str = "*mangle\n:PREROUTING DROP [0:0]\nCOMMIT\n";

/// No rule: the price of being there.
#[must_use]
pub fn empty() -> String {
    table("", false)
}

/// One rule for each line.
pub fn linear(set: &RuleSet) -> Result<String, Failure> {
    let mut rules = String::new();
    for line in &set.lines {
        for rule in statements(line)? {
            writeln!(rules, "-A PREROUTING {rule}")?;
        }
    }
    Ok(table(&rules, set.default_pass))
}

fn table(rules: &str, default_pass: bool) -> String {
    let policy = if default_pass { "ACCEPT" } else { "DROP" };
    format!("*raw\n:PREROUTING {policy} [0:0]\n{rules}COMMIT\n{SINK}")
}

/// One set of all that may pass, and the rule that asks it.
pub fn key_set(stand: &Stand, segments: &Segments) -> Result<(), Failure> {
    let size = segments.rules.len().next_power_of_two().max(1024);
    let mut text = format!("create allowed hash:ip,port,ip hashsize {size} maxelem {size}\n");
    for rule in &segments.rules {
        let address = |identity: u32| segments.addresses[identity as usize];
        let name = if rule.protocol == protocol::UDP { "udp" } else { "tcp" };
        writeln!(text, "add allowed {},{name}:{},{}", address(rule.from), rule.port, address(rule.to))?;
    }
    let mut command = Command::new("ipset");
    command.arg("restore");
    feed(stand, command, &text)?;
    load(stand, &table("-A PREROUTING -m set --match-set allowed src,dst,dst -j ACCEPT\n", false))
}

/// Loads rules into a stand.
pub fn load(stand: &Stand, rules: &str) -> Result<(), Failure> {
    feed(stand, Command::new("iptables-legacy-restore"), rules).map(drop)
}

/// How many packets the raw table let through.
pub fn passed(stand: &Stand) -> Result<u64, Failure> {
    let mut command = Command::new("iptables-legacy");
    command.args(["-t", "mangle", "-L", "PREROUTING", "-v", "-n", "-x"]);
    let listed = feed(stand, command, "")?;
    let (_, policy) = listed.split_once("policy DROP ").ok_or("iptables lists no policy")?;
    Ok(policy.split(' ').next().unwrap_or_default().parse()?)
}

fn statements(line: &Line) -> Result<Vec<String>, Failure> {
    let mut common = String::new();
    for (field, block) in [("-s", line.source), ("-d", line.destination)] {
        if block.prefix_len() != 0 {
            write!(common, "{field} {block} ")?;
        }
    }
    let verdict = if line.pass { "-j ACCEPT" } else { "-j DROP" };
    if line.services.is_empty() {
        return Ok(vec![format!("{common}{verdict}")]);
    }
    let mut rules = Vec::new();
    for service in &line.services {
        rules.extend(conditions(service)?.into_iter().map(|text| format!("{common}{text}{verdict}")));
    }
    Ok(rules)
}

fn conditions(service: &Service) -> Result<Vec<String>, Failure> {
    let destination_ports = match &service.ports {
        Some(PortMatch::Numbers(ports)) => Some(ports),
        Some(PortMatch::Named(name)) => return Err(format!("the port {name} has a name, not a number").into()),
        None => None,
    };
    let protocols: Vec<Option<u32>> = match &service.protocols {
        Some(set) => set.iter().flat_map(|(low, high)| low..=high).map(Some).collect(),
        None if destination_ports.is_some() || service.source_ports.is_some() => {
            WITH_PORTS.iter().map(|&number| Some(number.into())).collect()
        }
        None => vec![None],
    };
    let mut rules = Vec::new();
    for number in protocols {
        let mut text = number.map_or(String::new(), |number| format!("-p {number} "));
        let common = number.is_some_and(is_common);
        if !common && (destination_ports.is_some() || service.source_ports.is_some()) {
            text.push_str("-m multiport ");
        }
        for (set, word) in [(service.source_ports.as_ref(), "sport"), (destination_ports, "dport")] {
            if let Some(set) = set {
                write!(text, "--{word}{} {} ", if common { "" } else { "s" }, one_range(set, ":")?)?;
            }
        }
        if let Some(flags) = service.tcp_flags {
            write!(text, "--tcp-flags {} {} ", flag_names(flags.mask)?, flag_names(flags.value)?)?;
        }
        match &service.icmp {
            Some(kinds) => rules.extend(icmp(kinds)?.into_iter().map(|kind| format!("{text}--icmp-type {kind} "))),
            None => rules.push(text),
        }
    }
    Ok(rules)
}

fn one_range(set: &RangeSet, between: &str) -> Result<String, Failure> {
    let ranges: Vec<(u32, u32)> = set.iter().collect();
    match ranges.as_slice() {
        [(low, high)] if low == high => Ok(low.to_string()),
        [(low, high)] => Ok(format!("{low}{between}{high}")),
        _ => Err("a set of several port ranges".into()),
    }
}

fn flag_names(flags: u8) -> Result<String, Failure> {
    const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    if flags >> 6 != 0 {
        return Err(format!("TCP flags {flags:#04x}, which iptables has no names for").into());
    }
    let names: Vec<&str> = (0..).zip(NAMES).filter(|(bit, _)| flags >> bit & 1 != 0).map(|(_, name)| name).collect();
    Ok(if names.is_empty() { "NONE".to_owned() } else { names.join(",") })
}

/// Types, with code where the set does not hold all codes of one.
fn icmp(kinds: &RangeSet) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for (low, high) in kinds.iter() {
        for kind in low >> 8..=high >> 8 {
            let (first, last) = (low.max(kind << 8), high.min(kind << 8 | 0xff));
            if (first & 0xff, last & 0xff) == (0, 0xff) {
                found.push(kind.to_string());
            } else {
                found.extend((first..=last).map(|number| format!("{kind}/{}", number & 0xff)));
            }
            if found.len() > 256 {
                return Err("more ICMP types and codes than rules are worth".into());
            }
        }
    }
    Ok(found)
}
