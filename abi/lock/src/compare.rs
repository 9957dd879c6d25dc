//! Two versions, held to the rules.

mod maps;
mod records;

use std::collections::BTreeMap;

use crate::model::{Enum, Lock};
use crate::rules::{Change, Rule, Verdict};

/// Every change from one version to the next: of sets, services, records, enums, maps and sections, each by name, and
/// within them in the order of the older one.
#[must_use]
pub fn compare(old: &Lock, new: &Lock) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    let order = |lock: &Lock| Some(if lock.big_endian { "big" } else { "little" }.to_owned());
    if old.big_endian != new.big_endian {
        changes.push(Verdict::Breaking, "order", order(old), order(new), Rule::Order);
    }
    let version = |version: &u32| format!("version {version}");
    for (name, was, is) in pairs(&old.sets, &new.sets) {
        let verdict = Verdict::Breaking;
        changes.said(&format!("set {name}"), was.map(version), is.map(version), |_| (verdict, Rule::Meaning));
    }
    for (name, was, is) in pairs(&old.services, &new.services) {
        let path = format!("service {name}");
        let other = was.zip(is).is_some_and(|(was, is)| was.version == is.version);
        let rule = if other { Rule::Payload } else { Rule::Meaning };
        let text = |one: &gabion_contracts::Service| one.to_string();
        changes.said(&path, was.map(text), is.map(text), |_| (Verdict::Breaking, rule));
    }
    changes.records(old, new);
    for (word, olds, news) in [("numbers", &old.numbers, &new.numbers), ("enum", &old.enums, &new.enums)] {
        for (name, was, is) in pairs(olds, news) {
            changes.values(&format!("{word} {name}"), was, is);
        }
    }
    for (name, was, is) in pairs(&old.maps, &new.maps) {
        changes.map(name, was, is);
    }
    for (name, was, is) in pairs(&old.sections, &new.sections) {
        changes.section(name, was, is);
    }
    changes.0
}

/// What either side has, by name.
fn pairs<'m, T>(
    old: &'m BTreeMap<String, T>,
    new: &'m BTreeMap<String, T>,
) -> impl Iterator<Item = (&'m str, Option<&'m T>, Option<&'m T>)> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().map(|name| (name.as_str(), old.get(name), new.get(name)))
}

struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, verdict: Verdict, path: &str, was: Option<String>, is: Option<String>, rule: Rule) {
        self.0.push(Change { verdict, path: path.to_owned(), was, is, rule });
    }

    /// What is new is compatible, what is gone breaks; of the rest `rule` decides.
    fn said(
        &mut self,
        path: &str,
        was: Option<String>,
        is: Option<String>,
        rule: impl FnOnce(&Self) -> (Verdict, Rule),
    ) {
        let (verdict, rule) = match (&was, &is) {
            _ if was == is => return,
            (None, _) => (Verdict::Compatible, Rule::Added),
            (_, None) => (Verdict::Breaking, Rule::Deleted),
            _ => rule(self),
        };
        self.push(verdict, path, was, is, rule);
    }

    fn values(&mut self, path: &str, old: Option<&Enum>, new: Option<&Enum>) {
        let text = |found: &Enum| format!("names of numbers of {} bytes", found.size);
        self.said(path, old.map(text), new.map(text), |_| (Verdict::Breaking, Rule::Resized));
        let (Some(old), Some(new)) = (old, new) else { return };
        let values = |found: &Enum| found.values.iter().cloned().collect::<BTreeMap<_, _>>();
        let (olds, news) = (values(old), values(new));
        // Who had a number, and who has it now without having had a name before.
        let holders: BTreeMap<i128, &str> =
            old.values.iter().rev().map(|(name, value)| (*value, name.as_str())).collect();
        let heirs: BTreeMap<i128, &str> = new
            .values
            .iter()
            .rev()
            .filter(|(name, _)| !olds.contains_key(name))
            .map(|(name, value)| (*value, name.as_str()))
            .collect();
        for (value_name, value) in &old.values {
            let path = format!("{path}.{value_name}");
            let was = Some(value.to_string());
            match news.get(value_name) {
                Some(now) => {
                    let is = Some(now.to_string());
                    self.said(&path, was, is, |_| (Verdict::Breaking, Rule::Renumbered));
                }
                None => {
                    let heir = heirs.get(value);
                    let rule = if heir.is_some() { Rule::Renamed } else { Rule::Deleted };
                    self.push(Verdict::Breaking, &path, was, heir.map(|heir| format!("{heir} = {value}")), rule);
                }
            }
        }
        for (value_name, value) in new.values.iter().filter(|(name, _)| !olds.contains_key(name)) {
            let path = format!("{path}.{value_name}");
            match holders.get(value) {
                // Told as the new name of the one that is gone.
                Some(holder) if !news.contains_key(*holder) && heirs.get(value) == Some(&value_name.as_str()) => {}
                Some(holder) => {
                    let was = Some(format!("{holder} = {value}"));
                    self.push(Verdict::Breaking, &path, was, Some(value.to_string()), Rule::Reused);
                }
                None => self.push(Verdict::Compatible, &path, None, Some(value.to_string()), Rule::Added),
            }
        }
    }
}
