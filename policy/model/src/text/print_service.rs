//! Services as text; the reverse of [`super::service`].

use gabion_abi::facts::{protocol, unparsed};

use super::names::{self, name_of};
use super::print::{list, map, scalar};
use crate::range::RangeSet;
use crate::service::{FlagMatch, FragmentMatch, PortMatch, Service, Vlan};

/// A service on one line.
pub(super) fn service(service: &Service) -> String {
    let mut pairs = Vec::new();
    let mut pair = |key: &str, value: Option<String>| pairs.extend(value.map(|value| format!("{key}: {value}")));
    pair(
        "etherType",
        service.ether_types.as_ref().map(|set| {
            ranges(set, true, |n| u16::try_from(n).ok().and_then(|number| name_of(names::ETHER_TYPES, number)))
        }),
    );
    pair("llc", service.llc.map(|llc| name_of(names::LLC, llc).map_or_else(|| format!("{llc:#06x}"), str::to_owned)));
    pair("vlan", service.vlan.as_ref().map(vlan));
    pair("innerVlan", service.inner_vlan.as_ref().map(vlan));
    pair(
        "protocol",
        service.protocols.as_ref().map(|set| {
            ranges(set, false, |n| u8::try_from(n).ok().and_then(|number| name_of(names::PROTOCOLS, number)))
        }),
    );
    pair(
        "ports",
        service.ports.as_ref().map(|ports| match ports {
            PortMatch::Numbers(numbers) => ranges(numbers, false, |_| None),
            PortMatch::Named(name) => scalar(name),
        }),
    );
    pair("sourcePorts", service.source_ports.as_ref().map(|set| ranges(set, false, |_| None)));
    pair("icmp", service.icmp.as_ref().map(|set| icmp(set, service.protocols.as_ref())));
    pair("tcpFlags", service.tcp_flags.map(tcp_flags));
    pair(
        "fragments",
        service.fragments.map(|state| {
            match state {
                FragmentMatch::None => "none",
                FragmentMatch::Any => "any",
                FragmentMatch::First => "first",
                FragmentMatch::Later => "later",
            }
            .to_owned()
        }),
    );
    pair("unparsed", service.unparsed.as_ref().map(unparsed_reasons));
    map(pairs)
}

pub(super) fn one_or_list(mut items: Vec<String>) -> String {
    if items.len() == 1 { items.remove(0) } else { list(items) }
}

fn ranges(set: &RangeSet, hexadecimal: bool, name: impl Fn(u32) -> Option<&'static str>) -> String {
    let number = |n: u32| if hexadecimal { format!("{n:#06x}") } else { n.to_string() };
    let items = set.iter().map(|(low, high)| match name(low) {
        Some(name) if low == high => name.to_owned(),
        _ if low == high => number(low),
        _ => format!("\"{}-{}\"", number(low), number(high)),
    });
    one_or_list(items.collect())
}

fn vlan(vlan: &Vlan) -> String {
    match vlan {
        Vlan::Untagged => "untagged".to_owned(),
        Vlan::Ids(ids) => ranges(ids, false, |_| None),
    }
}

/// Ranges of `type << 8 | code` as whole types where they cover them, else as `type/codes`.
fn icmp(set: &RangeSet, protocols: Option<&RangeSet>) -> String {
    let only = |number: u8| protocols == Some(&RangeSet::from_range(number.into()..=number.into()));
    let table = if only(protocol::ICMP) {
        names::ICMP_V4
    } else if only(protocol::ICMPV6) {
        names::ICMP_V6
    } else {
        &[]
    };
    let mut items = Vec::new();
    for (mut low, high) in set.iter() {
        if (low, high) == (0, 0xffff) {
            items.push("any".to_owned());
            continue;
        }
        while low <= high {
            let (kind, code) = (low >> 8, low & 0xff);
            let end = if code == 0 && high - low >= 255 {
                // As many whole types as there are.
                let last = (high + 1) / 256 - 1;
                let name = u8::try_from(kind).ok().and_then(|kind| name_of(table, kind));
                items.push(match name {
                    Some(name) if kind == last => name.to_owned(),
                    _ if kind == last => kind.to_string(),
                    _ => format!("\"{kind}-{last}\""),
                });
                last << 8 | 0xff
            } else {
                let end = high.min(kind << 8 | 0xff);
                let last = end & 0xff;
                items.push(if last == code { format!("{kind}/{code}") } else { format!("{kind}/{code}-{last}") });
                end
            };
            low = end + 1;
        }
    }
    one_or_list(items)
}

fn tcp_flags(flags: FlagMatch) -> String {
    if flags.mask == 0 {
        return "any".to_owned();
    }
    let named = names::TCP_FLAGS.iter().filter(|(_, bit)| flags.mask & bit != 0);
    let words: Vec<_> =
        named.map(|(name, bit)| if flags.value & bit != 0 { (*name).to_owned() } else { format!("!{name}") }).collect();
    format!("\"{}\"", words.join(","))
}

fn unparsed_reasons(set: &RangeSet) -> String {
    let all = 1..usize::from(unparsed::COUNT);
    let named: Vec<_> =
        all.clone().filter(|&n| set.contains(n as u32)).map(|n| unparsed::NAMES[n].to_owned()).collect();
    if named.len() == all.len() { "any".to_owned() } else { one_or_list(named) }
}
