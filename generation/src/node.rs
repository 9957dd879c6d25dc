//! The generations of one node: what is in force, what is attached, what outlives them.

use std::path::Path;

use aya::maps::{MapData, RingBuf};
use gabion_abi::conn::{ConnKey, ConnValue};
use gabion_abi::event::Settings;
use gabion_abi::facts::Address;
use gabion_abi::verdict::Count;
use gabion_kernel_object::map;
use gabion_policy_compile::Compiled;

use crate::error::Error;
use crate::folder::{self, Folder};
use crate::limits::Sizes;
use crate::links::{self, Attachment};
use crate::object::Programs;
use crate::staged::{InterfaceEntry, Staged};
use crate::state::State;

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The pinned state was there and is used on.
    pub state: bool,
    /// The generation in force.
    pub generation: Option<u32>,
    /// Interfaces that are guarded, at least in part.
    pub attachments: Vec<Attachment>,
    /// Interfaces whose pins were removed because they are gone.
    pub gone: Vec<String>,
    /// Generations that were removed because no hook runs them.
    pub removed: Vec<u32>,
}

/// One node's folder on the bpffs, with all that is in it. Dropping it changes nothing in the kernel.
#[derive(Debug)]
pub struct Node {
    folder: Folder,
    programs: Programs,
    state: State,
    live: Option<Staged>,
    last_number: u32,
}

impl Node {
    /// Adopts what is under `root`, or begins there. `root` must be on a bpffs. `sizes` matter only when
    /// the state is made.
    ///
    /// Where a crash left hooks with different generations, all are brought to the newest: it was
    /// staged completely before the first hook was swapped.
    pub fn open(root: &Path, sizes: &Sizes, programs: Programs) -> Result<(Self, Adopted), Error> {
        let folder = Folder::open(root)?;
        let (state, was_there) = State::open(&folder, sizes, &programs)?;
        let mut node = Self { folder, programs, state, live: None, last_number: 0 };
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
        let mut numbers = Vec::new();
        for name in folder::names(&self.folder.generations())? {
            match name.parse::<u32>() {
                Ok(number) => numbers.push(number),
                // A generation that was not complete yet.
                Err(_) => folder::remove(&self.folder.generations().join(&name))?,
            }
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        self.last_number = numbers.first().copied().unwrap_or(0);
        for number in numbers {
            if self.live.is_none() {
                let mut generation = Staged::open(&self.folder, number, self.state.said())?;
                if generation.program_ids()?.iter().any(|id| running.contains(id)) {
                    for attachment in &adopted.attachments {
                        links::swap(&self.folder, &mut generation, &attachment.interface)?;
                    }
                    adopted.generation = Some(number);
                    self.live = Some(generation);
                    continue;
                }
            }
            folder::remove(&self.folder.generation(number))?;
            adopted.removed.push(number);
        }
        Ok(())
    }

    /// The largest number given out, as far as the folder shows.
    #[must_use]
    pub fn last_number(&self) -> u32 {
        self.last_number
    }

    /// Numbers go on after `last`: the folder forgets them when the node starts anew, the agent does not.
    pub fn resume_numbers(&mut self, last: u32) {
        self.last_number = self.last_number.max(last);
    }

    /// Loads and verifies `compiled` as the next generation. Nothing that is in force changes; what does not fit is
    /// refused with need and limit.
    pub fn stage(&mut self, compiled: &Compiled, interfaces: &[InterfaceEntry]) -> Result<Staged, Error> {
        let number = self.last_number.wrapping_add(1).max(1);
        let staged = Staged::load(&self.folder, &self.programs, number, compiled, interfaces)?;
        self.last_number = number;
        Ok(staged)
    }

    /// Brings a staged generation into force at every hook, and removes the one before. When a hook
    /// refuses, the hooks that were swapped go back to the old one. Gives back the one before, for its last counts.
    pub fn commit(&mut self, mut staged: Staged) -> Result<Option<Staged>, Error> {
        let mut attachments = links::all(&self.folder)?;
        // Hooks of an interface that is gone went with it.
        attachments.retain(|attachment| links::exists(&attachment.interface));
        for (position, attachment) in attachments.iter().enumerate() {
            if let Err(error) = links::swap(&self.folder, &mut staged, &attachment.interface) {
                if let Some(live) = &mut self.live {
                    for attachment in attachments.iter().take(position + 1) {
                        // The first refusal is the one to report; a hook that refuses both keeps what it has.
                        let _ = links::swap(&self.folder, live, &attachment.interface);
                    }
                }
                return Err(error);
            }
        }
        staged.keep();
        let old = self.live.replace(staged);
        if let Some(old) = &old {
            folder::remove(&self.folder.generation(old.number()))?;
        }
        Ok(old)
    }

    /// Puts other tables in the place of those in force, without a new generation; false when that cannot be.
    pub fn patch(&mut self, compiled: &Compiled) -> Result<bool, Error> {
        self.live.as_mut().map_or(Ok(false), |live| live.patch(compiled))
    }

    /// Guards an interface with the generation in force. What is attached already stays as it is.
    pub fn attach(&mut self, name: &str, entry: InterfaceEntry) -> Result<Attachment, Error> {
        let live = self.live.as_mut().ok_or(Error::NoGeneration)?;
        live.set_interface(entry)?;
        links::attach(&self.folder, live, name, entry.ifindex)
    }

    /// Guards what arrives on an interface, and leaves its departures to [`Self::attach`]: attaching to tcx waits for
    /// RCU, some 10 ms an interface, so that a start first closes the doors by which packets come in.
    pub fn attach_arrival(&mut self, name: &str, entry: InterfaceEntry) -> Result<(), Error> {
        let live = self.live.as_mut().ok_or(Error::NoGeneration)?;
        live.set_interface(entry)?;
        links::attach_arrival(&self.folder, live, name, entry.ifindex)
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

    /// The generation in force.
    #[must_use]
    pub fn live(&self) -> Option<&Staged> {
        self.live.as_ref()
    }

    /// Changes what the generation in force knows of an interface.
    pub fn set_interface(&mut self, entry: InterfaceEntry) -> Result<(), Error> {
        self.live.as_mut().ok_or(Error::NoGeneration)?.set_interface(entry)
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
