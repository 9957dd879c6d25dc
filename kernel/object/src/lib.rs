//! The kernel programs, built from source by the build script and embedded as one object.
//!
//! It holds bytes and names and does nothing with them: `gabion-generation` loads them. Where the
//! BPF toolchain is missing the crate still compiles, and [`object`] says what to do.

#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// The XDP program.
pub const INGRESS: &str = "gabion_ingress";
/// The tc program.
pub const EGRESS: &str = "gabion_egress";

/// Names of maps and read-only globals, as the object's symbols spell them.
pub mod map {
    /// Global: parameters of the tables.
    pub const PARAMS: &str = "PARAMS";
    /// Global: mask of offsets into the tables.
    pub const TABLE_MASK: &str = "TABLE_MASK";
    /// Global: bytes from one side of the tables to the other.
    pub const SIDE_BYTES: &str = "SIDE_BYTES";
    /// Global: what the notes of flows are hashed under.
    pub const SEED: &str = "SEED";
    /// Revision of the tables, which says their side, and number of the generation: memory.
    pub const REVISION: &str = ".data.revision";
    /// Words of the tables: a section, which becomes a map with one element.
    pub const TABLES: &str = ".rodata.tables";
    /// Global: mask of interface indices, a power of two less one, as all masks.
    pub const INTERFACE_MASK: &str = "INTERFACE_MASK";
    /// Global: mask of rule numbers.
    pub const RULE_MASK: &str = "RULE_MASK";
    /// Global: mask of CPU numbers.
    pub const CPU_MASK: &str = "CPU_MASK";
    /// Interfaces by ifindex: memory, as all sections that follow.
    pub const INTERFACES: &str = ".data.interface";
    /// Counts by CPU and rule number.
    pub const RULES: &str = ".data.rules";
    /// What each CPU counts (`Tally`).
    pub const TALLIES: &str = ".data.tallies";
    /// Notes of flows.
    pub const NOTES: &str = ".data.notes";
    /// Marks of connections that there may be.
    pub const MARKS: &str = ".data.marks";
    /// Settings.
    pub const SETTINGS: &str = ".data.settings";
    /// The node's addresses.
    pub const LOCAL: &str = "LOCAL";
    /// Which addresses may be the node's.
    pub const LOCAL_FILTER: &str = ".data.local";
    /// Connections that were answered, of protocols that open and close them.
    pub const ESTABLISHED: &str = "ESTABLISHED";
    /// Connections that were answered, of all other protocols.
    pub const DATAGRAMS: &str = "DATAGRAMS";
    /// Connections that were not.
    pub const OPENING: &str = "OPENING";
    /// Datagrams whose first fragment passed.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// The ring of events.
    pub const EVENTS: &str = "EVENTS";

    /// Maps that outlive a generation.
    pub const STATE: [&str; 10] =
        [ESTABLISHED, DATAGRAMS, OPENING, MARKS, FRAGMENTS, SETTINGS, LOCAL, LOCAL_FILTER, EVENTS, TALLIES];

    /// The name of a map's pin: BPF file systems take no dots.
    #[must_use]
    pub fn pin(name: &str) -> &str {
        name.rsplit('.').next().unwrap_or(name)
    }
}

/// No object was embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBuilt {
    /// What was missing when this binary was built.
    pub reason: &'static str,
}

impl std::fmt::Display for NotBuilt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "this binary was built without the kernel programs ({}); `./x doctor` says what is missing, then build again",
            self.reason
        )
    }
}

impl std::error::Error for NotBuilt {}

/// The object.
pub fn object() -> Result<&'static [u8], NotBuilt> {
    EMBEDDED.map_err(|reason| NotBuilt { reason })
}
