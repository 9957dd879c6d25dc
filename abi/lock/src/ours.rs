//! The lock of this version of Gabion itself.

use gabion_abi::boundary::{OBJECT, STATE};
use gabion_abi::event::suppressed;
use gabion_abi::facts::unparsed;
use gabion_abi::verdict::reason;
use gabion_contracts::{Contracts, text};

use crate::error::Error;
use crate::model::Lock;

impl Lock {
    /// What this version shares: its kernel programs, and what agent and pinned state say.
    ///
    /// # Errors
    /// When the object, or what we say ourselves, cannot be read.
    pub fn ours(object: &[u8]) -> Result<Self, Error> {
        let lock = Self::of_object(object)?
            .with_set(&Contracts::parse(text(&STATE).as_bytes())?)
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
}
