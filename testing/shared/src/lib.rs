//! Loads the programs of `programs`, opens what they write, and has them write it (BPF_PROG_RUN).
//!
//! It never says what is right: the tests and the benchmark do. Start with [`Kernel`].

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use gabion_abi::contract::{Contract, Memory};
use gabion_contracts::{Malformed, NotEmbedded, Said, embedded};
use gabion_shared::{OpenError, Shared};
use gabion_testing_shared_programs::SAID;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub use gabion_testing_shared_programs as programs;

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// What XDP_PASS is.
const PASS: u32 = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("built without the programs: {0}; see `./x doctor`")]
    NotBuilt(&'static str),
    /// The object is not one, or the kernel refuses it.
    #[error("the object cannot be loaded: {0}")]
    Object(#[from] aya::EbpfError),
    /// A program was refused, or did not run.
    #[error("{0}: {1}")]
    Program(&'static str, ProgramError),
    /// The object lacks what this crate knows by name.
    #[error("the object has no {0}")]
    Missing(&'static str),
    /// It does not say what it shares.
    #[error(transparent)]
    Silent(#[from] NotEmbedded),
    /// What it says cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A map is not what it should be.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A program did not find its maps.
    #[error("{0} ended with {1} instead of XDP_PASS")]
    Verdict(&'static str, u32),
    /// A thread cannot stay on its CPU.
    #[error("cannot stay on CPU {0}: {1}")]
    Cpu(usize, nix::Error),
}

/// The programs that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// By the protocol.
    Sequenced,
    /// Word by word.
    Unguarded,
}

impl Program {
    /// Its name in the object.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequenced => "shared_sequenced",
            Self::Unguarded => "shared_unguarded",
        }
    }
}

/// The programs and their maps, in the kernel.
pub struct Kernel {
    object: Ebpf,
    said: Said<'static>,
}

impl Kernel {
    /// Loads and verifies them.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn load() -> Result<Self, Failure> {
        let elf = object()?;
        let said = Said::of(&SAID, embedded(elf)?)?;
        let mut object = Ebpf::load(elf)?;
        for name in [Program::Sequenced, Program::Unguarded].map(Program::name) {
            let failed = |error| Failure::Program(name, error);
            let program: &mut Xdp =
                object.program_mut(name).ok_or(Failure::Missing(name))?.try_into().map_err(failed)?;
            program.load().map_err(failed)?;
        }
        Ok(Self { object, said })
    }

    /// A map.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn map(&self, name: &'static str) -> Result<&MapData, Failure> {
        match self.object.map(name) {
            Some(Map::Array(map)) => Ok(map),
            _ => Err(Failure::Missing(name)),
        }
    }

    /// Shares one.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn open<T: Contract + Copy>(&self, memory: &Memory<T>) -> Result<Shared<T>, Failure> {
        Ok(Shared::open(self.map(memory.name())?, memory, &self.said)?)
    }

    fn program(&self, name: &'static str) -> Result<&Xdp, Failure> {
        let program = self.object.program(name).ok_or(Failure::Missing(name))?;
        program.try_into().map_err(|error| Failure::Program(name, error))
    }

    /// How many instructions the verifier walked.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn walked(&self, program: Program) -> Result<u32, Failure> {
        let info = self.program(program.name())?.info().map_err(|error| Failure::Program(program.name(), error))?;
        info.verified_instruction_count().ok_or(Failure::Missing("count of verified instructions"))
    }

    /// Has a program write so many stamps; how many nanoseconds one took, as the kernel measured it.
    ///
    /// # Errors
    /// It did not run, or not to its end.
    pub fn run(&self, program: Program, times: u32) -> Result<u128, Failure> {
        let name = program.name();
        let frame = [0u8; 64];
        let options = TestRunOptions { data_in: Some(&frame), repeat: times, ..TestRunOptions::new() };
        let ran = self.program(name)?.test_run(options).map_err(|error| Failure::Program(name, error))?;
        if ran.return_value == PASS {
            Ok(ran.duration.as_nanos())
        } else {
            Err(Failure::Verdict(name, ran.return_value))
        }
    }
}

/// The object as it was built.
///
/// # Errors
/// What was missing when this was built.
pub fn object() -> Result<&'static [u8], Failure> {
    EMBEDDED.map_err(Failure::NotBuilt)
}

/// Keeps this thread on one CPU.
///
/// # Errors
/// The kernel does not let it.
pub fn stay_on(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    let failed = |error| Failure::Cpu(cpu, error);
    set.set(cpu).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(failed)
}
