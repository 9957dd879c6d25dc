//! Descriptors that tokio has no type for (inotify, the event ring), awaited.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to become readable. Needs a tokio runtime.
// Deprecated since tokio 1.54 for types whose descriptor can change or close under it, in favour of a function that is
// `unsafe` to call; an `OwnedFd` is open and the same for as long as it is owned, and this crate forbids `unsafe`.
#[allow(deprecated)]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
