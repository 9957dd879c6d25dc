//! Maps. Once the gate is sealed, nobody but the agent gets a descriptor of the first three.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use gabion_abi::gate::{DIGEST_BYTES, Gate};

/// What the gatekeeper goes by.
#[map]
pub static GATE: Array<Gate> = Array::with_max_entries(1, 0);

/// Digests of programs that may be loaded.
#[map]
pub static ALLOWED: HashMap<[u8; DIGEST_BYTES], u8> = HashMap::with_max_entries(1_024, 0);

/// Attempts that were refused.
#[map]
pub static ATTEMPTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Threads that are loading a program: it is their next descriptor of one.
#[map]
pub static LOADING: HashMap<u64, u8> = HashMap::with_max_entries(1_024, 0);
