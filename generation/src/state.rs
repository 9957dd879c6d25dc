//! What outlives a generation: made once, adopted by contract.

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf};
use gabion_abi::conn::{ConnKey, ConnValue, MARK_SLOTS};
use gabion_abi::event::{Event, REASONS, Settings, Tally, suppressed};
use gabion_abi::facts::Address;
use gabion_abi::local::{LocalFilter, LocalKey};
use gabion_abi::verdict::Count;
use gabion_kernel_object::map;

use crate::contracts;
use crate::error::{Doing, Error};
use crate::folder::{self, Folder};
use crate::limits::{Sizes, cpus};
use crate::memory::Memory;
use crate::object::{self, Programs, Size};
use crate::pod::Record;

/// The maps that outlive a generation.
#[derive(Debug)]
pub(crate) struct State {
    folder: Folder,
}

impl State {
    /// Adopts the state, or makes it. Says whether it was adopted.
    pub(crate) fn open(folder: &Folder, sizes: &Sizes, programs: &Programs) -> Result<(Self, bool), Error> {
        let state = Self { folder: folder.clone() };
        let there = folder.state().exists();
        if there {
            contracts::of_state(&folder.state())?;
        } else {
            make(folder, sizes, programs)?;
        }
        Ok((state, there))
    }

    /// A state map, opened by its pin.
    pub(crate) fn map<T: TryFrom<Map, Error = MapError>>(&self, name: &str) -> Result<T, Error> {
        pinned(&self.folder.state().join(map::pin(name)))
    }

    pub(crate) fn set_settings(&self, settings: &Settings) -> Result<(), Error> {
        let mut map: Array<_, Record<Settings>> = self.map(map::SETTINGS)?;
        // The kernel programs look at the whole list, and 0 is no port.
        let mut settings = *settings;
        settings.failsafe.iter_mut().skip(settings.failsafe_count as usize).for_each(|port| *port = 0);
        map.set(0, Record(settings), 0).doing("write the settings")
    }

    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let map: Array<_, Record<Settings>> = self.map(map::SETTINGS)?;
        Ok(map.get(&0, 0).doing("read the settings")?.0)
    }

    /// Replaces the node's addresses. New ones are added before old ones go.
    pub(crate) fn set_local(&self, addresses: &[(u8, Address)]) -> Result<(), Error> {
        let mut map: HashMap<_, Record<LocalKey>, u8> = self.map(map::LOCAL)?;
        let mut filter: Array<_, Record<LocalFilter>> = self.map(map::LOCAL_FILTER)?;
        // First whom the short way must not decide about, then how the long one does; and the other way round at the
        // end. Until then the filter holds both lists.
        let known: Vec<(u8, Address)> =
            map.keys().filter_map(Result::ok).map(|key| (key.0.family as u8, key.0.address)).collect();
        filter
            .set(0, Record(LocalFilter::of(addresses.iter().chain(&known))), 0)
            .doing("filter the node's addresses")?;
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
        filter.set(0, Record(LocalFilter::of(addresses)), 0).doing("filter the node's addresses")
    }

    /// Sums over CPUs, by action × reason.
    pub(crate) fn reason_counts(&self) -> Result<Vec<Count>, Error> {
        let mut found = sums(&self.tallies()?, TALLY_WORDS);
        found.truncate(REASONS);
        Ok(found)
    }

    fn tallies(&self) -> Result<Memory, Error> {
        Memory::pinned(&self.folder.state().join(map::pin(map::TALLIES)))
    }

    /// Sums over CPUs, by reason.
    pub(crate) fn suppressed(&self) -> Result<Vec<u64>, Error> {
        let tallies = self.tallies()?;
        let of = |why: usize| {
            let first = std::mem::offset_of!(Tally, suppressed) / 8 + why;
            words(&tallies, first, TALLY_WORDS).fold(0, u64::wrapping_add)
        };
        Ok((0..suppressed::COUNT as usize).map(of).collect())
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

/// Words of what one CPU counts.
const TALLY_WORDS: usize = size_of::<Tally>() / 8;

/// The word at `first` of each CPU, whose memory is `stride` words long.
fn words(memory: &Memory, first: usize, stride: usize) -> impl Iterator<Item = u64> {
    (first..).step_by(stride.max(1)).map_while(|index| memory.word(index))
}

/// Counts summed over CPUs, whose memory is `stride` words long. A packet that is counted meanwhile may be in its sum
/// and not yet in that of its bytes.
pub(crate) fn sums(memory: &Memory, stride: usize) -> Vec<Count> {
    const WORDS: usize = size_of::<Count>() / 8;
    let mut found = vec![Count::default(); stride / WORDS];
    for (index, count) in found.iter_mut().enumerate() {
        count.packets = words(memory, index * WORDS, stride).fold(0, u64::wrapping_add);
        count.bytes = words(memory, index * WORDS + 1, stride).fold(0, u64::wrapping_add);
    }
    found
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
