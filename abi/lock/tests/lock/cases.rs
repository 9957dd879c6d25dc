//! One change each, and what is said of it.

use gabion_lock::{Lock, Verdict, compare};

use crate::program::*;

type Case = (&'static str, fn(&mut Program), &'static [&'static str]);

/// What is done, and every change as `verdict path rule`.
const CASES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    ("another name of the same integer", |p| p.record("value").retype("bytes", Alias("u32")), &[]),
    // Records.
    ("append to what a ring carries", |p| p.record("event").push("more", U(8)), &["compatible event.more appended"]),
    ("append to an unpinned value", |p| p.record("count").push("third", U(8)), &["compatible count.third appended"]),
    (
        "append where a record had bytes to spare",
        |p| p.record("count").push("more", U(4)),
        &["compatible count.more appended"],
    ),
    ("append to a pinned value", |p| p.record("value").push("more", U(8)), &["migration value.more appended-pinned"]),
    ("append to a key", |p| p.record("key").push("more", U(4)), &["breaking key.more appended-key"]),
    (
        "append to the element of an array",
        |p| p.record("slot").push("more", U(4)),
        &["breaking slot.more appended-element", "breaking table.used moved"],
    ),
    (
        "append to a record within two others, last in one of them",
        |p| p.record("place").push("file", U(4)),
        &[
            "compatible last appended",
            "breaking middle.at moved",
            "compatible place.file appended",
            "migration section .bss first variable-moved",
        ],
    ),
    (
        "insert a field",
        |p| p.record("event").fields.insert(1, ("more", U(8))),
        &[
            "breaking event.pid moved",
            "breaking event.kind moved",
            "breaking event.from moved",
            "breaking event.urgent moved",
            "breaking event.retries moved",
            "breaking event.owner moved",
            "breaking event.more inserted",
        ],
    ),
    (
        "insert a bit-field where there was room",
        |p| {
            let at = p.record("event").at("owner");
            p.record("event").fields.insert(at, ("more", Bits(2)));
        },
        &["breaking event.more inserted"],
    ),
    ("delete the last field", |p| p.record("value").remove("flags"), &["breaking value.flags deleted"]),
    (
        "delete the first field",
        |p| p.record("last").remove("at"),
        &[
            "breaking last.at deleted",
            "breaking last.place moved",
            "breaking last resized",
            "migration section .bss first variable-moved",
        ],
    ),
    (
        "change the order of two fields",
        |p| p.record("place").fields.reverse(),
        &["breaking place.line moved", "breaking place.column moved"],
    ),
    ("rename a field", |p| p.record("value").rename("flags", "marks"), &["breaking value.flags renamed"]),
    (
        "two fields change names",
        |p| {
            p.record("value").rename("flags", "x");
            p.record("value").rename("bytes", "flags");
            p.record("value").rename("x", "bytes");
        },
        &["breaking value.bytes moved", "breaking value.flags moved"],
    ),
    ("another sign", |p| p.record("value").retype("flags", I(4)), &["breaking value.flags retyped"]),
    ("a narrower integer", |p| p.record("value").retype("flags", U(2)), &["breaking value.flags retyped"]),
    (
        "a wider integer",
        |p| p.record("event").retype("pid", I(8)),
        &[
            "breaking event.pid retyped",
            "breaking event.kind moved",
            "breaking event.from moved",
            "breaking event.urgent moved",
            "breaking event.retries moved",
        ],
    ),
    ("an array instead", |p| p.record("value").retype("flags", arr(U(1), 4)), &["breaking value.flags retyped"]),
    (
        "a boolean instead",
        |p| p.record("slot").retype("number", Bool),
        &[
            "breaking slot.number retyped",
            "breaking slot resized",
            "breaking table.used moved",
            "breaking table resized",
        ],
    ),
    ("an enum instead", |p| p.record("value").retype("flags", Enum("kind")), &["breaking value.flags retyped"]),
    (
        "an integer instead of an enum",
        |p| p.record("event").retype("kind", U(4)),
        &["breaking event.kind retyped", "breaking enum kind deleted"],
    ),
    (
        "a longer array",
        |p| p.record("table").retype("slots", arr(Rec("slot"), 8)),
        &["breaking table.slots retyped", "breaking table.used moved"],
    ),
    (
        "a pointer to something else",
        |p| p.record("event").retype("owner", Ptr("file")),
        &["breaking event.owner retyped"],
    ),
    ("an integer instead of a pointer", |p| p.record("event").retype("owner", U(8)), &["breaking event.owner retyped"]),
    (
        "a wider bit-field",
        |p| p.record("event").retype("urgent", Bits(4)),
        &["breaking event.urgent retyped", "breaking event.retries moved"],
    ),
    (
        "a narrower last bit-field",
        |p| p.record("event").retype("retries", Bits(4)),
        &["breaking event.retries retyped"],
    ),
    ("a record of the same fields and more bytes", |p| p.record("value").more = 8, &["breaking value resized"]),
    (
        "another view of a union",
        |p| p.record("address").push("words", arr(U(4), 4)),
        &["compatible address.words added"],
    ),
    (
        "a view that makes a union larger",
        |p| p.record("address").push("long", arr(U(4), 8)),
        &[
            "compatible address.long appended",
            "breaking event.urgent moved",
            "breaking event.retries moved",
            "breaking event.owner moved",
        ],
    ),
    (
        "a struct instead of a union",
        |p| {
            p.record("address").union = false;
            p.record("address").remove("v4");
        },
        &["breaking address resized"],
    ),
    (
        "rename a record",
        |p| {
            p.record("count").name = "tally";
            p.map("counts").value = Some(Rec("tally"));
        },
        &["breaking count renamed", "compatible tally added", "breaking map counts value value"],
    ),
    // Enums.
    ("a value more", |p| p.values("kind").push(("FORK", 3)), &["compatible enum kind.FORK added"]),
    ("a value less", |p| p.values("kind").truncate(2), &["breaking enum kind.MOVE deleted"]),
    ("another name of a value", |p| p.values("kind")[1].0 = "SHUT", &["breaking enum kind.CLOSE renamed"]),
    ("another value of a name", |p| p.values("kind")[2].1 = 7, &["breaking enum kind.MOVE renumbered"]),
    ("a second name of a value", |p| p.values("kind").push(("LAST", 2)), &["breaking enum kind.LAST reused"]),
    (
        "a value put between",
        |p| *p.values("kind") = vec![("OPEN", 0), ("BIND", 1), ("CLOSE", 2), ("MOVE", 3)],
        &[
            "breaking enum kind.CLOSE renumbered",
            "breaking enum kind.MOVE renumbered",
            "breaking enum kind.BIND reused",
        ],
    ),
    ("values in another order", |p| p.values("kind").reverse(), &[]),
    // Maps.
    (
        "a map more",
        |p| p.maps.push(map("more", &[("type", 1), ("max_entries", 1)], Some(U(4)), Some(U(4)))),
        &["compatible map more added"],
    ),
    ("a map less", |p| p.maps.retain(|map| map.name != "programs"), &["breaking map programs deleted"]),
    (
        "another name of a map",
        |p| p.map("programs").name = "tails",
        &["breaking map programs deleted", "compatible map tails added"],
    ),
    ("another type of a map", |p| p.set("flows", "type", 9), &["breaking map flows type map-type"]),
    ("more entries", |p| p.set("counts", "max_entries", 17), &["compatible map counts entries entries-grown"]),
    (
        "more entries of a pinned map",
        |p| p.set("flows", "max_entries", 2048),
        &["migration map flows entries entries-grown-pinned"],
    ),
    ("fewer entries", |p| p.set("counts", "max_entries", 15), &["breaking map counts entries entries-shrunk"]),
    ("a larger ring", |p| p.set("events", "max_entries", 8192), &["compatible map events entries entries-grown"]),
    (
        "append to what a pinned ring is known to carry",
        |p| {
            p.map("events").value = Some(Rec("event"));
            p.set("events", "value_size", 0);
            p.set("events", "pinning", 1);
            p.record("event").push("more", U(8));
        },
        &["compatible event.more appended", "compatible map events pinned", "compatible map events value told"],
    ),
    ("other flags", |p| p.set("flows", "map_flags", 1), &["breaking map flows flags flags"]),
    ("more to say to the type", |p| p.set("flows", "map_extra", 3), &["breaking map flows extra flags"]),
    ("another key", |p| p.map("flows").key = Some(U(8)), &["breaking key deleted", "breaking map flows key key"]),
    (
        "another value",
        |p| p.map("outer").inner.as_mut().unwrap().value = Some(U(4)),
        &["breaking map outer.values value value"],
    ),
    (
        "a value without its type",
        |p| {
            p.map("counts").value = None;
            p.set("counts", "value_size", 16);
        },
        &["breaking count deleted", "breaking map counts value untold"],
    ),
    (
        "a key with its type",
        |p| {
            p.map("programs").key = Some(U(4));
        },
        &["compatible map programs key told"],
    ),
    ("another size of a value", |p| p.set("programs", "value_size", 8), &["breaking map programs value value"]),
    ("pinned from now on", |p| p.set("counts", "pinning", 1), &["compatible map counts pinned"]),
    ("pinned no longer", |p| p.set("flows", "pinning", 0), &["migration map flows unpinned"]),
    ("where its memory lies", |p| p.set("flows", "numa_node", 1), &[]),
    // Variables.
    ("a variable more", |p| p.variables.push((".bss", "more", U(4))), &["compatible section .bss more added"]),
    ("a section more", |p| p.variables.push((".data", "more", U(4))), &["compatible section .data added"]),
    (
        "a variable less",
        |p| p.variables.retain(|variable| variable.1 != "first"),
        &["breaking middle deleted", "breaking section .bss first deleted"],
    ),
    (
        "variables in another order",
        |p| p.variables.swap(0, 1),
        &[
            "migration section .bss total variable-moved",
            "migration section .bss latest variable-moved",
            "migration section .bss first variable-moved",
        ],
    ),
    ("constants in another order", |p| p.variables.swap(3, 4), &[]),
    ("another type of a constant", |p| p.variable("limit").2 = U(8), &["breaking section .rodata limit retyped"]),
    ("another type of a variable", |p| p.variable("total").2 = I(8), &["breaking section .bss total retyped"]),
    (
        "a section less",
        |p| p.variables.retain(|variable| variable.1 != "limit" && variable.1 != "unused_event"),
        &[
            "breaking address deleted",
            "breaking event deleted",
            "breaking enum kind deleted",
            "breaking section .rodata deleted",
        ],
    ),
    ("another byte order", |p| p.big_endian = true, &["breaking order byte-order"]),
];

pub fn lock(program: &Program) -> Lock {
    Lock::of_object(&program.object()).unwrap()
}

#[test]
fn every_change_has_its_verdict() {
    let old = lock(&base());
    let mut wrong = Vec::new();
    for (what, change, expected) in CASES {
        let mut program = base();
        change(&mut program);
        let changes = compare(&old, &lock(&program));
        let mut found: Vec<_> = changes
            .iter()
            .map(|change| format!("{} {} {}", change.verdict.word(), change.path, change.rule.code()))
            .collect();
        let mut expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
        found.sort();
        expected.sort();
        if found != expected {
            wrong.push(format!("{what}:\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    assert!(CASES.len() >= 40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A line says what was, what is and why.
#[test]
fn a_line_says_record_field_what_was_and_is_and_the_rule() {
    let mut program = base();
    program.record("value").retype("flags", I(4));
    program.set("flows", "max_entries", 2048);
    let changes = compare(&lock(&base()), &lock(&program));
    let lines: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "breaking: value.flags: was u32 at 12, is i32 at 12 (a field keeps its type)",
            "migration: map flows entries: was 1024, is 2048 (a pinned map does not grow in place: its entries have to \
             be carried over)",
        ]
    );
    assert_eq!(changes.iter().map(|change| change.verdict).max(), Some(Verdict::Breaking));
}
