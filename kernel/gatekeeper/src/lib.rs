//! Who may load BPF programs, and which.
//!
//! Once it is sealed, only the program that sealed it loads BPF programs, from its cgroup, and only those whose digest
//! is allowed; who else tries is refused with an [`Attempt`]. Why it goes by these, and how strong that is:
//! `docs/decisions/0028-the-gatekeeper.md`. It judges no packet and reads no policy. Start with [`Gatekeeper`].

use aya::maps::{Array, HashMap, MapData, RingBuf};
use aya::programs::Lsm;
use aya::{Ebpf, EbpfLoader};
use gabion_abi::gate::{Attempt, DIGEST_BYTES, Gate, state};
use gabion_btf::Btf;
use gabion_gatekeeper_programs::VIEWS;
use gabion_view::bind::{BindError, Bound, PatchError};

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// Types of the kernel that runs.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// Programs and their hooks.
const HOOKS: [(&str, &str); 3] = [("gabion_who", "bpf"), ("gabion_what", "bpf_prog"), ("gabion_own", "bpf_map")];

/// Why nobody keeps the gate.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("this binary was built without the programs ({0}); `./x doctor` says what is missing, then build again")]
    NotBuilt(&'static str),
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
    #[error("cannot {step}: {source}; `gabion doctor` says whether this kernel has BPF among its security modules")]
    Kernel {
        /// What.
        step: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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

/// The digest by the tag that the kernel gave a program, as far as kernels before 6.18 know one.
#[must_use]
pub fn by_tag(tag: u64) -> Digest {
    let mut digest = [0; DIGEST_BYTES];
    digest[..8].copy_from_slice(&tag.to_be_bytes());
    digest
}

/// A record as a map holds it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Record(Gate);

// SAFETY: what has a contract is integers only, of which every bit pattern is one, with no padding between.
unsafe impl aya::Pod for Record {}

/// The programs at their hooks. Dropping it opens the gate.
pub struct Gatekeeper {
    gate: Array<MapData, Record>,
    allowed: HashMap<MapData, Digest, u8>,
    attempts: RingBuf<MapData>,
    own: [u32; 3],
    /// Holds the programs and their links.
    _programs: Ebpf,
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Gatekeeper {
    /// Puts the programs at their hooks, beside others that may stand there. Nothing is refused yet.
    ///
    /// # Errors
    /// [`Failure`], and nothing is left behind.
    pub fn attach() -> Result<Self, Failure> {
        let mut object = EMBEDDED.map_err(Failure::NotBuilt)?.to_vec();
        Bound::find(&Btf::open(KERNEL_TYPES)?, &VIEWS)?.patch(&mut object)?;
        let mut programs = EbpfLoader::new().load(&object).doing("load the gatekeeper")?;
        let types = aya::Btf::from_sys_fs().doing("read the kernel's types")?;
        for (name, hook) in HOOKS {
            let missing = || std::io::Error::other("the object has it not");
            let program = programs.program_mut(name).ok_or_else(missing).doing(name)?;
            let program: &mut Lsm = program.try_into().doing(name)?;
            program.load(hook, &types).doing(name)?;
        }
        // Only when all of them are there: one alone would refuse what the others explain.
        for (name, _) in HOOKS {
            let missing = || std::io::Error::other("the object has it not");
            let program: &mut Lsm =
                programs.program_mut(name).ok_or_else(missing).doing(name)?.try_into().doing(name)?;
            program.attach().doing(name)?;
        }
        let mut own = [0; 3];
        let mut take = |at: usize, name: &'static str| {
            let map =
                programs.take_map(name).ok_or_else(|| std::io::Error::other("the object has it not")).doing(name)?;
            if let aya::maps::Map::Array(data) | aya::maps::Map::HashMap(data) | aya::maps::Map::RingBuf(data) = &map {
                own[at] = data.info().doing(name)?.id();
            }
            Ok::<_, Failure>(map)
        };
        let gate = take(0, "GATE")?.try_into().doing("take the map of the gate")?;
        let allowed = take(1, "ALLOWED")?.try_into().doing("take the map of digests")?;
        let attempts = take(2, "ATTEMPTS")?.try_into().doing("take the ring of attempts")?;
        Ok(Self { gate, allowed, attempts, own, _programs: programs })
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
            state::SEALED => Ok(()),
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
