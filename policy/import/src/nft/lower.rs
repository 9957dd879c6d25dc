//! Chains → tiers of ordered rules.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::subject::{Any, AnySubject};

use super::conditions::{Conditions, Side};
use super::ruleset::{Chain, Family, Hook, Table};
use super::statement::{Reader, Statement, Verdict};
use super::token::Token;
use super::words;
use crate::diagnostic::Diagnostic;
use crate::names;
use crate::source::Lines;

/// How deep chains may jump, as in the kernel.
const JUMP_LIMIT: usize = 16;
/// Rules that a ruleset may come to when jumps are written out.
const RULE_LIMIT: usize = 100_000;

type Read<T> = Result<T, Diagnostic>;

/// A rule of a base chain with its jumps written out.
struct Flat {
    conditions: Conditions,
    action: Action,
    log: bool,
    name: String,
    at: std::ops::Range<usize>,
}

/// A base chain with its jumps written out.
struct Base<'t, 'a> {
    lines: &'t Lines<'a>,
    chain: &'t Chain,
    /// What its rules' names start with: the chain's name, or where several tables use it, with the table's.
    name: String,
    hook: Hook,
    v4: bool,
    v6: bool,
    accept: bool,
    rules: Vec<Flat>,
    /// Return traffic is accepted without further conditions.
    admits_replies: bool,
}

pub(super) fn lower(tables: &[(&Lines<'_>, Table)], node: &[IpAddr]) -> Read<(Vec<ClusterPolicy>, Vec<Diagnostic>)> {
    let mut warnings = Vec::new();
    let mut bases: Vec<Base<'_, '_>> = Vec::new();
    for (lines, table) in tables {
        for chain in &table.chains {
            let shared = tables
                .iter()
                .flat_map(|(_, table)| &table.chains)
                .filter(|other| other.base.is_some() && other.name == chain.name)
                .count()
                > 1;
            let base = Expansion { lines, table, warnings: &mut warnings, count: 0 }.base(chain, shared)?;
            if let Some(base) = base {
                if let Some(other) = bases.iter().find(|o| o.hook == base.hook && (o.v4 && base.v4 || o.v6 && base.v6))
                {
                    let message = format!("a second chain at this hook, beside `{}`", other.chain.name);
                    return Err(lines.diagnose(chain.range.clone(), message, "write the rules of both into one chain"));
                }
                bases.push(base);
            }
        }
    }
    bases.sort_by_key(|base| base.hook);
    if node.is_empty() {
        keep_one_arrival(&mut bases, &mut warnings)?;
    } else {
        at_node(&mut bases, node);
    }
    let stateless = stateless_hooks(&bases, &mut warnings);
    let mut tiers = Tiers::default();
    for base in &bases {
        tiers.add(base, stateless.contains(&base.hook))?;
    }
    Ok((tiers.policies, warnings))
}

/// Without the node's addresses input and forward cannot be told apart.
fn keep_one_arrival(bases: &mut Vec<Base<'_, '_>>, warnings: &mut Vec<Diagnostic>) -> Read<()> {
    let has = |bases: &[Base<'_, '_>], hook| bases.iter().any(|b| b.hook == hook && !b.rules.is_empty());
    let (input, forward) = (has(bases, Hook::Input), has(bases, Hook::Forward));
    let find = |hook| bases.iter().find(|base: &&Base<'_, '_>| base.hook == hook);
    let (Some(_), Some(transit)) = (find(Hook::Input), find(Hook::Forward)) else { return Ok(()) };
    if input && forward {
        return Err(transit.lines.diagnose(
            transit.chain.range.clone(),
            "both input and forward have rules, and which addresses are the node's is not known",
            "name the node's addresses, or import one of the chains",
        ));
    }
    let left_out = if forward { Hook::Input } else { Hook::Forward };
    if let Some(base) = find(left_out) {
        warnings.push(base.lines.diagnose(
            base.chain.range.clone(),
            "this chain has no rules and is left out: the other one judges all that arrives",
            "name the node's addresses to keep both",
        ));
    }
    bases.retain(|base| base.hook != left_out);
    Ok(())
}

/// Input is for the node's addresses, and decides for good.
fn at_node(bases: &mut [Base<'_, '_>], node: &[IpAddr]) {
    let to_node = Side { blocks: Some(node.iter().map(|&address| address.into()).collect()), ..Side::default() };
    for base in bases.iter_mut().filter(|base| base.hook == Hook::Input) {
        let name = format!("{}-policy", base.name);
        let action = if base.accept { Action::Allow } else { Action::Deny };
        base.rules.push(Flat {
            conditions: Conditions::new(base.v4, base.v6),
            action,
            log: false,
            name,
            at: base.chain.range.clone(),
        });
        base.accept = true;
        for rule in &mut base.rules {
            let narrowed = Conditions { destination: to_node.clone(), ..Conditions::new(true, true) };
            // Only a second condition on TCP flags has no conjunction, and there is none here.
            if let Some(conditions) = rule.conditions.and(&narrowed) {
                rule.conditions = conditions;
            }
        }
        base.rules.retain(|rule| !rule.conditions.impossible());
    }
}

/// Hooks whose allowed packets get no replies, because the chain that replies take would stop them.
fn stateless_hooks(bases: &[Base<'_, '_>], warnings: &mut Vec<Diagnostic>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for base in bases {
        let restricts = !base.accept || base.rules.iter().any(|rule| rule.action == Action::Deny);
        if !restricts || base.admits_replies {
            continue;
        }
        let hook = match base.hook {
            Hook::Input => Hook::Output,
            Hook::Forward => Hook::Forward,
            Hook::Output => Hook::Input,
        };
        hooks.push(hook);
        if bases.iter().any(|other| other.hook == hook && other.rules.iter().any(|r| r.action == Action::Allow)) {
            warnings.push(base.lines.diagnose(
                base.chain.range.clone(),
                "this chain does not accept established and related connections, so rules whose replies it sees are stateless",
                "add `ct state established,related accept` if replies are to pass",
            ));
        }
    }
    hooks
}

/// Writes the jumps of one table's chains out.
struct Expansion<'t, 'a, 'w> {
    lines: &'t Lines<'a>,
    table: &'t Table,
    warnings: &'w mut Vec<Diagnostic>,
    count: usize,
}

impl<'t, 'a> Expansion<'t, 'a, '_> {
    fn warn(&mut self, at: &[Token], message: &str, remedy: &str) {
        self.warnings.push(self.lines.diagnose(range(at), message, remedy));
    }

    fn refuse<T>(&self, at: &[Token], message: impl Into<String>, remedy: &str) -> Read<T> {
        Err(self.lines.diagnose(range(at), message, remedy))
    }

    fn base(&mut self, chain: &'t Chain, shared: bool) -> Read<Option<Base<'t, 'a>>> {
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

/// The policies of both directions, cut into tiers where a rule wants others to pass before it.
#[derive(Default)]
struct Tiers {
    policies: Vec<ClusterPolicy>,
    numbers: HashMap<&'static str, u32>,
    /// Names of rules that are given away.
    names: HashSet<String>,
    /// The last policy takes more rules of this direction.
    open: Option<&'static str>,
}

impl Tiers {
    fn add(&mut self, base: &Base<'_, '_>, stateless: bool) -> Read<()> {
        let direction = if base.hook == Hook::Output { "egress" } else { "ingress" };
        for flat in &base.rules {
            self.rule(base, direction, flat, stateless)?;
        }
        if !base.accept {
            let last = Flat {
                conditions: Conditions::new(base.v4, base.v6),
                action: Action::Deny,
                log: false,
                name: format!("{}-policy", base.name),
                at: base.chain.range.clone(),
            };
            self.rule(base, direction, &last, stateless)?;
        }
        Ok(())
    }

    fn rule(&mut self, base: &Base<'_, '_>, direction: &'static str, flat: &Flat, stateless: bool) -> Read<()> {
        let Conditions { v4, v6, .. } = flat.conditions;
        let sides = [&flat.conditions.source, &flat.conditions.destination].map(|side| side.subjects(v4, v6));
        let [Some((from, not_from)), Some((to, not_to))] = sides else {
            return Err(base.lines.diagnose(
                flat.at.clone(),
                "an interface and a MAC address of one end in one rule",
                "ask for one of the two",
            ));
        };
        let rule = |name: String, action, from, to| Rule {
            name,
            action,
            from,
            to,
            services: flat.conditions.services(),
            stateless: stateless && action == Action::Allow,
            log: flat.log && action != Action::Pass,
            location: base.lines.locate(flat.at.clone()),
        };
        let guarded = !not_from.is_empty() || !not_to.is_empty();
        if guarded || self.open != Some(direction) {
            self.begin(base, direction);
        }
        let name = self.name(&flat.name);
        let mut rules = Vec::new();
        if !not_from.is_empty() {
            rules.push(rule(format!("{name}.not-from"), Action::Pass, Some(not_from), None));
        }
        if !not_to.is_empty() {
            rules.push(rule(format!("{name}.not-to"), Action::Pass, None, Some(not_to)));
        }
        rules.push(rule(name, flat.action, from, to));
        if let Some(policy) = self.policies.last_mut() {
            let list = if direction == "egress" { &mut policy.egress } else { &mut policy.ingress };
            list.append(&mut rules);
        }
        // What passes here is for the next tier, so that no other rule may stand in this one.
        self.open = (!guarded).then_some(direction);
        Ok(())
    }

    /// The name with what no name holds replaced, shortened, and told apart from the others. There is room
    /// for what the rules before it add.
    fn name(&mut self, wanted: &str) -> String {
        let fit = names::fit(wanted, names::RULE_NAME_LIMIT - 20, "rule");
        let mut name = fit.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{fit}.{number}");
            number += 1;
        }
        name
    }

    fn begin(&mut self, base: &Base<'_, '_>, direction: &'static str) {
        let number = self.numbers.entry(direction).or_default();
        *number += 1;
        let name = if *number == 1 { format!("nft-{direction}") } else { format!("nft-{direction}-{number}") };
        self.policies.push(ClusterPolicy {
            tier: Tier { name: name.clone(), stage: Stage::Admin, order: self.policies.len() as u32 },
            name,
            order: 0,
            subject: AnySubject::Any(Any),
            ingress: Vec::new(),
            egress: Vec::new(),
            location: base.lines.locate(base.chain.range.clone()),
        });
    }
}
