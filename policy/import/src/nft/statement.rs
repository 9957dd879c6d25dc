//! One rule: its words → conditions and a verdict.

use std::collections::HashMap;

use gabion_abi::facts::protocol;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::subject::Mac;
use ipnet::IpNet;

use super::conditions::{Conditions, Side};
use super::token::{Kind, Token};
use super::values::{Values, blocks_of};
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

pub(super) const UNREAD: &str =
    "this is not read; remove the rule, or say it with addresses, ports, interfaces and states";

/// Reads the words of one rule.
pub(super) struct Reader<'r, 'a> {
    pub lines: &'r Lines<'a>,
    pub sets: &'r HashMap<String, Vec<Token>>,
    pub tokens: &'r [Token],
    pub at: usize,
}

impl<'r> Reader<'r, '_> {
    pub fn refuse<T>(&self, token: &Token, message: impl Into<String>, remedy: impl Into<String>) -> Read<T> {
        Err(self.lines.diagnose(token.range.clone(), message, remedy))
    }

    pub fn next(&mut self, after: &Token) -> Read<&'r Token> {
        match self.tokens.get(self.at) {
            Some(token) => {
                self.at += 1;
                Ok(token)
            }
            None => self.refuse(after, "the rule ends behind this word", "write what it compares or does"),
        }
    }

    pub fn eat(&mut self, text: &str) -> bool {
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
                more.vlan = Some(self.numbers(key, words::unnamed, 4095)?);
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
            let number = words::protocol(&token.text).unwrap_or_default();
            more.protocols = Some(RangeSet::from_range(number..=number));
        }
        match key.text.as_str() {
            "dport" => more.ports = Some(self.numbers(key, words::port, 65535)?),
            "sport" => more.source_ports = Some(self.numbers(key, words::port, 65535)?),
            "flags" if token.is("tcp") => more.flags = Some(self.flags(key)?),
            _ => return self.refuse(key, format!("this field of `{}` is not known", token.text), UNREAD),
        }
        Ok(())
    }

    fn icmp(&mut self, token: &'r Token, more: &mut Conditions) -> Read<()> {
        let key = self.next(token)?;
        let v6 = token.is("icmpv6");
        let (number, types): (u8, words::Names) =
            if v6 { (protocol::ICMPV6, words::icmpv6_type) } else { (protocol::ICMP, words::icmp_type) };
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
                let codes = self.numbers(key, words::unnamed, 255)?;
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
}
