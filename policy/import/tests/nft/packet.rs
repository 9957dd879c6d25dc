//! Packets, verdicts, and nft itself.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use gabion_abi::facts::{self, Address, Facts};
use gabion_policy_import::nft::import_nft_at;
use gabion_policy_import::{Imported, Source};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action};
use gabion_policy_model::trace::{Direction, RuleRef};

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub input: &'static str,
    pub output: &'static str,
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    pub flags: u8,
    pub icmp: (u8, u8),
    pub source_mac: u64,
    pub vlan: Option<u16>,
}

impl Packet {
    /// A TCP SYN to port 80 from eth0 to eth1.
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            input: "eth0",
            output: "eth1",
            protocol: 6,
            sport: 40_000,
            dport: 80,
            flags: facts::tcp::SYN,
            icmp: (0, 0),
            source_mac: 0x0200_0000_0001,
            vlan: None,
        }
    }

    pub fn facts(&self) -> Facts {
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => Address::v4(address.into()),
            IpAddr::V6(address) => Address::v6(address.into()),
        };
        let v6 = self.source.is_ipv6();
        let mut facts = Facts {
            source: address(self.source),
            destination: address(self.destination),
            source_mac: self.source_mac,
            destination_mac: 0x0200_0000_00ff,
            ethertype: if v6 { facts::ETHERTYPE_IPV6 } else { facts::ETHERTYPE_IPV4 },
            family: if v6 { facts::FAMILY_V6 } else { facts::FAMILY_V4 },
            protocol: self.protocol,
            vlan_outer: self.vlan.unwrap_or(facts::VLAN_NONE),
            ..Facts::UNKNOWN
        };
        match self.protocol {
            6 | 17 | 132 => {
                facts.transport = facts::TRANSPORT_PORTS;
                (facts.source_port, facts.destination_port) = (self.sport, self.dport);
                facts.tcp_flags = if self.protocol == 6 { self.flags } else { 0 };
            }
            1 | 58 => {
                facts.transport = facts::TRANSPORT_ICMP;
                (facts.icmp_type, facts.icmp_code) = self.icmp;
            }
            _ => {}
        }
        facts
    }
}

pub fn import_at(text: &str, node: &[&str]) -> Result<Imported, Vec<String>> {
    let node: Vec<IpAddr> = node.iter().map(|address| address.parse().unwrap()).collect();
    import_nft_at(&[Source { name: "rules.nft", text }], &node)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

pub fn import(text: &str) -> Imported {
    accepted_by_nft(text);
    import_at(text, &[]).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// Whether the packet may pass, and the name of the rule that says so.
pub fn decide(set: &PolicySet, packet: &Packet, direction: Direction) -> (bool, String) {
    let decision = oracle::decide(set, &packet.facts(), Some(packet.input), Some(packet.output), direction);
    let name = match decision.rule {
        RuleRef::Cluster { policy, rule } => {
            let policy = &set.cluster_policies[policy as usize];
            policy.rules(direction)[rule as usize].name.clone()
        }
        _ => "default".to_owned(),
    };
    (decision.action == Action::Allow, name)
}

pub fn arrives(set: &PolicySet, packet: &Packet) -> (bool, String) {
    decide(set, packet, Direction::Ingress)
}

/// Fails when nft is there, can check rulesets, and refuses this one. A check changes nothing.
pub fn accepted_by_nft(text: &str) {
    let Ok(mut child) = Command::new("nft")
        .args(["-c", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("not compared with nft: it is not installed");
        return;
    };
    child.stdin.take().expect("it was asked for").write_all(text.as_bytes()).expect("nft reads its input");
    let output = child.wait_with_output().expect("nft ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Operation not permitted") || errors.contains("cache initialization failed") {
        eprintln!("not compared with nft: {}", errors.lines().next().unwrap_or_default());
        return;
    }
    assert!(output.status.success(), "nft refuses what is tested here:\n{errors}\n{text}");
}
