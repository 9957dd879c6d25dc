//! Facts → a frame whose parser finds these facts again.

use gabion_abi::facts::{
    self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLC, EXTENSION_LIMIT, Facts, protocol, unparsed,
};
use gabion_kernel_core::parse::parse;

/// Shorter frames are padded, as a card pads them (60 octets and a check sequence).
const SHORTEST: usize = 64;
/// Octets of two MAC addresses and an EtherType.
const ETHERNET_HEADER: usize = 14;
/// Offset of fragments that are not the first, in units of 8 octets: behind a full Ethernet frame.
const LATER_OFFSET: u16 = 185;
/// The largest offset of a fragment.
const LAST_OFFSET: u16 = 0x1fff;
const TPID_CUSTOMER: u16 = 0x8100;
const TPID_SERVICE: u16 = 0x88a8;
/// Flags and fragment offset of IPv4: do not fragment, more fragments.
const DO_NOT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// There is no frame of which a parser would find out just this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame says this: {field} would be {found}, not {wanted}; {remedy}")]
pub struct NotFramed {
    /// What a parser finds otherwise.
    pub field: &'static str,
    /// What was asked for.
    pub wanted: String,
    /// What it finds.
    pub found: String,
    /// What to do.
    pub remedy: &'static str,
}

/// The frame of these facts; what stands in it besides is as plain as can be. `layer3`: without an Ethernet header.
///
/// # Errors
/// When a parser would find something else.
pub fn frame(facts: &Facts, layer3: bool) -> Result<Vec<u8>, NotFramed> {
    let mut bytes = assemble(facts);
    if layer3 {
        let tags = [facts.vlan_outer, facts.vlan_inner].iter().filter(|&&vid| vid != facts::VLAN_NONE).count();
        bytes.drain(..(ETHERNET_HEADER + 4 * tags).min(bytes.len()));
    }
    let found = parse(&bytes.as_slice(), layer3);
    holds(facts, &found).map(|()| bytes)
}

/// A field of a question, and its value.
type Field = (&'static str, fn(&Facts) -> u64);

/// Holds what a parser finds to what was asked for. Of what cannot be parsed policy sees link and addresses only.
fn holds(wanted: &Facts, found: &Facts) -> Result<(), NotFramed> {
    let broken = wanted.unparsed != unparsed::NONE;
    let remedy = if broken {
        "what stands behind such a fault cannot be read: leave it out, or try another fault"
    } else {
        "leave it out, or name a packet that can be sent"
    };
    let number = |of: fn(&Facts) -> u64| (of(wanted), of(found));
    let link: [Field; 6] = [
        ("unparsed", |f| f.unparsed.into()),
        ("sourceMac", |f| f.source_mac),
        ("destinationMac", |f| f.destination_mac),
        ("etherType", |f| f.ethertype.into()),
        ("vlan", |f| f.vlan_outer.into()),
        ("innerVlan", |f| f.vlan_inner.into()),
    ];
    let beyond: [Field; 11] = [
        ("llc", |f| f.llc.into()),
        ("protocol", |f| f.protocol.into()),
        ("sourcePort", |f| f.source_port.into()),
        ("port", |f| f.destination_port.into()),
        ("icmp type", |f| f.icmp_type.into()),
        ("icmp code", |f| f.icmp_code.into()),
        ("icmp identifier", |f| f.icmp_id.into()),
        ("tcpFlags", |f| f.tcp_flags.into()),
        ("fragment", |f| f.fragment.into()),
        ("fragment identification", |f| f.fragment_id.into()),
        ("hopLimit", |f| f.hop_limit.into()),
    ];
    let seen = if broken { 0 } else { beyond.len() };
    for (field, of) in link.into_iter().chain(beyond.into_iter().take(seen)) {
        let (wanted, found) = number(of);
        if wanted != found {
            let name = |value: u64| match field {
                "unparsed" => {
                    unparsed::NAMES.get(value as usize).map_or_else(|| value.to_string(), |&name| name.to_owned())
                }
                "sourceMac" | "destinationMac" | "etherType" => format!("{value:#x}"),
                _ => value.to_string(),
            };
            return Err(NotFramed { field, wanted: name(wanted), found: name(found), remedy });
        }
    }
    let ends = |f: &Facts| (f.family, f.source, f.destination);
    if ends(wanted) != ends(found) {
        let name = |f: &Facts| {
            let address =
                |a| gabion_policy_model::oracle::address(f.family, a).map_or("none".to_owned(), |a| a.to_string());
            format!("{} to {}", address(f.source), address(f.destination))
        };
        return Err(NotFramed { field: "addresses", wanted: name(wanted), found: name(found), remedy });
    }
    Ok(())
}

/// The frame of facts that are taken to fit together: [`frame`] says whether they do.
#[must_use]
pub fn assemble(facts: &Facts) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend_from_slice(&facts.destination_mac.to_be_bytes()[2..]);
    frame.extend_from_slice(&facts.source_mac.to_be_bytes()[2..]);
    let tags: Vec<u16> =
        [facts.vlan_outer, facts.vlan_inner].into_iter().filter(|&vid| vid != facts::VLAN_NONE).collect();
    for (at, vid) in tags.iter().enumerate() {
        let tpid = if at + 1 < tags.len() { TPID_SERVICE } else { TPID_CUSTOMER };
        frame.extend_from_slice(&tpid.to_be_bytes());
        frame.extend_from_slice(&vid.to_be_bytes());
    }
    match facts.unparsed {
        unparsed::LINK_TRUNCATED => {
            // One more tag, cut.
            frame.extend_from_slice(&TPID_CUSTOMER.to_be_bytes());
            frame.push(0);
            return frame;
        }
        unparsed::VLAN_DEPTH => {
            frame.extend_from_slice(&TPID_CUSTOMER.to_be_bytes());
            frame.extend_from_slice(&[0; 50]);
            return frame;
        }
        _ => {}
    }
    match facts.ethertype {
        ETHERTYPE_LLC => {
            // A length beyond the end, or the one that is there.
            let length: u16 = if facts.unparsed == unparsed::LLC_TRUNCATED { 1400 } else { 46 };
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&facts.llc.to_be_bytes());
            frame.extend_from_slice(&[0x03; 44]);
        }
        ETHERTYPE_IPV4 => {
            frame.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
            ipv4(facts, &mut frame);
        }
        ETHERTYPE_IPV6 => {
            frame.extend_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
            ipv6(facts, &mut frame);
        }
        other => {
            frame.extend_from_slice(&other.to_be_bytes());
            frame.extend_from_slice(&[0; 46]);
        }
    }
    if facts.unparsed == unparsed::NONE {
        frame.resize(frame.len().max(SHORTEST), 0);
    }
    frame
}

fn ipv4(facts: &Facts, frame: &mut Vec<u8>) {
    let payload = payload(facts);
    let mut length = 20 + payload.len() as u16;
    let mut version = 0x45;
    match facts.unparsed {
        // Of a header that is cut or of another version no address is taken.
        unparsed::NETWORK_TRUNCATED if facts.family == facts::FAMILY_NONE => {
            return frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0]);
        }
        unparsed::NETWORK_TRUNCATED => length += 512,
        unparsed::NETWORK_MALFORMED if facts.family == facts::FAMILY_NONE => version = 0x55,
        // The header would be shorter than the least of them.
        unparsed::NETWORK_MALFORMED => version = 0x44,
        _ => {}
    }
    frame.extend_from_slice(&[version, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&(facts.fragment_id as u16).to_be_bytes());
    let offset = match (facts.unparsed, facts.fragment) {
        (unparsed::FRAGMENT_OVERLAP, _) => 1,
        (unparsed::FRAGMENT_MALFORMED, _) => LAST_OFFSET,
        (_, facts::FRAGMENT_FIRST) => MORE_FRAGMENTS,
        (_, facts::FRAGMENT_LATER) => LATER_OFFSET,
        _ => DO_NOT_FRAGMENT,
    };
    frame.extend_from_slice(&offset.to_be_bytes());
    frame.extend_from_slice(&[64, carried(facts), 0, 0]);
    frame.extend_from_slice(&facts.source.words[0].to_be_bytes());
    frame.extend_from_slice(&facts.destination.words[0].to_be_bytes());
    frame.extend_from_slice(&payload);
}

fn ipv6(facts: &Facts, frame: &mut Vec<u8>) {
    let mut payload = payload(facts);
    let mut next = carried(facts);
    let offset = match (facts.unparsed, facts.fragment) {
        (unparsed::FRAGMENT_OVERLAP, _) => Some(1 << 3),
        (unparsed::FRAGMENT_MALFORMED, _) => Some(LAST_OFFSET << 3),
        (_, facts::FRAGMENT_FIRST) => Some(1),
        (_, facts::FRAGMENT_LATER) => Some(LATER_OFFSET << 3),
        _ => None,
    };
    if let Some(offset) = offset {
        let mut extension = vec![next, 0];
        extension.extend_from_slice(&offset.to_be_bytes());
        extension.extend_from_slice(&facts.fragment_id.to_be_bytes());
        extension.append(&mut payload);
        payload = extension;
        next = protocol::FRAGMENT;
    }
    let extensions = match facts.unparsed {
        unparsed::EXTENSION_DEPTH => EXTENSION_LIMIT + 1,
        unparsed::EXTENSION_MALFORMED => 1,
        _ => 0,
    };
    for _ in 0..extensions {
        // Longer than the packet, where the fault is that.
        let length = if facts.unparsed == unparsed::EXTENSION_MALFORMED { 0xff } else { 0 };
        let mut extension = vec![next, length, 0, 0, 0, 0, 0, 0];
        extension.append(&mut payload);
        payload = extension;
        next = protocol::DESTINATION_OPTIONS;
    }
    let mut length = payload.len() as u16;
    let mut version = 0x60;
    match facts.unparsed {
        unparsed::NETWORK_TRUNCATED if facts.family == facts::FAMILY_NONE => {
            return frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 40, 59, 64]);
        }
        unparsed::NETWORK_TRUNCATED => length += 512,
        unparsed::NETWORK_MALFORMED => version = 0x50,
        _ => {}
    }
    frame.extend_from_slice(&[version, 0, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[next, facts.hop_limit]);
    for word in facts.source.words.into_iter().chain(facts.destination.words) {
        frame.extend_from_slice(&word.to_be_bytes());
    }
    frame.extend_from_slice(&payload);
}

/// The protocol that the network header names. Of what breaks behind it policy sees no protocol, and TCP has a header
/// that each of these faults can be one of.
fn carried(facts: &Facts) -> u8 {
    match facts.unparsed {
        unparsed::TRANSPORT_TRUNCATED
        | unparsed::TRANSPORT_MALFORMED
        | unparsed::FRAGMENT_OVERLAP
        | unparsed::FRAGMENT_MALFORMED => protocol::TCP,
        _ => facts.protocol,
    }
}

fn payload(facts: &Facts) -> Vec<u8> {
    match facts.unparsed {
        unparsed::TRANSPORT_TRUNCATED => return vec![0; 4],
        // A TCP header that says to be shorter than it is.
        unparsed::TRANSPORT_MALFORMED => return vec![0; 24],
        _ => {}
    }
    let mut payload = Vec::new();
    match (facts.transport, facts.protocol) {
        (facts::TRANSPORT_PORTS, protocol) => {
            payload.extend_from_slice(&facts.source_port.to_be_bytes());
            payload.extend_from_slice(&facts.destination_port.to_be_bytes());
            match protocol {
                protocol::TCP => {
                    payload.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, facts.tcp_flags, 1, 0, 0, 0, 0, 0]);
                }
                protocol::UDP | protocol::UDPLITE => payload.extend_from_slice(&[0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
                _ => payload.extend_from_slice(&[0x50, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]),
            }
        }
        (facts::TRANSPORT_ICMP, _) => {
            payload.extend_from_slice(&[facts.icmp_type, facts.icmp_code, 0, 0]);
            payload.extend_from_slice(&facts.icmp_id.to_be_bytes());
            payload.extend_from_slice(&[0, 0]);
        }
        _ => {}
    }
    payload.resize(payload.len().next_multiple_of(8).max(24), 0);
    payload
}
