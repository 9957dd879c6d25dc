//! Which ends carry which subjects: the implementations of [`Subject`].

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::index::{Index, Positions};
use crate::inventory::{Entry, Inventory, NAMESPACE_NAME_LABEL};
use crate::subject::{
    Any, AnySubject, Cidr, End, Extent, InterfaceName, LabelSelector, LabelTest, Labels, Mac, Namespaces,
    ServiceAccount, SpiffeMatch, SpiffePath, Subject, split_spiffe,
};

impl Entry {
    /// Whether an end of a packet is this entry; see [`Entry`].
    #[must_use]
    pub fn is(&self, end: &End<'_>) -> bool {
        if let Some(address) = end.address
            && !self.addresses.is_empty()
        {
            return self.addresses.contains(&address);
        }
        if !self.macs.is_empty() {
            return end.mac.is_some_and(|mac| self.macs.contains(&mac));
        }
        self.addresses.is_empty() && end.interface.is_some_and(|name| self.interfaces.iter().any(|i| i == name))
    }

    /// What the entry covers, in terms of packets.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let mut extent =
            Extent { addresses: self.addresses.iter().map(|&a| IpNet::from(a)).collect(), ..Extent::default() };
        if self.addresses.is_empty() {
            extent.macs.clone_from(&self.macs);
        } else {
            extent.macs_off_ip.clone_from(&self.macs);
        }
        if self.addresses.is_empty() && self.macs.is_empty() {
            extent.interfaces.clone_from(&self.interfaces);
        }
        extent
    }
}

impl LabelSelector {
    /// Whether labels pass all tests.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.passes(|key| labels.get(key).map(String::as_str))
    }

    fn passes<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> bool {
        let among = |values: &[String], value: &str| values.iter().any(|listed| listed == value);
        self.match_labels.iter().all(|(key, value)| value_of(key) == Some(value))
            && self.match_expressions.iter().all(|test| match test {
                LabelTest::In(key, values) => value_of(key).is_some_and(|value| among(values, value)),
                LabelTest::NotIn(key, values) => value_of(key).is_none_or(|value| !among(values, value)),
                LabelTest::Exists(key) => value_of(key).is_some(),
                LabelTest::DoesNotExist(key) => value_of(key).is_none(),
            })
    }

    fn describe(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let tests = self.match_expressions.iter().map(|test| match test {
            LabelTest::In(key, values) => format!("{key} in ({})", values.join(", ")),
            LabelTest::NotIn(key, values) => format!("{key} not in ({})", values.join(", ")),
            LabelTest::Exists(key) => format!("{key} exists"),
            LabelTest::DoesNotExist(key) => format!("{key} does not exist"),
        });
        labels.chain(tests).collect::<Vec<_>>().join(", ")
    }
}

impl Namespaces {
    /// Whether a namespace is searched.
    #[must_use]
    pub fn cover(&self, namespace: &str, inventory: &Inventory) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => name == namespace,
            Self::Matching(selector) => inventory.namespace_passes(namespace, selector),
        }
    }
}

impl Inventory {
    /// Whether the labels of a namespace pass all tests.
    pub(crate) fn namespace_passes(&self, namespace: &str, selector: &LabelSelector) -> bool {
        let listed = self.namespaces.get(namespace);
        selector.passes(|key| match key {
            NAMESPACE_NAME_LABEL => Some(namespace),
            key => listed?.get(key).map(String::as_str),
        })
    }
}

/// A subject that is a property of inventory entries.
pub(crate) trait EntrySubject {
    fn holds(&self, entry: &Entry, inventory: &Inventory) -> bool;

    /// All whom this holds of, and perhaps others.
    fn candidates<'x>(&self, index: &'x Index<'_>) -> Positions<'x>;

    /// How much of an entry [`Self::holds`] looks at.
    fn looks(&self) -> usize {
        1
    }
}

impl EntrySubject for Labels {
    fn holds(&self, entry: &Entry, inventory: &Inventory) -> bool {
        self.selector.matches(&entry.labels) && self.namespaces.cover(&entry.namespace, inventory)
    }

    fn candidates<'x>(&self, index: &'x Index<'_>) -> Positions<'x> {
        index.labelled(&self.selector, &self.namespaces)
    }

    fn looks(&self) -> usize {
        let of = |selector: &LabelSelector| selector.match_labels.len() + selector.match_expressions.len();
        let inside = if let Namespaces::Matching(selector) = &self.namespaces { of(selector) } else { 0 };
        1 + of(&self.selector) + inside
    }
}

impl EntrySubject for ServiceAccount {
    fn holds(&self, entry: &Entry, _: &Inventory) -> bool {
        entry.service_account.as_ref() == Some(&self.name)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == entry.namespace)
    }

    fn candidates<'x>(&self, index: &'x Index<'_>) -> Positions<'x> {
        index.with_account(self)
    }
}

impl SpiffeMatch {
    /// Whether a SPIFFE ID is meant.
    #[must_use]
    pub fn matches(&self, id: &str) -> bool {
        let Some((domain, path)) = split_spiffe(id) else { return false };
        domain == self.trust_domain
            && match &self.path {
                SpiffePath::Any => true,
                SpiffePath::Exact(exact) => path == exact,
                SpiffePath::Prefix(prefix) => {
                    path.strip_prefix(prefix.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/'))
                }
            }
    }
}

impl EntrySubject for SpiffeMatch {
    fn holds(&self, entry: &Entry, _: &Inventory) -> bool {
        entry.spiffe_id.as_deref().is_some_and(|id| self.matches(id))
    }

    fn candidates<'x>(&self, index: &'x Index<'_>) -> Positions<'x> {
        index.identified(self)
    }
}

macro_rules! subject_of_entries {
    ($kind:ty, |$subject:ident| $describe:expr) => {
        impl Subject for $kind {
            fn carried_by(&self, end: &End<'_>, inventory: &Inventory) -> bool {
                inventory.entries.iter().any(|entry| entry.is(end) && self.holds(entry, inventory))
            }

            fn extents(&self, index: &Index<'_>) -> Vec<Extent> {
                self.entries(index).into_iter().map(|position| index.at(position).extent()).collect()
            }

            fn entries(&self, index: &Index<'_>) -> Vec<u32> {
                index.filter(&self.candidates(index), self.looks(), |entry| self.holds(entry, index.inventory()))
            }

            fn describe(&self) -> String {
                let $subject = self;
                $describe
            }
        }
    };
}

subject_of_entries!(Labels, |labels| {
    let namespaces = match &labels.namespaces {
        Namespaces::All => String::new(),
        Namespaces::Named(name) => format!(" in namespace {name}"),
        Namespaces::Matching(selector) => format!(" in namespaces {{{}}}", selector.describe()),
    };
    format!("labels {{{}}}{namespaces}", labels.selector.describe())
});
subject_of_entries!(ServiceAccount, |account| match &account.namespace {
    Some(namespace) => format!("service account {namespace}/{}", account.name),
    None => format!("service account {}", account.name),
});
subject_of_entries!(SpiffeMatch, |spiffe| match &spiffe.path {
    SpiffePath::Any => format!("spiffe://{}/*", spiffe.trust_domain),
    SpiffePath::Exact(path) => format!("spiffe://{}{path}", spiffe.trust_domain),
    SpiffePath::Prefix(path) => format!("spiffe://{}{path}/*", spiffe.trust_domain),
});

impl Subject for Any {
    fn carried_by(&self, _: &End<'_>, _: &Inventory) -> bool {
        true
    }

    fn extents(&self, _: &Index<'_>) -> Vec<Extent> {
        vec![Extent { any: true, ..Extent::default() }]
    }

    fn entries(&self, index: &Index<'_>) -> Vec<u32> {
        (0..index.inventory().entries.len() as u32).collect()
    }

    fn describe(&self) -> String {
        "any".to_owned()
    }
}

impl Subject for Cidr {
    fn carried_by(&self, end: &End<'_>, _: &Inventory) -> bool {
        end.address.is_some_and(|address| {
            self.block.contains(&address) && !self.except.iter().any(|except| except.contains(&address))
        })
    }

    fn extents(&self, _: &Index<'_>) -> Vec<Extent> {
        vec![Extent { addresses: vec![self.block], except: self.except.clone(), ..Extent::default() }]
    }

    fn entries(&self, index: &Index<'_>) -> Vec<u32> {
        index.filter(&index.in_block(&self.block), 1 + self.except.len(), |entry| {
            let end = |&address| End { address: Some(address), ..End::default() };
            entry.addresses.iter().any(|address| self.carried_by(&end(address), index.inventory()))
        })
    }

    fn describe(&self) -> String {
        if self.except.is_empty() {
            return self.block.to_string();
        }
        let except: Vec<_> = self.except.iter().map(IpNet::to_string).collect();
        format!("{} except {}", self.block, except.join(", "))
    }
}

impl Subject for Mac {
    fn carried_by(&self, end: &End<'_>, _: &Inventory) -> bool {
        end.mac == Some(*self)
    }

    fn extents(&self, _: &Index<'_>) -> Vec<Extent> {
        vec![Extent { macs: vec![*self], ..Extent::default() }]
    }

    fn entries(&self, index: &Index<'_>) -> Vec<u32> {
        index.with_mac(*self).to_vec()
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

impl Subject for InterfaceName {
    fn carried_by(&self, end: &End<'_>, _: &Inventory) -> bool {
        end.interface == Some(self.0.as_str())
    }

    fn extents(&self, _: &Index<'_>) -> Vec<Extent> {
        vec![Extent { interfaces: vec![self.0.clone()], ..Extent::default() }]
    }

    fn entries(&self, index: &Index<'_>) -> Vec<u32> {
        index.behind(&self.0).to_vec()
    }

    fn describe(&self) -> String {
        format!("interface {}", self.0)
    }
}

impl AnySubject {
    /// The subject, if it is a property of inventory entries.
    pub(crate) fn of_entries(&self) -> Option<&dyn EntrySubject> {
        match self {
            Self::Labels(subject) => Some(subject),
            Self::ServiceAccount(subject) => Some(subject),
            Self::Spiffe(subject) => Some(subject),
            Self::Any(_) | Self::Cidr(_) | Self::Mac(_) | Self::Interface(_) => None,
        }
    }
}

macro_rules! delegate {
    ($self:ident, $subject:ident => $call:expr) => {
        match $self {
            AnySubject::Any($subject) => $call,
            AnySubject::Labels($subject) => $call,
            AnySubject::ServiceAccount($subject) => $call,
            AnySubject::Spiffe($subject) => $call,
            AnySubject::Cidr($subject) => $call,
            AnySubject::Mac($subject) => $call,
            AnySubject::Interface($subject) => $call,
        }
    };
}

impl Subject for AnySubject {
    fn carried_by(&self, end: &End<'_>, inventory: &Inventory) -> bool {
        delegate!(self, subject => subject.carried_by(end, inventory))
    }

    fn extents(&self, index: &Index<'_>) -> Vec<Extent> {
        delegate!(self, subject => subject.extents(index))
    }

    fn entries(&self, index: &Index<'_>) -> Vec<u32> {
        delegate!(self, subject => subject.entries(index))
    }

    fn describe(&self) -> String {
        delegate!(self, subject => subject.describe())
    }
}
