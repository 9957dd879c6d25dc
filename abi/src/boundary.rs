//! All that crosses a boundary between the kernel programs and the agent: the list that both sides are held to.

use crate::conn::{ConnKey, ConnValue, FragmentKey};
use crate::contract::{Contract, Invalid, Payload, Place, ServiceContract, Set, Shape};
use crate::event::{Bucket, Event, Settings, Tally};
use crate::facts::{Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, unparsed};
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

/// Maps that outlive a generation. They come first in [`OBJECT`].
const STATE_PLACES: usize = 10;

const PLACES: [Place; 23] = [
    Place::keyed::<ConnKey, ConnValue>("ESTABLISHED", "lru-hash"),
    Place::keyed::<ConnKey, ConnValue>("DATAGRAMS", "lru-hash"),
    Place::keyed::<ConnKey, ConnValue>("OPENING", "lru-hash"),
    Place::of::<u16>(".data.marks", "memory"),
    Place::keyed::<FragmentKey, u64>("FRAGMENTS", "lru-hash"),
    Place::of::<Settings>(".data.settings", "memory"),
    Place::keyed::<LocalKey, u8>("LOCAL", "hash"),
    Place::of::<LocalFilter>(".data.local", "memory"),
    Place::of::<Event>("EVENTS", "ring"),
    Place::of::<Tally>(".data.tallies", "memory"),
    Place::of::<Interface>(".data.interface", "memory"),
    Place::of::<Count>(".data.rules", "memory"),
    Place::of::<u64>(".data.notes", "memory"),
    Place::of::<u64>(".rodata.tables", "memory"),
    Place::of::<u32>(".data.revision", "memory"),
    Place::of::<[u32; PARAM_COUNT]>("PARAMS", "global"),
    Place::of::<u32>("GENERATION", "global"),
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

/// What outlives a generation: what one version pinned another adopts if it says the same here.
///
/// Raise the version when what a field means changes and its place does not; all other changes show by themselves.
pub const STATE: Set<'static> = Set {
    name: "state",
    version: 7,
    records: &[
        Event::SHAPE,
        Settings::SHAPE,
        Tally::SHAPE,
        ConnKey::SHAPE,
        ConnValue::SHAPE,
        FragmentKey::SHAPE,
        LocalKey::SHAPE,
        LocalFilter::SHAPE,
    ],
    places: PLACES.split_at(STATE_PLACES).0,
    services: &[EVENTS.service()],
};
