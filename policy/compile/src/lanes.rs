//! Service classes → lanes: what most packets need, in fewer steps.

use std::collections::BTreeSet;

use gabion_abi::facts::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol};
use gabion_abi::tables::{
    FLAGS_NONE, HAS_LANES, ICMP, LANES, OTHERS, PARAM_COUNT, PORT_NONE, VID_NONE, detail, kind, lane,
};
use hashbrown::HashMap;

use crate::Excess;
use crate::intern::Interner;
use crate::term;
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
        let indices = self.fields[field].len().min(indices as usize);
        // Most neighbours are of one class.
        let mut classes: Vec<u32> = self.fields[field][..indices].chunk_by(u32::eq).map(|run| run[0]).collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() { vec![0] } else { classes }
    }

    /// What `of` says of the class of each of so many indices of a field; asked once for neighbours that are alike.
    fn by_index(&self, field: usize, indices: std::ops::Range<u32>, of: impl Fn(u32) -> u32) -> Vec<u32> {
        let all = &self.fields[field];
        let (first, end) = (indices.start as usize, indices.end as usize);
        let mut said = Vec::with_capacity(end - first);
        for run in all.get(first..end).unwrap_or_default().chunk_by(u32::eq) {
            said.resize(said.len() + run.len(), of(run[0]));
        }
        if said.is_empty() {
            said.resize(end - first, of(0));
        }
        said
    }
}

/// The service classes that TCP and UDP over IP can have, with whatever tags and fragmented or not.
pub(crate) fn of_ports(parts: &Parts) -> BTreeSet<u32> {
    let kinds = [protocol::TCP, protocol::UDP]
        .into_iter()
        .flat_map(|protocol| [0, 1, 2].map(|fragment| kind::IP + fragment * 256 + u32::from(protocol)));
    over_ip(parts, kinds)
}

/// The service classes of all that can have a connection: whole packets and first fragments over IP.
pub(crate) fn of_state(parts: &Parts) -> BTreeSet<u32> {
    over_ip(parts, kind::IP..kind::IP + 512)
}

fn over_ip(parts: &Parts, kinds: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    let [kind_detail, ports, transport, vlans, link, service] = parts.combined.as_slice() else {
        return BTreeSet::new();
    };
    let all = |field: usize| parts.classes(field, u32::MAX);
    let product = |combined: &Combined, rows: Vec<u32>, columns: &[u32]| -> Vec<u32> {
        let cells = rows.iter().flat_map(|&row| columns.iter().map(move |&column| combined.of(row, column)));
        cells.collect::<BTreeSet<u32>>().into_iter().collect()
    };
    let kinds: BTreeSet<u32> = kinds.map(|index| parts.class(term::KIND, index)).collect();
    let details = product(kind_detail, kinds.into_iter().collect(), &all(term::DETAIL));
    let flags = product(transport, product(ports, details, &all(term::SOURCE_PORT)), &all(term::FLAGS));
    let tags = product(vlans, all(term::VLAN_OUTER), &all(term::VLAN_INNER));
    let ethertypes = [ETHERTYPE_IPV4, ETHERTYPE_IPV6].map(|ip| parts.class(term::ETHERTYPE, u32::from(ip)));
    product(service, flags, &product(link, ethertypes.to_vec(), &tags)).into_iter().collect()
}

/// Combinations of ports and flags that a lane is made for.
const WORK_LIMIT: usize = 512 << 10;

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
pub(crate) fn lay(parts: &Parts, words: &mut Words, params: &mut [u32; PARAM_COUNT]) -> Result<BTreeSet<u32>, Excess> {
    let mut laid = Laid::default();
    for (number, protocol) in [protocol::TCP, protocol::UDP].into_iter().enumerate() {
        if !one(parts, protocol, LANES + number * lane::COUNT, &mut laid, words, params)? {
            return Ok(laid.classes);
        }
    }
    let [detail, source, flags] =
        [(term::DETAIL, detail::NONE), (term::SOURCE_PORT, PORT_NONE), (term::FLAGS, FLAGS_NONE)]
            .map(|(field, index)| parts.class(field, index));
    let Some(icmp) = Lane::new(parts, protocol::ICMP) else { return Ok(laid.classes) };
    let icmp = parts
        .by_index(term::DETAIL, detail::ICMP..detail::ICMP + lane::PORTS, |detail| icmp.class(detail, source, flags));
    laid.classes.extend(icmp.chunk_by(u32::eq).map(|run| run[0]));
    params[ICMP] = laid.table(icmp, true, words)?;
    let others = (0..=255).filter_map(|protocol| Some(Lane::new(parts, protocol)?.class(detail, source, flags)));
    let others: Vec<u32> = others.collect();
    laid.classes.extend(&others);
    params[OTHERS] = words.quarters(&others, "service lanes")?;
    params[HAS_LANES] = 1;
    Ok(laid.classes)
}

/// All packets of one protocol over IPv4, whole and without a tag.
struct Lane<'p> {
    combined: [&'p Combined; 4],
    kind: u32,
    link: u32,
}

impl<'p> Lane<'p> {
    fn new(parts: &'p Parts, protocol: u8) -> Option<Self> {
        let [kind_detail, ports, transport, vlans, link, service] = parts.combined.as_slice() else { return None };
        let [outer, inner] = [term::VLAN_OUTER, term::VLAN_INNER].map(|field| parts.class(field, VID_NONE));
        Some(Self {
            combined: [kind_detail, ports, transport, service],
            kind: parts.class(term::KIND, kind::IP + u32::from(protocol)),
            link: link.of(parts.class(term::ETHERTYPE, u32::from(ETHERTYPE_IPV4)), vlans.of(outer, inner)),
        })
    }

    /// The service class of these classes of fields.
    fn class(&self, detail: u32, source: u32, flags: u32) -> u32 {
        let [kind_detail, ports, transport, service] = self.combined;
        let both = ports.of(kind_detail.of(self.kind, detail), source);
        service.of(transport.of(both, flags), self.link)
    }
}

/// What the lanes share: tables by their contents, and where they lead.
#[derive(Default)]
struct Laid {
    tables: HashMap<Vec<u32>, u32>,
    classes: BTreeSet<u32>,
}

impl Laid {
    fn table(&mut self, values: Vec<u32>, paged: bool, words: &mut Words) -> Result<u32, Excess> {
        if let Some(&base) = self.tables.get(&values) {
            return Ok(base);
        }
        let what = "service lanes";
        let base = if paged { words.paged(&values, what)? } else { words.quarters(&values, what)? };
        self.tables.insert(values, base);
        Ok(base)
    }
}

fn one(
    parts: &Parts,
    protocol: u8,
    at: usize,
    laid: &mut Laid,
    words: &mut Words,
    params: &mut [u32; PARAM_COUNT],
) -> Result<bool, Excess> {
    let Some(lane_of) = Lane::new(parts, protocol) else { return Ok(false) };
    let destinations = parts.classes(term::DETAIL, detail::PORT + lane::PORTS);
    let sources = parts.classes(term::SOURCE_PORT, lane::PORTS);
    let has_flags = protocol == protocol::TCP;
    let flags =
        if has_flags { parts.classes(term::FLAGS, FLAGS_NONE) } else { vec![parts.class(term::FLAGS, FLAGS_NONE)] };
    if destinations.len().saturating_mul(sources.len()).saturating_mul(flags.len()) > WORK_LIMIT {
        return Ok(false);
    }
    // The service classes by destination port, source port and flags, each by its class.
    let rows: Vec<Vec<Vec<u32>>> = destinations
        .iter()
        .map(|&destination| {
            let by_source = |&source: &u32| -> Vec<u32> {
                flags.iter().map(|&flags| lane_of.class(destination, source, flags)).collect()
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
        laid.classes.insert(class);
    }
    let by_flags = merged((0..flags.len()).map(|flag| columns.iter().map(|cell| cell[flag]).collect::<Vec<_>>()));
    // What the ports say together: a number of its own where flags are still to come, else the service class.
    let cells = merged(columns.iter().map(|cell| by_flags.first.iter().map(|&flag| cell[flag]).collect::<Vec<_>>()));
    let flags_matter = by_flags.first.len() > 1;
    let said = |cell: usize| if flags_matter { cells.of[cell] } else { columns[cell][0] };
    let by_port = |classes: &[u32], of: &[u32], field: usize| -> Vec<u32> {
        let number: HashMap<u32, u32> = classes.iter().copied().zip(of.iter().copied()).collect();
        parts.by_index(field, 0..lane::PORTS, |class| number[&class])
    };
    params[at + lane::CLASS] = said(0);
    let width = by_source.first.len();
    let of_destination: Vec<u32> =
        rows_by_destination.of.iter().map(|&row| if width > 1 { row } else { said(row as usize) }).collect();
    if rows_by_destination.first.len() > 1 {
        let values = by_port(&destinations, &of_destination, term::DETAIL);
        params[at + lane::DESTINATION] = laid.table(values, true, words)?;
    } else if width > 1 {
        params[at + lane::CLASS] = 0;
    }
    if width > 1 {
        params[at + lane::SOURCE] = laid.table(by_port(&sources, &by_source.of, term::SOURCE_PORT), true, words)?;
        let both = (0..columns.len()).map(said).collect();
        params[at + lane::BOTH] = laid.table(both, false, words)?;
        params[at + lane::BOTH + 1] = width as u32;
    }
    if flags_matter {
        let number: HashMap<u32, u32> = flags.iter().copied().zip(by_flags.of.iter().copied()).collect();
        let by_byte = (0..FLAGS_NONE).map(|byte| number[&parts.class(term::FLAGS, byte)]).collect();
        params[at + lane::FLAGS] = laid.table(by_byte, false, words)?;
        let all = cells.first.iter().flat_map(|&cell| by_flags.first.iter().map(move |&flag| (cell, flag)));
        let all = all.map(|(cell, flag)| columns[cell][flag]).collect();
        params[at + lane::ALL] = laid.table(all, false, words)?;
        params[at + lane::ALL + 1] = by_flags.first.len() as u32;
    }
    Ok(true)
}
