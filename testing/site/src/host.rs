//! A machine of the site: a network namespace, with mounts of its own.
//!
//! Namespaces are held by file descriptors and by one resident thread, never by names in the file
//! system. When the process ends, also by SIGKILL, the kernel takes namespaces, links, mounts and
//! (by the parent-death signal) child processes with it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::death;
use crate::error::{Calling, Result, SiteError};

type Job = Box<dyn FnOnce() + Send>;

/// A machine of the site.
///
/// Dropping it ends its resident thread; children started with [`Host::start`] are killed then.
pub struct Host {
    name: String,
    network: OwnedFd,
    mounts: OwnedFd,
    jobs: Option<mpsc::Sender<Job>>,
    resident: Option<JoinHandle<()>>,
}

impl Host {
    /// A new namespace with loopback up, IPv6 usable at once, and nothing else. Needs root.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, born) = mpsc::sync_channel(1);
        let resident = thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || {
                let made = settle();
                let failed = made.is_err();
                if ready.send(made).is_err() || failed {
                    return;
                }
                for job in inbox {
                    job();
                }
            })
            .calling(format!("thread of {name}"))?;
        let (network, mounts) = born.recv().map_err(|_| SiteError::Role {
            role: "host",
            what: format!("the thread of {name} ended before its namespace was there"),
        })??;
        let host = Self { name, network, mounts, jobs: Some(jobs), resident: Some(resident) };
        host.up("lo")?;
        Ok(host)
    }

    /// Name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network namespace.
    #[must_use]
    pub fn network(&self) -> &OwnedFd {
        &self.network
    }

    /// Runs a closure in the namespaces and waits for it. A panic in it goes on here.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a closure in the namespaces on a thread of its own. Whoever gets the handle joins it.
    pub fn spawn<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<JoinHandle<R>> {
        let network = self.network.try_clone().calling("duplicate a namespace")?;
        let mounts = self.mounts.try_clone().calling("duplicate a namespace")?;
        thread::Builder::new()
            .name(self.name.chars().take(15).collect())
            .spawn(move || {
                enter(&network, &mounts);
                drop((network, mounts));
                work()
            })
            .calling(format!("thread in {}", self.name))
    }

    /// Starts a program in the namespaces. It is killed when this host is dropped or the process dies.
    pub fn start(&self, mut command: Command) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        death::kill_with_parent(&mut command);
        self.at_home(move || command.spawn()).calling(format!("start {program} in {}", self.name))
    }

    /// Runs a closure on the resident thread: what it starts or mounts lives as long as the host.
    pub fn at_home<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // The other end waits below; it can only be gone when that thread died.
            let _ = done.send(work());
        });
        let Some(jobs) = &self.jobs else { unreachable!("jobs are there until drop") };
        // A closure that panicked took the resident thread with it; going on without it would hide that.
        #[allow(clippy::expect_used)]
        {
            jobs.send(job).expect("the resident thread lives until drop");
            result.recv().expect("the closure on the resident thread panicked")
        }
    }

    /// Writes a value below `/proc/sys`, as the namespace sees it (`net/ipv4/ip_forward`).
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.run(|| sysctl(name, value))
    }

    /// Mounts a bpffs at an existing folder, visible to this host's programs only.
    pub fn mount_bpffs(&self, at: &Path) -> Result<()> {
        let at = at.to_owned();
        self.at_home(move || {
            mount(Some("bpf"), &at, Some("bpf"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0700"))
                .calling(format!("mount a bpffs at {}", at.display()))
        })
    }

    /// Takes a bpffs away, with all that only its pins held, and mounts an empty one: what a reboot leaves.
    pub fn lose_bpffs(&self, at: &Path) -> Result<()> {
        let old = at.to_owned();
        self.at_home(move || umount2(&old, MntFlags::MNT_DETACH).calling(format!("unmount {}", old.display())))?;
        self.mount_bpffs(at)
    }

    fn enter(&self) {
        enter(&self.network, &self.mounts);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(resident) = self.resident.take() {
            // A panic there was reported by the panic hook already; drop must not panic again.
            let _ = resident.join();
        }
    }
}

/// Moves the calling thread into namespaces of its own.
fn settle() -> Result<(OwnedFd, OwnedFd)> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(|errno| match errno {
        nix::Error::EPERM => SiteError::Unable {
            what: String::from("a network namespace"),
            need: "CAP_SYS_ADMIN",
            remedy: "run as root",
        },
        other => SiteError::System { call: String::from("unshare network and mounts"), source: other.into() },
    })?;
    // Nothing mounted from here on may show outside.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|errno| match errno {
        // In a chroot. To enter a mount namespace would also lead out of it.
        nix::Error::EINVAL => SiteError::Unable {
            what: String::from("a network namespace with its own /sys"),
            need: "a root folder that is a mount, which that of a chroot is not",
            remedy: "run outside of the chroot, or in a container",
        },
        other => SiteError::System { call: String::from("make all mounts private"), source: other.into() },
    })?;
    // /sys/class/net shows the namespace it was mounted from.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).calling("mount /sys anew")?;
    // Duplicate address detection delays the first packet by a second, router solicitations add noise.
    for scope in ["all", "default"] {
        sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
        sysctl(&format!("net/ipv6/conf/{scope}/router_solicitations"), "0")?;
    }
    let open = |path: &str| File::open(path).map(OwnedFd::from).calling(format!("open {path}"));
    Ok((open("/proc/thread-self/ns/net")?, open("/proc/thread-self/ns/mnt")?))
}

fn enter(network: &OwnedFd, mounts: &OwnedFd) {
    // The descriptors are namespaces that this process made with the same privileges, and the thread is
    // new and shares its root with nobody after CLONE_FS, so none of the three has a reason to fail.
    #[allow(clippy::expect_used)]
    {
        unshare(CloneFlags::CLONE_FS).expect("leave the shared root");
        setns(mounts, CloneFlags::CLONE_NEWNS).expect("enter mounts of our own");
        setns(network, CloneFlags::CLONE_NEWNET).expect("enter a network of our own");
    }
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    std::fs::write(&path, value).map_err(|source| SiteError::File { path, source })
}
