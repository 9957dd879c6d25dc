//! A packet of a trace, as far as rules look at it: IPv4 and what follows.

use std::net::Ipv4Addr;

use gabion_abi::facts::{self, Address, ETHERTYPE_IPV4, Facts, protocol};
use gabion_testing_peers_programs::{FRAME_BYTES, Flow, IP, MARK_PASS, TRANSPORT};

/// MAC that frames are sent to.
pub const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0xbe, 2];
/// MAC that frames come from.
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0xbe, 1];

/// The headers of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Who sends.
    pub source: Ipv4Addr,
    /// Who receives.
    pub destination: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port where there is one; of ICMP type << 8 | code.
    pub source_port: u16,
    /// Destination port where there is one.
    pub destination_port: u16,
    /// TCP's flags.
    pub tcp_flags: u8,
}

/// Protocols whose packets carry ports.
pub const WITH_PORTS: [u8; 5] = [protocol::TCP, protocol::UDP, protocol::DCCP, protocol::SCTP, protocol::UDPLITE];

impl Header {
    /// What the generator writes into a frame to make it this packet.
    #[must_use]
    pub fn flow(&self, pass: bool) -> Flow {
        let [a, b] = self.source_port.to_be_bytes();
        let [c, d] = if self.protocol == protocol::ICMP { [0, 0] } else { self.destination_port.to_be_bytes() };
        Flow {
            source: self.source.octets(),
            destination: self.destination.octets(),
            ports: [a, b, c, d],
            protocol: self.protocol,
            tcp_flags: self.tcp_flags,
            mark: if pass { MARK_PASS } else { 0 },
            padding: 0,
        }
    }

    /// The frame that the generator makes of it, but for the header checksum, which no program looks at.
    #[must_use]
    pub fn frame(&self, pass: bool) -> [u8; FRAME_BYTES] {
        let flow = self.flow(pass);
        let mut frame = template();
        frame[IP + 9] = flow.protocol;
        frame[IP + 12..IP + 16].copy_from_slice(&flow.source);
        frame[IP + 16..IP + 20].copy_from_slice(&flow.destination);
        frame[TRANSPORT..TRANSPORT + 4].copy_from_slice(&flow.ports);
        frame[TRANSPORT + 13] = flow.tcp_flags;
        frame[gabion_testing_peers_programs::MARK] = flow.mark;
        frame
    }

    /// What a parser finds, written down from the header and not by parsing.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = Facts {
            family: facts::FAMILY_V4,
            ethertype: ETHERTYPE_IPV4,
            source: Address::v4(self.source.to_bits()),
            destination: Address::v4(self.destination.to_bits()),
            protocol: self.protocol,
            ..Facts::UNKNOWN
        };
        if WITH_PORTS.contains(&self.protocol) {
            facts.transport = facts::TRANSPORT_PORTS;
            (facts.source_port, facts.destination_port) = (self.source_port, self.destination_port);
            if self.protocol == protocol::TCP {
                facts.tcp_flags = self.tcp_flags;
            }
        } else if self.protocol == protocol::ICMP {
            facts.transport = facts::TRANSPORT_ICMP;
            [facts.icmp_type, facts.icmp_code] = self.source_port.to_be_bytes();
        }
        facts
    }
}

/// A frame in which everything is written that no flow changes. Behind the ports stands what suits all protocols:
/// UDP's length where TCP has its sequence number, TCP's offset where others have data.
#[must_use]
pub fn template() -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[..6].copy_from_slice(&RECEIVER_MAC);
    frame[6..12].copy_from_slice(&SENDER_MAC);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    let datagram = (FRAME_BYTES - IP) as u8;
    // Version and length; total length; "don't fragment"; time to live.
    (frame[IP], frame[IP + 3], frame[IP + 6], frame[IP + 8]) = (0x45, datagram, 0x40, 64);
    (frame[TRANSPORT + 5], frame[TRANSPORT + 12]) = (datagram - 20, 0x50);
    frame
}
