//! Names that nft has for numbers.

use gabion_abi::facts::protocol;

/// A number by its name in a table, or as digits up to a limit.
pub(super) fn number(word: &str, table: &[(&str, u32)], limit: u32) -> Option<u32> {
    if let Some(&(_, number)) = table.iter().find(|(name, _)| *name == word) {
        return Some(number);
    }
    let parsed = match word.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        _ => word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten(),
    };
    parsed.filter(|&number| number <= limit)
}

pub(super) const PROTOCOLS: [(&str, u32); 17] = [
    ("icmp", protocol::ICMP as u32),
    ("igmp", protocol::IGMP as u32),
    ("ipencap", protocol::IPIP as u32),
    ("ipip", protocol::IPIP as u32),
    ("tcp", protocol::TCP as u32),
    ("udp", protocol::UDP as u32),
    ("dccp", protocol::DCCP as u32),
    ("ipv6", protocol::IPV6 as u32),
    ("gre", protocol::GRE as u32),
    ("esp", protocol::ESP as u32),
    ("ah", protocol::AH as u32),
    ("icmpv6", protocol::ICMPV6 as u32),
    ("ipv6-icmp", protocol::ICMPV6 as u32),
    ("ospf", protocol::OSPF as u32),
    ("vrrp", protocol::VRRP as u32),
    ("sctp", protocol::SCTP as u32),
    ("udplite", protocol::UDPLITE as u32),
];

/// Services by the names of the IANA registry that `nft list` prints for common ports.
pub(super) const PORTS: [(&str, u32); 49] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("iso-tsap", 102),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("snmptrap", 162),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("isakmp", 500),
    ("mbap", 502),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("submission", 587),
    ("ldaps", 636),
    ("domain-s", 853),
    ("rsync", 873),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("nfs", 2049),
    ("mysql", 3306),
    ("ipsec-nat-t", 4500),
    ("sip", 5060),
    ("mdns", 5353),
    ("postgresql", 5432),
    ("syslog-tls", 6514),
    ("http-alt", 8080),
    ("secure-mqtt", 8883),
];

pub(super) const ICMP_TYPES: [(&str, u32); 15] = [
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

pub(super) const ICMPV6_TYPES: [(&str, u32); 19] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

pub(super) const TCP_FLAGS: [(&str, u32); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ecn", 64), ("cwr", 128)];

/// States of `ct state`, as bits.
pub(super) const STATES: [(&str, u32); 5] =
    [("new", NEW), ("established", ESTABLISHED), ("related", RELATED), ("invalid", INVALID), ("untracked", UNTRACKED)];
pub(super) const NEW: u32 = 1;
pub(super) const ESTABLISHED: u32 = 2;
pub(super) const RELATED: u32 = 4;
pub(super) const INVALID: u32 = 8;
pub(super) const UNTRACKED: u32 = 16;
pub(super) const ALL_STATES: u32 = 31;
