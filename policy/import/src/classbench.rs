//! ClassBench filter sets.
//!
//! A rule is a line of six fields, the first line that matches a packet decides:
//!
//! ```text
//! @source/len  destination/len  lo : hi  lo : hi  protocol/mask  flags/mask
//! ```
//!
//! The whole file becomes one `ClusterPolicy`, named after the file, in tier `classbench` for everyone, with the
//! lines as ingress rules in their order; rule *n*, counted from 0 over the lines that hold rules, is named `<file
//! stem>-n`. What no line matches is left to the site's defaults. The language carries no actions, so the caller
//! chooses them ([`Actions`]).
//!
//! What a line matches:
//!
//! - IPv4 packets only, also when both prefixes have length 0.
//! - The port range `0 : 65535` is no condition. Any other range matches only packets that carry ports
//!   (TCP, UDP, UDP-Lite, SCTP, DCCP; not later fragments), with any protocol too. A line that names
//!   a range and a protocol without ports is kept in its place but matches nothing; how many
//!   there are is a warning.
//! - Flags: of TCP the high byte is the flags byte and the low byte is zero; of ICMP the high byte is
//!   the type and the low byte the code. A packet matches when `flags & mask == value & mask`.
//!   Other protocols have no such field, so that a mask other than 0 never matches them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use gabion_abi::facts::protocol;
use gabion_policy_model::PolicySet;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::service::{FlagMatch, PortMatch, Service};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{Any, AnySubject, Cidr};
use ipnet::{IpNet, Ipv4Net};

use crate::Imported;
use crate::diagnostic::{Diagnostic, ERROR_LIMIT};
use crate::names;
use crate::source::{Lines, Source};

/// What the lines do, since the language does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Actions {
    /// Every line allows.
    #[default]
    Allow,
    /// Every line denies.
    Deny,
    /// Rules 0, 2, 4, ... allow, the others deny.
    Alternate,
}

impl Actions {
    fn of(self, rule: usize) -> Action {
        match self {
            Self::Alternate if rule % 2 == 1 => Action::Deny,
            Self::Allow | Self::Alternate => Action::Allow,
            Self::Deny => Action::Deny,
        }
    }
}

/// Protocols whose packets carry ports, as `docs/policy.md` lists them.
const WITH_PORTS: [u8; 5] = [protocol::TCP, protocol::UDP, protocol::DCCP, protocol::SCTP, protocol::UDPLITE];

/// Reads a filter set.
///
/// # Errors
/// Every line that is not a rule, up to a hundred.
pub fn import_classbench(source: Source<'_>, actions: Actions) -> Result<Imported, Vec<Diagnostic>> {
    let lines = Lines::new(&source);
    let stem = source.stem("classbench");
    let mut errors = Vec::new();
    let mut rules = Vec::new();
    let mut services = Services::default();
    let mut unmatchable: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let range = start..start + line.trim_end().len();
        start += line.len();
        if line.trim().is_empty() {
            continue;
        }
        let filter = match Filter::parse(&lines, range.clone()) {
            Ok(filter) => filter,
            Err(error) => {
                errors.push(error);
                if errors.len() == ERROR_LIMIT {
                    break;
                }
                continue;
            }
        };
        let can_match = filter.can_match();
        if !can_match {
            unmatchable.push(range.clone());
        }
        let rule = Rule {
            name: format!("{stem}-{}", rules.len()),
            action: actions.of(rules.len()),
            // From nobody is how a rule says that it matches nothing.
            from: Some(if can_match { vec![cidr(filter.source)] } else { Vec::new() }),
            to: Some(vec![cidr(filter.destination)]),
            services: if can_match { services.of(&filter) } else { Vec::new() },
            stateless: false,
            log: false,
        };
        rules.push(Spanned::new(rule, lines.locate(range)));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut warnings = Vec::new();
    if rules.is_empty() {
        warnings.push(lines.diagnose(0..0, "there is no rule in this text", "check that it is the right file"));
    }
    if let Some(first) = unmatchable.first() {
        warnings.push(lines.diagnose(
            first.clone(),
            format!("{} of {} rules can match no packet, this is the first", unmatchable.len(), rules.len()),
            "they name ports or flags of a protocol that has none; they are kept so that the numbers stay",
        ));
    }
    let policy = ClusterPolicy {
        name: names::fit_document(&stem, "classbench"),
        tier: Tier { name: "classbench".to_owned(), stage: Stage::Admin, order: 0 },
        order: 0,
        subject: AnySubject::Any(Any),
        ingress: rules,
        egress: Vec::new(),
        location: lines.locate(0..0),
    };
    Ok(Imported { policies: PolicySet { cluster_policies: vec![policy], ..PolicySet::default() }, warnings })
}

fn cidr(block: Ipv4Net) -> AnySubject {
    AnySubject::Cidr(Cidr { block: IpNet::V4(block), except: Vec::new() })
}

/// A value under a mask; bits of the value outside the mask are cleared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Masked {
    value: u16,
    mask: u16,
}

impl Masked {
    fn matches(self, value: u16) -> bool {
        value & self.mask == self.value
    }
}

/// One line.
struct Filter {
    source: Ipv4Net,
    destination: Ipv4Net,
    source_ports: (u16, u16),
    destination_ports: (u16, u16),
    protocol: Masked,
    flags: Masked,
}

impl Filter {
    fn parse(lines: &Lines<'_>, range: Range<usize>) -> Result<Self, Diagnostic> {
        let line = &lines.text[range.clone()];
        let words: Vec<(&str, Range<usize>)> = line
            .split_whitespace()
            .map(|word| {
                // Words are slices of the line, so the distance of their addresses is their offset.
                let at = range.start + (word.as_ptr() as usize - line.as_ptr() as usize);
                (word, at..at + word.len())
            })
            .collect();
        let [source, destination, slow, scolon, shigh, dlow, dcolon, dhigh, protocol, flags] = words.as_slice() else {
            return Err(lines.diagnose(
                range,
                format!("a rule has 10 words, this line has {}", words.len()),
                "write `@source/len destination/len lo : hi lo : hi 0xPP/0xMM 0xVVVV/0xMMMM`",
            ));
        };
        let Some(stripped) = source.0.strip_prefix('@') else {
            return Err(lines.diagnose(source.1.clone(), "a rule starts with `@`", "write `@` before the source"));
        };
        for colon in [scolon, dcolon] {
            if colon.0 != ":" {
                return Err(lines.diagnose(colon.1.clone(), "a colon is missing here", "write ranges as `lo : hi`"));
            }
        }
        Ok(Self {
            source: prefix(lines, (stripped, source.1.clone()))?,
            destination: prefix(lines, destination.clone())?,
            source_ports: ports(lines, slow, shigh)?,
            destination_ports: ports(lines, dlow, dhigh)?,
            protocol: masked(lines, protocol, 0xff)?,
            flags: masked(lines, flags, 0xffff)?,
        })
    }

    fn wants_ports(&self) -> bool {
        self.source_ports != ANY_PORT || self.destination_ports != ANY_PORT
    }

    /// Whether TCP packets match the flags: their low byte is zero.
    fn flags_can_match_tcp(&self) -> bool {
        self.flags.value & 0x00ff == 0
    }

    fn can_match(&self) -> bool {
        let ported = |number: u8| !self.wants_ports() || WITH_PORTS.contains(&number);
        let flagged = |number: u8| match number {
            _ if self.flags.mask == 0 => true,
            protocol::TCP => self.flags_can_match_tcp(),
            protocol::ICMP => true,
            _ => false,
        };
        (0..=u8::MAX).any(|number| self.protocol.matches(u16::from(number)) && ported(number) && flagged(number))
    }
}

const ANY_PORT: (u16, u16) = (0, u16::MAX);

fn prefix(lines: &Lines<'_>, (word, range): (&str, Range<usize>)) -> Result<Ipv4Net, Diagnostic> {
    let parsed = word.split_once('/').and_then(|(address, length)| {
        let address: Ipv4Addr = address.parse().ok()?;
        Ipv4Net::new(address, decimal(length)?).ok()
    });
    parsed.map(|net| net.trunc()).ok_or_else(|| {
        lines.diagnose(
            range,
            "not an IPv4 prefix",
            "write four decimal numbers and a length from 0 to 32, `10.0.0.0/8`",
        )
    })
}

fn ports(
    lines: &Lines<'_>,
    (low, at): &(&str, Range<usize>),
    (high, end): &(&str, Range<usize>),
) -> Result<(u16, u16), Diagnostic> {
    match (decimal(low), decimal(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(lines.diagnose(at.start..end.end, "not a range of ports", "write `lo : hi` with 0 ≤ lo ≤ hi ≤ 65535")),
    }
}

/// Digits only: `parse` alone would take a plus sign.
fn decimal<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn masked(lines: &Lines<'_>, (word, range): &(&str, Range<usize>), limit: u16) -> Result<Masked, Diagnostic> {
    let hexadecimal = |text: &str| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
        let digits = digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)?;
        u16::from_str_radix(digits, 16).ok().filter(|&value| value <= limit)
    };
    word.split_once('/')
        .and_then(|(value, mask)| Some((hexadecimal(value)?, hexadecimal(mask)?)))
        .map(|(value, mask)| Masked { value: value & mask, mask })
        .ok_or_else(|| {
            lines.diagnose(
                range.clone(),
                "not a value and a mask",
                format!("write both hexadecimal, at most {limit:#x}, with a slash between"),
            )
        })
}

/// Builds the services of lines that can match; sets that many lines share are worked out once.
#[derive(Default)]
struct Services {
    icmp: HashMap<Masked, RangeSet>,
}

impl Services {
    fn of(&mut self, filter: &Filter) -> Vec<Service> {
        let range = |(low, high): (u16, u16)| RangeSet::from_range(u32::from(low)..=u32::from(high));
        let base = Service {
            protocols: (filter.protocol.mask != 0).then(|| matching(filter.protocol, u8::MAX.into())),
            source_ports: (filter.source_ports != ANY_PORT).then(|| range(filter.source_ports)),
            ports: (filter.destination_ports != ANY_PORT).then(|| PortMatch::Numbers(range(filter.destination_ports))),
            ..Service::default()
        };
        if filter.flags.mask == 0 {
            return vec![base];
        }
        let only = |number: u8| Some(RangeSet::from_range(number.into()..=number.into()));
        let flags = FlagMatch { mask: (filter.flags.mask >> 8) as u8, value: (filter.flags.value >> 8) as u8 };
        let mut services = Vec::new();
        if filter.protocol.matches(protocol::TCP.into()) && filter.flags_can_match_tcp() {
            services.push(Service { protocols: only(protocol::TCP), tcp_flags: Some(flags), ..base.clone() });
        }
        if filter.protocol.matches(protocol::ICMP.into()) && !filter.wants_ports() {
            let numbers = self.icmp.entry(filter.flags).or_insert_with(|| matching(filter.flags, u16::MAX));
            services.push(Service { protocols: only(protocol::ICMP), icmp: Some(numbers.clone()), ..base });
        }
        services
    }
}

/// The numbers up to `last` that match under the mask.
fn matching(masked: Masked, last: u16) -> RangeSet {
    let mut set = RangeSet::new();
    let mut run: Option<(u16, u16)> = None;
    for number in (0..=last).filter(|&number| masked.matches(number)) {
        run = match run {
            Some((low, high)) if u32::from(high) + 1 == u32::from(number) => Some((low, number)),
            Some((low, high)) => {
                set.insert(low.into()..=high.into());
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some((low, high)) = run {
        set.insert(low.into()..=high.into());
    }
    set
}
