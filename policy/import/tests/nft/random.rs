//! Random rulesets and packets: each ruleset is made as data, printed for the importer, and walked
//! directly for the expected verdict.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use gabion_policy_model::trace::Direction;

use crate::packet::{Packet, accepted_by_nft, decide, import_at};

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A condition: one of these, or none of these.
struct Among<T> {
    not: bool,
    list: Vec<T>,
}

impl<T> Among<T> {
    fn holds(&self, test: impl Fn(&T) -> bool) -> bool {
        self.list.iter().any(test) != self.not
    }

    fn print(&self, each: impl Fn(&T) -> String) -> String {
        let list: Vec<_> = self.list.iter().map(each).collect();
        format!("{}{{ {} }}", if self.not { "!= " } else { "" }, list.join(", "))
    }
}

#[derive(Default)]
struct Rule {
    input: Option<Among<&'static str>>,
    output: Option<Among<&'static str>>,
    /// Ranges of the last octet of 10.0.0.x.
    source: Option<Among<(u8, u8)>>,
    destination: Option<Among<(u8, u8)>>,
    protocol: Option<u8>,
    dport: Option<Among<(u16, u16)>>,
    sport: Option<Among<(u16, u16)>>,
    /// Value, mask and whether it is `!=`.
    flags: Option<(u8, u8, bool)>,
    mac: Option<Among<u64>>,
    icmp: Option<Among<u8>>,
    verdict: Verdict,
}

#[derive(Default, Clone, Copy)]
enum Verdict {
    #[default]
    Accept,
    Drop,
    Jump(usize),
    Goto(usize),
}

const INTERFACES: [&str; 3] = ["eth0", "eth1", "eth2"];
const FLAGS: [(&str, u8); 4] = [("fin", 1), ("syn", 2), ("rst", 4), ("ack", 16)];

fn octets(dice: &mut Dice) -> (u8, u8) {
    let (a, b) = (dice.below(16) as u8, dice.below(16) as u8);
    (a.min(b), a.max(b))
}

fn ports(dice: &mut Dice) -> (u16, u16) {
    let (a, b) = (dice.below(8) as u16 + 80, dice.below(8) as u16 + 80);
    (a.min(b), a.max(b))
}

/// Ranges that do not touch each other: nft wants the elements of a set apart.
fn among<T>(dice: &mut Dice, mut one: impl FnMut(&mut Dice) -> T, apart: impl Fn(&T, &T) -> bool) -> Option<Among<T>> {
    let not = dice.one_in(4);
    let mut list: Vec<T> = Vec::new();
    for _ in 0..=dice.below(2) {
        let element = one(dice);
        if list.iter().all(|other| apart(other, &element)) {
            list.push(element);
        }
    }
    Some(Among { not, list })
}

fn rule(dice: &mut Dice, chains: usize, from: usize) -> Rule {
    let mut rule = Rule::default();
    let apart_octets = |a: &(u8, u8), b: &(u8, u8)| a.1 + 1 < b.0 || b.1 + 1 < a.0;
    let apart_ports = |a: &(u16, u16), b: &(u16, u16)| a.1 + 1 < b.0 || b.1 + 1 < a.0;
    if dice.one_in(3) {
        rule.input = among(dice, |d| d.pick(&INTERFACES), |a, b| a != b);
    } else if dice.one_in(4) {
        rule.mac = among(dice, |d| 0x0200_0000_0000 + d.below(3), |a, b| a != b);
    }
    if dice.one_in(4) {
        rule.output = among(dice, |d| d.pick(&INTERFACES), |a, b| a != b);
    }
    if dice.one_in(2) {
        rule.source = among(dice, octets, apart_octets);
    }
    if dice.one_in(2) {
        rule.destination = among(dice, octets, apart_octets);
    }
    match dice.below(5) {
        0 => rule.protocol = Some(17),
        1 => {
            rule.protocol = Some(6);
            if dice.one_in(2) {
                let bits =
                    |dice: &mut Dice| FLAGS.iter().filter(|_| dice.one_in(2)).fold(0, |bits, (_, bit)| bits | bit);
                // nft wants at least two flags behind the slash.
                let mask = bits(dice) | 0x12;
                let value = bits(dice) & mask;
                if value != 0 {
                    rule.flags = Some((value, mask, dice.one_in(3)));
                }
            }
        }
        2 => rule.icmp = among(dice, |d| d.pick(&[0, 3, 8, 11]), |a, b| a != b),
        _ => {}
    }
    if rule.protocol.is_some() {
        if dice.one_in(2) {
            rule.dport = among(dice, ports, apart_ports);
        }
        if dice.one_in(4) {
            rule.sport = among(dice, ports, apart_ports);
        }
    }
    rule.verdict = match dice.below(6) {
        // Chains jump to later chains only: no loops.
        0 if from + 1 < chains => Verdict::Jump(from + 1 + dice.below((chains - from - 1) as u64) as usize),
        1 if from == 0 && chains > 1 => Verdict::Goto(1 + dice.below(chains as u64 - 1) as usize),
        2..4 => Verdict::Drop,
        _ => Verdict::Accept,
    };
    rule
}

impl Rule {
    fn print(&self) -> String {
        let mut text = String::new();
        let quoted = |name: &&str| format!("\"{name}\"");
        let address = |&(low, high): &(u8, u8)| match low == high {
            true => format!("10.0.0.{low}"),
            false => format!("10.0.0.{low}-10.0.0.{high}"),
        };
        let port = |&(low, high): &(u16, u16)| match low == high {
            true => low.to_string(),
            false => format!("{low}-{high}"),
        };
        let flags = |bits: u8| {
            let names: Vec<_> = FLAGS.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name).collect();
            names.join(",")
        };
        let mac = |bits: &u64| {
            let octets: Vec<_> = bits.to_be_bytes()[2..].iter().map(|octet| format!("{octet:02x}")).collect();
            octets.join(":")
        };
        if let Some(names) = &self.input {
            write!(text, "iifname {} ", names.print(quoted)).unwrap();
        }
        if let Some(names) = &self.output {
            write!(text, "oifname {} ", names.print(quoted)).unwrap();
        }
        if let Some(macs) = &self.mac {
            write!(text, "ether saddr {} ", macs.print(mac)).unwrap();
        }
        if let Some(blocks) = &self.source {
            write!(text, "ip saddr {} ", blocks.print(address)).unwrap();
        }
        if let Some(blocks) = &self.destination {
            write!(text, "ip daddr {} ", blocks.print(address)).unwrap();
        }
        let protocol = if self.protocol == Some(17) { "udp" } else { "tcp" };
        if self.protocol.is_some() && self.dport.is_none() && self.sport.is_none() && self.flags.is_none() {
            write!(text, "meta l4proto {protocol} ").unwrap();
        }
        for (field, condition) in [("sport", &self.sport), ("dport", &self.dport)] {
            if let Some(ports) = condition {
                write!(text, "{protocol} {field} {} ", ports.print(port)).unwrap();
            }
        }
        if let Some((value, mask, not)) = self.flags {
            write!(text, "tcp flags {}{} / {} ", if not { "!= " } else { "" }, flags(value), flags(mask)).unwrap();
        }
        if let Some(types) = &self.icmp {
            write!(text, "icmp type {} ", types.print(u8::to_string)).unwrap();
        }
        match self.verdict {
            Verdict::Accept => text += "accept",
            Verdict::Drop => text += "drop",
            Verdict::Jump(to) => write!(text, "jump c{to}").unwrap(),
            Verdict::Goto(to) => write!(text, "goto c{to}").unwrap(),
        }
        text
    }

    fn matches(&self, packet: &Packet) -> bool {
        let octet = |address: IpAddr| match address {
            IpAddr::V4(address) => u32::from(address) - 0x0a00_0000,
            IpAddr::V6(_) => unreachable!("these packets are IPv4"),
        };
        let address = |among: &Option<Among<(u8, u8)>>, address: IpAddr| {
            let octet = octet(address);
            among.as_ref().is_none_or(|a| a.holds(|&(low, high)| u32::from(low) <= octet && octet <= u32::from(high)))
        };
        let port = |among: &Option<Among<(u16, u16)>>, port: u16| {
            among.as_ref().is_none_or(|a| a.holds(|&(low, high)| low <= port && port <= high))
        };
        self.input.as_ref().is_none_or(|a| a.holds(|name| *name == packet.input))
            && self.output.as_ref().is_none_or(|a| a.holds(|name| *name == packet.output))
            && self.mac.as_ref().is_none_or(|a| a.holds(|&mac| mac == packet.source_mac))
            && address(&self.source, packet.source)
            && address(&self.destination, packet.destination)
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && port(&self.sport, packet.sport)
            && port(&self.dport, packet.dport)
            && self.flags.is_none_or(|(value, mask, not)| (packet.flags & mask == value) != not)
            && self.icmp.as_ref().is_none_or(|a| packet.protocol == 1 && a.holds(|&kind| kind == packet.icmp.0))
    }
}

/// Accepted, dropped, or neither.
fn walk(chains: &[Vec<Rule>], chain: usize, policy: bool, packet: &Packet) -> Option<bool> {
    for rule in chains[chain].iter().filter(|rule| rule.matches(packet)) {
        let verdict = match rule.verdict {
            Verdict::Accept => Some(true),
            Verdict::Drop => Some(false),
            Verdict::Jump(to) => walk(chains, to, policy, packet),
            Verdict::Goto(to) => Some(walk(chains, to, policy, packet).unwrap_or(policy)),
        };
        if verdict.is_some() {
            return verdict;
        }
    }
    None
}

fn packet(dice: &mut Dice) -> Packet {
    let address = |dice: &mut Dice| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + dice.below(17) as u32));
    Packet {
        source: address(dice),
        destination: address(dice),
        input: dice.pick(&INTERFACES),
        output: dice.pick(&INTERFACES),
        protocol: dice.pick(&[6, 6, 17, 1]),
        sport: dice.below(9) as u16 + 80,
        dport: dice.below(9) as u16 + 80,
        flags: dice.pick(&[2, 18, 16, 4, 1, 0x1f]),
        icmp: (dice.pick(&[0, 3, 8, 11]), 0),
        source_mac: 0x0200_0000_0000 + dice.below(4),
        vlan: None,
    }
}

#[test]
fn random_rulesets_mean_what_they_say() {
    let mut dice = Dice(0x0bad_5eed);
    let (mut passed, mut dropped) = (0, 0);
    for number in 0..400 {
        let state = dice.0;
        let count = 1 + dice.below(4) as usize;
        let chains: Vec<Vec<Rule>> =
            (0..count).map(|chain| (0..1 + dice.below(5)).map(|_| rule(&mut dice, count, chain)).collect()).collect();
        let policy = dice.one_in(2);
        let hook = dice.pick(&["forward", "input", "output"]);
        // nft wants a chain before the rules that jump to it.
        let mut text = String::from("table inet t {\n");
        for (index, rules) in chains.iter().enumerate().rev() {
            writeln!(text, "chain c{index} {{").unwrap();
            if index == 0 {
                let word = if policy { "accept" } else { "drop" };
                writeln!(text, "type filter hook {hook} priority 0; policy {word};").unwrap();
            }
            for rule in rules {
                // These hooks do not know these interfaces.
                let invalid = hook == "input" && rule.output.is_some() || hook == "output" && rule.input.is_some();
                assert!(!text.is_empty() && (invalid || !rule.print().is_empty()));
                writeln!(text, "{}", rule.print()).unwrap();
            }
            text += "}\n";
        }
        text += "}\n";
        if number % 8 == 0 {
            accepted_by_nft(&text);
        }
        let set = match import_at(&text, &[]) {
            Ok(imported) => imported.policies,
            // The one thing in these rulesets that has no counterpart.
            Err(errors) if errors[0].contains("an interface and a MAC address of one end") => continue,
            Err(errors) if errors[0].contains("`tcp flags` here and at the jump") => continue,
            Err(errors) => panic!("{errors:?}\nstate {state:#x}\n{text}"),
        };
        let direction = if hook == "output" { Direction::Egress } else { Direction::Ingress };
        for _ in 0..200 {
            let packet = packet(&mut dice);
            let expected = walk(&chains, 0, policy, &packet).unwrap_or(policy);
            let (allowed, rule) = decide(&set, &packet, direction);
            assert_eq!(allowed, expected, "by {rule}, {packet:?}\nstate {state:#x}\n{text}");
            *(if allowed { &mut passed } else { &mut dropped }) += 1;
        }
    }
    assert!(passed > 10_000 && dropped > 10_000, "{passed} passed and {dropped} dropped: too one-sided to prove much");
}
