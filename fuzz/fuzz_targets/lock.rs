//! Any octets as the types of an object, as an object, and as the text of a lock.
#![no_main]

use gabion_lock::{Lock, Verdict, compare};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let parsed = Lock::parse(octets);
    if let Ok(lock) = &parsed {
        assert_eq!(lock.text().as_bytes(), octets);
    }
    let all = [Lock::of_object(&object(octets)).ok(), Lock::of_object(octets).ok(), parsed.ok()];
    for lock in all.into_iter().flatten() {
        assert_eq!(Lock::parse(lock.text().as_bytes()).as_ref(), Ok(&lock), "{}", lock.text());
        assert!(compare(&lock, &lock).is_empty());
        let changes = compare(&Lock::default(), &lock);
        assert!(changes.iter().all(|change| change.verdict == Verdict::Compatible || change.path == "order"));
    }
});

/// An object of 64 bits with the octets as its section .BTF. Constants need no symbol.
fn object(btf: &[u8]) -> Vec<u8> {
    let names = b"\0.BTF\0.shstrtab\0";
    let table = (64 + btf.len() + names.len()).next_multiple_of(8);
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    // Relocatable, for BPF.
    out.extend([1, 0, 247, 0, 1, 0, 0, 0]);
    out.resize(40, 0);
    out.extend((table as u64).to_le_bytes());
    out.extend([0; 4]);
    out.extend([64_u16, 0, 0, 64, 3, 2].map(u16::to_le_bytes).concat());
    out.extend(btf);
    out.extend(names);
    out.resize(table + 64, 0);
    for (name, kind, start, length) in [(1_u32, 1_u32, 64, btf.len()), (6, 3, 64 + btf.len(), names.len())] {
        out.extend([name, kind].map(u32::to_le_bytes).concat());
        out.extend([0; 16]);
        out.extend([start as u64, length as u64].map(u64::to_le_bytes).concat());
        out.extend([0; 8]);
        out.extend([1_u64, 0].map(u64::to_le_bytes).concat());
    }
    out
}
