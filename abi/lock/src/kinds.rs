//! Names of map types: `enum bpf_map_type` of the kernel's user interface, in its order.

const NAMES: [&str; 34] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
];

/// The name of a map type, or its number.
pub(crate) fn name(kind: u32) -> String {
    NAMES.get(kind as usize).map_or_else(|| kind.to_string(), |name| (*name).to_owned())
}

/// The map type of a name, or of a number that has none.
pub(crate) fn number(name: &str) -> Option<u32> {
    let known = NAMES.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok());
    known.or_else(|| name.parse().ok().filter(|number| *number as usize >= NAMES.len()))
}
