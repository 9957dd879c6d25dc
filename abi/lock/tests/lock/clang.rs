//! Objects that clang made from C, where there is a clang (`CLANG`, or in the path).

use std::process::Command;

use gabion_lock::{Lock, compare};

/// What libbpf's headers make of definitions, without them.
const C: &str = r#"
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define SEC(name) __attribute__((section(name), used))
typedef unsigned int u32;
typedef unsigned long long u64;
enum kind { OPEN, CLOSE, MOVE };
struct key { u32 address; unsigned short port, zero; };
struct value {
    u64 packets;
    union { u32 v4; unsigned char v6[16]; };
    struct { u32 urgent : 3, retries : 5; } bits;
    enum kind kind;
    _Bool on;
};
struct event { u64 time; u32 pid; MORE };
struct { __uint(type, 1); __type(key, struct key); __type(value, struct value); __uint(max_entries, 1024);
         __uint(pinning, 1); } flows SEC(".maps");
struct inner { __uint(type, 2); __type(key, int); __type(value, u64); __uint(max_entries, 4); };
struct { __uint(type, 13); __type(key, int); __uint(max_entries, 4); __array(values, struct inner);
} outer SEC(".maps");
const struct event *unused_event __attribute__((unused));
static volatile u32 hidden;
volatile const u32 limit = 5;
u64 total;
SEC("xdp") int program(void *context) { hidden += limit; total += hidden; return 2; }
"#;

fn compiled(clang: &str, name: &str, more: &str) -> Lock {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join(format!("{name}.c")), folder.path().join(name));
    std::fs::write(&source, C.replace("MORE", more)).unwrap();
    let done =
        Command::new(clang).args(["-target", "bpf", "-O2", "-g", "-c"]).arg(&source).arg("-o").arg(&object).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Lock::of_object(&std::fs::read(object).unwrap()).unwrap()
}

#[test]
fn what_clang_writes_is_read() {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    if Command::new(&clang).arg("--version").output().is_err() {
        return println!("skipped: there is no {clang}");
    }
    let old = compiled(&clang, "old", "");
    let fields = |record: &str| -> Vec<String> {
        old.records[record].fields.iter().map(|field| format!("{}: {field}", field.name)).collect()
    };
    // As the psABI of BPF lays them out.
    assert_eq!(
        fields("value"),
        [
            "packets: u64 at 0",
            "v4: u32 at 8",
            "v6: [u8; 16] at 8",
            "bits: record value.bits at 24",
            "kind: enum kind at 28",
            "on: bool at 32"
        ]
    );
    assert_eq!(fields("value.bits"), ["urgent: u32 at bit 0 width 3", "retries: u32 at bit 3 width 5"]);
    let flows = &old.maps["flows"];
    assert_eq!((flows.kind, flows.key.bytes, flows.value.bytes, flows.entries, flows.pinned), (1, 8, 40, 1024, true));
    assert_eq!(old.maps["outer.values"].value.bytes, 8);
    let variables = |section: &str| -> Vec<&str> {
        old.sections[section].variables.iter().map(|variable| variable.name.as_str()).collect()
    };
    assert_eq!(variables(".rodata"), ["limit"]);
    assert!(variables(".bss").contains(&"total") && !variables(".bss").contains(&"hidden"));
    let changes = compare(&old, &compiled(&clang, "new", "u32 more;"));
    assert_eq!(
        changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["compatible: event.more: was nothing, is u32 at 12 (fields may be appended)"]
    );
}
