//! ClassBench filter sets against a second reading of the format, line by line, that shares nothing
//! with the importer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use gabion_abi::facts::{self, Address, Facts};
use gabion_policy_import::classbench::Actions;
use gabion_policy_import::{Source, import_classbench};
use gabion_policy_model::oracle::{self, Action};
use gabion_policy_model::trace::{Direction, RuleRef};

const SETS: [&str; 8] = ["acl1_1k", "acl1_10k", "acl3_1k", "fw1_1k", "fw1_10k", "fw4_1k", "ipc1_1k", "ipc1_10k"];

/// Headers for each set.
const HEADERS: usize = 2_000;

fn data() -> Option<PathBuf> {
    let root = match std::env::var_os("GABION_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    Some(root.join("classbench")).filter(|path| path.is_dir())
}

fn read(set: &str) -> Option<String> {
    let Some(path) = data() else {
        eprintln!("skipped {set}: no ClassBench sets here; GABION_TEST_DATA names the folder that holds `classbench`");
        return None;
    };
    Some(std::fs::read_to_string(path.join(set)).expect("the set is there and readable"))
}

/// A small generator (xorshift64*), so that a seed names a run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.throw() % limit as u64) as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    source: u32,
    destination: u32,
    protocol: u8,
    /// None for protocols without ports and for later fragments.
    ports: Option<(u16, u16)>,
    /// The 16 bits of the flags field; none where there is no such field.
    flags: Option<u16>,
    later_fragment: bool,
}

impl Header {
    fn facts(&self) -> Facts {
        let mut facts = Facts {
            source: Address::v4(self.source),
            destination: Address::v4(self.destination),
            ethertype: facts::ETHERTYPE_IPV4,
            family: facts::FAMILY_V4,
            protocol: self.protocol,
            ..Facts::UNKNOWN
        };
        if self.later_fragment {
            facts.fragment = facts::FRAGMENT_LATER;
            return facts;
        }
        if let Some((source, destination)) = self.ports {
            facts.transport = facts::TRANSPORT_PORTS;
            (facts.source_port, facts.destination_port) = (source, destination);
        }
        match (self.protocol, self.flags) {
            (6, Some(flags)) => facts.tcp_flags = (flags >> 8) as u8,
            (1, Some(flags)) => {
                facts.transport = facts::TRANSPORT_ICMP;
                (facts.icmp_type, facts.icmp_code) = ((flags >> 8) as u8, flags as u8);
            }
            _ => {}
        }
        facts
    }
}

/// One line, as the format's description reads.
#[derive(Debug)]
struct Line {
    source: (u32, u32),
    destination: (u32, u32),
    sport: (u16, u16),
    dport: (u16, u16),
    protocol: (u8, u8),
    flags: (u16, u16),
}

impl Line {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.trim_end_matches(['\t', '\n']).split('\t').collect();
        let prefix = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            let value = address.split('.').fold(0u32, |value, part| value << 8 | part.parse::<u32>().unwrap());
            let mask = (!0u64 << (32 - length.parse::<u32>().unwrap())) as u32;
            (value & mask, mask)
        };
        let range = |text: &str| {
            let (low, high) = text.split_once(" : ").unwrap();
            (low.parse().unwrap(), high.parse().unwrap())
        };
        let hex = |text: &str| u16::from_str_radix(&text[2..], 16).unwrap();
        let (protocol, protocol_mask) = fields[4].split_once('/').unwrap();
        let (flags, flags_mask) = fields[5].split_once('/').unwrap();
        Self {
            source: prefix(&fields[0][1..]),
            destination: prefix(fields[1]),
            sport: range(fields[2]),
            dport: range(fields[3]),
            protocol: (hex(protocol) as u8, hex(protocol_mask) as u8),
            flags: (hex(flags), hex(flags_mask)),
        }
    }

    fn matches(&self, header: &Header) -> bool {
        let in_range = |(low, high): (u16, u16), port: Option<u16>| match port {
            Some(port) => low <= port && port <= high,
            None => (low, high) == (0, 65535),
        };
        header.source & self.source.1 == self.source.0
            && header.destination & self.destination.1 == self.destination.0
            && in_range(self.sport, header.ports.map(|(source, _)| source))
            && in_range(self.dport, header.ports.map(|(_, destination)| destination))
            && header.protocol & self.protocol.1 == self.protocol.0 & self.protocol.1
            && match header.flags {
                Some(flags) => flags & self.flags.1 == self.flags.0 & self.flags.1,
                None => self.flags.1 == 0,
            }
    }
}

/// Half of the headers stand on a corner of a rule, or one beside it.
fn header(dice: &mut Dice, lines: &[Line]) -> Header {
    let line = (dice.below(2) == 0).then(|| &lines[dice.below(lines.len())]);
    let mut address = |prefix: Option<(u32, u32)>| match prefix {
        None => dice.throw() as u32,
        Some((value, mask)) => match dice.below(8) {
            0 => value.wrapping_sub(1),
            1 => (value | !mask).wrapping_add(1),
            2..5 => value,
            _ => value | !mask,
        },
    };
    let (source, destination) = (address(line.map(|l| l.source)), address(line.map(|l| l.destination)));
    let mut port = |range: Option<(u16, u16)>| match range {
        None => dice.throw() as u16,
        Some((low, high)) => match dice.below(8) {
            0 => low.wrapping_sub(1),
            1 => high.wrapping_add(1),
            2..5 => low,
            _ => high,
        },
    };
    let (sport, dport) = (port(line.map(|l| l.sport)), port(line.map(|l| l.dport)));
    let random = [6, 17, 1, 2, 7, 8, 47, 50, 132, 136][dice.below(10)];
    let protocol = match line {
        Some(line) if line.protocol.1 != 0 && dice.below(8) != 0 => line.protocol.0,
        _ => random,
    };
    let flags = match line {
        Some(line) if dice.below(8) != 0 => line.flags.0 & line.flags.1 | dice.throw() as u16 & !line.flags.1,
        _ => dice.throw() as u16,
    };
    let later_fragment = dice.below(16) == 0;
    Header {
        source,
        destination,
        protocol,
        ports: (matches!(protocol, 6 | 17 | 132 | 136) && !later_fragment).then_some((sport, dport)),
        flags: match protocol {
            _ if later_fragment => None,
            6 => Some(flags & 0xff00),
            1 => Some(flags),
            _ => None,
        },
        later_fragment,
    }
}

fn compare(set: &str) {
    let Some(text) = read(set) else { return };
    let imported = import_classbench(Source { name: &format!("classbench/{set}"), text: &text }, Actions::Alternate)
        .unwrap_or_else(|errors| panic!("{set}: {} errors, first {}", errors.len(), errors[0]));
    let lines: Vec<Line> = text.lines().map(Line::read).collect();
    let policies = &imported.policies;
    let rules = &policies.cluster_policies[0].ingress;
    assert_eq!(rules.len(), lines.len());
    assert_eq!(rules[lines.len() - 1].name, format!("{set}-{}", lines.len() - 1));

    let seed = 0x5eed_0000 + set.len() as u64 + lines.len() as u64;
    let mut dice = Dice(seed);
    let mut reached = std::collections::HashSet::new();
    for _ in 0..HEADERS {
        let header = header(&mut dice, &lines);
        let expected = lines.iter().position(|line| line.matches(&header)).expect("the last line matches everything");
        let decision = oracle::decide(policies, &header.facts(), None, None, Direction::Ingress);
        let action = if expected % 2 == 0 { Action::Allow } else { Action::Deny };
        assert_eq!(
            (decision.rule, decision.action),
            (RuleRef::Cluster { policy: 0, rule: expected as u32 }, action),
            "{set}, seed {seed:#x}, {header:x?}: line {} is {:x?}",
            expected + 1,
            lines[expected],
        );
        reached.insert(expected);
    }
    assert!(reached.len() > 50, "{set}: the headers reach {} rules only", reached.len());
}

#[test]
fn acl1_1k_decides_as_its_lines_read() {
    compare(SETS[0]);
}

#[test]
fn acl1_10k_decides_as_its_lines_read() {
    compare(SETS[1]);
}

#[test]
fn acl3_1k_decides_as_its_lines_read() {
    compare(SETS[2]);
}

#[test]
fn fw1_1k_decides_as_its_lines_read() {
    compare(SETS[3]);
}

#[test]
fn fw1_10k_decides_as_its_lines_read() {
    compare(SETS[4]);
}

#[test]
fn fw4_1k_decides_as_its_lines_read() {
    compare(SETS[5]);
}

#[test]
fn ipc1_1k_decides_as_its_lines_read() {
    compare(SETS[6]);
}

#[test]
fn ipc1_10k_decides_as_its_lines_read() {
    compare(SETS[7]);
}

#[test]
fn ranges_of_protocols_without_ports_are_counted() {
    let Some(text) = read("fw4_1k") else { return };
    let imported = import_classbench(Source { name: "fw4_1k", text: &text }, Actions::Allow).unwrap();
    assert_eq!(imported.warnings.len(), 1);
    assert!(
        imported.warnings[0].message.starts_with("658 of 847 rules can match no packet"),
        "{}",
        imported.warnings[0]
    );
}

fn import(text: &str) -> Result<gabion_policy_import::Imported, Vec<String>> {
    import_classbench(Source { name: "sets/mine.rules", text }, Actions::Allow)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn decide(text: &str, header: Header) -> RuleRef {
    let imported = import(text).unwrap();
    oracle::decide(&imported.policies, &header.facts(), None, None, Direction::Ingress).rule
}

const TCP_SYN: Header = Header {
    source: 0x0a00_0001,
    destination: 0x0a00_0002,
    protocol: 6,
    ports: Some((1000, 80)),
    flags: Some(0x0200),
    later_fragment: false,
};

#[test]
fn bits_behind_the_prefix_do_not_count() {
    let text = "@10.0.0.99/24\t10.0.0.77/24\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";
    assert_eq!(decide(text, TCP_SYN), RuleRef::Cluster { policy: 0, rule: 0 });
}

#[test]
fn a_rule_for_everyone_is_for_ipv4_only() {
    let text = "@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";
    let imported = import(text).unwrap();
    let ipv6 = Facts {
        ethertype: facts::ETHERTYPE_IPV6,
        family: facts::FAMILY_V6,
        protocol: 17,
        transport: facts::TRANSPORT_PORTS,
        ..Facts::UNKNOWN
    };
    let goose = Facts { ethertype: 0x88b8, ..Facts::UNKNOWN };
    for facts in [ipv6, goose] {
        assert_eq!(oracle::decide(&imported.policies, &facts, None, None, Direction::Ingress).rule, RuleRef::Default);
    }
}

#[test]
fn a_protocol_under_a_partial_mask_is_each_that_fits() {
    let text = "@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x01/0x0F\t0x0000/0x0000\t\n";
    let with = |protocol| Header { protocol, ports: None, flags: None, ..TCP_SYN };
    assert_eq!(decide(text, with(0x11)), RuleRef::Cluster { policy: 0, rule: 0 });
    assert_eq!(decide(text, with(0x12)), RuleRef::Default);
}

#[test]
fn flags_of_any_protocol_are_those_of_tcp_and_icmp() {
    let text = "@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0800/0xff00\t\n";
    assert_eq!(decide(text, Header { flags: Some(0x0800), ..TCP_SYN }), RuleRef::Cluster { policy: 0, rule: 0 });
    assert_eq!(decide(text, TCP_SYN), RuleRef::Default);
    let echo = Header { protocol: 1, ports: None, flags: Some(0x0800), ..TCP_SYN };
    assert_eq!(decide(text, echo), RuleRef::Cluster { policy: 0, rule: 0 });
    assert_eq!(decide(text, Header { protocol: 17, flags: None, ..TCP_SYN }), RuleRef::Default);
}

#[test]
fn what_is_no_rule_is_refused_with_its_place() {
    let good = "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";
    for (line, expected) in [
        (
            "@10.0.0.0/33\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000",
            "sets/mine.rules:3:1: not an IPv4 prefix: `@10.0.0.0/33`; write four decimal numbers and a length from 0 \
             to 32, `10.0.0.0/8`",
        ),
        (
            "@10.0.0.0/8\t0.0.0.0/0\t0 : 65536\t0 : 65535\t0x00/0x00\t0x0000/0x0000",
            "sets/mine.rules:3:23: not a range of ports: `0 : 65536`; write `lo : hi` with 0 ≤ lo ≤ hi ≤ 65535",
        ),
        (
            "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t9 : 8\t0x00/0x00\t0x0000/0x0000",
            "sets/mine.rules:3:33: not a range of ports: `9 : 8`; write `lo : hi` with 0 ≤ lo ≤ hi ≤ 65535",
        ),
        (
            "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x106/0xFF\t0x0000/0x0000",
            "sets/mine.rules:3:43: not a value and a mask: `0x106/0xFF`; write both hexadecimal, at most 0xff, with a \
             slash between",
        ),
        (
            "10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x06/0xFF\t0x0000/0x0000",
            "sets/mine.rules:3:1: a rule starts with `@`: `10.0.0.0/8`; write `@` before the source",
        ),
        (
            "@10.0.0.0/8\t0.0.0.0/0\t0 - 65535\t0 : 65535\t0x06/0xFF\t0x0000/0x0000",
            "sets/mine.rules:3:25: a colon is missing here: `-`; write ranges as `lo : hi`",
        ),
        (
            "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535",
            "sets/mine.rules:3:1: a rule has 10 words, this line has 5: `@10.0.0.0/8\t0.0.0.0/0\t0 : 65535`; write \
             `@source/len destination/len lo : hi lo : hi 0xPP/0xMM 0xVVVV/0xMMMM`",
        ),
    ] {
        let errors = import(&format!("{good}\n{line}\n{good}")).unwrap_err();
        assert_eq!(errors, [expected]);
    }
}
