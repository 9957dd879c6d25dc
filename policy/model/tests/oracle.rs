//! The oracle against `docs/policy.md`, section by section: each test quotes what it holds it to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use gabion_abi::facts::{self, Address, Facts, protocol, unparsed};
use gabion_policy_model::oracle::{Action, decide, judge};
use gabion_policy_model::trace::Direction;
use gabion_policy_model::{PolicySet, Source, parse};

const INVENTORY: &str = "
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: plant}
spec:
  namespaces: {field: {labels: {zone: ot}}}
  entries:
    - {name: rtu, labels: {role: rtu}, addresses: [10.0.0.2, \"2001:db8::2\"], macs: [\"02:00:00:00:00:02\"],
       ports: {modbus: tcp/502}}
    - {name: hmi, labels: {role: hmi}, addresses: [10.0.0.3], serviceAccount: scada, spiffeId: spiffe://p.example/ops/hmi, ports: {modbus: tcp/1502}}
    - {name: ied, namespace: field, labels: {role: ied}, macs: [\"02:00:00:00:00:04\"]}
    - {name: lab, labels: {role: lab}, interfaces: [eth9]}
";

/// Documents of `kind: spec` pairs, the inventory among them.
fn set(documents: &[(&str, &str, &str)]) -> PolicySet {
    let mut text = INVENTORY.to_owned();
    for (kind, name, spec) in documents {
        text +=
            &format!("---\napiVersion: gabion.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    }
    parse(&[Source::new("test", text.as_str())]).unwrap_or_else(|findings| panic!("{}\n{text}", findings[0]))
}

fn wire(address: &str) -> (u8, Address) {
    match address.parse().unwrap() {
        IpAddr::V4(address) => (facts::FAMILY_V4, Address::v4(address.into())),
        IpAddr::V6(address) => (facts::FAMILY_V6, Address::v6(address.into())),
    }
}

fn ip(source: &str, destination: &str, protocol: u8) -> Facts {
    let ((family, source), (_, destination)) = (wire(source), wire(destination));
    let ethertype = if family == facts::FAMILY_V4 { facts::ETHERTYPE_IPV4 } else { facts::ETHERTYPE_IPV6 };
    Facts { source, destination, family, ethertype, protocol, ..Facts::UNKNOWN }
}

fn ports(source: &str, destination: &str, protocol: u8, port: u16) -> Facts {
    let ports = Facts {
        source_port: 40_000,
        destination_port: port,
        tcp_flags: facts::tcp::SYN,
        ..ip(source, destination, protocol)
    };
    Facts { transport: facts::TRANSPORT_PORTS, ..ports }
}

fn icmp(source: &str, destination: &str, icmp_type: u8, icmp_code: u8) -> Facts {
    let number = if source.contains(':') { protocol::ICMPV6 } else { protocol::ICMP };
    Facts { icmp_type, icmp_code, transport: facts::TRANSPORT_ICMP, ..ip(source, destination, number) }
}

fn frame(ethertype: u16, source_mac: u64, destination_mac: u64) -> Facts {
    Facts { ethertype, source_mac, destination_mac, ..Facts::UNKNOWN }
}

const POLL: (&str, &str, u16) = ("10.0.0.3", "10.0.0.2", 502);

fn poll() -> Facts {
    ports(POLL.0, POLL.1, protocol::TCP, POLL.2)
}

fn asked(set: &PolicySet, facts: &Facts, direction: Direction) -> (Action, String) {
    let decision = decide(set, facts, None, None, direction);
    (decision.action, decision.rule.name(set, direction))
}

fn ingress(set: &PolicySet, facts: &Facts) -> (Action, String) {
    asked(set, facts, Direction::Ingress)
}

fn says(action: Action, rule: &str) -> (Action, String) {
    (action, rule.to_owned())
}

/// "The first rule that matches decides ... `pass` leaves the tier: the next one is consulted."
#[test]
fn tiers_are_consulted_in_order_and_pass_leaves_the_tier() {
    let set = set(&[
        (
            "ClusterPolicy",
            "second",
            "{tier: {name: two, order: 2}, subject: any, ingress: [{action: deny, name: all}]}",
        ),
        (
            "ClusterPolicy",
            "first",
            "{tier: {name: one, order: 1}, subject: any, ingress: [
            {action: pass, name: polls, services: [{protocol: tcp, ports: 502}]},
            {action: audit, name: web, services: [{protocol: tcp, ports: 80}]},
            {action: allow, name: never, services: [{protocol: tcp, ports: 502}]}]}",
        ),
        (
            "ClusterPolicy",
            "after",
            "{tier: {name: one, order: 1}, order: 9, subject: any, ingress: [{action: allow, name: rest}]}",
        ),
    ]);
    assert_eq!(ingress(&set, &poll()), says(Action::Deny, "second/all"));
    assert_eq!(ingress(&set, &ports(POLL.0, POLL.1, 6, 80)), says(Action::Audit, "first/web"));
    assert_eq!(ingress(&set, &ports(POLL.0, POLL.1, 6, 81)), says(Action::Allow, "after/rest"));
    assert_eq!(decide(&set, &poll(), None, None, Direction::Ingress).rule.tier(&set), "two");
}

/// "If any rule of any of them that matches says `deny`, that decides; else any that says `audit`;
/// else any that says `allow`; of several, the first by namespace, name and position."
#[test]
fn in_policies_a_deny_wins_over_an_audit_over_an_allow() {
    let allow = ("Policy", "a", "{subject: any, ingress: [{name: one}, {name: two}]}");
    let audit = ("Policy", "b", "{subject: any, ingress: [{name: one, action: audit}]}");
    let deny = ("Policy", "c", "{subject: any, ingress: [{name: one, action: deny, log: true}]}");
    assert_eq!(ingress(&set(&[deny, audit, allow]), &poll()), says(Action::Deny, "c/one"));
    assert_eq!(ingress(&set(&[audit, allow]), &poll()), says(Action::Audit, "b/one"));
    assert_eq!(ingress(&set(&[allow]), &poll()), says(Action::Allow, "a/one"));
    assert!(decide(&set(&[deny]), &poll(), None, None, Direction::Ingress).log);
}

/// "If none matches but a `Policy` applies and speaks of this direction, the end is *isolated*: deny."
#[test]
fn a_policy_isolates_whom_it_selects_in_the_directions_it_speaks_of() {
    let set =
        set(&[("Policy", "rtu", "{subject: {labels: {role: rtu}}, ingress: [{name: web, services: [{ports: 80}]}]}")]);
    assert_eq!(ingress(&set, &poll()), says(Action::Deny, "rtu/isolation"));
    assert_eq!(ingress(&set, &ports(POLL.1, POLL.0, 6, 502)), says(Action::Allow, "default/ingress"));
    assert_eq!(asked(&set, &ports(POLL.1, POLL.0, 6, 502), Direction::Egress), says(Action::Allow, "default/egress"));
}

/// "Baseline tiers, like admin tiers, for packets that no `Policy` decided."
#[test]
fn baseline_is_for_ends_that_no_policy_isolates() {
    let baseline = (
        "ClusterPolicy",
        "base",
        "{tier: {name: base, order: 1, stage: baseline}, subject: any, ingress: [
        {action: deny, name: arp, services: [{etherType: arp}]}, {action: allow, name: all}]}",
    );
    let policy = ("Policy", "rtu", "{subject: any, ingress: []}");
    assert_eq!(ingress(&set(&[baseline]), &poll()), says(Action::Allow, "base/all"));
    assert_eq!(ingress(&set(&[baseline, policy]), &poll()), says(Action::Deny, "rtu/isolation"));
    let arp = frame(facts::ETHERTYPE_ARP, 1, 2);
    assert_eq!(ingress(&set(&[baseline, policy]), &arp), says(Action::Deny, "base/arp"));
}

/// "the first entry of `site.defaults.subjects` that the end carries and that speaks of the
/// direction, then `site.defaults.ingress` or `egress` (allow unless stated)."
#[test]
fn defaults_go_by_subject_then_by_direction() {
    let set = set(&[(
        "Site",
        "s",
        "{defaults: {ingress: deny, subjects: [
        {subject: {cidr: 10.0.0.0/24}, egress: deny}, {subject: {labels: {role: rtu}}, ingress: allow}]}}",
    )]);
    assert_eq!(ingress(&set, &poll()), says(Action::Allow, "default/subject-1"));
    assert_eq!(asked(&set, &poll(), Direction::Egress), says(Action::Deny, "default/subject-0"));
    assert_eq!(ingress(&set, &ports(POLL.1, POLL.0, 6, 1)), says(Action::Deny, "default/ingress"));
    assert_eq!(ingress(&PolicySet::default(), &poll()), says(Action::Allow, "default/ingress"));
}

/// "Three kinds of packet are judged only by services that name them ... no rule without such a
/// service, no isolation and no other default applies to them."
#[test]
fn link_control_is_judged_only_by_rules_that_name_it() {
    let silent = [
        (
            "Policy",
            "a",
            "{subject: any, ingress: [{name: all, action: deny}, {name: icmp, action: deny, services: [{protocol: icmpv6}]}]}",
        ),
        ("Site", "s", "{defaults: {ingress: deny}}"),
    ];
    let named = [(
        "Policy",
        "a",
        "{subject: any, ingress: [
        {name: arp, action: deny, services: [{etherType: arp}]},
        {name: nd, action: deny, services: [{icmp: neighbour-solicitation}]}]}",
    )];
    let arp = frame(facts::ETHERTYPE_ARP, 1, 2);
    // To the solicited-node group of its target, and from or to the node itself.
    let of_link = Facts { hop_limit: 255, ..icmp("2001:db8::3", "ff02::1:ff00:2", 135, 0) };
    let discovery = Facts { hop_limit: 255, node: 1, ..icmp("2001:db8::3", "2001:db8::2", 135, 0) };
    for packet in [arp, of_link, discovery] {
        assert_eq!(ingress(&set(&silent), &packet), says(Action::Allow, "default/link-control"));
    }
    assert_eq!(ingress(&set(&named), &arp), says(Action::Deny, "a/arp"));
    assert_eq!(ingress(&set(&named), &discovery), says(Action::Deny, "a/nd"));
    let stated = set(&[("Site", "s", "{defaults: {linkControl: deny}}")]);
    assert_eq!(ingress(&stated, &arp), says(Action::Deny, "default/link-control"));
}

/// "Whatever else has one of these types is an ordinary ICMPv6 packet: every rule that covers it, isolation and the
/// ordinary defaults apply to it."
#[test]
fn what_only_looks_like_neighbour_discovery_is_ordinary() {
    let genuine = Facts { hop_limit: 255, ..icmp("2001:db8::3", "fe80::2", 136, 0) };
    let others = [
        ("forwarded", Facts { hop_limit: 254, ..genuine }),
        ("another code", Facts { icmp_code: 1, ..genuine }),
        ("a fragment", Facts { fragment: facts::FRAGMENT_FIRST, fragment_id: 1, ..genuine }),
        ("beyond the link", Facts { hop_limit: 255, ..icmp("2001:db8::3", "2001:db8::2", 136, 0) }),
        ("a wider group", Facts { hop_limit: 255, ..icmp("2001:db8::3", "ff05::2", 136, 0) }),
    ];
    let deny = set(&[("Site", "s", "{defaults: {ingress: deny}}")]);
    let isolated = set(&[("Policy", "a", "{subject: any, ingress: []}")]);
    let covered = set(&[("Policy", "a", "{subject: any, ingress: [{name: six, services: [{protocol: icmpv6}]}]}")]);
    let named =
        set(&[("Policy", "a", "{subject: any, ingress: [{name: na, services: [{icmp: neighbour-advertisement}]}]}")]);
    for set in [&deny, &isolated, &covered] {
        assert_eq!(ingress(set, &genuine), says(Action::Allow, "default/link-control"));
    }
    for (what, packet) in others {
        assert_eq!(ingress(&deny, &packet), says(Action::Deny, "default/ingress"), "{what}");
        assert_eq!(ingress(&isolated, &packet), says(Action::Deny, "a/isolation"), "{what}");
        assert_eq!(ingress(&covered, &packet), says(Action::Allow, "a/six"), "{what}");
        if packet.icmp_code == 0 {
            assert_eq!(ingress(&named, &packet), says(Action::Allow, "a/na"), "{what}");
        }
    }
    assert_eq!(ingress(&named, &genuine), says(Action::Allow, "a/na"));
}

/// "*unparsed* packets, by `unparsed`; a service with `unparsed` matches nothing else. Of the other
/// fields only `etherType` and the VLANs may stand beside it"
#[test]
fn unparsed_packets_are_judged_only_by_rules_that_name_them() {
    let deep = Facts { unparsed: unparsed::VLAN_DEPTH, ethertype: 0x8100, vlan_outer: 7, ..poll() };
    let all = ("Policy", "a", "{subject: any, ingress: [{name: all}]}");
    assert_eq!(ingress(&set(&[all]), &deep), says(Action::Deny, "default/unparsed"));
    let named =
        set(&[("Policy", "a", "{subject: any, ingress: [{name: deep, services: [{unparsed: vlan-depth, vlan: 7}]}]}")]);
    assert_eq!(ingress(&named, &deep), says(Action::Allow, "a/deep"));
    assert_eq!(ingress(&named, &Facts { vlan_outer: 8, ..deep }), says(Action::Deny, "default/unparsed"));
    assert_eq!(
        ingress(&named, &Facts { unparsed: unparsed::LLC_TRUNCATED, ..deep }),
        says(Action::Deny, "default/unparsed")
    );
    assert_eq!(ingress(&named, &Facts { unparsed: 0, ..deep }), says(Action::Deny, "a/isolation"));
}

/// "A named port stands for the pairs of protocol and number that the *destination's* entries give
/// that name. With `protocol` in the same service, only pairs of that protocol count."
#[test]
fn a_named_port_is_the_destinations() {
    let by_name = set(&[("Policy", "a", "{subject: any, ingress: [{name: poll, services: [{ports: modbus}]}]}")]);
    let allowed = says(Action::Allow, "a/poll");
    assert_eq!(ingress(&by_name, &poll()), allowed);
    assert_eq!(ingress(&by_name, &ports(POLL.1, POLL.0, 6, 1502)), allowed);
    assert_ne!(ingress(&by_name, &ports(POLL.1, POLL.0, 6, 502)), allowed);
    assert_ne!(ingress(&by_name, &ports(POLL.0, POLL.1, 17, 502)), allowed);
    let udp =
        set(&[("Policy", "a", "{subject: any, ingress: [{name: poll, services: [{protocol: udp, ports: modbus}]}]}")]);
    assert_ne!(ingress(&udp, &poll()), allowed);
}

/// "ICMP type and code match IPv4 ICMP (protocol 1) or ICMPv6 (58), whichever `protocol` says, or either."
#[test]
fn icmp_types_are_of_the_version_that_the_protocol_says() {
    let rule = |service: &str| {
        set(&[("Policy", "a", &format!("{{subject: any, ingress: [{{name: ping, services: [{service}]}}]}}"))])
    };
    let (v4, v6) = (icmp("10.0.0.3", "10.0.0.2", 8, 0), icmp("2001:db8::3", "2001:db8::2", 128, 0));
    let v6_type_8 = icmp("2001:db8::3", "2001:db8::2", 8, 0);
    let allows = |service: &str, packet: &Facts| ingress(&rule(service), packet).0 == Action::Allow;
    assert!(allows("{icmp: echo-request}", &v4) && allows("{icmp: echo-request}", &v6));
    assert!(!allows("{icmp: echo-request}", &v6_type_8), "a name is of one number in each version");
    assert!(allows("{icmp: 8}", &v4) && allows("{icmp: 8}", &v6_type_8));
    assert!(allows("{protocol: icmp, icmp: 8/0}", &v4) && !allows("{protocol: icmp, icmp: 8/0}", &v6_type_8));
    assert!(!allows("{icmp: 8/1}", &v4) && !allows("{ports: \"0-65535\"}", &v4));
    assert!(!allows("{icmp: 0}", &v4), "type 0 is a type, not any");
}

/// "A field about something the packet does not have does not match: ports do not match ICMP or
/// later fragments, a protocol does not match GOOSE."
#[test]
fn a_field_that_a_packet_does_not_have_does_not_match() {
    let rule = |service: &str| {
        set(&[("Policy", "a", &format!("{{subject: any, ingress: [{{name: r, services: [{service}]}}]}}"))])
    };
    let allows = |service: &str, packet: &Facts| ingress(&rule(service), packet).0 == Action::Allow;
    let later = Facts { fragment: facts::FRAGMENT_LATER, transport: facts::TRANSPORT_NONE, ..ip(POLL.0, POLL.1, 6) };
    let goose = frame(0x88b8, 0x0200_0000_0004, 0x010c_cd01_0000);
    assert!(!allows("{protocol: tcp, ports: \"0-65535\"}", &later) && allows("{fragments: later}", &later));
    assert!(!allows("{protocol: \"0-255\"}", &goose) && allows("{etherType: goose, vlan: untagged}", &goose));
    assert!(!allows("{fragments: none}", &goose) && !allows("{vlan: \"0-4095\"}", &goose));
    assert!(allows("{protocol: tcp, tcpFlags: \"syn,!ack\"}", &poll()) && !allows("{tcpFlags: ack}", &poll()));
}

/// "An end *is* an inventory entry when ... "
#[test]
fn ends_are_entries_by_address_then_mac_then_interface() {
    let rule = |subject: &str| {
        set(&[("Policy", "a", &format!("{{subject: any, ingress: [{{name: r, from: [{subject}]}}]}}"))])
    };
    let allows = |subject: &str, packet: &Facts, interface: Option<&str>| {
        decide(&rule(subject), packet, interface, None, Direction::Ingress).action == Action::Allow
    };
    let rtu = "{labels: {role: rtu}}";
    let from_rtu_mac = frame(0x88b8, 0x0200_0000_0002, 1);
    assert!(allows(rtu, &from_rtu_mac, None), "by its MAC without an IP header");
    assert!(!allows(rtu, &Facts { source_mac: 0x0200_0000_0002, ..poll() }, None), "by address, when there is one");
    assert!(allows("{mac: \"02:00:00:00:00:02\"}", &Facts { source_mac: 0x0200_0000_0002, ..poll() }, None));
    assert!(allows(
        "{labels: {role: ied}, namespaces: {labels: {zone: ot}}}",
        &frame(0x88b8, 0x0200_0000_0004, 1),
        None
    ));
    assert!(!allows("{labels: {role: ied}}", &frame(0x88b8, 0x0200_0000_0004, 1), None), "another namespace");
    assert!(
        allows("{labels: {role: lab}}", &poll(), Some("eth9"))
            && !allows("{labels: {role: lab}}", &poll(), Some("eth8"))
    );
    assert!(
        allows("{serviceAccount: scada}", &poll(), None)
            && allows("{spiffeId: \"spiffe://p.example/ops/*\"}", &poll(), None)
    );
    assert!(!allows("{spiffeId: \"spiffe://p.example/op/*\"}", &poll(), None), "whole segments");
    assert!(!allows("{cidr: 10.0.0.0/24, except: [10.0.0.3/32]}", &poll(), None));
    assert!(!allows("{cidr: \"::/0\"}", &poll(), None), "a block of one family never covers the other");
}

/// "Both that were asked must let the packet go. A denial of ingress is reported before one of egress."
#[test]
fn both_ends_must_agree_and_ingress_is_reported_first() {
    let no_send = ("Policy", "hmi", "{subject: {labels: {role: hmi}}, egress: []}");
    let no_receive = ("Policy", "rtu", "{subject: {labels: {role: rtu}}, ingress: []}");
    let deciding = |documents: &[_]| {
        let set = set(documents);
        let judgement = judge(&set, &poll(), None, None);
        let (direction, decision) = judgement.deciding();
        (decision.action, decision.rule.name(&set, direction))
    };
    assert_eq!(deciding(&[no_send, no_receive]), says(Action::Deny, "rtu/isolation"));
    assert_eq!(deciding(&[no_send]), says(Action::Deny, "hmi/isolation"));
    assert_eq!(deciding(&[]), says(Action::Allow, "default/ingress"));
}
