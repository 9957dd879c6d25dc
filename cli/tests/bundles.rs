//! Keys, trust and bundles as people use them: one after the other, offline, with a folder that goes from hand to hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SITE: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: plant}
spec:
  interfaces:
    - {name: scada0, role: scada, addresses: [10.0.0.1]}
    - {name: bus0, role: station-bus, addresses: [10.0.1.1]}
---
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: devices}
spec:
  entries:
    - {name: hmi, labels: {role: hmi}, addresses: [10.0.0.10]}
    - {name: rtu, labels: {role: rtu}, addresses: [10.0.1.20]}
";

const RULES: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: rtu}
spec:
  subject: {labels: {role: rtu}}
  ingress:
    - name: modbus
      from: [{labels: {role: hmi}}]
      services: [{protocol: tcp, ports: [502]}]
";

const DENY: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: ClusterPolicy
metadata: {name: infected}
spec:
  tier: {name: deny, order: 0}
  subject: {cidr: 10.0.0.66/32}
  egress: [{name: out, action: deny}]
";

/// As far off as an emergency may end.
fn tomorrow() -> String {
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    humantime::format_rfc3339_seconds(std::time::SystemTime::now() + day).to_string()
}

const PROBES: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: PolicyTest
tests:
  - {name: the HMI polls, from: hmi, to: rtu, protocol: tcp, port: 502, expect: allow}
  - {name: nobody else does, from: 10.0.0.66, to: rtu, protocol: tcp, port: 502, expect: deny}
";

/// A folder, and what is typed in it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path("policy")).unwrap();
        desk.write("policy/site.yaml", SITE);
        desk.write("policy/rules.yaml", RULES);
        desk.write("probes.yaml", PROBES);
        desk.write("deny.yaml", DENY);
        desk.write("words", "a few words\n");
        // Whatever this gabion was built with: what a bundle has to bring is an object with contracts.
        let programs = gabion_kernel_object::object().map(<[u8]>::to_vec);
        assert!(programs.is_ok() || std::env::var_os("GABION_REQUIRE_BPF").is_none());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Exit code, and what was said on both ways.
    fn type_(&self, line: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_gabion"))
            .args(line.split(' '))
            .current_dir(self.0.path())
            .env("GABION_PASSPHRASE", "a few words")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn fine(&self, line: &str) -> String {
        let (code, out, said) = self.type_(line);
        assert_eq!(code, 0, "gabion {line}\n{out}{said}");
        out
    }

    /// What goes wrong, with which code, and part of what is said.
    fn wrong(&self, line: &str, code: i32, part: &str) {
        let (found, out, said) = self.type_(line);
        assert!((out.clone() + &said).contains(part), "gabion {line}\n{out}{said}");
        assert_eq!(found, code, "gabion {line}\n{out}{said}");
    }

    fn keys(&self, names: &[&str]) {
        for name in names {
            let algorithm = if name.len() % 2 == 0 { "ed25519" } else { "ecdsa-p256" };
            self.fine(&format!("key new --algorithm {algorithm} {name}"));
        }
    }

    fn site(&self) {
        self.keys(&["anna", "bert", "carol", "server", "dora"]);
        self.fine(
            "trust init site --role root=2:anna.pub,bert.pub,carol.pub --role targets=1:anna.pub --role \
             publisher=1:server.pub --role release=1:dora.pub --role policy=2:anna.pub,bert.pub,carol.pub --role \
             emergency=1:bert.pub",
        );
        self.fine("trust sign --key anna site");
        self.wrong("trust show site", 1, "1.root.json");
        self.fine("trust sign --key bert site");
        self.fine("trust show site");
    }

    fn build(&self, version: u64, out: &str) {
        let line = format!("bundle build --name plant --version {version} --policy policy --probes probes.yaml");
        self.fine(&format!("{line} --commit 0123abcd --out {out}"));
    }

    fn publish(&self, signers: &[&str], bundle: &str) {
        for key in signers {
            self.fine(&format!("bundle sign --role policy --key {key} --trust site {bundle}"));
        }
        self.fine(&format!("bundle publish --key server --trust site {bundle}"));
    }
}

/// Kernel programs may be left out where nothing can build them; then there is no bundle of a generation.
fn no_programs() -> bool {
    let missing = gabion_kernel_object::object().is_err();
    if missing {
        eprintln!("SKIPPED: this gabion was built without kernel programs (./x doctor says what is missing)");
    }
    missing
}

#[test]
fn two_people_sign_and_a_node_accepts() {
    if no_programs() {
        return;
    }
    let desk = Desk::new();
    desk.site();
    desk.build(1, "one.tar");
    let verify = "bundle verify --trust-root site/1.root.json --state node --output json";
    desk.wrong(&format!("{verify} one.tar"), 1, "trust-none");
    desk.wrong("bundle publish --key server --trust site one.tar", 2, "nobody signed this bundle");
    desk.fine("bundle sign --role policy --key anna --trust site one.tar");
    desk.wrong("bundle sign --role policy --key anna --trust site one.tar", 2, "already");
    desk.wrong("bundle sign --role policy --key dora --trust site one.tar", 2, "does not have the role");
    desk.wrong("bundle sign --role emergency --key bert --trust site one.tar", 1, "whole generation");
    let early = desk.fine("bundle publish --key server --trust site one.tar");
    assert!(early.contains("too few have signed"), "{early}");
    desk.wrong(&format!("{verify} one.tar"), 1, "bundle-not-signed");
    desk.publish(&["carol"], "one.tar");
    desk.wrong(&format!("{verify} --name depot one.tar"), 1, "bundle-stranger");
    let said: Value = serde_json::from_str(&desk.fine(&format!("{verify} one.tar"))).unwrap();
    assert_eq!((&said["accepted"], &said["role"], &said["goldenPackets"]), (&true.into(), &"policy".into(), &2.into()));
    assert_eq!(said["signed"].as_array().unwrap().len(), 2);
    // A folder is the same as an archive.
    desk.build(2, "two");
    desk.publish(&["bert", "carol"], "two");
    desk.fine(&format!("{verify} two"));
    desk.wrong(&format!("{verify} one.tar"), 1, "trust-rolled-back");
    let inspected: Value = serde_json::from_str(&desk.fine("bundle inspect --output json one.tar")).unwrap();
    assert_eq!(inspected["provenance"][0]["commit"], "0123abcd");
    assert_eq!(inspected["provenance"][0]["signed"].as_array().unwrap().len(), 2);
    let programs = inspected["programs"].as_array().unwrap();
    assert!(
        programs.len() == 2 && programs.iter().all(|it| it["instructions"].as_u64().unwrap() > 1_000),
        "{programs:?}"
    );
    let policy = inspected["metadata"][0].as_array().unwrap().iter().find(|it| it["file"] == "policy.json").unwrap();
    assert_eq!((&policy["valid"], &policy["threshold"]), (&2.into(), &2.into()));
    // Back to the first takes a grant.
    desk.wrong("bundle sign --role policy --key anna --trust site one.tar", 1, "takes a grant");
    let grant = "--grant-floor 1 --grant-expires 2099-01-01T00:00:00Z --grant-reason polling";
    for key in ["anna", "bert"] {
        desk.fine(&format!("bundle sign --role policy --key {key} --trust site {grant} one.tar"));
    }
    desk.fine("bundle publish --key server --trust site one.tar");
    let said = desk.fine(&format!("{verify} one.tar"));
    assert!(said.contains("back from version 2 to 1"), "{said}");
}

#[test]
fn what_is_said_of_bundles_to_a_node_that_takes_files_is_refused() {
    let desk = Desk::new();
    for flag in ["--bundle plant", "--clock accept"] {
        desk.wrong(&format!("run --policy policy {flag}"), 2, "cannot be used with");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_nothing_is_written_over() {
    if no_programs() {
        return;
    }
    let desk = Desk::new();
    desk.build(1, "a.tar");
    desk.build(1, "b.tar");
    assert!(fs::read(desk.path("a.tar")).unwrap() == fs::read(desk.path("b.tar")).unwrap());
    desk.wrong("bundle build --name plant --version 1 --policy policy --out a.tar", 2, "is there already");
}

#[test]
fn what_its_owner_does_not_expect_makes_no_bundle() {
    if no_programs() {
        return;
    }
    let desk = Desk::new();
    let line = "bundle build --name plant --version 1 --policy policy --probes probes.yaml --out x.tar";
    desk.write("probes.yaml", &PROBES.replace("expect: deny", "expect: allow"));
    desk.wrong(line, 1, "golden packets got another verdict");
    desk.write("probes.yaml", "kind: PolicyTest\n");
    desk.wrong(line, 2, "probes.yaml");
    desk.write("probes.yaml", PROBES);
    desk.write("policy/rules.yaml", &RULES.replace("ports: [502]", "ports: [70000]"));
    desk.wrong(line, 2, "rules.yaml");
    desk.write("policy/rules.yaml", RULES);
    fs::rename(desk.path("policy/rules.yaml"), desk.path("policy/the rules.yaml")).unwrap();
    desk.wrong("bundle build --name plant --version 1 --policy policy --out x.tar", 2, "rename the file");
    assert!(!desk.path("x.tar").exists());
}

#[test]
fn emergencies_take_one_signature_and_end() {
    let desk = Desk::new();
    desk.site();
    let line = "bundle build --emergency --name worm --version 1 --policy deny.yaml --out worm.tar";
    desk.wrong(line, 2, "--expires");
    desk.wrong(&format!("{line} --expires 9999-12-31T23:59:59Z"), 2, "an emergency has an end");
    let more = line.replace("deny.yaml", "policy");
    desk.wrong(&format!("{more} --expires 2099-01-01T00:00:00Z"), 2, "rules.yaml:3:18: error[GABION-P041]");
    desk.fine(&format!("{line} --expires {}", tomorrow()));
    desk.wrong("bundle sign --role release --key dora --trust site worm.tar", 2, "neither programs nor plugins");
    desk.fine("bundle sign --role emergency --key bert --trust site worm.tar");
    desk.fine("bundle publish --key server --trust site worm.tar");
    let said = desk.fine("bundle verify --trust-root site/1.root.json worm.tar");
    assert!(said.contains("signed by emergency"), "{said}");
    assert!(desk.fine("bundle inspect worm.tar").contains("a deny list"));
    let long = line.replace("--name worm", "--name long").replace("worm.tar", "long.tar");
    desk.fine(&format!("{long} --expires 2099-01-01T00:00:00Z"));
    desk.fine("bundle sign --role emergency --key bert --trust site long.tar");
    desk.fine("bundle publish --key server --trust site long.tar");
    // By a clock that nobody doubts.
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    desk.wrong(&format!("bundle verify --trust-root site/1.root.json --now {now} long.tar"), 1, "emergency-life");
}

#[test]
fn whoever_left_signs_no_more() {
    let desk = Desk::new();
    desk.site();
    let build = "bundle build --emergency --name deny --version 1 --policy deny.yaml --out deny.tar";
    desk.fine(&format!("{build} --expires {}", tomorrow()));
    desk.publish(&["anna", "bert"], "deny.tar");
    desk.fine("bundle verify --trust-root site/1.root.json --state node deny.tar");
    desk.fine("trust rotate site --role policy=2:bert.pub,carol.pub");
    desk.fine("trust sign --key anna site");
    desk.wrong("trust show site", 1, "policy.json");
    desk.wrong("bundle publish --key server --trust site deny.tar", 2, "has not the signatures");
    desk.wrong("trust sign --key anna site", 2, "no draft waits");
    desk.fine("trust sign --key carol site");
    desk.fine("bundle publish --key server --trust site deny.tar");
    desk.fine("bundle verify --trust-root site/1.root.json --state node deny.tar");
    // Another root, by two of the old one and two of the new.
    desk.keys(&["emil"]);
    desk.fine("trust rotate site --role root=2:bert.pub,carol.pub,emil.pub");
    for key in ["bert", "carol"] {
        desk.fine(&format!("trust sign --key {key} site"));
    }
    desk.fine("trust show site");
    desk.fine("bundle publish --key server --trust site deny.tar");
    desk.fine("bundle verify --trust-root site/1.root.json --state node deny.tar");
    assert!(fs::read_to_string(desk.path("node")).unwrap().contains("\\\"version\\\": 2"));
}

#[test]
fn rules_that_differ_are_named() {
    if no_programs() {
        return;
    }
    let desk = Desk::new();
    let build = "bundle build --name x --version 1 --policy policy --out";
    desk.fine(&format!("{build} old.tar"));
    let ping = "    - {name: ping, services: [{protocol: icmp}]}\n";
    desk.write("policy/rules.yaml", &(RULES.replace("502", "503") + ping));
    desk.fine(&format!("{build} new.tar"));
    let said = desk.fine("bundle inspect --against old.tar new.tar");
    assert!(said.contains("+ rule default/rtu/ping (ingress)"), "{said}");
    assert!(said.contains("~ rule default/rtu/modbus (ingress)") && said.contains("503"), "{said}");
    assert!(desk.fine("bundle inspect --against policy new.tar").contains("no rule differs"));
}

#[test]
fn keys_are_shown_and_never_written_over() {
    let desk = Desk::new();
    desk.keys(&["anna"]);
    desk.wrong("key new anna", 2, "is there already");
    let public = desk.fine("key show anna.pub");
    assert_eq!(public, desk.fine("key show anna"));
    assert_eq!(public, desk.fine("key show --passphrase-file words anna"));
    desk.write("others", "other words\n");
    desk.wrong("key show --passphrase-file others anna", 2, "the passphrase does not open it");
    desk.wrong("key show words", 2, "no public key");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(desk.path("anna")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn openssl_reads_and_writes_the_same_keys() {
    let openssl = |desk: &Desk, line: &str| {
        let run = Command::new("openssl").args(line.split(' ')).current_dir(desk.0.path()).output();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        run.map(|it| (it.status.success(), text(&it.stdout) + &text(&it.stderr)))
    };
    let desk = Desk::new();
    if openssl(&desk, "version").is_err() {
        eprintln!("SKIPPED: no openssl: as root, apt-get install openssl");
        return;
    }
    for (name, kind) in [("even", "ED25519"), ("odd", "EC -pkeyopt ec_paramgen_curve:P-256")] {
        desk.keys(&[name]);
        let (fine, read) = openssl(&desk, &format!("pkey -in {name} -passin file:words -pubout")).unwrap();
        assert!(fine, "{read}");
        assert_eq!(read, fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap());
        let (fine, said) = openssl(&desk, &format!("genpkey -algorithm {kind} -out plain")).unwrap();
        assert!(fine, "{said}");
        desk.wrong("key show plain", 2, "not encrypted");
        for kdf in ["-scrypt", "-iter 10000"] {
            let line = format!("pkcs8 -topk8 -v2 aes-256-cbc {kdf} -in plain -passout file:words -out theirs");
            let (fine, said) = openssl(&desk, &line).unwrap();
            assert!(fine, "{said}");
            let shown = desk.fine("key show theirs");
            let (_, public) = openssl(&desk, "pkey -in plain -pubout").unwrap();
            assert!(shown.ends_with(&public), "{shown}");
        }
    }
    assert!(Path::new(&desk.path("plain")).exists());
}

/// Every command on the operator's page, as it stands and in its order.
#[test]
fn what_the_page_says_works() {
    if no_programs() {
        return;
    }
    let desk = Desk::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::remove_dir_all(desk.path("policy")).unwrap();
    fs::create_dir(desk.path("policy")).unwrap();
    for entry in fs::read_dir(root.join("examples/substation")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), desk.path("policy").join(entry.file_name())).unwrap();
    }
    let page = fs::read_to_string(root.join("docs/bundles.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    assert!(script.lines().count() > 40);
    let folder = Path::new(env!("CARGO_BIN_EXE_gabion")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let run = Command::new("sh")
        .args(["-euxc", &script])
        .current_dir(desk.0.path())
        .env("PATH", path)
        .env("GABION_PASSPHRASE", "some words")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(run.status.success(), "{}\n{}", text(&run.stdout), text(&run.stderr));
}
