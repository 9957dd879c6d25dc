//! What outlives a generation: made once, adopted by contract.

use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError, RingBuf};
use gabion_abi::boundary::memory;
use gabion_abi::conn::{ConnKey, ConnValue, MARK_SLOTS};
use gabion_abi::contract::{Contract, Memory};
use gabion_abi::event::{Event, REASONS, Settings, Tally, suppressed};
use gabion_abi::facts::Address;
use gabion_abi::local::{LocalFilter, LocalKey};
use gabion_abi::verdict::Count;
use gabion_contracts::Said;
use gabion_kernel_object::map;
use gabion_shared::{Field, Lanes, Shared, Writer, field};

use crate::contracts;
use crate::error::{Doing, Error};
use crate::folder::{self, Folder};
use crate::limits::{Sizes, cpus};
use crate::object::{self, Programs, Size};
use crate::pod::Record;

/// The maps that outlive a generation.
#[derive(Debug)]
pub(crate) struct State {
    folder: Folder,
    said: Said<'static>,
    cpus: usize,
    settings: Shared<Settings, Writer>,
    local_filter: Shared<LocalFilter, Writer>,
    tallies: Shared<Tally>,
}

impl State {
    /// Adopts the state, or makes it. Says whether it was adopted.
    pub(crate) fn open(folder: &Folder, sizes: &Sizes, programs: &Programs) -> Result<(Self, bool), Error> {
        let path = folder.state();
        let there = path.exists();
        if !there {
            make(folder, sizes, programs)?;
        }
        let said = contracts::of_state(&path)?;
        let state = Self {
            folder: folder.clone(),
            cpus: cpus()? as usize,
            settings: Shared::open_to_write(&memory_map(&path, &memory::SETTINGS)?, &memory::SETTINGS, &said)?,
            local_filter: Shared::open_to_write(
                &memory_map(&path, &memory::LOCAL_FILTER)?,
                &memory::LOCAL_FILTER,
                &said,
            )?,
            tallies: Shared::open(&memory_map(&path, &memory::TALLIES)?, &memory::TALLIES, &said)?,
            said,
        };
        Ok((state, there))
    }

    /// What whoever made the state says of its maps and those of its generations.
    pub(crate) fn said(&self) -> &Said<'static> {
        &self.said
    }

    /// A state map, opened by its pin.
    pub(crate) fn map<T: TryFrom<Map, Error = MapError>>(&self, name: &str) -> Result<T, Error> {
        pinned(&self.folder.state().join(map::pin(name)))
    }

    pub(crate) fn set_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        // The kernel programs look at the whole list, and 0 is no port.
        let mut settings = *settings;
        settings.failsafe.iter_mut().skip(settings.failsafe_count as usize).for_each(|port| *port = 0);
        if self.settings.put(0, &settings) { Ok(()) } else { Err(Error::Object { what: "settings" }) }
    }

    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        self.settings.written(0).ok_or(Error::Object { what: "settings" })
    }

    /// Replaces the node's addresses. New ones are added before old ones go.
    pub(crate) fn set_local(&mut self, addresses: &[(u8, Address)]) -> Result<(), Error> {
        let mut map: HashMap<_, Record<LocalKey>, u8> = self.map(map::LOCAL)?;
        // First whom the short way must not decide about, then how the long one does; and the other way round at the
        // end. Until then the filter holds both lists.
        let known: Vec<(u8, Address)> =
            map.keys().filter_map(Result::ok).map(|key| (key.0.family as u8, key.0.address)).collect();
        self.filter_local(&LocalFilter::of(addresses.iter().chain(&known)))?;
        let wanted: Vec<Record<LocalKey>> = addresses
            .iter()
            .map(|(family, address)| Record(LocalKey { address: *address, family: u32::from(*family), padding: 0 }))
            .collect();
        for key in &wanted {
            map.insert(key, 1, 0).doing("add an address of the node")?;
        }
        let stale: Vec<Record<LocalKey>> =
            map.keys().filter_map(Result::ok).filter(|key| !wanted.contains(key)).collect();
        for key in stale {
            map.remove(&key).doing("remove an address of the node")?;
        }
        self.filter_local(&LocalFilter::of(addresses))
    }

    fn filter_local(&mut self, filter: &LocalFilter) -> Result<(), Error> {
        let written = self.local_filter.put(0, filter);
        if written { Ok(()) } else { Err(Error::Object { what: "filter of the node's addresses" }) }
    }

    /// Sums over CPUs, by action × reason.
    pub(crate) fn reason_counts(&self) -> Vec<Count> {
        let tallies = self.tallies.lanes(self.cpus);
        let reasons = (0..REASONS).filter_map(|reason| field!(Tally, reasons).element(reason));
        reasons.map(|reason| count(&tallies, 0, |field| reason.then(field))).collect()
    }

    /// Sums over CPUs, by reason.
    pub(crate) fn suppressed(&self) -> Vec<u64> {
        let tallies = self.tallies.lanes(self.cpus);
        let reasons = (0..suppressed::COUNT as usize).filter_map(|why| field!(Tally, suppressed).element(why));
        reasons.map(|why| tallies.sum(0, why)).collect()
    }

    pub(crate) fn connections(&self, name: &str) -> Result<Vec<(ConnKey, ConnValue)>, Error> {
        let map: HashMap<_, Record<ConnKey>, Record<ConnValue>> = self.map(name)?;
        // An entry may go while we walk: what is left is still worth showing.
        Ok(map.iter().filter_map(Result::ok).map(|(key, value)| (key.0, value.0)).collect())
    }

    pub(crate) fn events(&self) -> Result<RingBuf<MapData>, Error> {
        self.map(map::EVENTS)
    }
}

/// How large a map of the state is made.
pub(crate) fn size(name: &str, sizes: &Sizes) -> Result<Size, Error> {
    Ok(match name {
        map::ESTABLISHED => Size::Entries(sizes.established),
        map::DATAGRAMS => Size::Entries(sizes.datagrams),
        map::OPENING => Size::Entries(sizes.opening),
        map::FRAGMENTS => Size::Entries(sizes.fragments),
        map::EVENTS => Size::Entries(sizes.events_bytes),
        map::TALLIES => Size::Memory(cpus()?.saturating_mul(size_of::<Tally>() as u32)),
        map::MARKS => Size::Memory(MARK_SLOTS * 2),
        map::SETTINGS => Size::Memory(size_of::<Settings>() as u32),
        map::LOCAL_FILTER => Size::Memory(size_of::<LocalFilter>() as u32),
        _ => Size::AsDeclared,
    })
}

/// Makes the state beside its place and gives it its name when it is complete.
fn make(folder: &Folder, sizes: &Sizes, programs: &Programs) -> Result<(), Error> {
    let making = folder.state_in_making();
    folder::remove(&making)?;
    folder::create(&making)?;
    for name in map::STATE {
        let size = size(name, sizes)?;
        let made = object::make_map(programs.object(), name, size)?;
        made.pin(making.join(map::pin(name))).doing(format!("pin the map {name}"))?;
    }
    contracts::pin_of_state(&making)?;
    folder::publish(&making, &folder.state())
}

/// A map by its pin.
pub(crate) fn pinned<T: TryFrom<Map, Error = MapError>>(path: &Path) -> Result<T, Error> {
    let step = || format!("open {}", path.display());
    let data = MapData::from_pin(path).doing(step())?;
    T::try_from(Map::from_map_data(data).doing(step())?).doing(step())
}

/// The map of such memory, by its pin in this folder.
pub(crate) fn memory_map<T: Contract>(folder: &Path, memory: &Memory<T>) -> Result<MapData, Error> {
    let path = folder.join(map::pin(memory.name()));
    MapData::from_pin(&path).doing(format!("open {}", path.display()))
}

/// The count that lies where `within` puts its fields, summed over CPUs. A packet that is counted meanwhile may be in
/// its sum and not yet in that of its bytes.
pub(crate) fn count<T: Contract + Copy>(
    lanes: &Lanes<'_, T>,
    index: usize,
    within: impl Fn(Field<Count, u64>) -> Field<T, u64>,
) -> Count {
    let sum = |field| lanes.sum(index, within(field));
    Count { packets: sum(field!(Count, packets)), bytes: sum(field!(Count, bytes)) }
}

/// An event from the ring; nothing when the length is not an event's.
#[must_use]
pub fn event(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<Event>() {
        return None;
    }
    // SAFETY: as many bytes as an `Event` has, which is integers only: every bit pattern is one.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}
