//! Who may load BPF programs, and which.
//!
//! Once it is sealed, only the program that sealed it loads BPF programs, from its cgroup, and only those whose digest
//! is allowed; who else tries is refused with an [`Attempt`]. Why it goes by these, and how strong that is:
//! `docs/decisions/0028-the-gatekeeper.md`. It judges no packet and reads no policy. Start with [`Gatekeeper`].

mod pins;

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Array, HashMap, IterableMap as _, MapData, RingBuf};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{Lsm, ProgramError};
use aya::{Ebpf, EbpfLoader};
use gabion_abi::boundary::GATEKEEPER;
use gabion_abi::gate::{Attempt, DIGEST_BYTES, Gate, state};
use gabion_btf::Btf;
use gabion_contracts::{Mismatch, NotEmbedded};
use gabion_gatekeeper_programs::VIEWS;
use gabion_view::bind::{BindError, Bound, PatchError, Place};

pub use pins::let_go;

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// Types of the kernel that runs.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// The security modules that run, in their order.
const SECURITY_MODULES: &str = "/sys/kernel/security/lsm";
/// What is done, and takes.
const LOADING: &str =
    "load programs for security hooks, which takes a kernel with CONFIG_BPF_LSM that was booted with lsm=...,bpf";
/// Programs and their hooks.
const HOOKS: [(&str, &str); 3] = [("gabion_who", "bpf"), ("gabion_what", "bpf_prog"), ("gabion_own", "bpf_map")];

/// Why nobody keeps the gate.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("this binary was built without the programs ({0}); `./x doctor` says what is missing, then build again")]
    NotBuilt(&'static str),
    /// The object says nothing of its records.
    #[error("the gatekeeper does not say what it shares: {0}; build gabion again, all of it from one checkout")]
    NoContract(#[from] NotEmbedded),
    /// The object says something else.
    #[error("the gatekeeper shares something else with us: {0}; build gabion again, all of it from one checkout")]
    Contract(Mismatch),
    /// BPF is not among the security modules that run.
    #[error(
        "BPF is not among the security modules of this kernel ({modules}): boot with lsm={modules},bpf, on a kernel \
         with CONFIG_BPF_LSM"
    )]
    NotAmongModules {
        /// Those that run.
        modules: String,
    },
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Types(#[from] gabion_btf::Error),
    /// A view does not fit the kernel.
    #[error(transparent)]
    View(#[from] BindError),
    /// The object's placeholders cannot be replaced.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// It did not seal: the state that it has instead.
    #[error("the gate is not sealed (state {0}): the hook of `bpf` does not run; boot with lsm=...,bpf")]
    Open(u32),
    /// The kernel refuses something.
    #[error(
        "cannot {step}: {}; `gabion doctor` says whether this kernel has BPF among its security modules",
        chain(&**source)
    )]
    Kernel {
        /// What.
        step: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An error with what is behind it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string);
    // Many say what is behind them themselves.
    behind.fold(error.to_string(), |text, more| if text.contains(&more) { text } else { format!("{text}: {more}") })
}

trait Doing<T> {
    fn doing(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Doing<T> for Result<T, E> {
    fn doing(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|source| Failure::Kernel { step, source: Box::new(source) })
    }
}

/// What the digest of a program is known by.
pub type Digest = [u8; DIGEST_BYTES];

/// What a kernel computes of a program's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Eight bytes of their SHA-1, before Linux 6.18.
    Sha1,
    /// Their SHA-256.
    Sha256,
}

impl Hash {
    fn of(bound: &Bound) -> Self {
        let is_there = |place: &Place| place.field == "digest" && place.offsets.is_some();
        if bound.places().any(is_there) { Self::Sha256 } else { Self::Sha1 }
    }

    /// The digest of a program whose instructions have these hashes.
    #[must_use]
    pub fn digest(self, sha1: &[u8; 20], sha256: &[u8; 32]) -> Digest {
        match self {
            Self::Sha1 => by_tag(u64::from_be_bytes(std::array::from_fn(|at| sha1[at]))),
            Self::Sha256 => *sha256,
        }
    }
}

/// The digest by the tag that the kernel gave a program, as far as kernels before 6.18 know one.
#[must_use]
pub fn by_tag(tag: u64) -> Digest {
    let mut digest = [0; DIGEST_BYTES];
    digest[..8].copy_from_slice(&tag.to_be_bytes());
    digest
}

/// The object as it was built, with placeholders for where the kernel has what it reads.
///
/// # Errors
/// When this was built without it.
pub fn object() -> Result<&'static [u8], Failure> {
    EMBEDDED.map_err(Failure::NotBuilt)
}

/// The object for the kernel whose types these are, and what that kernel computes of programs.
///
/// # Errors
/// [`Failure`] when a view does not fit, or the object is not ours.
pub fn bound(kernel: &Btf) -> Result<(Vec<u8>, Hash), Failure> {
    let object = object()?;
    gabion_contracts::check(&GATEKEEPER, gabion_contracts::embedded(object)?).map_err(Failure::Contract)?;
    let mut object = object.to_vec();
    let bound = Bound::find(kernel, &VIEWS)?;
    bound.patch(&mut object)?;
    Ok((object, Hash::of(&bound)))
}

/// A record as a map holds it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Record(Gate);

// SAFETY: what has a contract is integers only, of which every bit pattern is one, with no padding between.
unsafe impl aya::Pod for Record {}

/// The programs at their hooks. Dropping it opens the gate, unless it is pinned.
pub struct Gatekeeper {
    gate: Array<MapData, Record>,
    allowed: HashMap<MapData, Digest, u8>,
    attempts: RingBuf<MapData>,
    own: [u32; 3],
    hash: Hash,
    links: Links,
    /// Holds the programs.
    _programs: Ebpf,
}

/// What keeps the programs at their hooks.
enum Links {
    /// This process does.
    Held(Vec<FdLink>),
    /// So does a folder of a bpffs.
    Pinned(Vec<PinnedLink>),
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").field("own", &self.own).finish_non_exhaustive()
    }
}

fn missing() -> std::io::Error {
    std::io::Error::other("the object has it not")
}

fn lsm<'p>(programs: &'p mut Ebpf, name: &'static str) -> Result<&'p mut Lsm, Failure> {
    programs.program_mut(name).ok_or_else(missing).doing(name)?.try_into().doing(name)
}

/// The kernel's refusal of a program: what the verifier said of it, if anything.
fn without_log(error: ProgramError) -> std::io::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } if verifier_log.to_string().is_empty() => io_error,
        other => std::io::Error::other(other),
    }
}

/// Whether this kernel runs BPF among its security modules, as far as it shows them.
///
/// # Errors
/// [`Failure::NotAmongModules`].
pub fn among_modules() -> Result<(), Failure> {
    match std::fs::read_to_string(SECURITY_MODULES) {
        Ok(list) if !list.trim().split(',').any(|name| name == "bpf") => {
            Err(Failure::NotAmongModules { modules: list.trim().to_owned() })
        }
        _ => Ok(()),
    }
}

impl Gatekeeper {
    /// Puts the programs at their hooks, beside others that may stand there. Nothing is refused yet. Takes some time:
    /// the kernel's types are read.
    ///
    /// # Errors
    /// [`Failure`], and nothing is left behind.
    pub fn attach() -> Result<Self, Failure> {
        among_modules()?;
        let (object, hash) = bound(&Btf::open(KERNEL_TYPES)?)?;
        let mut programs = EbpfLoader::new().load(&object).doing("load the gatekeeper")?;
        let types = aya::Btf::from_sys_fs().doing("read the kernel's types")?;
        for (name, hook) in HOOKS {
            lsm(&mut programs, name)?.load(hook, &types).map_err(without_log).doing(LOADING)?;
        }
        // Only when all of them are there: one alone would refuse what the others explain.
        let mut links = Vec::new();
        for (name, _) in HOOKS {
            let program = lsm(&mut programs, name)?;
            let link = program.attach().and_then(|link| program.take_link(link)).doing(name)?;
            links.push(link.into());
        }
        let mut own = [0; 3];
        let mut take = |at: usize, name: &'static str| {
            let map = programs.take_map(name).ok_or_else(missing).doing(name)?;
            if let aya::maps::Map::Array(data) | aya::maps::Map::HashMap(data) | aya::maps::Map::RingBuf(data) = &map {
                own[at] = data.info().doing(name)?.id();
            }
            Ok::<_, Failure>(map)
        };
        let gate = take(0, "GATE")?.try_into().doing("take the map of the gate")?;
        let allowed = take(1, "ALLOWED")?.try_into().doing("take the map of digests")?;
        let attempts = take(2, "ATTEMPTS")?.try_into().doing("take the ring of attempts")?;
        Ok(Self { gate, allowed, attempts, own, hash, links: Links::Held(links), _programs: programs })
    }

    /// What the digests are that this kernel computes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Has a folder of a bpffs hold the links as well, so that the gate stays as it is when this process ends without a
    /// word. [`let_go`] opens it then.
    ///
    /// # Errors
    /// [`Failure`]; some may be pinned.
    pub fn pin(&mut self, folder: &Path) -> Result<(), Failure> {
        let Links::Held(links) = &mut self.links else { return Ok(()) };
        let links = std::mem::take(links);
        self.links = Links::Pinned(pins::pin(folder, links)?);
        Ok(())
    }

    /// Opens the gate: the programs leave their hooks.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn open(self) -> Result<(), Failure> {
        match self.links {
            // They go with this process's descriptors.
            Links::Held(_) => Ok(()),
            Links::Pinned(links) => pins::unpin(links),
        }
    }

    /// Lets the agent load a program.
    ///
    /// # Errors
    /// When there is no room: 1,024 digests.
    pub fn allow(&mut self, digest: &Digest) -> Result<(), Failure> {
        self.allowed.insert(digest, 1, 0).doing("allow a program")
    }

    /// Lets it no more. What is loaded stays.
    ///
    /// # Errors
    /// When it was not allowed.
    pub fn forbid(&mut self, digest: &Digest) -> Result<(), Failure> {
        self.allowed.remove(digest).doing("forbid a program")
    }

    /// From now on only this process's executable, from this process's cgroup, loads programs, and only allowed ones.
    /// The kernel itself notes which file and cgroup that is.
    ///
    /// # Errors
    /// [`Failure::Open`] when the hooks do not run.
    pub fn seal(&mut self) -> Result<(), Failure> {
        let gate = Gate { state: state::SEALING, pid: std::process::id(), maps: self.own, ..Gate::default() };
        self.gate.set(0, Record(gate), 0).doing("seal the gate")?;
        match self.gate()?.state {
            // What is decided by it is not to be changed by anybody; to open it, the programs have to go.
            state::SEALED => pins::freeze(self.gate.map().fd().as_fd()).doing("freeze the gate"),
            other => Err(Failure::Open(other)),
        }
    }

    /// What it goes by.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn gate(&self) -> Result<Gate, Failure> {
        self.gate.get(&0, 0).map(|record| record.0).doing("look at the gate")
    }

    /// Attempts that were refused since it was asked last.
    pub fn attempts(&mut self) -> Vec<Attempt> {
        let mut found = Vec::new();
        while let Some(bytes) = self.attempts.next() {
            if bytes.len() == size_of::<Attempt>() {
                // SAFETY: as many bytes as an `Attempt` has, which is integers only: every bit pattern is one.
                found.push(unsafe { bytes.as_ptr().cast::<Attempt>().read_unaligned() });
            }
        }
        found
    }
}
