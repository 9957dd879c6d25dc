//! Truth tables of AdminNetworkPolicies and BaselineAdminNetworkPolicies.

use crate::cluster::{Proto, check};

fn indented(spec: &str) -> String {
    spec.lines().map(|line| format!("  {line}\n")).collect()
}

fn admin(name: &str, priority: u32, spec: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  priority: {priority}\n{}",
        indented(spec)
    )
}

fn baseline(spec: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\n\
         metadata: {{name: default}}\nspec:\n{}",
        indented(spec)
    )
}

fn network(ns: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: {ns}}}\nspec:\n{}",
        indented(spec)
    )
}

const X: &str = "subject: {namespaces: {matchLabels: {ns: x}}}\n";

#[test]
fn a_deny_of_ingress_concerns_the_subject_only() {
    let spec = format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]");
    check(&admin("d", 10, &spec), |p| !(p.to("x/*") && p.from("y/*")));
}

#[test]
fn namespaces_as_peers_are_pods_and_nobody_outside() {
    let spec = format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]");
    check(&admin("d", 10, &spec), |p| !(p.to("x/*") && p.sent_by_pod()));
}

#[test]
fn the_lower_priority_number_is_asked_first_whatever_the_order_of_the_text() {
    let deny = admin("a-deny", 20, &format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    let allow = admin(
        "z-allow",
        10,
        &format!("{X}ingress: [{{action: Allow, from: [{{namespaces: {{matchLabels: {{ns: z}}}}}}]}}]"),
    );
    check(&(deny + &allow), |p| !(p.to("x/*") && p.sent_by_pod()) || p.from("z/*"));
}

#[test]
fn priorities_are_numbers_and_not_words() {
    let deny = admin("deny", 100, &format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    let allow = admin("allow", 20, &format!("{X}ingress: [{{action: Allow, from: [{{namespaces: {{}}}}]}}]"));
    check(&(deny + &allow), |_| true);
}

#[test]
fn within_a_policy_the_first_rule_that_matches_decides() {
    let spec = format!(
        "{X}ingress:
- {{action: Allow, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}], ports: [{{portNumber: {{port: 80}}}}]}}
- {{action: Deny, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}
- {{action: Allow, from: [{{namespaces: {{}}}}]}}"
    );
    check(&admin("d", 10, &spec), |p| !(p.to("x/*") && p.from("y/*")) || p.tcp(80));
}

#[test]
fn an_allow_overrules_network_policies() {
    let allow =
        admin("a", 5, &format!("{X}ingress: [{{action: Allow, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]"));
    check(&(allow + &network("x", "podSelector: {}\npolicyTypes: [Ingress]")), |p| !p.to("x/*") || p.from("y/*"));
}

#[test]
fn a_deny_overrules_network_policies() {
    let deny =
        admin("d", 5, &format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]"));
    check(&(deny + &network("x", "podSelector: {}\ningress: [{}]")), |p| !(p.to("x/*") && p.from("y/*")));
}

#[test]
fn pass_leaves_all_admin_policies_for_the_network_policies() {
    let pass =
        admin("p", 5, &format!("{X}ingress: [{{action: Pass, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]"));
    let deny = admin("d", 6, &format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    let policy = network("x", "podSelector: {matchLabels: {pod: a}}\ningress: [{ports: [{port: 80}]}]");
    check(&(pass + &deny + &policy), |p| {
        if !p.to("x/*") {
            true
        } else if p.from("y/*") {
            !p.to("x/a") || p.tcp(80)
        } else if p.sent_by_pod() {
            false
        } else {
            !p.to("x/a") || p.tcp(80)
        }
    });
}

#[test]
fn the_baseline_concerns_whom_no_network_policy_isolates() {
    let baseline = baseline(&format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    let policy = network("x", "podSelector: {matchLabels: {pod: a}}\ningress: [{from: [{podSelector: {}}]}]");
    check(&(baseline + &policy), |p| if p.to("x/a") { p.from("x/*") } else { !(p.to("x/*") && p.sent_by_pod()) });
}

#[test]
fn a_network_policy_of_one_direction_leaves_the_other_to_the_baseline() {
    let baseline = baseline(&format!("{X}egress: [{{action: Deny, to: [{{namespaces: {{}}}}]}}]"));
    let policy = network("x", "podSelector: {}\ningress: [{}]");
    check(&(baseline + &policy), |p| !(p.from("x/*") && p.sent_to_pod()));
}

#[test]
fn pass_goes_to_the_baseline_where_nobody_isolates() {
    let pass =
        admin("p", 5, &format!("{X}ingress: [{{action: Pass, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]"));
    let allow = admin("q", 6, &format!("{X}ingress: [{{action: Allow, from: [{{namespaces: {{}}}}]}}]"));
    let baseline = baseline(&format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    check(&(pass + &allow + &baseline), |p| !(p.to("x/*") && p.from("y/*")));
}

#[test]
fn subjects_and_peers_by_pods_intersect_both_selectors() {
    let spec = "subject: {pods: {namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}}
ingress:
- action: Deny
  from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}}]";
    check(&admin("d", 1, spec), |p| !(p.to("x/a") && p.from("*/b")));
}

#[test]
fn ports_by_number_range_and_name() {
    let spec = |ports: &str| format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}], ports: [{ports}]}}]");
    let hit = |p: &crate::cluster::Probe| p.to("x/*") && p.sent_by_pod();
    check(&admin("d", 1, &spec("{portNumber: {port: 80, protocol: UDP}}")), |p| {
        !(hit(p) && p.proto == Proto::Udp && p.port == 80)
    });
    check(&admin("d", 1, &spec("{portNumber: {port: 80}}")), |p| !(hit(p) && p.tcp(80)));
    check(&admin("d", 1, &spec("{portRange: {start: 80, end: 81, protocol: SCTP}}")), |p| {
        !(hit(p) && p.proto == Proto::Sctp)
    });
    check(&admin("d", 1, &spec("{namedPort: serve-81-udp}")), |p| !(hit(p) && p.proto == Proto::Udp && p.port == 81));
}

#[test]
fn networks_are_pods_too() {
    let spec = format!("{X}egress: [{{action: Deny, to: [{{networks: [0.0.0.0/0]}}]}}]");
    check(&admin("d", 1, &spec), |p| !p.from("x/*") || p.v6);
}

#[test]
fn nodes_are_the_addresses_of_the_node_objects() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {role: edge}}\n\
                status: {addresses: [{type: Hostname, address: n1}, {type: ExternalIP, address: 203.0.113.9}]}\n";
    let spec = |role| format!("{X}egress: [{{action: Deny, to: [{{nodes: {{matchLabels: {{role: {role}}}}}}}]}}]");
    check(&(admin("d", 1, &spec("edge")) + node), |p| !(p.from("x/*") && !p.sent_to_pod() && !p.v6));
    check(&(admin("d", 1, &spec("core")) + node), |_| true);
}

#[test]
fn policies_without_rules_of_a_direction_leave_it_alone() {
    check(&admin("d", 1, &format!("{X}ingress: []")), |_| true);
}

#[test]
fn an_admin_policy_called_default_stands_beside_the_baseline() {
    let allow = admin(
        "default",
        5,
        &format!("{X}ingress: [{{action: Allow, from: [{{namespaces: {{matchLabels: {{ns: y}}}}}}]}}]"),
    );
    let baseline = baseline(&format!("{X}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]"));
    check(&(allow + &baseline), |p| !(p.to("x/*") && p.sent_by_pod()) || p.from("y/*"));
}
