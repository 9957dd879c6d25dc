//! What is printed is read back as the same, and no text makes the reader panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod strategy;

use gabion_policy_model::set::Location;
use gabion_policy_model::{PolicySet, Source, parse, to_yaml};
use proptest::prelude::*;

fn without_locations(mut set: PolicySet) -> PolicySet {
    let nowhere = Location::default;
    for policy in &mut set.policies {
        policy.location = nowhere();
        for rule in policy.ingress.iter_mut().chain(policy.egress.iter_mut()).flatten() {
            rule.location = nowhere();
        }
    }
    for policy in &mut set.cluster_policies {
        policy.location = nowhere();
        for rule in policy.ingress.iter_mut().chain(policy.egress.iter_mut()) {
            rule.location = nowhere();
        }
    }
    for entry in &mut std::sync::Arc::make_mut(&mut set.inventory).entries {
        entry.location = nowhere();
    }
    if let Some(site) = &mut set.site {
        site.location = nowhere();
        site.interfaces.iter_mut().for_each(|interface| interface.location = nowhere());
        site.defaults.subjects.iter_mut().for_each(|of| of.location = nowhere());
    }
    set
}

fn read(text: &str) -> PolicySet {
    match parse(&[Source::new("printed", text)]) {
        Ok(set) => without_locations(set),
        Err(findings) => panic!("{}\n{text}", findings[0]),
    }
}

const GOOD: &str = include_str!("good/substation.yaml");

#[test]
fn the_example_is_printed_as_it_was_read() {
    let set = read(GOOD);
    assert_eq!(read(&to_yaml(&set)), set);
}

#[test]
fn a_service_that_matches_nothing_never_becomes_one_that_matches_anything() {
    let mut set = read(GOOD);
    let rule = &mut set.policies[0].ingress.as_mut().unwrap()[0];
    rule.services.truncate(1);
    rule.services[0].source_ports = Some(Default::default());
    let again = read(&to_yaml(&set));
    assert_eq!(again.policies[0].ingress.as_ref().unwrap()[0].from, Some(Vec::new()));
}

/// What YAML is written in, letters, and bytes that are no text.
const NOISE: &[u8] = b" \t\n-:,[]{}\"'#&*!|>%@`?abc01.~\xc3\xa9\xff\x00";

proptest! {
    #[test]
    fn what_is_printed_is_read_back_as_the_same(set in strategy::set()) {
        prop_assume!(!to_yaml(&set).is_empty());
        prop_assert_eq!(read(&to_yaml(&set)), set);
    }

    #[test]
    fn mutated_text_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<char>()), 1..20)
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (index, edit, c) in edits {
            let at = index.index(text.len());
            match edit {
                0 => { text.remove(at); }
                1 => text.insert(at, c),
                2 => text[at] = c,
                _ => {
                    let part = text[at..(at + 40).min(text.len())].to_vec();
                    text.splice(at..at, part);
                }
            }
        }
        let sources = [Source::new("mutated", text.into_iter().collect::<String>())];
        if let Err(findings) = parse(&sources) {
            for finding in findings {
                let location = &finding.location;
                prop_assert!(sources[0].text.get(location.offset..location.offset + location.length).is_some());
                let mut report = String::new();
                miette::GraphicalReportHandler::new().render_report(&mut report, &finding.report(&sources)).unwrap();
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(prop::sample::select(NOISE.to_vec()), 0..400)) {
        if let Ok(source) = Source::from_bytes("noise", bytes) {
            let _ = parse(&[source]);
        }
    }
}
