//! The real kernel: generations, links and state maps of `generation`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use aya::maps::{MapData, RingBuf};
use gabion_abi::event::{Event, Settings, suppressed};
use gabion_abi::facts::{self, Address};
use gabion_abi::verdict::{Count, Interface, reason};
use gabion_generation::{
    Attachment as Attached, Blame, EgressHook, Error, Expedited, InterfaceEntry, Node, Programs, Sizes, Staged,
    Surroundings, Twin, XdpWay, gatekeeper_folder,
};
use gabion_life::{Number, Pointers};
use gabion_policy_compile::Compiled;
use gabion_policy_probes::{Program as _, Side, compare};
use gabion_store::Store;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::{Attachment, Found, Kernel, KernelError, Meant, Plan, ReasonCounts, Tried, Trying};
use crate::api::wire::Problem;
use crate::gatekeeper;
use crate::life::{digest_of, kernel_problem, store_problem};
use crate::record;

/// The kernel side of one node.
pub struct Bpf {
    root: PathBuf,
    /// The programs, parsed while the policy is read.
    parsing: Option<JoinHandle<Result<Programs, Error>>>,
    /// None before the first generation on a fresh folder: the sizes of the state are the policy's.
    node: Option<Node>,
    found: Found,
    events: Option<RingBuf<MapData>>,
    /// What each generation was told, for interfaces that are attached later.
    interfaces: BTreeMap<Number, BTreeMap<u32, Interface>>,
    pointers: Pointers,
    /// What generations are tried by, of those that are kept.
    twins: BTreeMap<Number, Twin>,
    /// One whose generation went: the next may be made of it.
    spare_twin: Option<Twin>,
    /// Names under which interfaces are pinned.
    names: BTreeMap<u32, String>,
    /// Digest of the programs.
    digest: String,
    /// Keeps a second agent off the folder.
    _lock: File,
}

impl std::fmt::Debug for Bpf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpf").field("root", &self.root).field("node", &self.node).finish_non_exhaustive()
    }
}

impl Drop for Bpf {
    fn drop(&mut self) {
        if let Some(parsing) = self.parsing.take() {
            // Nobody wanted its result.
            let _ = parsing.join();
        }
    }
}

/// Opens the folder: adopts what is there, or is ready to begin.
pub fn open(root: &Path) -> Result<Box<dyn Kernel>, Problem> {
    let opened = Bpf::open(root).map_err(kernel_problem)?;
    Ok(Box::new(opened))
}

/// Takes everything away that is pinned under `root`, when no agent is running. Whether there was something.
pub fn detach(root: &Path, state: &Path) -> Result<bool, Problem> {
    let gate = gatekeeper_folder(root);
    if !root.join("state").exists() && !gate.exists() {
        return Ok(false);
    }
    // The state folder's lock too: an agent that could not open the bpffs yet is an agent. A folder that is not there
    // belongs to nobody, and is not made for this.
    let mut store = if state.exists() { Some(Store::open(state).map_err(store_problem)?.store) } else { None };
    let mut kernel = Bpf::open(root).map_err(kernel_problem)?;
    gatekeeper::let_go(&gate).map_err(|why| kernel_problem(system("gatekeeper", why)))?;
    kernel.remove().map_err(kernel_problem)?;
    if let Some(store) = &mut store {
        record::detached(store).map_err(store_problem)?;
    }
    Ok(true)
}

/// Empty for a binary without programs, which cannot load any.
fn digest_of_programs() -> String {
    let object = gabion_kernel_object::object().unwrap_or_default();
    if object.is_empty() { String::new() } else { digest_of(object) }
}

fn failed(error: Error) -> KernelError {
    let (code, blame) = match error.blame() {
        Blame::Operator => ("generation-refused", "input"),
        Blame::Kernel => ("kernel-refused", "system"),
        Blame::Ourselves => ("generation-defect", "ours"),
    };
    let wants_room = matches!(&error, Error::TooLarge { what: "ifindex", .. });
    KernelError { code: code.to_owned(), blame, wants_room, message: error.to_string() }
}

fn system(code: &str, message: String) -> KernelError {
    KernelError { code: code.to_owned(), blame: "system", wants_room: false, message }
}

fn lock(root: &Path) -> Result<File, KernelError> {
    let refused = |action: &str, error: &dyn std::fmt::Display| {
        system("bpffs", format!("{}: cannot {action}: {error}", root.display()))
    };
    std::fs::create_dir_all(root).map_err(|error| refused("create the folder", &error))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| refused("open", &error))?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(File::from(folder)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message = format!(
                "{} is in use by another agent; stop it first, or give this one a --bpffs folder of its own",
                root.display()
            );
            Err(system("bpffs-locked", message))
        }
        Err(error) => Err(refused("lock", &error)),
    }
}

impl Bpf {
    fn open(root: &Path) -> Result<Self, KernelError> {
        let lock = lock(root)?;
        Expedited::recover(root);
        let mut bpf = Self {
            root: root.to_owned(),
            parsing: Some(std::thread::spawn(Programs::parse)),
            node: None,
            found: Found::default(),
            events: None,
            interfaces: BTreeMap::new(),
            pointers: Pointers::default(),
            twins: BTreeMap::new(),
            spare_twin: None,
            names: BTreeMap::new(),
            digest: digest_of_programs(),
            _lock: lock,
        };
        if root.join("state").exists() {
            bpf.begin(&Sizes::default())?;
        }
        Ok(bpf)
    }

    /// Adopts or makes the state; sizes matter only when it is made.
    fn begin(&mut self, sizes: &Sizes) -> Result<&mut Node, KernelError> {
        let programs = match self.parsing.take() {
            // A panic there is a defect, and parsing again shows it.
            Some(thread) => thread.join().unwrap_or_else(|_| Programs::parse()),
            None => Programs::parse(),
        };
        let programs = programs.map_err(failed)?;
        let (node, found) = Node::open(&self.root, sizes, programs).map_err(failed)?;
        self.pointers.all = found.running;
        let last_number = node.last_number();
        self.found = Found { generations: found.generations, running: found.running, last_number };
        for name in &found.gone {
            tracing::info!(interface = name, "is gone since the last agent; its pins were removed");
        }
        for attachment in found.attachments {
            if let Ok(ifindex) = nix::net::if_::if_nametoindex(attachment.interface.as_str()) {
                self.names.insert(ifindex, attachment.interface);
            }
        }
        self.events = Some(node.events().map_err(failed)?);
        Ok(self.node.insert(node))
    }

    /// What the generation that an interface is to run was told of it.
    fn known(&self, name: &str, ifindex: u32) -> Interface {
        let told = self.pointers.of(name).and_then(|number| self.interfaces.get(&number));
        told.and_then(|told| told.get(&ifindex)).copied().unwrap_or_default()
    }

    /// A generation's twin: of the one that is tried it is there, and of the one before as well, unless that came from
    /// an earlier agent or is large.
    fn twin(&mut self, meant: &Meant<'_>) -> Result<Twin, Error> {
        if let Some(twin) = self.twins.remove(&meant.number) {
            return Ok(twin);
        }
        let programs = match meant.object {
            Some(object) => Arc::new(Programs::of(object)?),
            None => self.node.as_ref().ok_or(Error::NoGeneration)?.programs(),
        };
        let around = Surroundings { interfaces: &[], settings: meant.settings };
        let spare = self.spare_twin.take_if(|twin| twin.suits(&programs, meant.compiled, &around));
        made(spare, &programs, meant.compiled, &around)
    }

    fn tried_by(&mut self, trying: &Trying<'_>, tried: &mut Tried) -> Result<(), Error> {
        if trying.golden.is_empty() && trying.live.is_empty() {
            return Ok(());
        }
        let mut new = self.twin(&trying.new)?;
        for golden in trying.golden {
            match new.judge(&golden.probe) {
                Ok(seen) => {
                    tried.missed.extend(golden.check(&seen, trying.new.compiled).err().map(|it| it.to_string()))
                }
                Err(error) => tried.missed.push(error.to_string()),
            }
        }
        if let Some(before) = trying.old.filter(|_| !trying.live.is_empty()) {
            let mut old = self.twin(&before)?;
            let Meant { set, compiled, settings, .. } = before;
            let mut old_side = Side { set, compiled, program: &mut old, settings };
            let Meant { set, compiled, settings, .. } = trying.new;
            let mut new_side = Side { set, compiled, program: &mut new, settings };
            tried.comparison = compare(&mut old_side, &mut new_side, trying.live, trying.questions);
            self.keep_twin(&before, old);
        }
        self.keep_twin(&trying.new, new);
        Ok(())
    }

    /// For the next change, which compares with this one.
    fn keep_twin(&mut self, of: &Meant<'_>, twin: Twin) {
        if of.number == 0 {
            // Nobody will ask for it.
            self.spare(twin);
        } else if twin.is_worth_keeping() {
            self.twins.insert(of.number, twin);
        }
    }

    /// Keeps a twin for whatever comes next, which mostly has the form of what is in force.
    fn spare(&mut self, twin: Twin) {
        let in_force = self.pointers.all.and_then(|number| self.twins.get(&number));
        let fits = |twin: &Twin| in_force.is_some_and(|other| twin.serves(other));
        if twin.is_worth_keeping() && (fits(&twin) || !self.spare_twin.as_ref().is_some_and(fits)) {
            self.spare_twin = Some(twin);
        }
    }

    fn node(&mut self) -> Result<&mut Node, KernelError> {
        self.node.as_mut().ok_or_else(|| failed(Error::NoGeneration))
    }
}

fn entries(plan: &Plan<'_>) -> Vec<InterfaceEntry> {
    plan.interfaces.iter().map(|(&ifindex, &interface)| InterfaceEntry { ifindex, interface }).collect()
}

/// A twin, of a spare one that suits.
fn made(
    spare: Option<Twin>,
    programs: &Programs,
    compiled: &Compiled,
    around: &Surroundings<'_>,
) -> Result<Twin, Error> {
    spare.map_or_else(|| Twin::load(programs, compiled, around), |twin| twin.again(compiled, around))
}

fn address(address: &IpAddr) -> (u8, Address) {
    match address {
        IpAddr::V4(v4) => (facts::FAMILY_V4, Address::v4((*v4).into())),
        IpAddr::V6(v6) => (facts::FAMILY_V6, Address::v6((*v6).into())),
    }
}

fn described(attached: Attached) -> Attachment {
    Attachment {
        ingress: match attached.xdp {
            Some(XdpWay::Native) => "xdp-native",
            Some(XdpWay::Generic) => "xdp-generic",
            None => "none",
        },
        egress: match attached.egress {
            Some(EgressHook::Tcx) => "tcx",
            Some(EgressHook::Clsact) => "clsact",
            None => "none",
        },
        warning: attached.warning,
    }
}

impl Kernel for Bpf {
    fn found(&self) -> Found {
        self.found.clone()
    }

    fn programs(&self) -> String {
        self.digest.clone()
    }

    fn expedite(&self) -> Option<Expedited> {
        Expedited::begin(&self.root)
    }

    fn stage(&mut self, plan: &Plan<'_>) -> Result<(), KernelError> {
        if self.node.is_none() {
            let limits = plan.connections;
            let sizes = Sizes {
                established: limits.established,
                datagrams: limits.datagrams,
                opening: limits.opening,
                fragments: limits.fragments,
                ..Sizes::default()
            };
            self.begin(&sizes)?;
        }
        let node = self.node.as_mut().ok_or_else(|| failed(Error::NoGeneration))?;
        node.resume_numbers(plan.number.saturating_sub(1));
        let entries = entries(plan);
        let foreign = plan.object.map(Programs::of).transpose().map_err(failed)?;
        let own = node.programs();
        let programs = foreign.as_ref().unwrap_or(&own);
        // The verifier takes most of it, for each of the two.
        let (staged, twin) = std::thread::scope(|scope| {
            let twin = plan.trial.map(|settings| {
                let around = Surroundings { interfaces: &[], settings };
                let spare = self.spare_twin.take_if(|twin| twin.suits(programs, plan.compiled, &around));
                scope.spawn(move || made(spare, programs, plan.compiled, &around))
            });
            let staged = node.stage_with(Some(programs), plan.compiled, &entries);
            (staged, twin.and_then(|twin| twin.join().ok()))
        });
        node.keep(staged.map_err(failed)?);
        if let Some(Ok(twin)) = twin {
            // One that could not be loaded is tried again by those who ask for it, and say why.
            self.twins.insert(plan.number, twin);
        }
        self.interfaces.insert(plan.number, plan.interfaces.clone());
        Ok(())
    }

    fn make_ready(&mut self, plan: &Plan<'_>) -> Result<(), KernelError> {
        let Some(node) = self.node.as_mut() else { return Ok(()) };
        let entries = entries(plan);
        let programs = node.programs();
        let Some(settings) = plan.trial else { return node.make_ready(plan.compiled, &entries).map_err(failed) };
        let around = Surroundings { interfaces: &[], settings };
        let spare = self.spare_twin.take_if(|twin| twin.suits(&programs, plan.compiled, &around));
        // The next one is compared with this one.
        let of_this = self.twins.remove(&plan.number);
        let (ready, twins) = std::thread::scope(|scope| {
            let twins = scope.spawn(|| {
                let load = || Twin::load(&programs, plan.compiled, &around).ok().filter(Twin::is_worth_keeping);
                let of_this = of_this.or_else(load);
                // One that is too large is as large again.
                let spare = spare.or_else(|| of_this.as_ref().and_then(|_| load()));
                (of_this, spare)
            });
            (node.make_ready(plan.compiled, &entries), twins.join())
        });
        if let Ok((of_this, spare)) = twins {
            self.twins.extend(of_this.map(|twin| (plan.number, twin)));
            self.spare_twin = spare;
        }
        ready.map_err(failed)
    }

    fn try_out(&mut self, trying: &Trying<'_>) -> Tried {
        let mut tried = Tried::default();
        if let Err(error) = self.tried_by(trying, &mut tried) {
            tried.untried = Some(error.to_string());
        }
        tried
    }

    fn point(&mut self, wanted: &Pointers, settings: &Settings) -> Result<(), KernelError> {
        let before_pointers = self.pointers.all;
        let Some(node) = self.node.as_mut().filter(|_| wanted.all.is_some()) else { return Ok(()) };
        let before = node.settings().map_err(failed)?;
        // New fail-safe ports first, so that the new policy cannot close them for a moment; the mode last, so that a
        // policy on trial is never enforced because its successor will be.
        let audit_mode = if before_pointers.is_some() { before.audit_mode } else { settings.audit_mode };
        node.set_settings(&Settings { audit_mode, ..*settings }).map_err(failed)?;
        if let Err(error) = node.point(wanted) {
            // The refusal is what matters; the old settings go with the old generation.
            if let Err(again) = node.set_settings(&before) {
                tracing::error!("the old settings could not be put back: {again}");
            }
            return Err(failed(error));
        }
        node.set_settings(settings).map_err(failed)?;
        self.pointers.clone_from(wanted);
        Ok(())
    }

    fn prune(&mut self, kept: &BTreeSet<Number>) -> Result<BTreeMap<Number, Vec<Count>>, KernelError> {
        self.interfaces.retain(|number, _| kept.contains(number));
        let gone: Vec<Twin> =
            self.twins.extract_if(.., |number, _| !kept.contains(number)).map(|(_, twin)| twin).collect();
        for twin in gone {
            self.spare(twin);
        }
        let Some(node) = &mut self.node else { return Ok(BTreeMap::new()) };
        let gone = node.prune(kept).map_err(failed)?;
        Ok(gone.into_iter().map(|it| (it.number, it.counts)).collect())
    }

    fn patch(&mut self, compiled: &Compiled) -> Result<bool, KernelError> {
        let patched = self.node()?.patch(compiled).map_err(failed)?;
        if patched && let Some(number) = self.pointers.all {
            // It has the tables of before.
            self.twins.remove(&number);
        }
        Ok(patched)
    }

    fn attach(&mut self, ifindex: u32, name: &str) -> Result<Attachment, KernelError> {
        let interface = self.known(name, ifindex);
        let attached = self.node()?.attach(name, InterfaceEntry { ifindex, interface }).map_err(failed)?;
        self.names.insert(ifindex, name.to_owned());
        Ok(described(attached))
    }

    fn attach_arrival(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError> {
        let interface = self.known(name, ifindex);
        self.node()?.attach_arrival(name, InterfaceEntry { ifindex, interface }).map_err(failed)?;
        self.names.insert(ifindex, name.to_owned());
        Ok(())
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        let Some(name) = self.names.remove(&ifindex) else { return Ok(()) };
        match self.node()?.detach(&name) {
            Ok(()) | Err(Error::NotAttached { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn rename(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError> {
        let Some(old) = self.names.get(&ifindex).cloned() else { return Ok(()) };
        self.node()?.rename(&old, name).map_err(failed)?;
        self.names.insert(ifindex, name.to_owned());
        Ok(())
    }

    fn remove(&mut self) -> Result<(), KernelError> {
        self.events = None;
        self.found = Found::default();
        self.pointers = Pointers::default();
        self.twins.clear();
        self.spare_twin = None;
        self.interfaces.clear();
        self.names.clear();
        self.node.take().map_or(Ok(()), |node| node.detach_all().map_err(failed))
    }

    fn attachment(&self, ifindex: u32) -> Attachment {
        let attached = self.node.as_ref().zip(self.names.get(&ifindex)).map(|(node, name)| node.attachment(name));
        attached.map(described).unwrap_or_default()
    }

    fn attached(&self) -> Vec<u32> {
        self.names.keys().copied().collect()
    }

    fn set_interface(
        &mut self,
        generation: Number,
        ifindex: u32,
        interface: Option<Interface>,
    ) -> Result<(), KernelError> {
        let known = interface.unwrap_or_default();
        let outcome = self.node()?.set_interface(generation, InterfaceEntry { ifindex, interface: known });
        match (outcome, interface) {
            (Ok(()), _) => {}
            // What has no room is unknown, which is all that was wanted.
            (Err(Error::TooLarge { .. }), None) => {}
            (Err(error), _) => return Err(failed(error)),
        }
        let told = self.interfaces.entry(generation).or_default();
        match interface {
            Some(interface) => told.insert(ifindex, interface),
            None => told.remove(&ifindex),
        };
        Ok(())
    }

    fn set_local(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        let addresses: Vec<(u8, Address)> = addresses.iter().map(address).collect();
        // Before the first generation there is nobody to tell; the agent says it again after it.
        self.node.as_mut().map_or(Ok(()), |node| node.set_local(&addresses).map_err(failed))
    }

    fn set_settings(&mut self, settings: &Settings) -> Result<(), KernelError> {
        self.node()?.set_settings(settings).map_err(failed)
    }

    fn settings(&self) -> Result<Settings, KernelError> {
        self.node.as_ref().map_or_else(|| Ok(Settings::default()), |node| node.settings().map_err(failed))
    }

    fn rule_counts(&self, generation: Number) -> Result<Vec<Count>, KernelError> {
        let counted = self.node.as_ref().and_then(|node| node.generation(generation));
        Ok(counted.map(Staged::rule_counts).unwrap_or_default())
    }

    fn reason_counts(&self) -> Result<ReasonCounts, KernelError> {
        let mut counts = ReasonCounts::default();
        if let Some(node) = &self.node {
            let flat = node.reason_counts();
            for (row, found) in counts.iter_mut().zip(flat.chunks(usize::from(reason::COUNT))) {
                for (count, found) in row.iter_mut().zip(found) {
                    *count = *found;
                }
            }
        }
        Ok(counts)
    }

    fn suppressed(&self) -> Result<[u64; suppressed::COUNT as usize], KernelError> {
        let mut counts = [0; suppressed::COUNT as usize];
        if let Some(node) = &self.node {
            for (count, found) in counts.iter_mut().zip(node.suppressed()) {
                *count = found;
            }
        }
        Ok(counts)
    }

    fn event_fd(&self) -> Result<Option<OwnedFd>, KernelError> {
        let Some(ring) = &self.events else { return Ok(None) };
        // A copy of the descriptor: the ring stays ours to read.
        let copied = ring.as_fd().try_clone_to_owned();
        copied.map(Some).map_err(|error| system("events", format!("cannot watch the ring of events: {error}")))
    }

    fn take_events(&mut self, limit: usize, sink: &mut dyn FnMut(Option<Event>)) -> usize {
        let Some(ring) = &mut self.events else { return 0 };
        for taken in 0..limit {
            match ring.next() {
                Some(item) => sink(gabion_generation::event(&item)),
                None => return taken,
            }
        }
        limit
    }
}
