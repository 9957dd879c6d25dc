//! Names and the node's own addresses: what turns a question into a packet.

use std::collections::HashMap;
use std::net::IpAddr;

use gabion_abi::facts::{self, Address, Facts, protocol};
use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{DEFAULT_NAMESPACE, Entry};
use gabion_policy_model::site::{FailsafePort, Interface};
use gabion_policy_model::subject::{Mac, Subject};

use crate::names;
use crate::packet::{Asked, Assumption, CLIENT_PORT, NO_PROTOCOL, Packet, Place};
use crate::query::{Query, QueryError, Scalar, shorten};

/// What is looked up for each question, prepared once.
#[derive(Debug)]
pub struct Directory<'s> {
    entries: &'s [Entry],
    by_full_name: HashMap<(&'s str, &'s str), usize>,
    by_name: HashMap<&'s str, Vec<usize>>,
    node_addresses: Vec<IpAddr>,
    failsafe: &'s [FailsafePort],
    interfaces: &'s [Interface],
}

/// One end as the question names it.
#[derive(Clone, Copy, Default)]
struct NamedEnd<'a> {
    address: Option<IpAddr>,
    mac: Option<Mac>,
    entry: Option<&'a Entry>,
}

impl<'a> NamedEnd<'a> {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + 'a {
        let listed: &'a [IpAddr] = self.entry.map_or(&[], |entry| &entry.addresses);
        self.address.into_iter().chain(listed.iter().copied())
    }

    fn has_family(&self, v4: bool) -> bool {
        self.addresses().any(|address| address.is_ipv4() == v4)
    }

    fn mac(&self) -> u64 {
        self.mac.or_else(|| self.entry.and_then(|entry| entry.macs.first().copied())).map_or(0, Mac::to_bits)
    }

    fn interface(&self) -> Option<&'a str> {
        self.entry.and_then(|entry| entry.interfaces.first()).map(String::as_str)
    }
}

impl<'s> Directory<'s> {
    /// Prepares what questions about this set look up.
    #[must_use]
    pub fn new<S: Subject>(set: &'s PolicySet<S>) -> Self {
        let entries = &set.inventory.entries;
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            by_name.entry(&entry.name).or_default().push(index);
        }
        let by_full_name =
            entries.iter().enumerate().map(|(index, e)| ((e.namespace.as_str(), e.name.as_str()), index)).collect();
        let site = set.site.as_ref();
        let interfaces: &[Interface] = site.map_or(&[], |site| &site.interfaces);
        let mut node_addresses: Vec<_> = interfaces.iter().flat_map(|i| i.addresses.iter().copied()).collect();
        node_addresses.sort_unstable();
        node_addresses.dedup();
        Self { entries, by_full_name, by_name, node_addresses, failsafe: site.map_or(&[], |s| &s.failsafe), interfaces }
    }

    /// Whether the site lists addresses of the node at all.
    #[must_use]
    pub fn knows_node(&self) -> bool {
        !self.node_addresses.is_empty()
    }

    /// Whether the site says that the node itself has this address.
    #[must_use]
    pub fn is_node(&self, address: IpAddr) -> bool {
        self.node_addresses.binary_search(&address).is_ok()
    }

    /// The fail-safe port of the node that lets a denied packet pass: on arrival by its destination, on departure by
    /// its source.
    #[must_use]
    pub fn failsafe(&self, packet: &Packet<'_>) -> Option<FailsafePort> {
        let f = &packet.facts;
        if f.unparsed != facts::unparsed::NONE || f.transport != facts::TRANSPORT_PORTS {
            return None;
        }
        let at_node = |address: Address, port: u16| {
            let wanted = FailsafePort { protocol: f.protocol, port };
            let local = gabion_policy_model::oracle::address(f.family, address).is_some_and(|a| self.is_node(a));
            (local && self.failsafe.contains(&wanted)).then_some(wanted)
        };
        let arriving = || at_node(f.destination, f.destination_port);
        let leaving = || at_node(f.source, f.source_port);
        match packet.place {
            Place::Arrival => arriving(),
            Place::Departure => leaving(),
            Place::EndToEnd => arriving().or_else(leaving),
        }
    }

    /// Fills in a question:
    ///
    /// - an end that is the name of an inventory entry brings its first address of the right family, its first MAC
    ///   and its first interface;
    /// - TCP without flags is a SYN; ICMP without type is an echo request; a source port that is not given is
    ///   [`CLIENT_PORT`]; a destination port that is not given is 0 and a protocol that is not given [`NO_PROTOCOL`],
    ///   which only rules for every port or protocol cover;
    /// - without an EtherType the packet is IP; a frame between MAC addresses needs one.
    ///
    /// # Errors
    /// What the question lacks, or what is wrong with it.
    pub fn packet<'a>(&'a self, query: &'a Query<'_>) -> Result<Packet<'a>, QueryError> {
        let mut assumed = Vec::new();
        let source = self.end("src", query.src.as_deref(), query.src_mac.as_deref())?;
        let destination = self.end("dst", query.dst.as_deref(), query.dst_mac.as_deref())?;
        let arrives = query.arrives.as_deref().map(|name| interface("in", name)).transpose()?;
        let leaves = query.leaves.as_deref().map(|name| interface("out", name)).transpose()?;

        let mut facts = Facts { source_mac: source.mac(), destination_mac: destination.mac(), ..Facts::UNKNOWN };
        tags(query, &mut facts)?;
        let ether_type = query.ethertype.as_ref().map(ether_type).transpose()?;
        let ether_type = match (ether_type, &query.llc) {
            (None, Some(_)) => Some(facts::ETHERTYPE_LLC),
            (given, _) => given,
        };
        match ether_type {
            None | Some(facts::ETHERTYPE_IPV4 | facts::ETHERTYPE_IPV6) => {
                network(query, ether_type, &source, &destination, &mut facts, &mut assumed)?;
            }
            Some(other) => frame(query, other, &source, &destination, &mut facts)?,
        }

        let place = match (arrives, leaves) {
            (None, None) => Place::EndToEnd,
            (Some(_), _) => Place::Arrival,
            (None, Some(_)) => Place::Departure,
        };
        for name in [arrives, leaves].into_iter().flatten() {
            if !self.interfaces.is_empty() && !self.interfaces.iter().any(|i| covers(&i.name, name)) {
                assumed.push(Assumption::NotGuarded(name.to_owned()));
            }
        }
        let asked = match (arrives, leaves) {
            (None, None) | (Some(_), Some(_)) => Asked::BOTH,
            (None, Some(_)) => Asked::EGRESS,
            (Some(_), None) if self.node_addresses.is_empty() => Asked::INGRESS,
            (Some(_), None) => {
                let to = gabion_policy_model::oracle::address(facts.family, facts.destination);
                if to.is_some_and(|address| self.is_node(address)) { Asked::INGRESS } else { Asked::BOTH }
            }
        };
        Ok(Packet {
            facts,
            source_interface: arrives.or_else(|| source.interface()),
            destination_interface: leaves.or_else(|| destination.interface()),
            asked,
            place,
            assumed,
        })
    }

    fn end<'a>(
        &'a self,
        field: &'static str,
        name: Option<&str>,
        beside: Option<&str>,
    ) -> Result<NamedEnd<'a>, QueryError> {
        let mut end = NamedEnd::default();
        if let Some(name) = name {
            if let Ok(address) = name.parse() {
                end.address = Some(address);
            } else if let Some(mac) = mac(name) {
                end.mac = Some(mac);
            } else {
                end.entry = Some(self.entry(field, name)?);
            }
        }
        if let Some(text) = beside {
            let field = if field == "src" { "src-mac" } else { "dst-mac" };
            let value = mac(text).ok_or_else(|| invalid(field, text, "a MAC address like 02:00:00:00:00:01"))?;
            if end.mac.is_some_and(|mac| mac != value) {
                let remedy = "give the MAC address once".to_owned();
                return Err(QueryError::Contradiction { one: "src or dst", other: field, remedy });
            }
            end.mac = Some(value);
        }
        Ok(end)
    }

    fn entry(&self, field: &'static str, name: &str) -> Result<&Entry, QueryError> {
        let found = match name.split_once('/') {
            Some((namespace, name)) => self.by_full_name.get(&(namespace, name)),
            None => match self.by_name.get(name).map_or(&[][..], Vec::as_slice) {
                [only] => Some(only),
                [] => None,
                several => {
                    let full = self.by_full_name.get(&(DEFAULT_NAMESPACE, name));
                    if full.is_none() {
                        let choices = several.iter().filter_map(|&index| self.entries.get(index));
                        let choices: Vec<_> = choices.map(|e| format!("{}/{}", e.namespace, e.name)).collect();
                        let name = name.to_owned();
                        return Err(QueryError::Ambiguous { field, name, choices: choices.join(", ") });
                    }
                    full
                }
            },
        };
        found.and_then(|&index| self.entries.get(index)).ok_or_else(|| QueryError::NobodyNamed {
            field,
            name: shorten(name),
            similar: self.similar(name),
        })
    }

    fn similar(&self, name: &str) -> String {
        if name.len() > 256 {
            return String::new();
        }
        let best = self
            .entries
            .iter()
            .map(|entry| (strsim::jaro_winkler(&entry.name, name), entry))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        match best {
            Some((_, entry)) if entry.namespace == DEFAULT_NAMESPACE => format!("; did you mean {}?", entry.name),
            Some((_, entry)) => format!("; did you mean {}/{}?", entry.namespace, entry.name),
            None => String::new(),
        }
    }
}

/// Whether an interface of the site is this one: by name, or by a pattern with one trailing `*`.
fn covers(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

fn network(
    query: &Query<'_>,
    ether_type: Option<u16>,
    source: &NamedEnd<'_>,
    destination: &NamedEnd<'_>,
    facts: &mut Facts,
    assumed: &mut Vec<Assumption>,
) -> Result<(), QueryError> {
    let said = query.proto.as_ref().map(protocol_number).transpose()?;
    let v4 = family(query, ether_type, said, source, destination)?;
    (facts.family, facts.ethertype) = if v4 {
        (facts::FAMILY_V4, facts::ETHERTYPE_IPV4)
    } else {
        (facts::FAMILY_V6, facts::ETHERTYPE_IPV6)
    };
    facts.source = address("src", source, v4, assumed)?;
    facts.destination = address("dst", destination, v4, assumed)?;
    facts.fragment = match &query.fragment {
        None => facts::FRAGMENT_NONE,
        Some(state) => match state.to_string().as_str() {
            "none" => facts::FRAGMENT_NONE,
            "first" => facts::FRAGMENT_FIRST,
            "later" => facts::FRAGMENT_LATER,
            other => return Err(invalid("fragment", other, "none, first or later")),
        },
    };
    let icmp_of_family = if v4 { protocol::ICMP } else { protocol::ICMPV6 };
    facts.protocol = match said {
        Some(_) if !v4 && matches!(&query.proto, Some(Scalar::Text(name)) if name.eq_ignore_ascii_case("icmp")) => {
            assumed.push(Assumption::IcmpIsV6);
            protocol::ICMPV6
        }
        Some(number) => number,
        None if query.icmp.is_some() => icmp_of_family,
        None if query.dport.is_some() || query.sport.is_some() || query.flags.is_some() => {
            let remedy = "ports and flags mean nothing without it; write tcp, udp, sctp or another".to_owned();
            return Err(QueryError::Missing { field: "proto", remedy });
        }
        None => {
            assumed.push(Assumption::Protocol);
            NO_PROTOCOL
        }
    };
    transport(query, icmp_of_family, facts, assumed)
}

/// Whether the packet is IPv4: what the question fixes, else what both ends have.
fn family(
    query: &Query<'_>,
    ether_type: Option<u16>,
    said: Option<u8>,
    source: &NamedEnd<'_>,
    destination: &NamedEnd<'_>,
) -> Result<bool, QueryError> {
    let by_type = ether_type.map(|number| number == facts::ETHERTYPE_IPV4);
    let by_address = |end: &NamedEnd<'_>| end.address.map(|address| address.is_ipv4());
    let fixed = [("ethertype", by_type), ("src", by_address(source)), ("dst", by_address(destination))];
    let mut decided: Option<(&'static str, bool)> = None;
    for (field, v4) in fixed {
        match (decided, v4) {
            (Some((one, other)), Some(v4)) if other != v4 => {
                let remedy = "one speaks of IPv4, the other of IPv6".to_owned();
                return Err(QueryError::Contradiction { one, other: field, remedy });
            }
            (None, Some(v4)) => decided = Some((field, v4)),
            _ => {}
        }
    }
    if let Some((_, v4)) = decided {
        return Ok(v4);
    }
    for (field, end, given) in [("src", source, &query.src), ("dst", destination, &query.dst)] {
        if end.addresses().next().is_some() {
            continue;
        }
        let remedy = if given.is_some() && ether_type.is_none() && said.is_none() {
            return Err(QueryError::Missing {
                field: "ethertype",
                remedy: format!("{field} has no IP address, so say what the frame carries (goose, 0x88b8, arp, ...)"),
            });
        } else if given.is_some() {
            "an IP packet needs an IP address there; a MAC address can stand beside it in src-mac and dst-mac"
        } else {
            "write an IP address, a MAC address or the name of an inventory entry"
        };
        return Err(QueryError::Missing { field, remedy: remedy.to_owned() });
    }
    let preferred = said != Some(protocol::ICMPV6);
    [preferred, !preferred]
        .into_iter()
        .find(|&v4| source.has_family(v4) && destination.has_family(v4))
        .ok_or_else(|| QueryError::Contradiction {
            one: "src",
            other: "dst",
            remedy: "one has only IPv4, the other only IPv6 addresses".to_owned(),
        })
}

fn address(
    field: &'static str,
    end: &NamedEnd<'_>,
    v4: bool,
    assumed: &mut Vec<Assumption>,
) -> Result<Address, QueryError> {
    let mut of_family = end.addresses().filter(|address| address.is_ipv4() == v4);
    let taken = of_family.next().ok_or_else(|| QueryError::Missing {
        field,
        remedy: format!("an {} packet needs an address of that family there", if v4 { "IPv4" } else { "IPv6" }),
    })?;
    let count = 1 + of_family.count();
    if count > 1 {
        assumed.push(Assumption::FirstAddress { field, taken, count });
    }
    Ok(match taken {
        IpAddr::V4(v4) => Address::v4(v4.to_bits()),
        IpAddr::V6(v6) => Address::v6(v6.to_bits()),
    })
}

fn transport(
    query: &Query<'_>,
    icmp_of_family: u8,
    facts: &mut Facts,
    assumed: &mut Vec<Assumption>,
) -> Result<(), QueryError> {
    let sport = query.sport.as_ref().map(|port| number("sport", port, 65_535, "a port from 0 to 65535")).transpose()?;
    let dport = query.dport.as_ref().map(|port| number("dport", port, 65_535, "a port from 0 to 65535")).transpose()?;
    let icmp = query.icmp.as_ref().map(icmp_type).transpose()?;
    let flags = query.flags.as_ref().map(tcp_flags).transpose()?;
    if let Some(reason) = &query.unparsed {
        // What stands behind the fault is not known.
        facts.unparsed = unparsed_reason(reason)?;
        return Ok(());
    }
    let with_ports = matches!(
        facts.protocol,
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP
    );
    if icmp.is_some() && facts.protocol != icmp_of_family {
        let remedy = format!("only {} has types and codes here", names::protocol_name(icmp_of_family));
        return Err(QueryError::Contradiction { one: "icmp", other: "proto", remedy });
    }
    if !with_ports && (sport.is_some() || dport.is_some()) {
        assumed.push(Assumption::PortsIgnored(facts.protocol));
    }
    if flags.is_some() && facts.protocol != protocol::TCP {
        assumed.push(Assumption::FlagsIgnored);
    }
    if facts.fragment == facts::FRAGMENT_LATER {
        return Ok(());
    }
    if with_ports {
        facts.transport = facts::TRANSPORT_PORTS;
        facts.source_port = sport.unwrap_or(CLIENT_PORT);
        facts.destination_port = dport.unwrap_or_else(|| {
            assumed.push(Assumption::DestinationPort);
            0
        });
        if facts.protocol == protocol::TCP {
            facts.tcp_flags = flags.unwrap_or(facts::tcp::SYN);
        }
    } else if facts.protocol == icmp_of_family {
        facts.transport = facts::TRANSPORT_ICMP;
        (facts.icmp_type, facts.icmp_code) = icmp.unwrap_or_else(|| {
            assumed.push(Assumption::Echo);
            (if icmp_of_family == protocol::ICMP { 8 } else { 128 }, 0)
        });
    }
    Ok(())
}

/// A frame without an IP header.
fn frame(
    query: &Query<'_>,
    ether_type: u16,
    source: &NamedEnd<'_>,
    destination: &NamedEnd<'_>,
    facts: &mut Facts,
) -> Result<(), QueryError> {
    facts.ethertype = ether_type;
    for (field, end) in [("src", source), ("dst", destination)] {
        if end.address.is_some() {
            let remedy = "such a frame has no IP header; write a MAC address or the name of an inventory entry";
            return Err(QueryError::Contradiction { one: field, other: "ethertype", remedy: remedy.to_owned() });
        }
    }
    let beyond = [
        ("proto", query.proto.is_some()),
        ("sport", query.sport.is_some()),
        ("dport", query.dport.is_some()),
        ("icmp", query.icmp.is_some()),
        ("flags", query.flags.is_some()),
        ("fragment", query.fragment.is_some()),
    ];
    if let Some(&(one, _)) = beyond.iter().find(|(_, given)| *given) {
        let remedy = "such a frame has no IP header".to_owned();
        return Err(QueryError::Contradiction { one, other: "ethertype", remedy });
    }
    if let Some(llc) = &query.llc {
        if ether_type != facts::ETHERTYPE_LLC {
            let remedy = "a frame has an LLC header or an EtherType".to_owned();
            return Err(QueryError::Contradiction { one: "llc", other: "ethertype", remedy });
        }
        let text = llc.to_string();
        let sap = |part: &str| parse_number(part).and_then(|n| u8::try_from(n).ok());
        facts.llc = text
            .split_once('/')
            .and_then(|(d, s)| Some(u16::from_be_bytes([sap(d)?, sap(s)?])))
            .ok_or_else(|| invalid("llc", &text, "DSAP/SSAP like 0x42/0x42"))?;
    }
    if let Some(reason) = &query.unparsed {
        facts.unparsed = unparsed_reason(reason)?;
    }
    Ok(())
}

fn tags(query: &Query<'_>, facts: &mut Facts) -> Result<(), QueryError> {
    let vid = |field, vid: &Option<Scalar<'_>>| match vid {
        None => Ok(facts::VLAN_NONE),
        Some(Scalar::Text(none)) if none == "none" => Ok(facts::VLAN_NONE),
        Some(vid) => number(field, vid, 4_095, "a VLAN ID from 0 to 4095, or none"),
    };
    facts.vlan_outer = vid("vlan", &query.vlan)?;
    facts.vlan_inner = vid("inner-vlan", &query.inner_vlan)?;
    if facts.vlan_inner != facts::VLAN_NONE && facts.vlan_outer == facts::VLAN_NONE {
        let remedy = "an inner tag stands behind an outer one".to_owned();
        return Err(QueryError::Missing { field: "vlan", remedy });
    }
    Ok(())
}

fn interface<'a>(field: &'static str, name: &'a str) -> Result<&'a str, QueryError> {
    // dev_valid_name() of the kernel.
    let valid = !name.is_empty()
        && name.len() < 16
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if valid { Ok(name) } else { Err(invalid(field, name, "the name of an interface (at most 15 bytes)")) }
}

fn mac(text: &str) -> Option<Mac> {
    if text.len() != 17 {
        return None;
    }
    let separator = if text.as_bytes().get(2) == Some(&b'-') { '-' } else { ':' };
    let mut octets = [0; 6];
    let mut parts = text.split(separator);
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(octets))
}

fn protocol_number(proto: &Scalar<'_>) -> Result<u8, QueryError> {
    let named = match proto {
        Scalar::Text(name) => names::number_of(&names::PROTOCOLS, name),
        Scalar::Number(_) => None,
    };
    match named {
        Some(number) => Ok(number),
        None => number("proto", proto, 255, "a protocol name (tcp, udp, icmp, icmpv6, sctp, ...) or a number from 0 to 255")
            .map(|number| number as u8),
    }
}

fn ether_type(value: &Scalar<'_>) -> Result<u16, QueryError> {
    if let Scalar::Text(name) = value
        && let Some(number) = names::number_of(&names::ETHER_TYPES, name)
    {
        return Ok(number);
    }
    let expected = "an EtherType: a name (goose, sv, profinet, ptp, lldp, arp, ...) or a number from 0x0600 to 0xffff";
    let number = number("ethertype", value, 65_535, expected)?;
    if number < 0x600 && number != facts::ETHERTYPE_LLC {
        return Err(invalid("ethertype", &value.to_string(), expected));
    }
    Ok(number)
}

fn icmp_type(value: &Scalar<'_>) -> Result<(u8, u8), QueryError> {
    let expected = "a type and a code from 0 to 255, like 8/0 or 8";
    let octet = |text: &str| parse_number(text.trim()).and_then(|n| u8::try_from(n).ok());
    let parsed = match value {
        Scalar::Number(number) => u8::try_from(*number).ok().map(|kind| (kind, 0)),
        Scalar::Text(text) => match text.split_once('/') {
            Some((kind, code)) => octet(kind).zip(octet(code)),
            None => octet(text).map(|kind| (kind, 0)),
        },
    };
    parsed.ok_or_else(|| invalid("icmp", &value.to_string(), expected))
}

fn tcp_flags(value: &Scalar<'_>) -> Result<u8, QueryError> {
    let expected = "TCP flags: names (fin, syn, rst, psh, ack, urg, ece, cwr) with commas, none, or a number up to 255";
    let bad = || invalid("flags", &value.to_string(), expected);
    let text = match value {
        Scalar::Number(number) => return u8::try_from(*number).map_err(|_| bad()),
        Scalar::Text(text) => text,
    };
    if text == "none" {
        return Ok(0);
    }
    if let Some(number) = parse_number(text) {
        return u8::try_from(number).map_err(|_| bad());
    }
    text.split([',', '|', '+'])
        .try_fold(0, |flags, name| Some(flags | names::number_of(&names::TCP_FLAGS, name.trim())?))
        .ok_or_else(bad)
}

fn unparsed_reason(value: &Scalar<'_>) -> Result<u8, QueryError> {
    let named = facts::unparsed::NAMES.iter().position(|name| value.to_string() == *name);
    match named {
        Some(reason) if reason > 0 => Ok(reason as u8),
        _ => Err(invalid("unparsed", &value.to_string(), &format!("one of {}", facts::unparsed::NAMES[1..].join(", ")))),
    }
}

fn number(field: &'static str, value: &Scalar<'_>, highest: u16, expected: &str) -> Result<u16, QueryError> {
    let parsed = match value {
        Scalar::Number(number) => Some(*number),
        Scalar::Text(text) => parse_number(text),
    };
    parsed
        .and_then(|number| u16::try_from(number).ok())
        .filter(|&number| number <= highest)
        .ok_or_else(|| invalid(field, &value.to_string(), expected))
}

/// A decimal number, or a hexadecimal one behind `0x`; no signs.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn invalid(field: &'static str, value: &str, expected: &str) -> QueryError {
    QueryError::Invalid { field, value: shorten(value), expected: expected.to_owned() }
}
