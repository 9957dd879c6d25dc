//! Who carries what, looked up rather than searched for.
//!
//! A policy names as many subjects as there are identities, so that going through the inventory for each would cost
//! their product. A table here gives those who may carry a subject; whether they do is asked of the subject.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;

use crate::inventory::{Entry, Inventory, NAMESPACE_NAME_LABEL};
use crate::subject::{
    LabelSelector, LabelTest, Mac, Namespaces, ServiceAccount, SpiffeMatch, SpiffePath, split_spiffe,
};

/// Positions of entries, ascending.
#[derive(Debug)]
pub(crate) enum Positions<'x> {
    /// Of all of them, this many.
    All(u32),
    Listed(Cow<'x, [u32]>),
}

impl Positions<'_> {
    pub fn count(&self) -> usize {
        match self {
            Self::All(count) => *count as usize,
            Self::Listed(list) => list.len(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let (all, listed) = match self {
            Self::All(count) => (*count, &[][..]),
            Self::Listed(list) => (0, &**list),
        };
        (0..all).chain(listed.iter().copied())
    }
}

/// An inventory with tables of its entries, each made when it is first needed.
#[derive(Debug)]
pub struct Index<'i> {
    inventory: &'i Inventory,
    labels: OnceLock<ByLabel<'i>>,
    namespaces: OnceLock<ByNamespace<'i>>,
    accounts: OnceLock<HashMap<&'i str, Vec<u32>>>,
    /// Trust domain, path and position of those with a SPIFFE ID, sorted.
    identities: OnceLock<Vec<(&'i str, &'i str, u32)>>,
    addresses: OnceLock<Vec<(IpAddr, u32)>>,
    macs: OnceLock<HashMap<Mac, Vec<u32>>>,
    interfaces: OnceLock<HashMap<&'i str, Vec<u32>>>,
    /// Properties of entries that were looked at, one by one.
    looks: AtomicUsize,
}

impl<'i> Index<'i> {
    /// The index of an inventory.
    #[must_use]
    pub fn new(inventory: &'i Inventory) -> Self {
        Self {
            inventory,
            labels: OnceLock::new(),
            namespaces: OnceLock::new(),
            accounts: OnceLock::new(),
            identities: OnceLock::new(),
            addresses: OnceLock::new(),
            macs: OnceLock::new(),
            interfaces: OnceLock::new(),
            looks: AtomicUsize::new(0),
        }
    }

    /// How many properties of entries had to be looked at one by one so far, for all subjects that were looked up.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// What is indexed.
    #[must_use]
    pub const fn inventory(&self) -> &'i Inventory {
        self.inventory
    }

    /// Positions of the candidates for whom this holds, which takes so many looks at each.
    pub(crate) fn filter(&self, candidates: &Positions<'_>, looks: usize, holds: impl Fn(&Entry) -> bool) -> Vec<u32> {
        self.looks.fetch_add(candidates.count().saturating_mul(looks), Ordering::Relaxed);
        candidates.iter().filter(|&position| holds(self.at(position))).collect()
    }

    /// The entry at a position.
    ///
    /// # Panics
    /// If there are not that many entries.
    #[must_use]
    pub fn at(&self, position: u32) -> &'i Entry {
        &self.inventory.entries[position as usize]
    }

    /// Those who may pass a selector in some namespaces: all who pass, and others.
    pub(crate) fn labelled(&self, selector: &LabelSelector, namespaces: &Namespaces) -> Positions<'_> {
        let by_label = self.labels.get_or_init(|| {
            let entries = self.inventory.entries.iter();
            ByLabel::new(entries.map(|entry| entry.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
        });
        let labelled = by_label.rarest(selector);
        let count = labelled.as_ref().map_or(usize::MAX, Lists::count);
        let inside = match namespaces {
            Namespaces::All => None,
            Namespaces::Named(name) => Some(Lists(vec![self.namespaces().entries_of(name)])),
            Namespaces::Matching(wanted) => self.namespaces().matching(wanted, count),
        };
        match (labelled, inside) {
            (Some(labelled), Some(inside)) if inside.count() < labelled.count() => inside.merge(),
            (Some(lists), _) | (None, Some(lists)) => lists.merge(),
            (None, None) => Positions::All(self.inventory.entries.len() as u32),
        }
    }

    /// Those who may have a service account.
    pub(crate) fn with_account(&self, account: &ServiceAccount) -> Positions<'_> {
        let accounts =
            self.accounts.get_or_init(|| posted(self.inventory, |entry| entry.service_account.as_deref().into_iter()));
        let named = list(accounts, account.name.as_str());
        let inside = account.namespace.as_ref().map(|namespace| self.namespaces().entries_of(namespace));
        Positions::Listed(Cow::Borrowed(inside.filter(|inside| inside.len() < named.len()).unwrap_or(named)))
    }

    /// Those who may have a SPIFFE ID that is meant.
    pub(crate) fn identified(&self, spiffe: &SpiffeMatch) -> Positions<'_> {
        let identities = self.identities.get_or_init(|| {
            let entries = (0..).zip(&self.inventory.entries);
            let mut identities: Vec<_> = entries
                .filter_map(|(position, entry)| {
                    let (domain, path) = split_spiffe(entry.spiffe_id.as_deref()?)?;
                    Some((domain, path, position))
                })
                .collect();
            identities.sort_unstable();
            identities
        });
        let domain = spiffe.trust_domain.as_str();
        let (path, exact) = match &spiffe.path {
            SpiffePath::Any => ("", false),
            SpiffePath::Exact(path) => (path.as_str(), true),
            SpiffePath::Prefix(path) => (path.as_str(), false),
        };
        let start = identities.partition_point(|&(d, p, _)| (d, p) < (domain, path));
        let meant = |d: &str, p: &str| d == domain && if exact { p == path } else { p.starts_with(path) };
        let rest = &identities[start..];
        let end = rest.partition_point(|&(d, p, _)| meant(d, p));
        let mut positions: Vec<u32> = rest[..end].iter().map(|&(.., position)| position).collect();
        positions.sort_unstable();
        Positions::Listed(Cow::Owned(positions))
    }

    /// Those who have an address in a block.
    pub(crate) fn in_block(&self, block: &IpNet) -> Positions<'_> {
        let addresses = self.addresses.get_or_init(|| {
            let entries = (0..).zip(&self.inventory.entries);
            let mut addresses: Vec<_> = entries
                .flat_map(|(position, entry)| entry.addresses.iter().map(move |&address| (address, position)))
                .collect();
            addresses.sort_unstable();
            addresses
        });
        let start = addresses.partition_point(|&(address, _)| address < block.network());
        let end = addresses.partition_point(|&(address, _)| address <= block.broadcast());
        let mut positions: Vec<u32> = addresses[start..end].iter().map(|&(_, position)| position).collect();
        positions.sort_unstable();
        positions.dedup();
        Positions::Listed(Cow::Owned(positions))
    }

    /// Those who have a MAC address.
    pub(crate) fn with_mac(&self, mac: Mac) -> &[u32] {
        let macs = self.macs.get_or_init(|| posted(self.inventory, |entry| entry.macs.iter().copied()));
        list(macs, &mac)
    }

    /// Those who are behind an interface.
    pub(crate) fn behind(&self, interface: &str) -> &[u32] {
        let interfaces =
            self.interfaces.get_or_init(|| posted(self.inventory, |entry| entry.interfaces.iter().map(String::as_str)));
        list(interfaces, interface)
    }

    fn namespaces(&self) -> &ByNamespace<'i> {
        self.namespaces.get_or_init(|| ByNamespace::new(self.inventory))
    }
}

fn list<'x, K, Q>(lists: &'x HashMap<K, Vec<u32>>, key: &Q) -> &'x [u32]
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    lists.get(key).map_or(&[], Vec::as_slice)
}

/// Positions of entries by what they have.
fn posted<'i, K, I>(inventory: &'i Inventory, has: impl Fn(&'i Entry) -> I) -> HashMap<K, Vec<u32>>
where
    K: std::hash::Hash + Eq,
    I: Iterator<Item = K>,
{
    let mut lists: HashMap<K, Vec<u32>> = HashMap::new();
    for (position, entry) in (0..).zip(&inventory.entries) {
        for key in has(entry) {
            push(lists.entry(key).or_default(), position);
        }
    }
    lists
}

fn push(list: &mut Vec<u32>, position: u32) {
    if list.last() != Some(&position) {
        list.push(position);
    }
}

/// Lists of positions whose union is meant.
struct Lists<'x>(Vec<&'x [u32]>);

impl<'x> Lists<'x> {
    fn count(&self) -> usize {
        self.0.iter().map(|list| list.len()).sum()
    }

    fn merge(self) -> Positions<'x> {
        if let [only] = self.0[..] {
            return Positions::Listed(Cow::Borrowed(only));
        }
        let mut merged = self.0.concat();
        merged.sort_unstable();
        merged.dedup();
        Positions::Listed(Cow::Owned(merged))
    }
}

/// Positions of whatever has labels.
#[derive(Debug, Default)]
struct ByLabel<'i> {
    keys: HashMap<&'i str, OfKey<'i>>,
}

/// Those who have a label, whatever its value, and by its value.
#[derive(Debug, Default)]
struct OfKey<'i> {
    all: Vec<u32>,
    by_value: HashMap<&'i str, Vec<u32>>,
}

impl<'i> ByLabel<'i> {
    fn new<L: Iterator<Item = (&'i str, &'i str)>>(labelled: impl Iterator<Item = L>) -> Self {
        let mut index = Self::default();
        for (position, labels) in (0..).zip(labelled) {
            for (key, value) in labels {
                let of_key = index.keys.entry(key).or_default();
                of_key.all.push(position);
                of_key.by_value.entry(value).or_default().push(position);
            }
        }
        index
    }

    fn pair(&self, key: &str, value: &str) -> &[u32] {
        self.keys.get(key).map_or(&[], |of_key| list(&of_key.by_value, value))
    }

    /// Those who pass the one test of a selector that the fewest pass; none when it asks for no label to be there.
    fn rarest(&self, selector: &LabelSelector) -> Option<Lists<'_>> {
        let labels = selector.match_labels.iter().map(|(key, value)| Lists(vec![self.pair(key, value)]));
        let tests = selector.match_expressions.iter().filter_map(|test| match test {
            LabelTest::In(key, values) => Some(Lists(values.iter().map(|value| self.pair(key, value)).collect())),
            LabelTest::Exists(key) => Some(Lists(vec![self.keys.get(key.as_str()).map_or(&[], |of_key| &of_key.all)])),
            LabelTest::NotIn(..) | LabelTest::DoesNotExist(_) => None,
        });
        labels.chain(tests).min_by_key(Lists::count)
    }
}

/// Entries by namespace, and namespaces by their labels.
#[derive(Debug)]
struct ByNamespace<'i> {
    inventory: &'i Inventory,
    by_name: HashMap<&'i str, u32>,
    /// Name and entries, in the order in which the entries name them.
    known: Vec<(&'i str, Vec<u32>)>,
    labels: ByLabel<'i>,
}

impl<'i> ByNamespace<'i> {
    fn new(inventory: &'i Inventory) -> Self {
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        let mut known: Vec<(&str, Vec<u32>)> = Vec::new();
        for (position, entry) in (0..).zip(&inventory.entries) {
            let number = *by_name.entry(&entry.namespace).or_insert_with(|| {
                known.push((&entry.namespace, Vec::new()));
                known.len() as u32 - 1
            });
            known[number as usize].1.push(position);
        }
        let labels = ByLabel::new(known.iter().map(|&(name, _)| {
            let listed = inventory.namespaces.get(name).into_iter().flatten();
            let others = listed.filter(|(key, _)| *key != NAMESPACE_NAME_LABEL);
            others.map(|(key, value)| (key.as_str(), value.as_str())).chain([(NAMESPACE_NAME_LABEL, name)])
        }));
        Self { inventory, by_name, known, labels }
    }

    fn entries_of(&self, name: &str) -> &[u32] {
        self.by_name.get(name).map_or(&[], |&number| &self.known[number as usize].1)
    }

    /// Entries of the namespaces that pass a selector; none when finding those takes more than `effort`.
    fn matching(&self, selector: &LabelSelector, effort: usize) -> Option<Lists<'_>> {
        let candidates = self.labels.rarest(selector);
        if candidates.as_ref().map_or(self.known.len(), Lists::count) > effort {
            return None;
        }
        let candidates = candidates.map_or(Positions::All(self.known.len() as u32), Lists::merge);
        let known = candidates.iter().map(|number| &self.known[number as usize]);
        let matching = known.filter(|(name, _)| self.inventory.namespace_passes(name, selector));
        Some(Lists(matching.map(|(_, entries)| entries.as_slice()).collect()))
    }
}
