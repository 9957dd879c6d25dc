//! A site with keys, a bundle, and metadata that anything can be done to before it is signed, or after.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use gabion_bundle::{Attachment, Builder, Bundle, Digest, Manifest, Metadata, Name, Path, Time, Use};
use gabion_trust::{
    Accepted, Algorithm, Circumstances, Clock, ClockPolicy, FileKey, Node, PublicKey, Refused, Signer as _, Trust,
};
use serde_json::{Map, Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

pub const NOW: &str = "2027-03-01T12:00:00Z";
const LATER: &str = "2028-01-01T00:00:00Z";

pub fn time(text: &str) -> Time {
    text.parse().unwrap()
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Keys by number: the even ones are Ed25519.
pub fn key(number: u8) -> FileKey {
    let algorithm = if number.is_multiple_of(2) { Algorithm::Ed25519 } else { Algorithm::EcdsaP256 };
    FileKey::of_seed(algorithm, &[number; 32]).unwrap()
}

pub fn public(number: u8) -> PublicKey {
    key(number).public()
}

pub fn id(number: u8) -> String {
    public(number).id()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn keys(numbers: &[u8]) -> Value {
    let all: Map<String, Value> = numbers.iter().map(|&number| (id(number), public(number).metadata())).collect();
    Value::Object(all)
}

pub fn role(numbers: &[u8], threshold: u64) -> Value {
    json!({"keyids": numbers.iter().map(|&number| id(number)).collect::<Vec<_>>(), "threshold": threshold})
}

/// A file, and who signs it: key by number, under the name that it has or another.
#[derive(Clone)]
pub struct File {
    pub signed: Value,
    pub by: Vec<(String, u8)>,
    /// What is done to its text when all is signed and nothing that pins it knows.
    pub spoil: Option<fn(Value) -> Value>,
}

impl File {
    pub fn new(kind: &str, by: &[u8], rest: Value) -> Self {
        let mut signed = json!({"_type": kind, "spec_version": "1.0.31", "version": 1, "expires": LATER});
        signed.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Self { signed, by: by.iter().map(|&number| (id(number), number)).collect(), spoil: None }
    }

    pub fn signed_by(&mut self, numbers: &[u8]) {
        self.by = numbers.iter().map(|&number| (id(number), number)).collect();
    }

    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.signed[field] = value.into();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let text = to_canonical_bytes(&self.signed).unwrap();
        let signatures: Vec<Value> =
            self.by.iter().map(|(id, by)| json!({"keyid": id, "sig": hex(&key(*by).sign(&text).unwrap())})).collect();
        let mut file = json!({"signatures": signatures, "signed": self.signed});
        if let Some(spoil) = self.spoil {
            file = spoil(file);
        }
        serde_json::to_vec(&file).unwrap()
    }
}

pub fn pin(version: &Value, bytes: &[u8]) -> Value {
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Digest::of(bytes).hex()}})
}

pub const ROOT: [u8; 3] = [1, 2, 3];
pub const TARGETS: [u8; 2] = [4, 5];
pub const PUBLISHER: u8 = 10;
pub const POLICY: [u8; 4] = [20, 21, 22, 23];
pub const RELEASE: [u8; 3] = [30, 31, 32];
pub const EMERGENCY: [u8; 2] = [40, 41];

/// Metadata of a site.
#[derive(Clone)]
pub struct Site {
    pub roots: Vec<File>,
    pub targets: File,
    pub roles: BTreeMap<&'static str, File>,
    pub snapshot: File,
    pub timestamp: File,
    /// Whether snapshot and timestamp are to pin what is there.
    pub pins: bool,
}

pub fn root(version: u64) -> File {
    let mut all = ROOT.to_vec();
    all.extend(TARGETS);
    all.push(PUBLISHER);
    let mut root = File::new(
        "root",
        &ROOT[..2],
        json!({
            "consistent_snapshot": false, "keys": keys(&all),
            "roles": {
                "root": role(&ROOT, 2), "targets": role(&TARGETS, 2),
                "snapshot": role(&[PUBLISHER], 1), "timestamp": role(&[PUBLISHER], 1),
            },
        }),
    );
    root.set("version", version);
    root
}

/// A role of ours as targets delegates it.
pub fn delegated(name: &str, numbers: &[u8], threshold: u64) -> Value {
    let mut it = role(numbers, threshold);
    it["name"] = name.into();
    it["paths"] = json!([format!("{name}/*")]);
    it["terminating"] = true.into();
    it
}

impl Site {
    pub fn new() -> Self {
        let all: Vec<u8> = POLICY.into_iter().chain(RELEASE).chain(EMERGENCY).collect();
        let targets = File::new(
            "targets",
            &TARGETS,
            json!({
                "targets": {},
                "delegations": {"keys": keys(&all), "roles": [
                    delegated("release", &RELEASE, 2), delegated("policy", &POLICY, 3),
                    delegated("emergency", &EMERGENCY, 1),
                ]},
            }),
        );
        let role = |by: &[u8]| File::new("targets", by, json!({"targets": {}}));
        let roles =
            [("release", role(&RELEASE[..2])), ("policy", role(&POLICY[..3])), ("emergency", role(&EMERGENCY[..1]))];
        Self {
            roots: vec![root(1)],
            targets,
            roles: BTreeMap::from(roles),
            snapshot: File::new("snapshot", &[PUBLISHER], json!({"meta": {}})),
            timestamp: File::new("timestamp", &[PUBLISHER], json!({"meta": {}})),
            pins: true,
        }
    }

    pub fn role(&mut self, name: &str) -> &mut File {
        self.roles.get_mut(name).unwrap()
    }

    /// The root that nodes begin with.
    pub fn root(&self) -> Vec<u8> {
        self.roots[0].bytes()
    }

    /// Has the role say that this bundle is the one.
    pub fn signs(mut self, role: &'static str, bundle: &Bundle) -> Self {
        let manifest = bundle.manifest();
        self.role(role).signed["targets"][format!("{role}/{}", manifest.name)] = json!({
            "length": bundle.id_length(), "hashes": {"sha256": bundle.id().hex()}, "custom": {"version": manifest.version},
        });
        self
    }

    /// Has release say so of bytes.
    pub fn releases(mut self, bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes).hex();
        self.role("release").signed["targets"][format!("release/{digest}")] =
            json!({"length": bytes.len(), "hashes": {"sha256": digest}});
        self
    }

    /// All versions but root's, at least so high.
    pub fn at(mut self, version: u64) -> Self {
        let files = [&mut self.targets, &mut self.snapshot, &mut self.timestamp];
        files.into_iter().chain(self.roles.values_mut()).for_each(|file| file.set("version", version));
        self
    }

    pub fn metadata(&self) -> Metadata {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for root in &self.roots {
            files.insert(format!("{}.root.json", root.signed["version"]), root.bytes());
        }
        let mut snapshot = self.snapshot.clone();
        let roles = self.roles.iter().map(|(name, file)| (*name, file));
        for (name, file) in roles.chain([("targets", &self.targets)]) {
            let honest = File { spoil: None, ..file.clone() }.bytes();
            if self.pins {
                snapshot.signed["meta"][format!("{name}.json")] = pin(&file.signed["version"], &honest);
            }
            files.insert(format!("{name}.json"), if file.spoil.is_some() { file.bytes() } else { honest });
        }
        let honest = File { spoil: None, ..snapshot.clone() }.bytes();
        let mut timestamp = self.timestamp.clone();
        if self.pins {
            timestamp.signed["meta"]["snapshot.json"] = pin(&snapshot.signed["version"], &honest);
        }
        files.insert("snapshot.json".into(), snapshot.bytes());
        files.insert("timestamp.json".into(), timestamp.bytes());
        files.into_iter().map(|(file, bytes)| (name(&file), bytes)).collect()
    }

    pub fn on(&self, bundle: &Bundle) -> Bundle {
        let mut bundle = bundle.clone();
        bundle.attach(Attachment::Trust(self.metadata()));
        bundle
    }
}

pub const OBJECT: &[u8] = b"\x7fELF of kernel programs";

pub fn manifest() -> Value {
    json!({
        "bundle": 1, "kind": "generation", "name": "substation-7", "version": 42,
        "notBefore": "2027-01-01T00:00:00Z", "expires": "2027-12-31T00:00:00Z",
        "targets": [{"architecture": "x86_64", "kernels": ["6.1", "6.12"]}],
        "tables": Digest::of(b"tables").to_string(),
        "contracts": {"object": Digest::of(b"object").to_string(), "state": Digest::of(b"state").to_string()},
        "files": {},
    })
}

/// A bundle whose manifest was edited.
pub fn edited(edit: impl FnOnce(&mut Value)) -> Builder {
    let mut text = manifest();
    edit(&mut text);
    let manifest: Manifest = serde_json::from_value(text).unwrap();
    Builder::new(manifest)
}

pub fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub fn filled(mut builder: Builder) -> Bundle {
    builder.add(path("policy/site.yaml"), Use::Policy, b"kind: Site\n".to_vec());
    builder.add(path("programs/hooks.o"), Use::Programs, OBJECT.to_vec());
    builder.finish().unwrap()
}

pub fn bundle() -> Bundle {
    filled(edited(|_| {}))
}

pub fn version(version: u64) -> Bundle {
    filled(edited(|it| it["version"] = version.into()))
}

/// One that emergency may sign.
pub fn emergency() -> Bundle {
    emergency_until("2027-03-20T00:00:00Z", 42)
}

pub fn emergency_until(expires: &str, version: u64) -> Bundle {
    let mut builder = edited(|it| {
        it["kind"] = "emergency".into();
        it["expires"] = expires.into();
        it["version"] = version.into();
    });
    builder.add(path("policy/deny.yaml"), Use::Policy, b"kind: ClusterPolicy\n".to_vec());
    builder.finish().unwrap()
}

pub fn node() -> Node {
    let contracts = [(name("object"), Digest::of(b"object")), (name("state"), Digest::of(b"state"))];
    Node {
        architecture: name("x86_64"),
        kernel: name("6.12"),
        contracts: contracts.into(),
        bundle: Some(name("substation-7")),
    }
}

pub fn at(text: &str) -> Clock {
    Clock { now: time(text).moment(), trusted: true }
}

pub fn judge_at(trust: &Trust, bundle: &Bundle, now: &str) -> Result<Accepted, Refused> {
    judge(trust, bundle, at(now), ClockPolicy::Refuse)
}

pub fn judge(trust: &Trust, bundle: &Bundle, clock: Clock, policy: ClockPolicy) -> Result<Accepted, Refused> {
    let programs = BTreeSet::from([Digest::of(OBJECT)]);
    trust.verify(bundle, &Circumstances { clock, policy, node: &node(), programs: &programs })
}

pub fn begin(site: &Site) -> Trust {
    Trust::begin(&site.root()).unwrap()
}
