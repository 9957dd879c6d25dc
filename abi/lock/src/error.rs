//! Why an object has no lock.

use gabion_contracts::{Malformed, NotEmbedded};

/// What is wrong with an object. It is hostile: whatever it holds ends here or in a lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No ELF file.
    #[error("no sound ELF object: {0}")]
    Elf(#[from] object::Error),
    /// Its types cannot be read.
    #[error(transparent)]
    Btf(#[from] gabion_btf::Error),
    /// It has maps in a section that only types describe, and no types.
    #[error("it has a section {section} and no types (.BTF) that say what is in it; build it with them (clang -g)")]
    NoTypes {
        /// The section.
        section: String,
    },
    /// It shares nothing that could be locked.
    #[error("it has neither maps, nor variables, nor contracts: is it an object of kernel programs, built with -g?")]
    Nothing,
    /// Its contracts cannot be read.
    #[error("its contracts cannot be read: {0}")]
    Contracts(#[from] Malformed),
    /// Its contracts cannot be found.
    #[error(transparent)]
    Embedded(#[from] NotEmbedded),
    /// A name that nobody could have written.
    #[error("{name:?} is no name: it is empty, too long, or has other characters than names have")]
    Name {
        /// Its beginning.
        name: String,
    },
    /// Two things of one name.
    #[error("{within} has two of the name {name}")]
    Twice {
        /// The record, or what else.
        within: String,
        /// The name.
        name: String,
    },
    /// A type that contains itself, or is nested deeper than any compiler does it.
    #[error("{within} contains itself, or types within types more than {limit} deep")]
    Deep {
        /// Where that was noticed.
        within: String,
        /// How deep they may be.
        limit: u32,
    },
    /// There is too much of something.
    #[error("more than {limit} {what}")]
    Many {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Something that has no size where it needs one.
    #[error("{within} is of {found}, which has no size here")]
    NoSize {
        /// The field, map or variable.
        within: String,
        /// Its type.
        found: String,
    },
    /// A field that is not inside of its record.
    #[error("{within} is not inside of its record of {size} bytes")]
    Outside {
        /// The field.
        within: String,
        /// The bytes of the record.
        size: u64,
    },
    /// A definition of a map that says something else than definitions do.
    #[error("map {map}: {what}")]
    Definition {
        /// The map.
        map: String,
        /// What is wrong.
        what: String,
    },
    /// A variable that the section lists and the object does not have.
    #[error("section {section} lists {name}, and no symbol says where it is")]
    NoSymbol {
        /// The section.
        section: String,
        /// The variable.
        name: String,
    },
}

/// Longest name.
const NAME: usize = 256;

/// A name, if it is one: it cannot break a line, nor be taken for something else there.
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | ';' | '[' | ']') || c.is_alphanumeric();
    if (1..=NAME).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name);
    }
    Err(Error::Name { name: name.chars().take(40).collect() })
}
