//! One rule: its words → conditions and a verdict.

use std::collections::HashMap;
use std::net::IpAddr;

use gabion_abi::facts::protocol;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::FlagMatch;
use gabion_policy_model::subject::Mac;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::conditions::{Conditions, Side};
use super::token::{Kind, Token};
use super::words;
use crate::diagnostic::Diagnostic;
use crate::source::Lines;

/// A rule that is understood.
pub(super) struct Statement {
    pub conditions: Conditions,
    /// Connection states that it asks for, as bits of [`words`]; none for any.
    pub states: Option<u32>,
    pub verdict: Verdict,
    pub log: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// None was written, or `continue`.
    Continue,
    Accept,
    Drop,
    Reject,
    Return,
    Jump(Token),
    Goto(Token),
}

type Read<T> = Result<T, Diagnostic>;

const UNREAD: &str = "this is not read; remove the rule, or say it with addresses, ports, interfaces and states";

/// Reads the words of one rule.
pub(super) struct Reader<'r, 'a> {
    pub lines: &'r Lines<'a>,
    pub sets: &'r HashMap<String, Vec<Token>>,
    pub tokens: &'r [Token],
    pub at: usize,
}

/// The values of a condition, and whether it is `!=`.
struct Values<'t> {
    negated: bool,
    list: Vec<&'t Token>,
}

impl<'r> Reader<'r, '_> {
    pub fn refuse<T>(&self, token: &Token, message: impl Into<String>, remedy: impl Into<String>) -> Read<T> {
        Err(self.lines.diagnose(token.range.clone(), message, remedy))
    }

    fn next(&mut self, after: &Token) -> Read<&'r Token> {
        match self.tokens.get(self.at) {
            Some(token) => {
                self.at += 1;
                Ok(token)
            }
            None => self.refuse(after, "the rule ends behind this word", "write what it compares or does"),
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(text));
        self.at += usize::from(found);
        found
    }

    pub fn statement(mut self, v4: bool, v6: bool) -> Read<Statement> {
        let mut statement =
            Statement { conditions: Conditions::new(v4, v6), states: None, verdict: Verdict::Continue, log: false };
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            let done = statement.verdict != Verdict::Continue;
            if done && !token.is("comment") {
                return self.refuse(token, "this stands behind the verdict", "write the verdict last");
            }
            self.part(token, &mut statement)?;
        }
        Ok(statement)
    }

    fn part(&mut self, token: &'r Token, statement: &mut Statement) -> Read<()> {
        if token.kind == Kind::Quoted {
            return self.refuse(token, "a string stands here alone", UNREAD);
        }
        match token.text.as_str() {
            "counter" => {
                while self.eat("packets") || self.eat("bytes") {
                    self.next(token)?;
                }
            }
            "comment" => {
                self.next(token)?;
            }
            "log" => {
                statement.log = true;
                while ["prefix", "level", "flags", "group", "snaplen", "queue-threshold"].iter().any(|o| self.eat(o)) {
                    self.next(token)?;
                }
            }
            "accept" => statement.verdict = Verdict::Accept,
            "drop" => statement.verdict = Verdict::Drop,
            "return" => statement.verdict = Verdict::Return,
            "continue" => {}
            "reject" => {
                statement.verdict = Verdict::Reject;
                if self.eat("with") {
                    while self.tokens.get(self.at).is_some_and(|token| !token.is("comment")) {
                        self.at += 1;
                    }
                }
            }
            "jump" => statement.verdict = Verdict::Jump(self.next(token)?.clone()),
            "goto" => statement.verdict = Verdict::Goto(self.next(token)?.clone()),
            "ct" => {
                let key = self.next(token)?;
                if !key.is("state") {
                    return self.refuse(key, "of `ct` only the state is known", UNREAD);
                }
                let states = self.states(key)?;
                statement.states = Some(statement.states.unwrap_or(words::ALL_STATES) & states);
            }
            _ => {
                let more = self.condition(token, &statement.conditions)?;
                let Some(joined) = statement.conditions.and(&more) else {
                    return self.refuse(token, "a second condition on `tcp flags`", "write one, with a mask");
                };
                statement.conditions = joined;
            }
        }
        Ok(())
    }

    fn condition(&mut self, token: &'r Token, so_far: &Conditions) -> Read<Conditions> {
        let mut more = Conditions::new(true, true);
        match token.text.as_str() {
            "iif" | "iifname" | "oif" | "oifname" => self.interface(token, &mut more)?,
            "ip" | "ip6" => {
                let v6 = token.is("ip6");
                (more.v4, more.v6) = (!v6, v6);
                let key = self.next(token)?;
                match (key.text.as_str(), v6) {
                    ("saddr", _) => more.source = self.addresses(key, v6)?,
                    ("daddr", _) => more.destination = self.addresses(key, v6)?,
                    ("protocol", false) | ("nexthdr", true) => more.protocols = Some(self.protocols(key)?),
                    _ => return self.refuse(key, format!("this field of `{}` is not known", token.text), UNREAD),
                }
            }
            "meta" => self.meta(token, &mut more)?,
            "tcp" | "udp" | "sctp" | "dccp" | "udplite" | "th" => self.transport(token, so_far, &mut more)?,
            "icmp" | "icmpv6" => self.icmp(token, &mut more)?,
            "vlan" => {
                let key = self.next(token)?;
                if !key.is("id") {
                    return self.refuse(key, "of `vlan` only the id is known", UNREAD);
                }
                more.vlan = Some(self.numbers(key, &[], 4095)?);
            }
            "ether" => {
                let key = self.next(token)?;
                match key.text.as_str() {
                    "saddr" => more.source = self.macs(key)?,
                    "daddr" => more.destination = self.macs(key)?,
                    "type" => self.network(key, &mut more)?,
                    _ => return self.refuse(key, "this field of `ether` is not known", UNREAD),
                }
            }
            _ => return self.refuse(token, "this is not known", UNREAD),
        }
        Ok(more)
    }

    fn meta(&mut self, token: &'r Token, more: &mut Conditions) -> Read<()> {
        let key = self.next(token)?;
        match key.text.as_str() {
            "iif" | "iifname" | "oif" | "oifname" => self.interface(key, more)?,
            "l4proto" => more.protocols = Some(self.protocols(key)?),
            "protocol" | "nfproto" => self.network(key, more)?,
            _ => return self.refuse(key, "this field of `meta` is not known", UNREAD),
        }
        Ok(())
    }

    /// `ip` or `ip6`, in the words of `meta protocol`, `meta nfproto` and `ether type`.
    fn network(&mut self, key: &'r Token, more: &mut Conditions) -> Read<()> {
        let Values { negated, list } = self.values(key)?;
        let (mut v4, mut v6) = (false, false);
        for value in list {
            match value.text.as_str() {
                "ip" | "ipv4" | "0x0800" => v4 = true,
                "ip6" | "ipv6" | "0x86dd" => v6 = true,
                _ => return self.refuse(value, "neither `ip` nor `ip6`", "these tables see IP packets only"),
            }
        }
        (more.v4, more.v6) = (v4 != negated, v6 != negated);
        Ok(())
    }

    fn transport(&mut self, token: &'r Token, so_far: &Conditions, more: &mut Conditions) -> Read<()> {
        let key = self.next(token)?;
        let ported = [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::DCCP, protocol::UDPLITE];
        if token.is("th") {
            // On a protocol without ports nft would compare whatever bytes stand there.
            let named = so_far.protocols.as_ref().is_some_and(|set| {
                set.iter().all(|(low, high)| (low..=high).all(|p| ported.iter().any(|&with| u32::from(with) == p)))
            });
            if !named {
                return self.refuse(
                    token,
                    "`th` without protocols that have ports",
                    "write `meta l4proto { tcp, udp }` before it",
                );
            }
        } else {
            let number = words::number(&token.text, &words::PROTOCOLS, 255).unwrap_or_default();
            more.protocols = Some(RangeSet::from_range(number..=number));
        }
        match key.text.as_str() {
            "dport" => more.ports = Some(self.numbers(key, &words::PORTS, 65535)?),
            "sport" => more.source_ports = Some(self.numbers(key, &words::PORTS, 65535)?),
            "flags" if token.is("tcp") => more.flags = Some(self.flags(key)?),
            _ => return self.refuse(key, format!("this field of `{}` is not known", token.text), UNREAD),
        }
        Ok(())
    }

    fn icmp(&mut self, token: &'r Token, more: &mut Conditions) -> Read<()> {
        let key = self.next(token)?;
        let v6 = token.is("icmpv6");
        let (number, types): (u8, &[(&str, u32)]) =
            if v6 { (protocol::ICMPV6, &words::ICMPV6_TYPES) } else { (protocol::ICMP, &words::ICMP_TYPES) };
        (more.v4, more.v6) = (!v6, v6);
        more.protocols = Some(RangeSet::from_range(number.into()..=number.into()));
        let mut set = RangeSet::new();
        match key.text.as_str() {
            "type" => {
                for (low, high) in self.numbers(key, types, 255)?.iter() {
                    set.insert(low << 8..=high << 8 | 0xff);
                }
            }
            "code" => {
                let codes = self.numbers(key, &[], 255)?;
                for kind in 0..=255 {
                    for (low, high) in codes.iter() {
                        set.insert(kind << 8 | low..=kind << 8 | high);
                    }
                }
            }
            _ => return self.refuse(key, format!("this field of `{}` is not known", token.text), UNREAD),
        }
        more.icmp = Some(set);
        Ok(())
    }

    fn interface(&mut self, key: &'r Token, more: &mut Conditions) -> Read<()> {
        let Values { negated, list } = self.values(key)?;
        if let Some(pattern) = list.iter().find(|token| token.text.contains('*')) {
            return self.refuse(pattern, "a pattern of interfaces", "name the interfaces, `{ \"eth0\", \"eth1\" }`");
        }
        let is_interface = |name: &str| {
            (1..=15).contains(&name.len())
                && !name.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
        };
        if let Some(wrong) = list.iter().find(|token| !is_interface(&token.text)) {
            return self.refuse(
                wrong,
                "no name of an interface",
                "write at most 15 characters without blanks, `/` and `:`",
            );
        }
        let names = list.iter().map(|token| token.text.clone()).collect();
        let side = if key.text.starts_with('i') { &mut more.source } else { &mut more.destination };
        if negated {
            side.not_interfaces = names
        } else {
            side.interfaces = Some(names)
        }
        Ok(())
    }

    fn macs(&mut self, key: &'r Token) -> Read<Side> {
        let Values { negated, list } = self.values(key)?;
        let mut macs = Vec::new();
        for token in list {
            let octets: Vec<u8> = token.text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
            match <[u8; 6]>::try_from(octets) {
                Ok(octets) if token.text.len() == 17 => macs.push(Mac(octets)),
                _ => return self.refuse(token, "not a MAC address", "write six octets, `00:1b:2c:3d:4e:5f`"),
            }
        }
        Ok(if negated {
            Side { not_macs: macs, ..Side::default() }
        } else {
            Side { macs: Some(macs), ..Side::default() }
        })
    }

    fn addresses(&mut self, key: &'r Token, v6: bool) -> Read<Side> {
        let Values { negated, list } = self.values(key)?;
        let mut blocks = Vec::new();
        for token in list {
            match blocks_of(&token.text) {
                Some(found) if found.iter().all(|block| matches!(block, IpNet::V6(_)) == v6) => blocks.extend(found),
                _ => {
                    let family = if v6 { "IPv6" } else { "IPv4" };
                    let remedy = "write an address, a prefix `10.0.0.0/8` or a range `10.0.0.1-10.0.0.9`";
                    return self.refuse(token, format!("not an {family} address, prefix or range"), remedy);
                }
            }
        }
        Ok(if negated {
            Side { except: blocks, ..Side::default() }
        } else {
            Side { blocks: Some(blocks), ..Side::default() }
        })
    }

    fn protocols(&mut self, key: &'r Token) -> Read<RangeSet> {
        self.numbers(key, &words::PROTOCOLS, 255)
    }

    /// Numbers, ranges and names; `!=` gives all the others up to the limit.
    fn numbers(&mut self, key: &'r Token, names: &[(&str, u32)], limit: u32) -> Read<RangeSet> {
        let Values { negated, list } = self.values(key)?;
        let mut set = RangeSet::new();
        for token in list {
            let one = |word: &str| words::number(word, names, limit);
            // Names may hold a hyphen too, so that a range is looked for second.
            let range = one(&token.text).map(|number| (number, number)).or_else(|| {
                let (low, high) = token.text.split_once('-')?;
                Some((one(low)?, one(high)?)).filter(|(low, high)| low <= high)
            });
            let Some((low, high)) = range else {
                let message = format!("not a number up to {limit}, nor a range or a name known for `{}`", key.text);
                return self.refuse(token, message, "write the number");
            };
            set.insert(low..=high);
        }
        if negated {
            let mut others = RangeSet::from_range(0..=limit);
            set.iter().for_each(|(low, high)| others.remove(low..=high));
            return Ok(others);
        }
        Ok(set)
    }

    fn states(&mut self, key: &'r Token) -> Read<u32> {
        let Values { negated, list } = self.values(key)?;
        let mut states = 0;
        for token in list {
            match words::STATES.iter().find(|(name, _)| *name == token.text) {
                Some((_, bit)) => states |= bit,
                None => return self.refuse(token, "no such state", "write new, established, related or invalid"),
            }
        }
        Ok(if negated { words::ALL_STATES & !states } else { states })
    }

    /// `syn`, `syn / syn,ack`, `& (syn | ack) == syn`, `== syn`, `!= ...`, `{ syn, ack }`.
    fn flags(&mut self, key: &'r Token) -> Read<Vec<FlagMatch>> {
        if self.eat("&") {
            let mask = self.flag_bits(key)?;
            let sign = self.next(key)?;
            let negated = match sign.text.as_str() {
                "==" => false,
                "!=" => true,
                _ => return self.refuse(sign, "neither `==` nor `!=`", "write `tcp flags & (syn | ack) == syn`"),
            };
            return Ok(under_mask(self.flag_bits(key)?, mask, negated));
        }
        let (exact, negated) = (self.eat("=="), self.eat("!="));
        if self.tokens.get(self.at).is_some_and(|token| token.is("{") || token.text.starts_with('@')) {
            let list = self.values(key)?.list;
            if negated {
                return self.refuse(key, "flags outside of a set", "write one `!=` for each");
            }
            return list.into_iter().map(|token| Ok(FlagMatch { mask: 0xff, value: self.flag(token)? })).collect();
        }
        let value = self.flag_bits(key)?;
        if self.eat("/") {
            return Ok(under_mask(value, self.flag_bits(key)?, negated));
        }
        if exact || negated {
            return Ok(under_mask(value, 0xff, negated));
        }
        // Flags alone ask for any of them.
        Ok(under_mask(0, value, true))
    }

    fn flag(&self, token: &Token) -> Read<u8> {
        match words::number(&token.text, &words::TCP_FLAGS, 255) {
            Some(bits) => Ok(bits as u8),
            None => self.refuse(token, "no such TCP flag", "write fin, syn, rst, psh, ack, urg, ecn or cwr"),
        }
    }

    /// `syn`, `syn,ack`, `(syn | ack)`, `0x0`.
    fn flag_bits(&mut self, key: &'r Token) -> Read<u8> {
        let parenthesis = self.eat("(");
        let mut bits = 0;
        loop {
            let token = self.next(key)?;
            bits |= self.flag(token)?;
            if !(self.eat(",") || self.eat("|")) {
                break;
            }
        }
        if parenthesis && !self.eat(")") {
            return self.refuse(key, "a `(` without its `)`", "close it");
        }
        Ok(bits)
    }

    /// An optional `==` or `!=`, then a word, words with commas, a set, or the name of a set.
    fn values(&mut self, key: &'r Token) -> Read<Values<'r>> {
        let negated = self.eat("!=") || self.eat("!") || self.eat("ne");
        if !negated {
            let _ = self.eat("==") || self.eat("eq");
        }
        let token = self.next(key)?;
        if token.is("{") {
            return Ok(Values { negated, list: self.elements()? });
        }
        if let Some(name) = token.text.strip_prefix('@').filter(|_| token.kind == Kind::Word) {
            let Some(elements) = self.sets.get(name) else {
                return self.refuse(token, "no such set in this table", "write the set before, with its elements");
            };
            let inner = Reader { lines: self.lines, sets: self.sets, tokens: elements, at: 1 };
            return Ok(Values { negated, list: if elements.is_empty() { Vec::new() } else { inner.all_elements()? } });
        }
        if token.kind == Kind::Sign || token.is("vmap") {
            return self.refuse(token, "this comparison is not known", UNREAD);
        }
        let mut list = vec![token];
        while self.eat(",") {
            list.push(self.next(token)?);
        }
        Ok(Values { negated, list })
    }

    fn all_elements(mut self) -> Read<Vec<&'r Token>> {
        self.elements()
    }

    /// The elements of a set whose `{` was read. A definition in a set may be a set itself.
    fn elements(&mut self) -> Read<Vec<&'r Token>> {
        let mut list = Vec::new();
        let mut depth = 1;
        let mut separated = true;
        loop {
            let Some(token) = self.tokens.get(self.at) else {
                let Some(last) = self.tokens.last() else { return Ok(list) };
                return self.refuse(last, "a set without its `}`", "close it");
            };
            self.at += 1;
            match token.text.as_str() {
                "{" if token.kind == Kind::Sign => depth += 1,
                "}" if token.kind == Kind::Sign => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(list);
                    }
                }
                "," if token.kind == Kind::Sign => separated = true,
                _ if separated && matches!(token.kind, Kind::Word | Kind::Quoted) => {
                    separated = false;
                    list.push(token);
                }
                "comment" => self.at += 1,
                _ => {
                    let remedy = "read are lists of single values; verdict maps, concatenations and timeouts are not";
                    return self.refuse(token, "this is no plain element of a set", remedy);
                }
            }
        }
    }
}

/// Ways for `flags & mask` to be the value, or not to be it: then at least one bit differs.
fn under_mask(value: u8, mask: u8, negated: bool) -> Vec<FlagMatch> {
    if value & !mask != 0 {
        // It can never be equal.
        return if negated { vec![FlagMatch { mask: 0, value: 0 }] } else { Vec::new() };
    }
    if !negated {
        return vec![FlagMatch { mask, value }];
    }
    let bits = (0..8).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
    bits.map(|bit| FlagMatch { mask: bit, value: !value & bit }).collect()
}

/// An address, a prefix or a range, as blocks.
fn blocks_of(word: &str) -> Option<Vec<IpNet>> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(vec![address.into()]);
    }
    if let Ok(net) = word.parse::<IpNet>() {
        return Some(vec![net.trunc()]);
    }
    let (low, high) = word.split_once('-')?;
    match (low.parse().ok()?, high.parse().ok()?) {
        (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => {
            Some(Ipv4Subnets::new(low, high, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => {
            Some(Ipv6Subnets::new(low, high, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}
