//! One kind of packet, sent to see whether it arrives.

use gabion_testing_site::frame::Way;

use crate::{End, way};

/// Makes frames that each hold the mark.
type Maker = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>>>;

/// One kind of packet.
pub struct Probe {
    /// What it is, for people.
    pub what: String,
    /// Where it is put on the wire.
    pub from: End,
    /// Where it is looked for.
    pub to: End,
    make: Maker,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Frames sent.
    pub sent: u64,
    /// Frames that arrived.
    pub arrived: u64,
}

impl Seen {
    /// All of it arrived, or none; none when it was some.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        match self.arrived {
            0 => Some(false),
            all if all >= self.sent => Some(true),
            _ => None,
        }
    }
}

impl Probe {
    /// Any frames; each must hold the mark.
    pub fn new(what: impl Into<String>, from: End, to: End, make: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        Self { what: what.into(), from, to, make: Box::new(make) }
    }

    /// One packet of a way.
    pub fn one(
        what: impl std::fmt::Display,
        from: End,
        to: End,
        six: bool,
        make: impl Fn(&Way, &[u8]) -> Vec<u8> + 'static,
    ) -> Self {
        let way = way(from, to, six);
        let family = if six { "IPv6" } else { "IPv4" };
        Self::new(format!("{what}, {from:?} to {to:?}, {family}"), from, to, move |mark| vec![make(&way, mark)])
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(from: End, to: End, six: bool, source: u16, destination: u16) -> Self {
        Self::one(format!("UDP {source} to {destination}"), from, to, six, move |way, mark| {
            way.udp(source, destination, mark)
        })
    }

    /// A TCP segment with these flags.
    #[must_use]
    pub fn tcp(from: End, to: End, six: bool, source: u16, destination: u16, flags: u8) -> Self {
        Self::one(format!("TCP {source} to {destination} flags {flags:#04x}"), from, to, six, move |way, mark| {
            way.tcp(source, destination, flags, 1, mark)
        })
    }

    /// An ICMP message (ICMPv6 when `six`).
    #[must_use]
    pub fn icmp(from: End, to: End, six: bool, kind: u8, code: u8) -> Self {
        Self::one(format!("ICMP {kind}/{code}"), from, to, six, move |way, mark| {
            way.icmp(kind, code, [0, 7, 0, 1], mark)
        })
    }

    /// A packet of any IP protocol.
    #[must_use]
    pub fn protocol(from: End, to: End, six: bool, protocol: u8) -> Self {
        Self::one(format!("protocol {protocol}"), from, to, six, move |way, mark| way.packet(protocol, mark))
    }

    /// The same way and words, other frames.
    #[must_use]
    pub fn pieces(self, make: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        Self { make: Box::new(make), ..self }
    }

    pub(crate) fn frames(&self, mark: &[u8]) -> Vec<Vec<u8>> {
        (self.make)(mark)
    }
}
