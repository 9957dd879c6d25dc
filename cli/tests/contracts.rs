//! `gabion contract` as its users meet it: what it prints, and the exit codes that scripts rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use gabion_abi::boundary;
use gabion_abi::contract::Set;
use gabion_contracts::text;
use serde_json::Value;

fn gabion(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gabion"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it early.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn expect(code: i32, arguments: &[&str], input: &str) -> (String, String) {
    let output = gabion(arguments, input);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

#[test]
fn every_record_is_listed_with_its_size_and_digest() {
    let (out, _) = expect(0, &["contract", "list", "--output", "json"], "");
    let listing: Value = serde_json::from_str(&out).unwrap();
    let records = listing["records"].as_array().unwrap();
    assert_eq!(records.len(), boundary::RECORDS.len());
    for (record, shape) in records.iter().zip(boundary::RECORDS) {
        assert_eq!(record["size"], shape.size);
        assert_eq!(record["digest"], format!("{:016x}", shape.digest()));
    }
    assert_eq!(listing["services"][0]["name"], "events");
    let (out, _) = expect(0, &["contract", "list"], "");
    assert!(out.starts_with("RECORD") && out.contains("\nMAP") && out.contains("\nSERVICE"), "{out}");
    let (out, _) = expect(0, &["contract", "list", "--set", "state"], "");
    assert!(!out.contains("PARAMS") && out.contains("ESTABLISHED"), "{out}");
}

#[test]
fn what_is_exported_is_what_is_expected() {
    let (exported, _) = expect(0, &["contract", "export"], "");
    assert_eq!(exported, text(&boundary::OBJECT));
    assert_eq!(expect(0, &["contract", "diff", "-"], &exported).0, "no difference\n");
    let (state, _) = expect(0, &["contract", "export", "--set", "state"], "");
    expect(0, &["contract", "diff", "-"], &state);
    assert_eq!(expect(0, &["contract", "export", "-"], &exported).0, exported);
    let (header, _) = expect(0, &["contract", "export", "--format", "c"], "");
    assert!(header.contains("struct gabion_event {"), "{header}");
    let (schema, _) = expect(0, &["contract", "export", "--format", "json-schema"], "");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["$defs"]["event"]["x-gabion-size"], 128);
}

#[test]
fn a_difference_is_an_answer_and_damage_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ours = file("ours", &text(&boundary::OBJECT));
    let fewer = Set { services: &[], ..boundary::OBJECT };
    let theirs = file("theirs", &text(&fewer));
    let (out, _) = expect(1, &["contract", "diff", &theirs], "");
    assert_eq!(out, "service events: expected version 1 of Event, found nothing\n");
    let (out, _) = expect(1, &["contract", "diff", &theirs, &ours, "--output", "json"], "");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        found,
        serde_json::json!([{ "path": "service events", "expected": null, "found": "version 1 of Event" }])
    );

    let damaged = file("damaged", &text(&boundary::OBJECT).replace("time_ns: u64", "time_ns: u32"));
    let (_, err) = expect(2, &["contract", "diff", &damaged], "");
    assert!(err.contains("damaged: line "), "{err}");
    let (_, err) = expect(2, &["contract", "list", "/nowhere"], "");
    assert!(err.contains("/nowhere: cannot read this file"), "{err}");
    let (_, err) = expect(2, &["contract", "export", "-"], "\u{7f}ELF");
    assert!(err.contains("no ELF object"), "{err}");
}

/// The kernel programs that this build embeds say what it expects.
#[test]
fn the_contracts_of_an_object_are_read_from_it() {
    let Ok(object) = gabion_kernel_object::object() else {
        assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: no object");
        return println!("skipped: no kernel programs were built");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.o");
    std::fs::write(&path, object).unwrap();
    let (out, _) = expect(0, &["contract", "diff", path.to_str().unwrap()], "");
    assert_eq!(out, "no difference\n");
}
