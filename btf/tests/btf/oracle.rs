//! The same questions, answered plainly by somebody else's parser.

use btf_rs::{Btf, BtfType, Member, Struct, Type};
use gabion_btf::{Field, Path, Step};

/// Nothing that a compiler made is deeper.
const DEPTH: u32 = 32;

/// Pointers on the way in bytes, bits from where the last of them points to, and bytes of what is there; no bytes of a
/// bit-field.
pub type Place = (Vec<u64>, u64, Option<u64>);

/// Where our answer is, whether it is bytes or bits.
pub fn place(field: &Field, big_endian: bool) -> Place {
    let chain = field.chain.iter().copied().map(u64::from).collect();
    let bits = field.bits.map_or(0, |bits| {
        let load = field.size * 8;
        u64::from(if big_endian { load - bits.shift - bits.width } else { bits.shift })
    });
    let size = field.bits.is_none().then_some(u64::from(field.size));
    (chain, u64::from(field.offset) * 8 + bits, size)
}

/// Whether our answer is one of theirs, who do not look at bit-fields.
pub fn is_among(ours: &Place, theirs: &[Place]) -> bool {
    let (chain, bits, size) = ours;
    theirs.iter().any(|theirs| (chain, bits) == (&theirs.0, &theirs.1) && (size.is_none() || *size == theirs.2))
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
    let (mut here, mut chain, mut bits, mut times) = (bare(btf, root)?, Vec::new(), 0, 1);
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
                if let Step::Range(_, behind) = step {
                    times = u64::from(behind - index);
                }
            }
        }
    }
    let size = size(btf, &here).and_then(|size| size.checked_mul(times));
    Some((chain, bits, size))
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
        // It finds no name that begins within another one; no path of these tests asks for such a name.
        let called = btf.resolve_name(member).unwrap_or_else(|_| "within another".to_owned());
        if called == name {
            return Some((u64::from(member.bit_offset()), btf.resolve_chained_type(member).ok()?));
        }
        if called.is_empty()
            && let Ok(found) = btf.resolve_chained_type(member)
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
