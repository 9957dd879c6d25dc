//! Names that nft has for numbers.

use gabion_abi::facts::{protocol, tcp};
use gabion_policy_model::text::names::{ICMP_V4, PROTOCOLS, TCP_FLAGS, number_of};

/// The number that a name stands for.
pub(super) type Names = fn(&str) -> Option<u32>;

/// A number by its name, or as digits up to a limit.
pub(super) fn number(word: &str, named: Names, limit: u32) -> Option<u32> {
    if let Some(number) = named(word) {
        return Some(number);
    }
    let parsed = match word.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        _ => word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten(),
    };
    parsed.filter(|&number| number <= limit)
}

/// Values without names.
pub(super) fn unnamed(_: &str) -> Option<u32> {
    None
}

/// IP protocols by the names of `/etc/protocols`, which nft reads: those of policy text, but for the two that it has
/// for IP in IP.
pub(super) fn protocol(word: &str) -> Option<u32> {
    match word {
        "ipencap" => Some(protocol::IPIP.into()),
        "ipip" => Some(94),
        _ => number_of(PROTOCOLS, word).map(u32::from),
    }
}

pub(super) fn port(word: &str) -> Option<u32> {
    number_of(&PORTS, word).map(u32::from)
}

/// ICMP types have the same names in policy text.
pub(super) fn icmp_type(word: &str) -> Option<u32> {
    number_of(ICMP_V4, word).map(u32::from)
}

pub(super) fn icmpv6_type(word: &str) -> Option<u32> {
    number_of(&ICMPV6_TYPES, word).map(u32::from)
}

pub(super) fn tcp_flag(word: &str) -> Option<u32> {
    match word {
        "ecn" => Some(tcp::ECE.into()),
        _ => number_of(TCP_FLAGS, word).map(u32::from),
    }
}

/// Services by the names of the IANA registry that `nft list` prints for common ports.
const PORTS: [(&str, u16); 49] = [
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

/// As nft calls them: other than RFC 4443 does, which policy text follows.
const ICMPV6_TYPES: [(&str, u8); 19] = [
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

/// States of `ct state`, as bits.
pub(super) const STATES: [(&str, u32); 5] =
    [("new", NEW), ("established", ESTABLISHED), ("related", RELATED), ("invalid", INVALID), ("untracked", UNTRACKED)];
pub(super) const NEW: u32 = 1;
pub(super) const ESTABLISHED: u32 = 2;
pub(super) const RELATED: u32 = 4;
pub(super) const INVALID: u32 = 8;
pub(super) const UNTRACKED: u32 = 16;
pub(super) const ALL_STATES: u32 = 31;
