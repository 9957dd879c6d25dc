//! Maps as [`World`].

use core::arch::asm;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::facts::{Address, ETHERTYPE_IPV4, FAMILY_V4, FAMILY_V6, Facts, TRANSPORT_ICMP};
use gabion_abi::local::LocalFilter;
use gabion_abi::tables::{OPENS, PARAM_COUNT, STATELESS};
use gabion_abi::verdict::Interface;
use gabion_kernel_core::classify::{Entries, Tables, classify, classify_by_lane, listed};
use gabion_kernel_core::judge::{Case, Table, World, lists};
use gabion_kernel_core::short::{Mark, Memory, lasts};
use gabion_kernel_core::track::{find, track};

use crate::maps;

/// The maps of this generation, and the pinned ones.
pub struct Maps;

/// The same value, of which the compiler does not know any more what it is. Costs no instruction.
macro_rules! unknown {
    ($value:expr) => {{
        let mut value = $value;
        // SAFETY: no instruction at all.
        unsafe { asm!("/* {0} */", inlateout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
        value
    }};
}

/// The tables of this generation, read like memory.
pub struct View {
    params: *const u32,
    words: *const u64,
    mask: u32,
}

impl View {
    /// The view. The compiler must not see that the statics are zero and short: the loader replaces them.
    #[inline(always)]
    pub fn new() -> Self {
        let mask: *const u32 = unknown!(ptr::addr_of!(maps::TABLE_MASK));
        Self {
            params: unknown!(ptr::addr_of!(maps::PARAMS).cast()),
            words: unknown!(ptr::addr_of!(maps::TABLES).cast()),
            // SAFETY: a valid, aligned static.
            mask: unsafe { *mask },
        }
    }
}

impl View {
    /// Entry of a table that begins at word `base`; in little-endian memory, as in words, the first is the lowest.
    #[inline(always)]
    fn entry<E: Copy>(&self, base: u32, index: u32) -> E {
        const _: () = assert!(cfg!(target_endian = "little"));
        let offset = (base << 3).wrapping_add(index.wrapping_mul(size_of::<E>() as u32)) & self.mask;
        // SAFETY: as in `word`; the offset is a multiple of the entry's size.
        unsafe { ptr::read_volatile(self.words.cast::<u8>().wrapping_add(offset as usize).cast()) }
    }
}

impl Tables for View {
    #[inline(always)]
    fn param(&self, index: usize) -> u32 {
        if index >= PARAM_COUNT {
            return 0;
        }
        // SAFETY: inside the array, as just checked, and nobody writes it any more.
        unsafe { *self.params.add(index) }
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let offset = (index << 3) & self.mask;
        // SAFETY: the loader makes the map of this static one word longer than `TABLE_MASK` reaches, and the verifier,
        // which knows both, holds the offset against them. A mask and not a compare: each compare is a second way for
        // the verifier to follow, and a branch for every packet. Volatile, one load of an aligned word: the agent
        // patches words while programs read them.
        unsafe { ptr::read_volatile(self.words.cast::<u8>().wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn half(&self, base: u32, index: u32) -> u32 {
        self.entry::<u32>(base, index)
    }

    #[inline(always)]
    fn quarter(&self, base: u32, index: u32) -> u32 {
        self.entry::<u16>(base, index) as u32
    }

    #[inline(always)]
    fn listed(&self, first: u32, service: u32) -> u32 {
        gabion_list(first, service)
    }

    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        unknown!(number)
    }
}

/// [`classify`] as a global function: verified once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_entries(facts: *const Facts, source: u32, destination: u32, into: *mut Entries) -> u32 {
    if facts.is_null() || into.is_null() {
        return 0;
    }
    // SAFETY: the only callers pass references; the verifier checks the sizes against the types.
    unsafe { *into = classify(&View::new(), &*facts, source, destination) };
    1
}

/// [`listed`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_list(first: u32, service: u32) -> u32 {
    listed(&View::new(), first, service)
}

/// [`classify_by_lane`] of an IPv4 packet as a global function: egress in the lower half, ingress in the upper. By
/// itself the verifier looks at it once, and not once for each form of a frame; and what it is about stays in
/// registers. `ports` are source and destination, or ICMP's type and code; `kind` is transport, TCP flags and
/// protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_lane(source: u32, destination: u32, ports: u32, kind: u32, interface: u32) -> u64 {
    let facts = Facts {
        source: Address::v4(source),
        destination: Address::v4(destination),
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        ethertype: ETHERTYPE_IPV4,
        family: FAMILY_V4,
        protocol: kind as u8,
        tcp_flags: (kind >> 8) as u8,
        transport: (kind >> 16) as u8,
        icmp_type: (ports >> 8) as u8,
        icmp_code: ports as u8,
        ..Facts::UNKNOWN
    };
    let Entries { egress, ingress } = classify_by_lane(&View::new(), &facts, interface);
    ingress << 32 | egress & 0xffff_ffff
}

/// [`find`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_find(case: *mut Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: as in `gabion_entries`, and the caller's reference is exclusive.
    find(&Maps, unsafe { &mut *case })
}

#[inline(always)]
fn entry(table: Table, key: &ConnKey) -> Option<*mut ConnValue> {
    match table {
        Table::Opening => maps::OPENING.get_ptr_mut(key),
        Table::Established => maps::ESTABLISHED.get_ptr_mut(key),
        Table::Datagrams => maps::DATAGRAMS.get_ptr_mut(key),
    }
}

/// [`track`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_track(case: *mut Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: as in `gabion_entries`, and the caller's reference is exclusive.
    track(&Maps, unsafe { &mut *case })
}

/// A clock that may be some milliseconds late, and costs less than half of the exact one.
#[inline(always)]
pub fn about_ns() -> u64 {
    // SAFETY: the helper takes nothing and touches no memory of ours.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The secret of this generation's notes.
#[inline(always)]
pub fn seed() -> u64 {
    // SAFETY: a valid, aligned static; volatile, because the loader replaces the zero that the compiler sees.
    unsafe { ptr::read_volatile(ptr::addr_of!(maps::SEED)) }
}

/// Notes that the short way may be taken for packets like this one.
#[inline(always)]
pub fn note(case: &Case) {
    if !lasts(case) {
        return;
    }
    let mark = Mark::of(&case.facts, seed());
    if let Some(note) = maps::NOTES.get_ptr_mut(mark.slot) {
        // SAFETY: map memory lives until the program ends; one aligned word, of which the last writer's stays.
        unsafe { ptr::write_volatile(note, mark.note(case.task, about_ns())) };
    }
}

impl Memory for Maps {
    #[inline(always)]
    fn entries(&self, facts: &Facts, interface: u32) -> Entries {
        if facts.family == FAMILY_V6 {
            // Its addresses are too long for registers: as the long way does it.
            let mut entries = Entries { egress: 0, ingress: 0 };
            gabion_entries(facts, interface, 0, &mut entries);
            return entries;
        }
        let ports = if facts.transport == TRANSPORT_ICMP {
            (facts.icmp_type as u32) << 8 | facts.icmp_code as u32
        } else {
            (facts.source_port as u32) << 16 | facts.destination_port as u32
        };
        let kind = (facts.transport as u32) << 16 | (facts.tcp_flags as u32) << 8 | facts.protocol as u32;
        let both = gabion_lane(facts.source.words[0], facts.destination.words[0], ports, kind, interface);
        Entries { egress: both & 0xffff_ffff, ingress: both >> 32 }
    }

    #[inline(always)]
    fn opens(&self) -> bool {
        View::new().param(OPENS) != 0
    }

    #[inline(always)]
    fn keeps_state(&self) -> bool {
        World::keeps_state(self)
    }

    #[inline(always)]
    fn may_be_local(&self, family: u8, address: &Address) -> bool {
        let (word, bit) = LocalFilter::place(family, address);
        let Some(filter) = maps::LOCAL_FILTER.get(0) else { return true };
        filter.words.get(word as usize).is_none_or(|word| word >> (bit & 63) & 1 != 0)
    }

    #[inline(always)]
    fn audit_mode(&self) -> bool {
        World::audit_mode(self)
    }

    #[inline(always)]
    fn connects(&self, table: Table, key: &ConnKey) -> bool {
        entry(table, key).is_some()
    }

    #[inline(always)]
    fn noted(&self, slot: u32) -> u64 {
        // SAFETY: as in `note`.
        maps::NOTES.get_ptr(slot).map_or(0, |note| unsafe { ptr::read_volatile(note) })
    }

    #[inline(always)]
    fn about_ns(&self) -> u64 {
        about_ns()
    }
}

impl World for Maps {
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
    fn keeps_state(&self) -> bool {
        // SAFETY: a valid, aligned static; volatile as in `generation`. Not by a view, whose address would lie on the
        // stack across the calls between two questions.
        unsafe { ptr::read_volatile(ptr::addr_of!(maps::PARAMS[STATELESS])) == 0 }
    }

    #[inline(always)]
    fn is_local(&self, family: u8, address: &Address) -> bool {
        maps::LOCAL.get_ptr(maps::LocalKey { address: *address, family: family as u32, padding: 0 }).is_some()
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
    fn is_failsafe_port(&self, wanted: u32) -> bool {
        maps::SETTINGS.get(0).is_some_and(|settings| lists(&settings.failsafe, wanted))
    }

    #[inline(always)]
    fn connection(&self, table: Table, key: &ConnKey, into: &mut ConnValue) -> bool {
        let Some(value) = entry(table, key) else { return false };
        // SAFETY: the lookup gave this pointer, and map memory lives until the program ends (RCU). Other CPUs write it
        // too, and it may be reused for another connection meanwhile; every bit pattern is a `ConnValue`, and what was
        // torn costs a timestamp or a state that the next packet sets again.
        *into = unsafe { ptr::read_volatile(value) };
        true
    }

    #[inline(always)]
    fn replace(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        if let Some(place) = entry(table, key) {
            // SAFETY: as in `connection`.
            unsafe { ptr::write_volatile(place, *value) }
        }
    }

    #[inline(always)]
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        // An LRU map evicts instead of being full; under memory pressure it may still refuse, and then the
        // connection is made by its next packet.
        let _ = match table {
            Table::Opening => maps::OPENING.insert(key, value, 0),
            Table::Established => maps::ESTABLISHED.insert(key, value, 0),
            Table::Datagrams => maps::DATAGRAMS.insert(key, value, 0),
        };
    }

    #[inline(always)]
    fn remove(&self, table: Table, key: &ConnKey) {
        // That another CPU removed it first is as good.
        let _ = match table {
            Table::Opening => maps::OPENING.remove(key),
            Table::Established => maps::ESTABLISHED.remove(key),
            Table::Datagrams => maps::DATAGRAMS.remove(key),
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
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries) {
        gabion_entries(facts, source_interface, destination_interface, into);
    }

    #[inline(always)]
    fn find(&self, case: &mut Case) -> u32 {
        gabion_find(case)
    }

    #[inline(always)]
    fn track(&self, case: &mut Case) -> u32 {
        gabion_track(case)
    }
}
