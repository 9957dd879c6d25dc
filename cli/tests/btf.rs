//! `gabion btf`, and `gabion abi check --kernels`, as their users meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use gabion_testing_types::{Build, SIGNED};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use serde_json::{Value, json};

fn expect(code: i32, folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gabion")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

/// What an object says that it reads.
const VIEW: &str = "\
view Task of task_struct
  pid: i32 = pid
  tgid: i32 = tgid
  comm: [u8; 16] = comm
  start: u64 = start_boottime | real_start_time
  total_vm: u64 = mm->total_vm
  parent: i32 = real_parent->tgid
  cred: address = cred
  in_execve: bits u8 = in_execve
  absent: optional u64 = gabion_was_here
";

/// That in a kernel that somebody could have built.
struct Task {
    /// Bytes before all of it.
    moved: u32,
    /// Of `pid`.
    pid_bytes: u32,
    comm: &'static str,
}

const TASK: Task = Task { moved: 0, pid_bytes: 4, comm: "comm" };

impl Task {
    fn bytes(&self) -> Vec<u8> {
        let mut b = Build::new();
        let long = b.int("long unsigned int", 8, 0);
        let int = b.int("int", 4, SIGNED);
        let pid = b.int("pid", self.pid_bytes, SIGNED);
        let bit = b.int("unsigned int", 4, 0);
        let byte = b.int("char", 1, SIGNED);
        let name = b.array(byte, 16);
        let memory = b.structure("mm_struct", 16, &[("users", long, 0, 0), ("total_vm", long, 64, 0)]);
        let memory = b.pointer(memory);
        let cred = b.forward("cred");
        let cred = b.pointer(cred);
        let task = b.next() + 1;
        let parent = b.pointer(task);
        let at = |bytes: u32| (self.moved + bytes) * 8;
        let members = [
            ("pid", pid, at(0), 0),
            ("tgid", int, at(8), 0),
            ("in_execve", bit, at(12) + 3, 1),
            (self.comm, name, at(16), 0),
            ("start_boottime", long, at(32), 0),
            ("mm", memory, at(40), 0),
            ("real_parent", parent, at(48), 0),
            ("cred", cred, at(56), 0),
        ];
        b.structure("task_struct", self.moved + 64, &members);
        b.bytes()
    }
}

/// A folder with an object that has views.
fn with_object() -> tempfile::TempDir {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b".gabion.fields".into(), SectionKind::ReadOnlyData);
    object.append_section_data(section, VIEW.as_bytes(), 1);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("views.o"), object.write().unwrap()).unwrap();
    folder
}

#[test]
fn a_type_is_shown_and_one_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("kernel"), TASK.bytes()).unwrap();
    let (out, _) = expect(0, here, &["btf", "show", "task_struct", "--btf", "kernel"]);
    assert!(out.contains("/*     12:3     1b */     unsigned int in_execve : 1;\n"), "{out}");
    assert!(out.contains("/*       48      8 */     struct task_struct *real_parent;\n"), "{out}");
    let (out, _) = expect(0, here, &["btf", "show", "mm_struct", "--btf", "kernel", "--output", "json"]);
    let member = |name: &str, offset: u32| {
        let declaration = format!("long unsigned int {name}");
        json!({"name": name, "declaration": declaration, "offset": offset, "bit": 0, "size": 8, "bits": null})
    };
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found[0]["declaration"], "struct mm_struct");
    assert_eq!(found[0]["members"], json!([member("users", 0), member("total_vm", 8)]));
    let (_, err) = expect(2, here, &["btf", "show", "task_strukt", "--btf", "kernel"]);
    assert!(err.contains("kernel: there is no type task_strukt; there is task_struct"), "{err}");
    assert!(expect(2, here, &["btf", "show", "a", "--btf", "nowhere"]).1.contains("nowhere: cannot be read"));
}

#[test]
fn fields_are_bound_and_what_does_not_fit_is_told() {
    let folder = with_object();
    let here = folder.path();
    std::fs::write(here.join("kernel"), TASK.bytes()).unwrap();
    std::fs::write(here.join("renamed"), Task { comm: "name", ..TASK }.bytes()).unwrap();
    let bind = ["btf", "bind", "--object", "views.o", "--btf"];
    let (out, _) = expect(0, here, &[&bind[..], &["kernel"]].concat());
    let words: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(words.contains(&vec!["Task.total_vm", "task_struct", "mm->total_vm", "40→8", "8"]), "{out}");
    assert!(words.contains(&vec!["Task.in_execve", "task_struct", "in_execve", "12:3", "1b"]), "{out}");
    assert!(words.contains(&vec!["Task.absent", "task_struct", "gabion_was_here", "absent"]), "{out}");
    let (out, _) = expect(1, here, &[&bind[..], &["renamed"]].concat());
    assert!(out.contains("the field comm of the view Task: renamed: field comm of task_struct: "), "{out}");
    assert!(expect(2, here, &["btf", "bind", "--object", "kernel"]).1.contains("kernel: this is no object"));
}

#[test]
fn an_object_without_views_says_so() {
    let Ok(object) = gabion_kernel_object::object() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("programs.o"), object).unwrap();
    std::fs::write(here.join("kernel.btf"), TASK.bytes()).unwrap();
    if gabion_view::described::described(object).unwrap().is_empty() {
        let none = "programs.o has no views: its programs read no kernel types by name\n";
        let bind = ["btf", "bind", "--object", "programs.o", "--btf", "kernel.btf"];
        assert_eq!(expect(0, here, &bind).0, none);
        assert_eq!(expect(0, here, &["abi", "check", "--kernels", ".", "--object", "programs.o"]).0, none);
        let extract = ["btf", "extract", "--for", "programs.o", "--btf", "kernel.btf", "-o", "small"];
        assert!(expect(2, here, &extract).1.contains(none.trim_end()));
    }
}

#[test]
fn kernels_are_a_matrix() {
    let folder = with_object();
    let here = folder.path();
    std::fs::create_dir(here.join("kernels")).unwrap();
    std::fs::write(here.join("kernels/README.md"), "no types").unwrap();
    let check = ["abi", "check", "--object", "views.o", "--kernels", "kernels"];
    assert!(expect(2, here, &check).1.contains("there is no file *.btf in this folder"));

    // Extracts say what the whole says.
    for (name, task) in [("6.12", Task { moved: 8, ..TASK }), ("6.2", TASK)] {
        std::fs::write(here.join("whole"), task.bytes()).unwrap();
        let to = format!("kernels/{name}.btf");
        expect(0, here, &["btf", "extract", "--for", "views.o", "--btf", "whole", "-o", &to]);
    }
    let (out, _) = expect(0, here, &check);
    let words: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["VIEW.FIELD", "6.2", "6.12"]);
    assert!(words.contains(&vec!["Task.pid", "fits", "0", "moved", "8"]), "{out}");
    assert!(words.contains(&vec!["Task.absent", "absent", "absent"]), "{out}");

    std::fs::write(here.join("kernels/7.0.btf"), Task { pid_bytes: 8, ..TASK }.bytes()).unwrap();
    let (out, _) = expect(1, here, &check);
    let error = "the field pid of the view Task: 7.0: field pid of task_struct: expected a signed integer of 4 bytes";
    assert!(out.contains(&format!("7.0: {error}")), "{out}");
    let (out, _) = expect(1, here, &[&check[..], &["--output", "json"]].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["fits"], &found["kernels"]), (&json!(false), &json!(["6.2", "6.12", "7.0"])));
    let pid = &found["fields"][0];
    assert_eq!((&pid["view"], &pid["field"], &pid["type"]), (&json!("Task"), &json!("pid"), &json!("task_struct")));
    let states: Vec<&Value> = pid["kernels"].as_array().unwrap().iter().map(|cell| &cell["state"]).collect();
    assert_eq!(states, ["fits", "moved", "changed"]);
    assert_eq!(pid["kernels"][1]["offsets"], json!([8]));
    assert!(pid["kernels"][2]["error"].as_str().unwrap().starts_with("the field pid"), "{pid}");

    // A file that is no types is not passed over.
    std::fs::write(here.join("kernels/8.btf"), "text").unwrap();
    assert!(expect(2, here, &check).1.contains("kernels/8.btf: is neither BTF"));
    assert!(expect(2, here, &["abi", "check", "old", "--kernels", "kernels"]).1.contains("cannot be used with"));
}

#[test]
fn the_types_of_a_module_stand_on_those_of_its_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let mut kernel = Build::new();
    let int = kernel.int("int", 4, SIGNED);
    std::fs::write(folder.path().join("vmlinux"), kernel.bytes()).unwrap();
    let mut module = kernel.split();
    module.structure("of_the_module", 4, &[("count", int, 0, 0)]);
    std::fs::write(folder.path().join("module"), module.bytes()).unwrap();
    let show = ["btf", "show", "of_the_module", "--btf", "module"];
    let (shown, _) = expect(0, folder.path(), &[&show[..], &["--base", "vmlinux"]].concat());
    assert!(shown.contains("struct of_the_module {") && shown.contains("int count;"), "{shown}");
    // By themselves they make no sense.
    let (_, error) = expect(2, folder.path(), &show);
    assert!(error.contains("module"), "{error}");
    expect(2, folder.path(), &["btf", "show", "int", "--base", "vmlinux"]);
}
