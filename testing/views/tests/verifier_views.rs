//! Views in the kernel that runs, against what it says of its processes in `/proc`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use aya::maps::Array;
use aya::programs::RawTracePoint;
use gabion_btf::Btf;
use gabion_testing_views::{bound, load, object};
use object::{Object as _, ObjectSection as _};

const SEEN: usize = size_of::<gabion_testing_views_programs::Seen>();

fn number(seen: &[u8], at: usize, bytes: usize) -> u64 {
    seen[at..at + bytes].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[test]
fn what_a_view_reads_is_what_the_kernel_says() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: loading programs takes root");
        return;
    }
    let thread = nix::unistd::gettid();
    let mut kernel = load(thread.as_raw() as u32).unwrap();
    let program: &mut RawTracePoint = kernel.program_mut("look").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach("sys_enter").unwrap();
    // Reading the map is a system call of this thread.
    let map: Array<_, [u8; SEEN]> = kernel.map(".bss").unwrap().try_into().unwrap();
    let _ = map.get(&0, 0).unwrap();
    let seen = map.get(&0, 0).unwrap();
    assert!(number(&seen, 0, 8) > 0, "nothing was seen");
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    // Hundredths of a second; the kernel's own unit for it.
    assert_eq!(number(&seen, 8, 8) / 10_000_000, fields[19].parse::<u64>().unwrap(), "start");
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    assert!(number(&seen, 16, 8).abs_diff(pages) < 512, "pages: {} and {pages}", number(&seen, 16, 8));
    assert!(number(&seen, 24, 8) > 1 << 63, "an address in the kernel");
    assert_eq!(number(&seen, 32, 4), thread.as_raw() as u64);
    assert_eq!(number(&seen, 36, 4), u64::from(std::process::id()));
    assert_eq!(number(&seen, 40, 4), fields[1].parse::<u64>().unwrap(), "parent");
    assert_eq!(number(&seen, 44, 4), 0, "in execve");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<u32> = release.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
    let has_tcx = version.as_slice() >= [6, 6].as_slice();
    // Of pairs the first is there.
    assert_eq!(number(&seen, 48, 8), 0b010_0010 | u64::from(has_tcx) << 3, "what no kernel has, and what it has");
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    let seen = &seen[56..72];
    assert_eq!(std::str::from_utf8(seen).unwrap().trim_end_matches('\0'), comm.trim_end());
}

fn code(object: &[u8], section: &str) -> Vec<u8> {
    let elf = object::File::parse(object).unwrap();
    elf.section_by_name(section).unwrap().data().unwrap().to_vec()
}

#[test]
fn a_view_costs_what_an_offset_by_hand_costs() {
    let (object, bound) = match Btf::open("/sys/kernel/btf/vmlinux") {
        Ok(kernel) => bound(&kernel).unwrap(),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let tgid = bound.places().find(|place| place.field == "tgid").unwrap();
    let offset = tgid.offsets.as_ref().unwrap()[0];
    let (by_view, mut by_hand) = (code(&object, "raw_tracepoint/by_view"), code(&object, "raw_tracepoint/by_hand"));
    for instruction in by_hand.chunks_mut(8).filter(|instruction| instruction[4..] == 0x1234u32.to_le_bytes()) {
        instruction[4..].copy_from_slice(&offset.to_le_bytes());
    }
    assert_eq!(by_view, by_hand);
}

#[test]
fn no_placeholder_is_left_and_none_is_overlooked() {
    let kernel = match Btf::open("/sys/kernel/btf/vmlinux") {
        Ok(kernel) => kernel,
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let placeholders = |object: &[u8]| {
        let sections = ["raw_tracepoint/sys_enter", "raw_tracepoint/by_view"].map(|name| code(object, name));
        let is_one = |instruction: &&[u8]| instruction[4..] == gabion_view::site::PLACEHOLDER.to_le_bytes();
        sections.iter().flat_map(|section| section.chunks(8)).filter(is_one).count()
    };
    let (before, (after, _)) = (object().unwrap(), bound(&kernel).unwrap());
    assert!(placeholders(&before) >= 12, "{}", placeholders(&before));
    assert_eq!(placeholders(&after), 0);
}

/// Bytes of the program that the kernel keeps.
fn kept(object: &[u8]) -> u32 {
    let mut kernel = aya::Ebpf::load(object).unwrap();
    let program: &mut RawTracePoint = kernel.program_mut("look").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.info().unwrap().size_translated().unwrap()
}

#[test]
fn what_would_read_a_field_that_is_not_there_is_not_loaded() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: loading programs takes root");
        return;
    }
    let (before, (absent, _)) = (object().unwrap(), bound(&Btf::open("/sys/kernel/btf/vmlinux").unwrap()).unwrap());
    // As if it were there: the only constant that became 0 in a move says whether it is.
    let mut present = absent.clone();
    let mut answers = 0;
    for at in (0..before.len() - 8).step_by(8) {
        let is_placeholder = before[at + 4..at + 8] == gabion_view::site::PLACEHOLDER.to_le_bytes();
        if before[at] == 0xb7 && is_placeholder && absent[at + 4..at + 8] == [0; 4] {
            present[at + 4] = 1;
            answers += 1;
        }
    }
    // Two programs read the view, and one of them asks for more that is not there.
    assert!(answers >= 5, "{answers}");
    let (absent, present) = (kept(&absent), kept(&present));
    // A call of the helper with its four arguments, and what is asked of the answer.
    assert!(absent + 6 * 8 <= present, "{absent} bytes without the field, {present} with it");
}
