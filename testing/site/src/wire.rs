//! The wire itself: frames put on it byte by byte, and what arrives counted where it arrives.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};

use crate::error::{Calling, Result, SiteError};
use crate::host::Host;

/// `PACKET_OUTGOING` of packet(7): what this host sent itself.
const PACKET_OUTGOING: u8 = 4;

/// Bytes that a tap may fall behind before the kernel loses frames for it: a flood of 20,000 small
/// frames needs 16 MiB.
const TAP_BACKLOG_BYTES: usize = 32 << 20;

/// An interface to put frames on.
pub struct Transmitter {
    socket: OwnedFd,
    name: String,
}

impl Transmitter {
    /// Opens an interface of a host.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        let what = || format!("packet socket on {interface} of {}", host.name());
        let socket = host.run(|| {
            // Protocol 0: this socket never receives.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).calling(what())?;
            let mut links = getifaddrs().calling(what())?;
            let address = links
                .find_map(|link| (link.interface_name == interface).then_some(link.address?)?.as_link_addr().copied())
                .ok_or_else(|| SiteError::System { call: what(), source: io::ErrorKind::NotFound.into() })?;
            bind(socket.as_raw_fd(), &address).calling(what())?;
            Ok::<_, SiteError>(socket)
        })?;
        Ok(Self { socket, name: format!("{interface} of {}", host.name()) })
    }

    /// Puts one frame on the wire, from the destination MAC on, without check sequence. Whether a hook on
    /// the way out let it go, the taps know.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                // This is how a program at the interface's egress hook refuses a packet: a verdict, no error.
                Err(Errno::ENOBUFS) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).calling(format!("send {} bytes on {}", frame.len(), self.name)),
            }
        }
    }
}

/// Tells frames that are meant from all others.
pub type Matcher = Box<dyn Fn(&[u8]) -> bool + Send>;

#[derive(Default)]
struct Counts {
    watches: Vec<(Matcher, u64)>,
    frames: u64,
    /// Times the tap found nothing more to read.
    idle: u64,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Counts stay true when a matcher panics in the middle of a frame.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, bound: Duration, mut done: impl FnMut(&Counts) -> bool) -> bool {
        let end = Instant::now() + bound;
        let mut counts = self.lock();
        while !done(&counts) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            counts = self.changed.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Sees every frame that reaches an interface of a host, after XDP and before anything else.
///
/// VLAN tags are not seen: the kernel takes the outer one off before it shows a frame.
pub struct Tap {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One kind of frame that a tap counts.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
    index: usize,
}

impl Tap {
    /// Starts to look at one interface of a host, or at all of them.
    pub fn open(host: &Host, interface: Option<&str>) -> Result<Self> {
        let what = || format!("packet socket in {}", host.name());
        let only = interface.map(|name| host.index(name)).transpose()?;
        let socket = host.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).calling(what())?;
            setsockopt(&socket, sockopt::RcvBufForce, &TAP_BACKLOG_BYTES).calling(what())?;
            Ok::<_, SiteError>(socket)
        })?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = host.spawn(move || listen(&socket, only, &seen))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Counts the frames that arrive from now on and satisfy the test.
    pub fn watch(&self, matches: impl Fn(&[u8]) -> bool + Send + 'static) -> Watch {
        let mut counts = self.shared.lock();
        counts.watches.push((Box::new(matches), 0));
        Watch { shared: Arc::clone(&self.shared), index: counts.watches.len() - 1 }
    }

    /// Forgets all watches; their counts stay 0 from now on.
    pub fn clear(&self) {
        for (matches, count) in &mut self.shared.lock().watches {
            *matches = Box::new(|_| false);
            *count = 0;
        }
    }

    /// All frames that arrived.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.shared.lock().frames
    }

    /// Waits until all that had arrived is counted. False when that took longer than the bound.
    #[must_use]
    pub fn drained(&self, bound: Duration) -> bool {
        // The first idle moment after now may have been decided before now; the second was not.
        let idle = self.shared.lock().idle + 2;
        self.shared.wait(bound, |counts| counts.idle >= idle)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            // A panic there was a matcher's and was printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// Frames so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.shared.lock().watches[self.index].1
    }

    /// Waits until so many frames were seen. False when that took longer than the bound.
    #[must_use]
    pub fn reaches(&self, count: u64, bound: Duration) -> bool {
        self.shared.wait(bound, |counts| counts.watches[self.index].1 >= count)
    }
}

fn listen(socket: &OwnedFd, only: Option<u32>, shared: &Shared) {
    let mut frame = vec![0_u8; 65_536];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            Ok((length, from)) => {
                let arrived = from.is_none_or(|from| {
                    from.family() == Some(AddressFamily::Packet)
                        && from.pkttype() != PACKET_OUTGOING
                        && only.is_none_or(|index| from.ifindex() == index as usize)
                });
                if arrived {
                    let mut counts = shared.lock();
                    counts.frames += 1;
                    for (matches, count) in &mut counts.watches {
                        *count += u64::from(matches(&frame[..length]));
                    }
                    shared.changed.notify_all();
                }
            }
            Err(Errno::EAGAIN) => {
                let mut counts = shared.lock();
                counts.idle += 1;
                shared.changed.notify_all();
                if counts.stop {
                    return;
                }
                drop(counts);
                // The bound is how long a drop of the tap may take, not a pause: a frame ends it at once.
                let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u8));
            }
            // ENETDOWN comes when an interface goes down under the socket; it goes on afterwards.
            Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(_) => return,
        }
    }
}
