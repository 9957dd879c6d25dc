//! Constructs one by one.

use gabion_policy_model::trace::Direction;

use crate::packet::{Packet, accepted_by_nft, arrives, decide, import, import_at};

const GATEWAY: &str = r#"#!/usr/sbin/nft -f
flush ruleset
define plant = { 10.1.0.0/16, 10.2.0.0/16 }
define hmi = 10.1.0.5

table inet filter {
	set scada {
		type inet_service
		flags interval
		elements = { 502, 2404,
			     20000-20010 }
	}

	set engineers {
		type ipv4_addr
		elements = { 10.9.0.1 comment "desk", 10.9.0.2 }
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related counter packets 10 bytes 840 accept comment "replies"
		ct state invalid drop
		iifname "eth0" ip saddr $hmi ip daddr $plant tcp dport @scada accept
		ip saddr @engineers ct state new tcp dport { ssh, https } log prefix "eng " accept
		ip protocol icmp icmp type echo-request accept
		icmpv6 type { echo-request, nd-neighbor-solicit } accept
		udp dport != { 123, 5000-6000 } ip daddr 10.7.0.0/24 accept
		tcp flags syn / fin,syn,rst,ack ip6 daddr fd00::/8 accept
		vlan id 7 ether saddr 02:00:00:00:00:07 accept
		meta l4proto { tcp, udp } th dport 53 accept
		ip saddr 10.66.0.0/16 reject with icmp type admin-prohibited
	}
}
"#;

#[test]
fn a_gateways_ruleset() {
    let imported = import(GATEWAY);
    let set = imported.policies;
    let check = |packet: Packet, expected: &str| {
        let (allowed, rule) = arrives(&set, &packet);
        assert_eq!(
            (allowed, rule.as_str()),
            (expected != "forward-policy" && expected != "forward-10", expected),
            "{packet:?}"
        );
    };
    let hmi = Packet { dport: 502, ..Packet::new("10.1.0.5", "10.2.0.9") };
    check(hmi, "forward-2");
    check(Packet { dport: 20_005, ..hmi }, "forward-2");
    check(Packet { dport: 503, ..hmi }, "forward-policy");
    check(Packet { input: "eth1", ..hmi }, "forward-policy");
    check(Packet { source: "10.1.0.6".parse().unwrap(), ..hmi }, "forward-policy");
    check(Packet { destination: "10.3.0.1".parse().unwrap(), ..hmi }, "forward-policy");
    let engineer = Packet { dport: 22, ..Packet::new("10.9.0.2", "8.8.8.8") };
    check(engineer, "forward-3");
    check(Packet { dport: 443, ..engineer }, "forward-3");
    check(Packet { dport: 23, ..engineer }, "forward-policy");
    check(Packet { protocol: 1, icmp: (8, 0), ..engineer }, "forward-4");
    check(Packet { protocol: 1, icmp: (13, 0), ..engineer }, "forward-policy");
    check(Packet { protocol: 58, icmp: (135, 0), ..Packet::new("fe80::1", "fe80::2") }, "forward-5");
    check(Packet { protocol: 17, dport: 1000, ..Packet::new("1.1.1.1", "10.7.0.1") }, "forward-6");
    check(Packet { protocol: 17, dport: 5500, ..Packet::new("1.1.1.1", "10.7.0.1") }, "forward-policy");
    check(Packet::new("2001:db8::1", "fd00::1"), "forward-7");
    check(Packet { flags: 0x12, ..Packet::new("2001:db8::1", "fd00::1") }, "forward-policy");
    check(Packet { vlan: Some(7), source_mac: 0x0200_0000_0007, ..Packet::new("1.1.1.1", "2.2.2.2") }, "forward-8");
    check(
        Packet { vlan: Some(8), source_mac: 0x0200_0000_0007, ..Packet::new("1.1.1.1", "2.2.2.2") },
        "forward-policy",
    );
    check(Packet { protocol: 17, dport: 53, ..Packet::new("1.1.1.1", "2.2.2.2") }, "forward-9");
    check(Packet::new("10.66.1.1", "2.2.2.2"), "forward-10");

    let warnings: Vec<_> = imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "rules.nft:22:3: `ct state invalid` is not known here, the rule is left out: `ct state invalid drop`; packets \
             without a connection are judged by the rules; malformed ones by `unparsed`",
            "rules.nft:31:3: `reject` becomes deny: no answer is sent: `ip saddr 10.66.0.0/16 reject with icmp type \
             admin-prohibited`; nothing to do if silence will do",
        ]
    );
    let rules: Vec<_> = set.cluster_policies.iter().flat_map(|policy| &policy.ingress).collect();
    let logged: Vec<_> = rules.iter().filter(|rule| rule.log).map(|rule| rule.name.as_str()).collect();
    assert_eq!(logged, ["forward-3"]);
    assert!(rules.iter().all(|rule| !rule.stateless));
}

#[test]
fn frames_without_ip_are_left_alone() {
    let set = import("table inet t { chain forward { type filter hook forward priority 0; policy drop; }; }").policies;
    let goose = gabion_abi::facts::Facts { ethertype: 0x88b8, ..gabion_abi::facts::Facts::UNKNOWN };
    let decision = gabion_policy_model::oracle::decide(&set, &goose, None, None, Direction::Ingress);
    assert_eq!(decision.rule, gabion_policy_model::trace::RuleRef::Default);
}

#[test]
fn a_table_of_one_family_leaves_the_other_alone() {
    let set = import(
        "table ip filter { chain forward { type filter hook forward priority 0; policy drop; }; }
         table ip6 filter {
           chain forward { type filter hook forward priority 0; policy drop; tcp dport 80 accept; };
         }",
    )
    .policies;
    assert_eq!(arrives(&set, &Packet::new("1.1.1.1", "2.2.2.2")), (false, "ip-filter-forward-policy".to_owned()));
    assert_eq!(arrives(&set, &Packet::new("fd00::1", "fd00::2")), (true, "ip6-filter-forward-0".to_owned()));
}

#[test]
fn jumps_return_and_gotos_do_not() {
    let text = |how| {
        format!(
            "table inet t {{
               chain web {{ tcp dport 80 accept; ip saddr 10.0.0.9 drop; }}
               chain forward {{
                 type filter hook forward priority 0; policy drop;
                 ip daddr 10.5.0.0/16 {how} web
                 tcp dport 81 accept
               }}
             }}"
        )
    };
    let jump = import(&text("jump")).policies;
    let goto = import(&text("goto")).policies;
    let to = |port| Packet { dport: port, ..Packet::new("10.0.0.1", "10.5.0.1") };
    assert_eq!(arrives(&jump, &to(80)), (true, "forward-0.web-0".to_owned()));
    assert_eq!(arrives(&jump, &to(81)), (true, "forward-1".to_owned()));
    assert_eq!(arrives(&goto, &to(80)), (true, "forward-0.web-0".to_owned()));
    assert_eq!(arrives(&goto, &to(81)), (false, "forward-0".to_owned()));
    let elsewhere = Packet::new("10.0.0.1", "10.6.0.1");
    assert_eq!(arrives(&jump, &elsewhere), (false, "forward-policy".to_owned()));
}

const HOST: &str = "table inet t {
  chain input {
    type filter hook input priority 0; policy drop; ct state established,related accept; tcp dport 22 accept;
  }
  chain forward {
    type filter hook forward priority 0; policy accept; ct state established,related accept; tcp dport 22 drop;
  }
  chain output { type filter hook output priority 0; policy accept; ip daddr 10.66.0.0/16 drop; }
}";

#[test]
fn with_the_nodes_addresses_input_and_forward_are_told_apart() {
    accepted_by_nft(HOST);
    let set = import_at(HOST, &["10.0.0.1", "fd00::1"]).unwrap().policies;
    let ssh = |to: &str| {
        let from = if to.contains(':') { "fd00::9" } else { "10.0.0.9" };
        Packet { dport: 22, ..Packet::new(from, to) }
    };
    assert_eq!(arrives(&set, &ssh("10.0.0.1")), (true, "input-1".to_owned()));
    assert_eq!(arrives(&set, &ssh("fd00::1")), (true, "input-1".to_owned()));
    assert_eq!(arrives(&set, &ssh("10.0.0.2")), (false, "forward-1".to_owned()));
    assert_eq!(arrives(&set, &Packet::new("10.0.0.9", "10.0.0.1")), (false, "input-policy".to_owned()));
    assert_eq!(arrives(&set, &Packet::new("10.0.0.9", "10.0.0.2")), (true, "default".to_owned()));
    let out = Packet::new("10.0.0.1", "10.66.0.1");
    assert_eq!(decide(&set, &out, Direction::Egress), (false, "output-0".to_owned()));
}

#[test]
fn a_way_out_of_forwarded_packets_is_warned_of() {
    let told = |hook: &str, rule: &str| {
        let text = format!(
            "table ip t {{\n  chain c {{\n    type filter hook {hook} priority 0;\n    ct state established accept\n    \
             {rule}\n  }}\n}}\n"
        );
        let imported = import(&text);
        imported.warnings.iter().any(|warning| warning.message.contains("the interface that it leaves by"))
    };
    assert!(told("forward", "oifname \"ot0\" drop"));
    assert!(told("forward", "iifname \"it0\" oifname != \"ot0\" accept"));
    assert!(!told("forward", "iifname \"it0\" drop"));
    assert!(!told("output", "oifname \"ot0\" drop"), "what the node sends is judged where it leaves");
}

#[test]
fn an_empty_chain_beside_one_with_rules_is_left_out_with_a_warning() {
    let imported = import(
        "table inet t {
           chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
           chain forward { type filter hook forward priority 0; policy drop; }
         }",
    );
    assert_eq!(imported.policies.cluster_policies.len(), 1);
    assert!(imported.warnings[0].to_string().contains("`forward`"), "{}", imported.warnings[0]);
}

#[test]
fn rules_whose_replies_are_stopped_are_stateless() {
    let stateless = |text: &str| {
        let set = import(text).policies;
        set.cluster_policies[0].ingress[0].stateless
    };
    let input = "chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }";
    let output = |rules: &str| {
        format!("table inet t {{ {input}\n chain output {{ type filter hook output priority 0; {rules} }}; }}")
    };
    assert!(!stateless(&format!("table inet t {{ {input}; }}")));
    assert!(!stateless(&output("policy accept;")));
    assert!(!stateless(&output("policy drop; ct state { established, related } accept;")));
    assert!(stateless(&output("policy drop;")));
    assert!(stateless(&output("policy accept; tcp sport 22 drop;")));
}

#[test]
fn flags_alone_ask_for_any_of_them() {
    let text = |flags: &str| {
        format!("table ip t {{ chain c {{ type filter hook forward priority 0; tcp flags {flags} drop; }}; }}")
    };
    let dropped = |flags: &str, packet: u8| {
        !arrives(&import(&text(flags)).policies, &Packet { flags: packet, ..Packet::new("1.1.1.1", "2.2.2.2") }).0
    };
    assert!(dropped("syn,ack", 0x10) && dropped("syn,ack", 0x02) && !dropped("syn,ack", 0x04));
    assert!(dropped("== syn", 0x02) && !dropped("== syn", 0x12));
    assert!(dropped("!= syn", 0x12) && !dropped("!= syn", 0x02));
    assert!(dropped("& (syn | ack) == syn", 0x06) && !dropped("& (syn | ack) == syn", 0x12));
    assert!(dropped("& (fin | syn) != 0", 0x01) && !dropped("& (fin | syn) != 0", 0x10));
    assert!(dropped("{ syn, ack }", 0x02) && !dropped("{ syn, ack }", 0x12));
}

#[test]
fn an_interface_beside_an_address_is_both() {
    let set = import(
        r#"table inet t { chain c { type filter hook forward priority 0; policy accept
             iifname "eth0" ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 drop
             oifname != "eth1" ip6 daddr fd00::/8 drop
           }
         }"#,
    )
    .policies;
    let dropped = |packet: Packet| !arrives(&set, &packet).0;
    let hit = Packet::new("10.2.0.1", "8.8.8.8");
    assert!(dropped(hit));
    assert!(!dropped(Packet { input: "eth1", ..hit }));
    assert!(!dropped(Packet { source: "10.1.0.1".parse().unwrap(), ..hit }));
    assert!(!dropped(Packet { source: "11.2.0.1".parse().unwrap(), ..hit }));
    let hit = Packet { output: "eth2", ..Packet::new("2001:db8::1", "fd00::1") };
    assert!(dropped(hit));
    assert!(!dropped(Packet { output: "eth1", ..hit }));
}

#[test]
fn protocols_have_the_names_that_nft_has_for_them() {
    let text = |name: &str| {
        format!("table inet t {{ chain c {{ type filter hook forward priority 0; meta l4proto {name} drop; }}; }}")
    };
    // The names of /etc/protocols, in which ipip is not what policy text calls so.
    for (name, number) in [("ipencap", 4), ("ipip", 94), ("esp", 50), ("icmpv6", 58), ("eigrp", 88), ("pim", 103)] {
        let set = import(&text(name)).policies;
        let dropped = |protocol: u8| !arrives(&set, &Packet { protocol, ..Packet::new("1.1.1.1", "2.2.2.2") }).0;
        let hit: Vec<u8> = (0..=255).filter(|&protocol| dropped(protocol)).collect();
        assert_eq!(hit, [number], "{name}");
    }
}
