//! Tokens → tables, chains, sets and rules, before any rule is understood.

use std::collections::HashMap;
use std::ops::Range;

use super::token::{Kind, Token};
use crate::diagnostic::Diagnostic;
use crate::source::Lines;

/// Families of tables that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Inet,
    Ip,
    Ip6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// Where a base chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Input,
    Forward,
    Output,
}

#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    pub family: Family,
    pub chains: Vec<Chain>,
    pub sets: HashMap<String, Vec<Token>>,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub name: String,
    pub base: Option<Base>,
    pub rules: Vec<Vec<Token>>,
    pub range: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub hook: Hook,
    pub accept: bool,
}

pub(super) type Definitions = HashMap<String, Vec<Token>>;

/// Reads one text. Definitions hold for the texts after it too.
pub(super) struct Reader<'l, 'a> {
    pub lines: &'l Lines<'a>,
    pub tokens: Vec<Token>,
    pub at: usize,
    pub definitions: &'l mut Definitions,
}

type Read<T> = Result<T, Diagnostic>;

impl Reader<'_, '_> {
    fn refuse<T>(&self, token: Option<&Token>, message: impl Into<String>, remedy: impl Into<String>) -> Read<T> {
        let range = token.map_or(self.lines.text.len()..self.lines.text.len(), |token| token.range.clone());
        Err(self.lines.diagnose(range, message, remedy))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn skip_ends(&mut self) {
        while self.tokens.get(self.at).is_some_and(|token| token.kind == Kind::End) {
            self.at += 1;
        }
    }

    fn word(&mut self, what: &str) -> Read<Token> {
        match self.next() {
            Some(token) if matches!(token.kind, Kind::Word | Kind::Quoted) => Ok(token),
            other => self.refuse(other.as_ref(), format!("{what} is missing here"), format!("write {what}")),
        }
    }

    fn sign(&mut self, sign: &str) -> Read<()> {
        match self.next() {
            Some(token) if token.is(sign) => Ok(()),
            other => self.refuse(other.as_ref(), format!("`{sign}` is missing here"), format!("write `{sign}`")),
        }
    }

    /// Tokens up to the end of the statement; ends inside of braces are no ends.
    fn statement(&mut self) -> Read<Vec<Token>> {
        let mut statement = Vec::new();
        let mut depth = 0_u32;
        while let Some(token) = self.tokens.get(self.at) {
            if depth == 0 && (token.kind == Kind::End || token.is("}")) {
                return Ok(statement);
            }
            if token.is("{") {
                depth += 1;
            }
            if token.is("}") {
                depth -= 1;
            }
            if token.kind != Kind::End {
                statement.push(token.clone());
            }
            self.at += 1;
        }
        if depth > 0 {
            return self.refuse(statement.last(), "a `{` without its `}`", "close it");
        }
        Ok(statement)
    }

    /// Statements inside of braces, until the closing one.
    fn block(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.skip_ends();
        self.sign("{")?;
        loop {
            self.skip_ends();
            match self.tokens.get(self.at) {
                None => return self.refuse(None, "the text ends inside of braces", "close them with `}`"),
                Some(token) if token.is("}") => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => each(self)?,
            }
        }
    }

    pub fn ruleset(&mut self) -> Read<Vec<Table>> {
        let mut tables = Vec::new();
        loop {
            self.skip_ends();
            let Some(token) = self.next() else { return Ok(tables) };
            match token.text.as_str() {
                "table" => tables.push(self.table()?),
                "define" => self.define()?,
                "flush" => {
                    // `flush ruleset`: what was there before does not matter here.
                    self.statement()?;
                }
                _ => {
                    let remedy = "write the form of `nft list ruleset`: `table FAMILY NAME { ... }`, and `define`";
                    return self.refuse(Some(&token), "this is not read", remedy);
                }
            }
        }
    }

    fn define(&mut self) -> Read<()> {
        let name = self.word("a name")?;
        self.sign("=")?;
        let value = self.statement()?;
        if value.is_empty() {
            return self.refuse(Some(&name), "a definition without a value", "write `define NAME = VALUE`");
        }
        let value = substitute(&value, self.definitions, self.lines)?;
        self.definitions.insert(name.text, value);
        Ok(())
    }

    fn table(&mut self) -> Read<Table> {
        let first = self.word("the family or name of a table")?;
        let family = match first.text.as_str() {
            "inet" => Some(Family::Inet),
            "ip" => Some(Family::Ip),
            "ip6" => Some(Family::Ip6),
            "arp" | "bridge" | "netdev" => {
                let remedy = "only inet, ip and ip6 tables are read; remove it";
                return self.refuse(Some(&first), "tables of this family are not read", remedy);
            }
            _ => None,
        };
        let name = if family.is_some() { self.word("the name of a table")?.text } else { first.text };
        // Without a family nft takes `ip`.
        let mut table = Table { name, family: family.unwrap_or(Family::Ip), chains: Vec::new(), sets: HashMap::new() };
        self.block(|reader| reader.member(&mut table))?;
        Ok(table)
    }

    fn member(&mut self, table: &mut Table) -> Read<()> {
        let token = self.word("`chain` or `set`")?;
        match token.text.as_str() {
            "chain" => {
                let chain = self.chain()?;
                if table.chains.iter().any(|other| other.name == chain.name) {
                    let message = format!("a second chain `{}` in this table", chain.name);
                    return Err(self.lines.diagnose(chain.range, message, "write its rules into the first"));
                }
                table.chains.push(chain);
                Ok(())
            }
            "set" => self.set(table),
            "define" => self.define(),
            "comment" => self.statement().map(|_| ()),
            _ => self.refuse(Some(&token), "this part of a table is not read", "read are chains and sets; remove it"),
        }
    }

    fn set(&mut self, table: &mut Table) -> Read<()> {
        let name = self.word("the name of a set")?;
        let mut elements = Vec::new();
        self.block(|reader| {
            let key = reader.word("a property of a set")?;
            let value = reader.statement()?;
            match key.text.as_str() {
                "elements" => match value.split_first() {
                    Some((sign, rest)) if sign.is("=") => {
                        elements = substitute(rest, reader.definitions, reader.lines)?;
                        Ok(())
                    }
                    _ => reader.refuse(Some(&key), "elements without values", "write `elements = { ... }`"),
                },
                "flags" if value.iter().all(|t| t.is("interval") || t.is("constant") || t.is(",")) => Ok(()),
                "type" | "typeof" | "auto-merge" | "comment" | "size" | "policy" => Ok(()),
                _ => {
                    let remedy = "read are sets whose elements stand in the text; remove the property or the set";
                    reader.refuse(Some(&key), "this property changes elements at run time", remedy)
                }
            }
        })?;
        table.sets.insert(name.text, elements);
        Ok(())
    }

    fn chain(&mut self) -> Read<Chain> {
        let name = self.word("the name of a chain")?;
        let mut chain = Chain { name: name.text, base: None, rules: Vec::new(), range: name.range };
        self.block(|reader| {
            let statement = reader.statement()?;
            match statement.first().map(|token| token.text.as_str()) {
                Some("type") => {
                    chain.base = Some(reader.base(&statement)?);
                    Ok(())
                }
                Some("policy") => match (statement.get(1).map(|t| t.text.as_str()), &mut chain.base) {
                    (Some("accept"), Some(base)) => {
                        base.accept = true;
                        Ok(())
                    }
                    (Some("drop"), Some(base)) => {
                        base.accept = false;
                        Ok(())
                    }
                    _ => reader.refuse(
                        statement.first(),
                        "no policy of a base chain",
                        "write `policy accept` or `policy drop`",
                    ),
                },
                Some("comment") => Ok(()),
                Some(_) => {
                    chain.rules.push(substitute(&statement, reader.definitions, reader.lines)?);
                    Ok(())
                }
                None => Ok(()),
            }
        })?;
        Ok(chain)
    }

    /// `type filter hook HOOK priority PRIORITY`.
    fn base(&self, statement: &[Token]) -> Read<Base> {
        let word = |index: usize| statement.get(index).map_or("", |token| token.text.as_str());
        if word(1) != "filter" {
            let remedy = "chains that rewrite packets have no counterpart; remove it";
            return self.refuse(statement.get(1).or(statement.first()), "only chains of type filter are read", remedy);
        }
        let hook = match (word(2), word(3)) {
            ("hook", "input") => Hook::Input,
            ("hook", "forward") => Hook::Forward,
            ("hook", "output") => Hook::Output,
            _ => {
                let remedy = "read are the hooks input, forward and output; remove the chain";
                return self.refuse(statement.get(3).or(statement.first()), "this hook is not read", remedy);
            }
        };
        if word(4) != "priority" {
            return self.refuse(
                statement.get(4).or(statement.first()),
                "a priority is missing",
                "write `priority filter`",
            );
        }
        Ok(Base { hook, accept: true })
    }
}

/// Tokens that definitions may grow one statement to.
const EXPANSION_LIMIT: usize = 100_000;

/// Puts the values of definitions in their places. Those of a definition are substituted already.
fn substitute(tokens: &[Token], definitions: &Definitions, lines: &Lines<'_>) -> Read<Vec<Token>> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let name = token.text.strip_prefix('$').filter(|_| token.kind == Kind::Word);
        match name.map(|name| definitions.get(name)) {
            None => out.push(token.clone()),
            Some(Some(value)) => out.extend(value.iter().cloned()),
            Some(None) => {
                return Err(lines.diagnose(token.range.clone(), "no such definition before", "define it above"));
            }
        }
        if out.len() > EXPANSION_LIMIT {
            let message = format!("definitions make this longer than {EXPANSION_LIMIT} words");
            return Err(lines.diagnose(token.range.clone(), message, "use a named set"));
        }
    }
    Ok(out)
}
