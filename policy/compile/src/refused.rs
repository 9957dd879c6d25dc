//! Why a policy does not fit, and which of its rules are the reason.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use gabion_policy_model::PolicySet;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::subject::{Extent, Subject};
use gabion_policy_model::trace::{Direction, RuleRef};

use crate::canonical::Normal;
use crate::ends::End;
use crate::normal::Item;

/// Why a policy cannot be compiled: it is fine as such, but does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What does not fit.
    pub excess: Excess,
    /// The documents whose rules have the greatest part in it, most first.
    pub causes: Vec<Cause>,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// The list of a direction is too long.
    #[error("the policy needs more than {limit} plain rules in one direction once tiers and `pass` are resolved")]
    TooManyItems {
        /// The limit.
        limit: usize,
    },
    /// Too many tiers lead to one another.
    #[error("more than {limit} tiers `pass` to one another")]
    TooManyPasses {
        /// The limit.
        limit: usize,
    },
    /// The tables are too large.
    #[error("the policy's {what} need at least {need} bytes, the limit is {limit}")]
    TooManyBytes {
        /// Which tables.
        what: &'static str,
        /// Bytes needed, as far as they were counted.
        need: usize,
        /// The limit.
        limit: usize,
    },
    /// More classes than an entry can number.
    #[error("the policy's {what} need {need} classes, the limit is {limit}")]
    TooManyClasses {
        /// Which tables.
        what: &'static str,
        /// Classes needed.
        need: usize,
        /// The limit.
        limit: usize,
    },
    /// Working out the tables would take too long.
    #[error("the policy's {what} need more than {limit} steps to work out (at least {need})")]
    TooMuchWork {
        /// Which tables.
        what: &'static str,
        /// Steps needed, as far as they were counted.
        need: usize,
        /// The limit.
        limit: usize,
    },
    /// Working out the tables would take too much memory.
    #[error("the policy's {what} need more than {limit} bytes of memory to work out (at least {need})")]
    TooMuchMemory {
        /// Which tables.
        what: &'static str,
        /// Bytes needed, as far as they were counted.
        need: usize,
        /// The limit.
        limit: usize,
    },
}

impl Excess {
    fn remedy(&self) -> &'static str {
        match self {
            Self::TooManyItems { .. } => "use fewer `pass` rules before long tiers, or fewer rules",
            Self::TooManyPasses { .. } => "use fewer tiers, or fewer `pass` rules that others follow in their tier",
            Self::TooManyBytes { .. } => {
                "raise the table budget (--table-bytes), or narrow rules that combine wide and narrow blocks"
            }
            Self::TooManyClasses { .. } => "use fewer distinct services",
            Self::TooMuchWork { .. } | Self::TooMuchMemory { .. } => {
                "use fewer distinct conditions, or conditions that overlap less"
            }
        }
    }
}

/// A document whose rules are a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Kind and name of the document.
    pub document: String,
    /// Where it stands.
    pub location: Location,
    /// Rules of it that have a part.
    pub rules: usize,
    /// What they amount to, in [`Self::unit`]s.
    pub amount: u64,
    /// What was counted.
    pub unit: &'static str,
    /// The rule with the greatest part, and where it stands.
    pub first: Option<(String, Location)>,
}

/// Documents that an error names.
const NAMED: usize = 3;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.excess)?;
        for (number, cause) in self.causes.iter().enumerate() {
            f.write_str(if number == 0 { "; most of it comes from " } else { ", then " })?;
            write!(f, "{cause}")?;
        }
        write!(f, "; {}", self.excess.remedy())
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, location, rules, amount, unit, first } = self;
        write!(f, "{document}")?;
        let place = |f: &mut fmt::Formatter<'_>, location: &Location| {
            if location.source.is_empty() { Ok(()) } else { write!(f, " at {}:{}", location.source, location.line) }
        };
        place(f, location)?;
        write!(f, " ({rules} {}, {amount} {unit}", if *rules == 1 { "rule" } else { "rules" })?;
        if let Some((name, location)) = first {
            write!(f, ", above all {name}")?;
            place(f, location)?;
        }
        f.write_str(")")
    }
}

/// Weights of rules, gathered by document.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    by_rule: BTreeMap<(Document, bool, u32), u64>,
}

/// A document by kind and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Document {
    Cluster(u32),
    Policy(u32),
    /// Defaults by subject.
    Site,
}

impl Weights {
    /// Adds what a rule amounts to. Defaults of the site that speak of anyone are no one's fault.
    pub fn add(&mut self, reference: RuleRef, direction: Direction, amount: u64) {
        let (document, rule) = match reference {
            RuleRef::Cluster { policy, rule } => (Document::Cluster(policy), rule),
            RuleRef::Policy { policy, rule } => (Document::Policy(policy), rule),
            RuleRef::Isolation { policy } => (Document::Policy(policy), u32::MAX),
            RuleRef::SubjectDefault { index } => (Document::Site, index),
            _ => return,
        };
        let sum = self.by_rule.entry((document, direction == Direction::Ingress, rule)).or_insert(0);
        *sum = sum.saturating_add(amount);
    }

    /// The documents with the greatest sums.
    pub fn causes<S: Subject>(&self, set: &PolicySet<S>, unit: &'static str) -> Vec<Cause> {
        struct Sum {
            amount: u64,
            rules: usize,
            most: (u64, bool, u32),
        }
        let mut sums: BTreeMap<Document, Sum> = BTreeMap::new();
        for (&(document, ingress, rule), &amount) in self.by_rule.iter().filter(|&(_, &amount)| amount > 0) {
            let sum = sums.entry(document).or_insert(Sum { amount: 0, rules: 0, most: (0, ingress, rule) });
            sum.amount = sum.amount.saturating_add(amount);
            sum.rules += 1;
            if amount > sum.most.0 {
                sum.most = (amount, ingress, rule);
            }
        }
        let mut sums: Vec<(Document, Sum)> = sums.into_iter().collect();
        sums.sort_by_key(|(document, sum)| (std::cmp::Reverse(sum.amount), *document));
        // Who has less than a tenth of what the first has is no reason.
        let most = sums.first().map_or(0, |(_, sum)| sum.amount);
        sums.retain(|(_, sum)| sum.amount >= most / 10);
        sums.truncate(NAMED);
        sums.into_iter()
            .map(|(document, Sum { amount, rules, most: (_, ingress, rule) })| {
                let (name, location) = document.place(set);
                let first = document.rule(set, ingress, rule);
                Cause { document: name, location, rules, amount, unit, first }
            })
            .collect()
    }
}

impl Document {
    fn place<S: Subject>(self, set: &PolicySet<S>) -> (String, Location) {
        match self {
            Self::Cluster(at) => {
                let policy = &set.cluster_policies[at as usize];
                (format!("ClusterPolicy {}", policy.name), policy.location.clone())
            }
            Self::Policy(at) => {
                let policy = &set.policies[at as usize];
                (format!("Policy {}/{}", policy.namespace, policy.name), policy.location.clone())
            }
            Self::Site => {
                let site = set.site.as_ref();
                let name = site.map_or_else(|| "Site".to_owned(), |site| format!("Site {}", site.name));
                (name, site.map(|site| site.location.clone()).unwrap_or_default())
            }
        }
    }

    /// A rule by position; none for the isolation that a policy brings.
    fn rule<S: Subject>(self, set: &PolicySet<S>, ingress: bool, at: u32) -> Option<(String, Location)> {
        let named = |rules: &[Spanned<Rule<S>>]| {
            let rule = rules.get(at as usize)?;
            Some((rule.name.clone(), rule.location.clone()))
        };
        match self {
            Self::Cluster(policy) => {
                let policy = &set.cluster_policies[policy as usize];
                named(if ingress { &policy.ingress } else { &policy.egress })
            }
            Self::Policy(policy) => {
                let policy = &set.policies[policy as usize];
                named(if ingress { policy.ingress.as_deref() } else { policy.egress.as_deref() }?)
            }
            Self::Site => None,
        }
    }
}

/// What the subjects of one end amount to: address ranges, MACs and interfaces of each, counted for the rule that names
/// them first.
pub(crate) fn of_ends(normal: &Normal, end: End) -> Weights {
    let mut weights = Weights::default();
    let mut seen = HashSet::new();
    let marks =
        |e: &Extent| e.addresses.len() + e.except.len() + e.macs.len() + e.macs_off_ip.len() + e.interfaces.len();
    for (direction, item) in both(normal) {
        for &union in normal.whos.get(end.of(item)) {
            if seen.insert(union) {
                let amount: usize = normal.unions[union as usize].iter().map(marks).sum();
                weights.add(item.reference, direction, amount as u64);
            }
        }
    }
    weights
}

/// What services amount to: ranges of their fields, counted for the rule that names them first.
pub(crate) fn of_services(normal: &Normal) -> Weights {
    let mut weights = Weights::default();
    let mut seen = HashSet::new();
    for (direction, item) in both(normal) {
        for &term in normal.whats.get(item.what) {
            if seen.insert(term) {
                let amount = normal.terms[term as usize].ranges();
                weights.add(item.reference, direction, amount as u64);
            }
        }
    }
    weights
}

fn both(normal: &Normal) -> impl Iterator<Item = (Direction, &Item)> {
    let egress = normal.egress.iter().map(|item| (Direction::Egress, item));
    egress.chain(normal.ingress.iter().map(|item| (Direction::Ingress, item)))
}
