//! Any octets as BTF: whole files, types behind a sound header, and a module on top of them. What is answered is
//! inside of its struct, and the extract of a question answers it as the whole does.
#![no_main]

use gabion_btf::extract::{Need, extract};
use gabion_btf::{Btf, Field, Kind, Path};
use libfuzzer_sys::fuzz_target;

/// Names that types and members may have; a mutated offset is likely to hit one.
const STRINGS: &[u8] = b"\0a\0b\0s\0long unsigned int\0";
const PATHS: [&str; 10] = ["a[4294967295].b", "a", "b", "a.b", "a.a.a.b", "a[0]", "a[1].b", "a[0..2]", "b | a", "long"];

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes.to_vec()) {
        ask(&btf);
    }
    let Some((how, types)) = bytes.split_first() else { return };
    let big_endian = how & 1 != 0;
    let words = types.len() / 4 * 4;
    let split = usize::from(*how) / 2 * 4 % (words + 4);
    let (first, second) = types[..words].split_at(split.min(words));
    let Ok(base) = Btf::parse(whole(big_endian, first, STRINGS)) else { return };
    ask(&base);
    if let Ok(module) = Btf::split(&base, whole(big_endian, second, b"")) {
        ask(&module);
    }
});

fn whole(big_endian: bool, types: &[u8], strings: &[u8]) -> Vec<u8> {
    let mut out = if big_endian { vec![0xeb, 0x9f, 1, 0] } else { vec![0x9f, 0xeb, 1, 0] };
    for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
        out.extend(if big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
    }
    out.extend(types);
    out.extend(strings);
    out
}

fn ask(btf: &Btf) {
    let mut roots = vec!["a", "b", "s", "task_struct"];
    for found in btf.types() {
        assert_eq!(btf.get(found.id()).expect("a type that was walked").kind(), found.kind());
        let _ = (btf.describe(found.id()), found.parameters().count(), found.enumerators().count());
        if let Ok(name) = found.name()
            && !name.is_empty()
            && roots.len() < 8
        {
            assert!(btf.find(found.kind(), name).is_some());
            roots.push(name);
        }
    }
    let _ = (btf.enumerator("", "a").is_ok(), btf.function("a").is_ok(), btf.pointer_size());
    for root in roots {
        for text in PATHS {
            let path = Path::parse(text).expect("a sound path");
            let answer = btf.resolve(root, path);
            if let Ok(field) = &answer {
                check(btf, root, text, field);
            }
            let Ok(cut) = extract(btf, &[Need::Field { root, path }]) else { continue };
            let cut = Btf::parse(cut).expect("an extract is sound");
            match (answer, cut.resolve(root, path)) {
                (Ok(field), Ok(again)) => {
                    let plain = |field| Field { type_id: 0, ..field };
                    assert_eq!(plain(field), plain(again), "{root}.{text}");
                }
                (Err(error), Err(again)) => assert_eq!(error.is_absence(), again.is_absence(), "{error}; {again}"),
                (one, other) => panic!("{root}.{text}: {one:?}, from the extract {other:?}"),
            }
        }
    }
}

fn check(btf: &Btf, root: &str, text: &str, field: &Field) {
    if let Some(bits) = field.bits {
        assert!([1, 2, 4, 8].contains(&field.size) && bits.width > 0);
        assert!(bits.shift + bits.width <= field.size * 8);
        return;
    }
    // What is behind a pointer, and behind the end of an array without a length, is not in the struct.
    if !field.chain.is_empty() || text.contains('[') {
        return;
    }
    let structs = [Kind::Struct, Kind::Union].into_iter().flat_map(|kind| btf.find_all(kind, root));
    if let Some(size) = structs.filter_map(|found| found.size()).max() {
        assert!(u64::from(field.offset) + u64::from(field.size) <= u64::from(size), "{root}.{text}: {field}");
    }
}
