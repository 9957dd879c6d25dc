//! The kernel programs of the bench, loaded.

use std::borrow::BorrowMut;

use aya::maps::{Array, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use crate::Failure;

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// The object, with maps of these sizes.
pub fn load(sizes: &[(&'static str, u32)]) -> Result<Ebpf, Failure> {
    let object =
        EMBEDDED.map_err(|reason| format!("built without the bench's kernel programs: {reason}; see `./x doctor`"))?;
    let mut loader = EbpfLoader::new();
    for &(map, entries) in sizes {
        loader.map_max_entries(map, entries);
    }
    Ok(loader.load(object)?)
}

/// One of its programs, verified.
pub fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp, Failure> {
    let program: &mut Xdp = object.program_mut(name).ok_or_else(|| format!("no program {name}"))?.try_into()?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

/// One of its maps, to keep.
pub fn map(object: &mut Ebpf, name: &str) -> Result<aya::maps::Map, Failure> {
    object.take_map(name).ok_or_else(|| format!("no map {name}").into())
}

/// Writes records from the first element on.
pub fn fill<T: BorrowMut<MapData>, const N: usize>(
    map: &mut Array<T, [u8; N]>,
    records: impl Iterator<Item = [u8; N]>,
) -> Result<(), Failure> {
    for (index, record) in (0..).zip(records) {
        map.set(index, record, 0)?;
    }
    Ok(())
}
