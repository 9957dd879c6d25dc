//! What Kubernetes lets no policy block: a pod and itself, a pod and its node.

use gabion_policy_import::{Imported, Source, import_k8s};
use gabion_policy_model::oracle::{self, Action};

use crate::cluster::{OUTSIDE, Probe, Proto, Who, facts, import};

const X_A: Who = Who { ns: "x", pod: "a" };
const X_B: Who = Who { ns: "x", pod: "b" };

const ISOLATE_X: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate, namespace: x}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

const ADMIN_DENY_X: &str = "---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: deny}
spec:
  priority: 0
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
  egress: [{action: Deny, to: [{networks: [203.0.113.9/32]}]}]
";

fn probe(from: Who, to: Who) -> Probe {
    Probe { from, to, proto: Proto::Icmp, port: 0, v6: false }
}

fn passes(imported: &gabion_policy_model::PolicySet, from: Who, to: Who) -> bool {
    oracle::judge(imported, &facts(&probe(from, to)), None, None).action() == Action::Allow
}

#[test]
fn a_pod_reaches_itself_and_not_its_neighbour() {
    let set = import(ISOLATE_X);
    assert!(passes(&set, X_A, X_A));
    assert!(!passes(&set, X_A, X_B));
}

#[test]
fn not_even_an_admin_policy_keeps_a_pod_from_itself() {
    let set = import(ADMIN_DENY_X);
    assert!(passes(&set, X_A, X_A));
    assert!(!passes(&set, X_A, X_B));
}

/// Two pods, one on the node that has the outside address.
fn on_nodes(policies: &str, status_of_a: &str, node: &str) -> Imported {
    let pod = |name: &str, address: &str, rest: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x}}\nspec: {{nodeName: n1}}\n\
             status: {{podIP: {address}{rest}}}\n"
        )
    };
    let text = format!("{policies}{}{}{node}", pod("a", "10.1.0.1", status_of_a), pod("b", "10.1.0.2", ""));
    import_k8s(&[Source { name: "all.yaml", text: &text }]).unwrap()
}

#[test]
fn a_pod_and_its_node_reach_each_other() {
    let set = on_nodes(ISOLATE_X, ", hostIP: 203.0.113.9", "").policies;
    assert!(passes(&set, OUTSIDE, X_A) && passes(&set, X_A, OUTSIDE));
    assert!(!passes(&set, OUTSIDE, X_B) && !passes(&set, X_B, OUTSIDE), "the node of b is not known");
}

#[test]
fn the_node_object_gives_the_addresses_too() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
                status: {addresses: [{type: InternalIP, address: 203.0.113.9}]}\n";
    let imported = on_nodes(ISOLATE_X, "", node);
    let set = imported.policies;
    assert!(passes(&set, OUTSIDE, X_B) && passes(&set, X_B, OUTSIDE));
    assert!(imported.warnings.is_empty(), "{:?}", imported.warnings);
}

#[test]
fn an_unknown_node_is_a_warning() {
    let imported = on_nodes(ISOLATE_X, ", hostIP: 203.0.113.9", "");
    let messages: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("the addresses of this pod's node are not known"), "{}", messages[0]);
    assert!(messages[0].contains("`x/b`"), "{}", messages[0]);
}

#[test]
fn an_admin_policy_can_block_a_pod_from_its_node() {
    let set = on_nodes(&format!("{ISOLATE_X}{ADMIN_DENY_X}"), ", hostIP: 203.0.113.9", "").policies;
    assert!(!passes(&set, X_A, OUTSIDE), "AdminNetworkPolicies know no such exemption");
    assert!(passes(&set, OUTSIDE, X_A));
}
