//! What a path led to, as a program reads it: how large, of what kind, in which bits.

use super::{DEPTH, Here, Search, Trace, WORK, bytes};
use crate::error::{Defect, Problem};
use crate::field::{Bits, Field, Shape};
use crate::record::{Kind, Type};

impl<'b, T: Trace> Search<'b, '_, T> {
    /// Bytes of a type, below 2^32.
    pub(super) fn size(&mut self, found: Type<'b>) -> Result<u64, Defect> {
        let (mut here, mut times) = (self.bare(found)?, 1u64);
        for _ in 0..DEPTH {
            let size = match here.kind() {
                Kind::Ptr => self.btf.pointer_size(),
                Kind::Array => {
                    times = times.saturating_mul(u64::from(here.elements().unwrap_or(0)));
                    here = self.bare(self.btf.at(here.target().unwrap_or(0))?)?;
                    continue;
                }
                Kind::Datasec => return Err(Defect::NoSize { id: here.id(), kind: here.kind() }),
                kind => here.size().ok_or(Defect::NoSize { id: here.id(), kind })?,
            };
            let size = times.saturating_mul(u64::from(size));
            return if u32::try_from(size).is_ok() { Ok(size) } else { Err(Defect::TooLong { id: found.id() }) };
        }
        Err(Defect::TooDeep { id: found.id(), limit: DEPTH })
    }

    /// What was reached, as a program reads it.
    pub(super) fn field(&mut self, chain: Vec<u32>, here: Here<'b>) -> Result<Field, Problem> {
        let type_id = here.found.id();
        let bare = self.bare(here.found)?;
        if bare.kind() == Kind::Fwd {
            return Err(self.incomplete(bare));
        }
        // Of an array, what its elements are.
        let (mut element, mut elements) = (bare, None::<u32>);
        for _ in 0..DEPTH {
            let (Some(length), Some(target)) = (element.elements(), element.target()) else { break };
            elements = Some(elements.unwrap_or(1).saturating_mul(length));
            element = self.bare(self.btf.at(target)?)?;
        }
        let size = u32::try_from(self.size(bare)?).map_err(|_| Defect::TooLong { id: type_id })?;
        let shape = shape(element, self.btf.pointer_size())?;
        // A bit-field is not longer than its type, and no element of an array.
        let odd = match element.int() {
            // Of integers and enums only: no other member was let through.
            _ if here.width != 0 => here.width > size * 8,
            Some(int) => (here.element || elements.is_some()) && int.bits != element.size().unwrap_or(0) * 8,
            None => false,
        };
        if odd {
            let bits = if here.width == 0 { element.int().map_or(0, |int| int.bits) } else { here.width };
            return Err(Defect::Width { id: type_id, kind: element.kind(), size, bits }.into());
        }
        let align = self.align(element, DEPTH)?;
        let mut field = Field { chain, offset: 0, size, align, shape, elements, bits: None, type_id };
        match (bits_of(here, bare, size), elements) {
            (Some((first, width)), None) => self.load(&mut field, first, width)?,
            _ => field.offset = bytes(here, type_id)?,
        }
        Ok(field)
    }

    /// The smallest aligned load of 1, 2, 4 or 8 bytes, not smaller than the declared type, that has all bits of the
    /// field.
    fn load(&self, field: &mut Field, first: u64, width: u32) -> Result<(), Problem> {
        let wide = || Problem::WideBits { place: self.place(), offset: first as u32, width };
        let mut size = field.size;
        loop {
            if size > 8 {
                return Err(wide());
            }
            let start = first / 8 / u64::from(size) * u64::from(size);
            let within = first - start * 8;
            let rest = (u64::from(size) * 8).checked_sub(within + u64::from(width));
            let Some(rest) = rest else {
                size *= 2;
                continue;
            };
            field.offset = u32::try_from(start).map_err(|_| wide())?;
            field.size = size;
            // Bits are counted from the first byte's lowest on, or, in the other byte order, from its highest. Both
            // are below 64.
            let shift = if self.btf.is_big_endian() { rest } else { within } as u32;
            field.bits = Some(Bits { shift, width });
            return Ok(());
        }
    }

    /// What a compiler aligns a type to that nobody packs: BTF does not say it.
    fn align(&mut self, found: Type<'b>, depth: u32) -> Result<u32, Defect> {
        let depth = depth.checked_sub(1).ok_or(Defect::TooDeep { id: found.id(), limit: DEPTH })?;
        let found = self.bare(found)?;
        let mut align = match found.kind() {
            Kind::Array => return self.align(self.btf.at(found.target().unwrap_or(0))?, depth),
            Kind::Ptr => return Ok(self.btf.pointer_size()),
            kind if kind.is_composite() => 1,
            _ => return Ok(found.size().unwrap_or(1).clamp(1, 16)),
        };
        for member in found.members() {
            self.work = self.work.checked_sub(1).ok_or(Defect::TooMuch { limit: WORK })?;
            align = align.max(self.align(self.btf.at(member.type_id)?, depth)?);
        }
        Ok(align)
    }
}

/// First bit and width, of what is not whole bytes of its own.
fn bits_of(here: Here<'_>, bare: Type<'_>, size: u32) -> Option<(u64, u32)> {
    let (first, width) = match (here.width, bare.int()) {
        (0, Some(int)) if (int.offset, int.bits) != (0, size * 8) => (here.bits + u64::from(int.offset), int.bits),
        (0, _) => return None,
        (width, _) => (here.bits, width),
    };
    (!first.is_multiple_of(8) || width != size * 8).then_some((first, width))
}

fn shape(found: Type<'_>, pointer: u32) -> Result<Shape, Defect> {
    let (id, kind) = (found.id(), found.kind());
    let size = found.size().unwrap_or(pointer);
    let (sizes, bits): (&[u32], u32) = match kind {
        Kind::Int => {
            (&[1, 2, 4, 8, 16], found.int().map_or(0, |int| if int.bits == 0 { 0 } else { int.offset + int.bits }))
        }
        Kind::Enum | Kind::Enum64 => (&[1, 2, 4, 8], 1),
        Kind::Float => (&[2, 4, 8, 12, 16], 1),
        Kind::Ptr => return Ok(Shape::Pointer),
        Kind::Struct => return Ok(Shape::Struct),
        Kind::Union => return Ok(Shape::Union),
        _ => return Err(Defect::NoSize { id, kind }),
    };
    if !sizes.contains(&size) || bits == 0 || bits > size * 8 {
        return Err(Defect::Width { id, kind, size, bits });
    }
    Ok(match (kind, found.int()) {
        (_, Some(int)) if int.boolean => Shape::Boolean,
        (_, Some(int)) => Shape::Integer { signed: int.signed },
        (Kind::Float, _) => Shape::Float,
        _ => Shape::Enum { signed: found.flag() },
    })
}
