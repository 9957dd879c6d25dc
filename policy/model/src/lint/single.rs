//! Lints of one rule, subject or document at a time.

use std::collections::{HashMap, HashSet};

use gabion_abi::facts::protocol;
use ipnet::IpNet;

use super::kinds;
use crate::carry::EntrySubject;
use crate::finding::{Code, Finding, quote};
use crate::index::Index;
use crate::inventory::{Entry, Inventory, NamedPort};
use crate::rule::{Action, Rule};
use crate::service::{PortMatch, Service};
use crate::set::{Location, PolicySet, Spanned};
use crate::subject::{AnySubject, Cidr, Subject};
use crate::trace::{Direction, RuleRef};

/// Bits before the IPv4 address in an IPv6 address that stands for one (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Entries that are looked through for subjects, over all of them.
const ENTRY_LIMIT: usize = 50_000_000;

pub(super) fn lint(set: &PolicySet, findings: &mut Vec<Finding>) {
    let mut single =
        Single { set, findings, carriers: Carriers::new(&set.inventory), subjects: HashSet::new(), said_empty: false };
    for (index, policy) in set.policies.iter().enumerate() {
        single.subject(&policy.subject, &policy.location);
        if policy.ingress.is_some() {
            single.receiver(&policy.subject, &policy.location, &policy.name);
        }
        if policy.ingress.is_none() && policy.egress.is_none() {
            let message = format!("the Policy {} speaks of neither direction", quote(&policy.name));
            let help = "write `ingress: []` to isolate from everyone, or rules; or remove it";
            single.findings.push(Finding::new(Code::NoEffect, policy.location.clone(), message).help(help));
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            for (position, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
                let reference = RuleRef::Policy { policy: index as u32, rule: position as u32 };
                single.rule(rule, reference, direction, &policy.subject);
            }
        }
    }
    for (index, policy) in set.cluster_policies.iter().enumerate() {
        single.subject(&policy.subject, &policy.location);
        if !policy.ingress.is_empty() {
            single.receiver(&policy.subject, &policy.location, &policy.name);
        }
        if policy.ingress.is_empty() && policy.egress.is_empty() {
            let message = format!("the ClusterPolicy {} has no rules", quote(&policy.name));
            let finding = Finding::new(Code::NoEffect, policy.location.clone(), message);
            single.findings.push(finding.help("write rules for `ingress` or `egress`, or remove it"));
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            for (position, rule) in policy.rules(direction).iter().enumerate() {
                let reference = RuleRef::Cluster { policy: index as u32, rule: position as u32 };
                single.rule(rule, reference, direction, &policy.subject);
            }
        }
    }
    if let Some(site) = &set.site {
        for of in &site.defaults.subjects {
            single.subject(&of.subject, &of.location);
        }
        if site.failsafe.is_empty() {
            let message = "no fail-safe port: a mistake in a policy can lock you out of the node";
            let finding = Finding::new(Code::NoFailsafe, site.location.clone(), message);
            single.findings.push(finding.help("leave `failsafe` out for SSH, or name the port you manage the node by"));
        }
    }
    for entry in &set.inventory.entries {
        single.entry(entry);
        for name in &entry.interfaces {
            single.interface(name, &entry.location);
        }
    }
}

struct Single<'s, 'f> {
    set: &'s PolicySet,
    findings: &'f mut Vec<Finding>,
    carriers: Carriers<'s>,
    /// Subjects that were looked at: each is reported once.
    subjects: HashSet<&'s AnySubject>,
    said_empty: bool,
}

impl<'s> Single<'s, '_> {
    fn rule(&mut self, rule: &'s Spanned<Rule>, reference: RuleRef, direction: Direction, subject: &'s AnySubject) {
        let name = || quote(&reference.name(self.set, direction));
        let never = |why: &str, help: &str| {
            let message = format!("the rule {} never matches: {why}", name());
            Finding::new(Code::NeverMatches, rule.location.clone(), message).help(help)
        };
        for (key, peers) in [("from", &rule.from), ("to", &rule.to)] {
            if peers.as_ref().is_some_and(Vec::is_empty) {
                let why = format!("its `{key}` names nobody");
                let help = format!("name someone in `{key}`, leave it out for anyone, or remove the rule");
                self.findings.push(never(&why, &help));
            }
        }
        let mut possible = rule.services.is_empty();
        for service in &rule.services {
            if service.matches_nothing() {
                continue;
            }
            if let Some(PortMatch::Named(port)) = &service.ports
                && !self.carriers.has_port(port, service)
            {
                let message =
                    format!("no inventory entry has a port {} that the rule {} could mean", quote(port), name());
                let help = "add it to `ports` of an entry, or write the number";
                self.findings.push(Finding::new(Code::NeverMatches, rule.location.clone(), message).help(help));
            }
            possible = true;
            if let Some(without) = without_ports(service) {
                let message = format!(
                    "the rule {} names ports and the protocol {without}, which has none: of that protocol nothing matches",
                    name()
                );
                let help = "write a second service for it, without ports";
                self.findings.push(Finding::new(Code::PartlyContradictory, rule.location.clone(), message).help(help));
            }
        }
        if !possible {
            self.findings.push(never("its services contradict themselves", "remove the rule, or mend its services"));
        } else if let Some(why) = kinds::apart(rule, direction, subject) {
            let help = "name ends of one family, and blocks only for what has an IP header";
            self.findings.push(never(&why, help));
        }
        // Of its own packets the node knows the interface, so that an allowance may mean those.
        let for_own = direction == Direction::Egress && matches!(rule.action, Action::Allow | Action::Pass);
        if !for_own && let Some(subject) = rule.to.iter().flatten().find(|peer| is_interface(peer)) {
            self.leaves_later(&format!("`to` of the rule {}", name()), subject, &rule.location);
        }
        for subject in rule.from.iter().chain(&rule.to).flatten() {
            self.subject(subject, &rule.location);
        }
    }

    /// Whom the ingress rules of a document are for.
    fn receiver(&mut self, subject: &AnySubject, location: &Location, document: &str) {
        if is_interface(subject) {
            self.leaves_later(&format!("`ingress` of {}", quote(document)), subject, location);
        }
    }

    fn leaves_later(&mut self, what: &str, subject: &AnySubject, location: &Location) {
        let message = format!(
            "{what} is about {} as the way out, which is not known where forwarded packets are judged",
            subject.describe()
        );
        let help = "it holds for what the node sends, or forwards from an interface that is not guarded; \
                    for the rest name the receiver by labels, address or MAC";
        self.findings.push(Finding::new(Code::LeavesLater, location.clone(), message).help(help));
    }

    fn subject(&mut self, subject: &'s AnySubject, location: &Location) {
        if !self.subjects.insert(subject) {
            return;
        }
        match subject {
            AnySubject::Interface(name) => self.interface(&name.0, location),
            AnySubject::Cidr(cidr) => self.block(cidr, location),
            _ => {
                if let Some(of_entries) = subject.of_entries() {
                    self.identity(subject, of_entries, location);
                }
            }
        }
    }

    fn identity(&mut self, subject: &AnySubject, of_entries: &dyn EntrySubject, location: &Location) {
        let (message, help) = if self.set.inventory.entries.is_empty() {
            if std::mem::replace(&mut self.said_empty, true) {
                return;
            }
            let message = "labels, service accounts and SPIFFE IDs name nobody: there is no inventory entry";
            (message.to_owned(), "add an Inventory document, or check its files too")
        } else if self.carriers.nobody(of_entries) {
            let message = format!("no inventory entry carries {}", subject.describe());
            (message, "add or mend the entry in the Inventory, or the subject here")
        } else {
            return;
        };
        self.findings.push(Finding::new(Code::NobodyCarries, location.clone(), message).help(help));
    }

    fn block(&mut self, cidr: &Cidr, location: &Location) {
        if IpNet::aggregate(&cidr.except).iter().any(|except| except.contains(&cidr.block)) {
            let message = format!("the exceptions of {} leave nothing of it", cidr.block);
            let finding = Finding::new(Code::NobodyCarries, location.clone(), message);
            self.findings.push(finding.help("take out less, or remove the subject"));
        }
        // The whole block of mapped addresses is what one writes against forged packets.
        if let IpNet::V6(block) = cidr.block
            && block.prefix_len() > MAPPED_BITS
            && let Some(v4) = block.addr().to_ipv4_mapped()
        {
            let meant = format!("{v4}/{}", block.prefix_len() - MAPPED_BITS);
            self.mapped(&cidr.block.to_string(), &meant, location);
        }
    }

    fn mapped(&mut self, written: &str, meant: &str, location: &Location) {
        let message = format!("{written} is of IPv6 packets with such addresses, which no host sends");
        let finding = Finding::new(Code::NobodyCarries, location.clone(), message);
        self.findings.push(finding.help(format!("IPv4 packets carry {meant}: write that")));
    }

    fn entry(&mut self, entry: &Spanned<Entry>) {
        if entry.addresses.is_empty() && entry.macs.is_empty() && entry.interfaces.is_empty() {
            let message = format!("the entry {} has no address, no MAC and no interface", quote(&entry.name));
            let finding = Finding::new(Code::NobodyCarries, entry.location.clone(), message);
            self.findings.push(finding.help("add one by which its packets are known"));
        }
        for address in &entry.addresses {
            if let std::net::IpAddr::V6(v6) = address
                && let Some(v4) = v6.to_ipv4_mapped()
            {
                self.mapped(&address.to_string(), &v4.to_string(), &entry.location);
            }
        }
    }

    fn interface(&mut self, name: &str, location: &Location) {
        let Some(site) = &self.set.site else { return };
        let listed = |pattern: &str| match pattern.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => pattern == name,
        };
        if !site.interfaces.is_empty() && !site.interfaces.iter().any(|interface| listed(&interface.name)) {
            let message = format!("the Site lists no interface {}", quote(name));
            let finding = Finding::new(Code::UnknownInterface, location.clone(), message)
                .related(site.location.clone(), "the Site")
                .help("add it to `interfaces` of the Site, or mend the name");
            self.findings.push(finding);
        }
    }
}

const fn is_interface(subject: &AnySubject) -> bool {
    matches!(subject, AnySubject::Interface(_))
}

/// The first protocol without ports that stands beside ports by its own number.
fn without_ports(service: &Service) -> Option<u8> {
    if service.ports.is_none() && service.source_ports.is_none() {
        return None;
    }
    // Ranges are written for breadth; only what was named singly is surely meant.
    let singles = service.protocols.as_ref()?.iter().filter(|(low, high)| low == high);
    let numbers = singles.filter_map(|(number, _)| u8::try_from(number).ok());
    let has_ports = |number: &u8| {
        matches!(*number, protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDPLITE)
    };
    numbers.into_iter().find(|number| !has_ports(number))
}

/// Who carries what, as far as finding out takes no more than [`ENTRY_LIMIT`].
struct Carriers<'s> {
    index: Index<'s>,
    ports: HashMap<&'s str, Vec<&'s NamedPort>>,
    work: usize,
}

impl<'s> Carriers<'s> {
    fn new(inventory: &'s Inventory) -> Self {
        let mut ports: HashMap<&str, Vec<&NamedPort>> = HashMap::new();
        for port in inventory.entries.iter().flat_map(|entry| &entry.ports) {
            let named = ports.entry(&port.name).or_default();
            if !named.iter().any(|known| known.protocol == port.protocol) {
                named.push(port);
            }
        }
        Self { index: Index::new(inventory), ports, work: 0 }
    }

    fn has_port(&self, name: &str, service: &Service) -> bool {
        let fits = |port: &&NamedPort| service.protocols.as_ref().is_none_or(|set| set.contains(port.protocol.into()));
        self.ports.get(name).is_some_and(|ports| ports.iter().any(fits))
    }

    /// Whether it is certain that no entry carries a subject.
    fn nobody(&mut self, subject: &dyn EntrySubject) -> bool {
        let index = &self.index;
        let candidates = subject.candidates(index);
        if self.work + candidates.count() > ENTRY_LIMIT {
            return false;
        }
        self.work += candidates.count();
        !candidates.iter().any(|position| subject.holds(index.at(position), index.inventory()))
    }
}
