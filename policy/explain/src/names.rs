//! Numbers as people read them, by the names that policy text has for them.

use gabion_policy_model::text::names::{ETHER_TYPES, PROTOCOLS, TCP_FLAGS, name_of};

/// The number behind a name, whatever its case.
pub(crate) fn number_of<N: Copy>(table: &[(&str, N)], name: &str) -> Option<N> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
}

/// A protocol as people read it.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    name_of(PROTOCOLS, number).map_or_else(|| format!("protocol {number}"), str::to_owned)
}

/// An EtherType as people read it.
#[must_use]
pub fn ether_type_name(number: u16) -> String {
    name_of(ETHER_TYPES, number).map_or_else(|| format!("0x{number:04x}"), str::to_owned)
}

/// TCP flags as people read them.
#[must_use]
pub fn flag_names(flags: u8) -> String {
    let names: Vec<_> = TCP_FLAGS.iter().filter(|&&(_, bit)| flags & bit != 0).map(|&(name, _)| name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}
