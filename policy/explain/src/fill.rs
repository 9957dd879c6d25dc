//! What the question leaves open, filled in: from the fields of a question to the facts of a packet.

use std::net::IpAddr;

use gabion_abi::facts::{self, Address, Facts, protocol};
use gabion_policy_model::text::names::WITH_PORTS;

use crate::directory::NamedEnd;
use crate::fields::{icmp_type, invalid, link_sap, number, protocol_number, tcp_flags, unparsed_reason};
use crate::names;
use crate::packet::{Assumption, CLIENT_PORT, NO_PROTOCOL};
use crate::query::{Query, QueryError, Scalar};

/// A packet with an IP header.
pub(crate) fn network(
    query: &Query<'_>,
    ether_type: Option<u16>,
    source: &NamedEnd<'_>,
    destination: &NamedEnd<'_>,
    facts: &mut Facts,
    assumed: &mut Vec<Assumption>,
) -> Result<(), QueryError> {
    let said = query.proto.as_ref().map(protocol_number).transpose()?;
    let v4 = family(query, ether_type, said, source, destination)?;
    (facts.family, facts.ethertype) =
        if v4 { (facts::FAMILY_V4, facts::ETHERTYPE_IPV4) } else { (facts::FAMILY_V6, facts::ETHERTYPE_IPV6) };
    facts.source = address("src", source, v4, assumed)?;
    facts.destination = address("dst", destination, v4, assumed)?;
    match &query.hop_limit {
        Some(_) if v4 => {
            let remedy = "only IPv6 packets have a hop limit here".to_owned();
            return Err(QueryError::Contradiction { one: "hop-limit", other: "src", remedy });
        }
        Some(limit) => facts.hop_limit = number("hop-limit", limit, 255, "a hop limit from 0 to 255")? as u8,
        None if v4 => {}
        None => facts.hop_limit = facts::ND_HOP_LIMIT,
    }
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
    [preferred, !preferred].into_iter().find(|&v4| source.has_family(v4) && destination.has_family(v4)).ok_or_else(
        || QueryError::Contradiction {
            one: "src",
            other: "dst",
            remedy: "one has only IPv4, the other only IPv6 addresses".to_owned(),
        },
    )
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
    let icmp = query.icmp.as_ref().map(|icmp| icmp_type(icmp, facts.family)).transpose()?;
    let flags = query.flags.as_ref().map(tcp_flags).transpose()?;
    if let Some(reason) = &query.unparsed {
        // What stands behind the fault is not known.
        facts.unparsed = unparsed_reason(reason)?;
        return Ok(());
    }
    let with_ports = WITH_PORTS.contains(&facts.protocol);
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
        if query.hop_limit.is_none() && facts.has_discovery_type() {
            assumed.push(Assumption::HopLimit);
        }
    }
    Ok(())
}

/// A frame without an IP header.
pub(crate) fn frame(
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
        ("hop-limit", query.hop_limit.is_some()),
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
        facts.llc = link_sap(llc)?;
    }
    if let Some(reason) = &query.unparsed {
        facts.unparsed = unparsed_reason(reason)?;
    }
    Ok(())
}

/// VLAN tags.
pub(crate) fn tags(query: &Query<'_>, facts: &mut Facts) -> Result<(), QueryError> {
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
