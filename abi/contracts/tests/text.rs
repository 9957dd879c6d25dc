//! Texts that come from outside: what is canonical is read, and all else is refused where it is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_abi::boundary;
use gabion_abi::contract::{Contract, Set};
use gabion_contracts::{BYTES, Contracts, What, text};
use gabion_kernel_core::blocks::{ClassMap, RingBuf};
use proptest::prelude::*;

fn ours() -> String {
    text(&boundary::OBJECT)
}

fn refused(text: &str) -> (usize, What) {
    let error = Contracts::parse(text.as_bytes()).expect_err(text);
    (error.line, error.what)
}

#[test]
fn what_we_say_is_read_as_it_was_meant() {
    let contracts = Contracts::parse(ours().as_bytes()).unwrap();
    assert_eq!((contracts.name.as_str(), contracts.version), ("object", boundary::OBJECT.version));
    assert_eq!(contracts.records.len(), boundary::RECORDS.len());
    for (record, shape) in contracts.records.iter().zip(boundary::RECORDS) {
        assert_eq!(record.digest, shape.digest());
        assert_eq!((record.layout.size, record.layout.align), (shape.size as u64, shape.align as u64));
    }
    assert_eq!(contracts.places.len(), boundary::OBJECT.places.len());
    let event = &contracts.record("Event").unwrap().layout;
    let facts = event.fields[1].ty.record().unwrap();
    assert_eq!((event.fields[1].name.as_str(), event.fields[1].offset, facts.size), ("facts", 8, 80));
    assert_eq!(contracts.services[0].to_string(), "version 1 of Event");
    assert!(Contracts::parse(text(&boundary::STATE).as_bytes()).is_ok());
}

#[test]
fn containers_of_kernel_programs_have_contracts_of_their_own() {
    let records = [
        RingBuf::<gabion_abi::event::Event, 64>::SHAPE,
        RingBuf::<gabion_abi::event::Event, 32>::SHAPE,
        ClassMap::<u16, 3, 5>::SHAPE,
    ];
    let set = Set { name: "containers", version: 1, records: &records, places: &[], services: &[] };
    let contracts = Contracts::parse(text(&set).as_bytes()).unwrap();
    let names: Vec<_> =
        contracts.records.iter().map(|record| (record.layout.name.as_str(), record.layout.size)).collect();
    assert_eq!(names, [("RingBuf<Event, 64>", 8200), ("RingBuf<Event, 32>", 4104), ("ClassMap<u16, 3, 5>", 30)]);
    assert_ne!(contracts.records[0].digest, contracts.records[1].digest);
}

#[test]
fn a_damaged_text_is_told_from_another_one() {
    let damaged = ours().replace("time_ns: u64", "time_us: u64");
    let (_, what) = refused(&damaged);
    assert!(matches!(&what, What::Digest { name, .. } if name == "Event"), "{what}");
}

/// A record around these lines, with whatever digest.
fn record(lines: &str) -> String {
    format!("gabion contracts 1\nset s version 1\ncontract 0000000000000000 A\n{lines}")
}

#[test]
fn what_contradicts_itself_is_refused_where_it_does() {
    let layout = |what: &What| match what {
        What::Layout { name, what, said, must } => format!("{name} {what} {said} {must}"),
        other => other.to_string(),
    };
    for (lines, line, expected) in [
        ("  size 5 align 4\n  a: u32 at 0\n", 5, "A the size 5 4"),
        ("  size 8 align 4\n  a: u32 at 0\n", 5, "A the size 8 4"),
        ("  size 5 align 4\n  a: u32 at 0\n  b: u8 at 4\n", 6, "A the size 5 8"),
        ("  size 8 align 4\n  a: u8 at 0\n  b: u32 at 4\n", 6, "b the place 4 1"),
        ("  size 5 align 4\n  a: u8 at 0\n  b: u32 at 1\n", 6, "b the place 1 4"),
        ("  size 4 align 2\n  a: u32 at 0\n", 5, "a the alignment of its record 2 4"),
        ("  size 4 align 3\n  a: u32 at 0\n", 4, "A: an alignment is a power of two up to 4096, not 3"),
        ("  size 4 align 0\n  a: u32 at 0\n", 4, "A: an alignment is a power of two up to 4096, not 0"),
        ("  size 8 align 4\n  a: u32 at 0\n  a: u32 at 4\n", 6, "a is declared twice, and differently; rename one"),
        ("  size 8 align 4\n", 4, "expected a field, found \"\""),
        ("  size 8 align 1\n  a: [[u64; 18446744073709551615]; 2] at 0\n", 5, "a the alignment of its record 1 8"),
        (
            "  size 8 align 8\n  a: [[u64; 18446744073709551615]; 2] at 0\n",
            5,
            "a the size of its record 8 18446744073709551615",
        ),
        ("  size 08 align 8\n", 4, "expected a number of 64 bits without a leading 0, found \"08 align 8\""),
        ("  size 8 align 8\n  a:  u64\n", 5, "expected a name of up to 64 letters, digits and _, found \" u64\""),
        ("  size 8 align 8\n  a: u64 at 0 \n", 5, "expected \" unit \", found \" \""),
        ("  size 8 align 8\n  a: u8be at 0\n", 6, "expected size BYTES align BYTES, found \"\""),
        ("  size 8 align 8\n  a: u64 at 0", 5, "expected a line feed at the end, found \"\""),
    ] {
        let (at, what) = refused(&record(lines));
        assert_eq!((at, layout(&what).as_str()), (line, expected), "{lines}");
    }
}

#[test]
fn what_is_named_must_be_declared_once() {
    let head = "gabion contracts 1\nset s version 1\n";
    let (line, what) = refused(&format!("{head}map M memory of u32\nmap N ring of Gone\n"));
    assert_eq!((line, what), (4, What::Unknown { name: "Gone".to_owned() }));
    let (line, what) = refused(&format!("{head}map M memory of u32\nmap M memory of u64\n"));
    assert_eq!((line, what), (4, What::Twice { name: "M".to_owned() }));
    let (_, what) = refused(&format!("{head}service s version 1 of u32\n"));
    assert_eq!(what, What::Unknown { name: "u32".to_owned() });
    let (_, what) = refused(&format!("{head}service s version 4294967296 of A\n"));
    assert!(matches!(what, What::Expected { .. }), "{what}");
}

#[test]
fn what_is_endless_is_refused_before_it_costs_anything() {
    let (line, what) = refused(&"x".repeat(BYTES + 1));
    assert_eq!((line, what), (0, What::Long { bytes: BYTES + 1, limit: BYTES }));
    assert_eq!(Contracts::parse(&[0xff]).unwrap_err().what, What::NotText);

    let (_, what) = refused(&record(&format!("  size 8 align 8\n  {}: u64 at 0\n", "a".repeat(600))));
    assert!(matches!(what, What::Long { limit: 512, .. }), "{what}");

    let mut deep = String::from("  size 8 align 8\n");
    for depth in 1..40 {
        deep += &format!("{0}a: B{depth} at 0\n{0}  size 8 align 8\n", "  ".repeat(depth));
    }
    assert_eq!(refused(&record(&deep)).1, What::Deep { limit: 16 });

    let arrays = format!("  size 8 align 8\n  a: {}u8{} at 0\n", "[".repeat(40), "; 1]".repeat(40));
    assert_eq!(refused(&record(&arrays)).1, What::Deep { limit: 8 });

    let wide: String = (0..2000).map(|number| format!("  a{number}: u8 at {number}\n")).collect();
    let (_, what) = refused(&record(&format!("  size 2000 align 1\n{wide}")));
    assert_eq!(what, What::Many { what: "fields", limit: 1024 });

    let many: String = (0..2000).map(|number| format!("map m{number} memory of u8\n")).collect();
    let (_, what) = refused(&format!("gabion contracts 1\nset s version 1\n{many}"));
    assert_eq!(what, What::Many { what: "records, maps and services", limit: 1024 });
}

#[test]
fn another_version_of_the_form_says_so() {
    let (line, what) = refused("gabion contracts 2\n");
    assert_eq!(line, 1);
    assert!(what.to_string().contains("gabion contracts 1"), "{what}");
}

proptest! {
    /// Whatever is cut out, put in or changed: never a panic, and what is read is what is written.
    #[test]
    fn no_edit_is_read_as_something_else(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"0159azA_ [];<>,:\n.u-".to_vec())),
            1..4,
        ),
    ) {
        let ours = ours();
        let mut bytes = ours.clone().into_bytes();
        for (at, what, byte) in edits {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(read) = Contracts::parse(&bytes) {
            let known = Contracts::parse(ours.as_bytes()).unwrap();
            for record in &read.records {
                // A digest fits one text.
                let same = known.records.iter().find(|one| one.layout.name == record.layout.name);
                prop_assert_eq!(same.map(|one| &one.signature), Some(&record.signature));
            }
        }
    }

    #[test]
    fn bytes_are_refused_and_nothing_worse(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut text = b"gabion contracts 1\nset s version 1\n".to_vec();
        text.extend(&bytes);
        let _ = Contracts::parse(&text);
        let _ = Contracts::parse(&bytes);
    }
}
