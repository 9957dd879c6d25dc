//! Maps, and what the object says of them. The oldest entries go when one is full: whose socket it was is not known
//! then.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use gabion_abi::boundary::OWNERS as AGREED;
use gabion_abi::contract::{Contract, Place, Set};
use gabion_abi::owner::{ListenKey, Listener, Owner};

/// Owners by cookie of the socket.
#[map]
pub static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(16_384, 0);

/// Who listens where.
#[map]
pub static LISTENERS: LruHashMap<ListenKey, Listener> = LruHashMap::with_max_entries(4_096, 0);

/// The text, in the section that `gabion_abi::contract::SECTION` names.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".gabion.contracts")]
static GABION_CONTRACTS: [u8; SAID.length()] = SAID.text();

const SAID: Set<'static> = Set { places: &PLACES, ..AGREED };

const PLACES: [Place; 2] = [lru_hash("OWNERS", &OWNERS), lru_hash("LISTENERS", &LISTENERS)];

const fn lru_hash<K: Contract, V: Contract>(name: &'static str, _: &LruHashMap<K, V>) -> Place {
    Place::keyed::<K, V>(name, "lru-hash")
}
