//! Bytes that nobody sets with these arguments, and none with others.

use gabion_abi::contract::Contract;

#[repr(C)]
#[derive(Contract)]
struct Ring<T, const CAP: usize> {
    pushed: u32,
    slots: [T; CAP],
}

const FITS: u64 = <Ring<u32, 4> as Contract>::SHAPE.digest();
const LEAVES_A_HOLE: u64 = <Ring<u64, 4> as Contract>::SHAPE.digest();

fn main() {
    let _ = (FITS, LEAVES_A_HOLE);
}
