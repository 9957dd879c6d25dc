//! Numbers that have names: IP protocols, EtherTypes, ICMP types, TCP flags, LLC. Both ways.

use gabion_abi::facts::{self, protocol, tcp};

/// IP protocols (IANA); of several names for a number the first is printed.
pub const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", protocol::ICMP),
    ("igmp", protocol::IGMP),
    ("ipip", protocol::IPIP),
    ("tcp", protocol::TCP),
    ("egp", 8),
    ("igp", 9),
    ("udp", protocol::UDP),
    ("dccp", protocol::DCCP),
    ("ipv6", protocol::IPV6),
    ("rsvp", 46),
    ("gre", protocol::GRE),
    ("esp", protocol::ESP),
    ("ah", protocol::AH),
    ("icmpv6", protocol::ICMPV6),
    ("ipv6-icmp", protocol::ICMPV6),
    ("eigrp", 88),
    ("ospf", protocol::OSPF),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", protocol::VRRP),
    ("carp", protocol::VRRP),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", protocol::SCTP),
    ("udplite", protocol::UDPLITE),
    ("hip", protocol::HIP),
    ("shim6", protocol::SHIM6),
];

/// Protocols whose packets carry ports.
pub const WITH_PORTS: [u8; 5] = [protocol::TCP, protocol::UDP, protocol::DCCP, protocol::SCTP, protocol::UDPLITE];

/// EtherTypes (IEEE registry; GOOSE and SV of IEC 61850-8-1 and 9-2).
pub const ETHER_TYPES: &[(&str, u16)] = &[
    ("llc", facts::ETHERTYPE_LLC),
    ("ipv4", facts::ETHERTYPE_IPV4),
    ("arp", facts::ETHERTYPE_ARP),
    ("wol", 0x0842),
    ("rarp", 0x8035),
    ("ipv6", facts::ETHERTYPE_IPV6),
    ("flow-control", 0x8808),
    ("slow-protocols", 0x8809),
    ("lacp", 0x8809),
    ("mpls", 0x8847),
    ("pppoe-discovery", 0x8863),
    ("pppoe", 0x8864),
    ("eapol", 0x888e),
    ("profinet", 0x8892),
    ("ethercat", 0x88a4),
    ("powerlink", 0x88ab),
    ("goose", 0x88b8),
    ("gse", 0x88b9),
    ("sv", 0x88ba),
    ("lldp", 0x88cc),
    ("sercos", 0x88cd),
    ("mrp", 0x88e3),
    ("macsec", 0x88e5),
    ("ptp", 0x88f7),
    ("prp", 0x88fb),
    ("cfm", 0x8902),
    ("hsr", 0x892f),
];

/// LLC DSAP and SSAP.
pub const LLC: &[(&str, u16)] = &[("stp", 0x4242), ("isis", 0xfefe), ("snap", 0xaaaa)];

/// ICMP types (RFC 792 and successors).
pub const ICMP_V4: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// ICMPv6 types (RFC 4443, 4861, 2710, 3810).
pub const ICMP_V6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbor-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("multicast-listener-report-v2", 143),
];

/// TCP flags.
pub const TCP_FLAGS: &[(&str, u8)] = &[
    ("fin", tcp::FIN),
    ("syn", tcp::SYN),
    ("rst", tcp::RST),
    ("psh", tcp::PSH),
    ("ack", tcp::ACK),
    ("urg", tcp::URG),
    ("ece", tcp::ECE),
    ("cwr", tcp::CWR),
];

pub(crate) const PROTOCOL_WORDS: [&str; PROTOCOLS.len()] = words(PROTOCOLS);
pub(crate) const ETHER_TYPE_WORDS: [&str; ETHER_TYPES.len()] = words(ETHER_TYPES);
pub(crate) const LLC_WORDS: [&str; LLC.len()] = words(LLC);
pub(crate) const ICMP_V4_WORDS: [&str; ICMP_V4.len()] = words(ICMP_V4);
pub(crate) const ICMP_V6_WORDS: [&str; ICMP_V6.len()] = words(ICMP_V6);

const fn words<N: Copy, const L: usize>(table: &[(&'static str, N)]) -> [&'static str; L] {
    let mut words = [""; L];
    let mut index = 0;
    while index < L {
        words[index] = table[index].0;
        index += 1;
    }
    words
}

/// The number of a name.
#[must_use]
pub fn number_of<N: Copy>(table: &[(&str, N)], name: &str) -> Option<N> {
    table.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

/// The name of a number.
#[must_use]
pub fn name_of<N: Copy + PartialEq>(table: &[(&'static str, N)], number: N) -> Option<&'static str> {
    table.iter().find(|(_, known)| *known == number).map(|&(name, _)| name)
}

/// A name that an inventory entry may give a port: that of IANA services (RFC 6335).
#[must_use]
pub fn is_port_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// DNS label of RFC 1123, as Kubernetes writes it.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
}

/// DNS subdomain of RFC 1123 (Kubernetes: up to 253 characters).
#[must_use]
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// `limit` characters of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
#[must_use]
pub fn is_qualified(name: &str, limit: usize) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    (1..=limit).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
}

/// A label key of Kubernetes: `name` or `prefix/name`.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_qualified(name, 63),
        None => is_qualified(key, 63),
    }
}

/// A label value of Kubernetes; it may be empty.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_qualified(value, 63)
}

/// What Linux takes for the name of an interface (`dev_valid_name`), and no pattern.
pub(crate) fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c == '*' || c.is_whitespace() || c.is_control())
}
