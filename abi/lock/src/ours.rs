//! The lock of this version of Gabion itself.

use gabion_abi::boundary::{OBJECT, STATE};
use gabion_abi::event::suppressed;
use gabion_abi::facts::unparsed;
use gabion_abi::verdict::reason;
use gabion_contracts::{Contracts, text};

use crate::error::Error;
use crate::model::{Enum, Lock};

impl Lock {
    /// What this version shares: its kernel programs, and what agent and pinned state say.
    ///
    /// # Errors
    /// When the object, or what we say ourselves, cannot be read.
    pub fn ours(object: &[u8]) -> Result<Self, Error> {
        let mut lock = Self::of_object(object)?.with_pins();
        lock.add(&Contracts::parse(text(&STATE).as_bytes())?);
        // Numbers with names, which are written into integers of a record.
        let numbers: [(&str, u64, &[&str]); 3] =
            [("reason", 1, &reason::NAMES), ("suppressed", 4, &suppressed::NAMES), ("unparsed", 1, &unparsed::NAMES)];
        for (list, size, names) in numbers {
            let values = names.iter().zip(0..).map(|(name, value)| ((*name).to_owned(), value)).collect();
            lock.numbers.insert(list.to_owned(), Enum { size, values, retired: Vec::new() });
        }
        Ok(lock)
    }

    /// With the pins of our own state, if this is of our kernel programs: the agent makes them, and no object says it.
    #[must_use]
    pub fn with_pins(mut self) -> Self {
        let ours = self.sets.contains_key(OBJECT.name);
        for place in STATE.places.iter().filter(|_| ours) {
            if let Some(map) = self.maps.get_mut(place.name) {
                map.pinned = true;
            }
            if let Some(section) = self.sections.get_mut(place.name) {
                section.pinned = true;
            }
        }
        self
    }

    /// What an object can say of it: without what only the agent knows.
    #[must_use]
    pub fn as_object(mut self) -> Self {
        self.numbers.clear();
        self.sets.remove(STATE.name);
        self
    }
}
