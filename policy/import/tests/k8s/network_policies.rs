//! Truth tables of NetworkPolicies.

use crate::cluster::{Proto, check};

/// One policy `p` in a namespace with this spec.
fn policy(ns: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: {ns}}}\nspec:\n{spec}"
    )
}

#[test]
fn deny_all_ingress() {
    check(&policy("x", "podSelector: {}\npolicyTypes: [Ingress]"), |p| !p.to("x/*"));
}

#[test]
fn deny_all_egress() {
    check(&policy("x", "podSelector: {}\npolicyTypes: [Egress]"), |p| !p.from("x/*"));
}

#[test]
fn deny_all_both_ways() {
    check(&policy("x", "podSelector: {}\npolicyTypes: [Ingress, Egress]"), |p| !p.from("x/*") && !p.to("x/*"));
}

#[test]
fn an_empty_ingress_isolates() {
    check(&policy("x", "podSelector: {matchLabels: {pod: a}}\ningress: []"), |p| !p.to("x/a"));
}

#[test]
fn no_pod_selector_selects_the_whole_namespace() {
    check(&policy("x", "policyTypes: [Ingress]"), |p| !p.to("x/*"));
}

#[test]
fn an_empty_rule_allows_all_ingress() {
    check(&policy("x", "podSelector: {}\ningress: [{}]"), |_| true);
}

#[test]
fn an_empty_rule_allows_all_egress() {
    check(&policy("x", "podSelector: {}\npolicyTypes: [Egress]\negress: [{}]"), |_| true);
}

#[test]
fn empty_lists_of_peers_and_ports_are_no_condition() {
    check(&policy("x", "podSelector: {}\ningress: [{from: [], ports: []}]"), |_| true);
}

#[test]
fn a_pod_selector_alone_means_the_policys_namespace() {
    let spec = "podSelector: {matchLabels: {pod: a}}\ningress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]";
    check(&policy("x", spec), |p| !p.to("x/a") || p.from("x/b"));
}

#[test]
fn an_empty_pod_selector_of_a_peer_means_all_of_the_namespace() {
    let spec = "podSelector: {matchLabels: {pod: a}}\ningress: [{from: [{podSelector: {}}]}]";
    check(&policy("y", spec), |p| !p.to("y/a") || p.from("y/*"));
}

#[test]
fn a_namespace_selector_alone_means_all_pods_there() {
    let spec = "podSelector: {matchLabels: {pod: a}}\ningress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]";
    check(&policy("x", spec), |p| !p.to("x/a") || p.from("y/*"));
}

#[test]
fn an_empty_namespace_selector_means_all_pods_but_nobody_outside() {
    check(&policy("x", "podSelector: {}\ningress: [{from: [{namespaceSelector: {}}]}]"), |p| {
        !p.to("x/*") || p.sent_by_pod()
    });
}

#[test]
fn both_selectors_in_one_peer_intersect() {
    let spec = "podSelector: {matchLabels: {pod: a}}
ingress:
- from:
  - namespaceSelector: {matchLabels: {ns: y}}
    podSelector: {matchLabels: {pod: b}}";
    check(&policy("x", spec), |p| !p.to("x/a") || p.from("y/b"));
}

#[test]
fn both_selectors_in_two_peers_unite() {
    let spec = "podSelector: {matchLabels: {pod: a}}
ingress:
- from:
  - namespaceSelector: {matchLabels: {ns: y}}
  - podSelector: {matchLabels: {pod: b}}";
    check(&policy("x", spec), |p| !p.to("x/a") || p.from("y/*") || p.from("x/b"));
}

#[test]
fn an_empty_pod_selector_beside_a_namespace_selector_narrows_nothing() {
    let spec = "podSelector: {}
ingress:
- from:
  - namespaceSelector: {matchLabels: {ns: z}}
    podSelector: {}";
    check(&policy("x", spec), |p| !p.to("x/*") || p.from("z/*"));
}

#[test]
fn a_namespace_can_be_meant_by_its_name() {
    let spec = "podSelector: {}
ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.from("z/*"));
}

#[test]
fn in_means_one_of_the_values() {
    let spec = "podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}\npolicyTypes: [Ingress]";
    check(&policy("x", spec), |p| !p.to("x/a") && !p.to("x/b"));
}

#[test]
fn not_in_means_none_of_the_values() {
    let spec = "podSelector: {}
ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.from("y/*") || p.from("z/*"));
}

#[test]
fn not_in_holds_for_who_has_no_such_label() {
    let spec = "podSelector: {}
ingress: [{from: [{podSelector: {matchExpressions: [{key: absent, operator: NotIn, values: [v]}]}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.from("x/*"));
}

#[test]
fn exists_fails_without_the_label_and_does_not_exist_holds() {
    let spec = |operator| {
        format!(
            "podSelector: {{}}\ningress: [{{from: [{{podSelector: {{matchExpressions: [{{key: absent, operator: {operator}}}]}}}}]}}]"
        )
    };
    check(&policy("x", &spec("Exists")), |p| !p.to("x/*"));
    check(&policy("x", &spec("DoesNotExist")), |p| !p.to("x/*") || p.from("x/*"));
}

#[test]
fn labels_and_expressions_must_all_hold() {
    let spec = "podSelector:
  matchLabels: {pod: a}
  matchExpressions: [{key: pod, operator: NotIn, values: [a]}]
policyTypes: [Ingress]";
    check(&policy("x", spec), |_| true);
}

#[test]
fn a_port_is_tcp_unless_stated() {
    check(&policy("x", "podSelector: {}\ningress: [{ports: [{port: 80}]}]"), |p| !p.to("x/*") || p.tcp(80));
}

#[test]
fn a_port_with_its_protocol() {
    let spec = "podSelector: {}\ningress: [{ports: [{port: 81, protocol: UDP}, {port: 80, protocol: SCTP}]}]";
    check(&policy("x", spec), |p| {
        !p.to("x/*") || p.proto == Proto::Udp && p.port == 81 || p.proto == Proto::Sctp && p.port == 80
    });
}

#[test]
fn a_protocol_alone_means_all_of_its_ports() {
    check(&policy("x", "podSelector: {}\ningress: [{ports: [{protocol: SCTP}]}]"), |p| {
        !p.to("x/*") || p.proto == Proto::Sctp
    });
}

#[test]
fn an_empty_port_means_all_of_tcp() {
    check(&policy("x", "podSelector: {}\ningress: [{ports: [{}]}]"), |p| !p.to("x/*") || p.proto == Proto::Tcp);
}

#[test]
fn ports_and_peers_must_both_match() {
    let spec = "podSelector: {}
ingress:
- from: [{namespaceSelector: {matchLabels: {ns: y}}}]
  ports: [{port: 80}]
- from: [{namespaceSelector: {matchLabels: {ns: z}}}]
  ports: [{port: 81}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.from("y/*") && p.tcp(80) || p.from("z/*") && p.tcp(81));
}

#[test]
fn a_named_port_is_looked_up_at_the_selected_pods() {
    check(&policy("x", "podSelector: {}\ningress: [{ports: [{port: serve-81-tcp}]}]"), |p| !p.to("x/*") || p.tcp(81));
}

#[test]
fn a_named_port_of_another_protocol_matches_nothing() {
    check(&policy("x", "podSelector: {}\ningress: [{ports: [{port: serve-80-udp}]}]"), |p| !p.to("x/*"));
}

#[test]
fn a_named_port_of_udp() {
    let spec = "podSelector: {}\ningress: [{ports: [{port: serve-80-udp, protocol: UDP}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.proto == Proto::Udp && p.port == 80);
}

#[test]
fn a_named_port_of_egress_is_looked_up_at_the_peers() {
    let spec = "podSelector: {}
policyTypes: [Egress]
egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: serve-80-tcp}]}]";
    check(&policy("x", spec), |p| !p.from("x/*") || p.to("y/*") && p.tcp(80));
}

#[test]
fn a_named_port_to_a_block_matches_pods_with_an_address_in_it_only() {
    let spec = "podSelector: {}
policyTypes: [Egress]
egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: serve-80-tcp}]}]";
    check(&policy("x", spec), |p| !p.from("x/*") || !p.v6 && p.sent_to_pod() && p.tcp(80));
}

#[test]
fn an_end_port_makes_a_range_with_both_ends() {
    let range = |first, last| format!("podSelector: {{}}\ningress: [{{ports: [{{port: {first}, endPort: {last}}}]}}]");
    check(&policy("x", &range(80, 81)), |p| !p.to("x/*") || p.proto == Proto::Tcp);
    check(&policy("x", &range(81, 90)), |p| !p.to("x/*") || p.tcp(81));
    check(&policy("x", &range(1, 80)), |p| !p.to("x/*") || p.tcp(80));
}

#[test]
fn a_block_without_its_exceptions() {
    let spec = "podSelector: {matchLabels: {pod: a}}
policyTypes: [Egress]
egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16, 10.3.0.1/32]}}]}]";
    check(&policy("x", spec), |p| !p.from("x/a") || !p.v6 && (p.to("x/*") || p.to("z/b") || p.to("z/c")));
}

#[test]
fn a_block_of_the_other_family_covers_nobody() {
    let spec = "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || p.v6 && p.sent_by_pod());
}

#[test]
fn a_block_from_outside() {
    let spec = "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") || !p.v6 && !p.sent_by_pod());
}

#[test]
fn policies_add_up() {
    let first = policy("x", "podSelector: {}\npolicyTypes: [Ingress]");
    let second = policy("x", "podSelector: {matchLabels: {pod: a}}\ningress: [{from: [{podSelector: {}}]}]");
    let third = policy("x", "podSelector: {matchLabels: {pod: a}}\ningress: [{ports: [{port: 80}]}]");
    let all = first + &second.replace("name: p,", "name: q,") + &third.replace("name: p,", "name: r,");
    check(&all, |p| !p.to("x/*") || p.to("x/a") && (p.from("x/*") || p.tcp(80)));
}

#[test]
fn egress_rules_without_policy_types_isolate_both_ways() {
    let spec = "podSelector: {}\negress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]";
    check(&policy("x", spec), |p| !p.to("x/*") && (!p.from("x/*") || p.to("y/*")));
}

#[test]
fn an_empty_egress_without_policy_types_isolates_ingress_only() {
    check(&policy("x", "podSelector: {}\negress: []"), |p| !p.to("x/*"));
}

#[test]
fn policy_types_without_ingress_leave_ingress_alone() {
    let spec = "podSelector: {}\npolicyTypes: [Egress]\ningress: []\negress: [{to: [{podSelector: {}}]}]";
    check(&policy("x", spec), |p| !p.from("x/*") || p.to("x/*"));
}

#[test]
fn both_ends_must_allow() {
    let sender = policy("x", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{namespaceSelector: {}}]}]");
    let receiver = policy("y", "podSelector: {matchLabels: {pod: b}}\ningress: [{from: [{podSelector: {}}]}]");
    check(&(sender + &receiver), |p| (!p.from("x/*") || p.sent_to_pod()) && (!p.to("y/b") || p.from("y/*")));
}

#[test]
fn a_policy_of_another_namespace_selects_its_own_pods() {
    check(&policy("z", "podSelector: {matchLabels: {pod: c}}\npolicyTypes: [Ingress]"), |p| !p.to("z/c"));
}

#[test]
fn a_rule_with_nothing_behind_its_dash_allows_all() {
    check(&policy("x", "podSelector: {}\ningress:\n-"), |_| true);
}
