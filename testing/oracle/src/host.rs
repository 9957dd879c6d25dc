//! The host in the kernel's place: maps as hash maps, a clock that stands still.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, Facts};
use gabion_abi::verdict::Interface;
use gabion_kernel_core::classify::{Entries, SliceTables, classify};
use gabion_kernel_core::judge::{Table, World};
use gabion_policy_compile::Compiled;

/// What a packet meets on the host.
#[derive(Debug)]
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
    connections: RefCell<HashMap<(Table, ConnKey), ConnValue>>,
    fragments: RefCell<HashMap<FragmentKey, u64>>,
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
            connections: RefCell::default(),
            fragments: RefCell::default(),
        }
    }
}

impl World for Host<'_> {
    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries) {
        let tables = SliceTables { params: &self.compiled.params, words: &self.compiled.words };
        *into = classify(&tables, facts, source_interface, destination_interface);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn generation(&self) -> u32 {
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

    fn connection(&self, table: Table, key: &ConnKey, into: &mut ConnValue) -> bool {
        let connections = self.connections.borrow();
        let found = connections.get(&(table, *key));
        found.map(|value| *into = *value).is_some()
    }

    fn replace(&self, table: Table, key: &ConnKey, value: &ConnValue) {
        self.connections.borrow_mut().entry((table, *key)).and_modify(|known| *known = *value);
    }

    fn insert(&self, table: Table, key: &ConnKey, value: &ConnValue) {
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
