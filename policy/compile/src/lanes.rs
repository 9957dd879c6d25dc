//! Service classes → lanes: what most packets need, in fewer steps.

use std::collections::{BTreeSet, HashMap};

use gabion_abi::facts::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol};
use gabion_abi::tables::{
    FLAGS_NONE, HAS_LANES, LANES, PARAM_COUNT, VID_NONE, detail, kind, lane,
};

use crate::Refused;
use crate::intern::Interner;
use crate::words::Words;

/// Classes by index of one field, or of a combination by row and column.
#[derive(Debug, Default)]
pub(crate) struct Combined {
    /// Classes; empty when the second class does not matter.
    pub table: Vec<u32>,
    /// Columns.
    pub columns: usize,
}

impl Combined {
    fn of(&self, row: u32, column: u32) -> u32 {
        if self.table.is_empty() { row } else { self.table[row as usize * self.columns + column as usize] }
    }
}

/// All that service classes are made from.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Classes by index, in the order of the fields of a term; empty when all are one.
    pub fields: Vec<Vec<u32>>,
    /// Kind × detail, × source port, × flags; outer × inner VLAN, EtherType × VLANs; transport × link.
    pub combined: Vec<Combined>,
}

impl Parts {
    fn class(&self, field: usize, index: u32) -> u32 {
        self.fields[field].get(index as usize).copied().unwrap_or(0)
    }

    /// The distinct classes of a field's first indices.
    fn classes(&self, field: usize, indices: u32) -> Vec<u32> {
        let mut classes: Vec<u32> = self.fields[field].iter().take(indices as usize).copied().collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() { vec![0] } else { classes }
    }
}

/// Combinations of ports and flags that a lane is made for.
const WORK_LIMIT: usize = 4 << 20;

/// Columns that say the same, by their first: which of them stands for each, and how many there are.
struct Merged {
    of: Vec<u32>,
    first: Vec<usize>,
}

fn merged<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> Merged {
    let mut known: Interner<K> = Interner::default();
    let mut merged = Merged { of: Vec::new(), first: Vec::new() };
    for (at, key) in keys.enumerate() {
        let number = known.intern(key);
        if number as usize == merged.first.len() {
            merged.first.push(at);
        }
        merged.of.push(number);
    }
    merged
}

/// Lays the lanes, unless that would be more than they are worth, and says which service classes they lead to.
pub(crate) fn lay(parts: &Parts, words: &mut Words, params: &mut [u32; PARAM_COUNT]) -> Result<BTreeSet<u32>, Refused> {
    let mut laid = Laid::default();
    let mut number = 0;
    for ethertype in [ETHERTYPE_IPV4, ETHERTYPE_IPV6] {
        for protocol in [protocol::TCP, protocol::UDP] {
            let at = LANES + number * lane::COUNT;
            if !one(parts, ethertype, protocol, at, &mut laid, words, params)? {
                return Ok(laid.classes);
            }
            number += 1;
        }
    }
    params[HAS_LANES] = 1;
    Ok(laid.classes)
}

/// What the lanes share: tables by their contents, and where they lead.
#[derive(Default)]
struct Laid {
    tables: HashMap<Vec<u32>, u32>,
    classes: BTreeSet<u32>,
}

fn one(
    parts: &Parts,
    ethertype: u16,
    protocol: u8,
    at: usize,
    laid: &mut Laid,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<bool, Refused> {
    let Laid { tables, classes } = laid;
    let [kind_detail, ports, transport, vlans, link, service] = parts.combined.as_slice() else { return Ok(false) };
    let of_kind = parts.class(crate::term::KIND, kind::IP + u32::from(protocol));
    let of_vlans = vlans.of(parts.class(crate::term::VLAN_OUTER, VID_NONE), parts.class(crate::term::VLAN_INNER, VID_NONE));
    let of_link = link.of(parts.class(crate::term::ETHERTYPE, u32::from(ethertype)), of_vlans);
    let destinations = parts.classes(crate::term::DETAIL, detail::PORT + lane::PORTS);
    let sources = parts.classes(crate::term::SOURCE_PORT, lane::PORTS);
    let has_flags = protocol == protocol::TCP;
    let flags = if has_flags {
        parts.classes(crate::term::FLAGS, FLAGS_NONE)
    } else {
        vec![parts.class(crate::term::FLAGS, FLAGS_NONE)]
    };
    if destinations.len().saturating_mul(sources.len()).saturating_mul(flags.len()) > WORK_LIMIT {
        return Ok(false);
    }
    // The service classes by destination port, source port and flags, each by its class.
    let rows: Vec<Vec<Vec<u32>>> = destinations
        .iter()
        .map(|&destination| {
            let by_destination = kind_detail.of(of_kind, destination);
            let by_source = |&source: &u32| {
                let both = ports.of(by_destination, source);
                flags.iter().map(|&flags| service.of(transport.of(both, flags), of_link)).collect::<Vec<u32>>()
            };
            sources.iter().map(by_source).collect()
        })
        .collect();
    let rows_by_destination = merged(rows.iter());
    let by_source = merged((0..sources.len()).map(|source| rows.iter().map(|row| &row[source]).collect::<Vec<_>>()));
    let mut columns: Vec<&Vec<u32>> = Vec::new();
    for &row in &rows_by_destination.first {
        columns.extend(by_source.first.iter().map(|&source| &rows[row][source]));
    }
    for &class in columns.iter().copied().flatten() {
        classes.insert(class);
    }
    let by_flags = merged((0..flags.len()).map(|flag| columns.iter().map(|cell| cell[flag]).collect::<Vec<_>>()));
    // What the ports say together: a number of its own where flags are still to come, else the service class.
    let cells = merged(columns.iter().map(|cell| by_flags.first.iter().map(|&flag| cell[flag]).collect::<Vec<_>>()));
    let flags_matter = by_flags.first.len() > 1;
    let said = |cell: usize| if flags_matter { cells.of[cell] } else { columns[cell][0] };
    let by_port = |classes: &[u32], of: &[u32], field: usize| -> Vec<u32> {
        let number: HashMap<u32, u32> = classes.iter().copied().zip(of.iter().copied()).collect();
        (0..lane::PORTS).map(|port| number[&parts.class(field, port)]).collect()
    };
    let mut table = |values: Vec<u32>, paged: bool, words: &mut Words| -> Result<u32, Refused> {
        if let Some(&base) = tables.get(&values) {
            return Ok(base);
        }
        let what = "service lanes";
        let base = if paged { words.paged(&values, what)? } else { words.quarters(&values, what)? };
        tables.insert(values, base);
        Ok(base)
    };
    params[at + lane::CLASS] = said(0);
    let width = by_source.first.len();
    let of_destination: Vec<u32> = rows_by_destination
        .of
        .iter()
        .map(|&row| if width > 1 { row } else { said(row as usize) })
        .collect();
    if rows_by_destination.first.len() > 1 {
        let values = by_port(&destinations, &of_destination, crate::term::DETAIL);
        params[at + lane::DESTINATION] = table(values, true, words)?;
    } else if width > 1 {
        params[at + lane::CLASS] = 0;
    }
    if width > 1 {
        params[at + lane::SOURCE] = table(by_port(&sources, &by_source.of, crate::term::SOURCE_PORT), true, words)?;
        let both = (0..columns.len()).map(said).collect();
        params[at + lane::BOTH] = table(both, false, words)?;
        params[at + lane::BOTH + 1] = width as u32;
    }
    if flags_matter {
        let number: HashMap<u32, u32> = flags.iter().copied().zip(by_flags.of.iter().copied()).collect();
        let by_byte = (0..FLAGS_NONE).map(|byte| number[&parts.class(crate::term::FLAGS, byte)]).collect();
        params[at + lane::FLAGS] = table(by_byte, false, words)?;
        let all = cells.first.iter().flat_map(|&cell| by_flags.first.iter().map(move |&flag| (cell, flag)));
        let all = all.map(|(cell, flag)| columns[cell][flag]).collect();
        params[at + lane::ALL] = table(all, false, words)?;
        params[at + lane::ALL + 1] = by_flags.first.len() as u32;
    }
    Ok(true)
}
