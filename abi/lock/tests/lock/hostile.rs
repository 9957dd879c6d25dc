//! Objects and texts that were damaged end in an error, or in a lock that can be read back.

use gabion_lock::{Error, Lock, compare};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use proptest::prelude::*;

use crate::program::base;
use gabion_testing_types::Build;

fn survives(bytes: &[u8]) {
    let old = Lock::of_object(&base().object()).unwrap();
    if let Ok(found) = Lock::of_object(bytes) {
        assert_eq!(Lock::parse(found.text().as_bytes()).as_ref(), Ok(&found), "{}", found.text());
        let _ = compare(&old, &found);
        let _ = compare(&found, &old);
    }
}

#[test]
fn objects_that_are_cut_short_or_have_one_bit_turned() {
    let object = base().object();
    (0..object.len()).step_by(13).for_each(|length| survives(&object[..length]));
    for at in (0..object.len()).step_by(3) {
        let mut damaged = object.clone();
        damaged[at] ^= 1 << (at % 8);
        survives(&damaged);
    }
}

/// An object with one array map of that value, by types alone.
fn of_value(mut btf: Build, value: u32) -> Result<Lock, Error> {
    let int = btf.int("int", 4, 1);
    let array = btf.array(int, 2);
    let (kind, key, value) = (btf.pointer(array), btf.pointer(int), btf.pointer(value));
    let definition = btf.structure("", 24, &[("type", kind, 0, 0), ("key", key, 64, 0), ("value", value, 128, 0)]);
    let variable = btf.raw("map", 14 << 24, definition, &[1]);
    btf.raw(".maps", 15 << 24 | 1, 24, &[variable, 0, 24]);
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b".BTF".into(), SectionKind::Other);
    object.append_section_data(section, &btf.bytes(), 4);
    Lock::of_object(&object.write().unwrap())
}

#[test]
fn types_without_an_end_are_refused() {
    // A struct that contains itself, and one that does so by a member without a name.
    for name in ["again", ""] {
        let mut btf = Build::new();
        let this = btf.next();
        btf.structure("this", 8, &[(name, this, 0, 0)]);
        assert!(matches!(of_value(btf, this), Err(Error::Deep { .. })), "{name}");
    }
    // Typedefs in a circle.
    let mut btf = Build::new();
    let first = btf.next();
    btf.typedef("one", first + 1);
    btf.typedef("two", first);
    assert!(matches!(of_value(btf, first), Err(Error::Deep { .. })));
    // Arrays of arrays.
    let mut btf = Build::new();
    let mut last = btf.int("char", 1, 0);
    for _ in 0..40 {
        last = btf.array(last, 1);
    }
    assert!(matches!(of_value(btf, last), Err(Error::Deep { .. })));
}

#[test]
fn work_is_bounded() {
    // Each struct holds the one before twice, without a name: 2^24 fields.
    let mut btf = Build::new();
    let int = btf.int("char", 1, 0);
    let mut last = btf.structure("", 1, &[("", int, 0, 0), ("", int, 0, 0)]);
    for _ in 0..24 {
        last = btf.structure("", 1, &[("", last, 0, 0), ("", last, 0, 0)]);
    }
    assert!(matches!(of_value(btf, last), Err(Error::Many { .. })));
    // Many different structs of one name.
    let mut btf = Build::new();
    let members: Vec<_> = (0..200).map(|size| (format!("m{size}"), btf.structure("same", size, &[]))).collect();
    let members: Vec<_> = members.iter().map(|(name, id)| (name.as_str(), *id, 0, 0)).collect();
    let all = btf.union("all", 200, &members);
    assert!(matches!(of_value(btf, all), Err(Error::Many { .. })));
    // More bytes than there are.
    let mut btf = Build::new();
    let mut last = btf.int("char", 1, 0);
    for _ in 0..4 {
        last = btf.array(last, u32::MAX);
    }
    assert!(matches!(of_value(btf, last), Err(Error::NoSize { .. })));
}

fn changes(bytes: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), bytes), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn objects_with_many_bytes_changed(changes in changes(any::<u8>())) {
        let mut object = base().object();
        for (at, byte) in changes {
            let at = at.index(object.len());
            object[at] = byte;
        }
        survives(&object);
    }

    #[test]
    fn texts_with_many_bytes_changed(changes in changes(9_u8..127)) {
        let mut text = Lock::of_object(&base().object()).unwrap().text().into_bytes();
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(found) = Lock::parse(&text) {
            prop_assert_eq!(found.text().into_bytes(), text);
            let _ = compare(&found, &found);
        }
    }
}

/// Where the fuzzer starts.
#[test]
#[ignore = "writes fuzz/corpus/lock"]
fn write_the_fuzz_corpus() {
    use object::{Object as _, ObjectSection as _};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/lock");
    std::fs::create_dir_all(&folder).unwrap();
    let object = base().object();
    let file = object::File::parse(object.as_slice()).unwrap();
    let btf = file.section_by_name(".BTF").unwrap().data().unwrap();
    let text = Lock::of_object(&object).unwrap().text();
    for (name, bytes) in [("object", object.as_slice()), ("types", btf), ("text", text.as_bytes())] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
