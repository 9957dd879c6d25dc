//! Connections and fragment trains: state that outlives a generation.

use crate::contract::Contract;
use crate::facts::Address;

/// A connection as its initiator sends. ICMP queries carry the identifier as both ports, so that the other
/// direction is the same key with its ends exchanged; protocols without ports carry 0.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// The initiator.
    pub source: Address,
    /// The responder.
    pub destination: Address,
    /// Port of the initiator, or ICMP identifier.
    pub source_port: u16,
    /// Port of the responder.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Address family, see [`crate::facts`].
    pub family: u8,
    /// Explicit padding.
    pub padding: u16,
}

/// What is known of a connection. Beside the key it holds all that policy asked about when it let the
/// initiator's packet go, so that another generation can be asked the same question again.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnValue {
    /// Time of the last packet in either direction, `CLOCK_BOOTTIME` nanoseconds; exact to a second.
    #[contract(unit = "ns")]
    pub seen_ns: u64,
    /// Time of the first packet.
    #[contract(unit = "ns")]
    pub born_ns: u64,
    /// Source MAC of the initiator's packet where it was judged.
    pub source_mac: u64,
    /// Destination MAC of that packet.
    pub destination_mac: u64,
    /// Revision of the tables that last found the initiator's direction allowed.
    pub revision: u32,
    /// ifindex that packet arrived on; 0 when the node itself sent it.
    pub source_ifindex: u32,
    /// ifindex it was about to leave by; 0 when it was judged on arrival.
    pub destination_ifindex: u32,
    /// Outer VID of that packet.
    pub vlan_outer: u16,
    /// Inner VID of that packet.
    pub vlan_inner: u16,
    /// One of [`state`].
    pub state: u8,
    /// Bits of [`asked`].
    pub asked: u8,
    /// TCP flags of that packet.
    pub tcp_flags: u8,
    /// ICMP type of that packet.
    pub icmp_type: u8,
    /// ICMP code of that packet.
    pub icmp_code: u8,
    /// Fragment state of that packet.
    pub fragment: u8,
    /// Explicit padding.
    pub padding: [u8; 2],
}

/// Whose policy was asked about the initiator's packet.
pub mod asked {
    /// The source's egress.
    pub const EGRESS: u8 = 1;
    /// The destination's ingress.
    pub const INGRESS: u8 = 2;
    /// Both: neither end is the node itself, as far as the hook can tell.
    pub const BOTH: u8 = EGRESS | INGRESS;
}

/// States of a connection.
pub mod state {
    /// The initiator has sent; nothing came back, or of TCP only what answers forged SYNs too.
    pub const OPENING: u8 = 1;
    /// Both sides have sent.
    pub const ESTABLISHED: u8 = 2;
    /// The initiator's FIN was seen.
    pub const CLOSING_INITIATOR: u8 = 3;
    /// The responder's FIN was seen.
    pub const CLOSING_RESPONDER: u8 = 4;
    /// Both FINs or a RST were seen: stragglers pass, a new SYN starts over, and what else the initiator sends
    /// postpones the end.
    pub const CLOSED: u8 = 5;
}

/// A datagram of which the first fragment was allowed.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Sender of the datagram.
    pub source: Address,
    /// Receiver of the datagram.
    pub destination: Address,
    /// Identification.
    pub id: u32,
    /// IP protocol.
    pub protocol: u8,
    /// Address family.
    pub family: u8,
    /// Explicit padding.
    pub padding: u16,
}

/// Places for notes of flows that were looked at a moment ago, a power of two.
pub const NOTE_SLOTS: u32 = 1 << 16;
/// Places for the times at which connections were opened or answered, a power of two.
pub const MARK_SLOTS: u32 = 1 << 18;
