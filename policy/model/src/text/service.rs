//! Services: what a rule says about the packet itself.

use gabion_abi::facts::{self, protocol, unparsed};

use super::decode::Decoder;
use super::names::{self, WITH_PORTS, number_of};
use super::place::Span;
use super::shape::integer;
use super::tree::{Node, Value};
use crate::finding::{Code, nearest, quote};
use crate::range::RangeSet;
use crate::service::{FlagMatch, FragmentMatch, PortMatch, Service, Vlan};

/// What one `icmp` key amounts to: numbers hold for both versions, names for one each.
#[derive(Default)]
struct Icmp {
    either: RangeSet,
    v4: RangeSet,
    v6: RangeSet,
}

const PORT_HELP: &str = "write a number from 0 to 65535, a range \"8000-8100\", or the name of a port: 1 to 15 \
                         lower-case letters, digits and single dashes";

impl Decoder<'_, '_> {
    /// Services of a rule. One that mixes named ports with numbers, or names of ICMP types with no
    /// protocol, becomes several.
    pub fn services(&mut self, node: Option<&Node>) -> Option<Vec<Service>> {
        let Some(node) = node else { return Some(Vec::new()) };
        let mut services = Vec::new();
        let mut complete = true;
        for item in node.items() {
            match self.service(item) {
                Some(some) => services.extend(some),
                None => complete = false,
            }
        }
        (complete && !services.is_empty()).then_some(services)
    }

    fn service(&mut self, node: &Node) -> Option<Vec<Service>> {
        if !matches!(node.value, Value::Map(_)) {
            return None;
        }
        let before = self.findings.len();
        self.contradictions(node);
        let base = Service {
            ether_types: self.ranges(node.get("etherType"), u16::MAX.into(), Code::EtherType, "an EtherType", |name| {
                number_of(names::ETHER_TYPES, name).map(u32::from)
            }),
            llc: node.get("llc").and_then(|node| self.llc(node)),
            vlan: node.get("vlan").and_then(|node| self.vlan(node)),
            inner_vlan: node.get("innerVlan").and_then(|node| self.vlan(node)),
            protocols: self.protocols(node.get("protocol")),
            source_ports: self.ranges(node.get("sourcePorts"), u16::MAX.into(), Code::Port, "a source port", |_| None),
            tcp_flags: node.get("tcpFlags").and_then(|node| self.tcp_flags(node)),
            fragments: node.get("fragments").and_then(Node::word).and_then(|word| match word {
                "none" => Some(FragmentMatch::None),
                "any" => Some(FragmentMatch::Any),
                "first" => Some(FragmentMatch::First),
                "later" => Some(FragmentMatch::Later),
                _ => None,
            }),
            unparsed: node.get("unparsed").map(unparsed_reasons),
            ports: None,
            icmp: None,
        };
        self.contradicting_values(node, &base);
        let mut services = self.with_ports(node, base)?;
        if let Some(icmp) = node.get("icmp") {
            let base = services.pop()?;
            services = self.with_icmp(icmp, base)?;
        }
        (self.findings.len() == before).then_some(services)
    }

    fn with_ports(&mut self, node: &Node, base: Service) -> Option<Vec<Service>> {
        let Some(ports) = node.get("ports") else { return Some(vec![base]) };
        let mut numbers = RangeSet::new();
        let mut services = Vec::new();
        for item in ports.one_or_more() {
            let text = item.text()?;
            match range(text, u16::MAX.into(), &|_| None) {
                Ok((low, high)) => numbers.insert(low..=high),
                // Unquoted `0o17` is a number to YAML, and no name.
                Err(_) if names::is_port_name(text) && item.word().is_some() => {
                    services.push(Service { ports: Some(PortMatch::Named(text.to_owned())), ..base.clone() });
                }
                Err(problem) => {
                    let message = format!("{} is not a port, a range of ports or the name of one", quote(text));
                    let help = match problem {
                        NotARange::Neither => PORT_HELP.to_owned(),
                        problem => problem.help("a port", u16::MAX.into()),
                    };
                    self.report(Code::Port, item.span, message, help);
                }
            }
        }
        if !numbers.is_empty() {
            services.insert(0, Service { ports: Some(PortMatch::Numbers(numbers)), ..base });
        }
        Some(services)
    }

    fn with_icmp(&mut self, node: &Node, base: Service) -> Option<Vec<Service>> {
        let covers = |number: u8| base.protocols.as_ref().is_none_or(|set| set.contains(number.into()));
        let (v4, v6) = (covers(protocol::ICMP), covers(protocol::ICMPV6));
        if !v4 && !v6 {
            let help = "leave `protocol` out, or write icmp or icmpv6";
            let span = self.place.first_line(node.span);
            self.report(Code::Contradiction, span, "`icmp` stands beside a protocol that is not ICMP", help);
            return None;
        }
        let found = self.icmp(node, v4, v6)?;
        let only = |number: u8, icmp: RangeSet| Service {
            protocols: Some(RangeSet::from_range(number.into()..=number.into())),
            icmp: Some(icmp),
            ..base.clone()
        };
        let mut services = Vec::new();
        let single = |number: u8| base.protocols == Some(RangeSet::from_range(number.into()..=number.into()));
        if single(protocol::ICMP) || single(protocol::ICMPV6) {
            let mut all = found.either;
            for (low, high) in found.v4.iter().chain(found.v6.iter()) {
                all.insert(low..=high);
            }
            services.push(Service { icmp: Some(all), ..base });
            return Some(services);
        }
        if !found.either.is_empty() {
            services.push(Service { icmp: Some(found.either), ..base.clone() });
        }
        if !found.v4.is_empty() {
            services.push(only(protocol::ICMP, found.v4));
        }
        if !found.v6.is_empty() {
            services.push(only(protocol::ICMPV6, found.v6));
        }
        Some(services)
    }

    fn icmp(&mut self, node: &Node, v4: bool, v6: bool) -> Option<Icmp> {
        let mut found = Icmp::default();
        for item in node.one_or_more() {
            let text = item.text()?;
            if text == "any" {
                found.either.insert(0..=0xffff);
                continue;
            }
            let (kind, code) = text.split_once('/').unwrap_or((text, ""));
            let codes = if text.contains('/') { range(code, 255, &|_| None).ok() } else { Some((0, 255)) };
            let types = range(kind, 255, &|_| None).ok();
            let named = [
                (v4, number_of(names::ICMP_V4, kind), &mut found.v4),
                (v6, number_of(names::ICMP_V6, kind), &mut found.v6),
            ];
            let mut known = false;
            if let Some((low, high)) = codes {
                for (wanted, number, set) in named {
                    if let (true, Some(number)) = (wanted, number) {
                        set.insert(u32::from(number) << 8 | low..=u32::from(number) << 8 | high);
                        known = true;
                    }
                }
                // A range of types has no codes: "3-4/0" would be read in two ways.
                if let Some((first, last)) = types
                    && (first == last || !text.contains('/'))
                {
                    found.either.insert(first << 8 | low..=last << 8 | high);
                    known = true;
                }
            }
            if !known {
                let tables = [(v4, names::ICMP_V4), (v6, names::ICMP_V6)];
                let words = tables.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, table)| *table);
                let help = nearest(kind, words.map(|(name, _)| *name)).filter(|meant| *meant != kind).map_or_else(
                    || {
                        "write a type from 0 to 255, `type/code` with a code from 0 to 255, or a name as `echo-request`"
                            .to_owned()
                    },
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.report(Code::Icmp, item.span, format!("{} is not an ICMP type", quote(text)), help);
            }
        }
        Some(found)
    }

    /// Keys that contradict each other whatever they say.
    fn contradictions(&mut self, node: &Node) {
        const BEYOND_LINK: [&str; 7] = ["protocol", "ports", "sourcePorts", "icmp", "tcpFlags", "fragments", "llc"];
        let key_span = |key: &str| node.pairs().iter().find(|(k, _)| &*k.text == key).map(|(k, _)| k.span);
        let mut clash = |first: &str, second: &str, help: &str| {
            if let (Some(a), Some(b)) = (key_span(first), key_span(second)) {
                let finding = self
                    .place
                    .finding(Code::Contradiction, b, format!("no packet has both `{first}` and `{second}`"))
                    .related(self.place.locate(a), "stands beside this")
                    .help(help);
                self.findings.push(finding);
                return true;
            }
            false
        };
        for key in BEYOND_LINK {
            if clash("unparsed", key, "of an unparsed packet only etherType and VLANs are known; write two services") {
                return;
            }
        }
        for key in ["ports", "sourcePorts", "tcpFlags"] {
            if clash("icmp", key, "ICMP has types and codes, no ports or flags; write two services") {
                return;
            }
        }
        for key in ["protocol", "ports", "sourcePorts", "icmp", "tcpFlags", "fragments"] {
            if clash("llc", key, "LLC frames have no IP header; write two services") {
                return;
            }
        }
    }

    /// Keys that contradict each other in what they say.
    fn contradicting_values(&mut self, node: &Node, service: &Service) {
        const WITHOUT_PORTS: &str =
            "only tcp, udp, udplite, sctp and dccp have ports; leave the ports out or name one of these";
        let span_of = |key: &str| node.pairs().iter().find(|(k, _)| &*k.text == key).map(|(k, _)| k.span);
        let any_protocol = |wanted: &[u8]| {
            service.protocols.as_ref().is_none_or(|set| wanted.iter().any(|&number| set.contains(number.into())))
        };
        let any_type = |wanted: &[u16]| {
            service.ether_types.as_ref().is_none_or(|set| wanted.iter().any(|&number| set.contains(number.into())))
        };
        let mut found: Vec<(Span, String, &str)> = Vec::new();
        for key in ["ports", "sourcePorts"] {
            if let Some(span) = span_of(key)
                && !any_protocol(&WITH_PORTS)
            {
                found.push((span, format!("`{key}` stands beside a protocol without ports"), WITHOUT_PORTS));
            }
        }
        if let Some(span) = span_of("tcpFlags")
            && !any_protocol(&[protocol::TCP])
        {
            let help = "leave `tcpFlags` out, or write `protocol: tcp`";
            found.push((span, "`tcpFlags` stands beside a protocol that is not TCP".to_owned(), help));
        }
        if service.fragments == Some(FragmentMatch::Later) {
            for key in ["ports", "sourcePorts", "icmp", "tcpFlags"] {
                if let Some(span) = span_of(key) {
                    let help = "what belongs to an allowed first fragment passes by itself; leave `fragments` out";
                    found.push((
                        span,
                        format!("later fragments carry no transport header, so that `{key}` cannot match"),
                        help,
                    ));
                }
            }
        }
        for key in ["protocol", "ports", "sourcePorts", "icmp", "tcpFlags", "fragments"] {
            if let Some(span) = span_of(key)
                && !any_type(&[facts::ETHERTYPE_IPV4, facts::ETHERTYPE_IPV6])
            {
                let help = "leave `etherType` out, or write ipv4 or ipv6; for two kinds of packet write two services";
                found.push((span, format!("`{key}` is of IP packets, and `etherType` names none"), help));
                break;
            }
        }
        if let Some(span) = span_of("llc")
            && !any_type(&[facts::ETHERTYPE_LLC])
        {
            found.push((span, "`llc` stands beside an EtherType that is not llc".to_owned(), "leave `etherType` out"));
        }
        if let Some(span) = span_of("innerVlan")
            && service.vlan == Some(Vlan::Untagged)
            && service.inner_vlan != Some(Vlan::Untagged)
        {
            found.push((span, "an untagged frame has no inner VLAN".to_owned(), "leave `vlan: untagged` out"));
        }
        for (span, message, help) in found {
            self.report(Code::Contradiction, span, message, help);
        }
    }

    pub fn protocols(&mut self, node: Option<&Node>) -> Option<RangeSet> {
        self.ranges(node, 255, Code::Protocol, "an IP protocol", |name| {
            number_of(names::PROTOCOLS, name).map(u32::from)
        })
    }

    fn ranges(
        &mut self,
        node: Option<&Node>,
        max: u32,
        code: Code,
        what: &str,
        named: fn(&str) -> Option<u32>,
    ) -> Option<RangeSet> {
        let mut set = RangeSet::new();
        for item in node?.one_or_more() {
            let text = item.text()?;
            match range(text, max, &named) {
                Ok((low, high)) => set.insert(low..=high),
                Err(problem) => {
                    let known: &[&str] = match code {
                        Code::Protocol => &names::PROTOCOL_WORDS,
                        Code::EtherType => &names::ETHER_TYPE_WORDS,
                        _ => &[],
                    };
                    let help = match nearest(text, known.iter().copied()) {
                        Some(meant) if meant != text => format!("did you mean `{meant}`?"),
                        _ => problem.help(what, max),
                    };
                    self.report(code, item.span, format!("{} is not {what}", quote(text)), help);
                }
            }
        }
        (!set.is_empty()).then_some(set)
    }

    fn vlan(&mut self, node: &Node) -> Option<Vlan> {
        if node.word() == Some("untagged") {
            return Some(Vlan::Untagged);
        }
        if let Some(item) = node.items().iter().find(|item| item.word() == Some("untagged")) {
            let help = "`untagged` stands alone: write a second service for it";
            self.report(Code::Vlan, item.span, "a frame without a tag has no VLAN", help);
            return None;
        }
        self.ranges(Some(node), 4095, Code::Vlan, "a VLAN", |_| None).map(Vlan::Ids)
    }

    fn llc(&mut self, node: &Node) -> Option<u16> {
        let text = node.text()?;
        let number = number_of(names::LLC, text).or_else(|| integer(text).and_then(|number| number.try_into().ok()));
        if number.is_none() {
            let help = "write DSAP and SSAP as one number from 0 to 0xffff, or `stp`, `isis` or `snap`";
            self.report(Code::Llc, node.span, format!("{} is not DSAP and SSAP of an LLC frame", quote(text)), help);
        }
        number
    }

    fn tcp_flags(&mut self, node: &Node) -> Option<FlagMatch> {
        let text = node.word()?;
        let mut flags = FlagMatch { mask: 0, value: 0 };
        if text == "any" {
            return Some(flags);
        }
        for part in text.split(',').map(str::trim) {
            let (name, set) = part.strip_prefix('!').map_or((part, true), |name| (name, false));
            let problem = match number_of(names::TCP_FLAGS, name) {
                None => format!("{} is not a TCP flag", quote(name)),
                Some(bit) if flags.mask & bit != 0 => format!("{} stands twice", quote(name)),
                Some(bit) => {
                    flags.mask |= bit;
                    flags.value |= if set { bit } else { 0 };
                    continue;
                }
            };
            let help = "flags are fin, syn, rst, psh, ack, urg, ece and cwr; `!` before one that must not be set";
            self.report(Code::TcpFlags, node.span, problem, help);
            return None;
        }
        Some(flags)
    }
}

fn unparsed_reasons(node: &Node) -> RangeSet {
    let mut reasons = RangeSet::new();
    for word in node.one_or_more().iter().filter_map(Node::word) {
        if word == "any" {
            reasons.insert(1..=u32::from(unparsed::COUNT) - 1);
        } else if let Some(reason) = unparsed::NAMES.iter().skip(1).position(|name| *name == word) {
            reasons.insert(reason as u32 + 1..=reason as u32 + 1);
        }
    }
    reasons
}

/// What keeps a text from being a number or a range of numbers.
enum NotARange {
    Backwards(u32, u32),
    TooLarge,
    LeadingZero,
    Neither,
}

impl NotARange {
    fn help(&self, what: &str, max: u32) -> String {
        match self {
            Self::Backwards(low, high) => format!("the range is backwards: write \"{high}-{low}\""),
            Self::TooLarge => format!("{what} is at most {max}"),
            Self::LeadingZero => "leave leading zeroes out".to_owned(),
            Self::Neither => format!("write a number from 0 to {max}, a range \"1-2\", or a name that is known"),
        }
    }
}

/// A name, a number or a range of either.
fn range(text: &str, max: u32, named: &dyn Fn(&str) -> Option<u32>) -> Result<(u32, u32), NotARange> {
    let one = |text: &str| {
        if let Some(number) = named(text) {
            return Ok(number);
        }
        match integer(text) {
            Some(number) if number <= u64::from(max) => Ok(number as u32),
            Some(_) => Err(NotARange::TooLarge),
            None if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) => {
                Err(NotARange::LeadingZero)
            }
            None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Err(NotARange::TooLarge),
            None => Err(NotARange::Neither),
        }
    };
    // Names have dashes of their own.
    let whole = one(text);
    if whole.is_ok() {
        return whole.map(|number| (number, number));
    }
    let Some((low, high)) = text.split_once('-') else { return whole.map(|number| (number, number)) };
    let (low, high) = (one(low.trim())?, one(high.trim())?);
    if low > high { Err(NotARange::Backwards(low, high)) } else { Ok((low, high)) }
}
