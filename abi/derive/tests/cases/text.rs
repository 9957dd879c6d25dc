//! Declarations that are no struct of the C layout with named fields.

use gabion_abi::contract::Contract;

#[repr(u8)]
#[derive(Contract)]
enum State {
    Opening,
}

#[repr(C)]
#[derive(Contract)]
union Either {
    word: u32,
    bytes: [u8; 4],
}

#[repr(C)]
#[derive(Contract)]
struct Nameless(u32, u32);

#[derive(Contract)]
struct Unordered {
    word: u32,
}

#[repr(C, packed)]
#[derive(Contract)]
struct Packed {
    byte: u8,
    word: u32,
}

#[repr(C)]
#[derive(Contract)]
struct Accented {
    größe: u32,
}

#[repr(C)]
#[derive(Contract)]
struct Empty {}

#[repr(C)]
#[derive(Contract)]
struct Borrowed<'a> {
    text: &'a [u8],
}

#[repr(C)]
#[derive(Contract)]
#[contract(unit = "ns")]
struct OfAll {
    word: u32,
}

fn main() {}
