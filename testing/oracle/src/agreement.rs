//! Octets → a policy and packets, on which oracle, tables, lanes, core and short way must agree.

use arbitrary::Unstructured;
use gabion_abi::facts::{self, FAMILY_NONE, FAMILY_V4, FRAGMENT_NONE, Facts, VLAN_NONE, protocol};
use gabion_abi::tables::{HAS_LANES, entry};
use gabion_abi::verdict::{DROP, Interface, PASS, Verdict, hook, reason};
use gabion_kernel_core::classify::{Entries, SliceTables, Tables, classify, classify_by_lane};
use gabion_kernel_core::judge::Place;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action, Decision};
use gabion_policy_model::trace::Direction;

use crate::{Choices, Corners, Host, INTERFACES, Sent, follow_up, frame, packet_near, policy_set, without_macs};

/// Packets for one policy.
const PACKETS: usize = 10;
/// Octets that are looked at: a policy of the largest size uses about so many.
const LONGEST: usize = 4096;
/// The interface that frames arrive on.
const ARRIVAL: u32 = 1;

/// What a run met, so that a search that looks at nothing is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Decisions of one end that the oracle allowed, denied and audited.
    pub decided: [usize; 3],
    /// Packets with a lane.
    pub in_lanes: usize,
    /// Verdicts of the short way.
    pub short: usize,
    /// Policies that do not fit.
    pub refused: usize,
}

impl Met {
    /// Adds what another run met.
    pub fn add(&mut self, other: &Self) {
        self.decided.iter_mut().zip(other.decided).for_each(|(sum, count)| *sum += count);
        self.in_lanes += other.in_lanes;
        self.short += other.short;
        self.refused += other.refused;
    }
}

/// What a word of the tables says, in the oracle's terms, and about which direction.
#[must_use]
pub fn decoded(compiled: &Compiled, word: u64) -> (Direction, Decision) {
    let rule = &compiled.rules[entry::rule(word) as usize];
    let decision = Decision {
        action: match entry::action(word) {
            entry::ALLOW => Action::Allow,
            entry::DENY => Action::Deny,
            _ => Action::Audit,
        },
        rule: rule.reference,
        stateless: entry::has(word, entry::STATELESS),
        log: entry::has(word, entry::LOG),
    };
    (rule.direction, decision)
}

/// The class that tables know an interface by.
#[must_use]
pub fn interface_class(compiled: &Compiled, name: Option<&str>) -> u32 {
    name.and_then(|name| compiled.interfaces.iter().position(|i| i == name)).map_or(0, |at| at as u32 + 1)
}

/// Makes a policy and packets of the octets, and holds tables, lanes, core and short way to the oracle.
///
/// The policy is read from the first octet on and the packets from the last, so that one can change without the other.
///
/// # Errors
/// The first difference, with the packet and the policy.
pub fn agree(octets: &[u8]) -> Result<Met, String> {
    let octets = &octets[..octets.len().min(LONGEST)];
    let reversed: Vec<u8> = octets.iter().rev().copied().collect();
    let mut choices = Unstructured::new(octets);
    let form = Choices::u8(&mut choices, 0..4);
    let (tells_macs, split) = (form % 2 == 1, form / 2 == 1);
    let mut set = policy_set(&mut choices);
    if !tells_macs {
        without_macs(&mut set);
    }
    let corners = Corners::of(&set);
    let mut choices = Unstructured::new(&reversed);
    let sent: Vec<Sent> = (0..PACKETS).map(|_| packet_near(&mut choices, &corners)).collect();
    let mut met = Met::default();
    // One group where that is possible, or every list split as those of large policies are.
    let single_group_bytes = if split { 0 } else { Options::default().single_group_bytes };
    let Ok(compiled) = compile(&set, &Options { single_group_bytes, ..Options::default() }) else {
        met.refused += 1;
        return Ok(met);
    };
    let case = Case { set: &set, compiled: &compiled };
    let told = |difference: String| format!("{difference}\nsingle_group_bytes {single_group_bytes}, {set:#?}");
    for sent in &sent {
        case.holds(sent, &mut met).map_err(|difference| told(format!("{difference}\n{sent:#?}")))?;
    }
    case.sequence(&mut choices, &sent, &mut met).map_err(told)?;
    Ok(met)
}

struct Case<'c> {
    set: &'c PolicySet,
    compiled: &'c Compiled,
}

impl<'c> Case<'c> {
    fn tables(&self) -> SliceTables<'c> {
        SliceTables { params: &self.compiled.params, words: &self.compiled.words }
    }

    fn is(&self, what: &str, found: Entries, judged: &oracle::Judgement) -> Result<(), String> {
        let both =
            [(Direction::Egress, found.egress, &judged.egress), (Direction::Ingress, found.ingress, &judged.ingress)];
        for (direction, word, expected) in both {
            let found = decoded(self.compiled, word);
            if found != (direction, *expected) {
                return Err(format!("{what}: oracle {direction:?} {expected:?}, tables {found:?}"));
            }
        }
        Ok(())
    }

    /// One packet, without state.
    fn holds(&self, sent: &Sent, met: &mut Met) -> Result<(), String> {
        let Sent { facts, source_interface, destination_interface } = sent;
        let judged = oracle::judge(self.set, facts, *source_interface, *destination_interface);
        for decision in [&judged.egress, &judged.ingress] {
            met.decided[decision.action as usize] += 1;
        }
        let class = |name: &Option<&'static str>| interface_class(self.compiled, *name);
        let (source, destination) = (class(source_interface), class(destination_interface));
        self.is("tables", classify(&self.tables(), facts, source, destination), &judged)?;
        let in_lane = lane_of(facts);
        if let Some(facts) = in_lane.filter(|_| self.tables().param(HAS_LANES) != 0) {
            met.in_lanes += 1;
            let judged = oracle::judge(self.set, &facts, *source_interface, None);
            self.is("lanes", classify_by_lane(&self.tables(), &facts, source), &judged)?;
        }
        if facts.unparsed != 0 {
            return Ok(());
        }
        // The frame of it, at a node that nothing happened to.
        let case = self.host(*source_interface).long(&frame(facts), ARRIVES);
        let judged = oracle::judge(self.set, &case.facts, *source_interface, None);
        self.is("core", case.entries, &judged)?;
        let Verdict { rule, action, reason: why, .. } = case.verdict;
        let (direction, deciding) = judged.deciding();
        let expected = match deciding.action {
            Action::Allow => (PASS, reason::RULE),
            Action::Deny => (DROP, reason::RULE),
            Action::Audit => (PASS, reason::AUDIT_RULE),
        };
        let info = &self.compiled.rules[rule as usize];
        if ((action, why), info.reference, info.direction) != (expected, deciding.rule, direction) {
            return Err(format!("verdict: oracle {direction:?} {deciding:?}, core {:?} of {info:?}", case.verdict));
        }
        Ok(())
    }

    fn host(&self, arrives_on: Option<&str>) -> Host<'c> {
        let mut host = Host::new(self.compiled, 1);
        let class = interface_class(self.compiled, arrives_on) as u16;
        host.interfaces.insert(ARRIVAL, Interface { class, ..Interface::default() });
        host
    }

    /// All packets after each other, with answers and errors between them: the short way against the long one.
    fn sequence<R: Choices>(&self, choices: &mut R, sent: &[Sent], met: &mut Met) -> Result<(), String> {
        let name = (choices.u8(0..3) > 0).then(|| INTERFACES[choices.usize(0..INTERFACES.len())]);
        let mut host = self.host(name);
        for sent in sent.iter().filter(|sent| sent.facts.unparsed == 0 && sent.facts.family != FAMILY_NONE) {
            let facts = Facts { vlan_outer: VLAN_NONE, vlan_inner: VLAN_NONE, ..sent.facts };
            for bytes in [frame(&facts), follow_up(choices, &facts), frame(&facts)] {
                host.now_ns += u64::from(choices.u8(0..4)) << 28;
                if let Some(short) = host.short(&bytes, ARRIVAL) {
                    met.short += 1;
                    let long = host.clone().long(&bytes, ARRIVES).verdict;
                    if outcome(&short) != outcome(&long) {
                        return Err(format!("short way {short:?}, long way {long:?}, from {facts:?}"));
                    }
                } else {
                    let _ = host.long(&bytes, ARRIVES);
                }
            }
        }
        Ok(())
    }
}

const ARRIVES: Place = Place { hook: hook::INGRESS as u32, source_ifindex: ARRIVAL, destination_ifindex: 0 };

/// What counts of a verdict.
fn outcome(verdict: &Verdict) -> (u8, u8, [u32; 3]) {
    (verdict.action, verdict.reason, [verdict.rule, verdict.egress_rule, verdict.ingress_rule])
}

/// The packet without its tags, if it is one that lanes are for.
fn lane_of(facts: &Facts) -> Option<Facts> {
    let whole = facts.family == FAMILY_V4 && facts.fragment == FRAGMENT_NONE && facts.unparsed == 0;
    let has_ports = facts.transport == facts::TRANSPORT_PORTS;
    let has_lane = !has_ports || [protocol::TCP, protocol::UDP].contains(&facts.protocol);
    (whole && has_lane).then_some(Facts { vlan_outer: VLAN_NONE, vlan_inner: VLAN_NONE, ..*facts })
}
