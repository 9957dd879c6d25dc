//! The one funnel to the kernel's enforcement: everything that the agent wants of BPF goes through [`Kernel`].
//!
//! `bpf` is the real one; tests put a fake in its place and see the same order of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use gabion_abi::event::{Event, Settings, suppressed};
use gabion_abi::verdict::{Count, Interface, reason};
use gabion_generation::Expedited;
use gabion_life::{Number, Pointers};
use gabion_policy_compile::Compiled;
use gabion_policy_model::PolicySet;
use gabion_policy_model::site::ConnectionLimits;
use gabion_policy_probes::{Comparison, Golden, Probe};

pub mod bpf;
#[cfg(test)]
pub mod fake;

/// How a hook is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// `xdp-native`, `xdp-generic` or `none`.
    pub ingress: &'static str,
    /// `tcx`, `clsact` or `none`.
    pub egress: &'static str,
    /// What is not as good as it could be, and why.
    pub warning: Option<String>,
}

/// What a call to the kernel came to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KernelError {
    /// Stable code.
    pub code: String,
    /// Whose fault: `input`, `system` or `ours`.
    pub blame: &'static str,
    /// There is no room for an interface; a new generation makes it.
    pub wants_room: bool,
    /// What happened, with number and limit where there are some, and what to do.
    pub message: String,
}

/// Everything that a generation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// Its number.
    pub number: u32,
    /// Its tables.
    pub compiled: &'p Compiled,
    /// Connections that are tracked, for state that does not exist yet.
    pub connections: ConnectionLimits,
    /// Its kernel programs, when they are not the agent's own.
    pub object: Option<&'p [u8]>,
    /// Interfaces by index.
    pub interfaces: &'p BTreeMap<u32, Interface>,
    /// What it is tried with next, if it is: what that takes is loaded at the same time.
    pub trial: Option<&'p Settings>,
}

/// A policy and what it compiled to.
#[derive(Clone, Copy, Debug)]
pub struct Meant<'p> {
    /// Its number; 0 is none, of what is only tried.
    pub number: u32,
    /// As it is written.
    pub set: &'p PolicySet,
    /// Its tables.
    pub compiled: &'p Compiled,
    /// Mode, limits and fail-safe ports that go with it.
    pub settings: &'p Settings,
    /// Its kernel programs, when they are not the agent's own.
    pub object: Option<&'p [u8]>,
}

/// What a generation is tried on before it judges anybody.
#[derive(Clone, Copy, Debug)]
pub struct Trying<'p> {
    /// The generation.
    pub new: Meant<'p>,
    /// The one in force, when it is known.
    pub old: Option<Meant<'p>>,
    /// Packets with the verdicts that they must get.
    pub golden: &'p [Golden],
    /// Packets of late.
    pub live: &'p [Probe],
    /// Changed verdicts that are held to the policies as they are written.
    pub questions: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Golden packets that got another verdict.
    pub missed: Vec<String>,
    /// How old and new generation differ.
    pub comparison: Comparison,
    /// Why the programs could not be tried.
    pub untried: Option<String>,
}

/// What an earlier agent left in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Generations that are whole.
    pub generations: BTreeSet<Number>,
    /// The newest of them that a hook runs.
    pub running: Option<Number>,
    /// The largest number given out, as far as the kernel shows.
    pub last_number: Number,
}

/// Totals by action (0 pass, 1 drop) and reason.
pub type ReasonCounts = [[Count; reason::COUNT as usize]; 2];

/// What the agent wants of the kernel.
pub trait Kernel {
    /// What an earlier agent left, when this one began.
    fn found(&self) -> Found;

    /// Digest of the kernel programs that generations are made with.
    fn programs(&self) -> String;

    /// Keeps the kernel's waits short while hooks change, until it is dropped; none where that cannot be had.
    fn expedite(&self) -> Option<Expedited>;

    /// Loads a generation beside those that are there; nothing runs it.
    fn stage(&mut self, plan: &Plan<'_>) -> Result<(), KernelError>;

    /// Loads what the next generation will be made of, when its policy is like this one, and what it will be tried
    /// with. Nothing that is in force changes.
    fn make_ready(&mut self, plan: &Plan<'_>) -> Result<(), KernelError>;

    /// Tries the programs of a generation on packets that nobody sent. Nothing that is in force sees any of it.
    fn try_out(&mut self, trying: &Trying<'_>) -> Tried;

    /// Brings every hook to the generation that is wanted there, with the settings that go with it: all of them or,
    /// when one refuses, none.
    fn point(&mut self, wanted: &Pointers, settings: &Settings) -> Result<(), KernelError>;

    /// Removes all generations but these. Gives back what the others had counted, by their rule numbers.
    fn prune(&mut self, kept: &BTreeSet<Number>) -> Result<BTreeMap<Number, Vec<Count>>, KernelError>;

    /// Attaches the generation in force there to an interface, or takes over what an earlier agent attached there.
    fn attach(&mut self, ifindex: u32, name: &str) -> Result<Attachment, KernelError>;

    /// Attaches the hook of arrival alone, which is quick; [`Kernel::attach`] completes it.
    fn attach_arrival(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError>;

    /// Takes the hooks off an interface. One that is gone already is fine.
    fn detach(&mut self, ifindex: u32) -> Result<(), KernelError>;

    /// An interface has another name now: what is attached stays.
    fn rename(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError>;

    /// Takes all hooks off and removes everything that is pinned.
    fn remove(&mut self) -> Result<(), KernelError>;

    /// How an interface is attached now: another policy may ask for other hooks.
    fn attachment(&self, ifindex: u32) -> Attachment;

    /// Puts other tables in the place of those in force, for the next packet; false when they do not fit, and a
    /// generation must be made.
    fn patch(&mut self, compiled: &Compiled) -> Result<bool, KernelError>;

    /// Interfaces on which hooks stand.
    fn attached(&self) -> Vec<u32>;

    /// What a generation knows about an interface; none when it is gone.
    fn set_interface(
        &mut self,
        generation: Number,
        ifindex: u32,
        interface: Option<Interface>,
    ) -> Result<(), KernelError>;

    /// Replaces the list of the node's own addresses.
    fn set_local(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError>;

    /// Changes mode, limits and fail-safe ports.
    fn set_settings(&mut self, settings: &Settings) -> Result<(), KernelError>;

    /// Settings in force.
    fn settings(&self) -> Result<Settings, KernelError>;

    /// Counts of a generation by rule number.
    fn rule_counts(&self, generation: Number) -> Result<Vec<Count>, KernelError>;

    /// Totals since the state was made.
    fn reason_counts(&self) -> Result<ReasonCounts, KernelError>;

    /// Events that were not sent, by reason.
    fn suppressed(&self) -> Result<[u64; suppressed::COUNT as usize], KernelError>;

    /// A descriptor that becomes readable when events wait; none when there is no ring yet.
    fn event_fd(&self) -> Result<Option<OwnedFd>, KernelError>;

    /// Hands over at most `limit` waiting events, none for a record that is not one. Returns how many.
    fn take_events(&mut self, limit: usize, sink: &mut dyn FnMut(Option<Event>)) -> usize;
}
