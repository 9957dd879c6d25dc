//! What the programs say of the records that they share, for whoever loads them.
//!
//! The text lies in a section of the object that no kernel gets to see. What a map holds is taken from the map's own
//! type, so that it cannot say anything else.

use aya_ebpf::maps::{HashMap, LruHashMap, RingBuf};
use gabion_abi::boundary::{EVENTS, OBJECT, RECORDS};
use gabion_abi::contract::{Contract, Payload, Place, ServiceContract, Set};

use crate::maps;

/// The text, in the section that `gabion_abi::contract::SECTION` names.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".gabion.contracts")]
static GABION_CONTRACTS: [u8; SAID.length()] = SAID.text();

const SAID: Set<'static> = Set {
    name: OBJECT.name,
    version: OBJECT.version,
    records: &RECORDS,
    places: &PLACES,
    services: &[EVENTS.service()],
};

const PLACES: [Place; 22] = [
    lru_hash("ESTABLISHED", &maps::ESTABLISHED),
    lru_hash("DATAGRAMS", &maps::DATAGRAMS),
    lru_hash("OPENING", &maps::OPENING),
    memory(".data.marks", &raw const maps::MARKS),
    lru_hash("FRAGMENTS", &maps::FRAGMENTS),
    memory(".data.settings", &raw const maps::SETTINGS),
    hash("LOCAL", &maps::LOCAL),
    memory(".data.local", &raw const maps::LOCAL_FILTER),
    ring("EVENTS", &maps::EVENTS, &EVENTS),
    memory(".data.tallies", &raw const maps::TALLIES),
    memory(".data.interface", &raw const maps::INTERFACES),
    memory(".data.rules", &raw const maps::RULES),
    memory(".rodata.tables", &raw const maps::TABLES),
    memory(".data.revision", &raw const maps::REVISION),
    memory(".data.notes", &raw const maps::NOTES),
    global("PARAMS", &maps::PARAMS),
    global("TABLE_MASK", &maps::TABLE_MASK),
    global("SIDE_BYTES", &maps::SIDE_BYTES),
    global("SEED", &maps::SEED),
    global("INTERFACE_MASK", &maps::INTERFACE_MASK),
    global("RULE_MASK", &maps::RULE_MASK),
    global("CPU_MASK", &maps::CPU_MASK),
];

const fn lru_hash<K: Contract, V: Contract>(name: &'static str, _: &LruHashMap<K, V>) -> Place {
    Place::keyed::<K, V>(name, "lru-hash")
}

const fn hash<K: Contract, V: Contract>(name: &'static str, _: &HashMap<K, V>) -> Place {
    Place::keyed::<K, V>(name, "hash")
}

const fn ring<P: Payload>(name: &'static str, _: &RingBuf, _: &ServiceContract<P>) -> Place {
    Place::of::<P>(name, "ring")
}

/// A section that becomes as long as the loader makes it: the elements of the array that stands for it.
const fn memory<T: Contract, const N: usize>(name: &'static str, _: *const [T; N]) -> Place {
    Place::of::<T>(name, "memory")
}

const fn global<T: Contract>(name: &'static str, _: &T) -> Place {
    Place::of::<T>(name, "global")
}
