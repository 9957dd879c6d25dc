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
        let by_name = |values: &[(String, i128)]| values.iter().cloned().collect::<BTreeMap<_, _>>();
        let (olds, news, retired) = (by_name(&old.values), by_name(&new.values), by_name(&old.retired));
        // Who had a number, and who has it now without having had a name before.
        let had = old.retired.iter().chain(old.values.iter().rev());
        let holders: BTreeMap<i128, &str> = had.map(|(name, value)| (*value, name.as_str())).collect();
        let fresh: Vec<_> = new.values.iter().filter(|(name, _)| !olds.contains_key(name)).collect();
        let heirs: BTreeMap<i128, &str> = fresh.iter().rev().map(|(name, value)| (*value, name.as_str())).collect();
        for (name, value) in &old.values {
            let path = format!("{path}.{name}");
            let was = Some(value.to_string());
            if let Some(now) = news.get(name) {
                self.said(&path, was, Some(now.to_string()), |_| (Verdict::Breaking, Rule::Renumbered));
                continue;
            }
            let heir = heirs.get(value);
            let rule = if heir.is_some() { Rule::Renamed } else { Rule::Deleted };
            self.push(Verdict::Breaking, &path, was, heir.map(|heir| format!("{heir} = {value}")), rule);
        }
        for (name, value) in fresh {
            let path = format!("{path}.{name}");
            let is = Some(value.to_string());
            let before = retired.get(name);
            match holders.get(value) {
                // It is back.
                _ if before == Some(value) => self.push(Verdict::Compatible, &path, None, is, Rule::Added),
                _ if before.is_some() => {
                    let was = before.map(|value| format!("{value} retired"));
                    self.push(Verdict::Breaking, &path, was, is, Rule::Renumbered);
                }
                // Told as the new name of the one that is gone.
                Some(holder)
                    if olds.contains_key(*holder)
                        && !news.contains_key(*holder)
                        && heirs.get(value) == Some(&name.as_str()) => {}
                Some(holder) => {
                    self.push(Verdict::Breaking, &path, Some(format!("{holder} = {value}")), is, Rule::Reused);
                }
                None => self.push(Verdict::Compatible, &path, None, is, Rule::Added),
            }
        }
    }
}
