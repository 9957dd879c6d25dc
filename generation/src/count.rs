//! How long the programs of an object are, before any kernel saw them.

use aya_obj::Object;

use crate::error::{Doing as _, Error};

/// Programs of an object by name, and the instructions that a verifier gets of each: with all functions that it calls.
///
/// # Errors
/// It is no object of kernel programs.
pub fn instructions(elf: &[u8]) -> Result<Vec<(String, usize)>, Error> {
    let mut object = Object::parse(elf).doing("parse the object of kernel programs")?;
    let sections = object.functions.keys().map(|&(section, _)| section).collect();
    object.relocate_calls(&sections).doing("link the programs' functions")?;
    let length =
        |program: &aya_obj::Program| object.functions.get(&program.function_key()).map(|it| it.instructions.len());
    let programs = object.programs.iter().filter_map(|(name, program)| Some((name.clone(), length(program)?)));
    let mut programs: Vec<(String, usize)> = programs.collect();
    programs.sort();
    Ok(programs)
}
