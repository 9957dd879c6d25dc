//! The same questions, answered plainly by somebody else's parser.

use btf_rs::{Btf, BtfType, Member, Struct, Type};
use gabion_btf::{Field, Path, Step};

/// Nothing that a compiler made is deeper.
const DEPTH: u32 = 32;

/// Pointers on the way in bytes, and bits from where the last of them points to.
pub type Place = (Vec<u64>, u64);

/// Where our answer is, whether it is bytes or bits.
pub fn place(field: &Field, big_endian: bool) -> Place {
    let chain = field.chain.iter().copied().map(u64::from).collect();
    let bits = field.bits.map_or(0, |bits| {
        let load = field.size * 8;
        u64::from(if big_endian { load - bits.shift - bits.width } else { bits.shift })
    });
    (chain, u64::from(field.offset) * 8 + bits)
}

/// Every place that a path may lead to from a struct or union of that name.
pub fn places(btf: &Btf, root: &str, path: Path<'_>) -> Vec<Place> {
    for alternative in path.alternatives() {
        let roots = btf.resolve_types_by_name(root).unwrap_or_default();
        let found: Vec<Place> = roots.into_iter().filter_map(|root| walk(btf, root, alternative)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn walk(btf: &Btf, root: Type, path: Path<'_>) -> Option<Place> {
    let (mut here, mut chain, mut bits) = (bare(btf, root)?, Vec::new(), 0);
    for step in path.steps() {
        match step {
            Step::Member(name) => {
                if let Type::Ptr(pointer) = &here {
                    chain.push(bits / 8);
                    bits = 0;
                    here = bare(btf, btf.resolve_chained_type(pointer).ok()?)?;
                }
                let (offset, found) = member(btf, &here, name, DEPTH)?;
                bits += offset;
                here = bare(btf, found)?;
            }
            Step::Element(index) | Step::Range(index, _) => {
                let Type::Array(array) = &here else { return None };
                let element = btf.resolve_chained_type(array).ok()?;
                bits += u64::from(index) * size(btf, &element)? * 8;
                here = bare(btf, element)?;
            }
        }
    }
    // A bit-field as compilers described it before members said it.
    Some((chain, bits))
}

pub fn composite(found: &Type) -> Option<&Struct> {
    match found {
        Type::Struct(found) | Type::Union(found) => Some(found),
        _ => None,
    }
}

fn member(btf: &Btf, within: &Type, name: &str, depth: u32) -> Option<(u64, Type)> {
    let depth = depth.checked_sub(1)?;
    for member in &composite(within)?.members {
        let found = btf.resolve_chained_type(member).ok()?;
        let called = btf.resolve_name(member).ok()?;
        if called == name {
            return Some((u64::from(member.bit_offset()), found));
        }
        if called.is_empty()
            && let Some((offset, found)) = self::member(btf, &bare(btf, found)?, name, depth)
        {
            return Some((u64::from(member.bit_offset()) + offset, found));
        }
    }
    None
}

pub fn bare(btf: &Btf, mut found: Type) -> Option<Type> {
    for _ in 0..DEPTH {
        let inner: &dyn BtfType = match &found {
            Type::Typedef(inner) => inner,
            Type::Volatile(inner) | Type::Const(inner) | Type::Restrict(inner) => inner,
            Type::TypeTag(inner) => inner,
            _ => return Some(found),
        };
        found = btf.resolve_type_by_id(inner.get_type_id()?).ok()?;
    }
    None
}

/// Bytes, where pointers have eight.
pub fn size(btf: &Btf, found: &Type) -> Option<u64> {
    let (mut here, mut times) = (bare(btf, found.clone())?, 1u64);
    for _ in 0..DEPTH {
        let size = match &here {
            Type::Array(array) => {
                times = times.checked_mul(array.len() as u64)?;
                here = bare(btf, btf.resolve_chained_type(array).ok()?)?;
                continue;
            }
            Type::Ptr(_) => 8,
            Type::Int(int) => int.size() as u64,
            Type::Struct(found) | Type::Union(found) => found.size() as u64,
            Type::Enum(found) => found.size() as u64,
            Type::Enum64(found) => found.size() as u64,
            Type::Float(found) => found.size() as u64,
            _ => return None,
        };
        return times.checked_mul(size);
    }
    None
}

/// Bits of a member that is a bit-field.
pub fn width(member: &Member) -> u32 {
    member.bitfield_size().unwrap_or(0)
}
