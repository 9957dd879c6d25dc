//! Names of protocols, EtherTypes and TCP flags as a question may write them.

use gabion_abi::facts::{self, protocol, tcp};

/// IP protocols by name (IANA keywords in lower case).
pub const PROTOCOLS: [(&str, u8); 17] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("icmpv6", protocol::ICMPV6),
    ("sctp", protocol::SCTP),
    ("dccp", protocol::DCCP),
    ("udplite", protocol::UDPLITE),
    ("igmp", protocol::IGMP),
    ("ipip", protocol::IPIP),
    ("ipv6", protocol::IPV6),
    ("gre", protocol::GRE),
    ("esp", protocol::ESP),
    ("ah", protocol::AH),
    ("ospf", protocol::OSPF),
    ("vrrp", protocol::VRRP),
    ("hip", protocol::HIP),
    ("icmp6", protocol::ICMPV6),
];

/// EtherTypes by name.
pub const ETHER_TYPES: [(&str, u16); 14] = [
    ("ipv4", facts::ETHERTYPE_IPV4),
    ("ipv6", facts::ETHERTYPE_IPV6),
    ("arp", facts::ETHERTYPE_ARP),
    ("llc", facts::ETHERTYPE_LLC),
    ("goose", 0x88b8),
    ("gse", 0x88b9),
    ("sv", 0x88ba),
    ("profinet", 0x8892),
    ("ethercat", 0x88a4),
    ("powerlink", 0x88ab),
    ("lldp", 0x88cc),
    ("ptp", 0x88f7),
    ("hsr", 0x892f),
    ("prp", 0x88fb),
];

/// TCP flags by name.
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", tcp::FIN),
    ("syn", tcp::SYN),
    ("rst", tcp::RST),
    ("psh", tcp::PSH),
    ("ack", tcp::ACK),
    ("urg", tcp::URG),
    ("ece", tcp::ECE),
    ("cwr", tcp::CWR),
];

/// The number behind a name, whatever its case.
pub(crate) fn number_of<N: Copy>(table: &[(&str, N)], name: &str) -> Option<N> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
}

/// The name of a number, or the number.
pub(crate) fn name_of<N: Copy + PartialEq + std::fmt::Display>(table: &[(&str, N)], number: N) -> String {
    table
        .iter()
        .find(|&&(_, known)| known == number)
        .map_or_else(|| number.to_string(), |&(name, _)| name.to_owned())
}

/// A protocol as people read it.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match name_of(&PROTOCOLS, number) {
        name if name.starts_with(|c: char| c.is_ascii_digit()) => format!("protocol {name}"),
        name => name,
    }
}

/// An EtherType as people read it.
#[must_use]
pub fn ether_type_name(number: u16) -> String {
    ETHER_TYPES
        .iter()
        .find(|&&(_, known)| known == number)
        .map_or_else(|| format!("0x{number:04x}"), |&(name, _)| name.to_owned())
}

/// TCP flags as people read them.
#[must_use]
pub fn flag_names(flags: u8) -> String {
    let names: Vec<_> = TCP_FLAGS.iter().filter(|&&(_, bit)| flags & bit != 0).map(|&(name, _)| name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}
