//! A generation that is loaded and verified, and not in force yet.

use std::path::{Path, PathBuf};

use aya::programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp};
use gabion_abi::boundary::memory;
use gabion_abi::conn::NOTE_SLOTS;
use gabion_abi::contract::Contract;
use gabion_abi::tables::{self, PARAM_COUNT, PARAM_WORDS, service};
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
    /// Its folder goes with it.
    abandoned: bool,
    /// Unknown of a generation that another process made.
    form: Option<Form>,
    folder: PathBuf,
    said: Said<'static>,
}

/// What a generation was made with.
struct Form {
    constants: Constants,
    rules: Vec<RuleInfo>,
    interfaces: Vec<String>,
}

impl Form {
    fn of(constants: Constants, compiled: &Compiled) -> Self {
        Self { constants, rules: compiled.rules.clone(), interfaces: compiled.interfaces.clone() }
    }

    /// Whether these tables can take the place of those in force: the program knows the form of its tables, and the
    /// agent what its numbers mean.
    fn takes(&self, compiled: &Compiled) -> bool {
        let Needs { table_bytes, side_bytes, .. } = self.constants.needs;
        side_bytes != 0
            && compiled.words.len() * 8 <= table_bytes as usize
            && tables::constants(&compiled.params) == self.constants.params
            && compiled.rules == self.rules
            && compiled.interfaces == self.interfaces
    }
}

/// What the verifier knew of a policy when it took the programs, besides what is random: programs of an object with the
/// same constants are the same programs, whatever lies in their tables.
pub(crate) struct Constants {
    /// SHA-256 of the object.
    object: [u8; 32],
    /// What programs know of them.
    params: [u32; PARAM_COUNT],
    needs: Needs,
}

impl Constants {
    pub(crate) fn of(programs: &Programs, compiled: &Compiled, needs: &Needs) -> Self {
        Self { object: programs.digest(), params: tables::constants(&compiled.params), needs: *needs }
    }

    /// Whether programs with these constants do for a policy that would be given others: where they differ, these have
    /// more room.
    pub(crate) fn serve(&self, other: &Self) -> bool {
        let (own, need) = (&self.needs, &other.needs);
        self.object == other.object
            && self.params == other.params
            && own.table_bytes >= need.table_bytes
            && (own.side_bytes == 0) == (need.side_bytes == 0)
            && own.rules >= need.rules
            && own.interfaces >= need.interfaces
            && own.cpus == need.cpus
    }

    /// Bytes of memory of a generation's own, about.
    fn bytes(&self) -> u64 {
        let Needs { table_bytes, side_bytes, rules, cpus, interfaces } = self.needs;
        let counters = u64::from(rules) * u64::from(cpus) * size_of::<Count>() as u64;
        u64::from(table_bytes) + u64::from(side_bytes) + counters + u64::from(interfaces) * 8
    }

    /// Whether programs with these constants are worth to be kept for a policy of the same form.
    pub(crate) fn are_worth_keeping(&self) -> bool {
        self.bytes() <= SPARE_BYTES
    }
}

/// Bytes of memory of what is kept for the next change: tables and counters of 100,000 rules on 16 processors are less.
const SPARE_BYTES: u64 = 64 << 20;

/// Where the number of a generation lies beside its revision.
pub(crate) const NUMBER_SLOT: usize = 1;
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
        Self::load_into(folder, folder.generation(number), programs, number, compiled, interfaces)
    }

    /// Loads what another generation can be made [of](Self::again), as if one had been [retired](Self::retire).
    pub(crate) fn load_spare(
        folder: &Folder,
        programs: &Programs,
        compiled: &Compiled,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, Error> {
        let mut spare = Self::load_into(folder, folder.spare(), programs, 0, compiled, interfaces)?;
        // They may be gone when it is used.
        if blank(&mut spare.interfaces) { Ok(spare) } else { Err(Error::Object { what: "memory" }) }
    }

    fn load_into(
        folder: &Folder,
        place: PathBuf,
        programs: &Programs,
        number: u32,
        compiled: &Compiled,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, Error> {
        let needs = needs(compiled, interfaces)?;
        let pins = map::STATE.iter().map(|name| Wanted::Pinned(folder.state().join(map::pin(name))));
        let loading = specialised(programs, compiled, &needs, map::STATE.into_iter().zip(pins).collect())?;
        let said = programs.said();
        let making = folder.generation_in_making(number);
        folder::remove(&making)?;
        folder::create(&making)?;
        for name in OWN {
            loading.map(name)?.pin(making.join(map::pin(name))).doing(format!("pin the map {name}"))?;
        }
        let tells_tags = [service::VLAN_OUTER, service::VLAN_INNER].iter().any(|&field| compiled.params[field] != 0);
        if tells_tags {
            folder::create(&making.join(TELLS_TAGS))?;
        }
        write(&making, said, number, compiled)?;
        let mut table = Shared::open_to_write(loading.map(map::INTERFACES)?, &memory::INTERFACES, said)?;
        for entry in interfaces {
            set_interface(&mut table, entry)?;
        }
        loading.load(&making)?;
        folder::publish(&making, &place)?;
        let mut staged = Self::open(place, number, said)?;
        staged.abandoned = true;
        staged.form = Some(Form::of(Constants::of(programs, compiled, &needs), compiled));
        Ok(staged)
    }

    /// Whether its programs do for a policy of these constants.
    pub(crate) fn serves(&self, constants: &Constants) -> bool {
        self.form.as_ref().is_some_and(|form| form.constants.serve(constants))
    }

    /// What it was made with; unknown of a generation that another process made.
    pub(crate) fn constants(&self) -> Option<&Constants> {
        self.form.as_ref().map(|form| &form.constants)
    }

    /// Takes a generation that no packet meets any more out of the way, with its counters at zero: the next one with
    /// the same constants needs no programs but these. Its folder is one that the next start removes.
    pub(crate) fn retire(&mut self, folder: &Folder) -> Result<(), Error> {
        let spare = folder.spare();
        folder::remove(&spare)?;
        folder::publish(&self.folder, &spare)?;
        self.folder = spare;
        self.abandoned = true;
        let counts = memory_map(&self.folder, &memory::RULES)?;
        let mut counts = Shared::open_to_write(&counts, &memory::RULES, &self.said)?;
        if blank(&mut counts) && blank(&mut self.interfaces) { Ok(()) } else { Err(Error::Object { what: "memory" }) }
    }

    /// Makes another generation of a [retired](Self::retire) one, for a policy of the same constants.
    pub(crate) fn again(
        mut self,
        folder: &Folder,
        number: u32,
        compiled: &Compiled,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, Error> {
        write(&self.folder, &self.said, number, compiled)?;
        for entry in interfaces {
            set_interface(&mut self.interfaces, entry)?;
        }
        folder::publish(&self.folder, &folder.generation(number))?;
        self.folder = folder.generation(number);
        self.number = number;
        self.form = self.form.take().map(|form| Form::of(form.constants, compiled));
        Ok(self)
    }

    /// Opens a generation that is pinned. `said` is what its programs say of their maps.
    pub(crate) fn open(path: PathBuf, number: u32, said: &Said<'static>) -> Result<Self, Error> {
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
            abandoned: false,
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
        self.abandoned = false;
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
        let side = if next & 1 == 0 { 0 } else { form.constants.needs.side_bytes as usize / 8 };
        let mut tables = Shared::open_to_write(&tables, &memory::TABLES, &self.said)?;
        Ok(fill(&mut tables, side, compiled) && revision.publish(0, &next))
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
        if self.abandoned {
            // What stays behind is an orphan that the next start removes.
            let _ = folder::remove(&self.folder);
        }
    }
}

/// The programs with the constants of a policy, and maps of the sizes that it takes; `state` says where those maps
/// are that outlive it.
pub(crate) fn specialised(
    programs: &Programs,
    compiled: &Compiled,
    needs: &Needs,
    state: Vec<(&'static str, Wanted)>,
) -> Result<Loading, Error> {
    let params: Vec<u8> = tables::constants(&compiled.params).iter().flat_map(|param| param.to_ne_bytes()).collect();
    let memory = |bytes| Wanted::Made(Size::Memory(bytes));
    let mut wanted = state;
    wanted.extend([
        (map::TABLES, memory(needs.side_bytes + PARAM_WORDS as u32 * 8 + needs.table_bytes + 8)),
        (map::REVISION, memory(8)),
        (map::INTERFACES, memory(needs.interfaces * size_of::<Interface>() as u32)),
        (map::RULES, memory(needs.rules * needs.cpus * size_of::<Count>() as u32)),
        (map::NOTES, memory(NOTE_SLOTS * 8)),
    ]);
    let globals = [
        (map::PARAMS, &params[..]),
        (map::TABLE_MASK, &(needs.table_bytes - 1).to_ne_bytes()[..]),
        (map::SIDE_BYTES, &needs.side_bytes.to_ne_bytes()[..]),
        (map::SEED, &random()?[..]),
        (map::INTERFACE_MASK, &(needs.interfaces - 1).to_ne_bytes()[..]),
        (map::RULE_MASK, &(needs.rules - 1).to_ne_bytes()[..]),
        (map::CPU_MASK, &(needs.cpus - 1).to_ne_bytes()[..]),
    ];
    Loading::new(programs.object().clone(), &globals, &wanted)
}

/// What a generation takes, with room for these interfaces.
pub(crate) fn needs(compiled: &Compiled, interfaces: &[InterfaceEntry]) -> Result<Needs, Error> {
    limits::check(compiled, interfaces.iter().map(|entry| entry.ifindex).max().unwrap_or(0))
}

/// Puts tables into programs that no packet meets, and says of which generation they are.
fn write(folder: &Path, said: &Said<'static>, number: u32, compiled: &Compiled) -> Result<(), Error> {
    let mut revision = Shared::open_to_write(&memory_map(folder, &memory::REVISION)?, &memory::REVISION, said)?;
    let mut tables = Shared::open_to_write(&memory_map(folder, &memory::TABLES)?, &memory::TABLES, said)?;
    let filled = fill(&mut tables, 0, compiled)
        && revision.publish(NUMBER_SLOT, &number)
        // Its lowest bit is 0, as the side that was written.
        && revision.publish(0, &first_revision(number));
    if filled { Ok(()) } else { Err(Error::Object { what: "memory for the tables" }) }
}

/// Puts parameters and words where a side of the tables begins; false when they do not fit.
pub(crate) fn fill(memory: &mut Shared<u64, Writer>, side: usize, compiled: &Compiled) -> bool {
    memory.fill(side, &tables::param_words(&compiled.params)) && memory.fill(side + PARAM_WORDS, &compiled.words)
}

/// Writes what is none of its kind all over some memory.
fn blank<T: Contract + Copy + Default>(memory: &mut Shared<T, Writer>) -> bool {
    (0..memory.len()).all(|index| memory.put(index, &T::default()))
}

/// A secret that nobody who sends packets can know.
fn random() -> Result<[u8; 8], Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).doing("ask for random bytes")?;
    Ok(bytes)
}

/// Waits until no program runs that began before; false when the kernel does not offer that (`nohz_full`).
pub(crate) fn packets_are_done() -> bool {
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
