//! A compiled policy becomes a numbered generation in the kernel, replaces the one in force, and outlives
//! the agent that loaded it.
//!
//! Everything hangs under one folder of a bpffs that [`Node`] owns: `state/` (what outlives a generation),
//! `generations/<number>/` (programs, tables, counters), `links/` (what is attached). A folder appears by one
//! rename when it is complete, and a policy comes into force by one link update per hook, so that a
//! crash between any two system calls leaves a whole generation enforcing at each hook; [`Node::open`]
//! adopts that, or says why it does not. This crate never reads policy text. Start with [`Node`].

mod calls;
mod census;
mod checkup;
mod clsact;
mod contracts;
mod count;
mod digest;
mod error;
mod expedite;
mod folder;
mod limits;
mod links;
mod measure;
mod node;
mod object;
mod orphans;
mod pod;
mod staged;
mod state;
mod twin;

pub use checkup::{Check, State, checkup};
pub use contracts::{ContractMismatch, ObjectContract};
pub use count::instructions;
pub use digest::{ProgramDigest, digests};
pub use error::{Blame, Error};
pub use expedite::Expedited;
pub use folder::gatekeeper_folder;
pub use limits::Sizes;
pub use links::{Attachment, EgressHook, XdpWay};
pub use measure::{FunctionStats, ProgramStats};
pub use node::{Adopted, Gone, Node};
pub use object::Programs;
pub use orphans::{AgentFolder, Kind, Orphan, Survey, survey};
pub use staged::{InterfaceEntry, Staged};
pub use state::event;
pub use twin::{Made, ProbeError, Surroundings, Twin};
