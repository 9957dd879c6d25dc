//! Maps as [`World`].

use core::cell::Cell;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::facts::{Address, ETHERTYPE_IPV4, FAMILY_V4, FAMILY_V6, Facts, TRANSPORT_ICMP};
use gabion_abi::local::{LocalFilter, LocalKey};
use gabion_abi::tables::{OPENS, PARAM_COUNT, PARAM_WORDS, STATELESS};
use gabion_abi::verdict::Interface;
use gabion_kernel_core::blocks::Bounded;
use gabion_kernel_core::classify::{Entries, Tables, classify, classify_by_lane, listed};
use gabion_kernel_core::judge::{Case, Table, World, lists};
use gabion_kernel_core::marks;
use gabion_kernel_core::short::{Mark, Memory, lasts, may_reply};
use gabion_kernel_core::track::{find, place, track};

use crate::memory::unknown;
use crate::{maps, memory};

/// The maps of this generation, and the pinned ones, for a packet that the tables of revision `R` judge.
pub struct Maps<R> {
    revision: R,
    /// The clock that may be late, once somebody asked.
    about_ns: Cell<u64>,
}

impl<R: Revision> Maps<R> {
    /// As things are now.
    #[inline(always)]
    pub fn new(revision: R) -> Self {
        Self { revision, about_ns: Cell::new(0) }
    }

    /// The same, when the time is known already.
    #[inline(always)]
    fn at(revision: R, about_ns: u64) -> Self {
        Self { revision, about_ns: Cell::new(about_ns) }
    }
}

/// A revision of the tables.
pub trait Revision {
    /// Its number.
    fn number(&self) -> u32;
}

impl Revision for u32 {
    #[inline(always)]
    fn number(&self) -> u32 {
        *self
    }
}

/// The revision that a case holds, read when it is needed: a program that calls others has no register left for it, and
/// no stack.
pub struct InCase(*const u32);

impl InCase {
    /// Of this CPU's case, which lives as long as the program runs.
    #[inline(always)]
    pub fn of(case: &mut Case) -> Self {
        Self(&raw const case.revision)
    }
}

impl Revision for InCase {
    #[inline(always)]
    fn number(&self) -> u32 {
        // SAFETY: map memory, an aligned word that only this program writes.
        unsafe { ptr::read_volatile(self.0) }
    }
}

/// The tables of this generation, read like memory.
pub struct View {
    /// Parameters, and the words behind them.
    side: *const u64,
    mask: u32,
    revision: u32,
}

impl View {
    /// The view of a revision. The compiler must not see that the statics are zero and short: the loader replaces them.
    #[inline(always)]
    pub fn of(revision: u32) -> Self {
        let mask: *const u32 = unknown!(ptr::addr_of!(maps::TABLE_MASK));
        let side_bytes: *const u32 = unknown!(ptr::addr_of!(maps::SIDE_BYTES));
        let tables: *const u64 = unknown!(ptr::addr_of!(maps::TABLES).cast());
        // SAFETY: valid, aligned statics.
        let (mask, side_bytes) = unsafe { (*mask, *side_bytes) };
        let side = if side_bytes == 0 { 0 } else { (revision & 1) * side_bytes };
        Self { side: tables.cast::<u8>().wrapping_add(side as usize).cast(), mask, revision }
    }
}

impl View {
    /// The first byte behind the parameters.
    #[inline(always)]
    fn words(&self) -> *const u8 {
        self.side.wrapping_add(PARAM_WORDS).cast()
    }

    /// Entry of a table that begins at word `base`; in little-endian memory, as in words, the first is the lowest.
    #[inline(always)]
    fn entry<E: Copy>(&self, base: u32, index: u32) -> E {
        const _: () = assert!(cfg!(target_endian = "little"));
        let offset = (base << 3).wrapping_add(index.wrapping_mul(size_of::<E>() as u32)) & self.mask;
        // SAFETY: as in `word`; the offset is a multiple of the entry's size.
        unsafe { ptr::read_volatile(self.words().wrapping_add(offset as usize).cast()) }
    }
}

impl Tables for View {
    #[inline(always)]
    fn param(&self, index: usize) -> u32 {
        if index >= PARAM_COUNT {
            return 0;
        }
        // SAFETY: inside the array, as just checked, and nobody writes it any more. Volatile as in `seed`; and not by
        // an address that a view holds, for which there is no room on the stack.
        unsafe { ptr::read_volatile(ptr::addr_of!(maps::PARAMS).cast::<u32>().add(index)) }
    }

    #[inline(always)]
    fn place(&self, index: usize) -> u32 {
        if index >= PARAM_COUNT {
            return 0;
        }
        // SAFETY: the loader puts so many parameters in front of the words of each side.
        unsafe { *self.side.cast::<u32>().add(index) }
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let offset = (index << 3) & self.mask;
        // SAFETY: the loader makes the map of this static one word longer than parameters, `TABLE_MASK` and both sides
        // reach, and the verifier, which knows them, holds the offset against them. A mask and not a compare: each
        // compare is a second way for the verifier to follow, and a branch for every packet. Volatile, one load of an
        // aligned word.
        unsafe { ptr::read_volatile(self.words().wrapping_add(offset as usize).cast()) }
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
        gabion_list(first, service, self.revision)
    }

    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        unknown!(number)
    }
}

/// [`classify`] as a global function: verified once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_entries(
    facts: *const Facts,
    source: u32,
    destination: u32,
    into: *mut Entries,
    revision: u32,
) -> u32 {
    if facts.is_null() || into.is_null() {
        return 0;
    }
    // SAFETY: the only callers pass references; the verifier checks the sizes against the types.
    unsafe { *into = classify(&View::of(revision), &*facts, source, destination) };
    1
}

/// [`listed`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_list(first: u32, service: u32, revision: u32) -> u32 {
    listed(&View::of(revision), first, service)
}

/// [`classify_by_lane`] of an IPv4 packet as a global function: egress in the lower half, ingress in the upper. By
/// itself the verifier looks at it once, and not once for each form of a frame; and what it is about stays in
/// registers. `ports` are source and destination, or ICMP's type and code; `kind` is the side of the tables, transport,
/// TCP flags and protocol.
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
    let Entries { egress, ingress } = classify_by_lane(&View::of(kind >> 24), &facts, interface);
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
    let case = unsafe { &mut *case };
    find(&Maps::new(case.revision), case)
}

#[inline(always)]
fn entry(table: Table, key: &ConnKey) -> Option<*mut ConnValue> {
    match table {
        Table::Opening => maps::OPENING.get_ptr_mut(key),
        Table::Established => maps::ESTABLISHED.get_ptr_mut(key),
        Table::Datagrams => maps::DATAGRAMS.get_ptr_mut(key),
    }
}

/// Whether a connection may be in a table and not over.
#[inline(always)]
fn may_connect(table: Table, key: &ConnKey, about_ns: u64) -> bool {
    // SAFETY: as in `note`.
    let mark = unsafe { ptr::read_volatile(memory::mark(marks::slot(table, key))) };
    marks::may_be(table, key.protocol, mark, about_ns)
}

/// [`World::places`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_places(case: *const Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: as in `gabion_entries`.
    let key = unsafe { &(*case).at };
    let about_ns = about_ns();
    let may = |table| may_connect(table, key, about_ns) as u32;
    may(Table::answered(key.protocol)) * place::ANSWERED | may(Table::Opening) * place::OPENING
}

/// Leaves the mark of a connection.
#[inline(always)]
fn leave_mark(table: Table, key: &ConnKey) {
    // SAFETY: as in `note`.
    unsafe { ptr::write_volatile(memory::mark(marks::slot(table, key)), marks::mark(table, about_ns())) };
}

/// [`may_reply`] of an IPv4 packet as a global function, whose stack is its own. `ports` are source and destination, or
/// ICMP's identifier twice.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_replies(source: u32, destination: u32, ports: u32, protocol: u32, about_ns: u64) -> u32 {
    let facts = Facts {
        source: Address::v4(source),
        destination: Address::v4(destination),
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        family: FAMILY_V4,
        protocol: protocol as u8,
        ..Facts::UNKNOWN
    };
    // Connections are of no revision.
    may_reply(&Maps::at(0, about_ns), &facts) as u32
}

/// [`track`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gabion_track(case: *mut Case) -> u32 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: as in `gabion_entries`, and the caller's reference is exclusive.
    let case = unsafe { &mut *case };
    track(&Maps::new(case.revision), case)
}

/// `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and touches no memory of ours.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// A clock that may be some milliseconds late, and costs less than half of the exact one.
#[inline(always)]
pub fn about_ns() -> u64 {
    // SAFETY: the helper takes nothing and touches no memory of ours.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The secret of the notes of a revision: what an older one noted is of no use to it.
#[inline(always)]
fn seed(revision: u32) -> u64 {
    // SAFETY: a valid, aligned static; volatile, because the loader replaces the zero that the compiler sees.
    let seed = unsafe { ptr::read_volatile(ptr::addr_of!(maps::SEED)) };
    seed.wrapping_add(revision as u64)
}

/// Whether any connection is kept.
#[inline(always)]
pub fn keeps_state() -> bool {
    // SAFETY: a valid, aligned static; volatile as in `seed`. Not by a view, whose address would lie on the stack
    // across the calls between two questions.
    unsafe { ptr::read_volatile(ptr::addr_of!(maps::PARAMS[STATELESS])) == 0 }
}

/// Notes that the short way may be taken for packets like this one.
#[inline(always)]
pub fn note(case: &Case) {
    if !lasts(case) {
        return;
    }
    let mark = Mark::of(&case.facts, seed(case.revision));
    // SAFETY: map memory lives until the program ends; one aligned word, of which the last writer's stays.
    unsafe { ptr::write_volatile(memory::note(mark.slot), mark.note(case.task, about_ns())) };
}

impl<R: Revision> Memory for Maps<R> {
    #[inline(always)]
    fn entries(&self, facts: &Facts, interface: u32) -> Entries {
        if facts.family == FAMILY_V6 {
            // Its addresses are too long for registers: as the long way does it.
            let mut entries = Entries { egress: 0, ingress: 0 };
            gabion_entries(facts, interface, 0, &mut entries, self.revision.number());
            return entries;
        }
        let ports = if facts.transport == TRANSPORT_ICMP {
            (facts.icmp_type as u32) << 8 | facts.icmp_code as u32
        } else {
            (facts.source_port as u32) << 16 | facts.destination_port as u32
        };
        let side = (self.revision.number() & 1) << 24;
        let kind = side | (facts.transport as u32) << 16 | (facts.tcp_flags as u32) << 8 | facts.protocol as u32;
        let both = gabion_lane(facts.source.words[0], facts.destination.words[0], ports, kind, interface);
        Entries { egress: both & 0xffff_ffff, ingress: both >> 32 }
    }

    #[inline(always)]
    fn opens(&self) -> bool {
        View::of(0).param(OPENS) != 0
    }

    #[inline(always)]
    fn keeps_state(&self) -> bool {
        keeps_state()
    }

    #[inline(always)]
    fn may_be_local(&self, family: u8, address: &Address) -> bool {
        let (word, bit) = LocalFilter::place(family, address);
        memory::local_filter().words[Bounded::masked(word)] >> (bit & 63) & 1 != 0
    }

    #[inline(always)]
    fn audit_mode(&self) -> bool {
        World::audit_mode(self)
    }

    #[inline(always)]
    fn may_connect(&self, table: Table, key: &ConnKey) -> bool {
        may_connect(table, key, self.about_ns())
    }

    #[inline(always)]
    fn connects(&self, table: Table, key: &ConnKey) -> bool {
        entry(table, key).is_some()
    }

    #[inline(always)]
    fn seed(&self) -> u64 {
        seed(self.revision.number())
    }

    #[inline(always)]
    fn noted(&self, slot: u32) -> u64 {
        // SAFETY: as in `note`.
        unsafe { ptr::read_volatile(memory::note(slot)) }
    }

    #[inline(always)]
    fn about_ns(&self) -> u64 {
        if self.about_ns.get() == 0 {
            self.about_ns.set(about_ns());
        }
        self.about_ns.get()
    }

    #[inline(always)]
    fn may_reply(&self, facts: &Facts) -> bool {
        if facts.family == FAMILY_V6 {
            return may_reply(self, facts);
        }
        let ports =
            ((facts.source_port | facts.icmp_id) as u32) << 16 | (facts.destination_port | facts.icmp_id) as u32;
        let (source, destination) = (facts.source.words[0], facts.destination.words[0]);
        gabion_replies(source, destination, ports, facts.protocol as u32, self.about_ns()) != 0
    }
}

impl<R: Revision> World for Maps<R> {
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    #[inline(always)]
    fn revision(&self) -> u32 {
        self.revision.number()
    }

    #[inline(always)]
    fn keeps_state(&self) -> bool {
        keeps_state()
    }

    #[inline(always)]
    fn is_local(&self, family: u8, address: &Address) -> bool {
        maps::LOCAL.get_ptr(LocalKey { address: *address, family: family as u32, padding: 0 }).is_some()
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32) -> Interface {
        memory::interface(ifindex)
    }

    #[inline(always)]
    fn audit_mode(&self) -> bool {
        memory::settings().audit_mode != 0
    }

    #[inline(always)]
    fn is_failsafe_port(&self, wanted: u32) -> bool {
        lists(&memory::settings().failsafe, wanted)
    }

    #[inline(always)]
    fn places(&self, case: &Case) -> u8 {
        gabion_places(case) as u8
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
        leave_mark(table, key);
        if let Some(place) = entry(table, key) {
            // SAFETY: as in `connection`.
            unsafe { ptr::write_volatile(place, *value) }
        }
    }

    #[inline(always)]
    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        leave_mark(table, key);
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
        gabion_entries(facts, source_interface, destination_interface, into, self.revision.number());
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
