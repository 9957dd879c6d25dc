//! Packets that a node reported, as probes: a sample of its traffic by headers.

use gabion_abi::event::Event;
use gabion_abi::facts::FAMILY_NONE;
use gabion_abi::verdict::hook;

use crate::frame::{NotFramed, frame};
use crate::probe::{Place, Probe, Sender};

/// What an event does not say of the interface that it names by number.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Its name; none when it is gone.
    pub name: Option<&'a str>,
    /// Whether packets begin with their IP header there.
    pub layer3: bool,
}

/// The packet of an event, as it was when it came: alone, whatever its connection. What the header of a packet holds
/// besides what policy sees is not kept, and of a packet that was forwarded it is not known where it came from.
///
/// # Errors
/// When no frame has these facts: of unparsed packets not all that was wrong is known.
pub fn probe(event: &Event, link: Link<'_>) -> Result<Probe, NotFramed> {
    let facts = &event.facts;
    let owned = link.name.map(str::to_owned);
    let is_node = facts.node != 0 && facts.family != FAMILY_NONE;
    let (place, end) = if event.hook == hook::INGRESS {
        (Place::Arrival { on: owned }, facts.destination)
    } else {
        // What the node sends has no IP header at times (ARP), and is its own all the same.
        let from = if facts.node != 0 { Sender::Node } else { Sender::Behind(None) };
        (Place::Departure { from, by: owned }, facts.source)
    };
    let interface = link.name.map_or_else(|| format!("interface {}", event.ifindex), str::to_owned);
    let verb = if event.hook == hook::INGRESS { "arrived on" } else { "left by" };
    Ok(Probe {
        name: format!(
            "seen {}.{:03} s after boot, {verb} {interface}",
            event.time_ns / 1_000_000_000,
            event.time_ns / 1_000_000 % 1_000
        ),
        place,
        layer3: link.layer3,
        frame: frame(facts, link.layer3)?,
        node: is_node.then_some((facts.family, end)),
        follows: false,
    })
}
