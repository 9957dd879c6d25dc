//! Two designs that decide by identities, as simple as they can be: no state, no counters, no fragments.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie};
use aya_ebpf::programs::XdpContext;
use gabion_testing_peers_programs::{ANY_PORT, POLICY_BITS, Services};

use crate::frame::{self, Tuple};

/// Addresses to identities. Size at load.
#[map]
static ADDRESSES: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);

/// Source identity, destination identity, protocol and port to a verdict. Size at load.
#[map]
static POLICY: LpmTrie<[u8; 12], u32> = LpmTrie::with_max_entries(1, 0);

/// Addresses of source and destination to what they may do. Size at load.
#[map]
static PAIRS: HashMap<[u32; 2], Services> = HashMap::with_max_entries(1, 0);

#[inline(always)]
fn identity(address: u32) -> Option<u32> {
    ADDRESSES.get(Key::new(32, address.to_ne_bytes())).copied()
}

#[inline(always)]
fn trie_allows(tuple: &Tuple) -> Option<()> {
    let [a, b, c, d] = identity(tuple.source)?.to_ne_bytes();
    let [e, f, g, h] = identity(tuple.destination)?.to_ne_bytes();
    let [high, low] = tuple.destination_port.to_be_bytes();
    let key = [a, b, c, d, e, f, g, h, tuple.protocol as u8, high, low, 0];
    POLICY.get(Key::new(POLICY_BITS, key)).map(|_| ())
}

/// A trie from addresses to identities, and one from identities, protocol and port to a verdict.
#[xdp(frags)]
pub fn peer_tries(context: XdpContext) -> u32 {
    let mut tuple = Tuple::default();
    if !frame::tuple(&context, &mut tuple) {
        return XDP_ABORTED;
    }
    if trie_allows(&tuple).is_some() { XDP_PASS } else { XDP_DROP }
}

#[inline(always)]
fn pair_allows(tuple: &Tuple) -> bool {
    // SAFETY: the element may be replaced while it is read, but the bench does not.
    let Some(services) = (unsafe { PAIRS.get([tuple.source, tuple.destination]) }) else { return false };
    let any = tuple.protocol << 16 | ANY_PORT as u32;
    let exact = tuple.protocol << 16 | tuple.destination_port as u32;
    services.iter().any(|&service| service == exact || service == any)
}

/// A hash of the pair of addresses, to a short list of services.
#[xdp(frags)]
pub fn peer_pairs(context: XdpContext) -> u32 {
    let mut tuple = Tuple::default();
    if !frame::tuple(&context, &mut tuple) {
        return XDP_ABORTED;
    }
    if pair_allows(&tuple) { XDP_PASS } else { XDP_DROP }
}
