//! The generations of one node: what is in force, what is attached, what outlives them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use gabion_abi::conn::{ConnKey, ConnValue};
use gabion_abi::event::Settings;
use gabion_abi::facts::Address;
use gabion_abi::verdict::Count;
use gabion_kernel_object::map;
use gabion_life::{Number, Pointers};
use gabion_policy_compile::Compiled;

use crate::error::Error;
use crate::folder::{self, Folder};
use crate::limits::Sizes;
use crate::links::{self, Attachment};
use crate::object::Programs;
use crate::staged::{self, Constants, InterfaceEntry, Staged, packets_are_done};
use crate::state::State;

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The pinned state was there and is used on.
    pub state: bool,
    /// Generations that are whole.
    pub generations: BTreeSet<Number>,
    /// The newest of them that a hook runs.
    pub running: Option<Number>,
    /// Interfaces that are guarded, at least in part.
    pub attachments: Vec<Attachment>,
    /// Interfaces whose pins were removed because they are gone.
    pub gone: Vec<String>,
}

/// One node's folder on the bpffs, with all that is in it. Dropping it changes nothing in the kernel.
#[derive(Debug)]
pub struct Node {
    folder: Folder,
    programs: Arc<Programs>,
    state: State,
    generations: BTreeMap<Number, Staged>,
    pointers: Pointers,
    last_number: Number,
    /// What the next generation is made of when it has the same constants: programs that the kernel verified already,
    /// and that no hook runs.
    spare: Option<Staged>,
}

/// A generation that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its number.
    pub number: Number,
    /// Packets and bytes by rule number, as [`Staged::rule_counts`] has them, with all packets that it judged, unless
    /// the kernel does not say when they are done (`nohz_full`).
    pub counts: Vec<Count>,
}

impl Node {
    /// Adopts what is under `root`, or begins there. `root` must be on a bpffs. `sizes` matter only when
    /// the state is made.
    ///
    /// All whole generations stay, and every hook runs on what it ran; which of them is to be in force says whoever
    /// remembers ([`Self::point`], [`Self::prune`]). Until then it is the newest that a hook runs.
    pub fn open(root: &Path, sizes: &Sizes, programs: Programs) -> Result<(Self, Adopted), Error> {
        let folder = Folder::open(root)?;
        let (state, was_there) = State::open(&folder, sizes, &programs)?;
        let (generations, pointers) = (BTreeMap::new(), Pointers::default());
        let programs = Arc::new(programs);
        let mut node = Self { folder, programs, state, generations, pointers, last_number: 0, spare: None };
        let mut adopted = Adopted { state: was_there, ..Adopted::default() };
        node.adopt(&mut adopted)?;
        Ok((node, adopted))
    }

    fn adopt(&mut self, adopted: &mut Adopted) -> Result<(), Error> {
        let mut running = Vec::new();
        for attachment in links::all(&self.folder)? {
            let name = &attachment.interface;
            if links::exists(name) {
                running.extend(links::program_ids(&self.folder, name)?);
                adopted.attachments.push(attachment);
            } else {
                links::detach(&self.folder, name)?;
                adopted.gone.push(name.clone());
            }
        }
        for name in folder::names(&self.folder.generations())? {
            let Ok(number) = name.parse() else {
                // A generation that was not complete yet.
                folder::remove(&self.folder.generations().join(&name))?;
                continue;
            };
            let generation = Staged::open(self.folder.generation(number), number, self.state.said())?;
            if generation.program_ids()?.iter().any(|id| running.contains(id)) {
                adopted.running = adopted.running.max(Some(number));
            }
            self.generations.insert(number, generation);
        }
        adopted.generations = self.generations.keys().copied().collect();
        self.last_number = adopted.generations.last().copied().unwrap_or(0);
        self.pointers.all = adopted.running;
        Ok(())
    }

    /// The largest number given out, as far as the folder shows.
    #[must_use]
    pub fn last_number(&self) -> Number {
        self.last_number
    }

    /// Numbers go on after `last`: the folder forgets them when the node starts anew, the agent does not.
    pub fn resume_numbers(&mut self, last: Number) {
        self.last_number = self.last_number.max(last);
    }

    /// The node's own programs.
    #[must_use]
    pub fn programs(&self) -> Arc<Programs> {
        Arc::clone(&self.programs)
    }

    /// Loads and verifies `compiled` as the next generation. Nothing that is in force changes; what does not fit is
    /// refused with need and limit. It goes away when it is dropped before it was [kept](Self::keep).
    pub fn stage(&mut self, compiled: &Compiled, interfaces: &[InterfaceEntry]) -> Result<Staged, Error> {
        self.stage_with(None, compiled, interfaces)
    }

    /// The same, with other programs than the node's own.
    pub fn stage_with(
        &mut self,
        programs: Option<&Programs>,
        compiled: &Compiled,
        interfaces: &[InterfaceEntry],
    ) -> Result<Staged, Error> {
        let number = self.last_number.wrapping_add(1).max(1);
        let programs = programs.unwrap_or(&self.programs);
        let constants = Constants::of(programs, compiled, &staged::needs(compiled, interfaces)?);
        let spare = self.spare.take_if(|spare| spare.serves(&constants));
        // Where that fails, somebody reached into our folder; what is loaded needs nothing that was there.
        let again = spare.and_then(|spare| spare.again(&self.folder, number, compiled, interfaces).ok());
        let load = || Staged::load(&self.folder, programs, number, compiled, interfaces);
        let staged = again.map_or_else(load, Ok)?;
        self.last_number = number;
        Ok(staged)
    }

    /// Whether a generation of this policy is made of what is kept here, whose programs are verified already, or is
    /// too large for anything to be kept for it.
    #[must_use]
    pub fn is_ready(&self, compiled: &Compiled, interfaces: &[InterfaceEntry]) -> bool {
        let needs = staged::needs(compiled, interfaces);
        let constants = needs.map(|needs| Constants::of(&self.programs, compiled, &needs));
        constants.is_ok_and(|it| !it.are_worth_keeping() || self.spare.as_ref().is_some_and(|spare| spare.serves(&it)))
    }

    /// Has it ready. Nothing that is in force changes.
    pub fn make_ready(&mut self, compiled: &Compiled, interfaces: &[InterfaceEntry]) -> Result<(), Error> {
        if self.is_ready(compiled, interfaces) {
            return Ok(());
        }
        // Its folder is in the way.
        drop(self.spare.take());
        self.spare = Some(Staged::load_spare(&self.folder, &self.programs, compiled, interfaces)?);
        Ok(())
    }

    /// Takes a staged generation in; no hook runs it yet.
    pub fn keep(&mut self, mut staged: Staged) {
        staged.keep();
        self.generations.insert(staged.number(), staged);
    }

    /// Brings every hook to the generation that is wanted there, one interface after the other, one link update a hook;
    /// hooks that run it already are left alone. When one refuses, those that were changed go back.
    pub fn point(&mut self, wanted: &Pointers) -> Result<(), Error> {
        let mut attachments = links::all(&self.folder)?;
        // Hooks of an interface that is gone went with it.
        attachments.retain(|attachment| links::exists(&attachment.interface));
        for (position, Attachment { interface, .. }) in attachments.iter().enumerate() {
            if let Err(error) = self.bring(interface, wanted.of(interface)) {
                for Attachment { interface, .. } in &attachments[..=position] {
                    // The first refusal is the one to report; a hook that refuses both keeps what it has.
                    let _ = self.bring(interface, self.pointers.of(interface));
                }
                return Err(error);
            }
        }
        self.pointers.clone_from(wanted);
        Ok(())
    }

    /// Brings the hooks of one interface to a generation.
    fn bring(&mut self, interface: &str, number: Option<Number>) -> Result<(), Error> {
        let Some(number) = number else { return Ok(()) };
        let generation = self.generations.get_mut(&number).ok_or(Error::NoGeneration)?;
        let own = generation.program_ids()?;
        if links::program_ids(&self.folder, interface)?.iter().all(|id| own.contains(id)) {
            return Ok(());
        }
        links::swap(&self.folder, generation, interface)
    }

    /// Removes all generations but these, and says what those that went counted. One of them is kept as it is, out of
    /// the way, if the next generation may be made of it.
    pub fn prune(&mut self, kept: &BTreeSet<Number>) -> Result<Vec<Gone>, Error> {
        let superfluous: Vec<Number> = self.generations.keys().copied().filter(|it| !kept.contains(it)).collect();
        let done = !superfluous.is_empty() && packets_are_done();
        let mut gone = Vec::new();
        for number in superfluous {
            let keeps = done && self.generations.get(&number).is_some_and(|generation| self.keeps(generation));
            if !keeps {
                folder::remove(&self.folder.generation(number))?;
            }
            let Some(mut generation) = self.generations.remove(&number) else { continue };
            gone.push(Gone { number, counts: generation.rule_counts() });
            if keeps {
                // Its folder is in the way.
                drop(self.spare.take());
                match generation.retire(&self.folder) {
                    Ok(()) => self.spare = Some(generation),
                    // It only costs the next change some time.
                    Err(_) => folder::remove(&self.folder.generation(number))?,
                }
            }
        }
        Ok(gone)
    }

    /// Whether the next generation may be made of this one rather than of what is kept for it now: changes are mostly
    /// small, and leave the constants as they are.
    fn keeps(&self, generation: &Staged) -> bool {
        if !generation.constants().is_some_and(Constants::are_worth_keeping) {
            return false;
        }
        let in_force = self.live().and_then(Staged::constants);
        let fits = |spare: &Staged| in_force.is_some_and(|constants| spare.serves(constants));
        fits(generation) || !self.spare.as_ref().is_some_and(fits)
    }

    /// Brings a staged generation into force at every hook, and removes all others. Says what the one that was in force
    /// counted.
    pub fn commit(&mut self, staged: Staged) -> Result<Option<Gone>, Error> {
        let (number, before) = (staged.number(), self.pointers.all);
        self.keep(staged);
        if let Err(error) = self.point(&Pointers::all(number)) {
            let kept = self.pointers.numbers().collect();
            // The refusal is what matters; an orphan goes with the next change.
            let _ = self.prune(&kept);
            return Err(error);
        }
        let gone = self.prune(&BTreeSet::from([number]))?;
        Ok(gone.into_iter().find(|it| Some(it.number) == before))
    }

    /// Puts other tables in the place of those in force, without a new generation; false when that cannot be.
    pub fn patch(&mut self, compiled: &Compiled) -> Result<bool, Error> {
        let live = self.pointers.all.and_then(|number| self.generations.get_mut(&number));
        live.map_or(Ok(false), |live| live.patch(compiled))
    }

    /// The generation that an interface runs, or would.
    fn at(&mut self, interface: &str) -> Result<&mut Staged, Error> {
        let number = self.pointers.of(interface).ok_or(Error::NoGeneration)?;
        self.generations.get_mut(&number).ok_or(Error::NoGeneration)
    }

    /// Guards an interface with the generation in force there. What is attached already stays as it is.
    pub fn attach(&mut self, name: &str, entry: InterfaceEntry) -> Result<Attachment, Error> {
        let folder = self.folder.clone();
        let generation = self.at(name)?;
        generation.set_interface(entry)?;
        links::attach(&folder, generation, name, entry.ifindex)
    }

    /// Guards what arrives on an interface, and leaves its departures to [`Self::attach`]: attaching to tcx waits for
    /// RCU, some 10 ms an interface, so that a start first closes the doors by which packets come in.
    pub fn attach_arrival(&mut self, name: &str, entry: InterfaceEntry) -> Result<(), Error> {
        let folder = self.folder.clone();
        let generation = self.at(name)?;
        generation.set_interface(entry)?;
        links::attach_arrival(&folder, generation, name, entry.ifindex)
    }

    /// Takes the hooks off an interface, also when it is gone.
    pub fn detach(&mut self, name: &str) -> Result<(), Error> {
        let there = links::look(&self.folder, name);
        if there.xdp.is_none() && there.egress.is_none() {
            return Err(Error::NotAttached { name: name.to_owned() });
        }
        links::detach(&self.folder, name)
    }

    /// An interface got another name: its pins follow, its hooks never stop.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), Error> {
        links::rename(&self.folder, old, new)
    }

    /// Takes everything away: hooks, generations, state.
    pub fn detach_all(self) -> Result<(), Error> {
        for attachment in links::all(&self.folder)? {
            links::detach(&self.folder, &attachment.interface)?;
        }
        self.folder.remove()
    }

    /// How one interface is guarded now.
    #[must_use]
    pub fn attachment(&self, name: &str) -> Attachment {
        links::look(&self.folder, name)
    }

    /// What is attached.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        links::all(&self.folder)
    }

    /// The generation in force where no other runs ahead.
    #[must_use]
    pub fn live(&self) -> Option<&Staged> {
        self.generation(self.pointers.all?)
    }

    /// A generation that is kept.
    #[must_use]
    pub fn generation(&self, number: Number) -> Option<&Staged> {
        self.generations.get(&number)
    }

    /// What a generation knows of an interface, from now on.
    pub fn set_interface(&mut self, number: Number, entry: InterfaceEntry) -> Result<(), Error> {
        self.generations.get_mut(&number).ok_or(Error::NoGeneration)?.set_interface(entry)
    }

    /// Changes mode, rates and fail-safe ports; in force with the next packet.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        self.state.set_settings(settings)
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<Settings, Error> {
        self.state.settings()
    }

    /// Replaces the list of the node's own addresses, each with its family.
    pub fn set_local(&mut self, addresses: &[(u8, Address)]) -> Result<(), Error> {
        self.state.set_local(addresses)
    }

    /// Packets and bytes by action × reason ([`gabion_abi::verdict::reason::COUNT`] a row), since the state was made.
    #[must_use]
    pub fn reason_counts(&self) -> Vec<Count> {
        self.state.reason_counts()
    }

    /// Events that were not sent, by [`gabion_abi::event::suppressed`].
    #[must_use]
    pub fn suppressed(&self) -> Vec<u64> {
        self.state.suppressed()
    }

    /// Connections that were answered, first those of protocols that open and close them, then the others; then those
    /// that were not answered. Expired ones may be among them.
    pub fn connections(&self) -> Result<[Vec<(ConnKey, ConnValue)>; 3], Error> {
        let tables = [map::ESTABLISHED, map::DATAGRAMS, map::OPENING].map(|name| self.state.connections(name));
        let [established, datagrams, opening] = tables;
        Ok([established?, datagrams?, opening?])
    }

    /// The ring of events; its descriptor becomes readable when there are some. Only one reader at a time.
    pub fn events(&self) -> Result<RingBuf<MapData>, Error> {
        self.state.events()
    }
}
