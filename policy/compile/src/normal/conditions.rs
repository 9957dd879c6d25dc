//! What one rule says: its subjects and services, looked up where they are known.

use gabion_policy_model::rule::Rule;
use gabion_policy_model::subject::Subject;
use gabion_policy_model::trace::{Direction, RuleRef};

use super::{Condition, ITEM_BYTES, ITEM_STEPS, ITEMS, Whom, Writer};
use crate::Excess;
use crate::known::{Meaning, NONE};
use crate::resolve::{pay_list, pay_service};

impl<'s, S: Subject> Writer<'s, '_, S> {
    /// Who carries the subject of a policy, interned. The rules of a policy come one after the other, and all speak of
    /// its subject.
    pub(super) fn selected(&mut self, whom: Whom<'s, S>) -> Result<Option<u32>, Excess> {
        let subject: &S = match whom {
            Whom::One(subject) => subject,
            Whom::Shared(subject) => subject,
        };
        if let Some((known, selected)) = self.selected
            && std::ptr::eq(known, subject)
        {
            return Ok(selected);
        }
        let known = match whom {
            Whom::One(_) => None,
            Whom::Shared(shared) => self.known.subject(shared),
        };
        let list = match known {
            Some(list) => list,
            None => self.resolver.one(subject, self.known, self.work)?,
        };
        if let (None, Whom::Shared(shared)) = (known, whom) {
            self.known.add_subject(shared, list);
        }
        let who = pay_list(list, self.known, self.work)?;
        let selected = (who != NONE).then_some(who);
        self.selected = Some((subject, selected));
        Ok(selected)
    }

    /// What a rule says, several things when named ports differ between destinations; a search for its subjects is its
    /// doing.
    pub(super) fn conditions(
        &mut self,
        whom: Whom<'s, S>,
        rule: &Rule<S>,
        number: u32,
        reference: RuleRef,
        conditions: &mut Vec<Condition>,
    ) -> Result<(), Excess> {
        conditions.clear();
        let before = self.work.steps();
        let outcome = self.conditions_of(whom, rule, number, conditions);
        self.work.of_rule(reference, self.direction, before);
        outcome
    }

    fn conditions_of(
        &mut self,
        whom: Whom<'s, S>,
        rule: &Rule<S>,
        number: u32,
        conditions: &mut Vec<Condition>,
    ) -> Result<(), Excess> {
        let Some(selected) = self.selected(whom)? else { return Ok(()) };
        let known = &self.known.rules[number as usize];
        let is_resolved = known.is_resolved;
        let ends = if is_resolved {
            (known.from, known.to)
        } else {
            self.resolver.ends(number, rule, self.known, self.work)?
        };
        let (mut from, mut to) = (pay_list(ends.0, self.known, self.work)?, pay_list(ends.1, self.known, self.work)?);
        if from == NONE || to == NONE {
            return Ok(());
        }
        match self.direction {
            Direction::Ingress => to = self.known.meet(to, selected),
            Direction::Egress => from = self.known.meet(from, selected),
        }
        if !is_resolved {
            let services = rule.services.iter().map(|service| self.resolver.service(service, self.known, self.work));
            let services = services.collect::<Result<Vec<u32>, Excess>>()?;
            let plain = if services.is_empty() { self.ordinary } else { self.plain(&services) };
            self.known.resolve(number, ends, &services, plain);
        }
        let known = &self.known.rules[number as usize];
        let (plain, services) = (known.plain, known.services);
        for at in services.0..services.1 {
            self.service(self.known.rule_services[at as usize], from, to, conditions)?;
        }
        if plain != NONE {
            conditions.push(Condition { from, to, what: plain });
        }
        Ok(())
    }

    /// Pays for a service, and adds what it says where it names a port.
    fn service(&mut self, number: u32, from: u32, to: u32, conditions: &mut Vec<Condition>) -> Result<(), Excess> {
        pay_service(number, self.known, self.work)?;
        let Meaning::Named(_, destinations) = &self.known.services[number as usize].meaning else { return Ok(()) };
        let destinations = destinations.clone();
        self.work.spend(ITEMS, destinations.len().saturating_mul(ITEM_STEPS))?;
        self.work.hold(ITEMS, destinations.len().saturating_mul(ITEM_BYTES))?;
        for (there, what) in destinations {
            conditions.push(Condition { from, to: self.known.meet(to, there), what });
        }
        Ok(())
    }

    /// What services without a named port match, interned; [`NONE`] when that is nothing.
    fn plain(&mut self, services: &[u32]) -> u32 {
        let of_plain = |&number: &u32| match &self.known.services[number as usize].meaning {
            Meaning::Plain(term) => *term,
            Meaning::Named(..) => None,
        };
        let mut plain: Vec<u32> = services.iter().filter_map(of_plain).collect();
        plain.sort_unstable();
        plain.dedup();
        if plain.is_empty() { NONE } else { self.known.whats.intern(&plain) }
    }
}
