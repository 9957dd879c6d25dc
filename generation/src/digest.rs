//! Digests of programs as the kernel computes them, of an object that was not loaded.
//!
//! The kernel hashes the instructions that it is given, before it rewrites any: descriptors of maps, and what they say
//! of a place in one, count as zero (`bpf_prog_calc_tag`). Before Linux 6.18 it keeps eight bytes of the SHA-1 (the
//! *tag*), since then the SHA-256. Constants of a policy are in maps, so that an object has the same digests with each.

use std::collections::HashSet;

use aya_obj::generated::bpf_insn;
use aya_obj::{Map, Object};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::{Doing, Error};

/// `BPF_LD | BPF_IMM | BPF_DW`: a constant of 64 bits, in two instructions.
const LOAD_CONSTANT: u8 = 0x18;
/// Sources of such a constant that are maps: `BPF_PSEUDO_MAP_FD`, `BPF_PSEUDO_MAP_VALUE`.
const MAPS: [u8; 2] = [1, 2];
/// Stands for the descriptor of any map, which counts as zero.
const SOME_MAP: i32 = 0;

/// What the kernel makes of a program's instructions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramDigest {
    /// Name of the program in its object.
    pub name: String,
    /// SHA-1, of which kernels before 6.18 keep the first eight bytes.
    pub sha1: [u8; 20],
    /// SHA-256, which later ones keep.
    pub sha256: [u8; 32],
}

impl ProgramDigest {
    /// Of these instructions, with zeros for what says which map.
    #[must_use]
    pub fn of(name: &str, instructions: &[u8]) -> Self {
        let (sha1, sha256) = (Sha1::digest(instructions).into(), Sha256::digest(instructions).into());
        Self { name: name.to_owned(), sha1, sha256 }
    }
}

/// Digests of all programs of an object, in the order of their names. Placeholders in it must have been replaced.
///
/// # Errors
/// It is no object that can be loaded.
pub fn digests(elf: &[u8]) -> Result<Vec<ProgramDigest>, Error> {
    let mut object = Object::parse(elf).doing("parse an object of kernel programs")?;
    let maps: Vec<(String, Map)> = object.maps.iter().map(|(name, map)| (name.clone(), map.clone())).collect();
    let sections: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
    object
        .relocate_maps(maps.iter().map(|(name, map)| (name.as_str(), SOME_MAP, map)), &sections)
        .doing("point programs to their maps")?;
    object.relocate_calls(&sections).doing("link the programs' functions")?;
    let of = |(name, program): (&String, &aya_obj::Program)| {
        let missing = || Error::Object { what: "function of a program" };
        let function = object.functions.get(&program.function_key()).ok_or_else(missing)?;
        Ok(ProgramDigest::of(name, &hashed(&function.instructions)))
    };
    let mut digests: Vec<ProgramDigest> = object.programs.iter().map(of).collect::<Result<_, Error>>()?;
    digests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(digests)
}

/// The bytes of instructions that the kernel hashes.
fn hashed(instructions: &[bpf_insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(instructions));
    let mut second = false;
    for instruction in instructions {
        let (code, from, to) = (instruction.code, instruction.src_reg(), instruction.dst_reg());
        let is_first = !second && code == LOAD_CONSTANT && MAPS.contains(&from);
        let is_second = second && (code, from, to, instruction.off) == (0, 0, 0, 0);
        let value = if is_first || is_second { 0 } else { instruction.imm };
        second = is_first;
        // Two registers share a byte, in the order in which C puts bit-fields.
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        bytes.extend([code, registers]);
        bytes.extend(instruction.off.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn instruction(code: u8, from: u8, value: i32) -> bpf_insn {
        // SAFETY: a struct of integers: all zeroes is one of its values.
        let mut instruction: bpf_insn = unsafe { std::mem::zeroed() };
        instruction.code = code;
        instruction.set_src_reg(from);
        instruction.imm = value;
        instruction
    }

    #[test]
    fn what_says_which_map_counts_as_zero_and_other_constants_count() {
        let with = |from, first, second| hashed(&[instruction(LOAD_CONSTANT, from, first), instruction(0, 0, second)]);
        for from in MAPS {
            assert_eq!(with(from, 7, 8), with(from, 0, 0));
        }
        assert_ne!(with(0, 7, 8), with(0, 0, 8), "a plain constant");
        assert_ne!(with(0, 7, 8), with(0, 7, 0));
        assert_ne!(with(3, 7, 0), with(3, 8, 0), "a type of the kernel (BPF_PSEUDO_BTF_ID)");
    }

    #[test]
    fn an_object_that_is_none_is_refused() {
        assert!(digests(b"\x7fELF").is_err());
    }
}
