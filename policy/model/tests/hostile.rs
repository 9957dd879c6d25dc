//! Text that is meant to exhaust the reader is refused, with the limit, in a bounded time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use gabion_policy_model::finding::{Code, Finding};
use gabion_policy_model::text::FINDING_LIMIT;
use gabion_policy_model::{Source, parse};
use nix::time::{ClockId, clock_gettime};

/// Of this thread alone: how busy the machine is does not matter.
fn cpu_time() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

fn refused(what: &str, text: String) -> Vec<Finding> {
    let start = cpu_time();
    let findings = parse(&[Source::new(what, text)]).expect_err(what);
    let took = cpu_time() - start;
    // Unoptimised; what grows with the square of the text takes minutes.
    assert!(took.as_secs() < 20, "{what} took {took:?}");
    assert!(findings.len() <= FINDING_LIMIT + 1, "{what}: {} findings", findings.len());
    findings
}

#[test]
fn nesting_is_refused_at_its_limit() {
    for (what, part) in [("lists", "["), ("maps", "{a: "), ("blocks", "- "), ("keys", "? "), ("mixed", "[{a: ")] {
        let findings = refused(what, part.repeat(100_000));
        let limited = findings.iter().any(|f| f.code == Code::TooLarge && f.message.contains("32"));
        assert!(limited || findings.iter().any(|f| f.code == Code::Syntax), "{what}: {:?}", findings[0]);
    }
}

#[test]
fn many_findings_are_counted_rather_than_shown() {
    let findings = refused("repeated keys", "a: b\n".repeat(100_000));
    assert_eq!(findings.len(), FINDING_LIMIT + 1);
    assert_eq!(findings.last().unwrap().code, Code::TooManyFindings);
    refused("documents", "--- a\n".repeat(100_000));
    refused("empty documents", "---\n".repeat(200_000));
}

#[test]
fn long_scalars_and_lines_are_read_in_one_pass() {
    refused("one word", "x".repeat(4_000_000));
    refused("one word of long characters", "é".repeat(1_000_000));
    refused("one key", format!("{}: a", "k".repeat(1_000_000)));
    refused("one line of keys", format!("{{{}}}", "é: [a], ".repeat(100_000)));
    refused("anchors", "- &a b\n".repeat(50_000));
    refused("aliases", format!("- &a b\n{}", "- *a\n".repeat(50_000)));
    refused("expansion", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n".to_owned());
    refused("unclosed quotes", format!("a: \"{}", "b\n ".repeat(200_000)));
    refused("comments", "# x\n".repeat(300_000));
}

#[test]
fn text_that_is_too_large_is_refused_before_it_is_read() {
    let findings = refused("large", " ".repeat((64 << 20) + 1));
    assert_eq!(findings[0].code, Code::TooLarge);
    assert!(findings[0].message.contains("67108864"), "{}", findings[0].message);
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_place() {
    let finding = Source::from_bytes("latin1.yaml", b"a: b\nc: gr\xf6\xdfe\n".to_vec()).unwrap_err();
    assert_eq!((finding.code, finding.location.line, finding.location.offset), (Code::NotUtf8, 2, 10));
}

#[test]
fn every_code_is_used_once() {
    let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
}

#[test]
fn a_byte_that_is_not_utf8_is_named_with_its_place() {
    let finding = Source::from_bytes("p.yaml", b"a: b\nk\xc3\xa9: \xff\n".to_vec()).expect_err("0xff is in no UTF-8");
    assert_eq!((finding.location.line, finding.location.column, finding.location.offset), (2, 5, 10));
    assert_eq!(finding.text, "\\xff");
}

#[test]
fn what_is_not_yaml_is_shown_with_its_line() {
    let findings = refused("truncated", "a: b\nspec: {name: c".to_owned());
    assert_eq!((findings[0].code, findings[0].text.as_str()), (Code::Syntax, "spec: {name: c"));
}
