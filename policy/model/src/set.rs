//! What a folder of documents amounts to.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::inventory::Inventory;
use crate::rule::{ClusterPolicy, Policy, Rule};
use crate::site::{Defaults, Interface, Site, SubjectDefault};
use crate::subject::{AnySubject, Subject};

/// Where something stands in the text: for errors and lints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// Name of the source (a path, or `<stdin>`); empty for what was not read from text.
    pub source: Arc<str>,
    /// Byte offset into the source.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// A value with its place in the text. Cloning shares the value; writing to it takes a copy first when others share it.
#[derive(Debug)]
pub struct Spanned<T> {
    value: Arc<T>,
    /// Where the text says so.
    pub location: Location,
}

impl<T> Spanned<T> {
    /// A value that stands here.
    #[must_use]
    pub fn new(value: T, location: Location) -> Self {
        Self { value: Arc::new(value), location }
    }

    /// The value, to be shared.
    #[must_use]
    pub const fn shared(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T> From<T> for Spanned<T> {
    /// A value that no text says.
    fn from(value: T) -> Self {
        Self::new(value, Location::default())
    }
}

impl<T> Clone for Spanned<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), location: self.location.clone() }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> DerefMut for Spanned<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.value)
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location && same_value(self, other)
    }
}

impl<T: Eq> Eq for Spanned<T> {}

/// Whether both are equal, wherever they stand.
fn same_value<T: PartialEq>(this: &Spanned<T>, that: &Spanned<T>) -> bool {
    Arc::ptr_eq(&this.value, &that.value) || this.value == that.value
}

/// All documents, typed and cross-checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySet<S: Subject = AnySubject> {
    /// `Policy` documents, by namespace and name.
    pub policies: Vec<Policy<S>>,
    /// `ClusterPolicy` documents in the order in which they are consulted: stage, tier order, tier
    /// name, policy order, policy name.
    pub cluster_policies: Vec<ClusterPolicy<S>>,
    /// Everyone known.
    pub inventory: Arc<Inventory>,
    /// The site; none when no document says.
    pub site: Option<Site<S>>,
}

impl<S: Subject> Default for PolicySet<S> {
    fn default() -> Self {
        Self { policies: Vec::new(), cluster_policies: Vec::new(), inventory: Arc::default(), site: None }
    }
}

impl<S: Subject> PolicySet<S> {
    /// Whether the other one says the same, wherever in its text, but for who carries which subjects.
    #[must_use]
    pub fn differs_in_inventory_only(&self, other: &Self) -> bool {
        let sites = match (&self.site, &other.site) {
            (Some(site), Some(other)) => same_site(site, other),
            (None, None) => true,
            _ => false,
        };
        sites
            && same(&self.policies, &other.policies, same_policy)
            && same(&self.cluster_policies, &other.cluster_policies, same_cluster_policy)
    }
}

// Each takes the fields by their names, so that one that is added cannot be forgotten.

fn same<T>(these: &[T], those: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    these.len() == those.len() && these.iter().zip(those).all(|(this, that)| same(this, that))
}

fn same_policy<S: Subject>(this: &Policy<S>, that: &Policy<S>) -> bool {
    let Policy { name, namespace, subject, ingress, egress, location: _ } = this;
    let rules = |these: &Option<Vec<Spanned<Rule<S>>>>, those: &Option<Vec<Spanned<Rule<S>>>>| match (these, those) {
        (Some(these), Some(those)) => same(these, those, same_value),
        (None, None) => true,
        _ => false,
    };
    (name, namespace, subject) == (&that.name, &that.namespace, &that.subject)
        && rules(ingress, &that.ingress)
        && rules(egress, &that.egress)
}

fn same_cluster_policy<S: Subject>(this: &ClusterPolicy<S>, that: &ClusterPolicy<S>) -> bool {
    let ClusterPolicy { name, tier, order, subject, ingress, egress, location: _ } = this;
    (name, tier, order, subject) == (&that.name, &that.tier, &that.order, &that.subject)
        && same(ingress, &that.ingress, same_value)
        && same(egress, &that.egress, same_value)
}

fn same_site<S: Subject>(this: &Site<S>, that: &Site<S>) -> bool {
    let Site { name, interfaces, defaults, mode, failsafe, events, connections, health, gatekeeper, location: _ } =
        this;
    let same_interface = |this: &Interface, that: &Interface| {
        let Interface { name, role, addresses, location: _ } = this;
        (name, role, addresses) == (&that.name, &that.role, &that.addresses)
    };
    let same_default = |this: &SubjectDefault<S>, that: &SubjectDefault<S>| {
        let SubjectDefault { subject, ingress, egress, location: _ } = this;
        (subject, ingress, egress) == (&that.subject, &that.ingress, &that.egress)
    };
    let Defaults { ingress, egress, subjects, link_control, unparsed } = defaults;
    let others = &that.defaults;
    (name, mode, failsafe, events, connections, health, gatekeeper)
        == (&that.name, &that.mode, &that.failsafe, &that.events, &that.connections, &that.health, &that.gatekeeper)
        && (ingress, egress, link_control, unparsed)
            == (&others.ingress, &others.egress, &others.link_control, &others.unparsed)
        && same(interfaces, &that.interfaces, same_interface)
        && same(subjects, &others.subjects, same_default)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::text::{Source, parse};

    const TEXT: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: plant}
spec:
  entries:
    - {name: a, labels: {role: hmi}, addresses: [10.0.0.1]}
---
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: p}
spec:
  subject: {cidr: 10.0.0.2/32}
  ingress:
    - {name: r, action: allow, from: [{labels: {role: hmi}}]}
---
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: s}
spec:
  interfaces: [{name: eth0}]
";

    #[test]
    fn what_changes_beside_the_inventory_is_seen() {
        let read = |text: &str| parse(&[Source::new("x.yaml", text)]).unwrap();
        let before = read(TEXT);
        for (from, to, only) in [
            ("10.0.0.1]", "10.0.0.1, 10.0.0.9]", true),
            ("{role: hmi}, addresses", "{role: relay}, addresses", true),
            ("name: plant", "name: plant # and a comment\n", true),
            ("action: allow", "action: deny", false),
            ("name: r,", "name: q,", false),
            ("name: r,", "name: r, log: true,", false),
            ("10.0.0.2/32", "10.0.0.3/32", false),
            ("[{labels: {role: hmi}}]", "[{labels: {role: relay}}]", false),
            ("name: eth0", "name: eth1", false),
            ("name: s}", "name: t}", false),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let after = read(&TEXT.replace(from, to));
            assert_eq!(before.differs_in_inventory_only(&after), only, "{from} -> {to}");
        }
    }
}
