//! nftables, at the netdev ingress hook: rule by rule, and as somebody writes it who knows its sets and maps.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use gabion_abi::facts::protocol;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{PortMatch, Service};

use crate::Failure;
use crate::header::WITH_PORTS;
use crate::rules::{Line, RuleSet, Segments};
use crate::stand::{DEVICE, Stand};
use crate::tree::{Axis, Node, Tree};

/// Priority of the chain that decides.
const PRIORITY: i32 = 0;

/// A ruleset without a rule: the price of being there.
#[must_use]
pub fn empty() -> String {
    table("", "", false)
}

/// One rule for each line.
pub fn linear(set: &RuleSet) -> Result<String, Failure> {
    let mut rules = String::new();
    for line in &set.lines {
        for statement in statements(line)? {
            writeln!(rules, "    {statement}")?;
        }
    }
    Ok(table("", &rules, set.default_pass))
}

/// One set of all that may pass, looked up by one key.
#[must_use]
pub fn key_set(segments: &Segments) -> String {
    let element = |rule: &crate::rules::Segment| {
        let address = |identity: u32| segments.addresses[identity as usize];
        format!("{} . {} . {} . {}", address(rule.from), address(rule.to), rule.protocol, rule.port)
    };
    let elements: Vec<String> = segments.rules.iter().map(element).collect();
    let declared = format!(
        "  set allowed {{\n    type ipv4_addr . ipv4_addr . inet_proto . inet_service\n    elements = {{ {} }}\n  }}\n",
        elements.join(",\n      ")
    );
    table(&declared, "    ip saddr . ip daddr . meta l4proto . th dport @allowed accept\n", false)
}

/// Verdict maps over blocks of addresses that lead to short chains: rules that overlap have to stay in order, which a
/// map of them does not promise.
pub fn tree(set: &RuleSet) -> Result<String, Failure> {
    let tree = Tree::new(&set.lines);
    let mut chains = String::new();
    let mut count = 0;
    let root = chain(&tree.root, &set.lines, &mut chains, &mut count)?;
    Ok(table(&chains, &root, set.default_pass))
}

/// The text of a node; chains that it jumps to are written before it.
fn chain(node: &Node, lines: &[Line], chains: &mut String, count: &mut usize) -> Result<String, Failure> {
    let mut body = String::new();
    match node {
        Node::Leaf(numbers) => {
            for &number in numbers {
                for statement in statements(&lines[number])? {
                    writeln!(body, "    {statement}")?;
                }
            }
        }
        Node::Split(axis, children) => {
            let mut elements = Vec::new();
            for (low, high, child) in children {
                let text = chain(child, lines, chains, count)?;
                if text.is_empty() {
                    continue;
                }
                *count += 1;
                writeln!(chains, "  chain c{count} {{\n{text}  }}")?;
                let (low, high) = (Ipv4Addr::from_bits(*low), Ipv4Addr::from_bits(*high));
                let key = if low == high { low.to_string() } else { format!("{low}-{high}") };
                elements.push(format!("{key} : jump c{count}"));
            }
            let field = match axis {
                Axis::Source => "saddr",
                Axis::Destination => "daddr",
            };
            if !elements.is_empty() {
                writeln!(body, "    ip {field} vmap {{ {} }}", elements.join(",\n      "))?;
            }
        }
    }
    Ok(body)
}

fn table(before: &str, rules: &str, default_pass: bool) -> String {
    let policy = if default_pass { "accept" } else { "drop" };
    format!(
        "table netdev bench {{\n{before}  chain arrival {{\n    type filter hook ingress device \"{DEVICE}\" \
         priority {PRIORITY}; policy {policy};\n{rules}  }}\n}}\n"
    )
}

/// A line as statements, one for each of its services.
fn statements(line: &Line) -> Result<Vec<String>, Failure> {
    let mut common = String::new();
    for (field, block) in [("saddr", line.source), ("daddr", line.destination)] {
        match block.prefix_len() {
            0 => {}
            32 => write!(common, "ip {field} {} ", block.addr())?,
            _ => write!(common, "ip {field} {block} ")?,
        }
    }
    let verdict = if line.pass { "accept" } else { "drop" };
    if line.services.is_empty() {
        return Ok(vec![format!("{common}{verdict}")]);
    }
    line.services.iter().map(|service| Ok(format!("{common}{}{verdict}", conditions(service)?))).collect()
}

fn conditions(service: &Service) -> Result<String, Failure> {
    let mut text = String::new();
    let with_ports = service.ports.is_some() || service.source_ports.is_some();
    if let Some(protocols) = &service.protocols {
        write!(text, "meta l4proto {} ", numbers(protocols))?;
    } else if with_ports {
        let all: RangeSet = WITH_PORTS.iter().fold(RangeSet::new(), |mut set, &number| {
            set.insert(number.into()..=number.into());
            set
        });
        write!(text, "meta l4proto {} ", numbers(&all))?;
    }
    if let Some(ports) = &service.source_ports {
        write!(text, "th sport {} ", numbers(ports))?;
    }
    match &service.ports {
        Some(PortMatch::Numbers(ports)) => write!(text, "th dport {} ", numbers(ports))?,
        Some(PortMatch::Named(name)) => return Err(format!("the port {name} has a name, not a number").into()),
        None => {}
    }
    if let Some(flags) = service.tcp_flags {
        write!(text, "@th,104,8 & {} == {} ", flags.mask, flags.value)?;
    }
    if let Some(kinds) = &service.icmp {
        write!(text, "@th,0,16 {} ", numbers(kinds))?;
    }
    Ok(text)
}

fn numbers(set: &RangeSet) -> String {
    let range = |(low, high): (u32, u32)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    let ranges: Vec<String> = set.iter().map(range).collect();
    if let [one] = ranges.as_slice() { one.clone() } else { format!("{{ {} }}", ranges.join(", ")) }
}

/// Loads a ruleset into a stand.
pub fn load(stand: &Stand, ruleset: &str) -> Result<(), Failure> {
    run(stand, ruleset).map(drop)
}

/// How many packets came through since the last time this was asked: counted by a chain of its own behind the one that
/// decides, which is not there while anything is measured.
pub fn passed(stand: &Stand) -> Result<u64, Failure> {
    let listed = run(stand, "list table netdev bench-sink\n").unwrap_or_default();
    if listed.is_empty() {
        run(
            stand,
            &format!(
                "table netdev bench-sink {{\n chain arrival {{\n type filter hook ingress device \"{DEVICE}\" \
                 priority {};\n counter\n }}\n}}\n",
                PRIORITY + 10
            ),
        )?;
        return Ok(0);
    }
    let words: Vec<&str> = listed.split_whitespace().collect();
    let counted = words.windows(2).find(|pair| pair[0] == "packets").ok_or("nft lists no counter")?[1].parse()?;
    run(stand, "delete table netdev bench-sink\n")?;
    Ok(counted)
}

fn run(stand: &Stand, text: &str) -> Result<String, Failure> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    feed(stand, command, text)
}

/// Runs a program in a stand with this input; what it prints.
pub(crate) fn feed(stand: &Stand, mut command: Command, input: &str) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = stand.host().run(|| -> std::io::Result<_> {
        let mut child = command.spawn()?;
        // Dropped at the end of the statement, so that the program sees the end of its input.
        child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?.write_all(input.as_bytes())?;
        child.wait_with_output()
    });
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).lines().take(4).collect::<Vec<_>>().join(" | ");
        return Err(format!("{name}: {said}").into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a protocol number is TCP or UDP.
pub(crate) fn is_common(number: u32) -> bool {
    number == u32::from(protocol::TCP) || number == u32::from(protocol::UDP)
}
