//! Which interface runs which generation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Number, Trial};

/// A generation for each interface: one for all, and others for those that run ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pointers {
    /// For all that are not named; none while nothing is in force.
    pub all: Option<Number>,
    /// For these, by name.
    pub ahead: BTreeMap<String, Number>,
}

impl Pointers {
    /// One generation everywhere.
    #[must_use]
    pub fn all(number: Number) -> Self {
        Self { all: Some(number), ahead: BTreeMap::new() }
    }

    /// What an interface is to run.
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<Number> {
        self.ahead.get(interface).copied().or(self.all)
    }

    /// All that are pointed at; some may come twice.
    pub fn numbers(&self) -> impl Iterator<Item = Number> {
        self.all.into_iter().chain(self.ahead.values().copied())
    }

    /// The same once a trial is live.
    #[must_use]
    pub(crate) fn with(&self, trial: &Trial) -> Self {
        if trial.change.only.is_empty() {
            return Self::all(trial.number);
        }
        let mut with = self.clone();
        with.ahead.extend(trial.change.only.iter().map(|name| (name.clone(), trial.number)));
        with
    }
}
