//! Maps, and what the object says of them. Once the gate is sealed, nobody but the agent gets a descriptor of the
//! first three.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use gabion_abi::boundary::GATEKEEPER;
use gabion_abi::contract::{Contract, Place, Set};
use gabion_abi::gate::{Attempt, DIGEST_BYTES, Gate};

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

/// The text, in the section that `gabion_abi::contract::SECTION` names.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".gabion.contracts")]
static GABION_CONTRACTS: [u8; SAID.length()] = SAID.text();

const SAID: Set<'static> = Set { places: &PLACES, ..GATEKEEPER };

const PLACES: [Place; 3] = [array("GATE", &GATE), hash("ALLOWED", &ALLOWED), Place::of::<Attempt>("ATTEMPTS", "ring")];

const fn array<V: Contract>(name: &'static str, _: &Array<V>) -> Place {
    Place::of::<V>(name, "array")
}

const fn hash<K: Contract, V: Contract>(name: &'static str, _: &HashMap<K, V>) -> Place {
    Place::keyed::<K, V>(name, "hash")
}
