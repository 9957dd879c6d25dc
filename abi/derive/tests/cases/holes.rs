//! Bytes that nobody sets.

use gabion_abi::contract::Contract;

#[repr(C)]
#[derive(Contract)]
struct Between {
    kind: u8,
    number: u32,
}

#[repr(C)]
#[derive(Contract)]
struct Behind {
    number: u32,
    kind: u8,
}

fn main() {}
