//! Locks as text: changed by hand, and read back.

use gabion_lock::{Lock, compare};

const TEXT: &str = "\
gabion abi 1
order little
set object version 1
service events version 1 of Event

record Event
  size 16
  align 8
  time: u64 at 0 unit ns
  code: u32 at 8
  padding: [u8; 4] at 12

record Other
  size 4
  code: u32 at 0

numbers reason
  size 1
  rule = 0
  reply = 1
  asked = 3 retired

map RING
  type ringbuf
  key bytes of 0
  value bytes of 0
  entries 4096
  flags 0x0
  pinned

section .data.state
  pinned
  STATE: record Event at 0
";

fn lock(text: &str) -> Lock {
    Lock::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn what_only_contracts_and_agents_say_is_held_to_the_rules() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("unit ns", "unit us", &["breaking Event.time retyped"]),
        (" unit ns", "", &["breaking Event.time retyped"]),
        ("align 8", "align 4", &["breaking Event alignment"]),
        ("align 8", "align 16", &[]),
        ("set object version 1", "set object version 2", &["breaking set object meaning"]),
        ("events version 1", "events version 2", &["breaking service events meaning"]),
        ("of Event", "of Other", &["breaking service events payload"]),
        ("service events version 1 of Event\n", "", &["breaking service events deleted"]),
        ("  reply = 1\n", "  reply = 1\n  related = 2\n", &["compatible numbers reason.related added"]),
        ("  reply = 1\n", "", &["breaking numbers reason.reply deleted"]),
        ("  reply = 1\n", "  answer = 1\n", &["breaking numbers reason.reply renamed"]),
        ("  reply = 1\n", "  reply = 1\n  told = 3\n", &["breaking numbers reason.told reused"]),
        ("  asked = 3 retired\n", "  asked = 3\n", &["compatible numbers reason.asked added"]),
        ("  asked = 3 retired\n", "  asked = 4\n", &["breaking numbers reason.asked renumbered"]),
        ("  asked = 3 retired\n", "", &[]),
        ("reason\n  size 1", "reason\n  size 2", &["breaking numbers reason resized"]),
        ("code: u32 at 8\n  padding", "code: u32be at 8\n  padding", &["breaking Event.code retyped"]),
        ("state\n  pinned\n", "state\n", &["migration section .data.state unpinned"]),
        (
            "record Event at 0\n",
            "record Event at 0\n  MORE: u64 at 16\n",
            &["migration section .data.state MORE section-grown"],
        ),
        ("size 16\n", "size 24\n", &["breaking Event resized"]),
        ("type ringbuf", "type 99", &["breaking map RING type map-type"]),
        (
            "padding: [u8; 4] at 12\n",
            "flag: u8 at 12\n  padding: [u8; 3] at 13\n",
            &["breaking Event.padding retyped", "breaking Event.flag inserted"],
        ),
    ];
    for (was, is, expected) in cases {
        let text = TEXT.replacen(was, is, 1);
        assert_ne!(text, TEXT, "{was}");
        let changes = compare(&lock(TEXT), &lock(&text));
        let found: Vec<_> = changes
            .iter()
            .map(|change| format!("{} {} {}", change.verdict.word(), change.path, change.rule.code()))
            .collect();
        assert_eq!(found, *expected, "{was:?} to {is:?}");
    }
}

#[test]
fn a_text_that_is_no_lock_says_where_and_what() {
    let cases = [
        ("abi 1", "abi 2", "line 1: expected gabion abi 1, found \"gabion abi 2\""),
        ("order little", "order none", "line 2: expected order little, or order big, found \"order none\""),
        (
            "record Event\n",
            "plugin Event\n",
            "line 6: expected set, service, record, union, numbers, enum, map or section, found \"plugin Event\"",
        ),
        ("u64 at 0", "u63 at 0", "line 9: expected a type, found \"u63\""),
        ("code: u32 at 8", "time: u32 at 8", "line 10: time is there twice"),
        ("record Other", "record Event", "line 13: Event is there twice"),
        ("record Event at", "record Nobody at", "line 0: .data.state: Nobody is nowhere declared in this text"),
        ("type ringbuf", "type rinbuf", "line 24: expected a type of maps, or its number, found \"rinbuf\""),
        ("flags 0x0", "flags 0", "line 28: expected a hexadecimal number, found \"0\""),
        ("  size 1\n", "", "line 18: expected size, found \"rule = 0\""),
        (
            "u32 at 8",
            "u32 at 08",
            "line 0: the text says the same as another that is written otherwise; write it with `gabion abi lock`",
        ),
    ];
    for (was, is, expected) in cases {
        let text = TEXT.replacen(was, is, 1);
        assert_eq!(Lock::parse(text.as_bytes()).unwrap_err().to_string(), expected, "{was:?} to {is:?}");
    }
    assert!(Lock::parse(&vec![b'\n'; 9 << 20]).unwrap_err().to_string().contains("the limit is"));
    let deep = TEXT.replacen("[u8; 4]", &format!("{}u8{}", "[".repeat(5000), "; 1]".repeat(5000)), 1);
    assert!(Lock::parse(deep.as_bytes()).is_err());
}

/// A lock that is written anew remembers the numbers of the one before.
#[test]
fn numbers_that_are_gone_stay_used() {
    let before = lock(TEXT);
    let without = lock(&TEXT.replacen("  reply = 1\n  asked = 3 retired\n", "  late = 4\n", 1));
    let after = without.after(&before);
    let text = after.text();
    assert!(text.contains("  rule = 0\n  late = 4\n  reply = 1 retired\n  asked = 3 retired\n"), "{text}");
    assert_eq!(lock(&text), after);
    let again = lock(&text.replacen("reply = 1 retired\n", "answer = 1\n", 1));
    assert_eq!(
        compare(&after, &again).iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["breaking: numbers reason.answer: was reply = 1, is 1 (a number is never used again)"]
    );
}
