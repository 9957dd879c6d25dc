//! The kernel that runs: every struct of it as another crate reads it, and what only a real one has.

use fallible_iterator::FallibleIterator as _;
use gabion_btf::{Btf, Path, Wanted, extract};

use crate::fields::path;
use crate::oracle;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

fn kernel() -> Option<(Btf, btf_rs::Btf)> {
    if !std::path::Path::new(VMLINUX).exists() {
        println!("skipped: this kernel has no {VMLINUX}");
        return None;
    }
    Some((Btf::open(VMLINUX).unwrap(), btf_rs::Btf::from_file(VMLINUX).unwrap()))
}

#[test]
fn every_type_and_member_is_what_another_crate_reads() {
    let Some((ours, theirs)) = kernel() else { return };
    let mut members = 0;
    let mut other = theirs.type_iter();
    // Void has no record.
    assert_eq!(other.next().unwrap(), Some(btf_rs::Type::Void));
    for found in ours.types() {
        let Some(other) = other.next().unwrap() else { panic!("{} types too many", found.id()) };
        if let Some(named) = other.as_btf_type().filter(|named| named.get_name_offset().is_some()) {
            assert_eq!(found.name().unwrap(), theirs.resolve_name(named).unwrap());
        }
        let Some(composite) = oracle::composite(&other) else { continue };
        assert!(found.kind().is_composite());
        assert_eq!(found.size(), Some(composite.size() as u32));
        assert_eq!(found.members().len(), composite.members.len());
        for (member, other) in found.members().zip(&composite.members) {
            members += 1;
            assert_eq!(member.name().unwrap(), theirs.resolve_name(other).unwrap());
            assert_eq!(Some(member.type_id), btf_rs::BtfType::get_type_id(other));
            assert_eq!((member.bit_offset, member.bits), (other.bit_offset(), oracle::width(other)));
        }
    }
    assert_eq!(other.next().unwrap(), None);
    println!("{} types, {members} members", ours.len());
}

#[test]
fn every_named_member_is_found_where_another_crate_has_it() {
    let Some((ours, theirs)) = kernel() else { return };
    let (mut found_all, mut ambiguous) = (0, 0);
    for found in ours.types().filter(|found| found.kind().is_composite() && !found.name().unwrap().is_empty()) {
        let root = format!("{} {}", found.kind(), found.name().unwrap());
        let other = theirs.resolve_type_by_id(found.id()).unwrap();
        for member in &oracle::composite(&other).unwrap().members {
            let name = theirs.resolve_name(member).unwrap();
            if name.is_empty() {
                continue;
            }
            let field = match ours.resolve(&root, path(&name)) {
                Ok(field) => field,
                Err(error) => {
                    // What has no size cannot be a member; what remains is that types share a name.
                    assert!(ours.find_all(found.kind(), found.name().unwrap()).count() > 1, "{error}");
                    ambiguous += 1;
                    continue;
                }
            };
            found_all += 1;
            let size = oracle::size(&theirs, &theirs.resolve_chained_type(member).unwrap());
            let want = (Vec::new(), u64::from(member.bit_offset()), size.filter(|_| field.bits.is_none()));
            assert_eq!(oracle::place(&field, false), want, "{root}.{name}");
            if let Some(bits) = field.bits {
                assert_eq!(bits.width, oracle::width(member), "{root}.{name}");
            }
        }
    }
    println!("{found_all} members found, {ambiguous} of structs that share a name and differ");
    assert!(found_all > 50 * ambiguous);
}

/// What the agent and its programs ask of a kernel.
const FIELDS: [(&str, &str, Wanted); 12] = [
    ("task_struct", "pid", Wanted::signed(4)),
    ("task_struct", "tgid", Wanted::signed(4)),
    ("task_struct", "comm[0..16]", Wanted::bytes(16)),
    ("task_struct", "start_boottime", Wanted::unsigned(8)),
    ("task_struct", "__state | state", Wanted::unsigned(4)),
    ("task_struct", "real_parent.tgid", Wanted::signed(4)),
    ("task_struct", "mm.total_vm", Wanted::unsigned(8)),
    ("task_struct", "se.exec_start", Wanted::unsigned(8)),
    ("task_struct", "cgroups.dfl_cgrp.kn.id", Wanted::unsigned(8)),
    ("task_struct", "thread_pid.numbers[0].nr", Wanted::signed(4)),
    ("sock", "__sk_common.skc_dport", Wanted::unsigned(2)),
    ("sk_buff", "pkt_type", Wanted::unsigned(1)),
];

#[test]
fn views_of_real_types_bind_and_an_extract_of_kilobytes_binds_them_alike() {
    let Some((whole, _)) = kernel() else { return };
    let needs: Vec<extract::Need<'_>> =
        FIELDS.iter().map(|(root, text, _)| extract::Need::Field { root, path: path(text) }).collect();
    let bytes = extract::extract(&whole, &needs).unwrap();
    assert!(bytes.len() < 8 << 10, "{} bytes", bytes.len());
    // Another parser takes it as well.
    let theirs = btf_rs::Btf::from_bytes(&bytes).unwrap();
    let cut = Btf::parse(bytes).unwrap();
    for (root, text, wanted) in FIELDS {
        let field = whole.bind(root, path(text), wanted).unwrap_or_else(|error| panic!("{error}"));
        let again = cut.bind(root, path(text), wanted).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            gabion_btf::Field { type_id: 0, ..again.clone() },
            gabion_btf::Field { type_id: 0, ..field.clone() }
        );
        assert_eq!(cut.describe(again.type_id), whole.describe(field.type_id));
        let places = oracle::places(&theirs, root, Path::parse(text).unwrap());
        assert!(oracle::is_among(&oracle::place(&field, false), &places), "{root}.{text}: {places:?}");
    }
}

#[test]
fn every_struct_of_a_real_kernel_is_shown() {
    let Some((whole, _)) = kernel() else { return };
    let mut names: Vec<&str> = whole
        .types()
        .filter(|found| found.kind().is_composite())
        .map(|found| found.name().unwrap())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let outlines = whole.outlines(name).unwrap_or_else(|error| panic!("{error}"));
        assert!(outlines.iter().all(|outline| !outline.to_string().contains('…')), "{name}");
    }
    assert!(names.len() > 5_000, "{}", names.len());
}

#[test]
fn functions_and_values_of_a_real_kernel_are_found() {
    let Some((whole, _)) = kernel() else { return };
    assert!(whole.function("tcp_v4_connect").is_ok());
    assert!(whole.function("tcp_v5_connect").unwrap_err().is_absence());
    // Values that user space compiles in never change.
    assert_eq!(whole.enumerator("bpf_map_type", "BPF_MAP_TYPE_RINGBUF").unwrap().1.value, 27);
    assert_eq!(whole.enumerator("", "BPF_PROG_TYPE_XDP").unwrap().1.value, 6);
}
