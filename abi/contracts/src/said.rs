//! What another side says of its maps, for those who open them one by one.

use gabion_abi::contract::{Contract, Memory, Set};

use crate::compare::{Difference, place};
use crate::layout::Contracts;
use crate::parse::Malformed;
use crate::text;

/// What another side says, beside what we say.
#[derive(Clone, Debug)]
pub struct Said<'s> {
    ours: &'s Set<'s>,
    /// Nothing when it is word for word what we say.
    theirs: Option<Contracts>,
}

impl<'s> Said<'s> {
    /// Reads it. That it is another text is no error here: one of its maps may still hold what we think.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(ours: &'s Set<'s>, found: &[u8]) -> Result<Self, Malformed> {
        let theirs = if text(ours).as_bytes() == found { None } else { Some(Contracts::parse(found)?) };
        Ok(Self { ours, theirs })
    }

    /// Whether it says that this map is memory of these records.
    ///
    /// # Errors
    /// What it says instead, field by field: the first of them.
    pub fn holds<T: Contract>(&self, memory: &Memory<T>) -> Result<(), Difference> {
        let wanted = memory.place();
        if self.theirs.is_none() && self.ours.places.contains(&wanted) {
            return Ok(());
        }
        let record = T::SHAPE.record();
        let wanted = Set { records: record.as_slice(), places: &[wanted], services: &[], ..*self.ours };
        // A text of ours that cannot be read is a defect, and says nothing of this map.
        let parsed = |set: &Set<'_>| Contracts::parse(text(set).as_bytes()).ok();
        let ours = || parsed(self.ours);
        let (wanted, found) = (parsed(&wanted), self.theirs.clone().or_else(ours));
        match (wanted, found) {
            (Some(wanted), Some(found)) => place(&wanted, &found, memory.name()).map_or(Ok(()), Err),
            _ => Err(Difference { path: "contract".to_owned(), expected: Some("one".to_owned()), found: None }),
        }
    }
}
