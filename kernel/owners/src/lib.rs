//! Whose socket it is.
//!
//! Programs follow the node's sockets (`programs`): who makes one, and where it listens. They read the kernel's types
//! through views, which are found on the kernel that runs before anything is loaded. They decide nothing, and go when
//! [`Owners`] is dropped.

mod ask;

use std::fs::File;

use aya::maps::{HashMap, MapData};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSock, Iter, Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use gabion_abi::boundary::OWNERS;
use gabion_abi::owner::Owner;
use gabion_btf::Btf;
use gabion_contracts::{Mismatch, NotEmbedded};
use gabion_owners_programs::VIEWS;
use gabion_view::bind::{BindError, Bound, PatchError};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

pub use ask::{Arrival, Sockets};

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// Types of the kernel that runs.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The program at the making of a socket.
const MADE: &str = "gabion_made";
/// The program at the change of a TCP socket.
const CHANGED: &str = "gabion_changed";
/// The tracepoint that it is for.
const TRACEPOINT: &str = "inet_sock_set_state";
/// The program that looks at open files.
const FOUND: &str = "gabion_found";
/// The list that it goes through.
const FILES: &str = "task_file";

/// Why sockets are not followed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("this binary was built without the programs ({0}); `./x doctor` says what is missing, then build again")]
    NotBuilt(&'static str),
    /// The object says nothing of its records.
    #[error("the programs do not say what they share: {0}; build gabion again, all of it from one checkout")]
    NoContract(#[from] NotEmbedded),
    /// The object says something else.
    #[error("the programs share something else with us: {0}; build gabion again, all of it from one checkout")]
    Contract(Mismatch),
    /// The kernel's types cannot be read.
    #[error("{0}")]
    Types(#[from] gabion_btf::Error),
    /// A view does not fit the kernel.
    #[error("{0}")]
    View(#[from] BindError),
    /// The object's placeholders cannot be replaced.
    #[error("{0}")]
    Patch(#[from] PatchError),
    /// There is no hierarchy of cgroups of version 2 to be seen, and none can be mounted.
    #[error("no cgroup2 file system is mounted here, and mounting one failed ({0}); mount one at /sys/fs/cgroup")]
    NoCgroups(std::io::Error),
    /// The kernel refuses something.
    #[error("cannot {step}: {}", chain(&**source))]
    Kernel {
        /// What.
        step: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An error with what is behind it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, behind| format!("{text}: {behind}"))
}

trait Doing<T> {
    fn doing(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Doing<T> for Result<T, E> {
    fn doing(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|source| Failure::Kernel { step, source: Box::new(source) })
    }
}

/// A record that comes out of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Record(Owner);

// SAFETY: what has a contract is integers only, of which every bit pattern is one, with no padding between.
unsafe impl aya::Pod for Record {}

/// The object as it was built, with placeholders for where the kernel has what it reads.
///
/// # Errors
/// When this was built without it.
pub fn object() -> Result<&'static [u8], Failure> {
    EMBEDDED.map_err(Failure::NotBuilt)
}

/// The object for the kernel whose types these are, and where the kernel has what it reads.
///
/// # Errors
/// [`Failure`] when a view does not fit, or the object is not ours.
pub fn bound(kernel: &Btf) -> Result<(Vec<u8>, Bound), Failure> {
    let object = object()?;
    gabion_contracts::check(&OWNERS, gabion_contracts::embedded(object)?).map_err(Failure::Contract)?;
    let bound = Bound::find(kernel, &VIEWS)?;
    let mut object = object.to_vec();
    bound.patch(&mut object)?;
    Ok((object, bound))
}

/// The root of the hierarchy of cgroups (version 2): where it is mounted, or by a mount that nobody else sees, for a
/// process whose `/sys` has it not (`ip netns exec` mounts another one over it).
///
/// # Errors
/// [`Failure::NoCgroups`] when neither is to be had.
pub fn cgroups() -> Result<File, Failure> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // Fields, " - ", type of the file system; the fifth field is where.
    let mounted = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.starts_with("cgroup2 ") { mount.split(' ').nth(4) } else { None }
    });
    // Another file system may be mounted over it.
    let is_hierarchy =
        |folder: &File| rustix::fs::fstatfs(folder).is_ok_and(|it| u64::try_from(it.f_type) == Ok(CGROUP2_MAGIC));
    let found = mounted.filter_map(|path| File::open(path).ok()).find(is_hierarchy);
    found.map_or_else(|| own_mount().map_err(|errno| Failure::NoCgroups(errno.into())), Ok)
}

/// `CGROUP2_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

fn own_mount() -> rustix::io::Result<File> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?.into())
}

fn missing() -> std::io::Error {
    std::io::Error::other("the object has it not")
}

/// A program of the object by its name.
fn taken<'p, P>(programs: &'p mut Ebpf, name: &'static str) -> Result<&'p mut P, Failure>
where
    &'p mut P: TryFrom<&'p mut Program, Error = ProgramError>,
{
    programs.program_mut(name).ok_or_else(missing).doing(name)?.try_into().doing(name)
}

/// The programs at their hooks.
pub struct Owners {
    owners: HashMap<MapData, u64, Record>,
    /// Holds the programs and their links.
    _programs: Ebpf,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").finish_non_exhaustive()
    }
}

impl Owners {
    /// Begins to follow the sockets of this hierarchy of cgroups, and looks whose those are that are there already.
    ///
    /// # Errors
    /// [`Failure`], and nothing is left behind.
    pub fn attach(cgroups: &File) -> Result<Self, Failure> {
        let (object, _) = bound(&Btf::open(KERNEL_TYPES)?)?;
        let mut programs = EbpfLoader::new().load(&object).doing("load the programs that follow sockets")?;
        let types = aya::Btf::from_sys_fs().doing("read the kernel's types")?;
        let program: &mut BtfTracePoint = taken(&mut programs, CHANGED)?;
        program.load(TRACEPOINT, &types).doing("load the program of the tracepoint")?;
        program.attach().doing("attach to the tracepoint of TCP states")?;
        let program: &mut CgroupSock = taken(&mut programs, MADE)?;
        program.load().doing("load the program of new sockets")?;
        // Links stand beside others always, and the kernel takes no flag that says so.
        program.attach(cgroups, CgroupAttachMode::Single).doing("attach to the making of sockets")?;
        // Last, so that none is missed that is made meanwhile.
        let program: &mut Iter = taken(&mut programs, FOUND)?;
        program.load(FILES, &types).doing("load the program of open files")?;
        let link = program.attach().and_then(|link| program.take_link(link)).doing("make a list of open files")?;
        let mut list = link.into_file().doing("open the list of open files")?;
        std::io::copy(&mut list, &mut std::io::sink()).doing("read the list of open files")?;
        program.unload().doing("let go of the program of open files")?;
        let map = programs.take_map("OWNERS").ok_or_else(missing).doing("find the map of owners")?;
        let owners = map.try_into().doing("take the map of owners")?;
        Ok(Self { owners, _programs: programs })
    }

    /// Who made the socket with this cookie, or listened where it was accepted; none when that is not known, or more
    /// than one may be it.
    #[must_use]
    pub fn owner(&self, cookie: u64) -> Option<Owner> {
        let Record(owner) = self.owners.get(&cookie, 0).ok()?;
        (owner.pid != 0).then_some(owner)
    }
}
