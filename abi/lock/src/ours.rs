//! The lock of this version of Gabion itself.

use gabion_abi::boundary::{OBJECT, STATE};
use gabion_abi::contract::Set;
use gabion_abi::event::suppressed;
use gabion_abi::facts::unparsed;
use gabion_abi::verdict::reason;
use gabion_contracts::{Contracts, text};

use crate::error::Error;
use crate::model::Lock;

impl Lock {
    /// What this version shares: its kernel programs, if they were built, and what agent and pinned state say.
    ///
    /// # Errors
    /// When the object, or what we say ourselves, cannot be read.
    pub fn ours(object: Option<&[u8]>) -> Result<Self, Error> {
        let said = |set: &Set<'_>| Contracts::parse(text(set).as_bytes());
        let lock = match object {
            Some(object) => Self::of_object(object)?,
            // Programs are built for the byte order of the node that runs them.
            None => Self { big_endian: cfg!(target_endian = "big"), ..Self::of_contracts(&said(&OBJECT)?) },
        };
        let lock = lock
            .with_set(&said(&STATE)?)
            .with_numbers("reason", 1, reason::NAMES)
            .with_numbers("suppressed", 4, suppressed::NAMES)
            .with_numbers("unparsed", 1, unparsed::NAMES);
        Ok(lock.with_pins())
    }

    /// With the pins of our own state, if this is of our kernel programs: the agent makes them, and no object says it.
    #[must_use]
    pub fn with_pins(self) -> Self {
        if self.sets.contains_key(OBJECT.name) {
            self.pinned(STATE.places.iter().map(|place| place.name))
        } else {
            self
        }
    }

    /// What an object can say of it: without what only the agent knows.
    #[must_use]
    pub fn as_object(mut self) -> Self {
        self.numbers.clear();
        self.sets.remove(STATE.name);
        self
    }

    /// What contracts can say of it: without maps and sections, of which only an object knows.
    #[must_use]
    pub fn as_contracts(mut self) -> Self {
        self.maps.clear();
        self.sections.clear();
        self
    }
}
