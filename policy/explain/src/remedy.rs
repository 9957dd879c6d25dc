//! What would have let a denied packet pass: a document to paste, tried with the oracle before it is shown.

use gabion_abi::facts;
use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::Entry;
use gabion_policy_model::oracle::{Action, Decision, decide};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{self, ClusterPolicy, Policy, Rule, Stage, Tier};
use gabion_policy_model::service::{FragmentMatch, PortMatch, Service};
use gabion_policy_model::set::Location;
use gabion_policy_model::subject::{
    Any, AnySubject, Cidr, End, InterfaceName, LabelSelector, Labels, Namespaces, ServiceAccount, SpiffeMatch,
    SpiffePath, Subject,
};
use gabion_policy_model::trace::{Direction, RuleRef};
use serde::Serialize;

use crate::missed::Comparison;
use crate::names;
use crate::near::{direction_name, written};

/// What would have let the packet pass in one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// `egress` or `ingress`.
    pub direction: &'static str,
    /// What to do, in a sentence or two.
    pub text: String,
    /// Place of what denies, `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// A document that allows this packet when it is added to the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml: Option<String>,
    /// The same, typed.
    #[serde(skip)]
    pub document: Option<PolicySet>,
}

type Set = PolicySet<AnySubject>;

/// What would have turned a denial round.
pub(crate) fn remedy(comparison: &Comparison<'_, '_, AnySubject>, direction: Direction, decision: &Decision) -> Remedy {
    let draft = Draft { comparison, direction };
    let (text, drafts) = draft.ways(decision);
    let document = drafts.into_iter().find(|document| draft.allows(document));
    let covers = document.is_some().then(|| draft.also_covered()).flatten().unwrap_or_default();
    Remedy {
        direction: direction_name(direction),
        text: format!("{text}{covers}"),
        location: place(comparison.set, direction, decision),
        yaml: document.as_ref().map(gabion_policy_model::text::to_yaml),
        document,
    }
}

/// Where that stands which denies.
pub(crate) fn place(set: &Set, direction: Direction, decision: &Decision) -> Option<String> {
    let location = match decision.rule {
        RuleRef::Isolation { policy } => set.policies.get(policy as usize).map(|policy| &policy.location),
        RuleRef::SubjectDefault { index } => {
            set.site.as_ref().and_then(|site| site.defaults.subjects.get(index as usize)).map(|d| &d.location)
        }
        RuleRef::Default | RuleRef::LinkControlDefault | RuleRef::UnparsedDefault => {
            set.site.as_ref().map(|site| &site.location)
        }
        RuleRef::Cluster { .. } | RuleRef::Policy { .. } => {
            decision.rule.rule(set, direction).map(|rule| &rule.location)
        }
    };
    location.and_then(written)
}

struct Draft<'a, 'i> {
    comparison: &'a Comparison<'a, 'i, AnySubject>,
    direction: Direction,
}

impl Draft<'_, '_> {
    /// What to do, and documents that may do it, the least invasive first.
    fn ways(&self, decision: &Decision) -> (String, Vec<Set>) {
        let set = self.comparison.set;
        let name = decision.rule.name(set, self.direction);
        match decision.rule {
            RuleRef::Cluster { policy, .. } if self.is_of_emergency(policy) => {
                let text = format!(
                    "An emergency refuses it before any policy is asked, by rule {name}: it ends by itself, or with a \
                     newer version of its bundle"
                );
                (text, Vec::new())
            }
            RuleRef::Cluster { policy, .. } => {
                let before = set.cluster_policies.get(policy as usize);
                let drafts = before.map_or_else(Vec::new, |before| {
                    self.cluster_policies(before.tier.clone(), before.order.saturating_sub(1))
                });
                (
                    format!("Narrow rule {name} so that it no longer covers this, or allow it earlier in the tier"),
                    drafts,
                )
            }
            RuleRef::Policy { .. } => {
                let drafts = self.cluster_policies(self.tier(Stage::Admin, "admin"), 0);
                let text = format!(
                    "Narrow rule {name}: a deny wins over every allow beside it. Only an admin tier decides before it"
                );
                (text, drafts)
            }
            RuleRef::Isolation { policy } => {
                let isolating = set.policies.get(policy as usize);
                let drafts = isolating.map(|isolating| self.policy(isolating)).into_iter().collect();
                let policy = name.strip_suffix("/isolation").unwrap_or(&name);
                (format!("Add this rule to policy {policy}, or this policy beside it"), drafts)
            }
            RuleRef::SubjectDefault { .. }
            | RuleRef::Default
            | RuleRef::LinkControlDefault
            | RuleRef::UnparsedDefault => {
                let drafts = self.cluster_policies(self.tier(Stage::Baseline, "baseline"), 0);
                (format!("No rule speaks of it: allow it in a baseline tier, or change the site's {name}"), drafts)
            }
        }
    }

    fn is_of_emergency(&self, policy: u32) -> bool {
        let policy = self.comparison.set.cluster_policies.get(policy as usize);
        policy.is_some_and(|policy| policy.tier.stage == Stage::Emergency)
    }

    /// An existing tier of a stage (the last, so that least is overruled), or a new one.
    fn tier(&self, stage: Stage, name: &str) -> Tier {
        let existing = self.comparison.set.cluster_policies.iter().rev().find(|policy| policy.tier.stage == stage);
        existing.map_or_else(|| Tier { name: name.to_owned(), stage, order: 100 }, |policy| policy.tier.clone())
    }

    fn policy(&self, isolating: &Policy) -> Set {
        let rules = Some(vec![self.rule().into()]);
        let (ingress, egress) = match self.direction {
            Direction::Ingress => (rules, None),
            Direction::Egress => (None, rules),
        };
        let taken = |name: &str| {
            self.comparison.set.policies.iter().any(|p| p.name == name && p.namespace == isolating.namespace)
        };
        let policy = Policy {
            name: self.document_name(taken),
            namespace: isolating.namespace.clone(),
            subject: isolating.subject.clone(),
            ingress,
            egress,
            location: Location::default(),
        };
        Set { policies: vec![policy], ..Set::default() }
    }

    fn cluster_policies(&self, tier: Tier, order: u32) -> Vec<Set> {
        let taken = |name: &str| self.comparison.set.cluster_policies.iter().any(|p| p.name == name);
        let name = self.document_name(taken);
        let first = format!("0-{name}");
        [(order, &name), (0, &name), (0, &first)]
            .into_iter()
            .map(|(order, name)| {
                let (mut ingress, mut egress) = (Vec::new(), Vec::new());
                match self.direction {
                    Direction::Ingress => ingress.push(self.rule().into()),
                    Direction::Egress => egress.push(self.rule().into()),
                }
                let policy = ClusterPolicy {
                    name: name.clone(),
                    tier: tier.clone(),
                    order,
                    subject: self.subject(self.direction),
                    ingress,
                    egress,
                    location: Location::default(),
                };
                Set { cluster_policies: vec![policy], ..Set::default() }
            })
            .collect()
    }

    fn rule(&self) -> Rule {
        let (from, to) = match self.direction {
            Direction::Ingress => (Some(vec![self.subject(Direction::Egress)]), None),
            Direction::Egress => (None, Some(vec![self.subject(Direction::Ingress)])),
        };
        Rule {
            name: format!("allow-{}", self.content_name()),
            action: rule::Action::Allow,
            from,
            to,
            services: vec![self.service()],
            stateless: false,
            log: false,
        }
    }

    /// Whom a document would name for one end: the identity before the address, and only then the wire.
    fn subject(&self, side: Direction) -> AnySubject {
        let end = self.comparison.typed.end(side);
        let entry = self.comparison.set.inventory.entries.iter().find(|entry| entry.is(end));
        entry.and_then(|entry| identity(entry)).unwrap_or_else(|| on_the_wire(end))
    }

    fn service(&self) -> Service {
        let f = self.comparison.typed.facts;
        let one = |number: u32| Some(RangeSet::from_range(number..=number));
        if f.unparsed != facts::unparsed::NONE {
            return Service { unparsed: one(u32::from(f.unparsed)), ..Service::default() };
        }
        if f.family == facts::FAMILY_NONE {
            let llc = (f.ethertype == facts::ETHERTYPE_LLC).then_some(f.llc);
            let ether_types = if llc.is_some() { None } else { one(u32::from(f.ethertype)) };
            return Service { ether_types, llc, ..Service::default() };
        }
        let mut service = Service { protocols: one(u32::from(f.protocol)), ..Service::default() };
        match f.transport {
            facts::TRANSPORT_PORTS => {
                service.ports = one(u32::from(f.destination_port)).map(PortMatch::Numbers);
            }
            facts::TRANSPORT_ICMP => service.icmp = one(u32::from(f.icmp_type) << 8 | u32::from(f.icmp_code)),
            _ if f.fragment == facts::FRAGMENT_LATER => service.fragments = Some(FragmentMatch::Later),
            _ => {}
        }
        service
    }

    fn content_name(&self) -> String {
        let f = self.comparison.typed.facts;
        if f.unparsed != facts::unparsed::NONE {
            return (*facts::unparsed::NAMES.get(f.unparsed as usize).unwrap_or(&"unparsed")).to_owned();
        }
        if f.family == facts::FAMILY_NONE {
            return word(&names::ether_type_name(f.ethertype));
        }
        let protocol = word(&names::protocol_name(f.protocol));
        match f.transport {
            facts::TRANSPORT_PORTS => format!("{protocol}-{}", f.destination_port),
            facts::TRANSPORT_ICMP => format!("{protocol}-{}-{}", f.icmp_type, f.icmp_code),
            _ => protocol,
        }
    }

    /// `allow-hmi-to-rtu-tcp-502`, with a number behind it when the name is taken.
    fn document_name(&self, taken: impl Fn(&str) -> bool) -> String {
        let end = |side: Direction| {
            let end = self.comparison.typed.end(side);
            let entry = self.comparison.set.inventory.entries.iter().find(|entry| entry.is(end));
            let name = entry.map_or_else(|| word(&self.comparison.packet.end_name(side)), |entry| word(&entry.name));
            name.chars().take(20).collect::<String>()
        };
        let mut name =
            format!("allow-{}-to-{}-{}", end(Direction::Egress), end(Direction::Ingress), self.content_name());
        // A name has 63 characters; what is put before and behind it needs its share.
        name.truncate(48);
        name.truncate(name.trim_end_matches('-').len());
        // Both directions may need a document, and the two are pasted together.
        if self.direction == Direction::Egress {
            name.push_str("-egress");
        }
        let free = (2..).map(|number| format!("{name}-{number}")).find(|numbered| !taken(numbered));
        if taken(&name) { free.unwrap_or(name) } else { name }
    }

    /// Whether the oracle lets the packet pass once the document is there.
    fn allows(&self, document: &Set) -> bool {
        let mut set = self.comparison.set.clone();
        set.policies.extend(document.policies.iter().cloned());
        set.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        set.cluster_policies.extend(document.cluster_policies.iter().cloned());
        set.cluster_policies.sort_by(|a, b| consulted(a).cmp(&consulted(b)));
        let packet = self.comparison.packet;
        let (source, destination) = (packet.source_interface, packet.destination_interface);
        decide(&set, &packet.facts, source, destination, self.direction).action == Action::Allow
    }

    /// Says whom the proposed subjects cover beyond this packet.
    fn also_covered(&self) -> Option<String> {
        const SHOWN: usize = 4;
        let side = match self.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let index = self.comparison.index;
        let end = self.comparison.typed.end(side);
        let subject = self.subject(side);
        let covered = subject.entries(index).into_iter().map(|position| index.at(position));
        let others: Vec<_> = covered.filter(|entry| !entry.is(end)).map(|entry| entry.name.as_str()).collect();
        (!others.is_empty()).then(|| {
            let more = if others.len() > SHOWN { format!(" and {} more", others.len() - SHOWN) } else { String::new() };
            let shown = others.get(..SHOWN.min(others.len())).unwrap_or_default().join(", ");
            format!(" (its {} also covers {shown}{more})", subject.describe())
        })
    }
}

fn consulted(policy: &ClusterPolicy) -> (Stage, u32, &str, u32, &str) {
    (policy.tier.stage, policy.tier.order, &policy.tier.name, policy.order, &policy.name)
}

fn identity(entry: &Entry) -> Option<AnySubject> {
    if let Some(id) = entry.spiffe_id.as_deref().and_then(|id| id.strip_prefix("spiffe://")) {
        let (domain, path) = id.split_at(id.find('/').unwrap_or(id.len()));
        if !path.is_empty() {
            let (trust_domain, path) = (domain.to_owned(), SpiffePath::Exact(path.to_owned()));
            return Some(AnySubject::Spiffe(SpiffeMatch { trust_domain, path }));
        }
    }
    if !entry.labels.is_empty() {
        let selector = LabelSelector { match_labels: entry.labels.clone(), match_expressions: Vec::new() };
        let namespaces = Namespaces::Named(entry.namespace.clone());
        return Some(AnySubject::Labels(Labels { selector, namespaces }));
    }
    let account = entry.service_account.clone()?;
    Some(AnySubject::ServiceAccount(ServiceAccount { namespace: Some(entry.namespace.clone()), name: account }))
}

fn on_the_wire(end: &End<'_>) -> AnySubject {
    if let Some(address) = end.address {
        AnySubject::Cidr(Cidr { block: address.into(), except: Vec::new() })
    } else if let Some(mac) = end.mac {
        AnySubject::Mac(mac)
    } else if let Some(name) = end.interface {
        AnySubject::Interface(InterfaceName(name.to_owned()))
    } else {
        AnySubject::Any(Any)
    }
}

/// Letters, digits and hyphens only, as names of documents have them.
fn word(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let word: String = text.chars().map(kept).collect();
    let word = word.trim_matches('-');
    if word.is_empty() { "x".to_owned() } else { word.to_owned() }
}
