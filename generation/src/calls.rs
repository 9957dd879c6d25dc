//! System calls that only twins make: running a program, and forgetting what it left in its maps.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya_obj::generated::bpf_cmd;

use crate::object::{bpf, zeroed};

/// Forgets all that a map holds.
pub(crate) fn clear(map: BorrowedFd<'_>, key_bytes: usize) -> io::Result<bool> {
    let mut key = vec![0_u8; key_bytes];
    let mut found = false;
    loop {
        let mut attr = zeroed();
        // SAFETY: zero so far, see `zeroed`.
        let next = unsafe { &mut attr.__bindgen_anon_2 };
        next.map_fd = map.as_raw_fd().cast_unsigned();
        // Without a key to go on from: the first there is.
        next.__bindgen_anon_1.next_key = key.as_mut_ptr() as u64;
        // SAFETY: the key is as long as the map's are.
        match unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) } {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            answer => answer?,
        };
        found = true;
        let mut attr = zeroed();
        // SAFETY: zero so far, see `zeroed`.
        let delete = unsafe { &mut attr.__bindgen_anon_2 };
        delete.map_fd = map.as_raw_fd().cast_unsigned();
        delete.key = key.as_ptr() as u64;
        // SAFETY: as above.
        match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) } {
            // An LRU map may have forgotten it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => drop(answer?),
        }
    }
}

/// Runs a program over one packet; gives back what it returned.
pub(crate) fn run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8]) -> io::Result<u32> {
    let mut attr = zeroed();
    // SAFETY: all bytes of the union are zero, which every one of its members may be.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd().cast_unsigned();
    test.data_in = packet.as_ptr() as u64;
    test.data_size_in = packet.len() as u32;
    test.ctx_in = context.as_ptr() as u64;
    test.ctx_size_in = context.len() as u32;
    // SAFETY: both are alive and of these sizes; nothing is written back but to the attribute.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
    // SAFETY: the command filled in this member.
    Ok(unsafe { attr.test }.retval)
}
