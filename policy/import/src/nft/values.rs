//! What stands behind the name of a field: words, ranges, sets and flags.

use std::net::IpAddr;

use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::FlagMatch;
use gabion_policy_model::text::parse_block;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::statement::{Reader, UNREAD};
use super::token::{Kind, Token};
use super::words;
use crate::diagnostic::Diagnostic;

type Read<T> = Result<T, Diagnostic>;

/// The values of a condition, and whether it is `!=`.
pub(super) struct Values<'t> {
    pub negated: bool,
    pub list: Vec<&'t Token>,
}

impl<'r> Reader<'r, '_> {
    pub fn protocols(&mut self, key: &'r Token) -> Read<RangeSet> {
        self.numbers(key, words::protocol, 255)
    }

    /// Numbers, ranges and names; `!=` gives all the others up to the limit.
    pub fn numbers(&mut self, key: &'r Token, named: words::Names, limit: u32) -> Read<RangeSet> {
        let Values { negated, list } = self.values(key)?;
        let mut set = RangeSet::new();
        for token in list {
            let one = |word: &str| words::number(word, named, limit);
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

    pub fn states(&mut self, key: &'r Token) -> Read<u32> {
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
    pub fn flags(&mut self, key: &'r Token) -> Read<Vec<FlagMatch>> {
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
        match words::number(&token.text, words::tcp_flag, 255) {
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
    pub fn values(&mut self, key: &'r Token) -> Read<Values<'r>> {
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
pub(super) fn blocks_of(word: &str) -> Option<Vec<IpNet>> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(vec![address.into()]);
    }
    if let Some(net) = parse_block(word) {
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
