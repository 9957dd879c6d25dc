//! What the text does not show, the trait refuses.

use gabion_abi::contract::Contract;

type Flag = bool;

#[repr(C)]
#[derive(Contract)]
struct Hidden {
    flag: Flag,
}

fn main() {}
