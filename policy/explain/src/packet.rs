//! A question with everything filled in.

use std::fmt;

use gabion_abi::facts::{self, Facts};
use gabion_policy_model::oracle::address;
use gabion_policy_model::subject::Mac;
use gabion_policy_model::trace::Direction;

use crate::names;

/// Whose policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the source may send.
    pub egress: bool,
    /// What the destination may receive.
    pub ingress: bool,
}

impl Asked {
    /// Both ends: end to end, or forwarded.
    pub const BOTH: Self = Self { egress: true, ingress: true };
    /// The source's egress.
    pub const EGRESS: Self = Self { egress: true, ingress: false };
    /// The destination's ingress.
    pub const INGRESS: Self = Self { egress: false, ingress: true };

    /// Whether a direction is asked.
    #[must_use]
    pub const fn asks(self, direction: Direction) -> bool {
        match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
        }
    }
}

/// Where the packet is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere in particular: by the policies of both ends.
    EndToEnd,
    /// Where it arrives.
    Arrival,
    /// Where it leaves.
    Departure,
}

/// What the question left open, and how it was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assumption {
    /// No protocol was given.
    Protocol,
    /// No destination port was given.
    DestinationPort,
    /// No ICMP type was given.
    Echo,
    /// No hop limit was given for a packet to which it matters.
    HopLimit,
    /// Ports were given for a protocol that has none.
    PortsIgnored(u8),
    /// TCP flags were given for another protocol.
    FlagsIgnored,
    /// `icmp` was said of an IPv6 packet.
    IcmpIsV6,
    /// The entry has more addresses than the one that is judged.
    FirstAddress {
        /// `src` or `dst`.
        field: &'static str,
        /// Which was taken.
        taken: std::net::IpAddr,
        /// How many there are.
        count: usize,
    },
    /// The site does not list this interface.
    NotGuarded(String),
    /// The packet is judged where it arrives, before anybody knows that it leaves by this interface.
    LeavesLater(String),
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol => write!(
                f,
                "no protocol was given: judged as IP protocol {NO_PROTOCOL}, which only rules for every protocol cover"
            ),
            Self::DestinationPort => {
                f.write_str("no destination port was given: judged as port 0, which only rules for every port cover")
            }
            Self::Echo => f.write_str("no ICMP type was given: judged as an echo request"),
            Self::HopLimit => f.write_str(
                "no hop limit was given: judged with 255, which only a sender on the same link can reach us with",
            ),
            Self::PortsIgnored(number) => {
                write!(
                    f,
                    "{} carries no ports that policy can read: those given are ignored",
                    names::protocol_name(*number)
                )
            }
            Self::FlagsIgnored => f.write_str("only TCP has flags: those given are ignored"),
            Self::IcmpIsV6 => f.write_str("between IPv6 addresses icmp is taken to mean icmpv6"),
            Self::FirstAddress { field, taken, count } => {
                write!(f, "{field} has {count} addresses of this family: judged with {taken}")
            }
            Self::NotGuarded(name) => {
                write!(f, "the site does not list interface {name}: no hook there judges packets")
            }
            Self::LeavesLater(name) => {
                write!(f, "judged where it arrives, when it is not yet known that it leaves by {name}")
            }
        }
    }
}

/// Protocol of packets of which none was given (reserved by IANA, so that nobody writes rules for it).
pub const NO_PROTOCOL: u8 = 255;

/// Source port of packets of which none was given: the first that clients are dealt (RFC 6335).
pub const CLIENT_PORT: u16 = 49_152;

/// A packet and whose policy is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its facts.
    pub facts: Facts,
    /// Interface on the source's side.
    pub source_interface: Option<&'a str>,
    /// Interface on the destination's side.
    pub destination_interface: Option<&'a str>,
    /// Whose policy is asked.
    pub asked: Asked,
    /// Where it is judged.
    pub place: Place,
    /// What had to be filled in.
    pub assumed: Vec<Assumption>,
}

impl Packet<'_> {
    /// One end as people read it: its address, else its MAC, else its interface.
    #[must_use]
    pub fn end_name(&self, direction: Direction) -> String {
        let f = &self.facts;
        let (ip, mac, interface) = match direction {
            Direction::Egress => (address(f.family, f.source), f.source_mac, self.source_interface),
            Direction::Ingress => (address(f.family, f.destination), f.destination_mac, self.destination_interface),
        };
        match (ip, mac, interface) {
            (Some(ip), ..) => ip.to_string(),
            (None, 0, Some(interface)) => format!("someone on {interface}"),
            (None, 0, None) => "someone unknown".to_owned(),
            (None, mac, _) => Mac::from_bits(mac).to_string(),
        }
    }

    /// What the packet carries, as people read it: `tcp 502 (from 49152, flags syn)`.
    #[must_use]
    pub fn content(&self) -> String {
        let f = &self.facts;
        if f.unparsed != facts::unparsed::NONE {
            let reason = facts::unparsed::NAMES.get(f.unparsed as usize).unwrap_or(&"unknown");
            return format!("unparsed ({reason})");
        }
        if f.family == facts::FAMILY_NONE {
            return match f.ethertype {
                facts::ETHERTYPE_LLC => format!("LLC 0x{:02x}/0x{:02x}", f.llc >> 8, f.llc & 0xff),
                other => format!("EtherType {}", names::ether_type_name(other)),
            };
        }
        let protocol = names::protocol_name(f.protocol);
        match (f.fragment, f.transport) {
            (facts::FRAGMENT_LATER, _) => format!("{protocol}, a later fragment"),
            (_, facts::TRANSPORT_ICMP) if f.has_discovery_type() && !f.is_discovery() => format!(
                "{protocol} {}/{}, no neighbour discovery of this link (hop limit {})",
                f.icmp_type, f.icmp_code, f.hop_limit
            ),
            (_, facts::TRANSPORT_ICMP) => format!("{protocol} {}/{}", f.icmp_type, f.icmp_code),
            (_, facts::TRANSPORT_PORTS) if f.protocol == facts::protocol::TCP => {
                let flags = names::flag_names(f.tcp_flags);
                format!("{protocol} {} (from {}, flags {flags})", f.destination_port, f.source_port)
            }
            (_, facts::TRANSPORT_PORTS) => format!("{protocol} {} (from {})", f.destination_port, f.source_port),
            _ => protocol,
        }
    }
}
