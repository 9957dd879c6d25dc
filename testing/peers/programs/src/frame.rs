//! Packet memory, behind the bounds check that the verifier wants.

use aya_ebpf::programs::XdpContext;
use gabion_testing_peers_programs::{IP, TRANSPORT};

/// The first `N` bytes.
#[inline(always)]
pub fn start<const N: usize>(context: &XdpContext) -> Option<*mut u8> {
    let start = context.data();
    if start + N > context.data_end() { None } else { Some(start as *mut u8) }
}

/// The five-tuple of an IPv4 packet without options.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Tuple {
    /// Source address, in network byte order.
    pub source: u32,
    /// Destination address, likewise.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Protocol number.
    pub protocol: u32,
}

/// A parser as short as one can be that still looks before it reads; whether there is a tuple. Not an `Option` of one:
/// the compiler would keep what is undefined then on the stack, which the verifier refuses.
#[inline(always)]
pub fn tuple(context: &XdpContext, into: &mut Tuple) -> bool {
    let Some(start) = start::<{ TRANSPORT + 4 }>(context) else { return false };
    // SAFETY: everything read here lies within the bytes that `start` checked; bytes need no alignment.
    let (ethertype, ip, ports) = unsafe {
        (
            start.add(12).cast::<[u8; 2]>().read_unaligned(),
            start.add(IP).cast::<[u8; 20]>().read_unaligned(),
            start.add(TRANSPORT).cast::<[u8; 4]>().read_unaligned(),
        )
    };
    // Options move the ports, and later fragments carry none.
    if ethertype != [8, 0] || ip[0] != 0x45 || (ip[6] & 0x1f) != 0 || ip[7] != 0 {
        return false;
    }
    *into = Tuple {
        source: u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]),
        destination: u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]),
        source_port: u16::from_be_bytes([ports[0], ports[1]]),
        destination_port: u16::from_be_bytes([ports[2], ports[3]]),
        protocol: ip[9] as u32,
    };
    true
}
