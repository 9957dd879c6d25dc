use core::ffi::c_void;
use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use gabion_testing_views_programs::{Child, Seen, Task};

/// The thread that is looked at.
#[unsafe(no_mangle)]
static WANTED: u32 = 0;

#[unsafe(no_mangle)]
static mut SEEN: Seen = Seen {
    count: 0,
    start: 0,
    total_vm: 0,
    cred: 0,
    pid: 0,
    tgid: 0,
    parent: 0,
    in_execve: 0,
    there: 0,
    comm: [0; 16],
};

/// Children of the wanted process by number.
#[map]
static CHILDREN: HashMap<i32, Child> = HashMap::with_max_entries(2_048, 0);

/// Reads the current task whenever the wanted thread enters a system call.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tracepoint/sys_enter")]
extern "C" fn look(_: *mut c_void) -> i32 {
    // SAFETY: a helper without arguments; the global is set before the program is loaded, and read as what it is.
    let (thread, wanted) = unsafe { (bpf_get_current_pid_tgid() as u32, read_volatile(&raw const WANTED)) };
    if thread != wanted {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let Some(task) = Task::read(task) else { return 0 };
    // SAFETY: only the wanted thread gets here, one system call after the other.
    unsafe {
        let seen = addr_of_mut!(SEEN);
        (*seen).start = task.start;
        (*seen).total_vm = task.total_vm;
        (*seen).cred = task.cred.0;
        (*seen).pid = task.pid;
        (*seen).tgid = task.tgid;
        (*seen).parent = task.parent;
        (*seen).in_execve = u32::from(task.in_execve);
        let there = [
            task.absent.is_some(),
            task.has_function,
            task.has_no_function,
            task.has_tcx,
            task.has_no_value,
            task.has_type,
            task.has_no_type,
        ];
        (*seen).there = there.iter().rev().fold(0, |bits, &bit| bits << 1 | bit as u64);
        (*seen).comm = task.comm;
        write_volatile(&raw mut (*seen).count, (*seen).count + 1);
    }
    0
}

/// What the kernel calls for each task (`struct bpf_iter__task`).
#[repr(C)]
struct Listed {
    meta: u64,
    task: u64,
}

/// Notes all children of the wanted process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn list(listed: *const Listed) -> i32 {
    // SAFETY: the kernel passes its own.
    let at = unsafe { (*listed).task };
    // SAFETY: the global is set before the program is loaded, and read as what it is.
    let wanted = unsafe { read_volatile(&raw const WANTED) };
    if at == 0 {
        return 0;
    }
    let Some(task) = Task::read(at) else { return 0 };
    if task.parent as u32 != wanted || task.pid != task.tgid {
        return 0;
    }
    let child = Child {
        start: task.start,
        total_vm: task.total_vm,
        cgroup: task.cgroup,
        parent: task.parent,
        uid: task.uid,
        comm: task.comm,
    };
    let _ = CHILDREN.insert(task.tgid, child, 0);
    0
}

/// One field by a view.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tracepoint/by_view")]
extern "C" fn by_view(_: *mut c_void) -> i32 {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    const TGID: u64 = gabion_view::id("task_struct", "tgid");
    gabion_view::read::value::<i32, TGID, 0>(task).unwrap_or(0)
}

/// The same at an offset that somebody wrote down.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tracepoint/by_hand")]
extern "C" fn by_hand(_: *mut c_void) -> i32 {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let mut tgid = 0i32;
    // SAFETY: the destination has four bytes.
    let status = unsafe { bpf_probe_read_kernel((&raw mut tgid).cast(), 4, task.wrapping_add(0x1234).cast()) };
    if status == 0 { tgid } else { 0 }
}
