//! A generation that is loaded and verified, and not in force yet.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp};
use gabion_abi::tables::service;
use gabion_abi::verdict::{Count, Interface};
use gabion_kernel_object::{EGRESS, INGRESS, map};
use gabion_policy_compile::Compiled;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Doing, Error};
use crate::folder::{self, Folder};
use crate::limits;
use crate::object::{Loading, Programs, Wanted};
use crate::pod::Record;
use crate::state::{pinned, sums};

/// An empty folder beside the programs of a generation whose policy tells VLANs apart.
const TELLS_TAGS: &str = "tells-tags";

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
    interfaces: Array<MapData, Record<Interface>>,
    counts: PerCpuArray<MapData, Record<Count>>,
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
        let pins: Vec<PathBuf> = map::STATE.iter().map(|name| folder.state().join(name)).collect();
        let state = map::STATE.into_iter().zip(pins.iter().map(|pin| Wanted::Pinned(pin))).collect();
        let loading = specialised(programs, number, compiled, largest, state)?;
        fill(loading.map(map::TABLES)?, &compiled.words)?;

        let making = folder.generation_in_making(number);
        folder::remove(&making)?;
        folder::create(&making)?;
        for name in [map::INTERFACES, map::RULE_COUNTS] {
            loading.map(name)?.pin(making.join(name)).doing(format!("pin the map {name}"))?;
        }
        let mut table: Array<_, Record<Interface>> = pinned(&making.join(map::INTERFACES))?;
        let tells_tags = [service::VLAN_OUTER, service::VLAN_INNER].iter().any(|&field| compiled.params[field] != 0);
        if tells_tags {
            folder::create(&making.join(TELLS_TAGS))?;
        }
        for entry in interfaces {
            table.set(entry.ifindex, Record(entry.interface), 0).doing("write an interface")?;
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
            interfaces: pinned(&path.join(map::INTERFACES))?,
            counts: pinned(&path.join(map::RULE_COUNTS))?,
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
        let limit = self.interfaces.len();
        if entry.ifindex >= limit {
            return Err(Error::TooLarge {
                what: "ifindex",
                need: u64::from(entry.ifindex),
                limit: u64::from(limit) - 1,
                remedy: "apply the policy again: the next generation makes room",
            });
        }
        self.interfaces.set(entry.ifindex, Record(entry.interface), 0).doing("write an interface")
    }

    /// Packets and bytes by rule number, summed over CPUs.
    pub fn rule_counts(&self) -> Result<Vec<Count>, Error> {
        sums(&self.counts)
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

/// The programs with the constants of a policy, and maps of the sizes that it takes; `state` says which maps are there
/// already.
pub(crate) fn specialised(
    programs: &Programs,
    number: u32,
    compiled: &Compiled,
    largest_ifindex: u32,
    state: Vec<(&'static str, Wanted<'_>)>,
) -> Result<Loading, Error> {
    let needs = limits::check(compiled, largest_ifindex)?;
    let params: Vec<u8> = compiled.params.iter().flat_map(|param| param.to_ne_bytes()).collect();
    let mut wanted = state;
    wanted.push((map::TABLES, Wanted::Memory(needs.table_bytes + 8)));
    wanted.push((map::INTERFACES, Wanted::Entries(needs.interfaces)));
    wanted.push((map::RULE_COUNTS, Wanted::Entries(needs.rules)));
    let globals = [
        (map::PARAMS, &params[..]),
        (map::TABLE_MASK, &(needs.table_bytes - 1).to_ne_bytes()[..]),
        (map::GENERATION, &number.to_ne_bytes()[..]),
        (map::SEED, &random()?[..]),
    ];
    Loading::new(programs.object().clone(), &globals, &wanted)
}

/// A secret that nobody who sends packets can know.
fn random() -> Result<[u8; 8], Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).doing("ask for random bytes")?;
    Ok(bytes)
}

/// Writes the words into the map's memory: one copy instead of a system call for each.
fn fill(map: &MapData, words: &[u64]) -> Result<(), Error> {
    if words.is_empty() {
        return Ok(());
    }
    let fd: BorrowedFd<'_> = map.fd().as_fd();
    let bytes = std::mem::size_of_val(words);
    // SAFETY: a fresh mapping at an address of the kernel's choice; the map has at least `words.len()` elements of 8
    // bytes, so that `bytes` lie within it, and it is unmapped below before anything else could refer to it.
    unsafe {
        let start: *mut c_void =
            rustix::mm::mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)
                .doing("map the tables")?;
        std::ptr::copy_nonoverlapping(words.as_ptr().cast::<u8>(), start.cast::<u8>(), bytes);
        rustix::mm::munmap(start, bytes).doing("unmap the tables")
    }
}
