//! No text makes an importer panic, hang or steer the terminal that shows its errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_policy_import::classbench::Actions;
use gabion_policy_import::{Diagnostic, Source, import_classbench, import_k8s, import_nft};
use proptest::prelude::*;

const SAMPLES: [&str; 3] = [
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: &s \
     {matchLabels: {a: b}}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n    - \
     podSelector: *s\n    ports: [{port: 80, endPort: 90}, {port: http}]\n---\napiVersion: v1\nkind: Pod\nmetadata: \
     {name: q}\nspec: {containers: [{ports: [{name: http, containerPort: 80}]}]}\nstatus: {podIP: 10.0.0.1}\n",
    "table inet t {\n set s { type ipv4_addr; flags interval; elements = { 10.0.0.1-10.0.0.9, 10.1.0.0/16 } }\n chain \
     forward { type filter hook forward priority 0; policy drop; ct state established,related accept\n \
     iifname \"eth0\" ip saddr @s tcp flags & (syn | ack) == syn tcp dport { 22, 80-90 } log prefix \
     \"ä\" accept\n icmp type != 8 jump c\n }\n chain c { ether saddr 02:00:00:00:00:01 drop; }\n}\n",
    "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t80 : 90\t0x06/0xFF\t0x0200/0x1200\t\n@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : \
     65535\t0x00/0x00\t0x0000/0x0000\t\n",
];

/// What an edit puts in: what the three languages are written in, and a little of what they are not.
const INSERTED: &str = "[-@{}:,;\\[\\]\"'&*!a-z0-9 \n\t\u{1b}\u{e9}#$./]{0,3}";

fn read(text: &str) {
    let source = Source { name: "hostile", text };
    let shown = |diagnostics: Vec<Diagnostic>| {
        for diagnostic in diagnostics {
            let line = diagnostic.to_string();
            assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
            assert!(diagnostic.location.line >= 1 && diagnostic.location.offset <= text.len());
        }
    };
    for result in [import_k8s(&[source]), import_nft(&[source]), import_classbench(source, Actions::Allow)] {
        match result {
            Ok(imported) => shown(imported.warnings),
            Err(errors) => {
                assert!(!errors.is_empty(), "a refusal without a reason");
                shown(errors);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}|[-@{}:,;\\[\\]\"'&*!a-z0-9 \n\t\u{1b}\u{7}\r#$./]{0,200}") {
        read(&text);
    }

    #[test]
    fn nearly_right_text(
        sample in 0..SAMPLES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), INSERTED, 0..4_usize), 1..6),
    ) {
        let mut characters: Vec<char> = SAMPLES[sample].chars().collect();
        for (at, insert, remove) in edits {
            let at = at.index(characters.len().max(1)).min(characters.len());
            let end = (at + remove).min(characters.len());
            characters.splice(at..end, insert.chars());
        }
        read(&characters.into_iter().collect::<String>());
    }
}
