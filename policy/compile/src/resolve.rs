//! Subjects and services as rules name them → unions and terms, each worked out once.

use std::collections::BTreeMap;

use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::subject::{Extent, Subject};
use hashbrown::HashMap;

use crate::Refused;
use crate::normal::{Normal, Union, What, Who};
use crate::term;

/// Addresses, MACs and interfaces that all subjects may have together: some 300 MiB of them. More takes a policy where
/// very many subjects are each carried by very many.
const MARK_LIMIT: usize = 16 << 20;

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
    marks: usize,
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
            marks: 0,
        }
    }

    /// A list of subjects; none when nobody carries any of them.
    pub fn who(&mut self, subjects: Option<&'s [S]>, normal: &mut Normal) -> Result<Option<Who>, Refused> {
        let Some(subjects) = subjects else { return Ok(Some(Who::new())) };
        if let Some(known) = self.whos.get(subjects) {
            return Ok(known.clone());
        }
        let mut union = Union::new();
        for subject in subjects {
            union.extend(subject.extents(&self.index));
        }
        let who = if union.iter().any(|extent| extent.any) {
            Some(Who::new())
        } else {
            let union = normalise(union);
            self.count(&union)?;
            (!union.is_empty()).then(|| vec![normal.unions.intern(union)])
        };
        self.whos.insert(subjects, who.clone());
        Ok(who)
    }

    /// A service.
    pub fn service(&mut self, service: &'s Service, normal: &mut Normal) -> Result<&Meaning, Refused> {
        if !self.services.contains_key(service) {
            let meaning = match &service.ports {
                Some(PortMatch::Named(name)) => Meaning::Named(self.named(service, name, normal)?),
                _ => Meaning::Plain(term::of_service(service, None).map(|term| normal.terms.intern(term))),
            };
            self.services.insert(service, meaning);
        }
        Ok(&self.services[service])
    }

    fn named(&mut self, service: &Service, name: &'s str, normal: &mut Normal) -> Result<Vec<(u32, What)>, Refused> {
        if !self.destinations.contains_key(name) {
            let mut by_number: BTreeMap<(u8, u16), Union> = BTreeMap::new();
            for (port, entry) in self.named.get(name).into_iter().flatten() {
                by_number.entry((port.protocol, port.port)).or_default().push(entry.extent());
            }
            let mut destinations = Vec::with_capacity(by_number.len());
            for (number, union) in by_number {
                let union = normalise(union);
                self.count(&union)?;
                destinations.push((number, normal.unions.intern(union)));
            }
            self.destinations.insert(name, destinations);
        }
        let term = |protocol: u8, port: u16| {
            let number = RangeSet::from_range(u32::from(port)..=u32::from(port));
            term::of_service(service, Some((protocol, number)))
        };
        let destinations = self.destinations[name].iter().map(|&((protocol, port), union)| {
            (union, term(protocol, port).map(|term| normal.terms.intern(term)).into_iter().collect())
        });
        Ok(destinations.collect())
    }

    fn count(&mut self, union: &Union) -> Result<(), Refused> {
        let marks =
            |e: &Extent| e.addresses.len() + e.except.len() + e.macs.len() + e.macs_off_ip.len() + e.interfaces.len();
        self.marks += union.iter().map(marks).sum::<usize>();
        if self.marks > MARK_LIMIT {
            return Err(Refused::TooMuchWork { what: "subjects", need: self.marks, limit: MARK_LIMIT });
        }
        Ok(())
    }
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
