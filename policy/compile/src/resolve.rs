//! Subjects and services as rules name them → unions and terms, each worked out once.

use std::collections::BTreeMap;

use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::subject::{Extent, Subject};
use hashbrown::HashMap;

use crate::Excess;
use crate::normal::{Normal, Union, What, Who};
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

/// What a service says of packets.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// One term; none when it matches nothing.
    Plain(Option<u32>),
    /// A named port: the destinations that have it, and what it is there.
    Named(Vec<(u32, What)>),
}

/// Protocol and number of a named port, and the union of those where it is that.
type Destinations = ((u8, u16), u32);

/// What was found out about subjects and services so far.
#[derive(Debug)]
pub(crate) struct Resolver<'s, S> {
    index: Index<'s>,
    whos: HashMap<&'s [S], Option<Who>>,
    services: HashMap<&'s Service, Meaning>,
    /// Entries by port name.
    named: HashMap<&'s str, Vec<(&'s NamedPort, &'s Entry)>>,
    /// What each port name stands for.
    destinations: HashMap<&'s str, Vec<Destinations>>,
}

impl<'s, S: Subject> Resolver<'s, S> {
    pub fn new(inventory: &'s Inventory) -> Self {
        let mut named: HashMap<&str, Vec<(&NamedPort, &Entry)>> = HashMap::new();
        for entry in &inventory.entries {
            for port in &entry.ports {
                named.entry(&port.name).or_default().push((port, entry));
            }
        }
        Self {
            index: Index::new(inventory),
            whos: HashMap::new(),
            services: HashMap::new(),
            named,
            destinations: HashMap::new(),
        }
    }

    /// A list of subjects; none when nobody carries any of them.
    pub fn who(
        &mut self,
        subjects: Option<&'s [S]>,
        normal: &mut Normal,
        work: &mut Work,
    ) -> Result<Option<Who>, Excess> {
        let Some(subjects) = subjects else { return Ok(Some(Who::new())) };
        if let Some(known) = self.whos.get(subjects) {
            return Ok(known.clone());
        }
        let mut union = Union::new();
        for subject in subjects {
            let before = self.index.looks();
            let extents = subject.extents(&self.index);
            let looks = self.index.looks() - before;
            work.spend("subjects", looks.saturating_mul(LOOK_STEPS))?;
            count(&extents, work)?;
            union.extend(extents);
        }
        let who = if union.iter().any(|extent| extent.any) {
            Some(Who::new())
        } else {
            let union = normalise(union);
            (!union.is_empty()).then(|| vec![normal.unions.intern(union)])
        };
        self.whos.insert(subjects, who.clone());
        Ok(who)
    }

    /// A service.
    pub fn service(&mut self, service: &'s Service, normal: &mut Normal, work: &mut Work) -> Result<&Meaning, Excess> {
        if !self.services.contains_key(service) {
            let meaning = match &service.ports {
                Some(PortMatch::Named(name)) => Meaning::Named(self.named(service, name, normal, work)?),
                _ => {
                    let term = term::of_service(service, None);
                    work.spend("services", term.as_ref().map_or(0, Term::ranges) * RANGE_STEPS)?;
                    Meaning::Plain(term.map(|term| normal.terms.intern(term)))
                }
            };
            self.services.insert(service, meaning);
        }
        Ok(&self.services[service])
    }

    fn named(
        &mut self,
        service: &Service,
        name: &'s str,
        normal: &mut Normal,
        work: &mut Work,
    ) -> Result<Vec<(u32, What)>, Excess> {
        if !self.destinations.contains_key(name) {
            let mut by_number: BTreeMap<(u8, u16), Union> = BTreeMap::new();
            for (port, entry) in self.named.get(name).into_iter().flatten() {
                by_number.entry((port.protocol, port.port)).or_default().push(entry.extent());
            }
            let mut destinations = Vec::with_capacity(by_number.len());
            for (number, union) in by_number {
                let union = normalise(union);
                count(&union, work)?;
                destinations.push((number, normal.unions.intern(union)));
            }
            self.destinations.insert(name, destinations);
        }
        let term = |protocol: u8, port: u16| {
            let number = RangeSet::from_range(u32::from(port)..=u32::from(port));
            term::of_service(service, Some((protocol, number)))
        };
        work.spend("named ports", self.destinations[name].len().saturating_mul(PORT_STEPS))?;
        let destinations = self.destinations[name].iter().map(|&((protocol, port), union)| {
            (union, term(protocol, port).map(|term| normal.terms.intern(term)).into_iter().collect())
        });
        Ok(destinations.collect())
    }
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
