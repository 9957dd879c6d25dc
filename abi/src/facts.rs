//! What the parser found out about one packet.

use crate::contract::Contract;

/// An IP address as four words in host order, most significant first. IPv4 uses `words[0]` only. Aligned for copies by
/// eight bytes, which the verifier wants aligned on the stack.
#[repr(C, align(8))]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Words in host order; `words[0]` holds the first four octets on the wire.
    pub words: [u32; 4],
}

impl Address {
    /// An IPv4 address from its 32-bit value.
    #[must_use]
    pub const fn v4(value: u32) -> Self {
        Self { words: [value, 0, 0, 0] }
    }

    /// An IPv6 address from its 128-bit value.
    #[must_use]
    pub const fn v6(value: u128) -> Self {
        Self { words: [(value >> 96) as u32, (value >> 64) as u32, (value >> 32) as u32, value as u32] }
    }

    /// The 128-bit value of an IPv6 address.
    #[must_use]
    pub const fn to_v6(self) -> u128 {
        (self.words[0] as u128) << 96
            | (self.words[1] as u128) << 64
            | (self.words[2] as u128) << 32
            | self.words[3] as u128
    }

    /// Whether packets to this IPv6 address stay on the link: a link-local unicast address (fe80::/10), or a
    /// well-known multicast group of link-local scope (ff02::/16). Groups of wider scope may be forwarded.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_link(&self) -> bool {
        self.words[0] >> 22 == 0xfe80 >> 6 || self.words[0] >> 16 == 0xff02
    }
}

/// No network header that carries addresses (GOOSE, LLDP, ARP, ...).
pub const FAMILY_NONE: u8 = 0;
/// IPv4.
pub const FAMILY_V4: u8 = 4;
/// IPv6.
pub const FAMILY_V6: u8 = 6;

/// Not a fragment.
pub const FRAGMENT_NONE: u8 = 0;
/// The fragment with offset 0 and more to come; it carries the transport header.
pub const FRAGMENT_FIRST: u8 = 1;
/// A fragment with an offset above 0; it carries no transport header.
pub const FRAGMENT_LATER: u8 = 2;

/// The packet has no transport fields (later fragment, protocol without ports, no IP).
pub const TRANSPORT_NONE: u8 = 0;
/// `source_port` and `destination_port` hold ports (TCP, UDP, UDP-Lite, SCTP, DCCP).
pub const TRANSPORT_PORTS: u8 = 1;
/// `icmp_type` and `icmp_code` hold the ICMP or ICMPv6 header's.
pub const TRANSPORT_ICMP: u8 = 2;

/// EtherType that stands for 802.3 with an LLC header (`ETH_P_802_2`); `llc` holds DSAP and SSAP.
/// SNAP with OUI 00-00-00 is reported under its own EtherType instead.
pub const ETHERTYPE_LLC: u16 = 0x0004;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IP protocol numbers that the parser or the policy treats by name (IANA registry).
pub mod protocol {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const OSPF: u8 = 89;
    pub const VRRP: u8 = 112;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDPLITE: u8 = 136;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// TCP flag bits as on the wire (RFC 9293).
pub mod tcp {
    #![allow(missing_docs)]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Why a packet, or the rest of it, could not be parsed. 0 means that it could.
pub mod unparsed {
    /// Everything was parsed.
    pub const NONE: u8 = 0;
    /// Shorter than an Ethernet header.
    pub const LINK_TRUNCATED: u8 = 1;
    /// More than two VLAN tags.
    pub const VLAN_DEPTH: u8 = 2;
    /// 802.3 length or LLC/SNAP header beyond the end of the frame.
    pub const LLC_TRUNCATED: u8 = 3;
    /// IPv4 or IPv6 header beyond the end of the packet.
    pub const NETWORK_TRUNCATED: u8 = 4;
    /// IP version, IHL or total length contradicts the header.
    pub const NETWORK_MALFORMED: u8 = 5;
    /// IPv6 extension header beyond the end of the packet, of impossible length, or out of place
    /// (hop-by-hop options not first, a second fragment header).
    pub const EXTENSION_MALFORMED: u8 = 6;
    /// More IPv6 extension headers than [`super::EXTENSION_LIMIT`].
    pub const EXTENSION_DEPTH: u8 = 7;
    /// Transport header beyond the end of the packet (or of the first fragment).
    pub const TRANSPORT_TRUNCATED: u8 = 8;
    /// TCP data offset or another transport length is impossible.
    pub const TRANSPORT_MALFORMED: u8 = 9;
    /// A later fragment that would overwrite the transport header (RFC 1858, RFC 3128, RFC 5722).
    pub const FRAGMENT_OVERLAP: u8 = 10;
    /// Fragment that runs past 65,535 octets.
    pub const FRAGMENT_MALFORMED: u8 = 11;
    /// IPv4 or IPv6 addresses that no sender can have (source multicast or limited broadcast).
    pub const ADDRESS_MALFORMED: u8 = 12;
    /// One more than the largest reason.
    pub const COUNT: u8 = 13;

    /// Names as policy text and events write them, by reason.
    pub const NAMES: [&str; COUNT as usize] = [
        "parsed",
        "link-truncated",
        "vlan-depth",
        "llc-truncated",
        "network-truncated",
        "network-malformed",
        "extension-malformed",
        "extension-depth",
        "transport-truncated",
        "transport-malformed",
        "fragment-overlap",
        "fragment-malformed",
        "address-malformed",
    ];
}

/// IPv6 extension headers that are followed before the packet counts as unparsed.
pub const EXTENSION_LIMIT: usize = 8;

/// No VLAN tag in [`Facts::vlan_outer`] or [`Facts::vlan_inner`]. Tagged frames hold VID 0..=4095.
pub const VLAN_NONE: u16 = 0xffff;

/// The facts of one packet. Fields that do not apply are zero (VLANs: [`VLAN_NONE`]).
///
/// With `unparsed != 0` the fields found before the fault are kept, so that policy can still see
/// who sent it.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Source IP address; of ARP none is taken.
    pub source: Address,
    /// Destination IP address.
    pub destination: Address,
    /// Source MAC in the low 48 bits, first octet on the wire most significant; 0 on L3 devices.
    pub source_mac: u64,
    /// Destination MAC, the same form.
    pub destination_mac: u64,
    /// IPv4 identification or IPv6 fragment identification; 0 when not a fragment.
    pub fragment_id: u32,
    /// EtherType after VLAN tags; [`ETHERTYPE_LLC`] for LLC; derived from the version on L3 devices.
    pub ethertype: u16,
    /// DSAP in the high, SSAP in the low byte for [`ETHERTYPE_LLC`].
    pub llc: u16,
    /// VID of the outermost tag (802.1Q or 802.1ad), or [`VLAN_NONE`].
    pub vlan_outer: u16,
    /// VID of the second tag, or [`VLAN_NONE`].
    pub vlan_inner: u16,
    /// Source port; 0 unless `transport` is [`TRANSPORT_PORTS`].
    pub source_port: u16,
    /// Destination port; likewise.
    pub destination_port: u16,
    /// [`FAMILY_NONE`], [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u8,
    /// IPv4 protocol or IPv6 upper-layer protocol after the extension headers. Of a later IPv6 fragment
    /// it is what the fragment header names, which can be another extension header.
    pub protocol: u8,
    /// [`FRAGMENT_NONE`], [`FRAGMENT_FIRST`] or [`FRAGMENT_LATER`].
    pub fragment: u8,
    /// [`TRANSPORT_NONE`], [`TRANSPORT_PORTS`] or [`TRANSPORT_ICMP`].
    pub transport: u8,
    /// ICMP or ICMPv6 type.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code.
    pub icmp_code: u8,
    /// TCP flags byte.
    pub tcp_flags: u8,
    /// Reason from [`unparsed`].
    pub unparsed: u8,
    /// Offset of the transport header from the first byte of the packet; 0 without one.
    #[contract(unit = "bytes")]
    pub transport_offset: u16,
    /// Identifier of ICMP and ICMPv6 echo, timestamp and address-mask messages; else 0.
    pub icmp_id: u16,
    /// Hop limit of IPv6; 0 without an IPv6 header.
    pub hop_limit: u8,
    /// 1 when the packet is for the node itself (on arrival) or from it (on departure), else 0. The parser
    /// cannot know: it is filled in where the packet is judged.
    pub node: u8,
    /// Explicit padding.
    pub padding: [u8; 2],
}

impl Facts {
    /// Facts of a packet of which nothing is known yet.
    pub const UNKNOWN: Self = Self {
        source: Address { words: [0; 4] },
        destination: Address { words: [0; 4] },
        source_mac: 0,
        destination_mac: 0,
        fragment_id: 0,
        ethertype: 0,
        llc: 0,
        vlan_outer: VLAN_NONE,
        vlan_inner: VLAN_NONE,
        source_port: 0,
        destination_port: 0,
        family: FAMILY_NONE,
        protocol: 0,
        fragment: FRAGMENT_NONE,
        transport: TRANSPORT_NONE,
        icmp_type: 0,
        icmp_code: 0,
        tcp_flags: 0,
        unparsed: unparsed::NONE,
        transport_offset: 0,
        icmp_id: 0,
        hop_limit: 0,
        node: 0,
        padding: [0; 2],
    };

    /// ARP, or genuine neighbour discovery: without them no address resolves, so only rules that name
    /// them judge them.
    #[must_use]
    #[inline(always)]
    pub const fn is_link_control(&self) -> bool {
        self.unparsed == unparsed::NONE && (self.ethertype == ETHERTYPE_ARP || self.is_discovery())
    }

    /// Whether this is ICMPv6 of types 133 to 137, genuine or not.
    #[must_use]
    #[inline(always)]
    pub const fn has_discovery_type(&self) -> bool {
        self.protocol == protocol::ICMPV6
            && self.family == FAMILY_V6
            && self.unparsed == unparsed::NONE
            && self.transport == TRANSPORT_ICMP
            && self.icmp_type >= ND_FIRST
            && self.icmp_type <= ND_LAST
    }

    /// One of the five neighbour discovery messages (ICMPv6 133 to 137), and one that can be meant for this link:
    /// no router forwarded it (hop limit 255) and its code is 0, as every receiver checks (RFC 4861 §6.1, §7.1,
    /// §8.1); it is no fragment (RFC 6980 §5); and it goes no further than the link, or it is the node's own
    /// business. Anything else of these types is an ordinary packet, which a router forwards like any other.
    #[must_use]
    #[inline(always)]
    pub const fn is_discovery(&self) -> bool {
        self.has_discovery_type()
            && self.fragment == FRAGMENT_NONE
            && self.icmp_code == 0
            && self.hop_limit == ND_HOP_LIMIT
            && (self.node != 0 || self.destination.is_of_link())
    }
}

/// First ICMPv6 type of neighbour discovery (router solicitation).
pub const ND_FIRST: u8 = 133;
/// Last ICMPv6 type of neighbour discovery (redirect).
pub const ND_LAST: u8 = 137;
/// Hop limit that neighbour discovery is sent with, and that no forwarded packet can have.
pub const ND_HOP_LIMIT: u8 = 255;
