//! What an object says of itself.

use gabion_abi::contract::SECTION;
use object::{Object as _, ObjectSection as _};

/// An object says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEmbedded {
    /// It is no ELF file.
    #[error("no ELF object: {reason}")]
    NotElf {
        /// Why.
        reason: String,
    },
    /// It has no such section.
    #[error("the object has no section {SECTION}: it was built by a version without contracts, or by others")]
    NoSection,
}

/// The text in the section of an object.
///
/// # Errors
/// When there is none.
pub fn embedded(elf: &[u8]) -> Result<&[u8], NotEmbedded> {
    let not_elf = |error: object::Error| NotEmbedded::NotElf { reason: error.to_string() };
    let file = object::File::parse(elf).map_err(not_elf)?;
    let section = file.section_by_name(SECTION).ok_or(NotEmbedded::NoSection)?;
    section.data().map_err(not_elf)
}
