//! Frames as bytes: whole ones, fragments, and those that no honest sender makes.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{IpNumber, SlicedPacket, TransportSlice};

use crate::link::Mac;

/// TCP flag bits, as on the wire (RFC 9293).
pub mod tcp_flag {
    #![allow(missing_docs)]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// EtherTypes used here.
pub mod ether_type {
    #![allow(missing_docs)]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
    pub const IPV6: u16 = 0x86dd;
    pub const GOOSE: u16 = 0x88b8;
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// MAC that the frame shows.
    pub mac: Mac,
    /// Address that the packet shows.
    pub address: IpAddr,
}

/// From whom to whom. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Sender.
    pub from: Station,
    /// Receiver; its MAC is the next hop's when a router stands between.
    pub to: Station,
}

impl Way {
    /// A packet of any protocol, with its Ethernet header.
    #[must_use]
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.ethernet(&self.ip(protocol, payload))
    }

    /// A packet of any protocol, from the IP header on.
    #[must_use]
    pub fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.fragment(protocol, payload, None)
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        self.packet(IpNumber::UDP.0, &self.udp_segment(source, destination, payload))
    }

    /// UDP header and payload with the right checksum, for fragments.
    #[must_use]
    pub fn udp_segment(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::with_capacity(8 + payload.len());
        segment.extend(source.to_be_bytes());
        segment.extend(destination.to_be_bytes());
        segment.extend(((8 + payload.len()) as u16).to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(payload);
        // RFC 768: an all zero checksum means that there is none.
        let sum = match self.checksum(IpNumber::UDP.0, &segment) {
            0 => 0xffff,
            sum => sum,
        };
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(&self, source: u16, destination: u16, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::with_capacity(20 + payload.len());
        segment.extend(source.to_be_bytes());
        segment.extend(destination.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend([5 << 4, flags]);
        segment.extend(8_192_u16.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(payload);
        let sum = self.checksum(IpNumber::TCP.0, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(IpNumber::TCP.0, &segment)
    }

    /// An ICMP or ICMPv6 message, whichever the addresses ask for. `rest` is the second word of the header.
    #[must_use]
    pub fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let protocol = if self.to.address.is_ipv4() { IpNumber::ICMP.0 } else { IpNumber::IPV6_ICMP.0 };
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest);
        message.extend(payload);
        let sum = self.checksum(protocol, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(protocol, &message)
    }

    /// An echo request.
    #[must_use]
    pub fn echo(&self, id: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        self.icmp(if self.to.address.is_ipv4() { 8 } else { 128 }, 0, [high, low, 0, 1], payload)
    }

    /// One fragment: `offset` in octets (a multiple of 8), with its Ethernet header.
    #[must_use]
    pub fn fragment_of(&self, protocol: u8, piece: &[u8], id: u32, offset: u16, more: bool) -> Vec<u8> {
        self.ethernet(&self.fragment(protocol, piece, Some((id, offset, more))))
    }

    /// A transport segment cut into fragments of at most `size` octets (a multiple of 8).
    #[must_use]
    pub fn fragments(&self, protocol: u8, segment: &[u8], id: u32, size: usize) -> Vec<Vec<u8>> {
        let count = segment.len().div_ceil(size);
        segment
            .chunks(size)
            .enumerate()
            .map(|(n, piece)| self.fragment_of(protocol, piece, id, (n * size) as u16, n + 1 < count))
            .collect()
    }

    /// The way back.
    #[must_use]
    pub fn back(&self) -> Self {
        Self { from: self.to, to: self.from }
    }

    fn ethernet(&self, packet: &[u8]) -> Vec<u8> {
        let kind = if self.to.address.is_ipv4() { ether_type::IPV4 } else { ether_type::IPV6 };
        ethernet(self.to.mac, self.from.mac, kind, packet)
    }

    fn fragment(&self, protocol: u8, piece: &[u8], part: Option<(u32, u16, bool)>) -> Vec<u8> {
        let mut packet = Vec::with_capacity(48 + piece.len());
        match (self.from.address, self.to.address) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (id, offset, more) = part.unwrap_or((0, 0, false));
                packet.extend([0x45, 0]);
                packet.extend(((20 + piece.len()) as u16).to_be_bytes());
                packet.extend((id as u16).to_be_bytes());
                packet.extend(((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
                packet.extend([64, protocol, 0, 0]);
                packet.extend(from.octets());
                packet.extend(to.octets());
                let sum = fold(words(&packet));
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (from, to) => {
                let extension = if part.is_some() { 8 } else { 0 };
                packet.extend([0x60, 0, 0, 0]);
                packet.extend(((extension + piece.len()) as u16).to_be_bytes());
                packet.extend([if part.is_some() { 44 } else { protocol }, 64]);
                packet.extend(v6(from).octets());
                packet.extend(v6(to).octets());
                if let Some((id, offset, more)) = part {
                    packet.extend([protocol, 0]);
                    packet.extend(((offset & !7) | u16::from(more)).to_be_bytes());
                    packet.extend(id.to_be_bytes());
                }
            }
        }
        packet.extend(piece);
        packet
    }

    fn checksum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let mut sum = words(segment);
        // ICMP for IPv4 alone has no pseudo header.
        if protocol != IpNumber::ICMP.0 {
            sum += u64::from(protocol) + segment.len() as u64;
            for address in [self.from.address, self.to.address] {
                sum += match address {
                    IpAddr::V4(address) => words(&address.octets()),
                    IpAddr::V6(address) => words(&address.octets()),
                };
            }
        }
        fold(sum)
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// An Ethernet II frame, padded to the 60 octets that a cable carries at least.
#[must_use]
pub fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len().max(46));
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    if frame.len() < 60 {
        frame.resize(60, 0);
    }
    frame
}

/// Puts tags into a frame, outermost first: EtherType of the tag and VID.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    let mut bytes = macs.to_vec();
    for (kind, id) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(id.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

/// Whether a frame holds these bytes anywhere: how marked packets are found again.
#[must_use]
pub fn holds(frame: &[u8], marker: &[u8]) -> bool {
    !marker.is_empty() && frame.windows(marker.len()).any(|window| window == marker)
}

/// What a whole TCP or UDP packet says about itself, as a receiver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
}

impl Flow {
    /// Reads a frame; none when it is not a whole TCP or UDP packet over Ethernet.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination) = match packet.net? {
            etherparse::NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            etherparse::NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            _ => return None,
        };
        let (protocol, source_port, destination_port, flags) = match packet.transport? {
            TransportSlice::Tcp(tcp) => {
                let flags = [
                    (tcp.fin(), tcp_flag::FIN),
                    (tcp.syn(), tcp_flag::SYN),
                    (tcp.rst(), tcp_flag::RST),
                    (tcp.psh(), tcp_flag::PSH),
                    (tcp.ack(), tcp_flag::ACK),
                ];
                let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
                (IpNumber::TCP.0, tcp.source_port(), tcp.destination_port(), flags)
            }
            TransportSlice::Udp(udp) => (IpNumber::UDP.0, udp.source_port(), udp.destination_port(), 0),
            _ => return None,
        };
        Some(Self { source, destination, protocol, source_port, destination_port, flags })
    }

    /// Whether this opens a TCP connection.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn way(from: &str, to: &str) -> Way {
        let station = |text: &str, last| Station { mac: [2, 0, 0, 0, 0, last], address: text.parse().unwrap() };
        Way { from: station(from, 1), to: station(to, 2) }
    }

    /// etherparse computes the same checksums on its own.
    #[test]
    fn checksums_agree_with_another_implementation() {
        for way in [way("10.0.0.1", "10.0.0.2"), way("fd00::1", "fd00::2")] {
            let udp = way.udp(1000, 2000, b"odd");
            let packet = SlicedPacket::from_ethernet(&udp).unwrap();
            let Some(TransportSlice::Udp(slice)) = packet.transport else { unreachable!() };
            let header = slice.to_header();
            let expected = match (way.from.address, way.to.address) {
                (IpAddr::V4(a), IpAddr::V4(b)) => header.calc_checksum_ipv4_raw(a.octets(), b.octets(), b"odd"),
                (IpAddr::V6(a), IpAddr::V6(b)) => header.calc_checksum_ipv6_raw(a.octets(), b.octets(), b"odd"),
                _ => unreachable!(),
            };
            assert_eq!(expected.unwrap(), slice.checksum());
        }
    }

    #[test]
    fn a_segment_is_read_back_as_it_was_written() {
        let frame = way("fd00::1", "fd00::2").tcp(1024, 502, tcp_flag::SYN, 7, &[]);
        let flow = Flow::of(&frame).unwrap();
        assert_eq!((flow.source_port, flow.destination_port, flow.protocol), (1024, 502, 6));
        assert!(flow.opens());
        assert!(
            !Flow::of(&way("fd00::1", "fd00::2").tcp(1, 2, tcp_flag::SYN | tcp_flag::ACK, 7, &[])).unwrap().opens()
        );
    }

    #[test]
    fn fragments_cover_the_segment() {
        let way = way("10.0.0.1", "10.0.0.2");
        let pieces = way.fragments(17, &way.udp_segment(1, 2, &[7; 100]), 9, 64);
        assert_eq!(pieces.len(), 2);
        // More fragments, offset 0; then the last, offset 64 / 8.
        assert_eq!(pieces[0][20..22], [0x20, 0]);
        assert_eq!(pieces[1][20..22], [0, 8]);
        assert_eq!(pieces[1].len(), 14 + 20 + 44);
    }
}
