//! What the bench and its kernel programs agree on: the frame that is sent, and the records that say how it varies.
//!
//! Constants and plain records only, no code that runs. The programs are in `main.rs`; start with `generate.rs`.

#![no_std]
#![forbid(unsafe_code)]

/// Bytes of a frame: Ethernet's smallest, without the checksum.
pub const FRAME_BYTES: usize = 60;
/// Where the IPv4 header starts.
pub const IP: usize = 14;
/// Where the transport header starts.
pub const TRANSPORT: usize = IP + 20;
/// Where the byte is that tells the program `marked` what to do: behind the longest header, inside the datagram.
pub const MARK: usize = TRANSPORT + 20;
/// The mark of a packet that is to pass; any other is dropped.
pub const MARK_PASS: u8 = 1;
/// The IPv4 header checksum's sum over everything that is the same in all frames, protocol and addresses being 0:
/// version and length, total length, "don't fragment", time to live.
pub const CHECKSUM_BASE: u32 = 0x4500 + (FRAME_BYTES - IP) as u32 + 0x4000 + 0x4000;

/// What one frame of the trace differs in. All but `protocol`, `tcp_flags` and `mark` in network byte order, as bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Source and destination port, or ICMP type, code and checksum.
    pub ports: [u8; 4],
    /// Protocol number.
    pub protocol: u8,
    /// The byte of flags where TCP has it.
    pub tcp_flags: u8,
    /// [`MARK_PASS`], or not.
    pub mark: u8,
    /// Explicit padding.
    pub padding: u8,
}

impl Flow {
    /// As the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) = (self.source, self.destination, self.ports);
        [a, b, c, d, e, f, g, h, i, j, k, l, self.protocol, self.tcp_flags, self.mark, self.padding]
    }
}

/// Where the generator is in its trace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// The next flow.
    pub next: u32,
    /// Number of flows minus one; the number is a power of two.
    pub mask: u32,
    /// Which device or program the frames go to.
    pub port: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Services that the value of a pair holds at most.
pub const SERVICES: usize = 8;
/// A port that stands for all.
pub const ANY_PORT: u16 = 0;
/// Bits of a key of the policy trie: two identities, protocol, port.
pub const POLICY_BITS: u32 = 32 + 32 + 8 + 16;

/// What a pair of addresses may do: protocol << 16 | port, 0 beyond the last.
pub type Services = [u32; SERVICES];
