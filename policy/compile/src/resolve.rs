//! Subjects and services as rules name them → unions and terms, each worked out once.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::subject::{Extent, Subject};
use hashbrown::HashMap;

use crate::Excess;
use crate::known::{EVERYONE, Known, Meaning, NONE, PortName, Price, Subjects};
use crate::normal::Union;
use crate::term::{self, Term};
use crate::work::Work;

/// Bytes that an address, a MAC or an interface of a subject takes, on the way and for good.
const MARK_BYTES: usize = 40;
/// Steps of one, of a property of an entry that is looked at for a subject, and of a range of a service.
const MARK_STEPS: usize = 30;
const LOOK_STEPS: usize = 80;
const RANGE_STEPS: usize = 10;
/// Steps of one port that a name stands for.
const PORT_STEPS: usize = 500;

const SUBJECTS: &str = "subjects";
const SERVICES: &str = "services";
const NAMED_PORTS: &str = "named ports";

/// Finds out about subjects and services what is not known yet.
#[derive(Debug)]
pub(crate) struct Resolver<'s> {
    index: Index<'s>,
    /// Entries by port name, when they are first asked for.
    named: Option<HashMap<&'s str, Vec<(&'s NamedPort, &'s Entry)>>>,
}

impl<'s> Resolver<'s> {
    pub fn new(inventory: &'s Inventory) -> Self {
        Self { index: Index::new(inventory), named: None }
    }

    /// The number of a list of subjects.
    pub fn list<S: Subject>(
        &self,
        subjects: &[S],
        place: impl FnOnce() -> Subjects<S>,
        known: &mut Known<S>,
        work: &mut Work,
    ) -> Result<u32, Excess> {
        if let Some(number) = known.list(subjects) {
            known.lists[number as usize].price.pay(SUBJECTS, known.round, work)?;
            return Ok(number);
        }
        let before = Price::before(work);
        let mut union = Union::new();
        for subject in subjects {
            let before = self.index.looks();
            let extents = subject.extents(&self.index);
            let looks = self.index.looks() - before;
            work.spend(SUBJECTS, looks.saturating_mul(LOOK_STEPS))?;
            count(&extents, work)?;
            union.extend(extents);
        }
        let who = if union.iter().any(|extent| extent.any) {
            EVERYONE
        } else {
            let union = normalise(union);
            if union.is_empty() { NONE } else { single(union, known) }
        };
        let price = Price::since(before, known.round, work);
        Ok(known.add_list(place(), who, price))
    }

    /// The number of a list of one subject.
    pub fn one<S: Subject>(&self, subject: &S, known: &mut Known<S>, work: &mut Work) -> Result<u32, Excess> {
        self.list(std::slice::from_ref(subject), || Subjects::One(subject.clone()), known, work)
    }

    /// Both ends of a rule as numbers of lists, [`NONE`] for anyone.
    pub fn ends<S: Subject>(
        &self,
        number: u32,
        rule: &Rule<S>,
        known: &mut Known<S>,
        work: &mut Work,
    ) -> Result<(u32, u32), Excess> {
        let shared = known.shared_rule(number);
        let mut end = |list: &Option<Vec<S>>, place: fn(Arc<Rule<S>>) -> Subjects<S>| match list {
            None => Ok(NONE),
            Some(subjects) => self.list(subjects, || place(Arc::clone(&shared)), known, work),
        };
        Ok((end(&rule.from, Subjects::From)?, end(&rule.to, Subjects::To)?))
    }

    /// The number of a service.
    pub fn service<S: Subject>(
        &mut self,
        service: &Service,
        known: &mut Known<S>,
        work: &mut Work,
    ) -> Result<u32, Excess> {
        if let Some(number) = known.service(service) {
            pay_service(number, known, work)?;
            return Ok(number);
        }
        if let Some(PortMatch::Named(name)) = &service.ports {
            let port = self.port(name, known, work)?;
            let before = Price::before(work);
            let destinations = known.ports[port as usize].destinations.clone();
            work.spend(NAMED_PORTS, destinations.len().saturating_mul(PORT_STEPS))?;
            let mut meaning = Vec::with_capacity(destinations.len());
            for ((protocol, port), union) in destinations {
                let number = RangeSet::from_range(u32::from(port)..=u32::from(port));
                let term = term::of_service(service, Some((protocol, number)));
                let what = term.map(|term| known.terms.intern(Arc::new(term)));
                meaning.push((known.whos.intern(&[union]), known.whats.intern(what.as_slice())));
            }
            let price = Price::since(before, known.round, work);
            return Ok(known.add_service(service, Meaning::Named(port, meaning), price));
        }
        let before = Price::before(work);
        let term = term::of_service(service, None);
        work.spend(SERVICES, term.as_ref().map_or(0, Term::ranges) * RANGE_STEPS)?;
        let meaning = Meaning::Plain(term.map(|term| known.terms.intern(Arc::new(term))));
        let price = Price::since(before, known.round, work);
        Ok(known.add_service(service, meaning, price))
    }

    /// The number of a port name.
    fn port<S: Subject>(&mut self, name: &str, known: &mut Known<S>, work: &mut Work) -> Result<u32, Excess> {
        if let Some(&number) = known.by_port.get(name) {
            known.ports[number as usize].price.pay(NAMED_PORTS, known.round, work)?;
            return Ok(number);
        }
        let before = Price::before(work);
        let inventory = self.index.inventory();
        let named = self.named.get_or_insert_with(|| {
            let mut named: HashMap<&str, Vec<(&NamedPort, &Entry)>> = HashMap::new();
            for entry in &inventory.entries {
                for port in &entry.ports {
                    named.entry(&port.name).or_default().push((port, entry));
                }
            }
            named
        });
        let mut by_number: BTreeMap<(u8, u16), Union> = BTreeMap::new();
        for (port, entry) in named.get(name).into_iter().flatten() {
            by_number.entry((port.protocol, port.port)).or_default().push(entry.extent());
        }
        let mut destinations = Vec::with_capacity(by_number.len());
        for (number, union) in by_number {
            let union = normalise(union);
            count(&union, work)?;
            destinations.push((number, known.unions.intern(Arc::new(union))));
        }
        let price = Price::since(before, known.round, work);
        let number = known.ports.len() as u32;
        known.ports.push(PortName { destinations, price });
        known.by_port.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// Pays for a service that is known.
pub(crate) fn pay_service<S: Subject>(number: u32, known: &mut Known<S>, work: &mut Work) -> Result<(), Excess> {
    let Known { services, ports, round, .. } = known;
    let service = &mut services[number as usize];
    if let Meaning::Named(port, _) = &service.meaning {
        ports[*port as usize].price.pay(NAMED_PORTS, *round, work)?;
    }
    service.price.pay(SERVICES, *round, work)
}

/// Pays for a list that is known, and gives who it is: [`NONE`] when nobody carries any of its subjects.
pub(crate) fn pay_list<S: Subject>(number: u32, known: &mut Known<S>, work: &mut Work) -> Result<u32, Excess> {
    if number == NONE {
        return Ok(EVERYONE);
    }
    let list = &mut known.lists[number as usize];
    list.price.pay(SUBJECTS, known.round, work)?;
    Ok(list.who)
}

fn single<S: Subject>(union: Union, known: &mut Known<S>) -> u32 {
    let union = known.unions.intern(Arc::new(union));
    known.whos.intern(&[union])
}

/// Counts what subjects are made of, which is a product of theirs and of those who carry them.
fn count(union: &[Extent], work: &mut Work) -> Result<(), Excess> {
    let marks =
        |e: &Extent| e.addresses.len() + e.except.len() + e.macs.len() + e.macs_off_ip.len() + e.interfaces.len();
    let marks = union.iter().map(marks).sum::<usize>();
    work.spend("subjects", marks.saturating_mul(MARK_STEPS))?;
    work.hold("subjects", marks.saturating_mul(MARK_BYTES))
}

/// Merges the extents without exceptions into one, so that equal unions intern alike.
fn normalise(union: Union) -> Union {
    let mut merged = Extent::default();
    let mut others = Vec::new();
    for extent in union {
        merged.macs.extend(extent.macs);
        merged.macs_off_ip.extend(extent.macs_off_ip);
        merged.interfaces.extend(extent.interfaces);
        if extent.except.is_empty() {
            merged.addresses.extend(extent.addresses);
        } else if !extent.addresses.is_empty() {
            let Extent { mut addresses, mut except, .. } = extent;
            addresses.sort_unstable();
            except.sort_unstable();
            others.push(Extent { addresses, except, ..Extent::default() });
        }
    }
    merged.addresses.sort_unstable();
    merged.addresses.dedup();
    merged.macs.sort_unstable();
    merged.macs.dedup();
    merged.macs_off_ip.sort_unstable();
    merged.macs_off_ip.dedup();
    merged.interfaces.sort_unstable();
    merged.interfaces.dedup();
    if merged != Extent::default() {
        others.push(merged);
    }
    others.sort_by(|a, b| (&a.addresses, &a.except).cmp(&(&b.addresses, &b.except)));
    others.dedup();
    others
}
