//! Documents → one set: order, and what is wrong between documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::Document;
use hashbrown::HashMap;

use crate::finding::{Code, Finding, quote};
use crate::inventory::Inventory;
use crate::rule::{ClusterPolicy, Policy, Stage, Tier};
use crate::set::{Location, PolicySet};
use crate::site::Site;

/// Documents in the order of the text.
#[derive(Default)]
pub(crate) struct Gathered {
    policies: Vec<Policy>,
    cluster_policies: Vec<ClusterPolicy>,
    inventory: Inventory,
    /// The whole inventory, where it is known to be right.
    known_inventory: Option<Arc<Inventory>>,
    namespaces: BTreeMap<String, Location>,
    sites: Vec<Site>,
    documents: usize,
    findings: Vec<Finding>,
}

impl Gathered {
    /// Counts a document.
    pub fn count(&mut self) {
        self.documents += 1;
    }

    pub fn add(&mut self, document: Document) {
        self.count();
        match document {
            Document::Policy(policy) => self.policies.push(policy),
            Document::ClusterPolicy(policy) => self.cluster_policies.push(policy),
            Document::Site(site) => self.sites.push(*site),
            Document::Inventory(entries, namespaces) => {
                self.inventory.entries.extend(entries);
                for (name, labels, location) in namespaces {
                    if let Some(first) = self.namespaces.get(&name) {
                        self.findings.push(twice("namespace", &name, &location, first));
                        continue;
                    }
                    self.namespaces.insert(name.clone(), location);
                    self.inventory.namespaces.insert(name, labels);
                }
            }
        }
    }

    /// Takes an inventory that was gathered before, from all documents that there are of its kind.
    pub fn with_inventory(&mut self, inventory: Arc<Inventory>) {
        self.known_inventory = Some(inventory);
    }

    pub fn documents(&self) -> usize {
        self.documents
    }

    /// The set, in the order in which it is consulted.
    pub fn finish(mut self, findings: &mut Vec<Finding>) -> PolicySet {
        findings.append(&mut self.findings);
        self.names(findings);
        self.tiers(findings);
        let mut sites = self.sites.into_iter();
        let site = sites.next();
        if let Some(first) = &site {
            for second in sites {
                let message = format!("a second Site, {}", quote(&second.name));
                let finding = Finding::new(Code::SecondSite, second.location, message)
                    .related(first.location.clone(), "the first")
                    .help("a node has one place: merge the two documents");
                findings.push(finding);
            }
        }
        let mut set = PolicySet {
            policies: self.policies,
            cluster_policies: self.cluster_policies,
            inventory: self.known_inventory.unwrap_or_else(|| Arc::new(self.inventory)),
            site,
        };
        set.sort();
        set
    }

    fn names(&self, findings: &mut Vec<Finding>) {
        unique(
            self.policies.iter().map(|p| ((p.namespace.as_str(), p.name.as_str()), &p.location)),
            "Policy",
            findings,
        );
        unique(self.cluster_policies.iter().map(|p| (("", p.name.as_str()), &p.location)), "ClusterPolicy", findings);
        // None of an inventory that is known.
        let entries = self.inventory.entries.iter();
        unique(entries.map(|e| ((e.namespace.as_str(), e.name.as_str()), &e.location)), "entry", findings);
    }

    /// Documents of a tier agree about it.
    fn tiers(&self, findings: &mut Vec<Finding>) {
        let mut by_name: BTreeMap<&str, (&Tier, &Location)> = BTreeMap::new();
        for policy in &self.cluster_policies {
            let (first, location) = *by_name.entry(&policy.tier.name).or_insert((&policy.tier, &policy.location));
            if *first != policy.tier {
                let place = |tier: &Tier| format!("stage {}, order {}", stage_word(tier.stage), tier.order);
                let message = format!(
                    "the tier {} is at {} here, and at {} in another document",
                    quote(&first.name),
                    place(&policy.tier),
                    place(first)
                );
                let finding = Finding::new(Code::Tier, policy.location.clone(), message)
                    .related(location.clone(), "the other document")
                    .help("write the same stage and order in all documents of a tier");
                findings.push(finding);
            }
        }
    }
}

pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Emergency => "emergency",
        Stage::Admin => "admin",
        Stage::Baseline => "baseline",
    }
}

fn unique<'a>(
    names: impl Iterator<Item = ((&'a str, &'a str), &'a Location)>,
    what: &str,
    findings: &mut Vec<Finding>,
) {
    let mut seen = HashMap::new();
    for (name, location) in names {
        let first = *seen.entry(name).or_insert(location);
        if !std::ptr::eq(first, location) {
            let full = if name.0.is_empty() { name.1.to_owned() } else { format!("{}/{}", name.0, name.1) };
            findings.push(twice(what, &full, location, first));
        }
    }
}

fn twice(what: &str, name: &str, again: &Location, first: &Location) -> Finding {
    Finding::new(Code::DuplicateName, again.clone(), format!("the {what} {} stands twice", quote(name)))
        .label("again here")
        .related(first.clone(), "first here")
        .help("rename or remove one of them")
}

impl PolicySet {
    /// Puts policies into the order in which they are consulted, as [`PolicySet`] promises. For
    /// those who build a set by other means than text.
    pub fn sort(&mut self) {
        self.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.cluster_policies.sort_by(|a, b| {
            let key = |p: &ClusterPolicy| (p.tier.stage, p.tier.order, p.order);
            let (ka, kb) = (key(a), key(b));
            (ka.0, ka.1, &a.tier.name, ka.2, &a.name).cmp(&(kb.0, kb.1, &b.tier.name, kb.2, &b.name))
        });
    }
}
