//! What was decided about a packet, and by whom.

use crate::contract::Contract;

/// Where a packet is judged.
pub mod hook {
    /// XDP, on arrival.
    pub const INGRESS: u8 = 0;
    /// tcx or clsact, before departure.
    pub const EGRESS: u8 = 1;
}

/// Which end's policy decided.
pub mod direction {
    /// What the source may send.
    pub const EGRESS: u8 = 0;
    /// What the destination may receive.
    pub const INGRESS: u8 = 1;
}

/// The packet goes on.
pub const PASS: u8 = 0;
/// The packet ends here.
pub const DROP: u8 = 1;

/// Why the verdict is what it is; the index of the totals.
pub mod reason {
    /// The rule (or the default that stands at the end of the list) said so.
    pub const RULE: u8 = 0;
    /// Return traffic of an allowed connection.
    pub const REPLY: u8 = 1;
    /// ICMP error about a known connection.
    pub const RELATED: u8 = 2;
    /// Later fragment of an allowed datagram.
    pub const FRAGMENT: u8 = 3;
    /// Fail-safe port of the node itself.
    pub const FAILSAFE: u8 = 4;
    /// Would have been denied; the rule's action is audit.
    pub const AUDIT_RULE: u8 = 5;
    /// Would have been denied; the policy is in audit mode.
    pub const AUDIT_MODE: u8 = 6;
    /// Forwarded, and judged already on arrival. Not counted again.
    pub const JUDGED: u8 = 7;
    /// Number of reasons.
    pub const COUNT: u8 = 8;

    /// Names as events and the API write them.
    pub const NAMES: [&str; COUNT as usize] =
        ["rule", "reply", "related", "fragment", "fail-safe", "audit-rule", "audit-mode", "judged"];
}

/// The verdict on one packet.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rule that decided: the denying one, else the ingress rule when the ingress end was judged,
    /// else the egress rule.
    pub rule: u32,
    /// Egress rule that was consulted, or [`NO_RULE`].
    pub egress_rule: u32,
    /// Ingress rule that was consulted, or [`NO_RULE`].
    pub ingress_rule: u32,
    /// [`PASS`] or [`DROP`].
    pub action: u8,
    /// One of [`reason`].
    pub reason: u8,
    /// One of [`direction`]: the end whose rule is in `rule`.
    pub direction: u8,
    /// 1 when the deciding entry asks to be logged.
    pub log: u8,
}

/// No rule was consulted for that end.
pub const NO_RULE: u32 = u32::MAX;

/// Packets and bytes of one rule, or of one reason, on one CPU.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    #[contract(unit = "packets")]
    pub packets: u64,
    /// Bytes, from the first byte the hook sees.
    #[contract(unit = "bytes")]
    pub bytes: u64,
}

/// What the kernel program knows about one interface, by ifindex.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Interface class in this generation's tables, for either end.
    pub class: u16,
    /// Bits of [`interface`].
    pub flags: u16,
    /// Explicit padding.
    pub padding: u32,
}

/// Flags of an interface.
pub mod interface {
    /// Packets start with the IP header (tun, raw IP).
    pub const L3: u16 = 1;
    /// What arrives here was judged by an XDP hook, so the egress hook lets it go.
    pub const JUDGED: u16 = 2;
}
