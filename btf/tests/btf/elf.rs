//! The section .BTF of ELF files of both classes and byte orders, made by hand after the System V gABI.

use gabion_btf::{Btf, Problem};

use crate::fields::{path, sample};
use gabion_testing_types::Build;

/// An object with the sections .BTF and .shstrtab.
fn elf(big_endian: bool, wide: bool, section: &str, btf: &[u8]) -> Vec<u8> {
    let number = |value: u64, size: usize| {
        let bytes = value.to_be_bytes()[8 - size..].to_vec();
        if big_endian { bytes } else { bytes.into_iter().rev().collect() }
    };
    let address = if wide { 8 } else { 4 };
    let (header, entry) = if wide { (64, 64) } else { (52, 40) };
    let names = format!("\0{section}\0.shstrtab\0");
    let names_at = header + btf.len();
    let table_at = (names_at + names.len()).next_multiple_of(8);
    let mut out = b"\x7fELF".to_vec();
    out.extend([if wide { 2 } else { 1 }, if big_endian { 2 } else { 1 }, 1]);
    out.resize(16, 0);
    // Relocatable, for BPF; without entry and program headers.
    for (value, size) in [(1, 2), (247, 2), (1, 4), (0, address), (0, address), (table_at as u64, address), (0, 4)] {
        out.extend(number(value, size));
    }
    for value in [header as u64, 0, 0, entry, 3, 2] {
        out.extend(number(value, 2));
    }
    out.extend(btf);
    out.extend(names.as_bytes());
    out.resize(table_at, 0);
    let sections = [(0, 0, 0, 0), (1, 1, header, btf.len()), (2 + section.len(), 3, names_at, names.len())];
    for (name, kind, at, length) in sections {
        out.extend(number(name as u64, 4));
        out.extend(number(kind, 4));
        for value in [0, 0, at as u64, length as u64] {
            out.extend(number(value, address));
        }
        out.extend([0; 8]);
        for value in [u64::from(kind != 0), 0] {
            out.extend(number(value, address));
        }
    }
    out
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("gabion-btf-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_section_is_found_in_memory_and_in_a_file() {
    let folder = folder("section");
    for (big_endian, wide) in [(false, false), (false, true), (true, false), (true, true)] {
        let btf = sample(if big_endian { Build::big_endian() } else { Build::new() });
        let bytes = elf(big_endian, wide, ".BTF", &btf);
        let file = folder.join("object.o");
        std::fs::write(&file, &bytes).unwrap();
        for found in [Btf::parse(bytes), Btf::open(&file)] {
            assert_eq!(found.unwrap().resolve("task_struct", path("mm.total_vm")).unwrap().chain, [40]);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_large_file_is_read_whole() {
    let folder = folder("large");
    let mut btf = Build::new();
    for number in 0..100_000 {
        btf.raw("", 2 << 24, number, &[0; 0]);
    }
    btf.structure("last", 8, &[("at", 100_000, 0, 0)]);
    btf.words.extend([0, 3 << 24, 0, 1, 1, 1].repeat(40_000));
    let bytes = btf.bytes();
    assert!(bytes.len() > 2 << 20);
    let file = folder.join("large.btf");
    std::fs::write(&file, &bytes).unwrap();
    let found = Btf::open(&file).unwrap();
    assert_eq!((found.len(), found.type_named("last").unwrap().id()), (140_001, 100_001));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_object_without_types_and_one_that_is_cut_short_are_refused() {
    let btf = sample(Build::new());
    let without = Btf::parse(elf(false, true, ".text", &btf)).unwrap_err();
    assert!(matches!(*without.problem, Problem::NoSection), "{without}");
    let folder = folder("short");
    let whole = elf(false, true, ".BTF", &btf);
    let file = folder.join("short.o");
    for length in (4..whole.len()).step_by(7) {
        std::fs::write(&file, &whole[..length]).unwrap();
        for found in [Btf::parse(whole[..length].to_vec()), Btf::open(&file)] {
            let problem = *found.unwrap_err().problem;
            assert!(
                matches!(problem, Problem::Elf(_) | Problem::NoSection | Problem::Read { .. }),
                "{length}: {problem}"
            );
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
