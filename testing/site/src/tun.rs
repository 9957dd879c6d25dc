//! A tun device: packets that begin with the IP header.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Calling, Result, SiteError};
use crate::host::Host;

mod request {
    #![allow(missing_docs)]
    use nix::libc;

    nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
}

/// The far end of a tun device: what a modem or a tunnel would be. The device goes when this is dropped.
pub struct Tun {
    file: File,
}

impl Host {
    /// Makes a tun device and sets it up.
    pub fn tun(&self, name: &str) -> Result<Tun> {
        let what = || format!("tun {name} in {}", self.name());
        if name.len() >= libc::IFNAMSIZ {
            return Err(SiteError::System { call: what(), source: std::io::ErrorKind::InvalidInput.into() });
        }
        let file = self.run(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open("/dev/net/tun")
                .calling(what())?;
            // SAFETY: ifreq is plain bytes and integers, for which all zeroes is a value.
            let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in interface.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            interface.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: the descriptor is open and the request is a whole ifreq that outlives the call.
            unsafe { request::tun_set_iff(file.as_raw_fd(), &interface) }.calling(what())?;
            Ok::<_, SiteError>(file)
        })?;
        self.up(name)?;
        Ok(Tun { file })
    }
}

impl Tun {
    /// Hands one packet to the host, as if it came over the line.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        self.file.write_all(packet).calling("write a packet to a tun device")
    }

    /// The next packet that the host sends over the line and that satisfies the test; none within the bound.
    pub fn receive(&mut self, bound: Duration, matches: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + bound;
        let mut packet = vec![0; 65_536];
        loop {
            match self.file.read(&mut packet) {
                Ok(length) if matches(&packet[..length]) => {
                    packet.truncate(length);
                    return Ok(Some(packet));
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
                    let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                    poll(&mut ready, PollTimeout::from(milliseconds)).calling("poll a tun device")?;
                }
                Err(error) => return Err(error).calling("read a tun device"),
            }
        }
    }
}
