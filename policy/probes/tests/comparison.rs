//! Comparisons on the host: the core stands for programs, and some that lie.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::convert::Infallible;

use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4, Facts, tcp};
use gabion_abi::verdict::{DROP, PASS};
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{Source, parse};
use gabion_policy_probes::compare::Defect;
use gabion_policy_probes::{Comparison, Place, Probe, Program, Seen, Side, compare, frame, host};

const POLICY: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: plant}
spec: {interfaces: [{name: lan}], defaults: {ingress: deny, egress: allow}}
---
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: rtu}
spec:
  subject: {cidr: 10.0.0.2/32}
  ingress:
    - {name: modbus, from: [{cidr: 10.0.0.1/32}], services: [{protocol: tcp, ports: 502}]}
    - {name: any, from: [{cidr: 10.0.0.0/24}], services: [{protocol: tcp, ports: 80}]}
";

/// The core as a program; some verdicts it turns round.
struct Core<'a> {
    compiled: &'a Compiled,
    lies_about: u16,
}

impl Program for Core<'_> {
    type Error = Infallible;

    fn is_defect(error: &Infallible) -> bool {
        match *error {}
    }

    fn judge(&mut self, probe: &Probe) -> Result<Seen, Infallible> {
        let mut seen = host::judged(self.compiled, &Settings::ZERO, probe);
        if seen.facts.destination_port == self.lies_about {
            seen.verdict.action = if seen.verdict.action == DROP { PASS } else { DROP };
        }
        Ok(seen)
    }
}

fn read(text: &str) -> (PolicySet, Compiled) {
    let set = parse(&[Source::new("policy", text.to_owned())]).unwrap();
    let compiled = compile(&set, &Options::default()).unwrap();
    (set, compiled)
}

fn probes() -> Vec<Probe> {
    let segment = |source: u32, port: u16| Facts {
        source: Address::v4(0x0a00_0000 + source),
        destination: Address::v4(0x0a00_0002),
        ethertype: 0x0800,
        family: FAMILY_V4,
        protocol: 6,
        transport: 1,
        source_port: 4000,
        destination_port: port,
        tcp_flags: tcp::SYN,
        ..Facts::UNKNOWN
    };
    let probe = |(source, port): (u32, u16)| Probe {
        name: format!("{source} to port {port}"),
        place: Place::Arrival { on: Some("lan".to_owned()) },
        layer3: false,
        frame: frame(&segment(source, port), false).unwrap(),
        node: None,
        follows: false,
    };
    [(1, 502), (1, 80), (3, 502), (3, 80), (3, 443)].map(probe).to_vec()
}

fn compared(new: &str, lies: [u16; 2], questions: usize) -> Comparison {
    let (old_set, old) = read(POLICY);
    let (new_set, new) = read(new);
    let settings = &Settings::ZERO;
    let mut programs = [Core { compiled: &old, lies_about: lies[0] }, Core { compiled: &new, lies_about: lies[1] }];
    let [before, after] = &mut programs;
    let mut before = Side { set: &old_set, compiled: &old, program: before, settings };
    let mut after = Side { set: &new_set, compiled: &new, program: after, settings };
    compare(&mut before, &mut after, &probes(), questions)
}

#[test]
fn the_same_policy_changes_nothing() {
    let found = compared(POLICY, [0, 0], 9);
    assert_eq!((found.probes, found.same), (5, 5));
    assert!(found.is_sound() && found.is_complete() && found.changed.is_empty());
}

#[test]
fn a_changed_rule_explains_a_changed_verdict() {
    let found = compared(&POLICY.replace("ports: 502", "ports: 503"), [0, 0], 9);
    assert!(found.is_sound(), "{found:#?}");
    let [change] = &found.changed[..] else { panic!("{found:#?}") };
    assert_eq!(
        (change.old.to_string(), change.new.to_string()),
        ("allow by rtu/modbus".to_owned(), "deny by rtu/isolation".to_owned())
    );
    assert_eq!(change.explained_by, ["changed rule rtu/modbus (ingress)"]);
    assert_eq!((change.source.as_str(), change.content.as_str()), ("10.0.0.1", "tcp 502 (from 4000, flags syn)"));
}

#[test]
fn another_rule_with_the_same_verdict_is_told_apart() {
    let found = compared(&POLICY.replace("name: any", "name: web"), [0, 0], 9);
    assert_eq!((found.same, found.by_another_rule.len(), found.changed.len()), (3, 2, 0));
    assert!(found.is_sound());
}

#[test]
fn who_is_who_explains_a_change_where_no_rule_did() {
    let labels = POLICY.replace("{cidr: 10.0.0.1/32}", "{labels: {role: hmi}}");
    let inventory = |address: &str| {
        format!(
            "{labels}---\napiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {{name: all}}\nspec: {{entries: \
             [{{name: hmi, addresses: [{address}], labels: {{role: hmi}}}}]}}\n"
        )
    };
    let (old_set, old) = read(&inventory("10.0.0.1"));
    let (new_set, new) = read(&inventory("10.0.0.3"));
    let settings = &Settings::ZERO;
    let (mut before, mut after) = (Core { compiled: &old, lies_about: 0 }, Core { compiled: &new, lies_about: 0 });
    let mut before = Side { set: &old_set, compiled: &old, program: &mut before, settings };
    let mut after = Side { set: &new_set, compiled: &new, program: &mut after, settings };
    let found = compare(&mut before, &mut after, &probes(), 9);
    assert_eq!(found.changed.len(), 2, "{found:#?}");
    assert!(found.changed.iter().all(|change| change.explained_by == ["changed entry hmi"]), "{found:#?}");
}

#[test]
fn programs_that_do_not_do_what_their_policy_says_are_defects() {
    let found = compared(POLICY, [0, 80], 9);
    let of = |defect: &Defect| (defect.program, defect.against);
    assert_eq!(found.defects.iter().map(of).collect::<Vec<_>>(), [("new", "core"), ("new", "core")]);
    assert!(!found.is_sound());

    // The old one let pass, or dropped, what its policy did not say: the change is real, and nobody meant it.
    let found = compared(POLICY, [443, 0], 9);
    let [defect] = &found.defects[..] else { panic!("{found:#?}") };
    assert_eq!(of(defect), ("old", "oracle"));
    assert_eq!(defect.what, "it says allow by rtu/isolation, and the policy deny by rtu/isolation");
}

#[test]
fn changes_beyond_the_questions_are_said_to_be_unasked() {
    let found = compared(&POLICY.replace("deny, egress: allow", "deny, egress: deny"), [0, 0], 1);
    assert_eq!((found.changed.len(), found.not_asked.len()), (1, 2));
    assert!(found.is_sound() && !found.is_complete());
}
