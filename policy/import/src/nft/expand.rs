//! Base chains with their jumps written out, and without connection states.

use gabion_policy_model::rule::Action;

use super::conditions::Conditions;
use super::lower::{Base, Flat};
use super::ruleset::{Chain, Family, Table};
use super::statement::{Reader, Statement, Verdict};
use super::token::Token;
use super::words;
use crate::diagnostic::Diagnostic;
use crate::source::Lines;

/// How deep chains may jump, as in the kernel.
const JUMP_LIMIT: usize = 16;
/// Rules that a ruleset may come to when jumps are written out.
const RULE_LIMIT: usize = 100_000;

type Read<T> = Result<T, Diagnostic>;

/// Writes the jumps of one table's chains out.
pub(super) struct Expansion<'t, 'a, 'w> {
    pub lines: &'t Lines<'a>,
    pub table: &'t Table,
    pub warnings: &'w mut Vec<Diagnostic>,
    pub count: usize,
}

impl<'t, 'a> Expansion<'t, 'a, '_> {
    fn warn(&mut self, at: &[Token], message: &str, remedy: &str) {
        self.warnings.push(self.lines.diagnose(range(at), message, remedy));
    }

    fn refuse<T>(&self, at: &[Token], message: impl Into<String>, remedy: &str) -> Read<T> {
        Err(self.lines.diagnose(range(at), message, remedy))
    }

    pub fn base(&mut self, chain: &'t Chain, shared: bool) -> Read<Option<Base<'t, 'a>>> {
        let (v4, v6) = (self.table.family != Family::Ip6, self.table.family != Family::Ip);
        let open = Conditions::new(v4, v6);
        let Some(of) = chain.base else {
            // Chains that nothing jumps to are read too, so that nothing in a text goes unread.
            for rule in &chain.rules {
                self.read(rule, &open)?;
            }
            return Ok(None);
        };
        let mut base = Base {
            lines: self.lines,
            chain,
            name: if shared {
                format!("{}-{}-{}", self.table.family.name(), self.table.name, chain.name)
            } else {
                chain.name.clone()
            },
            hook: of.hook,
            v4,
            v6,
            accept: of.accept,
            rules: Vec::new(),
            admits_replies: false,
        };
        let prefix = base.name.clone();
        self.chain(chain, &open, &prefix, &mut base, 0)?;
        Ok(Some(base))
    }

    fn read(&self, rule: &'t [Token], within: &Conditions) -> Read<Statement> {
        let reader = Reader { lines: self.lines, sets: &self.table.sets, tokens: rule, at: 0 };
        reader.statement(within.v4, within.v6)
    }

    /// Adds the rules of a chain that is entered by the packets that meet `within`.
    fn chain(
        &mut self,
        chain: &'t Chain,
        within: &Conditions,
        prefix: &str,
        base: &mut Base<'t, 'a>,
        depth: usize,
    ) -> Read<()> {
        for (index, tokens) in chain.rules.iter().enumerate() {
            let statement = self.read(tokens, within)?;
            let Some(conditions) = within.and(&statement.conditions) else {
                return self.refuse(tokens, "`tcp flags` here and at the jump", "write one condition with a mask");
            };
            if conditions.impossible() {
                continue;
            }
            if !self.states(tokens, &statement, &conditions, base)? {
                continue;
            }
            let name = format!("{prefix}-{index}");
            let add = |base: &mut Base<'t, 'a>, action| {
                base.rules.push(Flat {
                    conditions: conditions.clone(),
                    action,
                    log: statement.log,
                    name: name.clone(),
                    at: range(tokens),
                });
            };
            let policy = if base.accept { Action::Allow } else { Action::Deny };
            match &statement.verdict {
                Verdict::Accept => add(base, Action::Allow),
                Verdict::Drop => add(base, Action::Deny),
                Verdict::Reject => {
                    self.warn(tokens, "`reject` becomes deny: no answer is sent", "nothing to do if silence will do");
                    add(base, Action::Deny);
                }
                Verdict::Continue => {
                    if statement.log {
                        let remedy = "denials are reported anyway; `log` beside a verdict reports allowed packets";
                        self.warn(tokens, "a log without a verdict is left out", remedy);
                    }
                }
                Verdict::Return if depth == 0 => add(base, policy),
                Verdict::Return => {
                    let unconditional = statement.conditions.unconditional(within) && statement.states.is_none();
                    if unconditional || index + 1 == chain.rules.len() {
                        return Ok(());
                    }
                    return self.refuse(
                        tokens,
                        "a return under conditions",
                        "write the opposite conditions at the rules behind it",
                    );
                }
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    if depth == JUMP_LIMIT {
                        return self.refuse(
                            tokens,
                            format!("jumps deeper than {JUMP_LIMIT}"),
                            "jump less deep; nft refuses it too",
                        );
                    }
                    let Some(target) = self.table.chains.iter().find(|c| c.name == to.text && c.base.is_none()) else {
                        return self.refuse(std::slice::from_ref(to), "no such chain in this table", "write the chain");
                    };
                    let goes = matches!(statement.verdict, Verdict::Goto(_));
                    if goes && depth > 0 {
                        return self.refuse(
                            tokens,
                            "a goto from a chain that is jumped to",
                            "write `jump`, or jump from the base chain",
                        );
                    }
                    self.chain(target, &conditions, &format!("{name}.{}", target.name), base, depth + 1)?;
                    if goes {
                        add(base, policy);
                    }
                }
            }
            self.count += 1;
            if self.count > RULE_LIMIT {
                return self.refuse(
                    tokens,
                    format!("more than {RULE_LIMIT} rules when jumps are written out"),
                    "jump less",
                );
            }
        }
        Ok(())
    }

    /// What `ct state` amounts to: whether the rule stays, without it.
    fn states(
        &mut self,
        tokens: &[Token],
        statement: &Statement,
        conditions: &Conditions,
        base: &mut Base<'t, 'a>,
    ) -> Read<bool> {
        let Some(states) = statement.states else { return Ok(true) };
        let replies = words::ESTABLISHED | words::RELATED;
        let known = states & !words::UNTRACKED;
        if states & words::NEW != 0 {
            if states & replies == replies || base.admits_replies {
                return Ok(true);
            }
            return self.refuse(
                tokens,
                "`ct state new` before replies are accepted",
                "write `ct state established,related accept` as the first rule of the chain",
            );
        }
        match statement.verdict {
            Verdict::Accept if known & replies != 0 && states & !replies == 0 => {
                if states != replies {
                    self.warn(
                        tokens,
                        "only one of established and related: Gabion admits both",
                        "nothing to do if both may pass",
                    );
                }
                if conditions.unconditional(&Conditions::new(base.v4, base.v6)) {
                    base.admits_replies = true;
                } else {
                    self.warn(
                        tokens,
                        "replies are admitted whatever else this rule asks",
                        "nothing to do if they may pass",
                    );
                }
                if base.rules.iter().any(|rule| rule.action == Action::Deny) {
                    self.warn(
                        tokens,
                        "rules before this one deny replies too in nft, but not here",
                        "deny the other direction as well if connections are not to be opened from there",
                    );
                }
                Ok(false)
            }
            Verdict::Drop | Verdict::Reject if states == words::INVALID => {
                let remedy = "packets without a connection are judged by the rules; malformed ones by `unparsed`";
                self.warn(tokens, "`ct state invalid` is not known here, the rule is left out", remedy);
                Ok(false)
            }
            Verdict::Continue => Ok(false),
            _ => self.refuse(
                tokens,
                "a condition on connection states that has no counterpart",
                "read are `established,related accept`, `invalid drop` and `new`",
            ),
        }
    }
}

fn range(tokens: &[Token]) -> std::ops::Range<usize> {
    match (tokens.first(), tokens.last()) {
        // Tokens of a definition stand elsewhere.
        (Some(first), Some(last)) if first.range.start <= last.range.end => first.range.start..last.range.end,
        (Some(first), _) => first.range.clone(),
        _ => 0..0,
    }
}
