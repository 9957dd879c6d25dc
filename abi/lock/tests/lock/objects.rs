//! What is read from objects, and what of them is refused.

use gabion_lock::{Error, Lock, Slot, Type, compare};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::cases::lock;
use crate::program::*;

#[test]
fn definitions_of_maps_are_read_as_they_stand() {
    let found = lock(&base());
    let flows = &found.maps["flows"];
    assert_eq!((flows.kind, flows.entries, flows.flags, flows.pinned), (1, 1024, 0, true));
    assert_eq!(flows.key, Slot { ty: Some(Type::Record("key".to_owned())), bytes: 8 });
    assert_eq!(found.maps["events"].value, Slot::default());
    assert_eq!(found.maps["programs"].value, Slot { ty: None, bytes: 4 });
    let outer = &found.maps["outer"];
    assert_eq!((outer.kind, outer.value.bytes, outer.flags), (13, 4, 1));
    assert_eq!(found.maps["outer.values"].value.bytes, 8);
    let places: Vec<_> = found.sections[".bss"].variables.iter().map(|one| (one.name.as_str(), one.place)).collect();
    assert_eq!(places, [("total", Some(0)), ("latest", Some(8)), ("first", Some(20))]);
    assert!(found.sections[".rodata"].variables.iter().all(|one| one.place.is_none()));
    assert_eq!(found.text(), lock(&base()).text());
    assert_eq!(Lock::parse(found.text().as_bytes()).unwrap(), found);
    let event = &found.records["event"];
    let shown: Vec<_> = event.fields.iter().map(|field| format!("{}: {field}", field.name)).collect();
    assert_eq!(
        shown,
        [
            "time: u64 at 0",
            "pid: i32 at 8",
            "kind: enum kind at 12",
            "from: record address at 16",
            "urgent: u32 at bit 256 width 3",
            "retries: u32 at bit 259 width 5",
            "owner: ptr64 task_struct at 40",
        ]
    );
}

/// As maps of Rust are defined: the type is there, and the size is 0.
#[test]
fn a_ring_says_what_it_carries() {
    let mut program = base();
    program.map("events").value = Some(Rec("event"));
    program.set("events", "value_size", 0);
    let slot = Slot { ty: Some(Type::Record("event".to_owned())), bytes: 0 };
    assert_eq!(lock(&program).maps["events"].value, slot);
    program.set("events", "pinning", 1);
    let old = lock(&program);
    program.record("event").push("more", U(8));
    let lines: Vec<_> = compare(&old, &lock(&program)).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "migration: event.more: was nothing, is u64 at 48 (what is pinned has entries of the old size, which have to be \
          carried over)"
        ]
    );
}

/// Members without a name are their record's own, and types without one are named by their place.
#[test]
fn what_has_no_name_is_found() {
    let mut program = base();
    // The record "" is only there for the member that is of it.
    let inner = Record { name: "", fields: vec![("a", U(4)), ("b", U(4))], ..Record::default() };
    program.records.insert(0, Record { name: "inner", ..inner });
    program.record("last").push("", Rec("inner"));
    let found = lock(&program);
    let shown: Vec<_> = found.records["last"].fields.iter().map(|field| format!("{}: {field}", field.name)).collect();
    assert_eq!(shown, ["at: u32 at 0", "place: record place at 4", "a: u32 at 12", "b: u32 at 16"]);
}

fn numbered(bytes: &[u32], size: u64) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let at = object.add_section(Vec::new(), b"maps".into(), SectionKind::Data);
    let data: Vec<u8> = bytes.iter().flat_map(|word| word.to_le_bytes()).collect();
    object.append_section_data(at, &data, 4);
    object.add_symbol(Symbol {
        name: b"OLD".into(),
        value: 0,
        size,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(at),
        flags: SymbolFlags::None,
    });
    object.write().unwrap()
}

#[test]
fn maps_that_are_numbers_in_a_section_are_read() {
    let found = Lock::of_object(&numbered(&[1, 8, 16, 64, 1, 0, 1], 28)).unwrap();
    let map = &found.maps["OLD"];
    assert_eq!((map.kind, map.key.bytes, map.value.bytes, map.entries, map.flags), (1, 8, 16, 64, 1));
    assert!(map.pinned);
    let short = Lock::of_object(&numbered(&[1, 8, 16, 64, 1], 20)).unwrap();
    assert!(!short.maps["OLD"].pinned);
    for (words, size) in [(&[1, 8, 16, 64][..], 16), (&[1, 8, 16, 64, 1][..], 28), (&[1; 5][..], u64::MAX)] {
        assert!(matches!(Lock::of_object(&numbered(words, size)), Err(Error::Definition { .. })), "{size}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Program)| {
        let mut program = base();
        change(&mut program);
        Lock::of_object(&program.object()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|p| p.set("counts", "value_size", 8)),
        "map counts: value_size is 8, and record count has 16 bytes"
    );
    assert_eq!(
        refused(|p| p.set("counts", "colour", 8)),
        "map counts: \"colour\" is no member of a definition that is known here"
    );
    assert_eq!(
        refused(|p| p.map("counts").numbers.retain(|name, _| *name != "type")),
        "map counts: it has no type; is this a definition of a map?"
    );
    assert_eq!(
        refused(|p| p.map("counts").name = "a: b"),
        "\"a: b\" is no name: it is empty, too long, or has other characters than names have"
    );
    assert_eq!(refused(|p| p.record("value").rename("flags", "bytes")), "value has two of the name bytes");
    assert_eq!(
        refused(|p| *p = Program::default()),
        "it has neither maps, nor variables, nor contracts: is it an object of kernel programs, built with -g?"
    );
    assert!(matches!(Lock::of_object(b"text"), Err(Error::Elf(_))));
}
