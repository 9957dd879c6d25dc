//! `gabion policy diff`, and `gabion doctor` where it may look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PLANT: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: rtu}
spec:
  subject: {cidr: 10.0.1.20/32}
  ingress:
    - {name: modbus, from: [{cidr: 10.0.0.10/32}], services: [{protocol: tcp, ports: 502}]}
";

fn gabion(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gabion")).args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn policies(folder: &Path, new: &str) -> [String; 2] {
    [("old.yaml", PLANT), ("new.yaml", new)].map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[test]
fn a_diff_tells_rules_apart_by_name_and_says_yes_or_no() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = policies(folder.path(), &format!("# The same.\n{PLANT}"));
    assert_eq!(gabion(&["policy", "diff", &old, &new]), (0, "0 added, 0 removed, 0 changed, 0 moved\n".to_owned()));

    let [old, new] = policies(folder.path(), &PLANT.replace("ports: 502", "ports: 503"));
    let (exit, table) = gabion(&["policy", "diff", &old, &new]);
    assert_eq!(exit, 1);
    let expected = format!(
        "changed rule rtu/modbus (ingress)  {new}:7:14\n  - - {{protocol: tcp, ports: 502}}\n  + - {{protocol: tcp, \
         ports: 503}}\n0 added, 0 removed, 1 changed, 0 moved\n"
    );
    assert_eq!(table, expected);
    let (exit, json) = gabion(&["policy", "diff", &old, &new, "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(exit, 1);
    assert_eq!((&json["changed"], &json["changes"][0]["name"]), (&1.into(), &"rtu/modbus".into()));

    let [old, new] = policies(folder.path(), "kind: Nothing");
    assert_eq!(gabion(&["policy", "diff", &old, &new]).0, 2);
}

#[test]
fn a_doctor_says_what_it_looked_at_and_whether_it_may() {
    let (exit, json) = gabion(&["doctor", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> =
        json["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["kernel-types", "bpffs", "tcx", "bpf-lsm", "membarrier", "clock", "bpf-signatures"] {
        assert!(names.contains(&name), "{names:?}");
    }
    match exit {
        0 | 1 => assert!(json["objects"]["orphans"].is_array(), "{json}"),
        3 => assert!(json["refused"].is_string(), "{json}"),
        other => panic!("exit {other}: {json}"),
    }
}
