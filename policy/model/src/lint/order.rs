//! Rules against each other: what an earlier one covers, and where only the order decides.

use super::filed::Filed;
use super::{OVERLAP_LIMIT, WORK_LIMIT, cover, meet};
use crate::finding::{Code, Finding, quote};
use crate::rule::{Action, Rule};
use crate::set::{PolicySet, Spanned};
use crate::subject::AnySubject;
use crate::trace::{Direction, RuleRef};

/// A rule with what applies to it from its document.
pub(super) struct Listed<'s> {
    pub rule: &'s Spanned<Rule>,
    reference: RuleRef,
    direction: Direction,
    pub subject: &'s AnySubject,
}

impl Listed<'_> {
    fn covers(&self, other: &Self) -> bool {
        cover::subject(self.subject, other.subject)
            && cover::peers(self.rule.from.as_deref(), other.rule.from.as_deref())
            && cover::peers(self.rule.to.as_deref(), other.rule.to.as_deref())
            && cover::services(&self.rule.services, &other.rule.services)
    }

    /// Sets that the source and the destination of a packet must be in.
    fn ends(&self) -> [Vec<&[AnySubject]>; 2] {
        let mut ends: [Vec<&[AnySubject]>; 2] =
            [self.rule.from.as_deref().into_iter().collect(), self.rule.to.as_deref().into_iter().collect()];
        ends[usize::from(self.direction == Direction::Ingress)].push(std::slice::from_ref(self.subject));
        ends
    }

    fn meets(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.ends(), other.ends());
        let of_end = |end: usize| mine[end].iter().chain(&theirs[end]).copied().collect::<Vec<_>>();
        let (source, destination) = (of_end(0), of_end(1));
        // A packet has two addresses of one family.
        let blocks = || source.iter().chain(&destination).copied().flatten();
        let has = |v4: bool| {
            blocks().any(|subject| matches!(subject, AnySubject::Cidr(cidr) if cidr.block.addr().is_ipv4() == v4))
        };
        !(has(true) && has(false))
            && meet::ends(&source)
            && meet::ends(&destination)
            && meet::services(&self.rule.services, &other.rule.services)
    }
}

/// A peer list in brief: most pairs of rules are told apart by comparing these.
#[derive(Clone, Copy, PartialEq)]
enum Hull<'s> {
    /// Anyone, or too mixed to say.
    Wide,
    /// Blocks of one family: the lowest and the highest address.
    Blocks(bool, u128, u128),
    /// Subjects that meet only the same ones.
    Same(&'s [AnySubject]),
}

impl<'s> Hull<'s> {
    fn new(peers: &'s Option<Vec<AnySubject>>) -> Self {
        let Some(peers) = peers else { return Self::Wide };
        let mut hull: Option<Self> = None;
        for subject in peers {
            let AnySubject::Cidr(cidr) = subject else {
                let alike = peers.iter().all(|peer| !matches!(peer, AnySubject::Cidr(_) | AnySubject::Any(_)));
                return if alike { Self::Same(peers) } else { Self::Wide };
            };
            let v4 = cidr.block.addr().is_ipv4();
            let (low, high) = (number(cidr.block.network()), number(cidr.block.broadcast()));
            hull = Some(match hull {
                None => Self::Blocks(v4, low, high),
                Some(Self::Blocks(family, l, h)) if family == v4 => Self::Blocks(v4, l.min(low), h.max(high)),
                Some(_) => return Self::Wide,
            });
        }
        hull.unwrap_or(Self::Same(peers))
    }

    fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wide, _) | (_, Self::Wide) => true,
            (Self::Blocks(a, low, high), Self::Blocks(b, l, h)) => a == b && low <= h && l <= high,
            (Self::Same(a), Self::Same(b)) => a == b,
            _ => false,
        }
    }
}

fn number(address: std::net::IpAddr) -> u128 {
    match address {
        std::net::IpAddr::V4(address) => u32::from(address).into(),
        std::net::IpAddr::V6(address) => address.into(),
    }
}

/// What comparing two rules in full costs, in comparisons in brief.
const FULL: usize = 64;

/// Both lints of all lists.
pub(super) fn lint(set: &PolicySet, findings: &mut Vec<Finding>) {
    let mut order = Order { set, findings, work: 0, overlaps: 0 };
    for direction in [Direction::Ingress, Direction::Egress] {
        for tier in order.tiers(direction) {
            order.shadowed(&tier, |_, _| true);
            order.overlapping(&tier);
        }
        let mut rules = order.policies(direction);
        rules.sort_by_key(|listed| weight(listed.rule.action));
        order.shadowed(&rules, |earlier, later| {
            // Policies add up, so that two that allow the same are no mistake; but what a stronger
            // action covers, or the same document says twice, has no effect.
            weight(earlier.rule.action) < weight(later.rule.action) || same_policy(earlier, later)
        });
    }
    let (work, overlaps) = (order.work, order.overlaps);
    if work >= WORK_LIMIT || overlaps > OVERLAP_LIMIT {
        let message = if work >= WORK_LIMIT {
            format!("rules were not all compared with each other: the lints stopped after {WORK_LIMIT} comparisons")
        } else {
            format!("{overlaps} overlaps of allow and deny; {OVERLAP_LIMIT} are shown")
        };
        findings.push(Finding::new(Code::LintsStopped, crate::set::Location::default(), message));
    }
}

fn weight(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Audit => 1,
        Action::Allow | Action::Pass => 2,
    }
}

fn same_policy(a: &Listed<'_>, b: &Listed<'_>) -> bool {
    match (a.reference, b.reference) {
        (RuleRef::Policy { policy: a, .. }, RuleRef::Policy { policy: b, .. }) => a == b,
        _ => false,
    }
}

struct Order<'s, 'f> {
    set: &'s PolicySet,
    findings: &'f mut Vec<Finding>,
    work: usize,
    overlaps: usize,
}

impl<'s> Order<'s, '_> {
    fn tiers(&self, direction: Direction) -> Vec<Vec<Listed<'s>>> {
        let set = self.set;
        let mut tiers: Vec<Vec<Listed<'s>>> = Vec::new();
        let mut last = None;
        for (index, policy) in set.cluster_policies.iter().enumerate() {
            if last.replace(&policy.tier) != Some(&policy.tier) {
                tiers.push(Vec::new());
            }
            let rules = policy.rules(direction).iter().enumerate().map(|(position, rule)| Listed {
                rule,
                reference: RuleRef::Cluster { policy: index as u32, rule: position as u32 },
                direction,
                subject: &policy.subject,
            });
            if let Some(tier) = tiers.last_mut() {
                tier.extend(rules);
            }
        }
        tiers
    }

    fn policies(&self, direction: Direction) -> Vec<Listed<'s>> {
        let policies = self.set.policies.iter().enumerate();
        policies
            .flat_map(|(index, policy)| {
                let rules = policy.rules(direction).unwrap_or_default().iter().enumerate();
                rules.map(move |(position, rule)| Listed {
                    rule,
                    reference: RuleRef::Policy { policy: index as u32, rule: position as u32 },
                    direction,
                    subject: &policy.subject,
                })
            })
            .collect()
    }

    fn name(&self, listed: &Listed<'_>) -> String {
        quote(&listed.reference.name(self.set, listed.direction))
    }

    fn shadowed(&mut self, rules: &[Listed<'_>], counts: impl Fn(&Listed<'_>, &Listed<'_>) -> bool) {
        let mut filed = Filed::default();
        for (index, later) in rules.iter().enumerate() {
            let nobody = |peers: &Option<Vec<AnySubject>>| peers.as_ref().is_some_and(Vec::is_empty);
            if nobody(&later.rule.from) || nobody(&later.rule.to) {
                continue;
            }
            let mut found: Option<usize> = None;
            filed.above(later, |earlier| {
                self.work += FULL / 4;
                if counts(&rules[earlier], later) && rules[earlier].covers(later) {
                    found = Some(earlier);
                }
                found.is_none() && self.work < WORK_LIMIT
            });
            if found.is_none() && self.work >= WORK_LIMIT {
                return;
            }
            if let Some(earlier) = found {
                let earlier = &rules[earlier];
                let message = format!(
                    "the rule {} never decides: {} covers it and comes first",
                    self.name(later),
                    self.name(earlier)
                );
                let finding = Finding::new(Code::Shadowed, later.rule.location.clone(), message)
                    .related(earlier.rule.location.clone(), "this covers it")
                    .help("remove one of the two, or narrow the first");
                self.findings.push(finding);
                // What this rule covers, the earlier one covers too.
                continue;
            }
            filed.add(later, index);
        }
    }

    fn overlapping(&mut self, rules: &[Listed<'_>]) {
        let decides = |listed: &Listed<'_>| matches!(listed.rule.action, Action::Allow | Action::Deny);
        let hulls: Vec<_> =
            rules.iter().map(|listed| (Hull::new(&listed.rule.from), Hull::new(&listed.rule.to))).collect();
        let (mut allows, mut denies): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, later) in rules.iter().enumerate().filter(|(_, listed)| decides(listed)) {
            let allows_later = later.rule.action == Action::Allow;
            for &earlier in if allows_later { &denies } else { &allows } {
                self.work += 1;
                if self.work >= WORK_LIMIT {
                    return;
                }
                let (from, to) = &hulls[earlier];
                if !from.may_meet(&hulls[index].0) || !to.may_meet(&hulls[index].1) {
                    continue;
                }
                self.work += FULL;
                let earlier = &rules[earlier];
                // One inside the other is the exception before the rule, or a shadowed rule.
                if !earlier.meets(later) || later.covers(earlier) || earlier.covers(later) {
                    continue;
                }
                self.overlaps += 1;
                if self.overlaps <= OVERLAP_LIMIT {
                    let message = format!(
                        "{} and {} overlap, and one allows what the other denies: their order decides",
                        self.name(earlier),
                        self.name(later)
                    );
                    let finding = Finding::new(Code::Overlap, later.rule.location.clone(), message)
                        .related(earlier.rule.location.clone(), "this one comes first, and decides what both match")
                        .help("if that is meant, nothing needs to change; else narrow one of them");
                    self.findings.push(finding);
                }
                break;
            }
            if allows_later { allows.push(index) } else { denies.push(index) }
        }
    }
}
