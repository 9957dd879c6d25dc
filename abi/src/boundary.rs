//! All that crosses a boundary between the kernel programs and the agent: the list that both sides are held to.

use crate::conn::{ConnKey, ConnValue, FragmentKey};
use crate::contract::{Contract, Invalid, Memory, Payload, Place, ServiceContract, Set, Shape};
use crate::event::{Bucket, Event, Settings, Tally};
use crate::facts::{Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, unparsed};
use crate::gate::{Attempt, DIGEST_BYTES, Gate};
use crate::local::{LocalFilter, LocalKey};
use crate::owner::{ListenKey, Listener, Owner};
use crate::tables::PARAM_COUNT;
use crate::verdict::{Count, DROP, Interface, Verdict, direction, hook, reason};

/// Every record of this crate.
pub const RECORDS: [&Shape; 14] = [
    Address::SHAPE,
    Facts::SHAPE,
    Verdict::SHAPE,
    Event::SHAPE,
    Settings::SHAPE,
    Bucket::SHAPE,
    Count::SHAPE,
    Tally::SHAPE,
    Interface::SHAPE,
    ConnKey::SHAPE,
    ConnValue::SHAPE,
    FragmentKey::SHAPE,
    LocalKey::SHAPE,
    LocalFilter::SHAPE,
];

/// Verdicts that kernel programs report to the agent. Raise the version when what a field means changes, and its place
/// does not.
pub const EVENTS: ServiceContract<Event> = ServiceContract::new("events", 1);

impl Payload for Event {
    fn validate(&self) -> Result<(), Invalid> {
        let Self { facts, verdict, hook, .. } = self;
        let small = [
            ("Event.hook", *hook, hook::EGRESS, "0 (ingress) or 1 (egress)"),
            ("Event.verdict.action", verdict.action, DROP, "0 (pass) or 1 (drop)"),
            ("Event.verdict.reason", verdict.reason, reason::COUNT - 1, "one of the reasons"),
            ("Event.verdict.direction", verdict.direction, direction::INGRESS, "0 (egress) or 1 (ingress)"),
            ("Event.facts.unparsed", facts.unparsed, unparsed::COUNT - 1, "one of the reasons"),
            ("Event.facts.fragment", facts.fragment, FRAGMENT_LATER, "0 (none), 1 (first) or 2 (later)"),
            ("Event.facts.transport", facts.transport, TRANSPORT_ICMP, "0 (none), 1 (ports) or 2 (ICMP)"),
            ("Event.facts.node", facts.node, 1, "0 or 1"),
        ];
        for (field, found, last, expected) in small {
            Invalid::unless(found <= last, field, found.into(), expected)?;
        }
        let known = matches!(facts.family, FAMILY_NONE | FAMILY_V4 | FAMILY_V6);
        Invalid::unless(known, "Event.facts.family", facts.family.into(), "0 (none), 4 or 6")?;
        let macs =
            [("Event.facts.source_mac", facts.source_mac), ("Event.facts.destination_mac", facts.destination_mac)];
        macs.into_iter().try_for_each(|(field, found)| Invalid::unless(found >> 48 == 0, field, found, "48 bits"))
    }
}

/// Memory that the agent opens, each map with its records.
pub mod memory {
    use super::{Count, Interface, LocalFilter, Memory, Settings, Tally};

    /// How events are limited, and the mode: one record, which the agent writes.
    pub const SETTINGS: Memory<Settings> = Memory::new(".data.settings");
    /// Which addresses may be the node's: one record, which the agent writes.
    pub const LOCAL_FILTER: Memory<LocalFilter> = Memory::new(".data.local");
    /// What each CPU counts, by CPU; that CPU writes it.
    pub const TALLIES: Memory<Tally> = Memory::new(".data.tallies");
    /// Interfaces by ifindex, which the agent writes.
    pub const INTERFACES: Memory<Interface> = Memory::new(".data.interface");
    /// Counts by CPU and rule number; that CPU writes them.
    pub const RULES: Memory<Count> = Memory::new(".data.rules");
    /// Words of the tables, one side after the other; the agent writes the one that is not in force.
    pub const TABLES: Memory<u64> = Memory::new(".rodata.tables");
    /// The revision of the tables, whose lowest bit says which side is in force; the agent writes it.
    pub const REVISION: Memory<u32> = Memory::new(".data.revision");
}

/// Maps that outlive an agent: those of the state, then those of a generation that the agent opens. They come first in
/// [`OBJECT`].
const STATE_PLACES: usize = 14;

const PLACES: [Place; 22] = [
    Place::keyed::<ConnKey, ConnValue>("ESTABLISHED", "lru-hash"),
    Place::keyed::<ConnKey, ConnValue>("DATAGRAMS", "lru-hash"),
    Place::keyed::<ConnKey, ConnValue>("OPENING", "lru-hash"),
    Place::of::<u16>(".data.marks", "memory"),
    Place::keyed::<FragmentKey, u64>("FRAGMENTS", "lru-hash"),
    memory::SETTINGS.place(),
    Place::keyed::<LocalKey, u8>("LOCAL", "hash"),
    memory::LOCAL_FILTER.place(),
    Place::of::<Event>("EVENTS", "ring"),
    memory::TALLIES.place(),
    memory::INTERFACES.place(),
    memory::RULES.place(),
    memory::TABLES.place(),
    memory::REVISION.place(),
    Place::of::<u64>(".data.notes", "memory"),
    Place::of::<[u32; PARAM_COUNT]>("PARAMS", "global"),
    Place::of::<u32>("TABLE_MASK", "global"),
    Place::of::<u32>("SIDE_BYTES", "global"),
    Place::of::<u64>("SEED", "global"),
    Place::of::<u32>("INTERFACE_MASK", "global"),
    Place::of::<u32>("RULE_MASK", "global"),
    Place::of::<u32>("CPU_MASK", "global"),
];

/// What the kernel programs and the agent share. The programs carry what they say of it in
/// [`SECTION`](crate::contract::SECTION).
pub const OBJECT: Set<'static> =
    Set { name: "object", version: 1, records: &RECORDS, places: &PLACES, services: &[EVENTS.service()] };

/// What the programs that follow sockets and the agent share.
pub const OWNERS: Set<'static> = Set {
    name: "owners",
    version: 1,
    records: &[Owner::SHAPE, ListenKey::SHAPE, Listener::SHAPE],
    places: &[
        Place::keyed::<u64, Owner>("OWNERS", "lru-hash"),
        Place::keyed::<ListenKey, Listener>("LISTENERS", "lru-hash"),
    ],
    services: &[],
};

/// What the gatekeeper and the agent share. None of it is pinned: an agent that starts makes its own.
pub const GATEKEEPER: Set<'static> = Set {
    name: "gatekeeper",
    version: 1,
    records: &[Gate::SHAPE, Attempt::SHAPE],
    places: &[
        Place::of::<Gate>("GATE", "array"),
        Place::keyed::<[u8; DIGEST_BYTES], u8>("ALLOWED", "hash"),
        Place::of::<Attempt>("ATTEMPTS", "ring"),
    ],
    services: &[],
};

/// What outlives an agent: what one version pinned another adopts if it says the same here.
///
/// Raise the version when what a field means changes and its place does not; all other changes show by themselves.
pub const STATE: Set<'static> = Set {
    name: "state",
    version: 7,
    records: &[
        Event::SHAPE,
        Settings::SHAPE,
        Count::SHAPE,
        Tally::SHAPE,
        Interface::SHAPE,
        ConnKey::SHAPE,
        ConnValue::SHAPE,
        FragmentKey::SHAPE,
        LocalKey::SHAPE,
        LocalFilter::SHAPE,
    ],
    places: PLACES.split_at(STATE_PLACES).0,
    services: &[EVENTS.service()],
};
