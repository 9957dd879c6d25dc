//! Any octets as an envelope, as a statement, as files of metadata, and as what a node stored. Nothing that was not
//! signed is believed, whatever it is.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use gabion_bundle::{Attachment, Builder, Bundle, Manifest, Metadata};
use gabion_trust::{Circumstances, Clock, ClockPolicy, Envelope, Node, Repository, Statement, Trust};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "1.root.json", "2.root.json", "timestamp.json", "snapshot.json", "targets.json", "policy.json", "release.json",
    "emergency.json",
];

fuzz_target!(|octets: &[u8]| {
    if let Ok(envelope) = Envelope::parse(octets) {
        assert_eq!(Envelope::parse(&envelope.text()), Ok(envelope.clone()));
        assert!(envelope.signatures(|_| None).all(|(_, verdict)| verdict.is_none()));
        let _ = Statement::parse(&envelope.payload());
    }
    if let Ok(statement) = Statement::parse(octets) {
        assert_eq!(Statement::parse(&statement.text()), Ok(statement));
    }
    let _ = Trust::open(octets);
    // Files of metadata, one after the other, each ended by a zero.
    let files: Vec<&[u8]> = octets.split(|&octet| octet == 0).collect();
    let metadata: Metadata = NAMES
        .iter()
        .zip(&files)
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(name, bytes)| (name.parse().expect("a name"), bytes.to_vec()))
        .collect();
    let pairs = metadata.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    if let Ok(site) = Repository::of(pairs, []) {
        let _ = (site.status(), site.plan(), site.newest_root());
    }
    let Some(Ok(trust)) = files.first().map(|root| Trust::begin(root)) else { return };
    let mut bundle = bundle();
    bundle.attach(Attachment::Trust(metadata));
    let clock = Clock { now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), trusted: true };
    let node = Node {
        architecture: "x86_64".parse().expect("a name"),
        kernel: "6.12".parse().expect("a name"),
        contracts: Default::default(),
        bundle: None,
    };
    let programs = BTreeSet::new();
    let asked = Circumstances { clock, policy: ClockPolicy::Refuse, node: &node, programs: &programs };
    match trust.verify(&bundle, &asked) {
        Err(refused) => assert!(!refused.code().is_empty() && !refused.to_string().is_empty()),
        Ok(accepted) => {
            assert!(!accepted.signed.is_empty());
            assert_eq!(Trust::open(&accepted.next.text()), Ok(accepted.next));
        }
    }
});

fn bundle() -> Bundle {
    let manifest = serde_json::json!({
        "bundle": 1, "kind": "generation", "name": "x", "version": 1,
        "notBefore": "2027-01-01T00:00:00Z", "expires": "2028-01-01T00:00:00Z", "targets": [],
        "tables": format!("sha256:{}", "0".repeat(64)), "contracts": {}, "files": {},
    });
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    Builder::new(manifest).finish().expect("a bundle")
}
