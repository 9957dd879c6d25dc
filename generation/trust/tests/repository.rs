//! People who sign one after the other, each alone with the folder, and nodes that hold them to it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod site;

use std::collections::BTreeMap;

use gabion_bundle::{Attachment, Bundle};
use gabion_trust::{Keys, Plan, PublicKey, Repository, Role, Trust, Who, Wrong};
use serde_json::{Value, json};
use site::{NOW, PUBLISHER, bundle, judge_at, key, public, time, version};

const EXPIRES: &str = "2027-12-01T00:00:00Z";

fn keys(numbers: &[u8], threshold: usize) -> Keys {
    Keys { keys: numbers.iter().map(|&number| public(number)).collect::<Vec<PublicKey>>(), threshold }
}

fn plan() -> Plan {
    Plan {
        keys: BTreeMap::from([
            (Who::Root, keys(&[1, 2, 3], 2)),
            (Who::Targets, keys(&[4, 5], 2)),
            (Who::Publisher, keys(&[PUBLISHER], 1)),
            (Who::Role(Role::Policy), keys(&[20, 21, 22], 2)),
            (Who::Role(Role::Release), keys(&[30], 1)),
            (Who::Role(Role::Emergency), keys(&[40], 1)),
        ]),
    }
}

/// The folder goes from hand to hand: what is read is what was written.
fn carried(site: Repository) -> Repository {
    let files: Vec<(String, Vec<u8>)> = site.files().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let drafts: Vec<(String, Vec<u8>)> = site.drafts().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let borrowed = |all: &[(String, Vec<u8>)]| all.iter().map(|(a, b)| (a.clone(), b.clone())).collect::<Vec<_>>();
    let (files, drafts) = (borrowed(&files), borrowed(&drafts));
    let again = Repository::of(
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
        drafts.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    );
    let again = again.unwrap();
    assert_eq!(again, site);
    again
}

fn ready() -> Repository {
    let mut site = Repository::begin(&plan(), time(EXPIRES)).unwrap();
    for number in [1, 4, 2, 5] {
        site.sign(&key(number), None).unwrap();
        site = carried(site);
    }
    assert_eq!(site.drafts().count(), 0);
    site
}

fn entry(bundle: &Bundle, grant: Option<Value>) -> (String, Value) {
    let manifest = bundle.manifest();
    let mut custom = json!({"version": manifest.version});
    if let Some(grant) = grant {
        custom["grant"] = grant;
    }
    let target = json!({"length": bundle.id_length(), "hashes": {"sha256": bundle.id().hex()}, "custom": custom});
    (format!("policy/{}", manifest.name), target)
}

fn signed(site: &mut Repository, bundle: &Bundle, by: &[u8]) {
    for &number in by {
        site.sign_targets(Role::Policy, &[entry(bundle, None)], &key(number), time(EXPIRES)).unwrap();
        *site = carried(site.clone());
    }
}

fn on(site: &Repository, bundle: &Bundle) -> Bundle {
    let mut bundle = bundle.clone();
    bundle.attach(Attachment::Trust(site.metadata()));
    bundle
}

fn said<T: std::fmt::Debug>(outcome: Result<T, Wrong>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn one_after_the_other_they_make_what_a_node_accepts() {
    let mut site = ready();
    let trust = Trust::begin(&site.newest_root().unwrap()).unwrap();
    assert!(said(site.publish(&key(20), time(EXPIRES))).contains("is not the publisher's"));
    signed(&mut site, &bundle(), &[20]);
    let waits = site.status().into_iter().find(|it| it.draft).unwrap();
    assert_eq!((waits.file.as_str(), waits.valid, waits.threshold), ("policy.json", 1, 2));
    let again = site.sign_targets(Role::Policy, &[entry(&bundle(), None)], &key(20), time(EXPIRES));
    assert!(said(again).contains("signed the draft of policy.json already"));
    let other = site.sign_targets(Role::Policy, &[entry(&version(43), None)], &key(21), time(EXPIRES));
    assert!(said(other).contains("says something else, and is signed"));
    let foreign = site.sign_targets(Role::Policy, &[entry(&bundle(), None)], &key(30), time(EXPIRES));
    assert!(said(foreign).contains("does not have the role policy"));
    signed(&mut site, &bundle(), &[22]);
    assert!(site.publish(&key(PUBLISHER), time(EXPIRES)).unwrap().whole);
    let node = judge_at(&trust, &on(&site, &bundle()), NOW).unwrap().next;
    // Each day another.
    for version in 43..46 {
        let next = site::version(version);
        signed(&mut site, &next, &[21, 22]);
        assert!(site.publish(&key(PUBLISHER), time(EXPIRES)).unwrap().whole);
        assert!(judge_at(&node, &on(&site, &next), NOW).is_ok());
    }
    // A third signature where two were enough.
    let more = site.sign_targets(Role::Policy, &[entry(&version(45), None)], &key(20), time(EXPIRES)).unwrap();
    assert_eq!((more.draft, more.valid), (false, 3));
}

#[test]
fn whoever_goes_is_replaced_and_what_they_signed_is_signed_again() {
    let mut site = ready();
    let trust = Trust::begin(&site.newest_root().unwrap()).unwrap();
    signed(&mut site, &bundle(), &[20, 21]);
    site.publish(&key(PUBLISHER), time(EXPIRES)).unwrap();
    let node = judge_at(&trust, &on(&site, &bundle()), NOW).unwrap().next;
    // Key 20 goes, key 24 comes.
    site.rotate(Who::Role(Role::Policy), keys(&[21, 22, 24], 2), time(EXPIRES)).unwrap();
    assert!(said(site.rotate(Who::Role(Role::Policy), keys(&[21], 1), time(EXPIRES))).contains("waits already"));
    site.sign(&key(4), None).unwrap();
    site.sign(&key(5), None).unwrap();
    assert!(said(site.publish(&key(PUBLISHER), time(EXPIRES))).contains("policy.json has not the signatures"));
    assert!(said(site.sign(&key(20), None)).contains("no draft waits"));
    site.sign(&key(24), None).unwrap();
    site = carried(site);
    assert!(site.publish(&key(PUBLISHER), time(EXPIRES)).unwrap().whole);
    let node = judge_at(&node, &on(&site, &bundle()), NOW).unwrap().next;
    // The publisher, and two of the root: the next root takes both.
    site.rotate(Who::Publisher, keys(&[12], 1), time(EXPIRES)).unwrap();
    site.sign(&key(1), None).unwrap();
    site.sign(&key(3), None).unwrap();
    site.rotate(Who::Root, keys(&[3, 6, 8], 2), time(EXPIRES)).unwrap();
    for number in [6, 1, 2] {
        assert_eq!(site.drafts().count(), 1, "before {number}");
        site.sign(&key(number), None).unwrap();
    }
    assert_eq!(site.drafts().count(), 1, "of the new ones one is missing");
    site.sign(&key(3), None).unwrap();
    assert_eq!(site.drafts().count(), 0);
    assert!(said(site.publish(&key(PUBLISHER), time(EXPIRES))).contains("is not the publisher's"));
    assert!(site.publish(&key(12), time(EXPIRES)).unwrap().whole);
    for trust in [&node, &trust] {
        let accepted = judge_at(trust, &on(&site, &bundle()), NOW).unwrap();
        assert_eq!(accepted.next.root(), site.newest_root().unwrap());
    }
}

#[test]
fn several_publishers_publish_in_turn() {
    let mut with_two = plan();
    with_two.keys.insert(Who::Publisher, keys(&[10, 11], 2));
    let mut site = Repository::begin(&with_two, time(EXPIRES)).unwrap();
    [1, 4, 2, 5].into_iter().for_each(|number| drop(site.sign(&key(number), None).unwrap()));
    signed(&mut site, &bundle(), &[20, 21]);
    let trust = Trust::begin(&site.newest_root().unwrap()).unwrap();
    assert!(!site.publish(&key(10), time(EXPIRES)).unwrap().whole);
    assert!(said(site.publish(&key(10), time(EXPIRES))).contains("signed the draft of snapshot.json already"));
    site = carried(site);
    assert!(!site.publish(&key(11), time(EXPIRES)).unwrap().whole, "the timestamp waits for the first");
    site = carried(site);
    assert!(site.publish(&key(10), time(EXPIRES)).unwrap().whole);
    assert!(judge_at(&trust, &on(&site, &bundle()), NOW).is_ok());
}

#[test]
fn plans_that_nobody_can_follow_are_refused() {
    let wrong = |who: Who, to: Keys| {
        let mut plan = plan();
        plan.keys.insert(who, to);
        said(Repository::begin(&plan, time(EXPIRES)))
    };
    assert!(wrong(Who::Root, keys(&[1], 2)).contains("needs 2 signatures, and has 1 keys"));
    assert!(wrong(Who::Root, keys(&[1, 1], 2)).contains("has one key twice"));
    assert!(wrong(Who::Role(Role::Policy), keys(&[20], 0)).contains("needs 0 signatures"));
    let mut without = plan();
    without.keys.remove(&Who::Publisher);
    assert!(said(Repository::begin(&without, time(EXPIRES))).contains("publisher has no keys"));
}
