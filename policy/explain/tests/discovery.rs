//! Neighbour discovery in questions: what counts as genuine, and what the answer says about the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_policy_explain::{Answer, Directory, Oracle, Query, explain, verdict};
use gabion_policy_model::text::{Source, parse};

const SITE: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: s}
spec:
  interfaces: [{name: eth0, addresses: [\"2001:db8::1\"]}, {name: eth1}]
  defaults: {ingress: deny, egress: deny}
";

fn asked(site: &str, question: &str) -> Answer {
    let set = parse(&[Source::new("site.yaml", site)]).unwrap();
    let directory = Directory::new(&set);
    let query: Query<'_> = serde_json::from_str(question).unwrap();
    let packet = directory.packet(&query).unwrap();
    let verdict = verdict(&Oracle(&set), &directory, &packet);
    explain(&set, &directory, &packet, &verdict)
}

#[test]
fn neighbour_discovery_of_the_link_or_of_the_node_is_link_control() {
    for question in [
        // To the node on arrival, from it on departure, and either end to end.
        r#"{"src": "2001:db8::9", "dst": "2001:db8::1", "icmp": "neighbour-solicitation", "in": "eth0"}"#,
        r#"{"src": "2001:db8::1", "dst": "2001:db8::9", "icmp": "136/0", "out": "eth0"}"#,
        r#"{"src": "2001:db8::9", "dst": "2001:db8::1", "icmp": "135"}"#,
        r#"{"src": "2001:db8::1", "dst": "2001:db8::9", "icmp": "135"}"#,
        r#"{"src": "2001:db8::9", "dst": "ff02::1:ff00:1", "icmp": "135", "in": "eth0"}"#,
        r#"{"src": "fe80::9", "dst": "fe80::1", "icmp": "136", "hopLimit": 255}"#,
    ] {
        let answer = asked(SITE, question);
        assert_eq!((answer.verdict, answer.rule.as_str()), ("allow", "default/link-control"), "{question}");
        let told = answer.notes.iter().any(|note| note.contains("hop limit"));
        assert_eq!(told, !question.contains("hopLimit"), "{question}: {:?}", answer.notes);
    }
}

#[test]
fn what_is_none_is_judged_as_ordinary_and_the_answer_says_so() {
    for question in [
        r#"{"src": "2001:db8::9", "dst": "2001:db8:1::9", "icmp": "135", "in": "eth0", "out": "eth1"}"#,
        r#"{"src": "2001:db8::9", "dst": "2001:db8:1::9", "icmp": "135"}"#,
        r#"{"src": "2001:db8::9", "dst": "2001:db8::1", "icmp": "135", "in": "eth0", "hopLimit": "64"}"#,
        r#"{"src": "fe80::9", "dst": "fe80::1", "icmp": "135/1"}"#,
    ] {
        let answer = asked(SITE, question);
        assert_eq!((answer.verdict, answer.rule.as_str()), ("deny", "default/ingress"), "{question}");
        assert!(answer.packet.content.contains("no neighbour discovery of this link"), "{}", answer.packet.content);
    }
}

#[test]
fn a_hop_limit_is_one_of_ipv6() {
    let set = parse(&[Source::new("site.yaml", SITE)]).unwrap();
    let directory = Directory::new(&set);
    for (question, expected) in [
        (r#"{"src": "10.0.0.1", "dst": "10.0.0.2", "icmp": "8", "hopLimit": 64}"#, "hop-limit and src contradict"),
        (r#"{"src": "fe80::1", "dst": "fe80::2", "icmp": "135", "hopLimit": 256}"#, "hop-limit: \"256\" is not"),
    ] {
        let query: Query<'_> = serde_json::from_str(question).unwrap();
        let error = directory.packet(&query).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
