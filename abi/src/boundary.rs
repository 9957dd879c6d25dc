//! All that crosses a boundary between the kernel programs and the agent: the list that both sides are held to.

use crate::conn::{ConnKey, ConnValue, FragmentKey};
use crate::contract::{Contract, Invalid, Payload, Place, ServiceContract, Set, Shape};
use crate::event::{Bucket, Event, Settings, Tally};
use crate::facts::{Address, FAMILY_V6, FRAGMENT_LATER, Facts, TRANSPORT_ICMP, unparsed};
use crate::local::{LocalFilter, LocalKey};
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
        let (facts, verdict) = (&self.facts, &self.verdict);
        let fields = [
            ("Event.hook", self.hook, hook::EGRESS),
            ("Event.verdict.action", verdict.action, DROP),
            ("Event.verdict.reason", verdict.reason, reason::COUNT - 1),
            ("Event.verdict.direction", verdict.direction, direction::INGRESS),
            ("Event.verdict.log", verdict.log, 1),
            ("Event.facts.family", facts.family, FAMILY_V6),
            ("Event.facts.fragment", facts.fragment, FRAGMENT_LATER),
            ("Event.facts.transport", facts.transport, TRANSPORT_ICMP),
            ("Event.facts.unparsed", facts.unparsed, unparsed::COUNT - 1),
            ("Event.facts.node", facts.node, 1),
        ];
        fields.into_iter().try_for_each(|(field, found, limit)| Invalid::above(field, found.into(), limit.into()))
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
    Place::of::<[u32; 2]>(".data.revision", "memory"),
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

/// What outlives a generation: what one version pinned another adopts if it says the same here.
///
/// Raise the version when what a field means changes and its place does not; all other changes show by themselves.
pub const STATE: Set<'static> = Set {
    name: "state",
    version: 6,
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
