//! What is imported is printed as policy text, and that text, read again, decides alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_policy_import::classbench::Actions;
use gabion_policy_import::{Imported, Source, import_classbench, import_k8s, import_nft};
use gabion_policy_model::rule::Rule;
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::{PolicySet, parse, to_yaml};

fn without_places(set: &PolicySet) -> PolicySet {
    let mut set = set.clone();
    let nowhere =
        |rules: &mut Vec<Spanned<Rule>>| rules.iter_mut().for_each(|rule| rule.location = Location::default());
    for policy in &mut set.policies {
        policy.location = Location::default();
        policy.ingress.iter_mut().chain(&mut policy.egress).for_each(nowhere);
    }
    for policy in &mut set.cluster_policies {
        policy.location = Location::default();
        [&mut policy.ingress, &mut policy.egress].into_iter().for_each(nowhere);
    }
    std::sync::Arc::make_mut(&mut set.inventory)
        .entries
        .iter_mut()
        .for_each(|entry| entry.location = Location::default());
    set
}

fn printed_and_read(imported: &Imported) {
    let text = to_yaml(&imported.policies);
    let source = gabion_policy_model::Source { name: "printed.yaml".into(), text: text.as_str().into() };
    let read = match parse(&[source]) {
        Ok(read) => read,
        Err(findings) => {
            let findings: Vec<_> = findings.iter().take(10).map(ToString::to_string).collect();
            panic!("{}\nin\n{}", findings.join("\n"), text.lines().take(80).collect::<Vec<_>>().join("\n"));
        }
    };
    assert_eq!(without_places(&read), without_places(&imported.policies), "\n{text}");
}

#[test]
fn kubernetes() {
    let text = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {tier: "1"}}}
- apiVersion: v1
  kind: Node
  metadata: {name: n1, labels: {role: edge}}
  status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-0, namespace: shop, labels: {app.kubernetes.io/name: web}}
  spec:
    nodeName: n1
    serviceAccountName: web
    containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]
  status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}], hostIP: 192.0.2.1}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web.v1, namespace: shop}
  spec:
    podSelector: {matchLabels: {app.kubernetes.io/name: web}}
    policyTypes: [Ingress, Egress]
    ingress:
    - from:
      - namespaceSelector: {}
      - podSelector: {matchExpressions: [{key: a, operator: In, values: [b, c]}, {key: d, operator: DoesNotExist}]}
        namespaceSelector: {matchLabels: {tier: "1"}}
      - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
      ports: [{port: http}, {port: 80, endPort: 90, protocol: SCTP}, {protocol: UDP}]
    - {}
- apiVersion: policy.networking.k8s.io/v1alpha1
  kind: AdminNetworkPolicy
  metadata: {name: first}
  spec:
    priority: 1000
    subject: {namespaces: {}}
    ingress: [{action: Pass, from: [{namespaces: {}}], ports: [{namedPort: http}, {portRange: {start: 1, end: 9}}]}]
    egress:
    - {action: Allow, to: [{nodes: {}}]}
    - {action: Deny, to: [{nodes: {matchLabels: {role: none}}}]}
    - {action: Deny, to: [{networks: [0.0.0.0/0, "::/0"]}]}
- apiVersion: policy.networking.k8s.io/v1alpha1
  kind: BaselineAdminNetworkPolicy
  metadata: {name: default}
  spec:
    subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {x: y}}}}
    ingress: [{action: Deny, from: [{namespaces: {}}]}]
"#;
    printed_and_read(&import_k8s(&[Source { name: "k8s.yaml", text }]).unwrap());
}

#[test]
fn classbench() {
    let text = "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t80 : 90\t0x06/0xFF\t0x0200/0x1200\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x01/0xFF\t0x0800/0xff00\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x01/0x0F\t0x0800/0x0f00\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t7 : 7\t0 : 65535\t0x11/0xFF\t0x0000/0x0000\t\n\
                @0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";
    let source = Source { name: "sets/acl1_1k", text };
    printed_and_read(&import_classbench(source, Actions::Alternate).unwrap());
}

#[test]
fn filters_that_match_nothing() {
    let text = "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t80 : 90\t0x02/0xFF\t0x0000/0x0000\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x11/0xFF\t0x0100/0x0100\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x06/0xFF\t0x0001/0x0001\t\n\
                @10.0.0.0/8\t0.0.0.0/0\t7 : 7\t0 : 65535\t0x01/0xFF\t0x0800/0xff00\t\n";
    printed_and_read(&import_classbench(Source { name: "none", text }, Actions::Allow).unwrap());
}

#[test]
fn nftables() {
    let text = r#"table inet plant {
  chain web { tcp dport { 80, 443 } accept; ip saddr 10.0.0.9 drop; }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "eth0" ip saddr 10.0.0.0-10.0.0.6 ip daddr != 10.1.0.0/16 tcp flags & (syn | ack) == syn log accept
    ip6 daddr fd00::/8 jump web
    ether saddr 02:00:00:00:00:01 vlan id { 1, 5-7 } icmp type echo-request accept
    icmpv6 type { 128, 129 } icmpv6 code 0 accept
    tcp flags syn,ack drop
    tcp flags != syn drop
    udp sport 53 udp dport != 53 accept
  }
  chain output { type filter hook output priority 0; policy drop; }
}
"#;
    printed_and_read(&import_nft(&[Source { name: "rules.nft", text }]).unwrap());
}
