//! What two sets say differently: rule by rule, by their names and not by where they stand in files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::print;
use super::subject::Scope;
use crate::inventory::DEFAULT_NAMESPACE;
use crate::rule::Rule;
use crate::set::{Location, PolicySet, Spanned};
use crate::trace::{Direction, RuleRef};

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same at another place of a list in which the first match decides.
    Moved,
}

/// What can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The site.
    Site,
    /// A namespace of the inventory.
    Namespace,
    /// An entry of the inventory.
    Entry,
    /// Tier, order or subject of a cluster policy.
    ClusterPolicy,
    /// Subject of a policy, or which directions it isolates.
    Policy,
    /// A rule.
    Rule,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What it is.
    pub what: What,
    /// Its name; of a rule as events write it.
    pub name: String,
    /// Of a rule: `egress` or `ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// What became of it.
    pub kind: Kind,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where the text says so, `file:line:column`: the new text, or the old one of what is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Names of the two directions.
const DIRECTIONS: [(Direction, &str); 2] = [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")];

/// A key in the order in which differences are told.
type Key = (What, String, Option<&'static str>);

/// Makes the text of something.
type Text<'s> = Box<dyn Fn() -> String + 's>;

/// One thing of a set.
struct Item<'s> {
    /// What is compared before any text is made.
    rule: Option<&'s Rule>,
    text: Text<'s>,
    location: Option<&'s Location>,
    /// The list in which the first match decides, and the place there.
    place: Option<(usize, usize)>,
}

/// The differences between an old set and a new one, sorted by what they are and by name.
#[must_use]
pub fn diff(old: &PolicySet, new: &PolicySet) -> Vec<Change> {
    let (mut old, mut new) = (items(old), items(new));
    let moved = moved(&old, &new);
    let keys: BTreeSet<Key> = old.keys().chain(new.keys()).cloned().collect();
    let mut changes = Vec::new();
    for key in keys {
        let (before, after) = (old.remove(&key), new.remove(&key));
        let kind = match (&before, &after) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            (Some(before), Some(after)) => {
                let same = match (before.rule, after.rule) {
                    (Some(before), Some(after)) => before == after,
                    _ => (before.text)() == (after.text)(),
                };
                match (same, moved.contains(&key)) {
                    (true, false) => continue,
                    (true, true) => Kind::Moved,
                    (false, _) => Kind::Changed,
                }
            }
        };
        let location = after.as_ref().or(before.as_ref()).and_then(|item| item.location);
        let location = location.filter(|location| !location.source.is_empty());
        let text = |item: Option<Item<'_>>| item.map(|item| (item.text)());
        let (what, name, direction) = key;
        changes.push(Change {
            what,
            name,
            direction,
            kind,
            before: text(before),
            after: text(after),
            location: location.map(|at| format!("{}:{}:{}", at.source, at.line, at.column)),
        });
    }
    changes
}

fn items(set: &PolicySet) -> HashMap<Key, Item<'_>> {
    let mut items = HashMap::new();
    let mut plain = |what, name: &str, location, text| {
        items.insert((what, name.to_owned(), None), Item { rule: None, text, location, place: None });
    };
    if let Some(site) = &set.site {
        plain(What::Site, &site.name, None, Box::new(|| print::site_lines(site)) as Text<'_>);
    }
    for (name, labels) in &set.inventory.namespaces {
        plain(What::Namespace, name, None, Box::new(move || lines(|text| print::namespace(text, name, labels))));
    }
    for entry in &set.inventory.entries {
        let name = named(&entry.namespace, &entry.name);
        plain(What::Entry, &name, Some(&entry.location), Box::new(move || lines(|text| print::entry(text, entry))));
    }
    for policy in &set.cluster_policies {
        let text = Box::new(move || print::cluster_policy_lines(policy));
        plain(What::ClusterPolicy, &policy.name, Some(&policy.location), text);
    }
    for policy in &set.policies {
        let text = move || {
            let isolates = DIRECTIONS.iter().filter(|(direction, _)| policy.rules(*direction).is_some());
            let isolates: Vec<&str> = isolates.map(|(_, name)| *name).collect();
            format!("{}  isolates: [{}]\n", print::policy_lines(policy), isolates.join(", "))
        };
        plain(What::Policy, &named(&policy.namespace, &policy.name), Some(&policy.location), Box::new(text));
    }
    for (direction, key) in DIRECTIONS {
        for (at, policy) in set.cluster_policies.iter().enumerate() {
            let refer = |rule| RuleRef::Cluster { policy: at as u32, rule };
            rules(&mut items, set, (direction, key), policy.rules(direction), Scope::Cluster, Some(at), refer);
        }
        for (at, policy) in set.policies.iter().enumerate() {
            let refer = |rule| RuleRef::Policy { policy: at as u32, rule };
            let scope = Scope::Namespace(&policy.namespace);
            rules(&mut items, set, (direction, key), policy.rules(direction).unwrap_or(&[]), scope, None, refer);
        }
    }
    items
}

fn rules<'s>(
    items: &mut HashMap<Key, Item<'s>>,
    set: &PolicySet,
    (direction, key): (Direction, &'static str),
    rules: &'s [Spanned<Rule>],
    scope: Scope<'s>,
    list: Option<usize>,
    refer: impl Fn(u32) -> RuleRef,
) {
    for (index, rule) in rules.iter().enumerate() {
        let name = refer(index as u32).name(set, direction);
        let text = Box::new(move || lines(|text| print::rule(text, key, index, rule, scope)));
        // Of two lists in which the first match decides no other number is needed than one that tells them apart.
        let place = list.map(|list| (list * 2 + direction as usize, index));
        let item = Item { rule: Some(rule), text, location: Some(&rule.location), place };
        items.insert((What::Rule, name, Some(key)), item);
    }
}

fn lines(write: impl FnOnce(&mut String)) -> String {
    let mut text = String::new();
    write(&mut text);
    text
}

fn named(namespace: &str, name: &str) -> String {
    if namespace == DEFAULT_NAMESPACE { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Rules that stand elsewhere in their list than before, seen from those that kept their order: as few as possible.
fn moved(old: &HashMap<Key, Item<'_>>, new: &HashMap<Key, Item<'_>>) -> BTreeSet<Key> {
    let mut lists: BTreeMap<usize, Vec<(usize, usize, &Key)>> = BTreeMap::new();
    for (key, item) in new {
        let before = old.get(key).and_then(|item| item.place);
        if let (Some((_, before)), Some((list, after))) = (before, item.place) {
            lists.entry(list).or_default().push((after, before, key));
        }
    }
    let mut moved = BTreeSet::new();
    for mut list in lists.into_values() {
        list.sort_unstable();
        let before: Vec<usize> = list.iter().map(|&(_, before, _)| before).collect();
        let kept = longest_ascent(&before);
        let others = list.iter().enumerate().filter(|(at, _)| !kept.contains(at));
        moved.extend(others.map(|(_, (_, _, key))| (*key).clone()));
    }
    moved
}

/// Positions of a longest ascending subsequence of numbers that are all different.
fn longest_ascent(numbers: &[usize]) -> BTreeSet<usize> {
    // Of each length the position of the ascent that ends lowest; and before each position the one that it goes on
    // from.
    let mut ends: Vec<usize> = Vec::new();
    let mut from: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (at, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|&end| numbers[end] < *number);
        from.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    std::iter::successors(ends.last().copied(), |&at| from[at]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::text::{Source, parse};

    const OLD: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: plant}
spec: {interfaces: [{name: lan}], defaults: {ingress: deny, egress: allow}}
---
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: all}
spec: {entries: [{name: hmi, addresses: [10.0.0.1]}, {name: rtu, addresses: [10.0.0.2]}]}
---
apiVersion: gabion.dev/v1alpha1
kind: ClusterPolicy
metadata: {name: guard}
spec:
  tier: {name: t, order: 1}
  subject: any
  ingress:
    - {name: one, action: deny, services: [{protocol: tcp, ports: 23}]}
    - {name: two, action: allow, services: [{protocol: tcp, ports: 22}]}
    - {name: three, action: deny, services: [{protocol: udp, ports: 69}]}
---
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: rtu}
spec:
  subject: {cidr: 10.0.0.2/32}
  ingress:
    - {name: modbus, from: [{cidr: 10.0.0.1/32}], services: [{protocol: tcp, ports: 502}]}
    - {name: ping, services: [{icmp: echo-request}]}
";

    fn changes(edit: impl Fn(&str) -> String) -> Vec<String> {
        let read = |text: &str| parse(&[Source::new("policy", text.to_owned())]).unwrap();
        let (old, new) = (read(OLD), read(&edit(OLD)));
        let told = |change: &Change| {
            let direction = change.direction.map_or(String::new(), |name| format!(" {name}"));
            format!("{:?} {:?} {}{direction}", change.kind, change.what, change.name)
        };
        diff(&old, &new).iter().map(told).collect()
    }

    #[test]
    fn the_same_set_elsewhere_in_its_text_differs_in_nothing() {
        assert_eq!(changes(|text| format!("# A remark.\n{text}")), [""; 0]);
        assert_eq!(changes(|text| text.rsplit("---\n").collect::<Vec<_>>().join("\n---\n")), [""; 0]);
    }

    #[test]
    fn rules_are_told_apart_by_name() {
        let ping = "    - {name: ping, services: [{icmp: echo-request}]}\n";
        assert_eq!(changes(|text| text.replace(ping, "")), ["Removed Rule rtu/ping ingress"]);
        let tftp = "    - {name: tftp, services: [{protocol: udp, ports: 69}]}\n";
        assert_eq!(changes(|text| text.replace(ping, &(tftp.to_owned() + ping))), ["Added Rule rtu/tftp ingress"]);
        assert_eq!(changes(|text| text.replace("ports: 502", "ports: 503")), ["Changed Rule rtu/modbus ingress"]);
        assert_eq!(changes(|text| text.replace("10.0.0.2/32", "10.0.0.3/32")), ["Changed Policy rtu"]);
        assert_eq!(changes(|text| text.replace("order: 1", "order: 2")), ["Changed ClusterPolicy guard"]);
        assert_eq!(changes(|text| text.replace("[10.0.0.2]", "[10.0.0.3]")), ["Changed Entry rtu"]);
        assert_eq!(changes(|text| text.replace("egress: allow", "egress: deny")), ["Changed Site plant"]);
    }

    #[test]
    fn a_rule_that_passed_another_where_the_first_match_decides_moved() {
        let swapped = |text: &str| {
            text.replace("name: one", "name: x").replace("name: two", "name: one").replace("name: x", "name: two")
        };
        let found = changes(swapped);
        assert_eq!(found.len(), 2, "their contents changed with their names: {found:?}");
        let one = "    - {name: one, action: deny, services: [{protocol: tcp, ports: 23}]}\n";
        let last = |text: &str| {
            let three = "    - {name: three, action: deny, services: [{protocol: udp, ports: 69}]}\n";
            text.replace(one, "").replace(three, &(three.to_owned() + one))
        };
        assert_eq!(changes(last), ["Moved Rule guard/one ingress"]);
    }

    #[test]
    fn a_change_says_what_it_said_and_where_it_stands() {
        let read = |text: &str| parse(&[Source::new("policy", text.to_owned())]).unwrap();
        let found = diff(&read(OLD), &read(&OLD.replace("ports: 502", "ports: 503")));
        let [change] = &found[..] else { unreachable!("{found:?}") };
        assert!(change.before.as_deref().is_some_and(|text| text.contains("502")));
        assert!(change.after.as_deref().is_some_and(|text| text.contains("503")));
        assert_eq!(change.location.as_deref(), Some("policy:28:14"));
    }
}
