//! Contenders in Rust.

use btf_rs::{Backend, BtfType, Type};
use gabion_btf::{Btf, Bytes, Path, Step};

use crate::fields::FIELDS;
use crate::{Clock, Places, VMLINUX};

pub fn ours(clock: &mut Clock) -> Result<Places, String> {
    let btf = Btf::open(VMLINUX).map_err(|error| error.to_string())?;
    clock.opened();
    answers(&btf)
}

/// The kernel lets its types be mapped from 6.16 on.
pub fn ours_mapped(clock: &mut Clock) -> Result<Places, String> {
    let file = std::fs::File::open(VMLINUX).map_err(|error| error.to_string())?;
    // SAFETY: what is mapped must not change. This is read-only data of the running kernel, which nobody writes or
    // shortens.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) };
    let map = map.map_err(|error| format!("this kernel does not let its types be mapped: {error}"))?;
    let btf = Btf::parse(Bytes::kept_by(map)).map_err(|error| error.to_string())?;
    clock.opened();
    answers(&btf)
}

fn answers(btf: &Btf) -> Result<Places, String> {
    let fields = FIELDS.iter().map(|(root, text)| {
        let field = btf.resolve(root, Path::parse(text).expect("a path")).map_err(|error| error.to_string())?;
        let bits = u64::from(field.offset) * 8 + field.bits.map_or(0, |bits| u64::from(bits.shift));
        Ok((field.chain.into_iter().map(u64::from).collect(), bits))
    });
    fields.collect()
}

pub fn read_alone(clock: &mut Clock) -> Result<Places, String> {
    std::hint::black_box(std::fs::read(VMLINUX).map_err(|error| error.to_string())?);
    clock.opened();
    Ok(Vec::new())
}

pub fn btf_rs_cached(clock: &mut Clock) -> Result<Places, String> {
    btf_rs(Backend::Cache, clock)
}

pub fn btf_rs_mapped(clock: &mut Clock) -> Result<Places, String> {
    btf_rs(Backend::Mmap, clock)
}

fn btf_rs(backend: Backend, clock: &mut Clock) -> Result<Places, String> {
    let btf = btf_rs::Btf::from_file_with_backend(VMLINUX, backend).map_err(|error| error.to_string())?;
    clock.opened();
    FIELDS.iter().map(|(root, text)| place(&btf, root, text).ok_or(format!("btf-rs has no {root}.{text}"))).collect()
}

fn place(btf: &btf_rs::Btf, root: &str, text: &str) -> Option<(Vec<u64>, u64)> {
    let root = btf.resolve_types_by_name(root).ok()?.into_iter().find(|found| matches!(found, Type::Struct(_)))?;
    Path::parse(text).ok()?.alternatives().find_map(|path| walk(btf, root.clone(), path))
}

fn walk(btf: &btf_rs::Btf, root: Type, path: Path<'_>) -> Option<(Vec<u64>, u64)> {
    let (mut here, mut chain, mut bits) = (root, Vec::new(), 0);
    for step in path.steps() {
        match step {
            Step::Member(name) => {
                if let Type::Ptr(pointer) = &here {
                    chain.push(bits / 8);
                    bits = 0;
                    here = bare(btf, btf.resolve_chained_type(pointer).ok()?)?;
                }
                let (offset, found) = member(btf, &here, name)?;
                bits += offset;
                here = found;
            }
            Step::Element(index) | Step::Range(index, _) => {
                let Type::Array(array) = &here else { return None };
                here = bare(btf, btf.resolve_chained_type(array).ok()?)?;
                bits += u64::from(index) * size(&here)? * 8;
            }
        }
    }
    Some((chain, bits))
}

fn member(btf: &btf_rs::Btf, within: &Type, name: &str) -> Option<(u64, Type)> {
    let (Type::Struct(within) | Type::Union(within)) = within else { return None };
    for member in &within.members {
        let called = btf.resolve_name(member).ok()?;
        let offset = u64::from(member.bit_offset());
        if called == name {
            return Some((offset, bare(btf, btf.resolve_chained_type(member).ok()?)?));
        }
        if called.is_empty()
            && let Some((below, found)) = self::member(btf, &btf.resolve_chained_type(member).ok()?, name)
        {
            return Some((offset + below, found));
        }
    }
    None
}

fn bare(btf: &btf_rs::Btf, mut found: Type) -> Option<Type> {
    loop {
        let inner: &dyn BtfType = match &found {
            Type::Typedef(inner) => inner,
            Type::Volatile(inner) | Type::Const(inner) | Type::Restrict(inner) => inner,
            Type::TypeTag(inner) => inner,
            _ => return Some(found),
        };
        found = btf.resolve_chained_type(inner).ok()?;
    }
}

/// Of what elements of the asked arrays are.
fn size(found: &Type) -> Option<u64> {
    match found {
        Type::Int(int) => Some(int.size() as u64),
        Type::Struct(found) => Some(found.size() as u64),
        Type::Ptr(_) => Some(8),
        _ => None,
    }
}
