//! What a map has to be before its memory is taken for records.

use aya::maps::{MapData, MapError, MapType};
use gabion_contracts::Difference;

/// `BPF_F_MMAPABLE`: its memory can be shared.
const MMAPABLE: u32 = 1 << 10;

/// Why a map was not opened. Each names the map, and what was found instead of what.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The other side says that something else lies there.
    #[error("map {map}: {difference}")]
    Contract {
        /// The map.
        map: &'static str,
        /// The field, what is wanted and what was found.
        difference: Box<Difference>,
    },
    /// It is not memory of whole records.
    #[error("map {map}: {field}: expected {wanted}, found {found}")]
    Form {
        /// The map.
        map: &'static str,
        /// What is wrong about it.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// The kernel refused.
    #[error("map {map}: cannot {doing}: {source}")]
    Kernel {
        /// The map.
        map: &'static str,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Bytes of a map's only element, if it is whole records of `record` bytes in memory that can be shared.
pub(crate) fn formed(map: &MapData, name: &'static str, record: usize) -> Result<usize, OpenError> {
    let asked = |error: MapError| OpenError::Kernel { map: name, doing: "ask about it", source: Box::new(error) };
    let info = map.info().map_err(asked)?;
    let bytes = info.value_size() as usize;
    let kind = info.map_type().map_err(asked)?;
    let wrong = |field, found: String, wanted: &str| {
        Err(OpenError::Form { map: name, field, found, wanted: wanted.to_owned() })
    };
    if kind != MapType::Array {
        return wrong("type", format!("{kind:?}"), "Array");
    }
    if info.max_entries() != 1 {
        return wrong("elements", info.max_entries().to_string(), "1");
    }
    if info.map_flags() & MMAPABLE == 0 {
        return wrong("flags", format!("{:#x}", info.map_flags()), "BPF_F_MMAPABLE (0x400)");
    }
    if bytes == 0 || !bytes.is_multiple_of(record) {
        return wrong("size", format!("{bytes} bytes"), &format!("a multiple of {record} bytes, those of a record"));
    }
    Ok(bytes)
}
