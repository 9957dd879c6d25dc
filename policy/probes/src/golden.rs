//! What an owner expects, as frames with the verdicts that a program must give.

use gabion_abi::facts::FAMILY_NONE;
use gabion_policy_compile::Compiled;
use gabion_policy_explain::packet::{Packet, Place as Asked};
use gabion_policy_explain::{Directory, QueryError};
use serde::Serialize;

use crate::document::{At, Document, Expected};
use crate::frame::{NotFramed, frame};
use crate::probe::{Place, Probe, Seen, Sender};

/// One case of a document as a program can be tried on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// Where the document says so.
    pub at: At,
    /// The packet.
    pub probe: Probe,
    /// What becomes of it.
    pub expect: Expected,
    /// The rule that decides, where that is said.
    pub rule: Option<String>,
    /// Its tier, likewise.
    pub tier: Option<String>,
}

/// A case that no program can be tried on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {name}: {why}", .at.line, .at.column)]
pub struct NotProbed {
    /// Where the document says so.
    pub at: At,
    /// What people call it.
    pub name: String,
    /// Why not.
    pub why: Why,
}

/// Why a case cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is no packet.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It is no frame.
    #[error(transparent)]
    Frame(#[from] NotFramed),
    /// No hook judges it so.
    #[error("no hook judges a packet {0}; {1}")]
    Place(&'static str, &'static str),
}

/// A program that decided otherwise than its owner expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{name}: {field} is {found}, and {expected} is expected")]
pub struct Missed {
    /// What people call the case.
    pub name: String,
    /// Line of the document.
    pub line: u64,
    /// `verdict`, `rule` or `tier`.
    pub field: &'static str,
    /// What is expected.
    pub expected: String,
    /// What the program says.
    pub found: String,
}

/// The cases of a document as frames. `directory` is that of the policy that is tried.
///
/// # Errors
/// The first case that no frame can stand for.
pub fn golden(directory: &Directory<'_>, document: &Document<'_>) -> Result<Vec<Golden>, NotProbed> {
    document
        .cases()
        .map(|(at, case)| {
            let not = |why| NotProbed { at, name: case.name.clone(), why };
            let query = case.query();
            let packet = directory.packet(&query).map_err(|error| not(error.into()))?;
            let place = place(&packet).map_err(not)?;
            let bytes = frame(&packet.facts, false).map_err(|error| not(error.into()))?;
            let end = match place {
                Place::Arrival { .. } => packet.facts.destination,
                Place::Departure { .. } => packet.facts.source,
            };
            let node = (packet.facts.node != 0).then_some((packet.facts.family, end));
            let name = case.name.clone();
            let probe = Probe { name, place, layer3: false, frame: bytes, node, follows: false };
            Ok(Golden { at, probe, expect: case.expect, rule: case.rule.clone(), tier: case.tier.clone() })
        })
        .collect()
}

/// The hook that judges a packet as the question wants it.
fn place(packet: &Packet<'_>) -> Result<Place, Why> {
    let (source, destination) = (packet.source_interface, packet.destination_interface);
    let owned = |name: Option<&str>| name.map(str::to_owned);
    match (packet.asked.egress, packet.asked.ingress) {
        (true, true) if packet.facts.node != 0 => Err(Why::Place(
            "of the node itself by the policies of both ends",
            "say by `in` where it arrives, or by `out` where it leaves",
        )),
        (true, true) => Ok(match destination {
            // On arrival nobody knows by which interface it will leave.
            None => Place::Arrival { on: owned(source) },
            Some(_) => Place::Departure { from: Sender::Behind(owned(source)), by: owned(destination) },
        }),
        (true, false) if source.is_some() => Err(Why::Place(
            "that the node itself sends and that comes from an interface",
            "leave out the interface of its sender, or say by `in` where it arrives",
        )),
        (true, false) => Ok(Place::Departure { from: Sender::Node, by: owned(destination) }),
        (false, _) if packet.facts.family == FAMILY_NONE => Err(Why::Place(
            "without an IP address by the policy of its receiver alone",
            "list the addresses of the node in the site, or say by `out` where it leaves",
        )),
        (false, _) if packet.place == Asked::Departure || destination.is_some() => Err(Why::Place(
            "that leaves by the policy of its receiver alone",
            "say by `in` where it arrives, and nothing of where it leaves",
        )),
        (false, _) => Ok(Place::Arrival { on: owned(source) }),
    }
}

impl Golden {
    /// Holds a program to the expectation. `compiled` is what it was made of.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, seen: &Seen, compiled: &Compiled) -> Result<(), Missed> {
        let rule = compiled.rules.get(seen.verdict.rule as usize);
        let verdict = if seen.passes() { Expected::Allow } else { Expected::Deny };
        let name = rule.map_or("", |rule| &*rule.name);
        let tier = rule.map_or("", |rule| &*rule.tier);
        let expected = [
            ("verdict", Some(self.expect.name()), verdict.name()),
            ("rule", self.rule.as_deref(), name),
            ("tier", self.tier.as_deref(), tier),
        ];
        for (field, expected, found) in expected {
            if let Some(expected) = expected.filter(|&expected| expected != found) {
                let (expected, found) = (expected.to_owned(), found.to_owned());
                return Err(Missed { name: self.probe.name.clone(), line: self.at.line, field, expected, found });
            }
        }
        Ok(())
    }
}
