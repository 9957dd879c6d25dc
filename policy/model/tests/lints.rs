//! Lints speak when they should, and only then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod strategy;

use std::fmt::Write as _;

use gabion_policy_model::finding::{Code, Severity};
use gabion_policy_model::lint::lint;
use gabion_policy_model::oracle;
use gabion_policy_model::trace::{Direction, RuleRef};
use gabion_policy_model::{PolicySet, Source, parse};
use proptest::prelude::*;

fn read(text: &str) -> PolicySet {
    parse(&[Source::new("policy.yaml", text)]).unwrap_or_else(|findings| panic!("{}\n{text}", findings[0]))
}

fn cluster(rules: &str) -> String {
    format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: guard}}\n\
         spec:\n  tier: {{name: ops, order: 1}}\n  subject: any\n  ingress:\n{rules}"
    )
}

fn policy(rules: &str) -> String {
    format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: rtu}}\nspec:\n  subject: any\n  ingress:\n{rules}"
    )
}

const INVENTORY: &str = "
---
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: plant}
spec:
  entries:
    - {name: hmi, labels: {role: hmi}, serviceAccount: scada, spiffeId: spiffe://p.example/hmi, addresses: [10.0.0.1],
       ports: {web: tcp/80}}
";

fn codes(text: &str) -> Vec<(Code, u32)> {
    let findings = lint(&read(text));
    assert!(findings.iter().all(|finding| finding.code.severity() == Severity::Warning));
    findings.iter().map(|finding| (finding.code, finding.location.line)).collect()
}

#[test]
fn a_rule_that_an_earlier_one_covers_is_shadowed() {
    let covered = cluster(
        "    - {name: a, action: deny, from: [{cidr: 10.0.0.0/8}], services: [{protocol: tcp}]}\n    \
             - {name: b, action: allow, from: [{cidr: 10.1.0.0/16}], services: [{protocol: tcp, ports: [80]}]}\n",
    );
    assert_eq!(codes(&covered), [(Code::Shadowed, 9)]);
}

#[test]
fn an_exception_before_its_rule_is_neither_shadowed_nor_an_overlap() {
    let exception = cluster(
        "    - {name: b, action: allow, from: [{cidr: 10.1.0.0/16}]}\n    \
             - {name: a, action: deny, from: [{cidr: 10.0.0.0/8}]}\n",
    );
    assert_eq!(codes(&exception), []);
}

#[test]
fn what_must_be_named_is_not_covered_by_a_rule_for_anything() {
    let named = cluster(
        "    - {name: a, action: deny}\n    \
             - {name: arp, action: allow, services: [{etherType: arp}]}\n    \
             - {name: discovery, action: allow, services: [{icmp: neighbour-solicitation}]}\n    \
             - {name: unparsed, action: allow, services: [{unparsed: any}]}\n",
    );
    assert_eq!(codes(&named), []);
}

#[test]
fn a_hole_in_a_block_is_not_covered() {
    let hole = cluster(
        "    - {name: a, action: deny, from: [{cidr: 10.0.0.0/8, except: [10.1.2.0/24]}]}\n    \
             - {name: b, action: allow, from: [{cidr: 10.1.0.0/16}]}\n",
    );
    assert_eq!(codes(&hole), []);
}

#[test]
fn an_allow_and_a_deny_that_overlap_in_part_are_reported() {
    let overlap = cluster(
        "    - {name: a, action: allow, from: [{cidr: 10.0.0.0/8}], services: [{protocol: tcp, ports: [80]}]}\n    \
             - {name: b, action: deny, from: [{cidr: 10.1.0.0/16}], services: [{protocol: tcp, \
             ports: \"1-1023\"}]}\n    - {name: c, action: deny, from: [{cidr: 11.0.0.0/8}]}\n    \
             - {name: d, action: deny, services: [{protocol: udp}]}\n",
    );
    assert_eq!(codes(&overlap), [(Code::Overlap, 9)]);
}

#[test]
fn in_policies_a_deny_shadows_an_allow_whatever_their_order() {
    let denied = policy(
        "    - {name: a, from: [{cidr: 10.1.0.0/16}]}\n    - {name: b, action: deny, from: [{cidr: 10.0.0.0/8}]}\n",
    );
    assert_eq!(codes(&denied), [(Code::Shadowed, 7)]);
}

#[test]
fn rules_and_subjects_that_match_nothing_are_reported() {
    let text = policy(
        "    - {name: a, from: nobody}\n    \
             - {name: b, services: [{protocol: udp, ports: web}]}\n    \
             - {name: c, services: [{protocol: tcp, ports: web}]}\n    \
             - {name: d, from: [{labels: {role: rtu}}]}\n    \
             - {name: e, from: [{labels: {role: hmi}}, {serviceAccount: scada}, {spiffeId: \"spiffe://p.example/*\"}]}\n    \
             - {name: f, from: [{serviceAccount: other/scada}]}\n    \
             - {name: g, services: [{protocol: [tcp, icmp], ports: [1]}]}\n",
    ) + INVENTORY;
    let expected = [
        (Code::NeverMatches, 7),
        (Code::NeverMatches, 8),
        (Code::NobodyCarries, 10),
        (Code::NobodyCarries, 12),
        (Code::PartlyContradictory, 13),
    ];
    assert_eq!(codes(&text), expected);
}

#[test]
fn an_interface_that_the_site_does_not_list_is_reported() {
    let site = "---\napiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {name: s}\n\
                spec: {interfaces: [{name: \"eth*\"}], failsafe: []}\n";
    let rules = "    - {name: a, from: [{interface: eth7}]}\n    - {name: b, from: [{interface: wlan0}]}\n";
    assert_eq!(codes(&(policy(rules) + site)), [(Code::UnknownInterface, 8), (Code::NoFailsafe, 12)]);
}

#[test]
fn ways_out_that_are_unknown_on_arrival_are_reported() {
    let inward = policy(
        "    - {name: a, action: deny, to: [{interface: ot0}]}\n    - {name: b, from: [{interface: it0}]}\n  egress:\n    \
         - {name: c, to: [{interface: ot0}], services: [{protocol: udp}]}\n    \
         - {name: d, action: deny, to: [{interface: ot0}], services: [{protocol: tcp}]}\n",
    );
    assert_eq!(codes(&inward), [(Code::LeavesLater, 7), (Code::LeavesLater, 11)]);
    let receiver = policy("    - {name: a}\n").replace("subject: any", "subject: {interface: ot0}");
    assert_eq!(codes(&receiver), [(Code::LeavesLater, 3)]);
    assert_eq!(codes(&receiver.replace("ingress:", "egress:")), []);
}

#[test]
fn documents_without_effect_are_reported() {
    let text = "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: a}\nspec: {subject: any}\n---\n\
                apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {name: b}\n\
                spec: {subject: any, tier: {name: t, order: 1}}\n";
    assert_eq!(codes(text), [(Code::NoEffect, 3), (Code::NoEffect, 8)]);
}

#[test]
fn ten_thousand_rules_are_read_and_linted_in_a_moment() {
    let mut text = cluster("");
    for n in 0..10_000_u32 {
        let action = if n % 3 == 0 { "deny" } else { "allow" };
        let (a, b) = (n / 256 % 256, n % 256);
        writeln!(
            text,
            "    - {{name: rule-{n}, action: {action}, from: [{{cidr: 10.{a}.{b}.0/24}}], \
             to: [{{cidr: 11.{b}.{a}.0/24}}], services: [{{protocol: tcp, ports: [{n}]}}]}}"
        )
        .unwrap();
    }
    // What grows with the square of the rules never ends: the runner's own limit is the bound.
    assert_eq!(lint(&read(&text)).first(), None);
}

fn rule_named(set: &PolicySet, line: u32) -> Option<RuleRef> {
    let by_line = |policy: usize, rules: &[gabion_policy_model::set::Spanned<gabion_policy_model::rule::Rule>]| {
        rules.iter().position(|rule| rule.location.line == line).map(|rule| (policy as u32, rule as u32))
    };
    let cluster = set.cluster_policies.iter().enumerate().find_map(|(index, policy)| by_line(index, &policy.ingress));
    cluster.map(|(policy, rule)| RuleRef::Cluster { policy, rule })
}

proptest! {
    /// What is called shadowed never decides about a packet, by the oracle.
    #[test]
    fn what_is_shadowed_never_decides(
        rules in prop::collection::vec((0..3_u8, 0..4_u32, 8..18_u8, 0..3_u8, 0..30_u16), 2..12),
        packets in prop::collection::vec((any::<u32>(), 0..3_u8, 0..40_u16), 60),
    ) {
        let mut text = cluster("");
        for (action, block, length, protocol, port) in rules {
            let action = ["allow", "deny", "pass"][usize::from(action)];
            let block = ipnet::Ipv4Net::new((10 << 24 | block << 14).into(), length).unwrap().trunc();
            let service = match protocol {
                0 => String::new(),
                1 => ", services: [{protocol: tcp}]".to_owned(),
                _ => format!(", services: [{{protocol: [tcp, udp], ports: \"{port}-30\"}}]"),
            };
            writeln!(text, "    - {{action: {action}, from: [{{cidr: {block}}}]{service}}}").unwrap();
        }
        let set = read(&text);
        let shadowed: Vec<_> = lint(&set)
            .iter()
            .filter(|finding| finding.code == Code::Shadowed)
            .map(|finding| rule_named(&set, finding.location.line).unwrap())
            .collect();
        use gabion_abi::facts::{TRANSPORT_NONE, TRANSPORT_PORTS};
        for (low, protocol, port) in packets {
            let facts = gabion_abi::facts::Facts {
                source: gabion_abi::facts::Address::v4(10 << 24 | low & 0xffff),
                ethertype: gabion_abi::facts::ETHERTYPE_IPV4,
                family: gabion_abi::facts::FAMILY_V4,
                protocol: [1, 6, 17][usize::from(protocol)],
                transport: if protocol == 0 { TRANSPORT_NONE } else { TRANSPORT_PORTS },
                destination_port: port,
                ..gabion_abi::facts::Facts::UNKNOWN
            };
            let decision = oracle::decide(&set, &facts, None, None, Direction::Ingress);
            prop_assert!(!shadowed.contains(&decision.rule), "{:?} decides\n{}", decision.rule, text);
        }
    }

    #[test]
    fn lints_take_any_set(set in strategy::set()) {
        let _ = lint(&set);
    }
}

#[test]
fn ends_and_services_of_different_kinds_never_match() {
    let apart = cluster(
        "    - {name: families, action: deny, from: [{cidr: 10.0.0.0/8}], to: [{cidr: 'fd00::/8'}]}\n    \
             - {name: frames, action: deny, from: [{cidr: 10.0.0.0/8}], services: [{etherType: goose}]}\n    \
             - {name: icmp, action: deny, from: [{cidr: 10.0.0.0/8}], services: [{protocol: icmpv6, icmp: 1}]}\n    \
             - {action: deny, from: [{cidr: 10.0.0.0/8}], services: [{etherType: sv}, {protocol: tcp}]}\n    \
             - {name: mac, action: deny, from: [{mac: '02:00:00:00:00:01'}], services: [{etherType: goose}]}\n",
    );
    assert_eq!(codes(&apart), [(Code::NeverMatches, 8), (Code::NeverMatches, 9), (Code::NeverMatches, 10)]);
    let subject = cluster("    - {name: a, action: deny, from: [{cidr: 'fd00::/8'}]}\n")
        .replace("subject: any", "subject: {cidr: 10.0.0.0/8}");
    assert_eq!(codes(&subject), [(Code::NeverMatches, 8)]);
}

#[test]
fn blocks_that_are_nobodys_are_reported() {
    let empty =
        cluster("    - {name: a, action: deny, from: [{cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]}]}\n");
    assert_eq!(codes(&empty), [(Code::NobodyCarries, 8)]);
    let mapped = cluster("    - {name: a, action: deny, from: [{cidr: '::ffff:10.0.0.0/104'}]}\n");
    let findings = lint(&read(&mapped));
    assert_eq!(findings[0].code, Code::NobodyCarries);
    assert!(findings[0].help.as_deref().unwrap().contains("10.0.0.0/8"), "{findings:?}");
    let forged = cluster("    - {name: a, action: deny, from: [{cidr: '::ffff:0.0.0.0/96'}]}\n");
    assert_eq!(codes(&forged), [], "all of them at once are what one keeps out");
}

#[test]
fn entries_that_no_packet_is_are_reported() {
    let entries = "apiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {name: plant}\nspec:\n  entries:\n    \
                   - {name: a}\n    - {name: b, addresses: ['::ffff:10.0.0.1']}\n    - {name: c, interfaces: [eth0]}\n";
    assert_eq!(codes(entries), [(Code::NobodyCarries, 6), (Code::NobodyCarries, 7)]);
}
