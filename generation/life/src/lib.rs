//! The life of a generation, as a function: what is, and what happens, to what is then and what is to be done.
//!
//! `built → verified → staged → probed → live → committed`, or `rolled back` from anywhere. [`Life`] is what a node
//! must remember, [`Life::take`] is the only way it changes, and [`Decision`] says three things in the order in which
//! they count: what to remember, why (for the journal), and what to do. Whoever runs it puts the first two on disk
//! before it does the third, so that each arrow is on disk before it is taken; nothing here reads a clock, a disk or
//! a kernel.
//!
//! A crash between any two steps is answered by one event, [`Event::Started`]: it says what the kernel shows, and
//! comes to what was in force before or to what was decided after, never to a mixture.

#![forbid(unsafe_code)]

mod pointers;
mod take;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use pointers::Pointers;

/// Number of a generation; none is given out twice.
pub type Number = u32;

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// There is one.
    Built,
    /// Who made it may make it.
    Verified,
    /// It is in the kernel, or about to be; nothing runs it.
    Staged,
    /// What it says about packets was compared.
    Probed,
    /// It judges packets, or is about to, and is watched.
    Live,
    /// It is what the node falls back on from now on.
    Committed,
    /// What was before it is in force again, or about to be.
    RolledBack,
}

impl Step {
    /// As the journal, the API and people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Probed => "probed",
            Self::Live => "live",
            Self::Committed => "committed",
            Self::RolledBack => "rolled back",
        }
    }
}

/// What happens to a generation on trial when the agent that watched it is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeath {
    /// The one before it comes back.
    #[default]
    RollBack,
    /// It is watched anew, as long as before.
    Keep,
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What it is: a digest of all that it is made of. Two changes with one digest are the same.
    pub digest: String,
    /// Where it came from, for people: files, a bundle and its version, a roll-back.
    pub origin: String,
    /// Who vouches for it, for people.
    pub vouched: String,
    /// How long it is watched before the node relies on it; 0 is not at all.
    pub window_ms: u64,
    /// Interfaces that it is for; all when there are none.
    pub only: BTreeSet<String>,
    /// What its agent's death in the window means.
    pub on_death: OnDeath,
    /// Somebody insists: it is taken although it failed before.
    pub insisted: bool,
}

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The generation that it makes.
    pub number: Number,
    /// How far it is.
    pub step: Step,
    /// What was wanted.
    #[serde(flatten)]
    pub change: Change,
}

/// A change that was given up; it is not taken again unless somebody insists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// Its digest.
    pub digest: String,
    /// The generation that it was.
    pub number: Number,
    /// Why.
    pub why: String,
}

/// Condemned changes that are remembered.
pub const CONDEMNED: usize = 64;

/// Committed generations that are remembered when others took their place.
pub const HISTORY: usize = 4;

/// All that a node must remember of its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Life {
    /// The largest number ever given out.
    pub last_number: Number,
    /// What was committed, by interface.
    pub committed: Pointers,
    /// What each number is that is committed somewhere.
    pub digests: BTreeMap<Number, String>,
    /// What judges packets beyond that, and is watched.
    pub live: Option<Trial>,
    /// What is prepared.
    pub making: Option<Trial>,
    /// What was committed everywhere, the latest last: what a node that lost its kernel begins with again.
    pub history: Vec<Number>,
    /// Why nothing may change, when somebody said so.
    pub pinned: Option<String>,
    /// What was given up, the latest last.
    pub condemned: Vec<Condemned>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants a change, and was found to be allowed to.
    Wanted(Change),
    /// The generation that is prepared was loaded.
    Loaded,
    /// It was probed, and nothing speaks against it.
    Probed,
    /// All its hooks run it.
    Swapped,
    /// The step under way came to nothing. The change was whole, so that it is the node's word against it.
    Failed {
        /// Why.
        why: String,
    },
    /// The window is over, and it was not found worse.
    WindowOver,
    /// The node is worse than it was.
    Worse {
        /// Which signal, its value and its bound.
        why: String,
    },
    /// An operator wants the one before.
    RollBack {
        /// Why.
        why: String,
    },
    /// The agent stops, and nobody watches from now on.
    Stopping,
    /// An operator commits it before the window is over.
    Commit,
    /// An operator does not want what is in force any more, and says so before something else takes its place.
    Condemned {
        /// Why.
        why: String,
    },
    /// Nothing may change from now on, or again.
    Pin(Option<String>),
    /// What is committed was changed in place: it is this now.
    ChangedInPlace {
        /// Its digest.
        digest: String,
    },
    /// All was taken out of the kernel.
    Detached,
    /// The agent starts, and finds these generations whole in the kernel.
    Started {
        /// Their numbers.
        there: BTreeSet<Number>,
        /// The newest of them that a hook runs.
        running: Option<Number>,
        /// The largest number that anything shows.
        last_number: Number,
    },
}

/// An arrow, for the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrow {
    /// Of which generation.
    pub number: Number,
    /// From where; none when it begins.
    pub from: Option<Step>,
    /// To where.
    pub to: Step,
    /// Why, or what it is.
    pub why: String,
}

/// What is to be done. Each can be done again, with the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Load the generation that is prepared; [`Event::Loaded`] or [`Event::Failed`].
    Load,
    /// Probe it; [`Event::Probed`] or [`Event::Failed`].
    Probe,
    /// Bring every hook to what [`Life::wanted`] says; [`Event::Swapped`] or [`Event::Failed`] when something is live
    /// that was not committed.
    Point,
    /// Remove what [`Life::kept`] does not say.
    Prune,
    /// Watch what is live for its window.
    Watch,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// To be remembered, before anything is done.
    pub life: Life,
    /// Why, to be written down with it.
    pub arrows: Vec<Arrow>,
    /// To be done, in this order.
    pub effects: Vec<Effect>,
}

/// Why nothing follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody said that nothing may change.
    #[error("generations are pinned ({why}): `gabion generation unpin` lets them change again")]
    Pinned {
        /// What was said.
        why: String,
    },
    /// It failed before.
    #[error(
        "this failed before, as generation {number}: {why}. It stays out unless you insist (`gabion apply --again`, \
         `gabion generation apply --again`)"
    )]
    Condemned {
        /// As which generation.
        number: Number,
        /// Why.
        why: String,
    },
    /// There is nothing on trial.
    #[error("no generation is on trial: there is nothing to {what}")]
    NothingOnTrial {
        /// What was to be done with it.
        what: &'static str,
    },
    /// Some interfaces cannot run ahead of nothing.
    #[error("no generation is committed yet: apply one to all interfaces before some run ahead (`--only`)")]
    NothingCommitted,
    /// Numbers are used up.
    #[error("generation numbers are used up at {last}: detach, and start with an empty state folder")]
    Exhausted {
        /// The last one.
        last: Number,
    },
    /// The runner does not do what it was told: a defect.
    #[error("{event} does not follow from where the change is (a defect: please report it)")]
    OutOfTurn {
        /// What came.
        event: &'static str,
    },
}

impl Life {
    /// What each interface is to run.
    #[must_use]
    pub fn wanted(&self) -> Pointers {
        self.live.as_ref().map_or_else(|| self.committed.clone(), |trial| self.committed.with(trial))
    }

    /// The generations that something still refers to.
    #[must_use]
    pub fn kept(&self) -> BTreeSet<Number> {
        let trials = self.live.iter().chain(&self.making).map(|trial| trial.number);
        self.committed.numbers().chain(trials).collect()
    }

    /// The generations of which text and names are to be remembered.
    #[must_use]
    pub fn remembered(&self) -> BTreeSet<Number> {
        self.kept().into_iter().chain(self.history.iter().copied()).collect()
    }

    /// Why a change with this digest is not taken.
    #[must_use]
    pub fn condemned(&self, digest: &str) -> Option<&Condemned> {
        self.condemned.iter().rev().find(|it| it.digest == digest)
    }
}
