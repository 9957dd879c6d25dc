//! What the kernel makes of the programs for one policy: loaded, asked about, and let go again. Nothing is attached or
//! pinned, and the maps go with the descriptors.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use aya_obj::generated::{bpf_cmd, bpf_prog_info};
use gabion_kernel_object::{EGRESS, INGRESS, map};
use gabion_policy_compile::Compiled;

use crate::error::{Doing, Error};
use crate::limits::{self, Sizes};
use crate::object::{Loading, Programs, Wanted, bpf, zeroed};
use crate::staged::specialised;
use crate::state;

/// Bytes of an instruction.
const INSTRUCTION_BYTES: usize = 8;
/// Functions that are asked about; a program of the object has a dozen.
const FUNCTIONS_LIMIT: usize = 256;

/// What became of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name.
    pub name: &'static str,
    /// Instructions in the object, with all functions that it calls.
    pub object_instructions: usize,
    /// Instructions after the verifier removed what the policy does not use, and rewrote what is left.
    pub instructions: usize,
    /// Bytes of these.
    pub translated_bytes: usize,
    /// Bytes of machine code; 0 where the kernel compiles none.
    pub jited_bytes: usize,
    /// Instructions that the verifier walked.
    pub verified: u32,
    /// How long the kernel took to verify, rewrite and compile it: the median of a few loads.
    pub load_time: Duration,
    /// Its functions.
    pub functions: Vec<FunctionStats>,
}

/// What became of one function of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionStats {
    /// Its name in the object.
    pub name: String,
    /// Instructions in the object.
    pub object_instructions: usize,
    /// Instructions after the verifier; 0 when nothing calls it any more.
    pub instructions: usize,
}

impl Programs {
    /// Loads the programs for a policy `loads` times, and says what the kernel made of them, ingress first.
    ///
    /// # Errors
    /// When the policy does not fit, or the kernel refuses.
    pub fn measure(&self, compiled: &Compiled, loads: usize) -> Result<[ProgramStats; 2], Error> {
        let needs = limits::check(compiled, 0)?;
        // Of the least size: what is verified is the same.
        let sizes = Sizes { established: 1, datagrams: 1, opening: 1, fragments: 1, events_bytes: 1 << 16 };
        let mut state = Vec::new();
        for name in map::STATE {
            state.push((name, Wanted::Made(state::size(name, &sizes)?)));
        }
        let loading = specialised(self, compiled, &needs, state)?;
        Ok([measure(&loading, INGRESS, loads)?, measure(&loading, EGRESS, loads)?])
    }
}

fn measure(loading: &Loading, name: &'static str, loads: usize) -> Result<ProgramStats, Error> {
    let mut times = Vec::new();
    let mut start = Instant::now();
    let mut program = loading.load_one(name)?;
    times.push(start.elapsed());
    for _ in 1..loads {
        start = Instant::now();
        program = loading.load_one(name)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();

    let mut functions = [[0u32; 2]; FUNCTIONS_LIMIT];
    let info = ask(program.as_fd(), &mut functions).doing("ask about a program")?;
    let instructions = info.xlated_prog_len as usize / INSTRUCTION_BYTES;
    let there = functions.get(..info.nr_func_info as usize).unwrap_or(&functions);
    let ends = there.iter().skip(1).map(|next| next[0] as usize).chain([instructions]);
    let lengths: HashMap<u32, usize> =
        there.iter().zip(ends).map(|(&[start, id], end)| (id, end.saturating_sub(start as usize))).collect();
    let functions: Vec<FunctionStats> = loading
        .functions(name)?
        .into_iter()
        .map(|(name, id, object_instructions)| {
            let instructions = lengths.get(&id).copied().unwrap_or(0);
            FunctionStats { name, object_instructions, instructions }
        })
        .collect();
    Ok(ProgramStats {
        name,
        object_instructions: functions.iter().map(|function| function.object_instructions).sum(),
        instructions,
        translated_bytes: info.xlated_prog_len as usize,
        jited_bytes: info.jited_prog_len as usize,
        verified: info.verified_insns,
        load_time: times[times.len() / 2],
        functions,
    })
}

/// What the kernel says of a program, and where its functions begin: offset and type of each.
pub(crate) fn ask(program: BorrowedFd<'_>, functions: &mut [[u32; 2]]) -> std::io::Result<bpf_prog_info> {
    // SAFETY: a struct of integers: all zeroes is one of its values.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.func_info = functions.as_mut_ptr() as u64;
    info.nr_func_info = functions.len() as u32;
    info.func_info_rec_size = size_of::<[u32; 2]>() as u32;
    let mut attr = zeroed();
    attr.info.bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    // SAFETY: `info` is alive and as large as we say, and so are the records that it points to.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}
