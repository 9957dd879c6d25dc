//! Fields whose type means nothing on the other side, or not the same.

use gabion_abi::contract::Contract;

#[repr(C)]
#[derive(Contract)]
struct Everything<T> {
    flag: bool,
    flags: [bool; 8],
    letter: char,
    length: usize,
    distance: isize,
    wide: u128,
    real: f64,
    pointer: *const u8,
    function: fn(u32) -> u32,
    pair: (u32, u32),
    perhaps: Option<u32>,
    name: String,
    within: Inner<bool>,
    of: T,
}

#[repr(C)]
struct Inner<T>(T);

fn main() {}
