//! What an edit of 1,000 rules means for the programs: where tables lie is not what programs know.
#![allow(clippy::unwrap_used, missing_docs)]

use gabion_abi::tables::{PARAM_COUNT, constants};
use gabion_policy_compile::{Options, compile};
use gabion_policy_model::text::{Source, parse};
use gabion_policy_model::to_yaml;
use gabion_testing_peers::rules::{Recipe, Variant};

fn known(text: &str) -> [u32; PARAM_COUNT] {
    let set = parse(&[Source::new("policy.yaml", text.to_owned())]).unwrap();
    constants(&compile(&set, &Options::default()).unwrap().params)
}

#[test]
fn most_edits_need_no_other_programs() {
    let text = to_yaml(&Recipe::Segments(1_000).make().unwrap().policies(Variant::Stateless));
    let before = known(&text);
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let document = |rule: &str| {
        format!(
            "{text}---\napiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: x}}\nspec:\n  \
             subject: {{cidr: 10.1.2.0/24}}\n  ingress:\n    - {{name: p, action: allow, {rule}}}\n"
        )
    };
    let entry = "    - name: app-000001\n";
    let more = "    - name: new\n      labels: {app: app-000009, zone: office}\n      addresses: [10.77.3.2]\n";
    let block = "stateless: true, from: [{cidr: 10.7.8.9/32}], services: [{protocol: tcp, ports: [443]}]";
    let same = [
        ("an action", replaced("action: allow", "action: deny")),
        ("a log", replaced("action: allow\n", "action: allow\n      log: true\n")),
        ("a known port", replaced("ports: 80}", "ports: 443}")),
        ("a new port", replaced("ports: 80}", "ports: 9999}")),
        ("another protocol", replaced("protocol: tcp", "protocol: udp")),
        ("an address", replaced(entry, &format!("{more}{entry}"))),
        ("a block", document(block)),
        ("a kind of ICMP", document("stateless: true, services: [{icmp: echo-request}]")),
    ];
    for (what, edited) in &same {
        assert!(*edited != text && known(edited) == before, "{what}");
    }
    let other = [
        ("the first that keeps state", replaced("stateless: true", "stateless: false")),
        ("the first that tells VLANs apart", document("stateless: true, services: [{vlan: 7}]")),
    ];
    for (what, edited) in &other {
        assert!(known(edited) != before, "{what}");
    }
}
