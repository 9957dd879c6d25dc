//! Which rules one policy has beside another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::Inventory;
use gabion_policy_model::text::to_yaml;
use serde::Serialize;

use super::{compiled, open};
use crate::exit::Failure;
use crate::sources;

/// What changed, each with its text before and after.
#[derive(Debug, Default, Serialize)]
pub struct Diff {
    added: BTreeMap<String, String>,
    removed: BTreeMap<String, String>,
    changed: BTreeMap<String, Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    before: String,
    after: String,
}

/// Policy of a bundle, or of a file or folder.
pub fn policy(path: &Path) -> Result<PolicySet, Failure> {
    let layout = path.join("oci-layout").is_file();
    if layout || super::is_archive(path) {
        return compiled::policy(&open(path)?);
    }
    sources::load(&[path.to_owned()])
}

/// All that a policy says, piece by piece: each rule by its name, each entry of the inventory, the rest of each
/// document.
fn pieces(set: &PolicySet) -> BTreeMap<String, String> {
    let mut pieces = BTreeMap::new();
    let empty = PolicySet::default;
    if let Some(site) = &set.site {
        pieces.insert(format!("site {}", site.name), to_yaml(&PolicySet { site: Some(site.clone()), ..empty() }));
    }
    for entry in &set.inventory.entries {
        let inventory = Arc::new(Inventory { entries: vec![entry.clone()], ..Inventory::default() });
        pieces.insert(format!("inventory {}", entry.name), to_yaml(&PolicySet { inventory, ..empty() }));
    }
    for policy in &set.cluster_policies {
        let mut rest = policy.clone();
        let directions = [("ingress", std::mem::take(&mut rest.ingress)), ("egress", std::mem::take(&mut rest.egress))];
        for (direction, rules) in directions {
            for (place, rule) in rules.into_iter().enumerate() {
                let mut one = rest.clone();
                let name = format!("rule {}/{} ({direction})", policy.name, rule.name);
                if direction == "ingress" { &mut one.ingress } else { &mut one.egress }.push(rule);
                let text = to_yaml(&PolicySet { cluster_policies: vec![one], ..empty() });
                // The first that matches decides: its place is part of what it says.
                pieces.insert(name, format!("# place {}\n{text}", place + 1));
            }
        }
        pieces.insert(
            format!("cluster policy {}", policy.name),
            to_yaml(&PolicySet { cluster_policies: vec![rest], ..empty() }),
        );
    }
    for policy in &set.policies {
        let mut rest = policy.clone();
        let full = format!("{}/{}", policy.namespace, policy.name);
        let directions = [("ingress", rest.ingress.take()), ("egress", rest.egress.take())];
        for (direction, rules) in directions {
            let Some(rules) = rules else { continue };
            for rule in rules {
                let mut one = rest.clone();
                let name = format!("rule {full}/{} ({direction})", rule.name);
                *if direction == "ingress" { &mut one.ingress } else { &mut one.egress } = Some(vec![rule]);
                pieces.insert(name, to_yaml(&PolicySet { policies: vec![one], ..empty() }));
            }
            // That there are rules isolates, whichever they are.
            *if direction == "ingress" { &mut rest.ingress } else { &mut rest.egress } = Some(Vec::new());
        }
        pieces.insert(format!("policy {full}"), to_yaml(&PolicySet { policies: vec![rest], ..empty() }));
    }
    pieces
}

impl Diff {
    /// From one to the other.
    pub fn of(before: &PolicySet, after: &PolicySet) -> Self {
        let (mut before, after) = (pieces(before), pieces(after));
        let mut diff = Self::default();
        for (name, text) in after {
            match before.remove(&name) {
                None => drop(diff.added.insert(name, text)),
                Some(old) if old != text => drop(diff.changed.insert(name, Change { before: old, after: text })),
                Some(_) => {}
            }
        }
        diff.removed = before;
        diff
    }

    /// For people: names, and of what changed the lines that did.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (mark, all) in [("+", &self.added), ("-", &self.removed)] {
            text.extend(all.keys().map(|name| format!("{mark} {name}\n")));
        }
        for (name, change) in &self.changed {
            text += &format!("~ {name}\n");
            let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
            let (before, after) = (lines(&change.before), lines(&change.after));
            text.extend(before.iter().filter(|it| !after.contains(it)).map(|it| format!("    - {}\n", it.trim())));
            text.extend(after.iter().filter(|it| !before.contains(it)).map(|it| format!("    + {}\n", it.trim())));
        }
        if text.is_empty() { "no rule differs\n".to_owned() } else { text }
    }
}
