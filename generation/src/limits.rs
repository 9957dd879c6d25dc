//! What fits, checked before anything changes.

use gabion_abi::tables::PARAM_WORDS;
use gabion_abi::verdict::Count;
use gabion_policy_compile::Compiled;

use crate::error::{Doing, Error};

/// Words of a generation's tables: 256 MiB, rounded up to a power of two as they are. The verifier lets an offset into
/// a map's element be less than 512 MiB (`BPF_MAX_VAR_OFF`).
const WORDS_LIMIT: u64 = 1 << 25;
/// Bytes up to which tables have a second side.
const TWO_SIDES_LIMIT: u64 = 64 << 20;
/// Bytes of memory that a program may reach from one address (`BPF_MAX_VAR_OFF`).
const BYTES_LIMIT: u64 = 1 << 29;
/// Rules with counters of their own.
const RULES_LIMIT: u64 = 1 << 20;
/// Largest ifindex.
const IFINDEX_LIMIT: u64 = 1 << 20;
/// Smallest table of interfaces: room for those that appear later.
const INTERFACES_LEAST: u32 = 4_096;
/// Smallest tables, and counters of so many rules: small policies grow without other programs.
const TABLES_LEAST: u64 = 128 << 10;
/// See [`TABLES_LEAST`].
const RULES_LEAST: u64 = 1_024;

/// Sizes of what outlives a generation; they take effect when the state is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Connections that were answered, of protocols that open and close them.
    pub established: u32,
    /// Connections that were answered, of all other protocols.
    pub datagrams: u32,
    /// Connections that were not answered yet.
    pub opening: u32,
    /// Datagrams in fragments.
    pub fragments: u32,
    /// Bytes of the ring of events: a power of two and a multiple of the page size.
    pub events_bytes: u32,
}

impl Default for Sizes {
    /// About 20 MiB of kernel memory.
    fn default() -> Self {
        Self { established: 32_768, datagrams: 32_768, opening: 32_768, fragments: 4_096, events_bytes: 1 << 20 }
    }
}

/// Sizes of a generation's own maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Bytes of the tables behind their parameters, a power of two.
    pub(crate) table_bytes: u32,
    /// Bytes from one side of them to the other; 0 when there is one only, which nobody changes.
    pub(crate) side_bytes: u32,
    /// Rules that can be counted, a power of two.
    pub(crate) rules: u32,
    /// CPUs that can count, a power of two.
    pub(crate) cpus: u32,
    pub(crate) interfaces: u32,
}

/// How many CPUs there is memory for: all that may ever run, by their numbers, which may have holes; a power of two.
pub(crate) fn cpus() -> Result<u32, Error> {
    let text = std::fs::read_to_string(POSSIBLE_CPUS).doing(format!("read {POSSIBLE_CPUS}"))?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    Ok(last
        .filter(|&last| last < 1 << 16)
        .ok_or(Error::Object { what: "list of possible CPUs" })?
        .saturating_add(1)
        .next_power_of_two())
}

/// Where the kernel says which CPUs may ever run: ranges, in order.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// Bytes of memory that can be had, as /proc/meminfo estimates.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Computes the needs of a generation, or says what does not fit.
pub(crate) fn check(compiled: &Compiled, largest_ifindex: u32) -> Result<Needs, Error> {
    let words = compiled.words.len() as u64;
    let rules = compiled.rules.len() as u64;
    let fit = |what, need, limit, remedy| {
        if need > limit { Err(Error::TooLarge { what, need, limit, remedy }) } else { Ok(()) }
    };
    fit("words of the tables", words, WORDS_LIMIT, "split the policy, or name fewer distinct subjects")?;
    fit("rules", rules, RULES_LIMIT, "join rules that differ in one field only")?;
    fit(
        "ifindex",
        u64::from(largest_ifindex),
        IFINDEX_LIMIT - 1,
        "restart the network namespace to begin numbering anew",
    )?;
    let cpus = cpus()?;
    let interfaces = largest_ifindex.saturating_add(1).next_power_of_two().max(INTERFACES_LEAST);
    let table_bytes = (words * 8).next_power_of_two().max(TABLES_LEAST);
    let rules = rules.next_power_of_two().max(RULES_LEAST);
    let counter_bytes = rules * u64::from(cpus) * size_of::<Count>() as u64;
    fit(
        "bytes of counters, one a rule and CPU",
        counter_bytes,
        BYTES_LIMIT,
        "join rules that differ in one field only",
    )?;
    // Tables that are changed in place lie there twice; very large ones are not worth it.
    let side_bytes = if table_bytes <= TWO_SIDES_LIMIT { table_bytes + PARAM_WORDS as u64 * 8 } else { 0 };
    let bytes = table_bytes + side_bytes + counter_bytes + u64::from(interfaces) * 8;
    if let Some(available) = available_bytes() {
        // The old generation is there until the new one took over, and the rest of the node must live too.
        fit("bytes of kernel memory", bytes, available / 2, "free memory, or split the policy")?;
    }
    // Both are below 2^29 by the checks above; no map may be empty.
    Ok(Needs { table_bytes: table_bytes as u32, side_bytes: side_bytes as u32, rules: rules as u32, interfaces, cpus })
}
