//! Hostile bundles, made one by one: each is refused, by its own reason. `tests/hostile.txt` has all of them;
//! `GABION_WRITE_GOLDEN=1` writes it anew, and whoever does that reads what changed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod site;

use std::collections::BTreeMap;

use gabion_bundle::{Attachment, Bundle, Digest, Use};
use gabion_trust::{Clock, ClockPolicy, Envelope, Statement, Trust, statement};
use serde_json::{Value, json};
use site::*;

/// Files of a layout, to which anything can be done.
type Layout = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Cases(Vec<(String, String)>);

fn archive(layout: &Layout) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in layout {
        member(&mut archive, path, tar::EntryType::Regular, bytes);
    }
    archive.into_inner().unwrap()
}

fn member(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    // As it is, which the library would refuse to write.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

impl Cases {
    fn say(&mut self, case: impl Into<String>, code: &str, text: &str) {
        self.0.push((case.into(), format!("{code}: {text}")));
    }

    /// Bytes of an archive, for a node that begins.
    fn bytes(&mut self, case: impl Into<String>, archive: &[u8]) {
        match Bundle::parse(archive) {
            Err(refused) => self.say(case, refused.code(), &refused.to_string()),
            Ok(bundle) => self.bundle(case, &begin(&Site::new()), &bundle),
        }
    }

    fn layout(&mut self, case: impl Into<String>, edit: impl FnOnce(&mut Layout)) {
        let mut layout = honest().layout().files().clone();
        edit(&mut layout);
        self.bytes(case, &archive(&layout));
    }

    /// A bundle with metadata, for a node that trusts this.
    fn bundle(&mut self, case: impl Into<String>, trust: &Trust, bundle: &Bundle) {
        let case = case.into();
        // What is attached is read like everything else.
        let mut bytes = Vec::new();
        bundle.layout().write_archive(&mut bytes).unwrap();
        let bundle = Bundle::parse(&bytes).unwrap();
        match judge_at(trust, &bundle, NOW) {
            Err(refused) => self.say(case, refused.code(), &refused.to_string()),
            Ok(_) => panic!("{case}: accepted"),
        }
    }

    fn site(&mut self, case: impl Into<String>, edit: impl FnOnce(&mut Site)) {
        let bundle = bundle();
        let mut site = Site::new().signs("policy", &bundle);
        edit(&mut site);
        self.bundle(case, &begin(&Site::new()), &site.on(&bundle));
    }

    /// A bundle whose manifest was edited, and which everybody who has to signed.
    fn manifest(&mut self, case: impl Into<String>, edit: impl FnOnce(&mut Value)) {
        let bundle = filled(edited(edit));
        self.bundle(case, &begin(&Site::new()), &Site::new().signs("policy", &bundle).on(&bundle));
    }
}

fn honest() -> Bundle {
    Site::new().signs("policy", &bundle()).on(&bundle())
}

fn blob_of(layout: &Layout, what: impl Fn(&[u8]) -> bool) -> String {
    layout.iter().find(|(path, bytes)| path.starts_with("blobs/") && what(bytes)).unwrap().0.clone()
}

/// The files of a layout by what they are, as their names say nothing.
fn kinds() -> Vec<(&'static str, String)> {
    let layout = honest().layout().files().clone();
    let has = |text: &'static str| move |bytes: &[u8]| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    let whole = |bytes: &'static [u8]| move |found: &[u8]| found == bytes;
    vec![
        ("the layout file", "oci-layout".to_owned()),
        ("the index", "index.json".to_owned()),
        ("the image manifest", blob_of(&layout, |bytes| has("\"layers\"")(bytes) && has("bundle.v1+json")(bytes))),
        ("the manifest", blob_of(&layout, has("\"notBefore\""))),
        ("the object", blob_of(&layout, whole(OBJECT))),
        ("the policy", blob_of(&layout, whole(b"kind: Site\n"))),
        ("the manifest of metadata", blob_of(&layout, has("\"subject\""))),
        ("the root", blob_of(&layout, has("\"consistent_snapshot\""))),
        ("the timestamp", blob_of(&layout, has("\"_type\":\"timestamp\""))),
        ("the policy role", blob_of(&layout, has("policy/substation-7"))),
    ]
}

fn layouts(cases: &mut Cases) {
    for (what, path) in kinds() {
        cases.layout(format!("bit flipped in {what}"), |it| {
            let bytes = it.get_mut(&path).unwrap();
            // In a place where every file has something that matters.
            let at = bytes.iter().position(|&byte| byte == b':' || byte == b'E').unwrap();
            bytes[at] ^= 1;
        });
        cases.layout(format!("{what} cut by a byte"), |it| assert!(it.get_mut(&path).unwrap().pop().is_some()));
        cases.layout(format!("{what} missing"), |it| drop(it.remove(&path)));
    }
    let added = |path: &'static str, kind: tar::EntryType| {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in honest().layout().files() {
            member(&mut archive, path, tar::EntryType::Regular, bytes);
        }
        member(&mut archive, path, kind, b"");
        archive.into_inner().unwrap()
    };
    for (what, path) in [
        ("up and out", "../../etc/cron.d/gabion"),
        ("from the top", "/etc/passwd"),
        ("through a blob", "blobs/sha256/../../../etc/passwd"),
        ("backwards, as elsewhere", "..\\..\\x"),
        ("twice the index", "index.json"),
    ] {
        cases.bytes(format!("member of the archive, {what}"), &added(path, tar::EntryType::Regular));
    }
    for (what, kind) in [
        ("symbolic link", tar::EntryType::Symlink),
        ("hard link", tar::EntryType::Link),
        ("device", tar::EntryType::Char),
        ("FIFO", tar::EntryType::Fifo),
    ] {
        cases.bytes(format!("member of the archive, {what}"), &added("oci-layout", kind));
    }
    let bytes = archive(honest().layout().files());
    cases.bytes("archive cut in the middle", &bytes[..bytes.len() / 2]);
    cases.bytes("archive of nothing", &[]);
    cases.bytes("no archive", &[0x5a; 4096]);
    let index = |edit: &'static dyn Fn(&mut Value)| {
        move |it: &mut Layout| {
            let mut index: Value = serde_json::from_slice(&it["index.json"]).unwrap();
            edit(&mut index);
            it.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
        }
    };
    cases.layout("index, manifest of a gigabyte", index(&|it| it["manifests"][0]["size"] = json!(1u64 << 30)));
    cases.layout("index, manifest of another size", index(&|it| it["manifests"][0]["size"] = json!(3)));
    cases.layout(
        "index, two bundles",
        index(&|it| {
            let one = it["manifests"][0].clone();
            it["manifests"].as_array_mut().unwrap().push(one);
        }),
    );
    cases.layout("index, no bundle", index(&|it| drop(it["manifests"].as_array_mut().unwrap().remove(0))));
    cases.layout(
        "index, a hundred manifests",
        index(&|it| {
            let one = it["manifests"][1].clone();
            it["manifests"].as_array_mut().unwrap().extend(vec![one; 100]);
        }),
    );
    cases.layout("index of a megabyte", |it| drop(it.insert("index.json".into(), vec![b' '; (1 << 20) + 1])));
    cases.layout("index nested without end", |it| drop(it.insert("index.json".into(), vec![b'['; 100_000])));
    cases.layout("index without metadata", index(&|it| drop(it["manifests"].as_array_mut().unwrap().remove(1))));
    attached(cases);
}

/// What is attached, under digests that are right.
fn attached(cases: &mut Cases) {
    let referrer = |edit: &dyn Fn(&mut Value)| {
        let mut layout = honest().layout().files().clone();
        let mut index: Value = serde_json::from_slice(&layout["index.json"]).unwrap();
        let hex = index["manifests"][1]["digest"].as_str().unwrap()[7..].to_owned();
        let mut manifest: Value = serde_json::from_slice(&layout[&format!("blobs/sha256/{hex}")]).unwrap();
        edit(&mut manifest);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        index["manifests"][1]["digest"] = Digest::of(&bytes).to_string().into();
        index["manifests"][1]["size"] = bytes.len().into();
        layout.insert(format!("blobs/sha256/{}", Digest::of(&bytes).hex()), bytes);
        layout.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
        archive(&layout)
    };
    let other = Digest::of(b"another bundle").to_string();
    cases
        .bytes("metadata attached to another bundle", &referrer(&|it| it["subject"]["digest"] = other.as_str().into()));
    cases.bytes(
        "metadata with a path for a name",
        &referrer(&|it| {
            it["layers"][0]["annotations"]["org.opencontainers.image.title"] = "../1.root.json".into();
        }),
    );
    cases.bytes(
        "metadata with one file twice",
        &referrer(&|it| {
            let one = it["layers"][0].clone();
            it["layers"].as_array_mut().unwrap().push(one);
        }),
    );
    cases.bytes("metadata of another type", &referrer(&|it| it["layers"][0]["mediaType"] = "text/html".into()));
    cases.bytes(
        "metadata of 2000 files",
        &referrer(&|it| {
            let one = it["layers"][0].clone();
            it["layers"].as_array_mut().unwrap().extend(vec![one; 2000]);
        }),
    );
    let with = |attachment: Attachment| {
        let mut bundle = honest();
        bundle.attach(attachment);
        bundle
    };
    let trust = begin(&Site::new());
    let about = |digest: Digest| {
        let provenance = statement::Provenance {
            build_definition: statement::Definition {
                build_type: "https://gabion.dev/bundle/v1".into(),
                external_parameters: json!({}),
                resolved_dependencies: vec![],
            },
            run_details: statement::Run {
                builder: statement::Builder { id: "https://gabion.dev/test".into(), version: BTreeMap::new() },
            },
        };
        Statement::provenance(vec![statement::Resource::file("substation-7", digest.hex())], &provenance)
    };
    cases.bundle(
        "statement about another bundle",
        &trust,
        &with(Attachment::Statement(about(Digest::of(b"?")).text())),
    );
    let mut empty = about(bundle().id());
    empty.predicate = json!({});
    cases.bundle("statement that says nothing", &trust, &with(Attachment::Statement(empty.text())));
    cases.bundle("statement that is none", &trust, &with(Attachment::Statement(b"<html>".to_vec())));
    let mut envelope = Envelope::around(&about(bundle().id()).text());
    cases.bundle("envelope that nobody signed", &trust, &with(Attachment::Envelope(envelope.text())));
    envelope.sign(&key(POLICY[0])).unwrap();
    assert!(judge_at(&trust, &with(Attachment::Envelope(envelope.text())), NOW).is_ok());
    let mut swapped: Value = serde_json::from_slice(&envelope.text()).unwrap();
    swapped["payload"] = serde_json::from_slice::<Value>(&Envelope::around(&about(Digest::of(b"?")).text()).text())
        .unwrap()["payload"]
        .clone();
    cases.bundle(
        "envelope with another statement in it",
        &trust,
        &with(Attachment::Envelope(serde_json::to_vec(&swapped).unwrap())),
    );
    swapped["payloadType"] = "text/plain".into();
    cases.bundle(
        "envelope of another type",
        &trust,
        &with(Attachment::Envelope(serde_json::to_vec(&swapped).unwrap())),
    );
}

fn manifests(cases: &mut Cases) {
    cases.manifest("for another node", |it| it["name"] = "substation-8".into());
    cases.manifest("for another architecture", |it| it["targets"][0]["architecture"] = "aarch64".into());
    cases.manifest("for other kernels", |it| it["targets"][0]["kernels"] = json!(["5.15", "6.6"]));
    cases.manifest("expired", |it| it["expires"] = "2027-03-01T12:00:00Z".into());
    cases.manifest("for later", |it| it["notBefore"] = "2027-03-01T12:00:01Z".into());
    cases.manifest("other contract", |it| it["contracts"]["state"] = Digest::of(b"older").to_string().into());
    cases.manifest("contract missing", |it| drop(it["contracts"].as_object_mut().unwrap().remove("object")));
    cases.manifest("contract that nobody has", |it| it["contracts"]["plugins"] = Digest::of(b"?").to_string().into());
    let trust = begin(&Site::new());
    let mut foreign = edited(|_| {});
    foreign.add(path("programs/other.o"), Use::Programs, b"\x7fELF of somebody".to_vec());
    let foreign = foreign.finish().unwrap();
    cases.bundle("programs that nobody released", &trust, &Site::new().signs("policy", &foreign).on(&foreign));
    cases.bundle(
        "another bundle than the one that was signed",
        &trust,
        &Site::new().signs("policy", &bundle()).on(&version(43)),
    );
    cases.bundle(
        "a bundle of another name",
        &trust,
        &Site::new().signs("policy", &bundle()).on(&filled(edited(|it| it["name"] = "x".into()))),
    );
    cases.bundle(
        "a whole generation signed by emergency",
        &trust,
        &Site::new().signs("emergency", &bundle()).on(&bundle()),
    );
    let long = emergency_until("2027-12-31T00:00:00Z", 1);
    cases.bundle("an emergency for most of a year", &trust, &Site::new().signs("emergency", &long).on(&long));
    let endless = edited(|it| {
        it["kind"] = "emergency".into();
        it["expires"] = "9999-12-31T23:59:59Z".into();
    });
    let refused = endless.finish().unwrap_err();
    cases.say("an emergency for ever", refused.code(), &refused.to_string());
    let refused = edited(|it| it["kind"] = "emergency".into());
    let mut refused = refused;
    refused.add(path("programs/hooks.o"), Use::Programs, OBJECT.to_vec());
    let refused = refused.finish().unwrap_err();
    cases.say("an emergency bundle with programs", refused.code(), &refused.to_string());
    let newer = Site::new().signs("policy", &bundle());
    let node = judge_at(&trust, &newer.on(&bundle()), NOW).unwrap().next;
    let old = Site::new().signs("policy", &version(41)).at(2);
    cases.bundle("an older version, signed anew", &node, &old.on(&version(41)));
    let grant = |floor: u64, expires: &str| {
        let mut site = old.clone();
        site.role("policy").signed["targets"]["policy/substation-7"]["custom"]["grant"] =
            json!({"floor": floor, "expires": expires, "reason": "a test"});
        site.on(&version(41))
    };
    cases.bundle("an older version, grant not so far", &node, &grant(42, "2027-03-02T00:00:00Z"));
    cases.bundle("an older version, grant expired", &node, &grant(41, "2027-03-01T00:00:00Z"));
    for (case, clock, trusted) in [("clock not set", NOW, false), ("clock set back", "2027-02-01T00:00:00Z", true)] {
        let clock = Clock { now: time(clock).moment(), trusted };
        let refused = judge(&node, &newer.on(&bundle()), clock, ClockPolicy::Refuse).unwrap_err();
        cases.say(case, refused.code(), &refused.to_string());
        let until = ClockPolicy::AcceptUntil(time("2027-01-15T00:00:00Z"));
        let refused = judge(&node, &newer.on(&bundle()), clock, until).unwrap_err();
        cases.say(format!("{case}, accepted until January"), refused.code(), &refused.to_string());
    }
}

fn signatures(cases: &mut Cases) {
    let policy = |by: &'static [(u8, u8)]| {
        move |site: &mut Site| site.role("policy").by = by.iter().map(|&(name, by)| (id(name), by)).collect()
    };
    cases.site("policy, threshold short by one", policy(&[(20, 20), (21, 21)]));
    cases.site("policy, nobody signed", policy(&[]));
    cases.site("policy, three signatures by one key", policy(&[(20, 20), (20, 20), (20, 20)]));
    cases.site("policy, one key in the names of three", policy(&[(20, 20), (21, 20), (22, 20)]));
    cases.site("policy, a key that nobody has", policy(&[(20, 20), (21, 21), (99, 99)]));
    cases.site("policy, signed by release", policy(&[(30, 30), (31, 31), (32, 32)]));
    cases.site("policy, changed after it was signed", |it| {
        it.role("policy").spoil = Some(|mut file| {
            file["signed"]["targets"]["policy/substation-7"]["custom"]["version"] = 43.into();
            file
        });
    });
    cases.site("policy, version of the manifest another", |it| {
        it.role("policy").signed["targets"]["policy/substation-7"]["custom"]["version"] = 43.into();
    });
    cases.site("policy, says nothing of a version", |it| {
        it.role("policy").signed["targets"]["policy/substation-7"]["custom"] = Value::Null;
    });
    cases.site("one key under two names in targets", |it| {
        it.targets.signed["delegations"]["keys"]["0".repeat(64)] = public(20).metadata();
    });
    cases.site("a key that is no point", |it| {
        let none = format!("02{}", "00".repeat(31));
        it.targets.signed["delegations"]["keys"][id(20)]["keyval"]["public"] = none.into();
    });
    cases.site("a key written in another way", |it| {
        it.targets.signed["delegations"]["keys"][id(20)]["keyval"]["public"] = "ff".repeat(32).into();
    });
    cases.site("a key of small order", |it| {
        let weak = format!("01{}", "00".repeat(31));
        it.targets.signed["delegations"]["keys"][id(20)]["keyval"]["public"] = weak.into();
    });
    cases.site("a key of another kind", |it| {
        it.targets.signed["delegations"]["keys"][id(20)]["scheme"] = "rsassa-pss-sha256".into();
    });
    for (file, by) in [("targets", &[4u8][..]), ("snapshot", &[]), ("timestamp", &[11])] {
        cases.site(format!("{file}, not enough or not theirs"), |it| {
            let file = match file {
                "targets" => &mut it.targets,
                "snapshot" => &mut it.snapshot,
                _ => &mut it.timestamp,
            };
            file.signed_by(by);
        });
    }
    cases.site("next root, the old keys alone too few", |it| {
        it.roots.push(root(2));
        it.roots[1].signed_by(&ROOT[..1]);
    });
    cases.site("next root, in place of another", |it| {
        it.roots.push(root(2));
        it.roots[1].spoil = Some(|mut file| {
            file["signed"]["version"] = 3.into();
            file
        });
        it.roots[1].set("version", 2);
    });
    cases.site("next root, needs nobody", |it| {
        it.roots.push(root(2));
        it.roots[1].signed["roles"]["timestamp"]["threshold"] = 0.into();
    });
    cases.site("next root, a role more", |it| {
        it.roots.push(root(2));
        it.roots[1].signed["roles"]["mirrors"] = role(&ROOT, 1);
    });
    for file in ["timestamp", "snapshot", "targets", "policy", "root"] {
        cases.site(format!("{file} expired"), |it| {
            it.roots.push(root(2));
            let past = "2027-02-28T00:00:00Z";
            match file {
                "timestamp" => it.timestamp.set("expires", past),
                "snapshot" => it.snapshot.set("expires", past),
                "targets" => it.targets.set("expires", past),
                "policy" => it.role("policy").set("expires", past),
                _ => it.roots[1].set("expires", past),
            }
        });
    }
    cases.site("unknown role in targets", |it| {
        it.targets.signed["delegations"]["roles"].as_array_mut().unwrap().push(delegated("packager", &[20], 1));
    });
    cases.site("policy says what emergency should", |it| {
        it.role("policy").signed["targets"]["emergency/x"] = json!({"length": 1, "hashes": {"sha256": "00"}});
    });
    cases.site("targets signs a bundle itself", |it| {
        it.targets.signed["targets"]["policy/x"] = json!({"length": 1, "hashes": {"sha256": "00"}});
    });
    cases.site("snapshot that pins no digest", |it| {
        let honest = it.metadata();
        let snapshot: Value = serde_json::from_slice(&honest[&name("snapshot.json")]).unwrap();
        it.pins = false;
        it.snapshot.signed = snapshot["signed"].clone();
        for pinned in ["targets", "policy", "release", "emergency"] {
            it.snapshot.signed["meta"][format!("{pinned}.json")] = json!({"version": 1});
        }
        it.timestamp.signed["meta"]["snapshot.json"] = pin(&json!(1), &it.snapshot.bytes());
    });
    cases.site("metadata of another specification", |it| it.role("policy").set("spec_version", "2.0.0"));
    cases.site("timestamp that is a snapshot", |it| it.timestamp.set("_type", "snapshot"));
    let mut more = Site::new().signs("policy", &bundle()).metadata();
    more.insert(name("packager.json"), b"{}".to_vec());
    let mut bundle = bundle();
    bundle.attach(Attachment::Trust(more));
    cases.bundle("a file that is nobody's", &begin(&Site::new()), &bundle);
}

#[test]
fn hostile_bundles_are_refused_each_by_its_own_reason() {
    assert!(judge_at(&begin(&Site::new()), &honest(), NOW).is_ok(), "what everything else is made of");
    let mut cases = Cases::default();
    layouts(&mut cases);
    manifests(&mut cases);
    signatures(&mut cases);
    cases.0.sort();
    assert!(cases.0.windows(2).all(|pair| pair[0].0 != pair[1].0), "a name twice");
    assert!(cases.0.len() >= 60, "{} cases", cases.0.len());
    let text: String = cases.0.iter().map(|(case, refused)| format!("{case}\n    {refused}\n")).collect();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile.txt");
    if std::env::var_os("GABION_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&golden).unwrap();
    for (line, (found, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(found, wanted, "{}:{}", golden.display(), line + 1);
    }
    assert_eq!(text.lines().count(), wanted.lines().count());
}

/// Where the fuzzers begin.
#[test]
#[ignore = "writes into the checkout"]
fn write_the_fuzz_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("bundle/archive", &archive(honest().layout().files()));
    let blob = b"kind: Site\n";
    let config =
        String::from(r#"{"bundle":1,"kind":"generation","name":"x","version":1,"notBefore":"2027-01-01T00:00:00Z","#)
            + r#""expires":"2028-01-01T00:00:00Z","targets":[{"architecture":"x86_64","kernels":["6.12"]}],"tables":"#
            + r#""$BLOB","contracts":{"object":"$BLOB"},"files":{"policy/x.yaml":"#
            + r#"{"use":"policy","digest":"$BLOB","size":11}}}"#;
    for (name, kind, layer, annotation) in [
        (
            "trust",
            "application/vnd.gabion.trust.v1+json",
            "application/vnd.tuf.metadata.v1+json",
            r#","annotations":{"org.opencontainers.image.title":"1.root.json"}"#,
        ),
        ("statement", "application/vnd.in-toto+json", "application/vnd.in-toto+json", ""),
        ("envelope", "application/vnd.in-toto+json", "application/vnd.dsse.envelope.v1+json", ""),
    ] {
        let attached = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{kind}","#,
        ) + r#""config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"$EMPTY","size":2},"layers":[{"#
            + &format!(r#""mediaType":"{layer}","digest":"$BLOB","size":11{annotation}}}],"#)
            + r#""subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"$IMAGE","size":1}}"#;
        write(&format!("bundle/{name}"), &[config.as_bytes(), blob, attached.as_bytes()].join(&0));
    }
    let mut text = manifest();
    text["name"] = "x".into();
    text["version"] = 1.into();
    text["expires"] = "2028-01-01T00:00:00Z".into();
    (text["targets"], text["contracts"]) = (json!([]), json!({}));
    text["tables"] = format!("sha256:{}", "0".repeat(64)).into();
    let bundle = gabion_bundle::Builder::new(serde_json::from_value(text).unwrap()).finish().unwrap();
    let site = Site::new().signs("policy", &bundle);
    let metadata = site.metadata();
    let order = ["1.root.json", "2.root.json", "timestamp.json", "snapshot.json", "targets.json", "policy.json"];
    let files: Vec<Vec<u8>> = order.iter().map(|it| metadata.get(&name(it)).cloned().unwrap_or_default()).collect();
    write("envelope/metadata", &files.join(&0));
    let accepted = judge_at(&begin(&site), &site.on(&bundle), NOW).unwrap();
    write("envelope/stored", &accepted.next.text());
    let statement = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}"#;
    write("envelope/statement", statement);
    let mut envelope = Envelope::around(statement);
    envelope.sign(&key(POLICY[0])).unwrap();
    write("envelope/envelope", &envelope.text());
}
