//! Records of `gabion-abi` as map keys and values.

use gabion_abi::contract::Contract;

/// A record that goes into a map, or comes out of one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<T>(pub(crate) T);

// SAFETY: what has a contract is integers only, of which every bit pattern is one, and no byte of it is uninitialised:
// `derive(Contract)` compiles for nothing else, and no record of `gabion-abi` implements it by hand.
unsafe impl<T: Contract + Copy + 'static> aya::Pod for Record<T> {}
