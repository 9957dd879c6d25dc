//! Two designs that decide by identities, filled with the same rules.

use std::collections::HashMap as Grouped;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie};
use gabion_testing_peers_programs::{POLICY_BITS, SERVICES};

use crate::rules::Segments;
use crate::{Failure, object};

/// Program that walks tries.
pub const TRIES: &str = "peer_tries";
/// Program that looks a pair up.
pub const PAIRS: &str = "peer_pairs";

/// A trie of addresses, and one of identities, protocol and port.
pub fn tries(segments: &Segments) -> Result<Ebpf, Failure> {
    let (identities, rules) = (segments.addresses.len() as u32, segments.rules.len() as u32);
    let mut tables = object::load(&[("ADDRESSES", identities), ("POLICY", rules)])?;
    let mut addresses = LpmTrie::<_, [u8; 4], u32>::try_from(object::map(&mut tables, "ADDRESSES")?)?;
    for (identity, address) in (0u32..).zip(&segments.addresses) {
        addresses.insert(&Key::new(32, address.octets()), identity, 0)?;
    }
    let mut policy = LpmTrie::<_, [u8; 12], u32>::try_from(object::map(&mut tables, "POLICY")?)?;
    for rule in &segments.rules {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&rule.from.to_ne_bytes());
        key[4..8].copy_from_slice(&rule.to.to_ne_bytes());
        key[8] = rule.protocol;
        key[9..11].copy_from_slice(&rule.port.to_be_bytes());
        policy.insert(&Key::new(POLICY_BITS, key), 1, 0)?;
    }
    // The program keeps its own references to the maps.
    object::program(&mut tables, TRIES)?;
    Ok(tables)
}

/// A hash of pairs of addresses.
pub fn pairs(segments: &Segments) -> Result<Ebpf, Failure> {
    let mut grouped: Grouped<[u32; 2], Vec<u32>> = Grouped::new();
    for rule in &segments.rules {
        let address = |identity: u32| u32::from_ne_bytes(segments.addresses[identity as usize].octets());
        let service = u32::from(rule.protocol) << 16 | u32::from(rule.port);
        grouped.entry([address(rule.from), address(rule.to)]).or_default().push(service);
    }
    let mut tables = object::load(&[("PAIRS", grouped.len() as u32)])?;
    let mut pairs = HashMap::<_, [u32; 2], [u32; SERVICES]>::try_from(object::map(&mut tables, "PAIRS")?)?;
    for (pair, services) in grouped {
        let mut value = [0; SERVICES];
        if services.len() > SERVICES {
            return Err(format!("a pair with {} services, the limit is {SERVICES}", services.len()).into());
        }
        value[..services.len()].copy_from_slice(&services);
        pairs.insert(pair, value, 0)?;
    }
    object::program(&mut tables, PAIRS)?;
    Ok(tables)
}
