//! Rule sets, with a trace for each and the verdicts that belong to it.

mod classbench;
mod segments;

use std::path::PathBuf;

use gabion_policy_model::PolicySet;
use gabion_policy_model::service::Service;
use gabion_policy_model::set::Spanned;
use ipnet::Ipv4Net;

use crate::Failure;
use crate::header::Header;

pub use segments::{Segment, Segments};

/// Packets of a full trace.
pub const FLOWS: usize = 32_768;

/// How the rules of a set are written for Gabion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As they are: what they let through makes a connection.
    Stateful,
    /// The same verdicts, and no rule makes a connection.
    Stateless,
    /// Every rule denies, and so do the defaults.
    Deny,
}

/// A rule as all who decide understand it: the first line that matches decides.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who sends.
    pub source: Ipv4Net,
    /// Who receives.
    pub destination: Ipv4Net,
    /// What is sent: one of these, or anything when there is none.
    pub services: Vec<Service>,
    /// Whether the packet passes.
    pub pass: bool,
}

/// A rule set.
pub struct RuleSet {
    /// Its name.
    pub name: String,
    /// Number of rules in the source.
    pub rules: usize,
    /// All rules that can match, in order.
    pub lines: Vec<Line>,
    /// What becomes of packets that no line matches.
    pub default_pass: bool,
    /// The identities, where the set has them.
    pub segments: Option<Segments>,
    /// [`FLOWS`] packets, half of them at the edges of rules, half at random.
    pub trace: Vec<Header>,
    /// Whether each passes.
    pub expected: Vec<bool>,
    policies: PolicySet,
}

impl RuleSet {
    /// The rules as a policy.
    #[must_use]
    pub fn policies(&self, variant: Variant) -> PolicySet {
        use gabion_policy_model::rule::{Action, Rule};
        use gabion_policy_model::site::DefaultAction;
        let mut set = self.policies.clone();
        let change = |rule: &mut Spanned<Rule>| match variant {
            Variant::Stateful => {}
            Variant::Stateless => rule.stateless = true,
            Variant::Deny => rule.action = Action::Deny,
        };
        for policy in &mut set.policies {
            policy.ingress.iter_mut().chain(&mut policy.egress).flatten().for_each(change);
        }
        for policy in &mut set.cluster_policies {
            policy.ingress.iter_mut().chain(&mut policy.egress).for_each(change);
        }
        if variant == Variant::Stateless && self.default_pass {
            // What no rule speaks of passes, and a default keeps state: a last rule that does not.
            if let Some(policy) = set.cluster_policies.last_mut()
                && let Some(last) = policy.ingress.last().cloned()
            {
                let (name, services) = ("anything-else".to_owned(), Vec::new());
                let all = Rule { name, action: Action::Allow, from: None, to: None, services, ..(*last).clone() };
                policy.ingress.push(all.into());
            }
        }
        if variant == Variant::Deny {
            set.site.get_or_insert_default().defaults.ingress = DefaultAction::Deny;
        }
        set
    }

    /// How many of the trace's packets pass.
    #[must_use]
    pub fn passing(&self) -> usize {
        self.expected.iter().filter(|&&pass| pass).count()
    }

    /// What `variant` decides on the trace.
    #[must_use]
    pub fn expected(&self, variant: Variant) -> Vec<bool> {
        if variant == Variant::Deny { vec![false; self.trace.len()] } else { self.expected.clone() }
    }
}

/// Where a rule set comes from; making it takes its time.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// A ClassBench filter set in this file.
    ClassBench(PathBuf),
    /// So many rules between as many identities.
    Segments(usize),
}

impl Recipe {
    /// All there are, in the order in which they are measured. `data` holds the folder `classbench`.
    #[must_use]
    pub fn all(data: &std::path::Path) -> Vec<Self> {
        let mut found: Vec<Self> = [10, 100, 1_000, 10_000, 100_000].map(Self::Segments).into();
        let folder = data.join("classbench");
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_none()).collect();
        files.sort_by_key(|path| (path.metadata().map_or(0, |data| data.len()) > 1 << 18, path.clone()));
        found.extend(files.into_iter().map(Self::ClassBench));
        found
    }

    /// The set's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::ClassBench(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Segments(rules) if rules % 1_000 == 0 => format!("segments_{}k", rules / 1_000),
            Self::Segments(rules) => format!("segments_{rules}"),
        }
    }

    /// Makes it.
    pub fn make(&self) -> Result<RuleSet, Failure> {
        match self {
            Self::ClassBench(path) => classbench::read(&self.name(), path),
            Self::Segments(rules) => segments::make(&self.name(), *rules),
        }
    }
}
