//! Counts of rules that outlive the generation that counted them.
//!
//! Each generation counts by rule number in maps of its own. Across generations a rule is its direction, tier and
//! name; what a generation counted is folded into a base when the next one takes over, so that the sum never falls.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_abi::verdict::Count;
use gabion_policy_compile::RuleInfo;
use gabion_policy_model::trace::Direction;
use serde::{Deserialize, Serialize};

use crate::api::wire::Amount;

/// A rule across generations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleKey {
    /// Full name.
    pub name: Arc<str>,
    /// Tier, `policy` or `default`.
    pub tier: Arc<str>,
    /// `ingress` or `egress`.
    pub direction: Cow<'static, str>,
}

/// A rule of a generation: what its number means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// What it is called.
    #[serde(flatten)]
    pub key: RuleKey,
    /// `allow`, `deny`, `audit` or `mixed`.
    pub action: Cow<'static, str>,
}

/// The word for a direction.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

/// The key of a compiled rule.
pub fn key_of(rule: &RuleInfo) -> RuleKey {
    let direction = direction_name(rule.direction).into();
    RuleKey { name: Arc::clone(&rule.name), tier: Arc::clone(&rule.tier), direction }
}

/// What earlier generations counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    counts: BTreeMap<RuleKey, Amount>,
}

/// One line of the base on disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct BaseEntry {
    #[serde(flatten)]
    key: RuleKey,
    #[serde(flatten)]
    amount: Amount,
}

/// Rules of earlier generations that are remembered; beyond it the ones that counted least are forgotten, so that
/// policies with generated names cannot fill the disk.
const REMEMBERED: usize = 65_536;

impl Base {
    /// Adds what a generation counted.
    pub fn fold(&mut self, names: &[RuleName], counts: &[Count]) {
        for (name, count) in names.iter().zip(counts) {
            if count.packets != 0 {
                *self.counts.entry(name.key.clone()).or_default() += amount(*count);
            }
        }
        if self.counts.len() > REMEMBERED {
            let mut packets: Vec<u64> = self.counts.values().map(|amount| amount.packets).collect();
            packets.sort_unstable_by(|a, b| b.cmp(a));
            let least = packets[REMEMBERED];
            self.counts.retain(|_, amount| amount.packets > least);
        }
    }

    /// What earlier generations counted of this rule.
    pub fn amount(&self, key: &RuleKey) -> Amount {
        self.counts.get(key).copied().unwrap_or_default()
    }

    /// All rules that counted something.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleKey, Amount)> {
        self.counts.iter().map(|(key, amount)| (key, *amount))
    }

    /// For the disk.
    pub fn entries(&self) -> Vec<BaseEntry> {
        self.counts.iter().map(|(key, amount)| BaseEntry { key: key.clone(), amount: *amount }).collect()
    }

    /// From the disk.
    pub fn from_entries(entries: Vec<BaseEntry>) -> Self {
        Self { counts: entries.into_iter().map(|entry| (entry.key, entry.amount)).collect() }
    }
}

/// As the API says it.
pub fn amount(count: Count) -> Amount {
    Amount { packets: count.packets, bytes: count.bytes }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn rule(name: &str) -> RuleName {
        let key = RuleKey { name: name.into(), tier: "policy".into(), direction: "ingress".into() };
        RuleName { key, action: "allow".into() }
    }

    fn count(packets: u64) -> Count {
        Count { packets, bytes: packets * 100 }
    }

    #[test]
    fn counts_follow_the_name_not_the_number() {
        let mut base = Base::default();
        base.fold(&[rule("a"), rule("b")], &[count(1), count(10)]);
        base.fold(&[rule("b"), rule("c")], &[count(5), count(0)]);
        assert_eq!(base.amount(&rule("a").key), Amount { packets: 1, bytes: 100 });
        assert_eq!(base.amount(&rule("b").key), Amount { packets: 15, bytes: 1500 });
        assert_eq!(base.iter().count(), 2, "a rule that counted nothing is not remembered");
    }

    #[test]
    fn a_base_survives_the_disk() {
        let mut base = Base::default();
        base.fold(&[rule("a")], &[count(3)]);
        let text = serde_json::to_string(&base.entries()).unwrap();
        assert_eq!(Base::from_entries(serde_json::from_str(&text).unwrap()), base);
    }
}
