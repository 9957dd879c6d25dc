//! The core on the host, over compiled tables, at a node to which nothing happened yet: what a program must say of a
//! probe.

use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, Facts};
use gabion_abi::tables::STATELESS;
use gabion_abi::verdict::{Interface, hook};
use gabion_kernel_core::classify::{Entries, SliceTables, classify};
use gabion_kernel_core::judge::{Case, Place as Hook, Table, World, judge, may_quote, quote};
use gabion_kernel_core::parse::parse;
use gabion_policy_compile::Compiled;

use crate::probe::{Place, Probe, Seen, Sender};

/// Where the packet is: any index will do.
const HERE: u32 = 1;
/// Where a forwarded packet came from.
const BEHIND: u32 = 2;

/// The class by which tables know an interface.
#[must_use]
pub fn interface_class(names: &[String], name: Option<&str>) -> u16 {
    let position = name.and_then(|name| names.iter().position(|known| known == name));
    // More classes than 16 bits hold cannot come from the compiler.
    position.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
}

/// What the core says of a probe. Whether it follows on another is not looked at: nothing happened before.
#[must_use]
pub fn judged(compiled: &Compiled, settings: &Settings, probe: &Probe) -> Seen {
    let class = |name| interface_class(&compiled.interfaces, name);
    let (source, destination) = (class(probe.place.source_interface()), class(probe.place.destination_interface()));
    let (place, here, behind) = match &probe.place {
        Place::Arrival { .. } => {
            (Hook { hook: hook::INGRESS.into(), source_ifindex: HERE, destination_ifindex: 0 }, source, 0)
        }
        Place::Departure { from, .. } => {
            let source_ifindex = if *from == Sender::Node { 0 } else { BEHIND };
            (Hook { hook: hook::EGRESS.into(), source_ifindex, destination_ifindex: HERE }, destination, source)
        }
    };
    let world = Blank { compiled, settings, node: probe.node, here, behind };
    let bytes = probe.frame.as_slice();
    let mut case = Case::new(place, parse(&bytes, probe.layer3));
    if world.keeps_state() && may_quote(&case) {
        quote(&bytes, &mut case);
    }
    judge(&world, &mut case);
    Seen { verdict: case.verdict, facts: case.facts }
}

/// A node without connections.
struct Blank<'a> {
    compiled: &'a Compiled,
    settings: &'a Settings,
    node: Option<(u8, Address)>,
    here: u16,
    behind: u16,
}

impl World for Blank<'_> {
    fn now_ns(&self) -> u64 {
        0
    }

    fn revision(&self) -> u32 {
        0
    }

    fn is_local(&self, family: u8, address: &Address) -> bool {
        self.node == Some((family, *address))
    }

    fn interface(&self, ifindex: u32) -> Interface {
        let class = match ifindex {
            HERE => self.here,
            BEHIND => self.behind,
            _ => 0,
        };
        Interface { class, ..Interface::default() }
    }

    fn audit_mode(&self) -> bool {
        false
    }

    fn is_failsafe_port(&self, wanted: u32) -> bool {
        self.settings.failsafe.iter().take(self.settings.failsafe_count as usize).any(|&port| port == wanted)
    }

    fn keeps_state(&self) -> bool {
        self.compiled.params[STATELESS] == 0
    }

    fn places(&self, _: &Case) -> u8 {
        0
    }

    fn connection(&self, _: Table, _: &ConnKey, _: &mut ConnValue) -> bool {
        false
    }

    fn replace(&self, _: Table, _: &ConnKey, _: &ConnValue) {}

    fn insert(&self, _: Table, _: &ConnKey, _: &ConnValue) {}

    fn remove(&self, _: Table, _: &ConnKey) {}

    fn fragment(&self, _: &FragmentKey) -> Option<u64> {
        None
    }

    fn remember_fragment(&self, _: &FragmentKey, _: u64) {}

    fn entries(&self, facts: &Facts, source_interface: u32, destination_interface: u32, into: &mut Entries) {
        let tables = SliceTables { params: &self.compiled.params, words: &self.compiled.words };
        *into = classify(&tables, facts, source_interface, destination_interface);
    }
}
