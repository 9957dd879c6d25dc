//! Units that are no unit, or contradict the name.

use gabion_abi::contract::Contract;

#[repr(C)]
#[derive(Contract)]
struct Missing {
    seen_ns: u64,
}

#[repr(C)]
#[derive(Contract)]
struct Contradicts {
    #[contract(unit = "ms")]
    seen_ns: u64,
}

#[repr(C)]
#[derive(Contract)]
struct Spaced {
    #[contract(unit = "per second")]
    rate: u64,
}

#[repr(C)]
#[derive(Contract)]
struct Unknown {
    #[contract(name = "speed")]
    rate: u64,
}

fn main() {}
