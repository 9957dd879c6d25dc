//! Policy → two ordered lists of plain rules, one for each direction, where the first match decides.
//!
//! Tiers, `pass`, isolation, deny precedence and defaults all disappear here: an [`Item`] is who ×
//! who × what → action, and its position is its rank. `pass` is replaced by a copy of everything
//! that follows its tier, narrowed to what the rule matches; a `pass` that nothing follows in its
//! tier costs nothing.

mod conditions;

use std::sync::Arc;

use gabion_abi::tables::entry;
use gabion_policy_model::PolicySet;
use gabion_policy_model::rule::{Action, Policy, Rule, Stage};
use gabion_policy_model::service::Service;
use gabion_policy_model::set::Spanned;
use gabion_policy_model::site::{DefaultAction, Defaults};
use gabion_policy_model::subject::{Extent, Subject};
use gabion_policy_model::trace::{Direction, RuleRef};
use hashbrown::HashMap;

use crate::Excess;
use crate::known::{EVERYONE, Known};
use crate::resolve::Resolver;
use crate::term::{self, Term};
use crate::work::Work;

/// A union of extents, normalised; never everything.
pub(crate) type Union = Vec<Extent>;

/// One plain rule.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Interned who of the source: all of some unions at once.
    pub from: u32,
    /// Interned who of the destination.
    pub to: u32,
    /// Interned what: any of some terms.
    pub what: u32,
    /// Action and flags of [`entry`].
    pub action: u64,
    /// See [`entry`].
    pub flags: u64,
    /// Where it comes from.
    pub reference: RuleRef,
}

/// The ordered list of each direction, in numbers that [`Known`] gave.
pub(crate) struct Flat {
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
const BEHIND: &str = "services behind `pass`";

/// Tiers that may `pass` to one another in a row: as many as the stack surely holds.
const DEPTH_LIMIT: usize = 64;

/// A rule's conditions as interned whos and what, or those that a `pass` left to the tiers behind it.
#[derive(Clone, Copy, Debug)]
struct Condition {
    from: u32,
    to: u32,
    what: u32,
}

/// Whom a policy selects, as it says so.
#[derive(Clone, Copy)]
enum Whom<'s, S> {
    One(&'s S),
    /// As long as it is shared it is what it was.
    Shared(&'s Arc<S>),
}

struct Writer<'s, 'w, S: Subject> {
    work: &'w mut Work,
    set: &'s PolicySet<S>,
    resolver: Resolver<'s>,
    known: &'w mut Known<S>,
    /// Terms that say two terms at once; none when no packet meets both.
    narrowed: HashMap<(u32, u32), Option<u32>>,
    items: Vec<Item>,
    direction: Direction,
    /// Who the subject is of the policy that was looked at last.
    selected: Option<(&'s S, Option<u32>)>,
    limit: usize,
    /// Tiers that a `pass` has led to and that are not written out yet.
    depth: usize,
    ordinary: u32,
    link_control: u32,
    unparsed: u32,
    everything: u32,
}

/// Flattens a policy. `limit` bounds the length of each list.
pub(crate) fn flatten<S: Subject>(
    set: &PolicySet<S>,
    limit: usize,
    known: &mut Known<S>,
    work: &mut Work,
) -> Result<Flat, Excess> {
    known.begin(&set.inventory);
    let mut all = |terms: Vec<Term>| {
        let mut what: Vec<u32> = terms.into_iter().map(|term| known.terms.intern(Arc::new(term))).collect();
        what.sort_unstable();
        known.whats.intern(&what)
    };
    let ordinary = all(Vec::from_iter(term::of_service(&Service::default(), None)));
    let link_control = all(term::link_control());
    let unparsed = all(vec![term::unparsed()]);
    let everything = all(vec![Term::default()]);
    let mut writer = Writer {
        work,
        set,
        resolver: Resolver::new(&set.inventory),
        known,
        narrowed: HashMap::new(),
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
    let egress = std::mem::take(&mut writer.items);
    writer.direction(Direction::Ingress)?;
    let ingress = std::mem::take(&mut writer.items);
    known.end();
    Ok(Flat { egress, ingress })
}

impl<'s, S: Subject> Writer<'s, '_, S> {
    fn direction(&mut self, direction: Direction) -> Result<(), Excess> {
        self.direction = direction;
        self.tiers(0, None)
    }

    /// The tier that starts at policy `from` and all behind it.
    fn tiers(&mut self, from: usize, narrow: Option<Condition>) -> Result<(), Excess> {
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

    fn tier(&mut self, start: usize, end: usize, narrow: Option<Condition>) -> Result<(), Excess> {
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
            let number = self.known.rule(rule.shared());
            let mut conditions = Vec::new();
            self.conditions(Whom::One(&policy.subject), rule, number, reference, &mut conditions)?;
            if rule.action != Action::Pass {
                for condition in conditions {
                    self.push(narrow, condition, number, reference)?;
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
                    let behind = self.another_item().and_then(|()| self.tiers(end, Some(narrower)));
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
    fn policies(&mut self, narrow: Option<Condition>) -> Result<(), Excess> {
        let set = self.set;
        let mut by_action: [Vec<(u32, u32, u32)>; 3] = Default::default();
        for (p, policy) in (0..).zip(&set.policies) {
            for (r, rule) in (0..).zip(rules_of(policy, self.direction)) {
                let number = self.known.rule(rule.shared());
                let at = match self.known.rules[number as usize].does.action {
                    Action::Deny => 0,
                    Action::Audit => 1,
                    Action::Allow => 2,
                    // No `Policy` says it.
                    Action::Pass => continue,
                };
                by_action[at].push((p, r, number));
            }
        }
        let mut conditions = Vec::new();
        for (p, r, number) in by_action.into_iter().flatten() {
            let policy = &set.policies[p as usize];
            let rule = &rules_of(policy, self.direction)[r as usize];
            let reference = RuleRef::Policy { policy: p, rule: r };
            self.conditions(Whom::Shared(&policy.subject), rule, number, reference, &mut conditions)?;
            for &condition in &conditions {
                self.push(narrow, condition, number, reference)?;
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
            let Some(selected) = self.selected(Whom::Shared(&policy.subject))? else { continue };
            let reference = RuleRef::Isolation { policy: p as u32 };
            self.decide(narrow, selected, self.ordinary, entry::DENY, reference)?;
        }
        Ok(())
    }

    fn defaults(&mut self, narrow: Option<Condition>) -> Result<(), Excess> {
        self.special(narrow)?;
        let set = self.set;
        let site = set.site.as_ref();
        for (index, of_subject) in site.iter().flat_map(|site| &site.defaults.subjects).enumerate() {
            let action = match self.direction {
                Direction::Ingress => of_subject.ingress,
                Direction::Egress => of_subject.egress,
            };
            let Some(action) = action else { continue };
            let Some(who) = self.selected(Whom::One(&of_subject.subject))? else { continue };
            let reference = RuleRef::SubjectDefault { index: index as u32 };
            self.decide(narrow, who, self.ordinary, default_action(action), reference)?;
        }
        let fallback = Defaults::<S>::default();
        let defaults = site.map_or(&fallback, |site| &site.defaults);
        let action = match self.direction {
            Direction::Ingress => defaults.ingress,
            Direction::Egress => defaults.egress,
        };
        self.decide(narrow, EVERYONE, self.everything, default_action(action), RuleRef::Default)
    }

    /// What becomes of unparsed packets and of link control that no rule names.
    fn special(&mut self, narrow: Option<Condition>) -> Result<(), Excess> {
        let fallback = Defaults::<S>::default();
        let set = self.set;
        let defaults = set.site.as_ref().map_or(&fallback, |site| &site.defaults);
        let (unparsed, link) = (default_action(defaults.unparsed), default_action(defaults.link_control));
        self.decide(narrow, EVERYONE, self.unparsed, unparsed, RuleRef::UnparsedDefault)?;
        self.decide(narrow, EVERYONE, self.link_control, link, RuleRef::LinkControlDefault)
    }

    /// An item about the end that this direction asks.
    fn decide(
        &mut self,
        narrow: Option<Condition>,
        who: u32,
        what: u32,
        action: u64,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        let condition = match self.direction {
            Direction::Ingress => Condition { from: EVERYONE, to: who, what },
            Direction::Egress => Condition { from: who, to: EVERYONE, what },
        };
        self.emit(narrow, condition, action, 0, reference)
    }

    fn push(
        &mut self,
        narrow: Option<Condition>,
        condition: Condition,
        rule: u32,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        let rule = self.known.rules[rule as usize].does;
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
        narrow: Option<Condition>,
        condition: Condition,
        action: u64,
        flags: u64,
        reference: RuleRef,
    ) -> Result<(), Excess> {
        if narrow.is_some() {
            self.another_item()?;
        }
        let Some(Condition { from, to, what }) = self.narrow(narrow, condition, reference)? else { return Ok(()) };
        if narrow.is_some() {
            let Known { whos, whats, .. } = &*self.known;
            let said = whos.get(from).len() + whos.get(to).len() + whats.get(what).len();
            self.work.hold(ITEMS, said * 4)?;
        }
        if self.items.len() >= self.limit {
            return Err(Excess::TooManyItems { limit: self.limit });
        }
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
        narrow: Option<Condition>,
        condition: Condition,
        reference: RuleRef,
    ) -> Result<Option<Condition>, Excess> {
        let Condition { mut from, mut to, mut what } = condition;
        if let Some(outer) = narrow {
            from = self.known.meet(from, outer.from);
            to = self.known.meet(to, outer.to);
            let before = self.work.steps();
            let both = self.both(what, outer.what);
            self.work.of_rule(reference, self.direction, before);
            what = both?;
        }
        Ok((!self.known.whats.get(what).is_empty()).then_some(Condition { from, to, what }))
    }

    /// The terms that say one of each.
    fn both(&mut self, inner: u32, outer: u32) -> Result<u32, Excess> {
        let Known { terms, whats, .. } = &mut *self.known;
        let (inner, outer) = (whats.get(inner), whats.get(outer));
        self.work.spend(BEHIND, inner.len().saturating_mul(outer.len()).saturating_mul(PAIR_STEPS))?;
        let mut both = Vec::new();
        for &a in inner {
            for &b in outer {
                if let Some(&known) = self.narrowed.get(&(a, b)) {
                    both.extend(known);
                    continue;
                }
                let ranges = terms.value(a).ranges() + terms.value(b).ranges();
                self.work.spend(BEHIND, ranges * RANGE_STEPS)?;
                let term = Term::clone(terms.value(a)).intersection(terms.value(b));
                self.work.hold(BEHIND, 200 + term.as_ref().map_or(0, |term| term.ranges() * 8))?;
                let known = term.map(|term| terms.intern(Arc::new(term)));
                self.narrowed.insert((a, b), known);
                both.extend(known);
            }
        }
        both.sort_unstable();
        both.dedup();
        Ok(whats.intern(&both))
    }
}

fn default_action(action: DefaultAction) -> u64 {
    match action {
        DefaultAction::Allow => entry::ALLOW,
        DefaultAction::Deny => entry::DENY,
    }
}

fn rules_of<S: Subject>(policy: &Policy<S>, direction: Direction) -> &[Spanned<Rule<S>>] {
    let rules = match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    rules.as_deref().unwrap_or_default()
}
