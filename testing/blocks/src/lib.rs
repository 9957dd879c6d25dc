//! Loads the programs of `programs` and runs them over packets of operations (BPF_PROG_RUN).
//!
//! It says what the kernel answered, and never what is right: the tests do. Start with [`Kernel`].

use std::borrow::BorrowMut as _;

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use gabion_testing_blocks_programs::{Bounds, Classes, FRAME_BYTES, HEADER, Machine, OPS, Op, Rings, Strides};

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// What XDP_PASS is.
const PASS: u32 = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("built without the programs: {0}; see `./x doctor`")]
    NotBuilt(&'static str),
    /// The object is not one.
    #[error("the object cannot be loaded: {0}")]
    Object(#[from] aya::EbpfError),
    /// A program was refused, or did not run.
    #[error("{0}: {1}")]
    Program(&'static str, ProgramError),
    /// A map does not take or give what is asked.
    #[error("{0}: {1}")]
    Map(&'static str, MapError),
    /// The object lacks what this crate knows by name.
    #[error("the object has no {0}")]
    Missing(&'static str),
    /// A program did not find its map or its packet.
    #[error("{0} ended with {1} instead of XDP_PASS")]
    Verdict(&'static str, u32),
}

/// The object as it was built.
///
/// # Errors
/// What was missing when this was built.
pub fn object() -> Result<&'static [u8], Failure> {
    EMBEDDED.map_err(Failure::NotBuilt)
}

/// A machine that a program and a map are there for.
pub trait Hooked: Machine + Copy + 'static {
    /// The program.
    const PROGRAM: &'static str;
    /// The map that holds it.
    const MAP: &'static str;
    /// Number of its operations.
    const OPS: u32;
}

impl Hooked for Bounds {
    const PROGRAM: &'static str = "blocks_bounds";
    const MAP: &'static str = "BOUNDS";
    const OPS: u32 = Self::OPS;
}

impl Hooked for Rings {
    const PROGRAM: &'static str = "blocks_rings";
    const MAP: &'static str = "RINGS";
    const OPS: u32 = Self::OPS;
}

impl Hooked for Classes {
    const PROGRAM: &'static str = "blocks_classes";
    const MAP: &'static str = "CLASSES";
    const OPS: u32 = Self::OPS;
}

impl Hooked for Strides {
    const PROGRAM: &'static str = "blocks_strides";
    const MAP: &'static str = "STRIDES";
    const OPS: u32 = Self::OPS;
}

/// A machine as the value of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Held<M>(M);

// SAFETY: machines are plain integers without padding, as the assertions of their blocks say, and every pattern of
// bytes is one.
unsafe impl<M: Hooked> aya::Pod for Held<M> {}

/// One program with its map, in the kernel.
pub struct Kernel<M> {
    object: Ebpf,
    machine: core::marker::PhantomData<M>,
}

impl<M: Hooked> Kernel<M> {
    /// Loads and verifies it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn load() -> Result<Self, Failure> {
        let mut object = Ebpf::load(object()?)?;
        let program: &mut Xdp =
            object.program_mut(M::PROGRAM).ok_or(Failure::Missing(M::PROGRAM))?.try_into().map_err(failed::<M>)?;
        program.load().map_err(failed::<M>)?;
        Ok(Self { object, machine: core::marker::PhantomData })
    }

    fn program(&self) -> Result<&Xdp, Failure> {
        self.object.program(M::PROGRAM).ok_or(Failure::Missing(M::PROGRAM))?.try_into().map_err(failed::<M>)
    }

    /// How many instructions the verifier walked.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn walked(&self) -> Result<u32, Failure> {
        let info = self.program()?.info().map_err(failed::<M>)?;
        info.verified_instruction_count().ok_or(Failure::Missing("count of verified instructions"))
    }

    fn map(&mut self) -> Result<Array<&mut MapData, Held<M>>, Failure> {
        let map = self.object.map_mut(M::MAP).ok_or(Failure::Missing(M::MAP))?;
        Array::try_from(map).map_err(|error| Failure::Map(M::MAP, error))
    }

    /// Puts a machine in place of what the map holds.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn set(&mut self, machine: &M) -> Result<(), Failure> {
        self.map()?.set(0, Held(*machine), 0).map_err(|error| Failure::Map(M::MAP, error))
    }

    /// What the map holds.
    ///
    /// # Errors
    /// The kernel does not give it.
    pub fn held(&mut self) -> Result<M, Failure> {
        self.map()?.get(&0, 0).map(|held| held.0).map_err(|error| Failure::Map(M::MAP, error))
    }

    /// Has the program do these operations, and gives its answers.
    ///
    /// # Errors
    /// It did not run, or not to its end.
    pub fn run(&self, ops: &[Op; OPS]) -> Result<[u32; OPS], Failure> {
        let mut frame = [0u8; FRAME_BYTES];
        let numbers = ops.iter().flatten().flat_map(|number| number.to_ne_bytes());
        frame[HEADER..].iter_mut().zip(numbers).for_each(|(place, byte)| *place = byte);
        let mut answer = [0u8; FRAME_BYTES];
        let options =
            TestRunOptions { data_in: Some(&frame), data_out: Some(answer.borrow_mut()), ..TestRunOptions::new() };
        let ended = self.program()?.test_run(options).map_err(failed::<M>)?.return_value;
        if ended != PASS {
            return Err(Failure::Verdict(M::PROGRAM, ended));
        }
        let mut answers = [0; OPS];
        let (done, _) = answer[HEADER..].as_chunks::<{ size_of::<Op>() }>();
        for (answer, &[a, b, c, d, ..]) in answers.iter_mut().zip(done) {
            *answer = u32::from_ne_bytes([a, b, c, d]);
        }
        Ok(answers)
    }
}

fn failed<M: Hooked>(error: ProgramError) -> Failure {
    Failure::Program(M::PROGRAM, error)
}
