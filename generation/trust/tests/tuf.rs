//! The scenarios of TUF's conformance suite, on bundles: each attack is refused by its own reason, and each way back is
//! open.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod site;

use gabion_bundle::{Attachment, Bundle};
use gabion_trust::{Alarm, Clock, ClockPolicy, Doubt, Refused, Role, Trust};
use serde_json::{Value, json};
use site::*;

fn code(trust: &Trust, bundle: &Bundle) -> &'static str {
    judge_at(trust, bundle, NOW).map_or_else(|refused| refused.code(), |_| "accepted")
}

/// A node that has accepted this, and what it stored.
fn after(trust: &Trust, bundle: &Bundle) -> Trust {
    let accepted = judge_at(trust, bundle, NOW).unwrap();
    Trust::open(&accepted.next.text()).unwrap()
}

#[test]
fn what_enough_signed_is_accepted_and_says_what_to_keep() {
    let (site, bundle) = (Site::new().signs("policy", &bundle()), bundle());
    let trust = begin(&site);
    let accepted = judge_at(&trust, &site.on(&bundle), NOW).unwrap();
    assert_eq!(accepted.by, Role::Policy);
    assert_eq!(
        accepted.signed.iter().map(|it| it.key.clone()).collect::<Vec<_>>(),
        POLICY[..3].iter().map(|&it| id(it)).collect::<Vec<_>>()
    );
    assert_eq!((accepted.at, accepted.alarms.len()), (time(NOW), 0));
    assert_eq!(accepted.next.floor(Role::Policy, &name("substation-7")), Some(42));
    assert_eq!(accepted.next.latest(), time(NOW));
    assert_eq!(trust.floor(Role::Policy, &name("substation-7")), None, "nothing is kept by itself");
    let again = Trust::open(&accepted.next.text()).unwrap();
    assert_eq!(again, accepted.next);
    assert!(judge_at(&again, &site.on(&bundle), NOW).is_ok(), "the same once more");
}

#[test]
fn numbers_do_not_go_back() {
    let bundle = bundle();
    let site = |version| Site::new().signs("policy", &bundle).at(version);
    let node = after(&begin(&site(5)), &site(5).on(&bundle));
    let older = |edit: &dyn Fn(&mut Site)| {
        let mut site = site(6);
        edit(&mut site);
        judge_at(&node, &site.on(&bundle), NOW).unwrap_err().to_string()
    };
    assert_eq!(code(&node, &site(6).on(&bundle)), "accepted");
    assert_eq!(code(&node, &site(4).on(&bundle)), "trust-rolled-back");
    type Case<'c> = (&'c dyn Fn(&mut Site), &'c str);
    let cases: [Case<'_>; 5] = [
        (&|it| it.timestamp.set("version", 4), "timestamp.json: version 4, and this node has seen version 5"),
        (&|it| it.snapshot.set("version", 4), "timestamp.json: version 4, and this node has seen version 5"),
        (&|it| it.targets.set("version", 4), "snapshot.json: version 4, and this node has seen version 5"),
        (&|it| it.role("policy").set("version", 4), "snapshot.json: version 4, and this node has seen version 5"),
        (&|it| drop(it.roles.remove("release")), "snapshot.json: snapshot removes release.json"),
    ];
    for (edit, text) in cases {
        let refused = older(edit);
        assert!(refused.starts_with(text), "{refused}");
    }
}

#[test]
fn roots_follow_one_another_and_nothing_else() {
    let bundle = bundle();
    let mut site = Site::new().signs("policy", &bundle);
    let trust = begin(&site);
    site.roots.extend([root(2), root(3)]);
    let node = after(&trust, &site.on(&bundle));
    // Everything begins anew at a node that saw the third; who has an older one walks the same way.
    assert_eq!(code(&node, &site.on(&bundle)), "accepted");
    let mut gap = site.clone();
    gap.roots.remove(1);
    gap.timestamp.set("version", 9);
    assert_eq!(
        judge_at(&trust, &gap.on(&bundle), NOW).map(|it| it.next.root().to_vec()),
        Ok(site.root()),
        "what is behind a gap is not seen"
    );
    let named = |number: u64, inside: u64| {
        let mut metadata = site.metadata();
        metadata.insert(name(&format!("{number}.root.json")), root(inside).bytes());
        let mut bundle = bundle.clone();
        bundle.attach(Attachment::Trust(metadata));
        bundle
    };
    assert_eq!(
        judge_at(&node, &named(4, 2), NOW).unwrap_err(),
        Refused::RootVersion { file: "4.root.json".into(), trusted: 3, found: 2 }
    );
    assert_eq!(
        judge_at(&node, &named(4, 9), NOW).unwrap_err(),
        Refused::RootVersion { file: "4.root.json".into(), trusted: 3, found: 9 }
    );
}

#[test]
fn a_root_takes_the_signatures_of_the_old_keys_and_of_the_new() {
    let bundle = bundle();
    let mut site = Site::new().signs("policy", &bundle);
    let trust = begin(&site);
    // Keys 6, 7 and 8 take the place of 1, 2 and 3.
    let mut next = root(2);
    next.signed["keys"] = keys(&[6, 7, 8, TARGETS[0], TARGETS[1], PUBLISHER]);
    next.signed["roles"]["root"] = role(&[6, 7, 8], 2);
    let mut with = |by: &[u8]| {
        next.signed_by(by);
        site.roots.truncate(1);
        site.roots.push(next.clone());
        site.on(&bundle)
    };
    assert_eq!(code(&trust, &with(&[1, 2, 6, 7])), "accepted");
    for (by, wanted) in [
        (&[6, 7, 8][..], "trust-key-unknown"),
        (&[1, 6, 7], "trust-key-unknown"),
        (&[1, 2, 6], "trust-key-revoked"),
        (&[1, 2], "trust-key-revoked"),
    ] {
        assert_eq!(code(&trust, &with(by)), wanted, "{by:?}");
    }
    let node = after(&trust, &with(&[1, 2, 6, 7]));
    let mut third = next.clone();
    third.set("version", 3);
    third.signed_by(&[1, 2, 3]);
    let mut old = site.clone();
    old.roots.push(third.clone());
    assert_eq!(code(&node, &old.on(&bundle)), "trust-key-revoked", "keys that are no root's any more");
    third.signed_by(&[7, 8]);
    old.roots[2] = third;
    assert_eq!(code(&node, &old.on(&bundle)), "accepted");
}

#[test]
fn what_is_held_back_expires() {
    let bundle = bundle();
    let site = Site::new().signs("policy", &bundle);
    let node = after(&begin(&site), &site.on(&bundle));
    let expiring = |edit: &dyn Fn(&mut Site)| {
        let mut site = site.clone().at(2);
        edit(&mut site);
        let refused = judge_at(&node, &site.on(&bundle), NOW).unwrap_err();
        assert_eq!(refused.code(), "trust-expired", "{refused}");
        refused.to_string()
    };
    let past = "2027-02-01T00:00:00Z";
    assert!(expiring(&|it| it.timestamp.set("expires", past)).starts_with("timestamp.json: expired at 2027-02-01"));
    assert!(expiring(&|it| it.snapshot.set("expires", past)).starts_with("snapshot.json: "));
    assert!(expiring(&|it| it.targets.set("expires", past)).starts_with("targets.json: "));
    assert!(expiring(&|it| it.role("policy").set("expires", past)).starts_with("policy.json: "));
    let root = expiring(&|it| {
        it.roots.push(root(2));
        it.roots[1].set("expires", past);
    });
    assert!(root.starts_with("root.json: "), "{root}");
    // The same files, much later: nobody renewed them.
    let late = judge_at(&node, &site.on(&bundle), "2028-06-01T00:00:00Z").unwrap_err();
    assert_eq!(late.code(), "trust-expired");
    // An old root is only a step.
    let mut chain = site.clone();
    chain.roots[0].set("expires", past);
    let trust = begin(&chain);
    chain.roots.push(site::root(2));
    assert_eq!(code(&trust, &chain.on(&bundle)), "accepted");
    // What no bundle needs may be old.
    let mut other = site.clone().at(2);
    other.role("emergency").set("expires", past);
    assert_eq!(code(&node, &other.on(&bundle)), "accepted");
}

#[test]
fn a_thief_who_pushed_numbers_up_is_overcome_by_other_keys() {
    let bundle = bundle();
    let site = Site::new().signs("policy", &bundle);
    let trust = begin(&site);
    let high = site.clone().at(u64::from(u32::MAX));
    let node = after(&trust, &high.on(&bundle));
    assert_eq!(code(&node, &site.clone().at(7).on(&bundle)), "trust-rolled-back");
    // The publisher gets another key.
    let mut mended = site.at(7);
    mended.roots.push(root(2));
    mended.roots[1].signed["keys"] = keys(&[1, 2, 3, 4, 5, 12]);
    for role_name in ["snapshot", "timestamp"] {
        mended.roots[1].signed["roles"][role_name] = role(&[12], 1);
    }
    mended.snapshot.signed_by(&[12]);
    mended.timestamp.signed_by(&[12]);
    let node = after(&node, &mended.on(&bundle));
    assert_eq!(code(&node, &high.on(&bundle)), "trust-key-revoked", "the thief's key is worth nothing any more");
    assert_eq!(code(&node, &mended.clone().at(6).on(&bundle)), "trust-rolled-back", "from here on numbers count again");
    assert_eq!(code(&node, &mended.at(8).on(&bundle)), "accepted");
}

#[test]
fn a_revoked_key_counts_no_more() {
    let bundle = bundle();
    let site = Site::new().signs("policy", &bundle);
    let node = after(&begin(&site), &site.on(&bundle));
    let mut without = site.clone().at(2);
    let rest = [POLICY[1], POLICY[2], POLICY[3]];
    without.targets.signed["delegations"]["roles"][1] = delegated("policy", &rest, 3);
    let all: Vec<u8> = rest.into_iter().chain(RELEASE).chain(EMERGENCY).collect();
    without.targets.signed["delegations"]["keys"] = keys(&all);
    let refused = judge_at(&node, &without.on(&bundle), NOW).unwrap_err();
    let wanted = Refused::KeyRevoked {
        file: "policy.json".into(),
        role: "policy".into(),
        key: id(POLICY[0]),
        valid: 2,
        threshold: 3,
    };
    assert_eq!(refused, wanted);
    without.role("policy").signed_by(&rest);
    assert_eq!(code(&node, &without.on(&bundle)), "accepted");
}

#[test]
fn files_of_different_days_do_not_mix() {
    let bundle = bundle();
    let (old, new) = (Site::new().signs("policy", &bundle), Site::new().signs("policy", &bundle).at(2));
    let trust = begin(&old);
    for file in ["snapshot.json", "targets.json", "policy.json"] {
        let mut metadata = new.metadata();
        metadata.insert(name(file), old.metadata()[&name(file)].clone());
        let mut mixed = bundle.clone();
        mixed.attach(Attachment::Trust(metadata));
        let refused = judge_at(&trust, &mixed, NOW).unwrap_err();
        assert_eq!(refused.code(), "trust-mixed");
        assert!(refused.to_string().starts_with(file), "{refused}");
    }
}

#[test]
fn software_that_nobody_signed_is_refused() {
    let signed = bundle();
    let site = Site::new().signs("policy", &signed);
    let trust = begin(&site);
    let mut other = edited(|_| {});
    other.add(path("policy/site.yaml"), gabion_bundle::Use::Policy, b"kind: Other\n".to_vec());
    let other = other.finish().unwrap();
    assert_eq!(code(&trust, &site.on(&other)), "bundle-another");
    let elsewhere = filled(edited(|it| it["name"] = "substation-8".into()));
    assert_eq!(code(&trust, &site.on(&elsewhere)), "bundle-not-signed");
    // Targets itself signs nothing, though it may say who does.
    let mut top = Site::new();
    top.targets.signed["targets"] = Site::new().signs("policy", &signed).role("policy").signed["targets"].clone();
    assert_eq!(code(&trust, &top.on(&signed)), "trust-path");
}

#[test]
fn roles_sign_what_is_theirs() {
    let bundle = bundle();
    let trust = begin(&Site::new());
    let path_of = |role: &'static str, path: &str| {
        let mut site = Site::new().signs("policy", &bundle);
        site.role(role).signed["targets"][path] = json!({"length": 1, "hashes": {"sha256": "00"}});
        site
    };
    assert_eq!(code(&trust, &path_of("policy", "emergency/x").on(&bundle)), "trust-path");
    assert_eq!(code(&trust, &path_of("policy", "policy/../x").on(&bundle)), "trust-path");
    assert_eq!(code(&trust, &path_of("policy", "policy/a/b").on(&bundle)), "trust-path");
    let delegations = |edit: &dyn Fn(&mut Value)| {
        let mut site = Site::new().signs("policy", &bundle);
        edit(&mut site.targets.signed["delegations"]["roles"]);
        code(&trust, &site.on(&bundle))
    };
    assert_eq!(delegations(&|it| it[0]["name"] = "packager".into()), "trust-role");
    assert_eq!(delegations(&|it| it[1]["paths"] = json!(["*/*"])), "trust-role");
    assert_eq!(delegations(&|it| it[1]["terminating"] = false.into()), "trust-role");
    assert_eq!(delegations(&|it| it[1]["threshold"] = 0.into()), "trust-role");
    assert_eq!(delegations(&|it| it[1]["threshold"] = 9.into()), "trust-role");
    assert_eq!(delegations(&|it| it[0] = it[1].clone()), "trust-role");
    assert_eq!(delegations(&|it| drop(it.as_array_mut().unwrap().remove(1))), "bundle-not-signed");
    let mut further = Site::new().signs("policy", &bundle);
    further.role("policy").signed["delegations"] = json!({"keys": {}, "roles": [delegated("policy", &[], 1)]});
    assert_eq!(code(&trust, &further.on(&bundle)), "trust-role");
}

#[test]
fn emergency_signs_emergency_alone() {
    let (whole, deny) = (bundle(), emergency());
    let trust = begin(&Site::new());
    let accepted = judge_at(&trust, &Site::new().signs("emergency", &deny).on(&deny), NOW).unwrap();
    assert_eq!(accepted.by, Role::Emergency);
    assert_eq!(accepted.next.floor(Role::Policy, &name("substation-7")), None, "numbers of its own");
    assert_eq!(code(&trust, &Site::new().signs("policy", &deny).on(&deny)), "accepted", "the many may, too");
    let mut silent = Site::new().signs("policy", &deny);
    silent.roles.remove("emergency");
    assert_eq!(code(&trust, &silent.on(&deny)), "accepted", "who never signed anything is not missed");
    assert_eq!(code(&trust, &Site::new().signs("emergency", &whole).on(&whole)), "bundle-emergency");
    assert_eq!(code(&trust, &Site::new().on(&deny)), "bundle-not-signed");
}

#[test]
fn programs_are_released_or_the_agents_own() {
    let foreign = {
        let mut builder = edited(|_| {});
        builder.add(path("plugins/goose.wasm"), gabion_bundle::Use::Plugin, b"\0asm".to_vec());
        builder.finish().unwrap()
    };
    let site = Site::new().signs("policy", &foreign);
    let trust = begin(&site);
    let refused = judge_at(&trust, &site.on(&foreign), NOW).unwrap_err();
    assert!(matches!(&refused, Refused::Program { path: it, .. } if *it == path("plugins/goose.wasm")), "{refused}");
    let mut released = site.releases(b"\0asm");
    assert_eq!(code(&trust, &released.on(&foreign)), "accepted");
    released.role("release").signed_by(&RELEASE[..1]);
    assert_eq!(code(&trust, &released.on(&foreign)), "trust-threshold");
}

#[test]
fn nobody_goes_back_without_a_grant() {
    let (new, old) = (version(42), version(41));
    let node = after(&begin(&Site::new()), &Site::new().signs("policy", &new).on(&new));
    let site = Site::new().signs("policy", &old).at(2);
    assert_eq!(code(&node, &site.on(&old)), "bundle-rolled-back");
    let granted = |floor: u64, expires: &str| {
        let mut site = site.clone();
        let grant = json!({"floor": floor, "expires": expires, "reason": "42 drops the polling"});
        site.role("policy").signed["targets"]["policy/substation-7"]["custom"]["grant"] = grant;
        judge_at(&node, &site.on(&old), NOW)
    };
    let accepted = granted(41, "2027-03-02T00:00:00Z").unwrap();
    assert_eq!(accepted.next.floor(Role::Policy, &name("substation-7")), Some(41));
    assert!(matches!(&accepted.alarms[..], [Alarm::WentBack { floor: 42, version: 41, .. }]), "{:?}", accepted.alarms);
    assert!(
        granted(42, "2027-03-02T00:00:00Z").unwrap_err().to_string().ends_with("the grant to go back goes down to 42")
    );
    assert_eq!(granted(41, NOW).unwrap_err().code(), "bundle-grant");
}

#[test]
fn a_clock_in_doubt_has_a_policy_and_moves_nothing() {
    let bundle = bundle();
    let site = Site::new().signs("policy", &bundle);
    let trust = begin(&site);
    let doubtful = |now: &str| Clock { now: time(now).moment(), trusted: false };
    let refused = judge(&trust, &site.on(&bundle), doubtful(NOW), ClockPolicy::Refuse).unwrap_err();
    assert_eq!(refused.code(), "clock-unsynchronised");
    let accepted = judge(&trust, &site.on(&bundle), doubtful(NOW), ClockPolicy::AcceptWithAlarm).unwrap();
    assert_eq!(accepted.alarms, [Alarm::Clock(Doubt::Unsynchronised { now: time(NOW) })]);
    assert_eq!(accepted.next.latest(), trust.latest(), "what nobody vouches for is no bound");
    let until = |until: &str| judge(&trust, &site.on(&bundle), doubtful(NOW), ClockPolicy::AcceptUntil(time(until)));
    assert!(until("2027-03-02T00:00:00Z").is_ok());
    assert_eq!(until("2027-02-28T00:00:00Z").unwrap_err().code(), "clock-until");
    // Somebody set it back, so that what expired would be good again.
    let node = after(&trust, &site.on(&bundle));
    let back = at("2027-02-01T00:00:00Z");
    assert_eq!(judge(&node, &site.on(&bundle), back, ClockPolicy::Refuse).unwrap_err().code(), "clock-behind");
    let accepted = judge(&node, &site.on(&bundle), back, ClockPolicy::AcceptWithAlarm).unwrap();
    assert_eq!(accepted.at, time(NOW), "judged by the later of both");
}

#[test]
fn a_registry_that_keeps_what_was_attached_before_does_no_harm() {
    let bundle = bundle();
    let (old, new) = (Site::new().signs("policy", &bundle), Site::new().signs("policy", &bundle).at(2));
    let node = after(&begin(&new), &new.on(&bundle));
    let mut both = new.on(&bundle).layout().files().clone();
    let older = old.on(&bundle).layout().files().clone();
    let manifests = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Value {
        serde_json::from_slice(&files["index.json"]).unwrap()
    };
    let mut index = manifests(&both);
    let more = manifests(&older)["manifests"][1].clone();
    index["manifests"].as_array_mut().unwrap().push(more);
    both.extend(older);
    both.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in &both {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    let bundle = Bundle::parse(&archive.into_inner().unwrap()).unwrap();
    assert_eq!(bundle.attached().len(), 2);
    assert_eq!(code(&node, &bundle), "accepted");
}

/// What a verdict costs at a node that has accepted something before: hashes, a threshold of 3, TUF, what is trusted
/// read and verified again. `cargo test --release -p gabion-trust --test tuf -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_verdict() {
    let mut builder = edited(|_| {});
    let rules: String =
        (0..1_000).map(|at| format!("    - {{name: rule-{at}, from: [{{cidr: 10.0.{at}.0/24}}]}}\n")).collect();
    builder.add(path("policy/rules.yaml"), gabion_bundle::Use::Policy, rules.into_bytes());
    builder.add(path("programs/hooks.o"), gabion_bundle::Use::Programs, vec![7; 600_000]);
    let bundle = builder.finish().unwrap();
    let site = Site::new().signs("policy", &bundle).releases(&vec![7; 600_000]);
    let stored = judge_at(&begin(&site), &site.on(&bundle), NOW).unwrap().next.text();
    let mut archive = Vec::new();
    site.clone().at(2).on(&bundle).layout().write_archive(&mut archive).unwrap();
    let mut times: Vec<_> = (0..201)
        .map(|_| {
            let start = std::time::Instant::now();
            let bundle = Bundle::parse(&archive).unwrap();
            let parsed = start.elapsed();
            assert!(judge_at(&Trust::open(&stored).unwrap(), &bundle, NOW).is_ok());
            (start.elapsed(), parsed)
        })
        .collect();
    times.sort();
    let (all, parsed) = times[100];
    println!(
        "{} bytes: {all:?} in all, of which {parsed:?} for the bundle's own bytes; p99 {:?}",
        archive.len(),
        times[198].0
    );
}
