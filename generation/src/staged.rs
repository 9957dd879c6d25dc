//! A generation that is loaded and verified, and not in force yet.

use std::path::PathBuf;

use aya::programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp};
use gabion_abi::boundary::memory;
use gabion_abi::conn::NOTE_SLOTS;
use gabion_abi::tables::{PARAM_COUNT, service};
use gabion_abi::verdict::{Count, Interface};
use gabion_contracts::Said;
use gabion_kernel_object::{EGRESS, INGRESS, map};
use gabion_policy_compile::{Compiled, RuleInfo};
use gabion_shared::{Shared, Writer};

use crate::error::{Doing, Error};
use crate::folder::{self, Folder};
use crate::limits::{self, Needs, cpus};
use crate::object::{Loading, Programs, Size, Wanted};
use crate::state::{count, memory_map};

/// An empty folder beside the programs of a generation whose policy tells VLANs apart.
const TELLS_TAGS: &str = "tells-tags";

/// Maps of a generation's own that are opened again.
pub(crate) const OWN: [&str; 4] = [map::INTERFACES, map::RULES, map::TABLES, map::REVISION];

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
    interfaces: Shared<Interface, Writer>,
    counts: Shared<Count>,
    cpus: usize,
    tells_tags: bool,
    abandoned: Option<PathBuf>,
    /// Unknown of a generation that another process made.
    form: Option<Form>,
    folder: PathBuf,
    said: Said<'static>,
}

/// What does not change about the tables of a generation.
struct Form {
    params: [u32; PARAM_COUNT],
    rules: Vec<RuleInfo>,
    interfaces: Vec<String>,
    table_bytes: u32,
    side_bytes: u32,
}

impl Form {
    fn of(compiled: &Compiled, needs: &Needs) -> Self {
        Self {
            params: compiled.params,
            rules: compiled.rules.clone(),
            interfaces: compiled.interfaces.clone(),
            table_bytes: needs.table_bytes,
            side_bytes: needs.side_bytes,
        }
    }

    /// Whether these tables can take the place of the ones that were loaded: the program knows the form of its tables,
    /// and the agent what its numbers mean.
    fn takes(&self, compiled: &Compiled) -> bool {
        self.side_bytes != 0
            && compiled.words.len() * 8 <= self.table_bytes as usize
            && compiled.params == self.params
            && compiled.rules == self.rules
            && compiled.interfaces == self.interfaces
    }
}

/// Changes of its tables that a generation numbers.
const PATCH_BITS: u32 = 12;

/// The revision that a generation begins with. No later generation has one of the same number: connections remember
/// which revision let them go.
fn first_revision(number: u32) -> u32 {
    number << PATCH_BITS
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
        let pins = map::STATE.iter().map(|name| Wanted::Pinned(folder.state().join(map::pin(name))));
        let loading = specialised(programs, number, compiled, &needs, map::STATE.into_iter().zip(pins).collect())?;
        let said = programs.said();
        let filled = Shared::open_to_write(loading.map(map::TABLES)?, &memory::TABLES, said)?.fill(0, &compiled.words)
            && Shared::open_to_write(loading.map(map::REVISION)?, &memory::REVISION, said)?
                .publish(0, &first_revision(number));
        if !filled {
            return Err(Error::Object { what: "memory for the tables" });
        }

        let making = folder.generation_in_making(number);
        folder::remove(&making)?;
        folder::create(&making)?;
        for name in OWN {
            loading.map(name)?.pin(making.join(map::pin(name))).doing(format!("pin the map {name}"))?;
        }
        let mut table = Shared::open_to_write(loading.map(map::INTERFACES)?, &memory::INTERFACES, said)?;
        let tells_tags = [service::VLAN_OUTER, service::VLAN_INNER].iter().any(|&field| compiled.params[field] != 0);
        if tells_tags {
            folder::create(&making.join(TELLS_TAGS))?;
        }
        for entry in interfaces {
            set_interface(&mut table, entry)?;
        }
        loading.load(&making)?;
        folder::publish(&making, &folder.generation(number))?;
        let mut staged = Self::open(folder, number, said)?;
        staged.abandoned = Some(folder.generation(number));
        staged.form = Some(Form::of(compiled, &needs));
        Ok(staged)
    }

    /// Opens a generation that is pinned. `said` is what its programs say of their maps.
    pub(crate) fn open(folder: &Folder, number: u32, said: &Said<'static>) -> Result<Self, Error> {
        let path = folder.generation(number);
        let step = || format!("open {}", path.display());
        Ok(Self {
            number,
            ingress: Xdp::from_pin(path.join(INGRESS), aya_obj::programs::XdpAttachType::Interface).doing(step())?,
            egress: SchedClassifier::from_pin(path.join(EGRESS)).doing(step())?,
            interfaces: Shared::open_to_write(&memory_map(&path, &memory::INTERFACES)?, &memory::INTERFACES, said)?,
            counts: Shared::open(&memory_map(&path, &memory::RULES)?, &memory::RULES, said)?,
            cpus: cpus()? as usize,
            said: said.clone(),
            tells_tags: path.join(TELLS_TAGS).is_dir(),
            abandoned: None,
            form: None,
            folder: path,
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

    /// Puts other tables in the place of those in force: each packet is judged by the old ones or by the new ones,
    /// whole. False, and nothing changes, when they do not fit and a new generation must be made: their form is
    /// another, rules or interfaces are numbered otherwise, or the kernel does not say when packets are done.
    ///
    /// Connections that the old tables let go are asked about again, as after any change.
    pub(crate) fn patch(&mut self, compiled: &Compiled) -> Result<bool, Error> {
        let Some(form) = self.form.as_ref().filter(|form| form.takes(compiled)) else { return Ok(false) };
        let revision = memory_map(&self.folder, &memory::REVISION)?;
        let mut revision = Shared::open_to_write(&revision, &memory::REVISION, &self.said)?;
        let Some(next) = revision.slot(0).and_then(|slot| slot.load().checked_add(1)) else { return Ok(false) };
        if next >> PATCH_BITS != first_revision(self.number) >> PATCH_BITS {
            return Ok(false);
        }
        // Packets that came before the last change may still read the side that is written now.
        if !packets_are_done() {
            return Ok(false);
        }
        let tables = memory_map(&self.folder, &memory::TABLES)?;
        let side = if next & 1 == 0 { 0 } else { form.side_bytes as usize / 8 };
        let filled = Shared::open_to_write(&tables, &memory::TABLES, &self.said)?.fill(side, &compiled.words);
        Ok(filled && revision.publish(0, &next))
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
        set_interface(&mut self.interfaces, &entry)
    }

    /// Packets and bytes by rule number, summed over CPUs; there are more of them than rules.
    #[must_use]
    pub fn rule_counts(&self) -> Vec<Count> {
        let counts = self.counts.lanes(self.cpus);
        (0..counts.each()).map(|rule| count(&counts, rule, |field| field)).collect()
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

/// The programs with the constants of a policy, and maps of the sizes that it takes; `state` says where those maps
/// are that outlive it.
pub(crate) fn specialised(
    programs: &Programs,
    number: u32,
    compiled: &Compiled,
    needs: &Needs,
    state: Vec<(&'static str, Wanted)>,
) -> Result<Loading, Error> {
    let params: Vec<u8> = compiled.params.iter().flat_map(|param| param.to_ne_bytes()).collect();
    let memory = |bytes| Wanted::Made(Size::Memory(bytes));
    let mut wanted = state;
    wanted.extend([
        (map::TABLES, memory(needs.side_bytes + needs.table_bytes + 8)),
        (map::REVISION, memory(8)),
        (map::INTERFACES, memory(needs.interfaces * size_of::<Interface>() as u32)),
        (map::RULES, memory(needs.rules * needs.cpus * size_of::<Count>() as u32)),
        (map::NOTES, memory(NOTE_SLOTS * 8)),
    ]);
    let globals = [
        (map::PARAMS, &params[..]),
        (map::TABLE_MASK, &(needs.table_bytes - 1).to_ne_bytes()[..]),
        (map::SIDE_BYTES, &needs.side_bytes.to_ne_bytes()[..]),
        (map::GENERATION, &number.to_ne_bytes()[..]),
        (map::SEED, &random()?[..]),
        (map::INTERFACE_MASK, &(needs.interfaces - 1).to_ne_bytes()[..]),
        (map::RULE_MASK, &(needs.rules - 1).to_ne_bytes()[..]),
        (map::CPU_MASK, &(needs.cpus - 1).to_ne_bytes()[..]),
    ];
    Loading::new(programs.object().clone(), &globals, &wanted)
}

/// A secret that nobody who sends packets can know.
fn random() -> Result<[u8; 8], Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).doing("ask for random bytes")?;
    Ok(bytes)
}

/// Waits until no program runs that began before; false when the kernel does not offer that (`nohz_full`).
fn packets_are_done() -> bool {
    // Programs run within RCU's read sections, for which this waits. With one CPU there is nothing to wait for: nobody
    // takes it from a program.
    // SAFETY: takes no pointer.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 }
}

/// Writes what is known of an interface.
fn set_interface(table: &mut Shared<Interface, Writer>, entry: &InterfaceEntry) -> Result<(), Error> {
    if table.publish(entry.ifindex as usize, &entry.interface) {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "ifindex",
        need: u64::from(entry.ifindex),
        limit: table.len() as u64 - 1,
        remedy: "apply the policy again: the next generation makes room",
    })
}
