//! Reading in the kernel. Every placeholder here is one instruction, and becomes a constant before the verifier sees
//! it.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use crate::{Value, site};

/// Leaves an instruction with a placeholder, and a record of it.
macro_rules! placeholder {
    ($instruction:literal, $what:expr, $hop:expr, $($register:tt)*) => {
        // SAFETY: one instruction on registers, with a constant. The record is data in a section that is not loaded.
        unsafe {
            asm!(
                $instruction,
                ".pushsection .gabion.views,\"\",@progbits",
                ".quad 2b",
                ".quad {field}",
                ".long {what}",
                ".long {hop}",
                ".popsection",
                field = const FIELD,
                what = const $what,
                hop = const $hop,
                $($register)*,
                options(pure, nomem, nostack, preserves_flags)
            )
        }
    };
}

/// The address of a field, or of the pointer that leads to it.
#[inline(always)]
#[must_use]
pub fn offset<const FIELD: u64, const HOP: u32>(base: u64) -> u64 {
    let mut address = base;
    placeholder!("2: {r} += 0x7a110000", site::OFFSET, HOP, r = inout(reg) address);
    address
}

/// Whether the kernel has a field.
#[inline(always)]
#[must_use]
pub fn exists<const FIELD: u64>() -> bool {
    let exists: u64;
    placeholder!("2: {r} = 0x7a110000", site::EXISTS, 0u32, r = out(reg) exists);
    exists != 0
}

#[inline(always)]
fn size<const FIELD: u64>() -> u64 {
    let size: u64;
    placeholder!("2: {r} = 0x7a110000", site::SIZE, 0u32, r = out(reg) size);
    size
}

#[inline(always)]
fn left<const FIELD: u64>() -> u64 {
    let bits: u64;
    placeholder!("2: {r} = 0x7a110000", site::LEFT, 0u32, r = out(reg) bits);
    bits
}

#[inline(always)]
fn right<const FIELD: u64>() -> u64 {
    let bits: u64;
    placeholder!("2: {r} = 0x7a110000", site::RIGHT, 0u32, r = out(reg) bits);
    bits
}

#[inline(always)]
fn copy<T>(to: &mut T, bytes: u32, from: u64) -> Option<()> {
    // SAFETY: the helper writes so many bytes to `to`, which has them, and refuses what it cannot read.
    let status = unsafe { bpf_probe_read_kernel(core::ptr::from_mut(to).cast(), bytes, from as *const _) };
    (status == 0).then_some(())
}

/// Follows the pointer number `HOP` on the way to a field.
#[inline(always)]
#[must_use]
pub fn follow<const FIELD: u64, const HOP: u32>(base: u64) -> Option<u64> {
    let mut pointer = 0u64;
    copy(&mut pointer, 8, offset::<FIELD, HOP>(base))?;
    Some(pointer)
}

/// Reads a field that is `HOP` pointers away.
#[inline(always)]
#[must_use]
pub fn value<T: Value, const FIELD: u64, const HOP: u32>(base: u64) -> Option<T> {
    let mut value = T::ZERO;
    copy(&mut value, size_of::<T>() as u32, offset::<FIELD, HOP>(base))?;
    Some(value)
}

/// Reads a bit-field that is `HOP` pointers away.
#[inline(always)]
#[must_use]
pub fn bits<T: Value, const FIELD: u64, const HOP: u32>(base: u64) -> Option<T> {
    let mut load = 0u64;
    let bytes = size::<FIELD>() as u32;
    copy(&mut load, bytes, offset::<FIELD, HOP>(base))?;
    let load = load << (left::<FIELD>() & 63);
    let signed = matches!(T::KIND, crate::Kind::Signed);
    let shift = right::<FIELD>() & 63;
    Some(T::of_bits(if signed { (load as i64 >> shift) as u64 } else { load >> shift }))
}
