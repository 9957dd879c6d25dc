//! Records of `gabion-abi` as map keys and values.

use gabion_abi::conn::{ConnKey, ConnValue};
use gabion_abi::event::Settings;
use gabion_abi::facts::Address;
use gabion_abi::local::LocalFilter;
use gabion_abi::verdict::{Count, Interface};

/// A record that goes into a map, or comes out of one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<T>(pub(crate) T);

/// The node's own address, as the kernel programs look for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalKey {
    pub(crate) address: Address,
    pub(crate) family: u32,
    pub(crate) padding: u32,
}

// SAFETY: integers only, explicit padding, no uninitialised byte, every bit pattern valid (asserted by size in
// `gabion-abi`).
unsafe impl aya::Pod for Record<Count> {}
// SAFETY: as above.
unsafe impl aya::Pod for Record<Interface> {}
// SAFETY: as above.
unsafe impl aya::Pod for Record<Settings> {}
// SAFETY: as above.
unsafe impl aya::Pod for Record<ConnKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Record<ConnValue> {}
// SAFETY: as above.
unsafe impl aya::Pod for Record<LocalFilter> {}
// SAFETY: six 32-bit integers, no other padding.
unsafe impl aya::Pod for LocalKey {}
