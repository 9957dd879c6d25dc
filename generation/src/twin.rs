//! A generation's programs, to be tried on packets that nobody sent.
//!
//! A run of the staged programs themselves would leave connections, counts and events in what the generation in force
//! uses. A twin is the same object with the same constants and tables, so that the verifier makes the same program of
//! it, and with maps of its own: nothing of it is pinned or attached, and all of it goes with the last descriptor.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{HashMap, Map, MapData, RingBuf};
use gabion_abi::boundary::memory;
use gabion_abi::conn::{ConnKey, FragmentKey, MARK_SLOTS};
use gabion_abi::event::{Event, Settings, Tally};
use gabion_abi::facts::Address;
use gabion_abi::local::{LocalFilter, LocalKey};
use gabion_abi::verdict::{DROP, Interface, interface};
use gabion_kernel_object::map;
use gabion_policy_compile::Compiled;
use gabion_policy_probes::{Place, Probe, Program, Seen, Sender, interface_class};
use gabion_shared::{Shared, Writer};

use crate::calls;
use crate::error::{Doing, Error};
use crate::limits::Sizes;
use crate::measure::ask;
use crate::object::{self, Programs, Wanted};
use crate::pod::Record;
use crate::staged::{Constants, InterfaceEntry, NUMBER_SLOT, fill, needs, specialised};
use crate::state::{self, event};

/// What the kernel runs a program for: the loopback, which every network namespace has, and which is the first.
const HERE: u32 = 1;
/// What a forwarded packet is said to have come from. No device of it need exist.
const BEHIND: u32 = 2;
/// What events call the generation.
const NUMBER: u32 = 1;
/// Connections that a sequence of probes may open.
const ENTRIES: u32 = 1_024;
/// Bytes of the ring: the events of one probe.
const RING_BYTES: u32 = 1 << 16;
/// Shorter packets the kernel does not run programs on (`ETH_HLEN`).
const SHORTEST: usize = 14;
/// What programs return for a packet that goes on.
const XDP_PASS: u32 = 2;
/// See [`XDP_PASS`].
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// What a program knows besides its policy.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Interfaces of the node, of which only the largest index counts: the programs know how many there can be.
    pub interfaces: &'a [InterfaceEntry],
    /// Fail-safe ports. Everything is reported and nothing is audited, whatever else they say: the mode is the
    /// agent's and not the policy's.
    pub settings: &'a Settings,
}

/// Why a probe has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel would not run the program.
    #[error("probe {name}: {source}")]
    Refused {
        /// The probe.
        name: String,
        /// What it said.
        source: Error,
    },
    /// It is shorter than what the kernel runs programs on.
    #[error("probe {name}: the kernel runs programs on packets of {SHORTEST} bytes or more, and this has {bytes}")]
    Short {
        /// The probe.
        name: String,
        /// Its bytes.
        bytes: usize,
    },
    /// The ways through the program do not agree, or it says one thing and does another.
    #[error("probe {name}: the program {what}; this is a defect of gabion, and the generation must not go live")]
    Contradiction {
        /// The probe.
        name: String,
        /// What it does.
        what: String,
    },
}

/// What the kernel made of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub id: u32,
    /// Instructions that the verifier walked.
    pub verified: u32,
    /// Bytes of what it left.
    pub translated_bytes: u32,
}

/// The programs of a policy with maps of their own.
pub struct Twin {
    /// Ingress, egress.
    programs: [OwnedFd; 2],
    constants: Constants,
    tables: Shared<u64, Writer>,
    classes: Vec<String>,
    settings: Settings,
    cpus: usize,
    setting: Shared<Settings, Writer>,
    interfaces: Shared<Interface, Writer>,
    filter: Shared<LocalFilter, Writer>,
    revision: Shared<u32, Writer>,
    tallies: Shared<Tally, Writer>,
    marks: MapData,
    local: HashMap<MapData, Record<LocalKey>, u8>,
    node: Option<(u8, Address)>,
    /// Connections and fragments, with the bytes of their keys.
    state: [(MapData, usize); 4],
    events: RingBuf<MapData>,
}

impl std::fmt::Debug for Twin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Twin").field("classes", &self.classes).finish_non_exhaustive()
    }
}

impl Twin {
    /// Loads and verifies the programs of a policy, beside whatever is loaded.
    ///
    /// # Errors
    /// When the policy does not fit, or the kernel refuses.
    pub fn load(programs: &Programs, compiled: &Compiled, around: &Surroundings<'_>) -> Result<Self, Error> {
        let needs = needs(compiled, around.interfaces)?;
        let constants = Constants::of(programs, compiled, &needs);
        let sizes = Sizes {
            established: ENTRIES,
            datagrams: ENTRIES,
            opening: ENTRIES,
            fragments: ENTRIES,
            events_bytes: RING_BYTES,
        };
        let mut made = Vec::new();
        for name in map::STATE {
            made.push((name, Wanted::Made(state::size(name, &sizes)?)));
        }
        let loading = specialised(programs, compiled, &needs, made)?;
        let said = programs.said();
        let tables = Shared::open_to_write(loading.map(map::TABLES)?, &memory::TABLES, said)?;
        let setting = Shared::open_to_write(loading.map(map::SETTINGS)?, &memory::SETTINGS, said)?;
        let interfaces = Shared::open_to_write(loading.map(map::INTERFACES)?, &memory::INTERFACES, said)?;
        let filter = Shared::open_to_write(loading.map(map::LOCAL_FILTER)?, &memory::LOCAL_FILTER, said)?;
        let mut revision = Shared::open_to_write(loading.map(map::REVISION)?, &memory::REVISION, said)?;
        if !revision.publish(NUMBER_SLOT, &NUMBER) {
            return Err(Error::Object { what: "revision" });
        }
        let tallies = Shared::open_to_write(loading.map(map::TALLIES)?, &memory::TALLIES, said)?;
        let programs = loading.load_both()?;
        // The object is done with, and so is each map that nobody here asks for: the programs hold theirs.
        let mut maps = loading.into_maps();
        let mut take = |name| maps.remove(name).ok_or(Error::Object { what: name });
        let opened = |map| Map::from_map_data(map).doing("open a map of a twin");
        let (connection, fragment) = (size_of::<ConnKey>(), size_of::<FragmentKey>());
        let twin = Self {
            programs,
            constants,
            tables,
            classes: Vec::new(),
            settings: *around.settings,
            cpus: needs.cpus as usize,
            setting,
            interfaces,
            filter,
            revision,
            tallies,
            marks: take(map::MARKS)?,
            local: HashMap::try_from(opened(take(map::LOCAL)?)?).doing("open a map of a twin")?,
            node: None,
            state: [
                (take(map::ESTABLISHED)?, connection),
                (take(map::DATAGRAMS)?, connection),
                (take(map::OPENING)?, connection),
                (take(map::FRAGMENTS)?, fragment),
            ],
            events: RingBuf::try_from(opened(take(map::EVENTS)?)?).doing("open a map of a twin")?,
        };
        twin.holding(compiled, around)
    }

    fn holding(mut self, compiled: &Compiled, around: &Surroundings<'_>) -> Result<Self, Error> {
        self.put(|twin| fill(&mut twin.tables, 0, compiled), "memory for the tables")?;
        self.classes.clone_from(&compiled.interfaces);
        self.settings = *around.settings;
        Ok(self)
    }

    /// Whether its programs are those of another policy, which [`Self::again`] takes then.
    #[must_use]
    pub fn suits(&self, programs: &Programs, compiled: &Compiled, around: &Surroundings<'_>) -> bool {
        let needs = needs(compiled, around.interfaces);
        needs.is_ok_and(|needs| self.constants.serve(&Constants::of(programs, compiled, &needs)))
    }

    /// The twin of a policy that it [suits](Self::suits).
    ///
    /// # Errors
    /// The policy does not fit.
    pub fn again(self, compiled: &Compiled, around: &Surroundings<'_>) -> Result<Self, Error> {
        self.holding(compiled, around)
    }

    /// Whether its programs do for the policy of another.
    #[must_use]
    pub fn serves(&self, other: &Self) -> bool {
        self.constants.serve(&other.constants)
    }

    /// Whether it is worth its memory until the next change.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        self.constants.are_worth_keeping()
    }

    /// What the kernel made of its two programs, ingress first: what it made of the generation's own.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn programs(&self) -> Result<[Made; 2], Error> {
        let [ingress, egress] = &self.programs;
        let made = |program: &OwnedFd| {
            let info = ask(program.as_fd(), &mut []).doing("ask about a twin")?;
            Ok::<_, Error>(Made { id: info.id, verified: info.verified_insns, translated_bytes: info.xlated_prog_len })
        };
        Ok([made(ingress)?, made(egress)?])
    }

    /// A node to which nothing happened yet.
    fn forget(&mut self) -> Result<(), Error> {
        let step = "forget what a probe left behind";
        let mut found = false;
        for (map, key_bytes) in &self.state {
            found |= calls::clear(map.fd().as_fd(), *key_bytes).doing(step)?;
        }
        if found {
            object::fill(self.marks.fd().as_fd(), &[0; MARK_SLOTS as usize * 2]).doing(step)?;
        }
        // What an older revision noted of a flow is of no use to the next; of every other one, which has the same side
        // of the tables.
        let next = self.revision.slot(0).map_or(0, |slot| slot.load()).wrapping_add(2);
        self.put(|twin| twin.revision.publish(0, &next), "revision")
    }

    fn put(&mut self, write: impl FnOnce(&mut Self) -> bool, what: &'static str) -> Result<(), Error> {
        if write(self) { Ok(()) } else { Err(Error::Object { what }) }
    }

    fn class(&self, name: Option<&str>) -> u16 {
        interface_class(&self.classes, name)
    }

    /// Puts the interfaces and the node's address where the probe has them.
    fn place(&mut self, probe: &Probe) -> Result<(), Error> {
        let flags = if probe.layer3 { interface::L3 } else { 0 };
        let entry = |class, flags| Interface { class, flags, padding: 0 };
        let (here, behind) = match &probe.place {
            Place::Arrival { on } => (self.class(on.as_deref()), 0),
            Place::Departure { from: Sender::Node, by } => (self.class(by.as_deref()), 0),
            Place::Departure { from: Sender::Behind(name), by } => {
                (self.class(by.as_deref()), self.class(name.as_deref()))
            }
        };
        self.put(|twin| twin.interfaces.publish(HERE as usize, &entry(here, flags)), "interfaces")?;
        self.put(|twin| twin.interfaces.publish(BEHIND as usize, &entry(behind, 0)), "interfaces")?;
        if self.node == probe.node {
            return Ok(());
        }
        let key = |(family, address): (u8, Address)| Record(LocalKey { address, family: family.into(), padding: 0 });
        if let Some(known) = self.node.take() {
            self.local.remove(&key(known)).doing("change the address of the node in a twin")?;
        }
        if let Some(node) = probe.node {
            self.local.insert(key(node), 1, 0).doing("change the address of the node in a twin")?;
        }
        self.node = probe.node;
        let filter = LocalFilter::of(probe.node.iter());
        self.put(|twin| twin.filter.put(0, &filter), "filter of the node's addresses")
    }

    /// Whether each verdict is reported; if not, the program takes the short way wherever it can.
    fn listen(&mut self, listens: bool) -> Result<(), Error> {
        let (rate, sample) = if listens { (u32::MAX, 1) } else { (0, 0) };
        let settings = Settings {
            denied_rate: rate,
            denied_burst: rate,
            allowed_rate: rate,
            allowed_sample: sample,
            audit_mode: 0,
            ..self.settings
        };
        self.put(|twin| twin.setting.put(0, &settings), "settings")?;
        // Denials are passed over in silence while their bucket is known to be empty.
        let dry_until_ns = if listens { 0 } else { u64::MAX };
        let mut tally = Tally::ZERO;
        tally.buckets[0].dry_until_ns = dry_until_ns;
        let cpus = self.cpus;
        self.put(|twin| (0..cpus).all(|cpu| twin.tallies.put(cpu, &tally)), "tallies")
    }

    /// Runs the program that the probe is for; true when it lets the packet go.
    fn run(&self, probe: &Probe) -> Result<bool, Error> {
        let bytes = probe.frame.len() as u32;
        let words = |fields: &[u32]| fields.iter().flat_map(|field| field.to_ne_bytes()).collect::<Vec<u8>>();
        let [ingress, egress] = &self.programs;
        let (program, passed, context) = match &probe.place {
            // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
            Place::Arrival { .. } => (ingress, XDP_PASS, words(&[0, bytes, 0, HERE, 0, 0])),
            // struct __sk_buff up to ingress_ifindex, which is all that may be said of where it comes from.
            Place::Departure { from, .. } => {
                let behind = if *from == Sender::Node { 0 } else { BEHIND };
                (egress, TC_ACT_UNSPEC, words(&[0, 0, 0, 0, 0, 0, 0, 0, 0, behind, 0]))
            }
        };
        let answer = calls::run(program.as_fd(), &probe.frame, &context).doing("run a program on it")?;
        Ok(answer == passed)
    }

    /// Judges a probe by the way on which everything is reported.
    fn long(&mut self, probe: &Probe) -> Result<(bool, Option<Event>), Error> {
        self.listen(true)?;
        let passes = self.run(probe)?;
        Ok((passes, self.events.next().and_then(|bytes| event(&bytes))))
    }

    /// Judges a probe by the way that most packets take, where there is one.
    fn short(&mut self, probe: &Probe) -> Result<Option<bool>, Error> {
        if probe.follows || matches!(probe.place, Place::Departure { .. }) {
            return Ok(None);
        }
        self.listen(false)?;
        let passes = self.run(probe)?;
        self.forget()?;
        Ok(Some(passes))
    }

    fn both(&mut self, probe: &Probe) -> Result<(Option<bool>, bool, Option<Event>), Error> {
        self.place(probe)?;
        if !probe.follows {
            self.forget()?;
        }
        let short = self.short(probe)?;
        let (long, event) = self.long(probe)?;
        Ok((short, long, event))
    }
}

impl Program for Twin {
    type Error = ProbeError;

    fn is_defect(error: &ProbeError) -> bool {
        matches!(error, ProbeError::Contradiction { .. })
    }

    fn judge(&mut self, probe: &Probe) -> Result<Seen, ProbeError> {
        let name = || probe.name.clone();
        if probe.frame.len() < SHORTEST {
            return Err(ProbeError::Short { name: name(), bytes: probe.frame.len() });
        }
        let (short, long, event) = self.both(probe).map_err(|source| ProbeError::Refused { name: name(), source })?;
        let contradiction = |what: String| Err(ProbeError::Contradiction { name: name(), what });
        let word = |passes: bool| if passes { "lets it pass" } else { "drops it" };
        if let Some(short) = short.filter(|&short| short != long) {
            return contradiction(format!("{} by its short way, and by its long way it {}", word(short), word(long)));
        }
        let Some(Event { verdict, facts, .. }) = event else {
            return contradiction(format!("{} and does not report it", word(long)));
        };
        if (verdict.action != DROP) != long {
            return contradiction(format!("{} and reports otherwise", word(long)));
        }
        Ok(Seen { verdict, facts })
    }
}
