//! `gabion abi` as its users meet it, and the lock of this project.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use gabion_lock::{Lock, Verdict, compare};
use serde_json::Value;

/// The lock of this project, which the next version is held to.
fn locked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi.lock")
}

/// Holds a version to a lock. Whoever changes a record, map or number on purpose writes the lock anew, and says in the
/// change log what follows.
fn hold(path: &Path, new: Lock, renew: &str) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}; {renew}", path.display()));
    let old = Lock::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let new = new.after(&old);
    let changes = compare(&old, &new);
    let lines: String = changes.iter().map(|change| format!("  {change}\n")).collect();
    let worst = changes.iter().map(|change| change.verdict).max();
    assert!(
        worst.unwrap_or(Verdict::Compatible) == Verdict::Compatible,
        "this version does not take what the one in {} wrote:\n{lines}change it back, or append instead; if it is \
         meant, say in CHANGELOG.md what users have to do, and {renew}",
        path.display()
    );
    assert!(new.text() == text, "{} does not have all of this version yet:\n{lines}{renew}", path.display());
}

fn expect(code: i32, folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gabion")).arg("abi").args(arguments).current_dir(folder).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

#[test]
fn this_version_is_compatible_with_its_lock() {
    let Ok(object) = gabion_kernel_object::object() else {
        assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: no object");
        return println!("skipped: no kernel programs were built");
    };
    hold(&locked(), Lock::ours(object).unwrap(), "run `cargo run -p gabion -- abi lock`");
}

/// Other programs have locks of their own, beside them.
fn hold_others(folder: &str, object: Option<&[u8]>) {
    let Some(object) = object else {
        assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: no object");
        return println!("skipped: no kernel programs were built");
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("abi.lock");
    let new = Lock::of_object(object).unwrap();
    if std::env::var_os("GABION_RECORD").is_some() {
        let old = std::fs::read(&path).ok().map(|text| Lock::parse(&text).unwrap());
        return std::fs::write(&path, new.after(&old.unwrap_or_default()).text()).unwrap();
    }
    hold(&path, new, "run `GABION_RECORD=1 cargo nextest run -p gabion --test abi their_lock`");
}

#[test]
fn the_programs_that_follow_sockets_are_compatible_with_their_lock() {
    hold_others("kernel/owners", gabion_owners::object().ok());
}

#[test]
fn the_programs_of_the_gatekeeper_are_compatible_with_their_lock() {
    hold_others("kernel/gatekeeper", gabion_gatekeeper::object().ok());
}

#[test]
fn answers_have_exit_codes_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = std::fs::read_to_string(locked()).unwrap();
    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).unwrap();
    write("old", &text);

    assert_eq!(expect(0, here, &["check", "old", "old"]).0, "compatible: no change\n");

    let retyped = text.replacen("  source_port: u16 at 60", "  source_port: i16 at 60", 1);
    write("retyped", &retyped);
    let (out, err) = expect(1, here, &["check", "old", "retyped"]);
    let line = "breaking: Facts.source_port: was u16 at 60, is i16 at 60 (a field keeps its type)\nbreaking\n";
    assert_eq!(out, line);
    assert!(err.contains("gabion abi lock"), "{err}");
    let (out, _) = expect(1, here, &["check", "--against", "old", "retyped", "--output", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        found,
        serde_json::json!({
            "verdict": "breaking",
            "changes": [{
                "verdict": "breaking",
                "path": "Facts.source_port",
                "was": "u16 at 60",
                "is": "i16 at 60",
                "rule": "retyped",
                "why": "a field keeps its type",
            }],
        })
    );

    write("larger", &text.replacen("  entries 4096\n", "  entries 8192\n", 1));
    let (out, _) = expect(5, here, &["check", "old", "larger"]);
    assert!(out.starts_with("migration: map EVENTS entries: was 4096, is 8192"), "{out}");

    write("damaged", &text.replacen("u64", "u65", 1));
    assert!(expect(2, here, &["check", "damaged"]).1.contains("abi.lock: cannot read this file"));
    assert!(expect(2, here, &["check", "old", "damaged"]).1.contains("damaged: line "));
    assert!(expect(2, here, &["check", "--against", "old", "old", "old"]).1.contains("--against"));
}

#[test]
fn a_lock_is_written_and_remembers_the_one_before() {
    let Ok(object) = gabion_kernel_object::object() else {
        assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: no object");
        return println!("skipped: no kernel programs were built");
    };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    expect(0, here, &["lock"]);
    expect(0, here, &["check"]);
    let text = std::fs::read_to_string(here.join("abi.lock")).unwrap();
    assert_eq!(expect(0, here, &["lock", "--to", "-"]).0, text);
    // Maps that no contract names are the programs' own.
    let own = b"INGRESS_CASE";
    assert!(object.windows(own.len()).any(|bytes| bytes == own) && !text.contains("INGRESS_CASE"));
    std::fs::write(here.join("abi.lock"), text.replacen("  judged = 7\n", "  judged = 7\n  lost = 8\n", 1)).unwrap();
    assert!(expect(1, here, &["check"]).0.contains("reason.lost"));
    expect(0, here, &["lock"]);
    let text = std::fs::read_to_string(here.join("abi.lock")).unwrap();
    assert!(text.contains("  judged = 7\n  lost = 8 retired\n"), "{text}");

    // An object says all but what the agent knows.
    std::fs::write(here.join("programs.o"), object).unwrap();
    assert_eq!(expect(0, here, &["check", "programs.o"]).0, "compatible: no change\n");
    assert_eq!(expect(0, here, &["check", "--against", "programs.o"]).0, "compatible: no change\n");
    assert!(!expect(0, here, &["lock", "programs.o", "--to", "-"]).0.contains("numbers"));

    std::fs::write(here.join("abi.lock"), "mine").unwrap();
    assert!(expect(2, here, &["lock"]).1.contains("abi.lock"));
    assert_eq!(std::fs::read_to_string(here.join("abi.lock")).unwrap(), "mine");
}
