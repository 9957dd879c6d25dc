//! Children that do not outlive us.

#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;

/// The child gets SIGKILL when the thread that starts it ends, however it ends.
pub(crate) fn kill_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and only makes the prctl system call: it allocates
    // nothing, takes no lock and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from));
    }
}
