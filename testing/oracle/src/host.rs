//! The host in the kernel's place: maps as hash maps, a clock that stands still.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4, Facts};
use gabion_abi::local::LocalFilter;
use gabion_abi::tables::OPENS;
use gabion_abi::verdict::{Interface, Verdict, hook};
use gabion_kernel_core::classify::{Entries, SliceTables, Tables, classify, classify_by_lane};
use gabion_kernel_core::judge::{Case, Place, Table, World, judge, may_quote, quote};
use gabion_kernel_core::marks;
use gabion_kernel_core::parse::parse;
use gabion_kernel_core::short::{Mark, Memory, decide, lasts, serves, usual};
use gabion_kernel_core::track::place;
use gabion_policy_compile::Compiled;

/// The secret of the notes.
const SEED: u64 = 0x5eed;

/// What a packet meets on the host.
#[derive(Clone, Debug)]
pub struct Host<'c> {
    /// The tables in force.
    pub compiled: &'c Compiled,
    /// Their number.
    pub generation: u32,
    /// `CLOCK_BOOTTIME`.
    pub now_ns: u64,
    /// The node's own addresses.
    pub local: HashSet<(u8, Address)>,
    /// Interfaces by index.
    pub interfaces: HashMap<u32, Interface>,
    /// Mode and fail-safe ports.
    pub settings: Settings,
    /// How late the clock is that ages notes and marks, nanoseconds.
    pub late_ns: u64,
    connections: RefCell<HashMap<(Table, ConnKey), ConnValue>>,
    fragments: RefCell<HashMap<FragmentKey, u64>>,
    notes: RefCell<HashMap<u32, u64>>,
    marks: RefCell<HashMap<u32, u16>>,
}

impl<'c> Host<'c> {
    /// A host that knows no address, no interface and no connection.
    #[must_use]
    pub fn new(compiled: &'c Compiled, generation: u32) -> Self {
        Self {
            compiled,
            generation,
            now_ns: 1_000_000_000_000,
            local: HashSet::new(),
            interfaces: HashMap::new(),
            settings: Settings::default(),
            late_ns: 0,
            connections: RefCell::default(),
            fragments: RefCell::default(),
            notes: RefCell::default(),
            marks: RefCell::default(),
        }
    }

    /// Another generation takes over: notes are its own.
    pub fn take_over(&mut self, compiled: &'c Compiled) {
        self.compiled = compiled;
        self.generation += 1;
        self.notes.borrow_mut().clear();
    }

    /// The verdict of the short way on a frame that arrives; none when it must take the long way.
    #[must_use]
    pub fn short(&self, frame: &[u8], ifindex: u32) -> Option<Verdict> {
        if !serves(&self.tables()) {
            return None;
        }
        let interface = u32::from(self.interface(ifindex).class);
        let (mut facts, mut verdict) = (Facts::default(), Verdict::default());
        let is_usual = usual::<false, _>(&frame, &mut facts) || usual::<true, _>(&frame, &mut facts);
        (is_usual && decide(self, &facts, interface, &mut verdict)).then_some(verdict)
    }

    /// The long way: what becomes of a frame at a hook.
    #[must_use]
    pub fn long(&self, frame: &[u8], place: Place) -> Case {
        let mut case = Case::new(place, parse(&frame, false));
        if may_quote(&case) {
            quote(&frame, &mut case);
        }
        judge(self, &mut case);
        if place.hook == u32::from(hook::INGRESS) && lasts(&case) {
            let mark = Mark::of(&case.facts, SEED);
            self.notes.borrow_mut().insert(mark.slot, mark.note(case.task, self.about_ns()));
        }
        case
    }

    fn leave_mark(&self, table: Table, key: &ConnKey) {
        self.marks.borrow_mut().insert(marks::slot(table, key), marks::mark(table, self.about_ns()));
    }

    fn tables(&self) -> SliceTables<'c> {
        SliceTables { params: &self.compiled.params, words: &self.compiled.words }
    }
}

impl Memory for Host<'_> {
    fn entries(&self, facts: &Facts, interface: u32) -> Entries {
        if facts.family == FAMILY_V4 {
            classify_by_lane(&self.tables(), facts, interface)
        } else {
            classify(&self.tables(), facts, interface, 0)
        }
    }

    fn opens(&self) -> bool {
        self.tables().param(OPENS) != 0
    }

    fn may_be_local(&self, family: u8, address: &Address) -> bool {
        let (word, bit) = LocalFilter::place(family, address);
        LocalFilter::of(&self.local).words[word as usize] >> bit & 1 != 0
    }

    fn audit_mode(&self) -> bool {
        World::audit_mode(self)
    }

    fn seed(&self) -> u64 {
        SEED
    }

    fn noted(&self, slot: u32) -> u64 {
        self.notes.borrow().get(&slot).copied().unwrap_or(0)
    }

    fn may_connect(&self, table: Table, key: &ConnKey) -> bool {
        let mark = self.marks.borrow().get(&marks::slot(table, key)).copied().unwrap_or(0);
        marks::may_be(table, key.protocol, mark, self.about_ns())
    }

    fn connects(&self, table: Table, key: &ConnKey) -> bool {
        self.connections.borrow().contains_key(&(table, *key))
    }

    fn about_ns(&self) -> u64 {
        self.now_ns - self.late_ns
    }
}

impl World for Host<'_> {
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries) {
        *into = classify(&self.tables(), facts, source_interface, destination_interface);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn revision(&self) -> u32 {
        self.generation
    }

    fn is_local(&self, family: u8, address: &Address) -> bool {
        self.local.contains(&(family, *address))
    }

    fn interface(&self, ifindex: u32) -> Interface {
        self.interfaces.get(&ifindex).copied().unwrap_or_default()
    }

    fn audit_mode(&self) -> bool {
        self.settings.audit_mode != 0
    }

    fn is_failsafe_port(&self, port: u32) -> bool {
        self.settings.failsafe[..self.settings.failsafe_count as usize].contains(&port)
    }

    fn places(&self, case: &Case) -> u8 {
        let may = |table| u32::from(self.may_connect(table, &case.at));
        ((may(Table::answered(case.at.protocol)) * place::ANSWERED) | (may(Table::Opening) * place::OPENING)) as u8
    }

    fn connection(&self, table: Table, key: &ConnKey, into: &mut ConnValue) -> bool {
        let connections = self.connections.borrow();
        let found = connections.get(&(table, *key));
        found.map(|value| *into = *value).is_some()
    }

    fn replace(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        self.leave_mark(table, key);
        self.connections.borrow_mut().entry((table, *key)).and_modify(|known| *known = *value);
    }

    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        self.leave_mark(table, key);
        self.connections.borrow_mut().insert((table, *key), *value);
    }

    fn remove(&self, table: Table, key: &ConnKey) {
        self.connections.borrow_mut().remove(&(table, *key));
    }

    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, now_ns: u64) {
        self.fragments.borrow_mut().insert(*key, now_ns);
    }
}
