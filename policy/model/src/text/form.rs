//! Forms of text: what a value is called in messages, and the regular expression by which the schema knows it.
//!
//! The decoder decides what a value means. The expressions are as narrow as they can be, so that an editor marks what
//! the reader would refuse; what they cannot say (the order of a range, bits behind a prefix) only the reader knows.

use super::names;

/// Text of a certain form.
#[derive(Debug)]
pub(crate) struct Form {
    /// What it is, to stand behind "must be".
    pub what: &'static str,
    /// What the schema says of it; the decoder is what decides.
    pub pattern: Pattern,
    /// Characters at most; none where the pattern says so.
    pub longest: Option<usize>,
    /// Whether quotes alone may make a number of YAML what is meant.
    pub quotable: bool,
}

/// Regular expressions, for the schema.
#[derive(Debug)]
pub(crate) enum Pattern {
    Any,
    /// Without its anchors.
    Text(&'static str),
    /// Addresses.
    Address,
    /// Blocks of addresses.
    Block,
    /// Protocol and port.
    NamedPort,
    /// Numbers, which need no quotes.
    Numbers(Numbers),
}

/// Numbers, and what may stand for them.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub max: u32,
    /// Whether `low-high` is a value.
    pub ranges: bool,
    /// Names, also in ranges.
    pub words: &'static [&'static str],
    /// Whether a name or number may have a code behind it, and which names can.
    pub codes: Option<&'static [&'static [&'static str]]>,
    /// One more alternative.
    pub or: &'static str,
}

impl Form {
    pub const fn is_number(&self) -> bool {
        matches!(self.pattern, Pattern::Numbers(_))
    }

    /// The expression of the schema, anchored.
    pub fn regex(&self) -> Option<String> {
        let inner = match &self.pattern {
            Pattern::Any => return None,
            Pattern::Text(pattern) => (*pattern).to_owned(),
            Pattern::Address => format!("{}|{IPV6}", ipv4()),
            Pattern::Block => format!("{}/({})|{IPV6}/({})", ipv4(), decimals(32), decimals(128)),
            Pattern::NamedPort => {
                format!("(tcp|udp|dccp|sctp|udplite|6|17|33|132|136|0x0*(6|11|21|84|88))/({})", number(0xffff))
            }
            Pattern::Numbers(numbers) => numbers.regex(),
        };
        Some(format!("^({inner})$"))
    }
}

impl Numbers {
    fn regex(&self) -> String {
        let one = std::iter::once(number(self.max)).chain(self.words.iter().map(|&word| word.to_owned()));
        let one = one.collect::<Vec<_>>().join("|");
        let mut all = one.clone();
        if self.ranges {
            all += &format!("|\\s*({one})\\s*-\\s*({one})\\s*");
        }
        if let Some(tables) = self.codes {
            let mut names: Vec<_> = tables.iter().copied().flatten().copied().collect();
            names.sort_unstable();
            names.dedup();
            let (names, number) = (names.join("|"), number(self.max));
            all += &format!("|{names}|({names}|{number})/({number}|\\s*({number})\\s*-\\s*({number})\\s*)");
        }
        if !self.or.is_empty() {
            all += &format!("|{}", self.or);
        }
        all
    }
}

/// Whatever has a colon in it; the reader knows more.
const IPV6: &str = "[0-9a-fA-F:.]*:[0-9a-fA-F:.]*";

fn ipv4() -> String {
    format!("(({octet})\\.){{3}}({octet})", octet = decimals(255))
}

/// Numbers as policy text writes them, decimal or `0x`; `max` fills its hexadecimal digits.
fn number(max: u32) -> String {
    format!("{}|0x0*[0-9a-fA-F]{{1,{}}}", decimals(max), format!("{max:x}").len())
}

/// Decimal numbers up to a limit, without leading zeroes.
fn decimals(max: u32) -> String {
    let digits = max.to_string();
    let rest = |count: usize| if count == 0 { String::new() } else { format!("[0-9]{{{count}}}") };
    let mut ways = vec![digits.clone()];
    // The same length: as far as some digit, there a smaller one, then any.
    for (at, digit) in digits.bytes().enumerate() {
        let lowest = if at == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let (low, high) = (char::from(lowest), char::from(digit - 1));
            ways.push(format!("{}[{low}-{high}]{}", &digits[..at], rest(digits.len() - at - 1)));
        }
    }
    if digits.len() > 1 {
        ways.push(format!("[1-9][0-9]{{0,{}}}", digits.len() - 2));
    }
    ways.push("0".to_owned());
    ways.join("|")
}

/// Text; a number that is meant as text wants quotes.
const fn text(what: &'static str, pattern: &'static str) -> Form {
    Form { what, pattern: Pattern::Text(pattern), longest: None, quotable: true }
}

const fn short(what: &'static str, pattern: &'static str, longest: usize) -> Form {
    Form { what, pattern: Pattern::Text(pattern), longest: Some(longest), quotable: true }
}

/// Text that no number becomes by quotes alone.
const fn composed(what: &'static str, pattern: Pattern, longest: Option<usize>) -> Form {
    Form { what, pattern, longest, quotable: false }
}

const fn numbers(what: &'static str, numbers: Numbers) -> Form {
    Form { what, pattern: Pattern::Numbers(numbers), longest: None, quotable: false }
}

/// Numbers and ranges up to a limit.
const fn up_to(max: u32) -> Numbers {
    Numbers { max, ranges: true, words: &[], codes: None, or: "" }
}

macro_rules! dns_label {
    () => {
        "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    };
}

macro_rules! subdomain {
    () => {
        concat!(dns_label!(), "(\\.", dns_label!(), ")*")
    };
}

macro_rules! qualified {
    () => {
        "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    };
}

/// Trust domain and path, in which no segment is `.` or `..`.
macro_rules! spiffe {
    () => {
        "spiffe://[a-z0-9._-]{1,255}(/([A-Za-z0-9_-]|\\.[A-Za-z0-9_-]|\\.\\.[A-Za-z0-9._-])[A-Za-z0-9._-]*)*"
    };
}

pub(super) static NAME: Form = short("a name of lower-case letters, digits, `-` and `.`", subdomain!(), 253);
pub(super) static NAMESPACE: Form = text("a namespace of lower-case letters, digits and `-`", dns_label!());
pub(super) static NAMESPACES: Form = text("a namespace, or \"*\" for all", concat!("\\*|", dns_label!()));
pub(super) static RULE_NAME: Form =
    text("a name of letters, digits, `-`, `_` and `.`", "[A-Za-z0-9]([-A-Za-z0-9_.]{0,98}[A-Za-z0-9])?");
pub(super) static LABEL_VALUE: Form =
    text("a label value: letters, digits, `-`, `_` and `.`", concat!("(", qualified!(), ")?"));
pub(super) static LABEL_KEY: Form = short("a label key", concat!("(", subdomain!(), "/)?", qualified!()), 317);
pub(super) static ACCOUNT: Form =
    short("a service account, `name` or `namespace/name`", concat!("((\\*|", dns_label!(), ")/)?", subdomain!()), 317);
pub(super) static SPIFFE: Form = composed(
    "a SPIFFE ID, `spiffe://domain/path`, or everything below, `spiffe://domain/path/*`",
    Pattern::Text(concat!(spiffe!(), "(/\\*)?")),
    Some(2050),
);
pub(super) static SPIFFE_ID: Form =
    composed("a SPIFFE ID, `spiffe://domain/path`", Pattern::Text(spiffe!()), Some(2048));
pub(super) static CIDR: Form = composed("an address block, `10.1.0.0/16` or `2001:db8::/32`", Pattern::Block, None);
pub(super) static ADDRESS: Form = composed("an IP address", Pattern::Address, None);
pub(super) static MAC: Form = composed(
    "a MAC address, `00:30:a7:01:02:03`",
    Pattern::Text("[0-9a-fA-F]{2}((:[0-9a-fA-F]{2}){5}|(-[0-9a-fA-F]{2}){5})"),
    None,
);
pub(super) static INTERFACE: Form =
    text("an interface name of 1 to 15 characters", "(?!\\.{1,2}$)[^/:*\\s\\x00-\\x1f\\x7f]{1,15}");
pub(super) static INTERFACES: Form = text(
    "an interface name, or the beginning of one with `*` behind it",
    "(?!\\.{1,2}\\*?$)[^/:*\\s\\x00-\\x1f\\x7f]{1,15}\\*?|\\*",
);
pub(super) static ROLE: Form = Form { what: "text", pattern: Pattern::Any, longest: None, quotable: true };
/// A rule as `explain` names it: with the names of its policy, and of that one's namespace.
pub(super) static RULE_PATH: Form =
    short("a rule, `policy/rule` or `namespace/policy/rule`", "[^/\\s]+(/[^/\\s]+){1,2}", 420);
pub(super) static END: Form = composed(
    "an address and a TCP port, `192.0.2.1:2404` or `[2001:db8::1]:2404`",
    Pattern::Text("[0-9.]+:[0-9]+|\\[[0-9a-fA-F:.]+\\]:[0-9]+"),
    None,
);
pub(super) static PORT_NAME: Form = short("the name of a port", "([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*", 15);
pub(super) static NAMED: Form = composed("protocol and port, `tcp/502`", Pattern::NamedPort, None);
pub(super) static PROTOCOL: Form = numbers(
    "an IP protocol: a name as `tcp`, a number from 0 to 255 or a range \"50-51\"",
    Numbers { words: &names::PROTOCOL_WORDS, ..up_to(255) },
);
pub(super) static ETHER_TYPE: Form = numbers(
    "an EtherType: a name as `goose`, a number as 0x88b8 or a range \"0x88b8-0x88ba\"",
    Numbers { words: &names::ETHER_TYPE_WORDS, ..up_to(0xffff) },
);
pub(super) static LLC: Form = numbers(
    "DSAP and SSAP of an LLC frame as one number, 0x4242, or the name `stp`, `isis` or `snap`",
    Numbers { ranges: false, words: &names::LLC_WORDS, ..up_to(0xffff) },
);
pub(super) static VLAN: Form =
    numbers("a VLAN from 0 to 4095, a range \"100-199\", or `untagged`", Numbers { or: "untagged", ..up_to(4095) });
pub(super) static VLAN_ID: Form = numbers("a VLAN from 0 to 4095, or a range \"100-199\"", up_to(4095));
pub(super) static PORT: Form = numbers(
    "a port from 0 to 65535, a range \"8000-8100\", or the name of a port",
    Numbers { or: "(?=.{1,15}$)([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*", ..up_to(0xffff) },
);
pub(super) static SOURCE_PORT: Form = numbers("a port from 0 to 65535, or a range \"1024-65535\"", up_to(0xffff));
pub(super) static ICMP: Form = numbers(
    "an ICMP type: a name as `echo-request`, a number, or type and code as `3/4`",
    Numbers { codes: Some(&[&names::ICMP_V4_WORDS, &names::ICMP_V6_WORDS]), or: "any", ..up_to(255) },
);
pub(super) static FLAGS: Form = text(
    "TCP flags, as `syn,!ack`",
    "any|\\s*!?(fin|syn|rst|psh|ack|urg|ece|cwr)(\\s*,\\s*!?(fin|syn|rst|psh|ack|urg|ece|cwr))*\\s*",
);
