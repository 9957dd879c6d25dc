//! Maps as [`World`].

use core::ptr;

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::facts::{Address, Facts};
use gabion_abi::tables::PARAM_COUNT;
use gabion_abi::verdict::Interface;
use gabion_kernel_core::classify::{Entries, Tables, classify};
use gabion_kernel_core::judge::{Slot, Table, World};

use crate::maps;

/// The maps of this generation, and the pinned ones.
#[derive(Clone, Copy)]
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn param(&self, index: usize) -> u32 {
        if index >= PARAM_COUNT {
            return 0;
        }
        // SAFETY: inside the array, as just checked. Volatile, because the loader replaces the zeros that
        // the compiler sees.
        unsafe { ptr::read_volatile(ptr::addr_of!(maps::PARAMS).cast::<u32>().add(index)) }
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        maps::TABLES.get(index).copied().unwrap_or(0)
    }
}

/// A value in the memory of a connection table. Other CPUs write it too, and the entry may be reused for
/// another connection until the program ends; whatever is read is an integer, and a lost write costs a
/// timestamp or a state that the next packet sets again.
pub struct MapSlot(*mut ConnValue);

impl Slot for MapSlot {
    #[inline(always)]
    fn load(&self) -> ConnValue {
        // SAFETY: the lookup gave this pointer, and map memory lives until the program ends (RCU).
        // Every bit pattern is a `ConnValue`.
        unsafe { ptr::read_volatile(self.0) }
    }

    #[inline(always)]
    fn refresh(&self, seen_ns: u64, state: u8) {
        // SAFETY: as in `load`; both fields lie inside the value.
        unsafe {
            ptr::write_volatile(ptr::addr_of_mut!((*self.0).seen_ns), seen_ns);
            ptr::write_volatile(ptr::addr_of_mut!((*self.0).state), state);
        }
    }

    #[inline(always)]
    fn replace(&self, value: &ConnValue) {
        // SAFETY: as in `load`.
        unsafe { ptr::write_volatile(self.0, *value) }
    }
}

/// One function of its own, verified once for each caller's kind of pointer rather than wherever it is used.
#[inline(never)]
fn entries_of(facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries) {
    *into = classify(&Maps, facts, source_interface, destination_interface);
}

impl World for Maps {
    type Slot<'a> = MapSlot;

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing and touches no memory of ours.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        // SAFETY: a valid, aligned static; volatile as in `param`.
        unsafe { ptr::read_volatile(ptr::addr_of!(maps::GENERATION)) }
    }

    #[inline(always)]
    fn is_local(&self, family: u8, address: &Address) -> bool {
        maps::LOCAL.get_ptr(maps::LocalKey { address: *address, family: family as u32 }).is_some()
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32) -> Interface {
        maps::INTERFACES.get(ifindex).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn audit_mode(&self) -> bool {
        maps::SETTINGS.get(0).is_some_and(|settings| settings.audit_mode != 0)
    }

    #[inline(always)]
    fn failsafe(&self, index: usize) -> u32 {
        match maps::SETTINGS.get(0) {
            Some(settings) if index < settings.failsafe_count as usize => {
                settings.failsafe.get(index).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    #[inline(always)]
    fn connection<'a>(&'a self, table: Table, key: &ConnKey) -> Option<MapSlot> {
        match table {
            Table::Opening => maps::OPENING.get_ptr_mut(key).map(MapSlot),
            Table::Established => maps::ESTABLISHED.get_ptr_mut(key).map(MapSlot),
        }
    }

    #[inline(always)]
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        // An LRU map evicts instead of being full; under memory pressure it may still refuse, and then the
        // connection is made by its next packet.
        let _ = match table {
            Table::Opening => maps::OPENING.insert(key, value, 0),
            Table::Established => maps::ESTABLISHED.insert(key, value, 0),
        };
    }

    #[inline(always)]
    fn remove(&self, table: Table, key: &ConnKey) {
        // That another CPU removed it first is as good.
        let _ = match table {
            Table::Opening => maps::OPENING.remove(key),
            Table::Established => maps::ESTABLISHED.remove(key),
        };
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        // SAFETY: map memory lives until the program ends; a value torn by another CPU is a wrong time, no more.
        maps::FRAGMENTS.get_ptr(key).map(|seen_ns| unsafe { ptr::read_volatile(seen_ns) })
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, now_ns: u64) {
        // As in `insert`: a datagram that cannot be remembered loses its later fragments.
        let _ = maps::FRAGMENTS.insert(key, now_ns, 0);
    }

    #[inline(always)]
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32) -> Entries {
        let mut entries = Entries { egress: 0, ingress: 0 };
        entries_of(facts, source_interface, destination_interface, &mut entries);
        entries
    }
}
