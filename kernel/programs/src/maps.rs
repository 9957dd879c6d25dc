//! Maps and read-only globals. Sizes marked "at load" are set by the loader before the kernel sees
//! them. What the loader pins outlives a generation; the rest is the generation's own.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray, RingBuf};
use gabion_abi::conn::{ConnKey, ConnValue, FragmentKey};
use gabion_abi::event::{Settings, Tally};
use gabion_abi::local::{FILTER_WORDS, LocalFilter, LocalKey};
use gabion_abi::tables::PARAM_COUNT;
use gabion_abi::verdict::{Count, Interface};
use gabion_kernel_core::judge::Case;

/// What programs know of the parameters of the tables ([`gabion_abi::tables::constants`]). The loader fills it in
/// before the kernel freezes it.
#[unsafe(no_mangle)]
pub static PARAMS: [u32; PARAM_COUNT] = [0; PARAM_COUNT];

/// Bytes from one side of the tables to the other; filled in likewise.
#[unsafe(no_mangle)]
pub static SIDE_BYTES: u32 = 0;

/// Revision of the tables, whose lowest bit says which side is in force, and number of the generation. Memory.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.revision")]
pub static mut REVISION: [u32; 2] = [0; 2];

/// Parameters and words of the tables, one side after the other; the first word stands for all. The section becomes a
/// map of its own with one element, as large as they are, so that a program reads it like memory: a look-up in an array
/// of words would go through the stack and cost the verifier a rewrite of the program each time.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.tables")]
pub static TABLES: [u64; 1] = [0];

/// Mask of offsets into them: a power of two above their length, less one. The map is one word longer, so that the
/// largest entry that begins within ends within. Filled in like the parameters.
#[unsafe(no_mangle)]
pub static TABLE_MASK: u32 = 0;

/// What the notes of flows are hashed under; random, filled in like the parameters.
#[unsafe(no_mangle)]
pub static SEED: u64 = 0;

/// Masks of indices into the memory below, each a power of two less one; filled in like the parameters.
#[unsafe(no_mangle)]
pub static INTERFACE_MASK: u32 = 0;
/// See [`INTERFACE_MASK`].
#[unsafe(no_mangle)]
pub static RULE_MASK: u32 = 0;
/// See [`INTERFACE_MASK`].
#[unsafe(no_mangle)]
pub static CPU_MASK: u32 = 0;

/// Interfaces by ifindex. Like [`TABLES`] a section that becomes memory, shared with the agent, as long as it must be.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.interface")]
pub static mut INTERFACES: [Interface; 1] = [Interface { class: 0, flags: 0, padding: 0 }];

/// Counts by CPU and rule number. Memory.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.rules")]
pub static mut RULES: [Count; 1] = [Count { packets: 0, bytes: 0 }];

/// What each CPU counts. Memory; pinned.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.tallies")]
pub static mut TALLIES: [Tally; 1] = [Tally::ZERO];

/// Flows that were looked at a moment ago: [`gabion_kernel_core::short`]. Memory.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.notes")]
pub static mut NOTES: [u64; 1] = [0];

/// When a connection of so-and-so was seen last: [`gabion_kernel_core::marks`]. Memory; pinned.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.marks")]
pub static mut MARKS: [u16; 4] = [0; 4];

/// Settings, one record. Memory; pinned.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.settings")]
pub static mut SETTINGS: [Settings; 1] = [Settings::ZERO];

/// Which addresses may be in [`LOCAL`]. Memory; pinned.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.local")]
pub static mut LOCAL_FILTER: [LocalFilter; 1] = [LocalFilter { words: [0; FILTER_WORDS] }];

/// The packet at the ingress hook: too large for a stack of 512 bytes.
#[map]
pub static INGRESS_CASE: PerCpuArray<Case> = PerCpuArray::with_max_entries(1, 0);

/// The packet at the egress hook. Not shared with ingress, so that no nesting of the two matters.
#[map]
pub static EGRESS_CASE: PerCpuArray<Case> = PerCpuArray::with_max_entries(1, 0);

/// The node's own addresses. Pinned.
#[map]
pub static LOCAL: HashMap<LocalKey, u8> = HashMap::with_max_entries(4096, 0);

/// Connections that were answered, of protocols that open and close them. Pinned; size at load.
#[map]
pub static ESTABLISHED: LruHashMap<ConnKey, ConnValue> = LruHashMap::with_max_entries(1, 0);

/// Connections that were answered, of all other protocols. Pinned; size at load.
#[map]
pub static DATAGRAMS: LruHashMap<ConnKey, ConnValue> = LruHashMap::with_max_entries(1, 0);

/// Connections that were not answered yet. Pinned; size at load.
#[map]
pub static OPENING: LruHashMap<ConnKey, ConnValue> = LruHashMap::with_max_entries(1, 0);

/// Datagrams of which the first fragment passed, and when. Pinned; size at load.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u64> = LruHashMap::with_max_entries(1, 0);

/// Events to the agent. Pinned; size at load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);
