//! A generation that is loaded and verified, and not in force yet.

use std::path::PathBuf;

use aya::programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp};
use gabion_abi::conn::NOTE_SLOTS;
use gabion_abi::tables::service;
use gabion_abi::verdict::{Count, Interface};
use gabion_kernel_object::{EGRESS, INGRESS, map};
use gabion_policy_compile::Compiled;

use crate::error::{Doing, Error};
use crate::folder::{self, Folder};
use crate::limits::{self, cpus};
use crate::memory::Memory;
use crate::object::{Loading, Programs, Size, Wanted};
use crate::state::sums;

/// An empty folder beside the programs of a generation whose policy tells VLANs apart.
const TELLS_TAGS: &str = "tells-tags";

/// Maps of a generation's own that are opened again.
const OWN: [&str; 2] = [map::INTERFACES, map::RULES];

/// What the programs know about one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Its index in this network namespace.
    pub ifindex: u32,
    /// Class and flags.
    pub interface: Interface,
}

/// One generation: its programs and its own maps. Its folder is removed when it is dropped before it came into force.
pub struct Staged {
    number: u32,
    pub(crate) ingress: Xdp,
    pub(crate) egress: SchedClassifier,
    interfaces: Memory,
    counts: Memory,
    tells_tags: bool,
    abandoned: Option<PathBuf>,
}

impl Staged {
    /// Loads, verifies and pins a generation.
    pub(crate) fn load(
        folder: &Folder,
        programs: &Programs,
        number: u32,
        compiled: &Compiled,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, Error> {
        let largest = interfaces.iter().map(|entry| entry.ifindex).max().unwrap_or(0);
        let needs = limits::check(compiled, largest)?;
        let params: Vec<u8> = compiled.params.iter().flat_map(|param| param.to_ne_bytes()).collect();
        let pins: Vec<PathBuf> = map::STATE.iter().map(|name| folder.state().join(map::pin(name))).collect();
        let memory = |bytes| Wanted::Made(Size::Memory(bytes));
        let mut wanted = vec![
            (map::TABLES, memory(needs.table_bytes + 8)),
            (map::INTERFACES, memory(needs.interfaces * size_of::<Interface>() as u32)),
            (map::RULES, memory(needs.rules * needs.cpus * size_of::<Count>() as u32)),
            (map::NOTES, memory(NOTE_SLOTS * 8)),
        ];
        wanted.extend(map::STATE.into_iter().zip(pins.into_iter().map(Wanted::Pinned)));
        let globals = [
            (map::PARAMS, &params[..]),
            (map::TABLE_MASK, &(needs.table_bytes - 1).to_ne_bytes()[..]),
            (map::GENERATION, &number.to_ne_bytes()[..]),
            (map::SEED, &random()?[..]),
            (map::INTERFACE_COUNT, &needs.interfaces.to_ne_bytes()[..]),
            (map::RULE_COUNT, &needs.rules.to_ne_bytes()[..]),
            (map::CPU_COUNT, &needs.cpus.to_ne_bytes()[..]),
        ];
        let loading = Loading::new(programs.object().clone(), &globals, &wanted)?;
        if !Memory::of(loading.map(map::TABLES)?)?.fill(&compiled.words) {
            return Err(Error::Object { what: "memory for the tables" });
        }

        let making = folder.generation_in_making(number);
        folder::remove(&making)?;
        folder::create(&making)?;
        for name in OWN {
            loading.map(name)?.pin(making.join(map::pin(name))).doing(format!("pin the map {name}"))?;
        }
        let table = Memory::of(loading.map(map::INTERFACES)?)?;
        let tells_tags = [service::VLAN_OUTER, service::VLAN_INNER].iter().any(|&field| compiled.params[field] != 0);
        if tells_tags {
            folder::create(&making.join(TELLS_TAGS))?;
        }
        for entry in interfaces {
            set_interface(&table, entry)?;
        }
        loading.load(&making)?;
        folder::publish(&making, &folder.generation(number))?;
        let mut staged = Self::open(folder, number)?;
        staged.abandoned = Some(folder.generation(number));
        Ok(staged)
    }

    /// Opens a generation that is pinned.
    pub(crate) fn open(folder: &Folder, number: u32) -> Result<Self, Error> {
        let path = folder.generation(number);
        let step = || format!("open {}", path.display());
        Ok(Self {
            number,
            ingress: Xdp::from_pin(path.join(INGRESS), aya_obj::programs::XdpAttachType::Interface).doing(step())?,
            egress: SchedClassifier::from_pin(path.join(EGRESS)).doing(step())?,
            interfaces: Memory::pinned(&path.join(map::pin(map::INTERFACES)))?,
            counts: Memory::pinned(&path.join(map::pin(map::RULES)))?,
            tells_tags: path.join(TELLS_TAGS).is_dir(),
            abandoned: None,
        })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether its policy tells VLANs apart.
    pub(crate) fn tells_tags(&self) -> bool {
        self.tells_tags
    }

    /// It is in force: dropping it no longer removes it.
    pub(crate) fn keep(&mut self) {
        self.abandoned = None;
    }

    /// What the kernel says of its two programs, ingress first.
    pub fn programs(&self) -> Result<[ProgramInfo; 2], Error> {
        let step = "ask about a program";
        Ok([self.ingress.info().doing(step)?, self.egress.info().doing(step)?])
    }

    /// Runs the ingress program over one packet, once or more; true when it passes. The packet arrives on
    /// `ifindex`, which must exist (1 is the loopback).
    pub fn run_ingress(&self, packet: &[u8], ifindex: u32) -> Result<bool, Error> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, packet.len() as u32, 0, ifindex, 0, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
        let options = TestRunOptions { data_in: Some(packet), ctx_in: Some(&context), ..TestRunOptions::new() };
        // XDP_PASS is 2.
        Ok(self.ingress.test_run(options).doing("run the ingress program")?.return_value == 2)
    }

    /// Runs the egress program over one packet as if the node sent it; true when it passes.
    pub fn run_egress(&self, packet: &[u8]) -> Result<bool, Error> {
        let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() };
        // TC_ACT_UNSPEC is -1.
        Ok(self.egress.test_run(options).doing("run the egress program")?.return_value == u32::MAX)
    }

    /// Changes what is known of an interface.
    pub(crate) fn set_interface(&mut self, entry: InterfaceEntry) -> Result<(), Error> {
        set_interface(&self.interfaces, &entry)
    }

    /// Packets and bytes by rule number, summed over CPUs.
    pub fn rule_counts(&self) -> Result<Vec<Count>, Error> {
        Ok(sums(&self.counts, self.counts.bytes() / 8 / cpus()? as usize))
    }

    /// The ids of its programs, ingress first.
    pub(crate) fn program_ids(&self) -> Result<[u32; 2], Error> {
        Ok(self.programs()?.map(|info| info.id()))
    }
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Staged").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = self.abandoned.take() {
            // What stays behind is an orphan that the next start removes.
            let _ = folder::remove(&path);
        }
    }
}

/// A secret that nobody who sends packets can know.
fn random() -> Result<[u8; 8], Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).doing("ask for random bytes")?;
    Ok(bytes)
}

/// Writes what is known of an interface.
fn set_interface(table: &Memory, entry: &InterfaceEntry) -> Result<(), Error> {
    let Interface { class, flags, padding } = entry.interface;
    let word = u64::from(class) | u64::from(flags) << 16 | u64::from(padding) << 32;
    if table.set_word(entry.ifindex as usize, word) {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "ifindex",
        need: u64::from(entry.ifindex),
        limit: (table.bytes() / size_of::<Interface>()) as u64 - 1,
        remedy: "apply the policy again: the next generation makes room",
    })
}
