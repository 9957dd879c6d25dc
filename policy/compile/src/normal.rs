//! Policy → two ordered lists of plain rules, one for each direction, where the first match decides.
//!
//! Tiers, `pass`, isolation, deny precedence and defaults all disappear here: an [`Item`] is who ×
//! who × what → action, and its position is its rank. `pass` is replaced by a copy of everything
//! that follows its tier, narrowed to what the rule matches; a `pass` that nothing follows in its
//! tier costs nothing.

use gabion_abi::tables::entry;
use gabion_policy_model::PolicySet;
use gabion_policy_model::rule::{Action, Rule, Stage};
use gabion_policy_model::service::Service;
use gabion_policy_model::site::{DefaultAction, Defaults};
use gabion_policy_model::subject::{Extent, Subject};
use gabion_policy_model::trace::{Direction, RuleRef};
use hashbrown::HashMap;

use crate::Excess;
use crate::intern::Interner;
use crate::resolve::{Meaning, Resolver};
use crate::term::{self, Term};
use crate::work::Work;

/// A union of extents, normalised; `None` in `parts` would be everything and is never interned.
pub(crate) type Union = Vec<Extent>;

/// Who: all of these unions at once; empty for anyone.
pub(crate) type Who = Vec<u32>;

/// What: any of these terms.
pub(crate) type What = Vec<u32>;

/// One plain rule.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Interned [`Who`] of the source.
    pub from: u32,
    /// Interned [`Who`] of the destination.
    pub to: u32,
    /// Interned [`What`].
    pub what: u32,
    /// Action and flags of [`entry`].
    pub action: u64,
    /// See [`entry`].
    pub flags: u64,
    /// Where it comes from.
    pub reference: RuleRef,
}

/// Both lists and what their numbers mean.
#[derive(Debug, Default)]
pub(crate) struct Normal {
    pub unions: Interner<Union>,
    pub whos: Interner<Who>,
    pub terms: Interner<Term>,
    pub whats: Interner<What>,
    /// What the source may send.
    pub egress: Vec<Item>,
    /// What the destination may receive.
    pub ingress: Vec<Item>,
}

/// Steps of one plain rule, of a pair of terms, and of a range in one of them.
const ITEM_STEPS: usize = 600;
const PAIR_STEPS: usize = 30;
const RANGE_STEPS: usize = 4;
/// Bytes of a plain rule with what it says.
const ITEM_BYTES: usize = 160;
const ITEMS: &str = "plain rules";

/// Tiers that may `pass` to one another in a row: as many as the stack surely holds.
const DEPTH_LIMIT: usize = 64;

/// Who and what a `pass` left to the tiers behind it.
#[derive(Clone, Debug)]
struct Narrow {
    from: Who,
    to: Who,
    what: What,
}

/// A rule's conditions, interned; several when named ports differ between destinations.
struct Condition {
    from: Who,
    to: Who,
    what: What,
}

struct Writer<'s, 'w, S: Subject> {
    work: &'w mut Work,
    set: &'s PolicySet<S>,
    resolver: Resolver<'s, S>,
    /// Terms that say two terms at once; none when no packet meets both.
    narrowed: HashMap<(u32, u32), Option<u32>>,
    normal: Normal,
    items: Vec<Item>,
    direction: Direction,
    /// Who the subject is of the policy that was looked at last.
    selected: Option<(&'s S, Option<Who>)>,
    limit: usize,
    /// Tiers that a `pass` has led to and that are not written out yet.
    depth: usize,
    ordinary: What,
    link_control: What,
    unparsed: What,
    everything: What,
}

/// Flattens a policy. `limit` bounds the length of each list.
pub(crate) fn flatten<S: Subject>(set: &PolicySet<S>, limit: usize, work: &mut Work) -> Result<Normal, Excess> {
    let mut normal = Normal::default();
    let mut all = |terms: Vec<Term>| -> What { terms.into_iter().map(|t| normal.terms.intern(t)).collect() };
    let ordinary = all(Vec::from_iter(term::of_service(&Service::default(), None)));
    let link_control = all(term::link_control());
    let unparsed = all(vec![term::unparsed()]);
    let everything = all(vec![Term::default()]);
    let mut writer = Writer {
        work,
        set,
        resolver: Resolver::new(&set.inventory),
        narrowed: HashMap::new(),
        normal,
        items: Vec::new(),
        direction: Direction::Egress,
        selected: None,
        limit,
        depth: 0,
        ordinary,
        link_control,
        unparsed,
        everything,
    };
    writer.direction(Direction::Egress)?;
    writer.normal.egress = std::mem::take(&mut writer.items);
    writer.direction(Direction::Ingress)?;
    writer.normal.ingress = std::mem::take(&mut writer.items);
    Ok(writer.normal)
}

impl<'s, S: Subject> Writer<'s, '_, S> {
    fn direction(&mut self, direction: Direction) -> Result<(), Excess> {
        self.direction = direction;
        self.tiers(0, None)
    }

    /// The tier that starts at policy `from` and all behind it.
    fn tiers(&mut self, from: usize, narrow: Option<&Narrow>) -> Result<(), Excess> {
        let set = self.set;
        let mut at = from;
        let mut policies_done = set.cluster_policies[..from].last().is_some_and(|p| p.tier.stage == Stage::Baseline);
        // A tier is a run of documents with the same tier.
        while let Some(first) = set.cluster_policies.get(at) {
            if first.tier.stage == Stage::Baseline && !policies_done {
                self.policies(narrow)?;
                policies_done = true;
            }
            let end = at + set.cluster_policies[at..].iter().take_while(|p| p.tier == first.tier).count();
            self.tier(at, end, narrow)?;
            at = end;
        }
        if !policies_done {
            self.policies(narrow)?;
        }
        self.defaults(narrow)
    }

    fn tier(&mut self, start: usize, end: usize, narrow: Option<&Narrow>) -> Result<(), Excess> {
        let set = self.set;
        let rules: Vec<(usize, usize)> = (start..end)
            .flat_map(|p| {
                let policy = &set.cluster_policies[p];
                let count = match self.direction {
                    Direction::Ingress => policy.ingress.len(),
                    Direction::Egress => policy.egress.len(),
                };
                (0..count).map(move |r| (p, r))
            })
            .collect();
        for (position, &(p, r)) in rules.iter().enumerate() {
            let policy = &set.cluster_policies[p];
            let rule = match self.direction {
                Direction::Ingress => &policy.ingress[r],
                Direction::Egress => &policy.egress[r],
            };
            let reference = RuleRef::Cluster { policy: p as u32, rule: r as u32 };
            let conditions = self.conditions(&policy.subject, rule, reference)?;
            if rule.action != Action::Pass {
                for condition in conditions {
                    self.push(narrow, condition, rule, reference)?;
                }
                continue;
            }
            if position + 1 == rules.len() {
                continue;
            }
            for condition in conditions {
                if let Some(narrower) = self.narrow(narrow, condition, reference)? {
                    self.depth += 1;
                    let before = self.work.steps();
                    if self.depth > DEPTH_LIMIT {
                        return Err(Excess::TooManyPasses { limit: DEPTH_LIMIT });
                    }
                    let behind = self.another_item().and_then(|()| self.tiers(end, Some(&narrower)));
                    // What a `pass` leads to is its doing, whether it fits or not.
                    self.work.of_rule(reference, self.direction, before);
                    behind?;
                    self.depth -= 1;
                }
            }
        }
        Ok(())
    }

    /// The `Policy` layer: denials, audits, allowances, then isolation.
    fn policies(&mut self, narrow: Option<&Narrow>) -> Result<(), Excess> {
        let set = self.set;
        for action in [Action::Deny, Action::Audit, Action::Allow] {
            for (p, policy) in set.policies.iter().enumerate() {
                let rules = match self.direction {
                    Direction::Ingress => &policy.ingress,
                    Direction::Egress => &policy.egress,
                };
                for (r, rule) in rules.iter().flatten().enumerate() {
                    if rule.action == action {
                        let reference = RuleRef::Policy { policy: p as u32, rule: r as u32 };
                        for condition in self.conditions(&policy.subject, rule, reference)? {
                            self.push(narrow, condition, rule, reference)?;
                        }
                    }
                }
            }
        }
        for (p, policy) in set.policies.iter().enumerate() {
            let speaks = match self.direction {
                Direction::Ingress => policy.ingress.is_some(),
                Direction::Egress => policy.egress.is_some(),
            };
            if !speaks {
                continue;
            }
            let Some(selected) = self.who(Some(std::slice::from_ref(&policy.subject)))? else { continue };
            let reference = RuleRef::Isolation { policy: p as u32 };
            self.decide(narrow, &selected, self.ordinary.clone(), entry::DENY, reference)?;
        }
        Ok(())
    }

    fn defaults(&mut self, narrow: Option<&Narrow>) -> Result<(), Excess> {
        self.special(narrow)?;
        let set = self.set;
        let site = set.site.as_ref();
        for (index, of_subject) in site.iter().flat_map(|site| &site.defaults.subjects).enumerate() {
            let action = match self.direction {
                Direction::Ingress => of_subject.ingress,
                Direction::Egress => of_subject.egress,
            };
            let Some(action) = action else { continue };
            let Some(who) = self.who(Some(std::slice::from_ref(&of_subject.subject)))? else { continue };
            let reference = RuleRef::SubjectDefault { index: index as u32 };
            self.decide(narrow, &who, self.ordinary.clone(), default_action(action), reference)?;
        }
        let fallback = Defaults::<S>::default();
        let defaults = site.map_or(&fallback, |site| &site.defaults);
        let action = match self.direction {
            Direction::Ingress => defaults.ingress,
            Direction::Egress => defaults.egress,
        };
        self.decide(narrow, &Who::new(), self.everything.clone(), default_action(action), RuleRef::Default)
    }

    /// What becomes of unparsed packets and of link control that no rule names.
    fn special(&mut self, narrow: Option<&Narrow>) -> Result<(), Excess> {
        let fallback = Defaults::<S>::default();
        let set = self.set;
        let defaults = set.site.as_ref().map_or(&fallback, |site| &site.defaults);
        let (unparsed, link) = (default_action(defaults.unparsed), default_action(defaults.link_control));
        self.decide(narrow, &Who::new(), self.unparsed.clone(), unparsed, RuleRef::UnparsedDefault)?;
        self.decide(narrow, &Who::new(), self.link_control.clone(), link, RuleRef::LinkControlDefault)
    }

    /// An item about the end that this direction asks.
    fn decide(
        &mut self,
        narrow: Option<&Narrow>,
        who: &Who,
        what: What,
        action: u64,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        let condition = match self.direction {
            Direction::Ingress => Condition { from: Who::new(), to: who.clone(), what },
            Direction::Egress => Condition { from: who.clone(), to: Who::new(), what },
        };
        self.emit(narrow, condition, action, 0, reference)
    }

    fn push(
        &mut self,
        narrow: Option<&Narrow>,
        condition: Condition,
        rule: &Rule<S>,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        let action = match rule.action {
            Action::Allow | Action::Pass => entry::ALLOW,
            Action::Deny => entry::DENY,
            Action::Audit => entry::AUDIT,
        };
        let mut flags = 0;
        if rule.stateless {
            flags |= entry::STATELESS;
        }
        if rule.log {
            flags |= entry::LOG;
        }
        self.emit(narrow, condition, action, flags, reference)
    }

    fn emit(
        &mut self,
        narrow: Option<&Narrow>,
        condition: Condition,
        action: u64,
        flags: u64,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        if narrow.is_some() {
            self.another_item()?;
        }
        let Some(Narrow { from, to, what }) = self.narrow(narrow, condition, reference)? else { return Ok(()) };
        if narrow.is_some() {
            self.work.hold(ITEMS, (from.len() + to.len() + what.len()) * 4)?;
        }
        if self.items.len() >= self.limit {
            return Err(Excess::TooManyItems { limit: self.limit });
        }
        let from = self.normal.whos.intern(from);
        let to = self.normal.whos.intern(to);
        let what = self.normal.whats.intern(what);
        self.items.push(Item { from, to, what, action, flags, reference });
        Ok(())
    }

    /// Spends what a plain rule takes that is not one of the text.
    fn another_item(&mut self) -> Result<(), Excess> {
        self.work.spend(ITEMS, ITEM_STEPS)?;
        self.work.hold(ITEMS, ITEM_BYTES)
    }

    /// Both conditions at once; none when no packet can meet both.
    fn narrow(
        &mut self,
        narrow: Option<&Narrow>,
        condition: Condition,
        reference: RuleRef,
    ) -> Result<Option<Narrow>, Excess> {
        let Condition { mut from, mut to, mut what } = condition;
        if let Some(outer) = narrow {
            from.extend(&outer.from);
            to.extend(&outer.to);
            let before = self.work.steps();
            let both = self.both(&what, &outer.what);
            self.work.of_rule(reference, self.direction, before);
            what = both?;
        }
        for who in [&mut from, &mut to] {
            who.sort_unstable();
            who.dedup();
        }
        what.sort_unstable();
        what.dedup();
        Ok((!what.is_empty()).then_some(Narrow { from, to, what }))
    }

    /// The terms that say one of each.
    fn both(&mut self, inner: &What, outer: &What) -> Result<What, Excess> {
        self.work
            .spend("services behind `pass`", inner.len().saturating_mul(outer.len()).saturating_mul(PAIR_STEPS))?;
        let mut both = What::new();
        for &a in inner {
            for &b in outer {
                if let Some(&known) = self.narrowed.get(&(a, b)) {
                    both.extend(known);
                    continue;
                }
                let terms = &mut self.normal.terms;
                let ranges = terms.value(a).ranges() + terms.value(b).ranges();
                self.work.spend("services behind `pass`", ranges * RANGE_STEPS)?;
                let term = terms.value(a).clone().intersection(terms.value(b));
                self.work.hold("services behind `pass`", 200 + term.as_ref().map_or(0, |term| term.ranges() * 8))?;
                let known = term.map(|term| terms.intern(term));
                self.narrowed.insert((a, b), known);
                both.extend(known);
            }
        }
        Ok(both)
    }

    /// What a rule says; a search for its subjects is its doing.
    fn conditions(&mut self, subject: &'s S, rule: &'s Rule<S>, reference: RuleRef) -> Result<Vec<Condition>, Excess> {
        let before = self.work.steps();
        let conditions = self.conditions_of(subject, rule);
        self.work.of_rule(reference, self.direction, before);
        conditions
    }

    fn conditions_of(&mut self, subject: &'s S, rule: &'s Rule<S>) -> Result<Vec<Condition>, Excess> {
        // The rules of a policy come one after the other, and all speak of its subject.
        let selected = match &self.selected {
            Some((known, selected)) if std::ptr::eq(*known, subject) => selected.clone(),
            _ => {
                let selected = self.who(Some(std::slice::from_ref(subject)))?;
                self.selected = Some((subject, selected.clone()));
                selected
            }
        };
        let Some(selected) = selected else { return Ok(Vec::new()) };
        let (Some(mut from), Some(mut to)) = (self.who(rule.from.as_deref())?, self.who(rule.to.as_deref())?) else {
            return Ok(Vec::new());
        };
        match self.direction {
            Direction::Ingress => to.extend(selected),
            Direction::Egress => from.extend(selected),
        }
        let mut conditions = Vec::new();
        let mut plain = What::new();
        if rule.services.is_empty() {
            plain.extend(&self.ordinary);
        }
        for service in &rule.services {
            match self.resolver.service(service, &mut self.normal, self.work)? {
                Meaning::Plain(term) => plain.extend(term),
                Meaning::Named(destinations) => {
                    self.work.spend(ITEMS, destinations.len().saturating_mul(ITEM_STEPS))?;
                    self.work.hold(ITEMS, destinations.len().saturating_mul(ITEM_BYTES))?;
                    conditions.extend(destinations.iter().map(|(union, what)| {
                        let to = to.iter().copied().chain([*union]).collect();
                        Condition { from: from.clone(), to, what: what.clone() }
                    }));
                }
            }
        }
        if !plain.is_empty() {
            conditions.push(Condition { from, to, what: plain });
        }
        Ok(conditions)
    }

    fn who(&mut self, subjects: Option<&'s [S]>) -> Result<Option<Who>, Excess> {
        self.resolver.who(subjects, &mut self.normal, self.work)
    }
}

fn default_action(action: DefaultAction) -> u64 {
    match action {
        DefaultAction::Allow => entry::ALLOW,
        DefaultAction::Deny => entry::DENY,
    }
}
