//! What is refused, with the text of the refusal.

use gabion_policy_import::{Source, import_k8s};

fn refused(text: &str) -> Vec<String> {
    let errors = import_k8s(&[Source { name: "p.yaml", text }]).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

/// In the spec of a NetworkPolicy; the spec is on line 4 from column 7.
#[test]
fn network_policies() {
    for (spec, expected) in [
        (
            "{podSelecotr: {}}",
            "4:8: the spec of a NetworkPolicy has no such field: `podSelecotr`; did you mean `podSelector`?",
        ),
        ("{ingress: [{form: []}]}", "4:19: an ingress rule has no such field: `form`; did you mean `from`?"),
        (
            "{egress: [{from: []}]}",
            "4:18: an egress rule has no such field: `from`; an egress rule has the fields to, ports",
        ),
        (
            "{ingress: [{from: [{}]}]}",
            "4:26: a peer that names nobody: `{}`; write podSelector, namespaceSelector or ipBlock; for everyone remove the list",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
            "4:36: ipBlock stands beside a selector: `{cidr: 10.0.0.0/8}`; write two peers, one with ipBlock alone",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}",
            "4:43: not an address block: `10.0.0.1`; write CIDR form, `192.168.1.0/24` or `2001:db8::/64`",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}",
            "4:64: not a smaller block inside 10.0.0.0/8: `11.0.0.0/16`; an exception lies inside the cidr that it is taken from",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
            "4:64: not a smaller block inside 10.0.0.0/8: `10.0.0.0/8`; an exception lies inside the cidr that it is taken from",
        ),
        (
            "{ingress: [{from: [{ipBlock: {except: []}}]}]}",
            "4:36: an ipBlock has no `cidr`: `{except: []}`; add `cidr`",
        ),
        (
            "{ingress: [{ports: [{port: 0}]}]}",
            "4:34: a port is a number from 1 to 65535: `0`; write a number from 1 to 65535 without quotes",
        ),
        (
            "{ingress: [{ports: [{port: '80'}]}]}",
            "4:34: neither a port nor a name of one: `'80'`; write a number from 1 to 65535 without quotes, or a port's \
             name (a-z, 0-9, `-`, at most 15)",
        ),
        (
            "{ingress: [{ports: [{port: http, endPort: 90}]}]}",
            "4:49: endPort beside a named port: `90`; a range wants numbers: write `port` as a number",
        ),
        (
            "{ingress: [{ports: [{endPort: 90}]}]}",
            "4:37: endPort without port: `90`; add `port`, the first of the range",
        ),
        (
            "{ingress: [{ports: [{port: 90, endPort: 80}]}]}",
            "4:47: endPort is less than port (90): `80`; write the larger number here",
        ),
        (
            "{ingress: [{ports: [{port: 90, protocol: ICMP}]}]}",
            "4:48: no protocol that Kubernetes knows: `ICMP`; write TCP, UDP or SCTP",
        ),
        ("{policyTypes: [ingress]}", "4:22: no such policy type: `ingress`; write Ingress or Egress"),
        ("{ingress: {}}", "4:17: ingress is a list, this is a map: `{}`; start each element with `- `"),
        (
            "{podSelector: {matchLabels: {a: yes}}}",
            "4:39: the value of a label is a string: `yes`; put quotes around it",
        ),
        ("{podSelector: {matchLabels: {a: 1}}}", "4:39: the value of a label is a string: `1`; put quotes around it"),
        ("{podSelector: {matchLabels: {a: b, a: c}}}", "4:42: labels says this twice: `a`; keep one of the two"),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}",
            "4:60: no such operator: `in`; write In, NotIn, Exists or DoesNotExist",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
            "4:60: this operator wants values: `In`; list at least one under `values`",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
            "4:60: this operator takes no values: `Exists`; remove `values`",
        ),
        (
            "{podSelector: {matchLabels: {'a b': c}}}",
            "4:36: not the key of a label: `'a b'`; write at most 63 letters, digits, `-`, `_` and `.`, before it a domain \
             and `/` if need be",
        ),
    ] {
        let text =
            format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n");
        assert_eq!(refused(&text), [format!("p.yaml:{expected}")]);
    }
}

#[test]
fn admin_policies() {
    for (rest, expected) in [
        (
            "priority: 1001, subject: {namespaces: {}}",
            "4:18: the priority is a number from 0 to 1000: `1001`; write a number from 0 to 1000 without quotes",
        ),
        ("subject: {namespaces: {}}", "4:7: the spec has no `priority`: `{subject: {namespaces: {}}}`; add `priority`"),
        (
            "priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{domainNames: [a.example]}]}]",
            "4:92: domainNames are not supported: a packet carries no names: `[a.example]`; write `networks` with the \
             addresses that the names stand for",
        ),
        (
            "priority: 1, subject: {namespaces: {}}, ingress: [{action: Reject, from: [{namespaces: {}}]}]",
            "4:67: no such action in this kind: `Reject`; write Allow, Deny or Pass",
        ),
        (
            "priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: []}]",
            "4:79: from has 0 elements, the kind allows 1 to 100: `[]`; for all pods write `namespaces: {}`",
        ),
        (
            "priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], ports: []}]",
            "4:106: ports has 0 elements, the kind allows 1 to 100: `[]`; for all ports leave `ports` out",
        ),
        (
            "priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}], ports: [{namedPort: web}]}]",
            "4:57: namedPort in a rule with networks or nodes, which name no ports: `{action: Deny, to: [{networks: \
             [10.0.0.0/8]}], ports: [{namedPort: web}]}`; write a portNumber, or a rule of their own for networks \
             and nodes",
        ),
        (
            "priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{networks: [10.0.0.0/8]}]}]",
            "4:81: a peer has no such field: `networks`; a peer has the fields namespaces, pods",
        ),
    ] {
        let text = format!(
            "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: p}}\nspec: {{{rest}}}\n"
        );
        let errors = refused(&text);
        assert_eq!(errors[0], format!("p.yaml:{expected}"));
    }
}

#[test]
fn baseline_policies() {
    let text = |name: &str, action: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{subject: {{namespaces: {{}}}}, ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}\n"
        )
    };
    assert_eq!(
        refused(&text("default", "Pass")),
        ["p.yaml:4:54: no such action in this kind: `Pass`; write Allow or Deny"]
    );
    assert_eq!(
        refused(&text("other", "Deny")),
        [
            "p.yaml:1:1: `other` is no name for this kind: `apiVersion: policy.networking.k8s.io/v1alpha1`; a cluster has one \
          BaselineAdminNetworkPolicy, and its name is `default`"
        ]
    );
}

#[test]
fn objects() {
    for (text, expected) in [
        (
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n",
            "2:7: a kind that is not known here and might say which packets pass: `CiliumNetworkPolicy`; read are \
             NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy, Namespace, Pod, Node; \
             remove it if it does not matter",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolcy\nmetadata: {name: p}\n",
            "2:7: a kind that is not known here and might say which packets pass: `NetworkPolcy`; did you mean `NetworkPolicy`?",
        ),
        (
            "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\n",
            "1:13: this version of NetworkPolicy is not read: `extensions/v1beta1`; write it as networking.k8s.io/v1",
        ),
        ("apiVersion: v1\nmetadata: {name: p}\n", "1:1: an object has no `kind`: `apiVersion: v1`; add `kind`"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {generateName: p}\n",
            "3:11: metadata has no `name`: `{generateName: p}`; add `name`",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namepsace: x}\n",
            "3:21: metadata has no such field: `namepsace`; did you mean `namespace`?",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: P}\n",
            "3:18: not a name that Kubernetes takes: `P`; write at most 253 of a-z, 0-9, `-` and `.`, a letter or digit \
             first and last",
        ),
        ("- 1\n- 2\n", "1:1: an object is a map, this is a list: `- 1`; write `field: value`"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}\nstatus: {podIP: 10.0.0.256}\n",
            "5:17: not an IP address: `10.0.0.256`; write `192.0.2.1` or `2001:db8::1`",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n",
            "5:1: a second Namespace of this name: `apiVersion: v1`; keep one of the two",
        ),
    ] {
        assert_eq!(refused(text), [format!("p.yaml:{expected}")]);
    }
}

#[test]
fn all_errors_of_a_text_are_told_at_once() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n\
                spec:\n  podSelecotr: {}\n  ingress:\n  - form: []\n  - ports: [{port: 0}]\n";
    assert_eq!(refused(text).len(), 3);
}
