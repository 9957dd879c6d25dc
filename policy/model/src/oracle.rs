//! The naive evaluator: `docs/policy.md` in code, for one packet at a time.
//!
//! It walks the documents as they read, shares nothing with the compiler, and is what tables, core
//! and loaded programs are compared with. Speed is no aim here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gabion_abi::facts::{self, Facts};

use crate::inventory::{Entry, Inventory};
use crate::rule::{Action as RuleAction, ClusterPolicy, Policy, Rule, Stage, Tier};
use crate::service::{FragmentMatch, PortMatch, Service, Vlan};
use crate::set::{PolicySet, Spanned};
use crate::site::{DefaultAction, Defaults};
use crate::subject::{End, Mac, Subject};
use crate::trace::{Direction, RuleRef};

/// What is to happen to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It may go.
    Allow,
    /// It is refused.
    Deny,
    /// It may go, and is reported as "would have been denied".
    Audit,
}

impl From<DefaultAction> for Action {
    fn from(action: DefaultAction) -> Self {
        match action {
            DefaultAction::Allow => Self::Allow,
            DefaultAction::Deny => Self::Deny,
        }
    }
}

/// What the policy of one end says in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What is to happen.
    pub action: Action,
    /// Who says so.
    pub rule: RuleRef,
    /// Return traffic is not admitted for what this allows, nor let through what it denies.
    pub stateless: bool,
    /// Every packet so decided is reported.
    pub log: bool,
}

/// What the policies of both ends say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// What the source may send.
    pub egress: Decision,
    /// What the destination may receive.
    pub ingress: Decision,
}

impl Judgement {
    /// The one that is reported: a denial before an audit before an allow, of two alike the ingress.
    #[must_use]
    pub fn deciding(&self) -> (Direction, &Decision) {
        let weight = |decision: &Decision| match decision.action {
            Action::Deny => 2,
            Action::Audit => 1,
            Action::Allow => 0,
        };
        if weight(&self.egress) > weight(&self.ingress) {
            (Direction::Egress, &self.egress)
        } else {
            (Direction::Ingress, &self.ingress)
        }
    }

    /// What happens to the packet.
    #[must_use]
    pub fn action(&self) -> Action {
        self.deciding().1.action
    }
}

/// Asks both ends: the source's egress and the destination's ingress.
pub fn judge<S: Subject>(
    set: &PolicySet<S>,
    facts: &Facts,
    source_interface: Option<&str>,
    destination_interface: Option<&str>,
) -> Judgement {
    Judgement {
        egress: decide(set, facts, source_interface, destination_interface, Direction::Egress),
        ingress: decide(set, facts, source_interface, destination_interface, Direction::Ingress),
    }
}

/// Asks one end in one direction: egress of the source, ingress of the destination.
pub fn decide<S: Subject>(
    set: &PolicySet<S>,
    facts: &Facts,
    source_interface: Option<&str>,
    destination_interface: Option<&str>,
    direction: Direction,
) -> Decision {
    let known = at_ends(&set.inventory, facts, source_interface, destination_interface);
    let packet = Packet::new(&known, facts, source_interface, destination_interface);
    for stage in [Stage::Emergency, Stage::Admin] {
        if let Some(decision) = tiers(set, &packet, direction, stage) {
            return decision;
        }
    }
    if let Some(decision) = policies(set, &packet, direction) {
        return decision;
    }
    if let Some(decision) = tiers(set, &packet, direction, Stage::Baseline) {
        return decision;
    }
    defaults(set, &packet, direction)
}

/// What an inventory says of the ends of a packet: nobody else has a part in what is decided about it, and rules are
/// many.
#[must_use]
pub fn at_ends(
    inventory: &Inventory,
    facts: &Facts,
    source_interface: Option<&str>,
    destination_interface: Option<&str>,
) -> Inventory {
    let packet = Packet::new(inventory, facts, source_interface, destination_interface);
    let at_end = |entry: &&Spanned<Entry>| entry.is(&packet.source) || entry.is(&packet.destination);
    let entries: Vec<Spanned<Entry>> = inventory.entries.iter().filter(at_end).cloned().collect();
    let labels = |entry: &Spanned<Entry>| inventory.namespaces.get_key_value(&entry.namespace);
    let namespaces = entries.iter().filter_map(labels).map(|(name, labels)| (name.clone(), labels.clone())).collect();
    Inventory { entries, namespaces }
}

/// One packet with its ends, before it is asked who they are.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the parser found out.
    pub facts: &'a Facts,
    /// Who sends.
    pub source: End<'a>,
    /// Who receives.
    pub destination: End<'a>,
    inventory: &'a Inventory,
}

impl<'a> Packet<'a> {
    /// The ends of a packet.
    #[must_use]
    pub fn new(
        inventory: &'a Inventory,
        facts: &'a Facts,
        source_interface: Option<&'a str>,
        destination_interface: Option<&'a str>,
    ) -> Self {
        let source = End {
            address: address(facts.family, facts.source),
            mac: mac(facts.source_mac),
            interface: source_interface,
        };
        let destination = End {
            address: address(facts.family, facts.destination),
            mac: mac(facts.destination_mac),
            interface: destination_interface,
        };
        Self { facts, source, destination, inventory }
    }

    /// The end whose policy is asked.
    #[must_use]
    pub fn end(&self, direction: Direction) -> &End<'a> {
        match direction {
            Direction::Egress => &self.source,
            Direction::Ingress => &self.destination,
        }
    }

    /// Unparsed packets, ARP and genuine neighbour discovery: judged only by services that name them.
    #[must_use]
    pub fn needs_naming(&self) -> bool {
        self.facts.unparsed != facts::unparsed::NONE || self.facts.is_link_control()
    }

    /// Inventory entries that the destination is.
    pub fn destination_entries(&self) -> impl Iterator<Item = &'a Spanned<Entry>> + '_ {
        self.inventory.entries.iter().filter(|entry| entry.is(&self.destination))
    }
}

/// The address of a packet's end as the standard library writes it; none without an IP header.
#[must_use]
pub fn address(family: u8, address: facts::Address) -> Option<IpAddr> {
    match family {
        facts::FAMILY_V4 => Some(IpAddr::V4(Ipv4Addr::from(address.words[0]))),
        facts::FAMILY_V6 => Some(IpAddr::V6(Ipv6Addr::from(address.to_v6()))),
        _ => None,
    }
}

/// All zeroes stand for "no Ethernet header".
fn mac(bits: u64) -> Option<Mac> {
    (bits != 0).then(|| Mac::from_bits(bits))
}

/// Steps 1 and 3: tiers in order, in each the first rule that matches; `pass` leaves the tier.
fn tiers<S: Subject>(set: &PolicySet<S>, packet: &Packet<'_>, direction: Direction, stage: Stage) -> Option<Decision> {
    let mut left: Option<&Tier> = None;
    for (index, policy) in set.cluster_policies.iter().enumerate() {
        if policy.tier.stage != stage || left == Some(&policy.tier) {
            continue;
        }
        if !policy.subject.carried_by(packet.end(direction), packet.inventory) {
            continue;
        }
        let Some((position, rule)) =
            policy.rules(direction).iter().enumerate().find(|(_, rule)| rule_matches(rule, packet))
        else {
            continue;
        };
        let reference = RuleRef::Cluster { policy: index as u32, rule: position as u32 };
        match rule.action {
            RuleAction::Pass => left = Some(&policy.tier),
            RuleAction::Allow => return Some(by_rule(Action::Allow, rule, reference)),
            RuleAction::Deny => return Some(by_rule(Action::Deny, rule, reference)),
            RuleAction::Audit => return Some(by_rule(Action::Audit, rule, reference)),
        }
    }
    None
}

/// Step 2: a deny wins over an audit over an allow; else whom a policy speaks of is isolated.
fn policies<S: Subject>(set: &PolicySet<S>, packet: &Packet<'_>, direction: Direction) -> Option<Decision> {
    let mut isolated_by = None;
    let mut found = Vec::new();
    for (index, policy) in set.policies.iter().enumerate() {
        let Some(rules) = policy.rules(direction) else { continue };
        if !policy.subject.carried_by(packet.end(direction), packet.inventory) {
            continue;
        }
        isolated_by = isolated_by.or(Some(index as u32));
        for (position, rule) in rules.iter().enumerate() {
            if rule_matches(rule, packet) {
                found.push((RuleRef::Policy { policy: index as u32, rule: position as u32 }, rule));
            }
        }
    }
    for (wanted, action) in
        [(RuleAction::Deny, Action::Deny), (RuleAction::Audit, Action::Audit), (RuleAction::Allow, Action::Allow)]
    {
        if let Some(&(reference, rule)) = found.iter().find(|(_, rule)| rule.action == wanted) {
            return Some(by_rule(action, rule, reference));
        }
    }
    if packet.needs_naming() {
        return None;
    }
    isolated_by.map(|policy| by_default(Action::Deny, RuleRef::Isolation { policy }))
}

/// Step 4.
fn defaults<S: Subject>(set: &PolicySet<S>, packet: &Packet<'_>, direction: Direction) -> Decision {
    let unstated = Defaults::default();
    let defaults = set.site.as_ref().map_or(&unstated, |site| &site.defaults);
    if packet.facts.unparsed != facts::unparsed::NONE {
        return by_default(defaults.unparsed.into(), RuleRef::UnparsedDefault);
    }
    if packet.facts.is_link_control() {
        return by_default(defaults.link_control.into(), RuleRef::LinkControlDefault);
    }
    for (index, of_subject) in defaults.subjects.iter().enumerate() {
        let said = match direction {
            Direction::Egress => of_subject.egress,
            Direction::Ingress => of_subject.ingress,
        };
        if let Some(action) = said
            && of_subject.subject.carried_by(packet.end(direction), packet.inventory)
        {
            return by_default(action.into(), RuleRef::SubjectDefault { index: index as u32 });
        }
    }
    let action = match direction {
        Direction::Egress => defaults.egress,
        Direction::Ingress => defaults.ingress,
    };
    by_default(action.into(), RuleRef::Default)
}

fn by_rule<S: Subject>(action: Action, rule: &Rule<S>, reference: RuleRef) -> Decision {
    Decision { action, rule: reference, stateless: rule.stateless, log: rule.log }
}

fn by_default(action: Action, rule: RuleRef) -> Decision {
    Decision { action, rule, stateless: false, log: false }
}

impl<S: Subject> ClusterPolicy<S> {
    /// The rules of a direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[Spanned<Rule<S>>] {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }
}

impl<S: Subject> Policy<S> {
    /// The rules of a direction; none when the policy does not speak of it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Spanned<Rule<S>>]> {
        match direction {
            Direction::Egress => self.egress.as_deref(),
            Direction::Ingress => self.ingress.as_deref(),
        }
    }
}

/// Whether `from`, `to` and `services` of a rule match a packet.
#[must_use]
pub fn rule_matches<S: Subject>(rule: &Rule<S>, packet: &Packet<'_>) -> bool {
    let among = |peers: &Option<Vec<S>>, end: &End<'_>| {
        peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer.carried_by(end, packet.inventory)))
    };
    let services = if rule.services.is_empty() {
        !packet.needs_naming()
    } else {
        rule.services.iter().any(|service| service_matches(service, packet))
    };
    services && among(&rule.from, &packet.source) && among(&rule.to, &packet.destination)
}

/// Whether a service matches a packet: every field that is there must.
#[must_use]
pub fn service_matches(service: &Service, packet: &Packet<'_>) -> bool {
    let facts = packet.facts;
    let link = service.ether_types.as_ref().is_none_or(|types| types.contains(u32::from(facts.ethertype)))
        && vlan_matches(service.vlan.as_ref(), facts.vlan_outer)
        && vlan_matches(service.inner_vlan.as_ref(), facts.vlan_inner);
    if !link {
        return false;
    }
    if facts.unparsed != facts::unparsed::NONE {
        // What stands behind the fault is not known, so that only the link fields can match.
        return service.unparsed.as_ref().is_some_and(|reasons| reasons.contains(u32::from(facts.unparsed)))
            && !service.speaks_beyond_link();
    }
    if service.unparsed.is_some() {
        return false;
    }
    if facts.ethertype == facts::ETHERTYPE_ARP && service.ether_types.is_none() {
        return false;
    }
    if facts.ethertype != facts::ETHERTYPE_ARP && facts.is_link_control() && service.icmp.is_none() {
        return false;
    }
    let ip = facts.family != facts::FAMILY_NONE;
    let with_ports = facts.transport == facts::TRANSPORT_PORTS;
    let llc = |wanted: u16| facts.ethertype == facts::ETHERTYPE_LLC && facts.llc == wanted;
    let icmp_number = u32::from(facts.icmp_type) << 8 | u32::from(facts.icmp_code);

    service.llc.is_none_or(llc)
        && service.protocols.as_ref().is_none_or(|set| ip && set.contains(u32::from(facts.protocol)))
        && service.fragments.is_none_or(|wanted| ip && fragment_matches(wanted, facts.fragment))
        && service.ports.as_ref().is_none_or(|ports| with_ports && port_matches(ports, packet))
        && service.source_ports.as_ref().is_none_or(|set| with_ports && set.contains(u32::from(facts.source_port)))
        && service.icmp.as_ref().is_none_or(|set| facts.transport == facts::TRANSPORT_ICMP && set.contains(icmp_number))
        && service.tcp_flags.is_none_or(|flags| {
            with_ports && facts.protocol == facts::protocol::TCP && facts.tcp_flags & flags.mask == flags.value
        })
}

fn vlan_matches(wanted: Option<&Vlan>, vid: u16) -> bool {
    match wanted {
        None => true,
        Some(Vlan::Untagged) => vid == facts::VLAN_NONE,
        Some(Vlan::Ids(ids)) => vid != facts::VLAN_NONE && ids.contains(u32::from(vid)),
    }
}

fn fragment_matches(wanted: FragmentMatch, state: u8) -> bool {
    match wanted {
        FragmentMatch::None => state == facts::FRAGMENT_NONE,
        FragmentMatch::Any => state != facts::FRAGMENT_NONE,
        FragmentMatch::First => state == facts::FRAGMENT_FIRST,
        FragmentMatch::Later => state == facts::FRAGMENT_LATER,
    }
}

fn port_matches(ports: &PortMatch, packet: &Packet<'_>) -> bool {
    let (protocol, port) = (packet.facts.protocol, packet.facts.destination_port);
    match ports {
        PortMatch::Numbers(numbers) => numbers.contains(u32::from(port)),
        PortMatch::Named(name) => packet
            .destination_entries()
            .flat_map(|entry| &entry.ports)
            .any(|named| named.name == *name && named.protocol == protocol && named.port == port),
    }
}
