//! The hooks.

use core::arch::asm;

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns,
};
use gabion_abi::gate::{Attempt, DIGEST_BYTES, Gate, attempt, state};
use gabion_gatekeeper_programs::{Map, Program, Task};

use crate::maps::{ALLOWED, ATTEMPTS, GATE, LOADING};

/// `BPF_PROG_LOAD`.
const PROGRAM_LOAD: u32 = 5;
/// `-EPERM`.
const REFUSED: i32 = -1;

/// What the gatekeeper goes by, unless the gate is open.
#[inline(always)]
fn closed() -> Option<&'static mut Gate> {
    let gate = GATE.get_ptr_mut(0)?;
    // SAFETY: map memory lives until the program ends, and every bit pattern is a `Gate`. It is written once, by the
    // process that seals, and read only after its state says so.
    let gate = unsafe { &mut *gate };
    (gate.state != state::OPEN).then_some(gate)
}

#[inline(always)]
fn thread() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() }
}

#[inline(always)]
fn cgroup() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn task() -> Option<Task> {
    // SAFETY: a helper without arguments. Of a thread of the kernel, which has no program, nothing is read.
    Task::read(unsafe { bpf_get_current_task() })
}

/// Whether the caller is who sealed.
#[inline(always)]
fn is_agent(gate: &Gate) -> bool {
    task().is_some_and(|task| task.inode == gate.inode && task.device == gate.device) && cgroup() == gate.cgroup
}

#[inline(always)]
fn tell(gate: &mut Gate, reason: u32, digest: [u8; DIGEST_BYTES]) -> i32 {
    if let Some(mut entry) = ATTEMPTS.reserve::<Attempt>(0) {
        entry.write(Attempt {
            // SAFETY: a helper without arguments.
            time_ns: unsafe { bpf_ktime_get_boot_ns() },
            cgroup: cgroup(),
            pid: (thread() >> 32) as u32,
            reason,
            comm: task().map_or([0; 16], |task| task.comm),
            digest,
        });
        entry.submit(0);
    }
    // Last: what is counted is in the ring, if there was room.
    // SAFETY: the field is of map memory, which lives until the program ends, and aligned; other CPUs count there too.
    unsafe {
        asm!("lock *(u64 *)({place} + 0) += {one}", place = in(reg) &raw mut gate.refused, one = in(reg) 1_u64,
            options(nostack));
    }
    REFUSED
}

/// Each call of `bpf`: the command is the first argument.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/bpf")]
extern "C" fn gabion_who(arguments: *const u64) -> i32 {
    let Some(gate) = closed() else { return 0 };
    let thread = thread();
    if gate.state == state::SEALING {
        if (thread >> 32) as u32 == gate.pid
            && let Some(task) = task()
        {
            (gate.inode, gate.device, gate.cgroup) = (task.inode, task.device, cgroup());
            gate.state = state::SEALED;
        }
        return 0;
    }
    // SAFETY: the kernel passes three arguments at least.
    if unsafe { *arguments } as u32 != PROGRAM_LOAD {
        // Whatever this thread was about to load, it did not.
        let _ = LOADING.remove(thread);
        return 0;
    }
    if !is_agent(gate) {
        return tell(gate, attempt::WHO, [0; DIGEST_BYTES]);
    }
    // What is not noted would not be looked at.
    if LOADING.insert(thread, 1, 0).is_err() { REFUSED } else { 0 }
}

/// Each descriptor of a program, new or not.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/bpf_prog")]
extern "C" fn gabion_what(arguments: *const u64) -> i32 {
    let Some(gate) = closed() else { return 0 };
    let thread = thread();
    // SAFETY: the value is not read.
    if unsafe { LOADING.get(thread) }.is_none() {
        return 0;
    }
    let _ = LOADING.remove(thread);
    // SAFETY: the kernel passes its own program.
    let Some(program) = Program::read(unsafe { *arguments }) else { return REFUSED };
    let digest = program.digest.unwrap_or_else(|| {
        let mut digest = [0; DIGEST_BYTES];
        digest[..8].copy_from_slice(&program.tag);
        digest
    });
    // SAFETY: the value is not read.
    if unsafe { ALLOWED.get(digest) }.is_some() { 0 } else { tell(gate, attempt::WHAT, digest) }
}

/// Each descriptor of a map.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/bpf_map")]
extern "C" fn gabion_own(arguments: *const u64) -> i32 {
    let Some(gate) = closed() else { return 0 };
    // SAFETY: the kernel passes its own map.
    let Some(map) = Map::read(unsafe { *arguments }) else { return 0 };
    let [one, two, three] = gate.maps;
    let is_own = map.id != 0 && (map.id == one || map.id == two || map.id == three);
    if !is_own || is_agent(gate) { 0 } else { tell(gate, attempt::GATE, [0; DIGEST_BYTES]) }
}
