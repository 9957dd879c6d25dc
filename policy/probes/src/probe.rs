//! What a probe is, and what a program says of it.

use gabion_abi::facts::{Address, Facts};
use gabion_abi::verdict::{DROP, Verdict};

/// A packet that meets a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What people call it.
    pub name: String,
    /// Where it meets the node.
    pub place: Place,
    /// Whether it begins with its IP header, as on tun devices, and not with Ethernet.
    pub layer3: bool,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The end that is the node itself, by family and address: of what arrives the destination, of what departs the
    /// source. None: the packet is for others.
    pub node: Option<(u8, Address)>,
    /// Whether it meets what the probe before it left behind (connections, fragments). All others meet a node to which
    /// nothing happened yet.
    pub follows: bool,
}

/// Where a packet meets a node. Interfaces have the names that the policy knows them by; one that it does not know, and
/// none, are alike to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It arrives.
    Arrival {
        /// On this interface.
        on: Option<String>,
    },
    /// It departs, and no hook saw it arrive.
    Departure {
        /// Who sent it.
        from: Sender,
        /// By this interface.
        by: Option<String>,
    },
}

/// Who sent a packet that departs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The node itself.
    Node,
    /// Somebody behind this interface.
    Behind(Option<String>),
}

impl Place {
    /// The interface on the source's side.
    #[must_use]
    pub fn source_interface(&self) -> Option<&str> {
        match self {
            Self::Arrival { on } => on.as_deref(),
            Self::Departure { from: Sender::Behind(name), .. } => name.as_deref(),
            Self::Departure { from: Sender::Node, .. } => None,
        }
    }

    /// The interface on the destination's side.
    #[must_use]
    pub fn destination_interface(&self) -> Option<&str> {
        match self {
            Self::Arrival { .. } => None,
            Self::Departure { by, .. } => by.as_deref(),
        }
    }
}

/// What a program says of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it reports to have decided.
    pub verdict: Verdict,
    /// What it took the packet for.
    pub facts: Facts,
}

impl Seen {
    /// Whether the packet passes.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.verdict.action != DROP
    }
}

/// Something that judges probes.
pub trait Program {
    /// Why it may not answer.
    type Error: std::error::Error;

    /// Whether an error is the program's: it contradicts itself.
    fn is_defect(error: &Self::Error) -> bool;

    /// Judges one.
    ///
    /// # Errors
    /// When it could not be asked.
    fn judge(&mut self, probe: &Probe) -> Result<Seen, Self::Error>;
}
