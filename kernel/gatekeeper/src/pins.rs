//! What outlives the process that made it, and what nobody can change.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};

use crate::{Doing as _, Failure, HOOKS};

/// `BPF_MAP_FREEZE`.
const MAP_FREEZE: libc::c_int = 22;

/// Pins links under the names of their programs.
pub(crate) fn pin(folder: &Path, links: Vec<FdLink>) -> Result<Vec<PinnedLink>, Failure> {
    fs::create_dir_all(folder).doing("make the folder for the gatekeeper")?;
    let pinned = HOOKS.iter().zip(links);
    pinned.map(|((name, _), link)| link.pin(folder.join(name)).doing("pin the gatekeeper")).collect()
}

/// Removes pins, all that can be; one that is gone is fine.
pub(crate) fn unpin(links: Vec<PinnedLink>) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for link in links {
        match link.unpin() {
            Err(error) if error.kind() != ErrorKind::NotFound => outcome = Err(error).doing("open the gate"),
            _ => {}
        }
    }
    outcome
}

/// Opens the gate that another process left in a folder. Whether there was one.
///
/// # Errors
/// A pin cannot be opened or removed.
pub fn let_go(folder: &Path) -> Result<bool, Failure> {
    let mut found = false;
    for (name, _) in HOOKS {
        let path = folder.join(name);
        if !path.try_exists().doing("look for the gatekeeper of an earlier agent")? {
            continue;
        }
        found = true;
        // The kernel takes the program off its hook at once when the last descriptor goes, and some time later when the
        // last pin does: the pin goes first.
        let link = PinnedLink::from_pin(&path).doing("open the gatekeeper of an earlier agent")?;
        link.unpin().map(drop).doing("open the gate of an earlier agent")?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).doing("remove the folder of the gatekeeper"),
        _ => Ok(found),
    }
}

/// From now on no process writes this map; programs do.
pub(crate) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = [map.as_raw_fd().cast_unsigned(), 0];
    // SAFETY: the command reads four bytes, which are the first of this array; what follows is zero, as it must be.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, MAP_FREEZE, attributes.as_ptr(), size_of_val(&attributes)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
