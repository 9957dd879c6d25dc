//! Oracle = tables, for policies made so that each shape of a table occurs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use fastrand::Rng;
use gabion_abi::facts::{self, Address, ETHERTYPE_IPV4, Facts, protocol};
use gabion_abi::tables::{self, direction, end, entry, group, service};
use gabion_kernel_core::classify::{SliceTables, Tables, classify, classify_by_lane};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action as Decided};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Rule, Stage, Tier};
use gabion_policy_model::service::{PortMatch, Service};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::site::{DefaultAction, Defaults, Site};
use gabion_policy_model::subject::{Any, AnySubject, Cidr};
use ipnet::{IpNet, Ipv4Net};

const SOURCES: u32 = 0x0a00_0000;
const DESTINATIONS: u32 = 0x0a01_0000;
const FIRST_PORT: u32 = 1_000;
/// Ends on each side, so many that a class takes eleven bits.
const ENDS: u32 = 1_100;

fn block(first: u32, length: u8, except: Option<u32>) -> Option<Vec<AnySubject>> {
    let net = |first: u32, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(first), length).trunc());
    let except = except.map(|first| net(first, 32)).into_iter().collect();
    Some(vec![AnySubject::Cidr(Cidr { block: net(first, length), except })])
}

fn port(number: u32) -> Service {
    Service {
        protocols: Some(RangeSet::from_range(6..=6)),
        ports: Some(PortMatch::Numbers(RangeSet::from_range(number..=number))),
        ..Service::default()
    }
}

fn rule(rng: &mut Rng, ends: [Option<Vec<AnySubject>>; 2], services: Vec<Service>) -> Rule {
    let [from, to] = ends;
    Rule {
        name: format!("rule-{}", rng.u32(..)),
        action: [Action::Allow, Action::Deny, Action::Audit][rng.usize(0..3)],
        from,
        to,
        services,
        stateless: rng.bool(),
        log: rng.bool(),
    }
}

fn of_pair(rng: &mut Rng, source: u32, destination: u32, services: Vec<Service>) -> Rule {
    rule(rng, [block(SOURCES + source, 32, None), block(DESTINATIONS + destination, 32, None)], services)
}

/// Everything else is refused, by rules in both directions.
fn set(ingress: Vec<Rule>, egress: Vec<Rule>) -> PolicySet {
    let policy = ClusterPolicy {
        name: "shapes".to_owned(),
        tier: Tier { name: "tier".to_owned(), stage: Stage::Admin, order: 0 },
        order: 0,
        subject: AnySubject::Any(Any),
        ingress: ingress.into_iter().map(Spanned::from).collect(),
        egress: egress.into_iter().map(Spanned::from).collect(),
        location: Location::default(),
    };
    let defaults = Defaults { ingress: DefaultAction::Deny, egress: DefaultAction::Deny, ..Defaults::default() };
    PolicySet {
        cluster_policies: vec![policy],
        site: Some(Site { defaults, ..Site::default() }),
        ..PolicySet::default()
    }
}

/// The shapes that compiled tables have.
#[derive(Debug, Default)]
struct Shapes {
    dense: usize,
    hashed: usize,
    /// Payloads by kind.
    kinds: [usize; 4],
    match_words: u32,
    record_words: u32,
    floors: usize,
    lane_entries: usize,
}

impl Shapes {
    fn of(compiled: &Compiled) -> Self {
        let tables = SliceTables { params: &compiled.params, words: &compiled.words };
        let mut shapes = Self {
            match_words: tables.param(service::MATCH_WORDS),
            record_words: tables.param(tables::SOURCE + end::RECORD_WORDS),
            ..Self::default()
        };
        for side in [tables::EGRESS, tables::INGRESS] {
            shapes.floors += usize::from(tables.param(side + direction::FLOOR) != 0);
            shapes.lane_entries += usize::from(tables.param(side + direction::LANE_ENTRY) != 0);
            for number in 0..tables::GROUPS {
                shapes.add_group(
                    &tables,
                    compiled.stats.source_classes as u32,
                    side + direction::GROUP + number * group::COUNT,
                );
            }
        }
        shapes
    }

    fn add_group(&mut self, tables: &SliceTables<'_>, classes: u32, at: usize) {
        if tables.param(at + group::SOURCE_MASK) == 0 {
            return;
        }
        let base = tables.param(at + group::PAIR_BASE);
        let columns = tables.param(at + group::PAIR_COLUMNS);
        let kind_shift = tables.param(at + group::PAYLOAD_BITS) - 2;
        if columns == 0 {
            self.hashed += 1;
            for slot in 0..tables.param(at + group::PAIR_SLOTS) {
                let payload = tables.word(base + slot) >> tables.param(at + group::PAIR_KEY_BITS);
                self.kinds[(payload >> kind_shift) as usize] += 1;
            }
        } else {
            self.dense += 1;
            // One row for each class, unless records say otherwise.
            let rows = if self.record_words == 0 { classes } else { 1 };
            for index in 0..rows * columns {
                self.kinds[(tables.half(base, index) >> kind_shift) as usize] += 1;
            }
        }
    }
}

/// A TCP packet between the first of sources and destinations, and a few beyond.
fn packet(rng: &mut Rng, ends: u32, ports: u32) -> Facts {
    Facts {
        source: Address::v4(SOURCES + rng.u32(0..=ends)),
        destination: Address::v4(DESTINATIONS + rng.u32(0..=ends)),
        ethertype: ETHERTYPE_IPV4,
        family: facts::FAMILY_V4,
        protocol: if rng.usize(0..10) == 0 { protocol::UDP } else { protocol::TCP },
        transport: facts::TRANSPORT_PORTS,
        source_port: rng.u16(..),
        destination_port: (FIRST_PORT + rng.u32(0..=ports)) as u16,
        ..Facts::UNKNOWN
    }
}

/// Compiles, holds the tables to the oracle, and says what shapes they have.
fn agree(rng: &mut Rng, set: &PolicySet, options: &Options, packets: &[Facts]) -> Shapes {
    let compiled = compile(set, options).unwrap();
    let tables = SliceTables { params: &compiled.params, words: &compiled.words };
    let mut rules = BTreeSet::new();
    for facts in packets {
        let class = rng.u32(0..3);
        let found = classify(&tables, facts, class, 0);
        assert_eq!(classify_by_lane(&tables, facts, class), found, "{facts:?}");
        let expected = oracle::judge(set, facts, None, None);
        for (word, expected) in [(found.egress, expected.egress), (found.ingress, expected.ingress)] {
            let rule = &compiled.rules[entry::rule(word) as usize];
            let action = match entry::action(word) {
                entry::ALLOW => Decided::Allow,
                entry::DENY => Decided::Deny,
                _ => Decided::Audit,
            };
            assert_eq!((rule.reference, action), (expected.rule, expected.action), "{facts:?}");
            rules.insert(entry::rule(word));
        }
    }
    let shapes = Shapes::of(&compiled);
    println!("{} rules decided; {shapes:?}", rules.len());
    assert!(rules.len() > 10, "the packets do not meet the rules");
    shapes
}

fn packets(rng: &mut Rng, count: usize, ends: u32, ports: u32) -> Vec<Facts> {
    (0..count).map(|_| packet(rng, ends, ports)).collect()
}

/// Pairs of so many ends, each with rules of its own for so many ports.
fn pairs(rng: &mut Rng, ends: u32, rules: std::ops::RangeInclusive<usize>, ports: u32) -> Vec<Rule> {
    let mut all = Vec::new();
    for source in 0..ends {
        for destination in 0..ends {
            for _ in 0..rng.usize(rules.clone()) {
                let service = port(FIRST_PORT + rng.u32(0..ports));
                all.push(of_pair(rng, source, destination, vec![service]));
            }
        }
    }
    rng.shuffle(&mut all);
    all
}

#[test]
fn single_candidates_stand_in_the_pair() {
    let mut rng = Rng::with_seed(1);
    let rules = pairs(&mut rng, 6, 1..=1, 3);
    let packets = packets(&mut rng, 2_000, 6, 3);
    let shapes = agree(&mut rng, &set(rules, Vec::new()), &Options::default(), &packets);
    let [_, one, list, row] = shapes.kinds;
    assert!(shapes.dense == 1 && one > 5 && (list, row) == (0, 0), "{shapes:?}");
    assert!(shapes.lane_entries == 1, "nothing is asked of what is sent: {shapes:?}");
}

#[test]
fn some_candidates_make_a_list_and_many_a_row() {
    let mut rng = Rng::with_seed(2);
    // Every length to beyond the longest list; for all ports in the end, or not.
    let mut rules = Vec::new();
    for source in 0..24 {
        for destination in 0..4 {
            for number in 0..source {
                rules.push(of_pair(&mut rng, source, destination, vec![port(FIRST_PORT + number)]));
            }
            if destination % 2 == 0 {
                rules.push(of_pair(&mut rng, source, destination, Vec::new()));
            }
        }
    }
    let packets = packets(&mut rng, 3_000, 24, 24);
    let egress = rules.iter().rev().cloned().collect();
    let shapes = agree(&mut rng, &set(rules, egress), &Options::default(), &packets);
    let [_, _, list, row] = shapes.kinds;
    assert!(shapes.dense == 2 && list > 50 && row > 20, "{shapes:?}");
}

#[test]
fn more_than_64_conditions_take_more_than_one_word() {
    let mut rng = Rng::with_seed(3);
    let rules = pairs(&mut rng, 8, 1..=12, 200);
    let packets = packets(&mut rng, 3_000, 8, 200);
    let shapes = agree(&mut rng, &set(Vec::new(), rules), &Options::default(), &packets);
    let [_, _, list, _] = shapes.kinds;
    assert!(shapes.match_words > 1 && list > 5, "{shapes:?}");
}

#[test]
fn scattered_pairs_are_hashed() {
    let mut rng = Rng::with_seed(4);
    let mut rules = Vec::new();
    for number in 0..150 {
        let count = [1, 1, 5, 20][number as usize % 4];
        for at in 0..count {
            rules.push(of_pair(&mut rng, number, number * 7 % 150, vec![port(FIRST_PORT + at)]));
        }
    }
    let mut packets = packets(&mut rng, 1_000, 150, 20);
    for _ in 0..1_000 {
        let mut facts = packet(&mut rng, 150, 20);
        let number = facts.source.words[0] - SOURCES;
        facts.destination = Address::v4(DESTINATIONS + number * 7 % 150);
        packets.push(facts);
    }
    // And what is for anyone, between them.
    rules.insert(rules.len() / 2, rule(&mut rng, [None, None], vec![port(FIRST_PORT)]));
    let shapes = agree(&mut rng, &set(rules, Vec::new()), &Options::default(), &packets);
    assert!(shapes.hashed == 1 && shapes.floors > 0, "{shapes:?}");
    assert!(shapes.kinds.iter().all(|&count| count > 10), "{shapes:?}");
}

#[test]
fn groups_of_many_classes_need_records_of_two_words() {
    let mut rng = Rng::with_seed(5);
    let mut sides = [Vec::new(), Vec::new()];
    for rules in &mut sides {
        for number in 0..ENDS {
            let other = number * 13 % ENDS;
            for ends in [
                [block(SOURCES + number, 32, None), block(DESTINATIONS, 21, Some(DESTINATIONS + number % 100))],
                [block(SOURCES, 21, Some(SOURCES + number % 100)), block(DESTINATIONS + other, 32, None)],
                [block(SOURCES + number, 32, None), block(DESTINATIONS + other, 32, None)],
            ] {
                let service = vec![port(FIRST_PORT + rng.u32(0..60))];
                rules.push(rule(&mut rng, ends, service));
            }
        }
        for _ in 0..40 {
            let holes = [rng.u32(0..ENDS), rng.u32(0..ENDS)];
            let ends =
                [block(SOURCES, 21, Some(SOURCES + holes[0])), block(DESTINATIONS, 21, Some(DESTINATIONS + holes[1]))];
            let service = vec![port(FIRST_PORT + rng.u32(0..4))];
            rules.push(rule(&mut rng, ends, service));
        }
        rng.shuffle(rules);
    }
    let [ingress, egress] = sides;
    let packets = packets(&mut rng, 400, ENDS, 60);
    let options = Options { single_group_bytes: 0, ..Options::default() };
    let shapes = agree(&mut rng, &set(ingress, egress), &options, &packets);
    assert!(shapes.record_words == 2 && shapes.dense + shapes.hashed == 8, "{shapes:?}");
}
