//! The short way decides as the long way does, for random policies and sequences of packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use fastrand::Rng;
use gabion_abi::event::Settings;
use gabion_abi::facts::{self, Address, FAMILY_NONE, FAMILY_V4, Facts, VLAN_NONE, protocol};
use gabion_abi::tables::OPENS;
use gabion_abi::verdict::{DROP, Interface, PASS, Verdict, hook, reason};
use gabion_kernel_core::judge::Place;
use gabion_kernel_core::parse::parse;
use gabion_kernel_core::short::usual;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, Rule};
use gabion_policy_model::service::Service;
use gabion_policy_model::set::Spanned;
use gabion_policy_model::site::{DefaultAction, Defaults, Site};
use gabion_testing_oracle::{Host, follow_up, frame, packet, policy_set, without_macs};

/// Packets between two generations.
const PACKETS: usize = 1_500;
/// Interfaces that frames arrive on.
const ARRIVALS: [u32; 2] = [1, 2];
/// One whose packets are judged when they leave.
const UNJUDGED: u32 = 3;
const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1000 * MILLISECOND_NS;
/// Longer than any connection lives.
const FOREVER_NS: u64 = 30 * 3600 * SECOND_NS;
/// What happens within this is closer together than any connection lives.
const CLOSE_NS: u64 = 7 * SECOND_NS;

/// A policy set that tells no MACs apart, or nothing would take the short way.
fn set(rng: &mut Rng) -> PolicySet {
    let mut set = policy_set(rng);
    without_macs(&mut set);
    if rng.usize(0..4) == 0 {
        // Hardly anything keeps state, but for what has no ports.
        let defaults = Defaults { ingress: DefaultAction::Deny, egress: DefaultAction::Deny, ..Defaults::default() };
        set.site = Some(Site { defaults, ..Site::default() });
        let mut all: Vec<&mut Spanned<Rule>> = Vec::new();
        all.extend(set.policies.iter_mut().flat_map(|p| p.ingress.iter_mut().chain(&mut p.egress)).flatten());
        all.extend(set.cluster_policies.iter_mut().flat_map(|p| p.ingress.iter_mut().chain(&mut p.egress)));
        for rule in all {
            if rule.action == Action::Deny {
                continue;
            }
            rule.stateless = rng.bool();
            if !rule.stateless {
                let protocols = [1..=1, 47..=112].map(RangeSet::from_range)[rng.usize(0..2)].clone();
                rule.services = vec![Service { protocols: Some(protocols), ..Service::default() }];
            }
        }
    }
    set
}

/// Flows that come again and again.
fn flows(rng: &mut Rng) -> Vec<Facts> {
    std::iter::repeat_with(|| packet(rng).facts)
        .filter(|facts| facts.family != FAMILY_NONE && facts.unparsed == 0)
        .map(|facts| Facts { vlan_outer: VLAN_NONE, vlan_inner: VLAN_NONE, ..facts })
        .take(3)
        .collect()
}

/// A packet of one of the flows, in one of both directions, or something else.
fn next(rng: &mut Rng, flows: &[Facts]) -> Facts {
    if rng.usize(0..12) == 0 {
        return Facts { unparsed: 0, ..packet(rng).facts };
    }
    let mut facts = flows[rng.usize(0..flows.len())];
    if rng.bool() {
        std::mem::swap(&mut facts.source, &mut facts.destination);
        std::mem::swap(&mut facts.source_port, &mut facts.destination_port);
    }
    if rng.usize(0..4) > 0 {
        facts.fragment = facts::FRAGMENT_NONE;
    }
    match (facts.transport, facts.family) {
        (facts::TRANSPORT_PORTS, _) if facts.protocol == protocol::TCP => {
            facts.tcp_flags =
                [0x10, 0x10, 0x10, 0x18, 0x02, 0x12, 0x11, 0x01, 0x04, 0x14, 0, rng.u8(..)][rng.usize(0..12)];
        }
        (facts::TRANSPORT_ICMP, FAMILY_V4) => facts.icmp_type = [8, 8, 0, 0, 13, 14, 5, 3][rng.usize(0..8)],
        (facts::TRANSPORT_ICMP, _) => facts.icmp_type = [128, 128, 129, 129, 1, 135, 136, 143][rng.usize(0..8)],
        _ => {}
    }
    if rng.usize(0..8) == 0 {
        facts.vlan_outer = 10;
    }
    facts
}

fn bytes(rng: &mut Rng, flows: &[Facts]) -> Vec<u8> {
    let facts = next(rng, flows);
    let mut bytes = if rng.usize(0..16) == 0 { follow_up(rng, &facts) } else { frame(&facts) };
    match rng.usize(0..40) {
        0 => bytes.truncate(rng.usize(15..bytes.len())),
        1 => {
            let at = rng.usize(12..bytes.len().min(60));
            bytes[at] = rng.u8(..);
        }
        _ => {}
    }
    bytes
}

/// Where a packet is judged, and whether it arrives there.
fn place(rng: &mut Rng, host: &Host<'_>, facts: &Facts) -> Place {
    let egress = |source_ifindex| Place { hook: u32::from(hook::EGRESS), source_ifindex, destination_ifindex: 1 };
    match rng.usize(0..10) {
        0 if host.local.contains(&(facts.family, facts.source)) => egress(0),
        1 => egress(UNJUDGED),
        _ => Place {
            hook: u32::from(hook::INGRESS),
            source_ifindex: ARRIVALS[rng.usize(0..ARRIVALS.len())],
            destination_ifindex: 0,
        },
    }
}

fn interfaces(rng: &mut Rng, host: &mut Host<'_>) {
    for ifindex in [ARRIVALS[0], ARRIVALS[1], UNJUDGED] {
        let class = rng.usize(0..=host.compiled.interfaces.len()) as u16;
        host.interfaces.insert(ifindex, Interface { class, ..Interface::default() });
    }
}

/// What counts of a verdict.
fn outcome(verdict: &Verdict) -> (u8, u8, [u32; 3]) {
    (verdict.action, verdict.reason, [verdict.rule, verdict.egress_rule, verdict.ingress_rule])
}

/// How often the short way decided: by action and reason.
#[derive(Default)]
struct Decided([[usize; reason::COUNT as usize]; 2]);

impl Decided {
    fn count(&mut self, verdict: &Verdict) {
        self.0[usize::from(verdict.action)][usize::from(verdict.reason)] += 1;
    }

    fn has_everything(&self) {
        println!("passed and dropped by reason: {:?}", self.0);
        for (action, why) in
            [(PASS, reason::RULE), (PASS, reason::REPLY), (PASS, reason::AUDIT_RULE), (DROP, reason::RULE)]
        {
            assert!(self.0[usize::from(action)][usize::from(why)] > 50, "{:?}", self.0);
        }
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = std::env::var("GABION_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let count = std::env::var("GABION_SEEDS").ok().map_or(count, |seeds| seeds.parse().unwrap());
    first..first + count
}

/// One world: policies that follow each other, and the flows that live through them.
fn world(rng: &mut Rng) -> (Vec<Compiled>, Vec<Facts>) {
    let sets: Vec<PolicySet> = (0..2).map(|_| set(rng)).collect();
    let compiled = sets.iter().map(|set| compile(set, &Options::default()).unwrap()).collect();
    (compiled, flows(rng))
}

fn host<'c>(rng: &mut Rng, compiled: &'c Compiled, flows: &[Facts]) -> Host<'c> {
    let mut host = Host::new(compiled, 1);
    host.now_ns = rng.u64(FOREVER_NS..1 << 50);
    if rng.bool() {
        host.local.extend(flows.iter().take(1).map(|facts| (facts.family, facts.source)));
    }
    if rng.bool() {
        host.local.insert((FAMILY_V4, Address::v4(0x0a00_0001)));
    }
    host.settings = Settings { failsafe_count: 1, ..Settings::default() };
    host.settings.failsafe[0] = 6 << 16 | 22;
    host
}

/// Whatever the state, what the short way says is what the long way would say now.
#[test]
fn each_decision_is_what_the_long_way_would_decide_then() {
    let mut decided = Decided::default();
    for seed in seeds(60) {
        let mut rng = Rng::with_seed(seed);
        let (compiled, flows) = world(&mut rng);
        let mut host = host(&mut rng, &compiled[0], &flows);
        for (number, compiled) in compiled.iter().enumerate() {
            if number > 0 {
                host.take_over(compiled);
            }
            interfaces(&mut rng, &mut host);
            for step in 0..PACKETS {
                host.settings.audit_mode = u32::from(rng.usize(0..10) == 0);
                host.late_ns = rng.u64(0..5 * MILLISECOND_NS);
                host.now_ns += match rng.usize(0..40) {
                    0 => [2, 9, 11, 29, 31, 59, 61, 181, 601][rng.usize(0..9)] * SECOND_NS + rng.u64(0..SECOND_NS),
                    1 => (1 << rng.u32(30..50)) - host.late_ns,
                    2..10 => rng.u64(0..SECOND_NS),
                    _ => rng.u64(0..10 * MILLISECOND_NS),
                };
                let bytes = bytes(&mut rng, &flows);
                let facts = parse(&bytes.as_slice(), false);
                let place = place(&mut rng, &host, &facts);
                let arrives = place.hook == u32::from(hook::INGRESS);
                let short = if arrives { host.short(&bytes, place.source_ifindex) } else { None };
                if let Some(short) = short {
                    decided.count(&short);
                    let case = host.clone().long(&bytes, place);
                    assert_eq!(
                        outcome(&short),
                        outcome(&case.verdict),
                        "GABION_SEED={seed} generation {number} step {step} opens {}: {case:?}",
                        compiled.params[OPENS],
                    );
                } else {
                    let _ = host.long(&bytes, place);
                }
            }
        }
    }
    decided.has_everything();
}

/// Who takes the short way where it serves sees the same verdicts as who always takes the long way. What is left out of
/// a connection's times matters only near the end of its life, so that packets here are close together, or far apart.
#[test]
fn sequences_end_the_same_either_way() {
    let mut decided = Decided::default();
    for seed in seeds(60) {
        let mut rng = Rng::with_seed(seed);
        let (compiled, flows) = world(&mut rng);
        let mut host = host(&mut rng, &compiled[0], &flows);
        let mut plain = host.clone();
        for (number, compiled) in compiled.iter().enumerate() {
            if number > 0 {
                host.take_over(compiled);
                plain.take_over(compiled);
            }
            interfaces(&mut rng, &mut host);
            plain.interfaces.clone_from(&host.interfaces);
            let mut since_ns = 0;
            for step in 0..PACKETS {
                host.settings.audit_mode = u32::from(rng.usize(0..10) == 0);
                plain.settings = host.settings;
                host.late_ns = rng.u64(0..5 * MILLISECOND_NS);
                let longest = [10 * MILLISECOND_NS, SECOND_NS][usize::from(rng.usize(0..8) == 0)];
                let after_ns = rng.u64(0..longest);
                since_ns += after_ns;
                host.now_ns += after_ns;
                if since_ns > CLOSE_NS {
                    since_ns = 0;
                    host.now_ns += FOREVER_NS;
                }
                plain.now_ns = host.now_ns;
                let bytes = bytes(&mut rng, &flows);
                let facts = parse(&bytes.as_slice(), false);
                let place = place(&mut rng, &host, &facts);
                let arrives = place.hook == u32::from(hook::INGRESS);
                let short = if arrives { host.short(&bytes, place.source_ifindex) } else { None };
                if let Some(short) = &short {
                    decided.count(short);
                }
                let found = short.unwrap_or_else(|| host.long(&bytes, place).verdict);
                let case = plain.long(&bytes, place);
                assert_eq!(
                    outcome(&found),
                    outcome(&case.verdict),
                    "GABION_SEED={seed} generation {number} step {step} {short:?}: {case:?}"
                );
            }
            host.now_ns += FOREVER_NS * rng.u64(0..2);
        }
    }
    decided.has_everything();
}

/// The fields that the short way reads are those of the parser, in frames as they are, cut and changed.
#[test]
fn random_frames_are_read_as_the_parser_does() {
    let mut rng = Rng::with_seed(1);
    let (mut taken, mut left) = (0, 0);
    let mut holds = |frame: &[u8]| {
        let mut found = Facts::default();
        if !usual::<false, _>(&frame, &mut found) && !usual::<true, _>(&frame, &mut found) {
            left += 1;
            return;
        }
        taken += 1;
        let expected = Facts { source_mac: 0, destination_mac: 0, transport_offset: 0, ..parse(&frame, false) };
        assert_eq!(found, expected, "{frame:02x?}");
        let Facts { unparsed, fragment, vlan_outer, .. } = found;
        assert_eq!((unparsed, fragment, vlan_outer), (0, facts::FRAGMENT_NONE, VLAN_NONE), "{frame:02x?}");
    };
    for _ in 0..400 {
        let facts = Facts { unparsed: 0, ..packet(&mut rng).facts };
        for mut frame in [frame(&facts), follow_up(&mut rng, &facts)] {
            for length in 0..=frame.len() {
                holds(&frame[..length]);
            }
            for at in 0..60 {
                let before = frame[at];
                for octet in [0, 0xff, before ^ 1, before.wrapping_add(1), before.wrapping_sub(1), rng.u8(..)] {
                    frame[at] = octet;
                    holds(&frame);
                }
                frame[at] = before;
            }
        }
    }
    println!("{taken} taken, {left} left to the long way");
    assert!(taken > 50_000 && left > 50_000);
}
