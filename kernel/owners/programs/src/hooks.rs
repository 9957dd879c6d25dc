//! The hooks.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_sock, file};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_socket_cookie, bpf_sock_from_file};
use gabion_abi::facts::Address;
use gabion_abi::owner::{ListenKey, Listener, Owner};
use gabion_owners_programs::{Socket, Task};

use crate::maps::{LISTENERS, OWNERS};

/// States of a TCP socket (`include/net/tcp_states.h`).
mod state {
    pub const ESTABLISHED: u64 = 1;
    pub const SYN_RECV: u64 = 3;
    pub const CLOSE: u64 = 7;
    pub const LISTEN: u64 = 10;
}
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `BPF_NOEXIST`: what is there stays.
const KEEP: u64 = 1;

/// The process of the task at this address.
#[inline(always)]
fn owner_of(task: u64) -> Option<Owner> {
    let Task { tgid, comm, start_ns, cgroup } = Task::read(task)?;
    Some(Owner { start_ns, cgroup, pid: tgid as u32, padding: 0, comm })
}

/// Notes who makes an internet socket; in the context of that process. It lets all of them be made.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/sock_create")]
extern "C" fn gabion_made(socket: *mut bpf_sock) -> i32 {
    // SAFETY: the kernel's own pointer, handed on as it came.
    let cookie = unsafe { bpf_get_socket_cookie(socket.cast()) };
    // SAFETY: a helper without arguments.
    if let Some(owner) = owner_of(unsafe { bpf_get_current_task() }) {
        // An owner that finds no room stays unknown.
        let _ = OWNERS.insert(cookie, owner, 0);
    }
    1
}

/// What the kernel calls for each open file of each process (`struct bpf_iter__task_file`).
#[repr(C)]
struct OpenFile {
    meta: u64,
    task: u64,
    descriptor: u64,
    file: *mut file,
}

/// Notes whose the sockets are that were there before, one file after the other. Of the processes that share one the
/// first counts, which has the lowest number: mostly it made the socket.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn gabion_found(open: *const OpenFile) -> i32 {
    // SAFETY: the kernel passes its own.
    let (task, file) = unsafe { ((*open).task, (*open).file) };
    if task == 0 || file.is_null() {
        return 0;
    }
    // SAFETY: the kernel's own pointer, handed on as it came.
    let socket = unsafe { bpf_sock_from_file(file) };
    if socket.is_null() {
        return 0;
    }
    // The verifier knows what the kernel keeps there only if it is read as memory of ours would be.
    let place = gabion_view::read::offset::<{ gabion_view::id("socket", "sk") }, 0>(socket as u64) as *const u64;
    // SAFETY: a pointer to a struct of the kernel, at the place of a field of it.
    let socket = unsafe { *place };
    if socket == 0 {
        return 0;
    }
    let Some(bound) = Socket::read(socket) else { return 0 };
    if bound.family != AF_INET && bound.family != AF_INET6 {
        return 0;
    }
    let Some(owner) = owner_of(task) else { return 0 };
    // SAFETY: the kernel's own pointer.
    let cookie = unsafe { bpf_get_socket_cookie(socket as *mut c_void) };
    if OWNERS.insert(cookie, owner, KEEP).is_ok() && bound.state as u64 == state::LISTEN && bound.port != 0 {
        listens(cookie, &key(&bound, false));
    }
    0
}

/// Where a socket is bound, or with `any` the port at all addresses.
#[inline(always)]
fn key(socket: &Socket, any: bool) -> ListenKey {
    let mut words = [0; 4];
    if !any {
        match socket.v6 {
            Some(bytes) if socket.family == AF_INET6 => {
                for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *word = u32::from_ne_bytes(*bytes);
                }
            }
            _ => words[0] = socket.v4,
        }
    }
    ListenKey {
        namespace: socket.namespace.0,
        address: Address { words },
        port: u16::from_be(socket.port),
        family: socket.family,
        padding: 0,
    }
}

#[inline(always)]
fn listens(cookie: u64, key: &ListenKey) {
    // SAFETY: nobody takes it away while this program runs; another may overwrite it, with a valid value.
    let Some(owner) = (unsafe { OWNERS.get(cookie) }) else { return };
    let mut listener = Listener { owner: *owner, sockets: 1, padding: 0 };
    // SAFETY: as above.
    if let Some(other) = unsafe { LISTENERS.get(key) } {
        listener.sockets += other.sockets;
        if (other.owner.pid, other.owner.start_ns) != (owner.pid, owner.start_ns) {
            listener.owner.pid = 0;
        }
    }
    let _ = LISTENERS.insert(key, listener, 0);
}

#[inline(always)]
fn listens_no_more(key: &ListenKey) {
    let Some(listener) = LISTENERS.get_ptr_mut(key) else { return };
    // SAFETY: as in `listens`. Two at once may count one too many: the port is nobody's then, which is no lie.
    unsafe {
        (*listener).sockets = (*listener).sockets.saturating_sub(1);
        if (*listener).sockets == 0 {
            let _ = LISTENERS.remove(key);
        }
    }
}

/// Follows a TCP socket: `struct sock *`, old and new state.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/inet_sock_set_state")]
extern "C" fn gabion_changed(arguments: *const u64) -> i32 {
    // SAFETY: the kernel passes three arguments.
    let (socket, old, new) = unsafe { (*arguments, *arguments.add(1), *arguments.add(2)) };
    let (old, new) = (old & 0xffff_ffff, new & 0xffff_ffff);
    let accepted = old == state::SYN_RECV && new == state::ESTABLISHED;
    // A copy of a listening socket, which a connection begins as, leaves the state, too, but not for this one.
    let ended = old == state::LISTEN && new == state::CLOSE;
    if !accepted && !ended && new != state::LISTEN {
        return 0;
    }
    // SAFETY: the kernel's own pointer, handed on as it came.
    let cookie = unsafe { bpf_get_socket_cookie(socket as *mut c_void) };
    let Some(bound) = Socket::read(socket).filter(|bound| bound.port != 0) else { return 0 };
    if new == state::LISTEN {
        listens(cookie, &key(&bound, false));
    } else if ended {
        listens_no_more(&key(&bound, false));
    } else {
        // SAFETY: as in `listens`.
        let exact = unsafe { LISTENERS.get(key(&bound, false)) };
        // SAFETY: likewise.
        if let Some(listener) = exact.or_else(|| unsafe { LISTENERS.get(key(&bound, true)) }) {
            let _ = OWNERS.insert(cookie, listener.owner, 0);
        }
    }
    0
}
