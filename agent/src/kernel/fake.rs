//! A kernel for tests: remembers what it was told, and fails when told to.

#![allow(clippy::expect_used, missing_docs)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use gabion_abi::event::{Event, Settings, suppressed};
use gabion_abi::verdict::{Count, Interface};
use gabion_generation::Expedited;
use gabion_life::Pointers;
use gabion_policy_compile::Compiled;

use super::{Attachment, Found, Kernel, KernelError, Plan, ReasonCounts, Tried, Trying};

/// What outlives an agent, and what a test can look at and break.
#[derive(Debug, Default)]
pub struct World {
    /// The generation that hooks run, and that new ones get.
    pub generation: Option<u32>,
    /// Those that are loaded.
    pub loaded: BTreeSet<u32>,
    pub attached: BTreeMap<u32, u32>,
    pub names: BTreeMap<u32, String>,
    pub interfaces: BTreeMap<u32, Interface>,
    pub local: BTreeSet<IpAddr>,
    pub settings: Settings,
    pub counts: BTreeMap<u32, Vec<Count>>,
    pub reasons: ReasonCounts,
    pub suppressed: [u64; suppressed::COUNT as usize],
    pub events: VecDeque<Option<Event>>,
    pub calls: Vec<String>,
    pub refuse_stage: bool,
    pub refuse_point: bool,
    /// Names of packets that the last generation was tried on, and what came of them.
    pub tried: Vec<String>,
    pub missed: Vec<String>,
    /// What programs of another version are called.
    pub programs: String,
    /// Tables can be changed in place.
    pub takes_patches: bool,
    /// The generation in force tells VLANs apart.
    pub tells_tags: bool,
    /// Indices from here on have no room until the next generation.
    pub room: Option<u32>,
    pub refuse_attach: BTreeSet<u32>,
    pub refuse_native: BTreeSet<u32>,
}

/// The agent's handle on it.
#[derive(Clone, Debug, Default)]
pub struct Fake(pub Rc<RefCell<World>>);

fn refused(message: &str) -> KernelError {
    KernelError { code: "fake".into(), blame: "system", wants_room: false, message: message.into() }
}

impl Kernel for Fake {
    fn expedite(&self) -> Option<Expedited> {
        None
    }

    fn found(&self) -> Found {
        let world = self.0.borrow();
        let running = world.attached.values().copied().max().or(world.generation);
        Found { generations: world.loaded.clone(), running, last_number: world.loaded.last().copied().unwrap_or(0) }
    }

    fn programs(&self) -> String {
        self.0.borrow().programs.clone()
    }

    fn stage(&mut self, plan: &Plan<'_>) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
        world.calls.push(format!("stage {}", plan.number));
        if world.refuse_stage {
            return Err(refused("the verifier says no"));
        }
        world.loaded.insert(plan.number);
        world.room = None;
        world.interfaces.clone_from(plan.interfaces);
        world.counts.insert(plan.number, vec![Count::default(); plan.compiled.rules.len()]);
        Ok(())
    }

    fn make_ready(&mut self, plan: &Plan<'_>) -> Result<(), KernelError> {
        self.0.borrow_mut().calls.push(format!("make ready {}", plan.number));
        Ok(())
    }

    fn try_out(&mut self, trying: &Trying<'_>) -> Tried {
        let mut world = self.0.borrow_mut();
        world.tried = trying.golden.iter().map(|golden| golden.probe.name.clone()).collect();
        world.tried.extend(trying.live.iter().map(|probe| probe.name.clone()));
        Tried { missed: world.missed.clone(), ..Tried::default() }
    }

    fn point(&mut self, wanted: &Pointers, settings: &Settings) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
        let Some(all) = wanted.all else { return Ok(()) };
        if world.refuse_point {
            world.refuse_point = false;
            return Err(refused("the driver says no"));
        }
        if world.generation != Some(all) {
            world.calls.push(format!("point {all}"));
        }
        world.generation = Some(all);
        world.settings = *settings;
        let names = world.names.clone();
        for (index, generation) in &mut world.attached {
            *generation = names.get(index).and_then(|name| wanted.of(name)).unwrap_or(all);
        }
        let running: Vec<u32> = world.attached.values().copied().collect();
        assert!(running.iter().all(|number| world.loaded.contains(number)), "a hook without a generation");
        Ok(())
    }

    fn prune(&mut self, kept: &BTreeSet<u32>) -> Result<BTreeMap<u32, Vec<Count>>, KernelError> {
        let mut world = self.0.borrow_mut();
        let running: Vec<u32> = world.attached.values().copied().collect();
        let gone: Vec<u32> = world.loaded.difference(kept).copied().collect();
        assert!(gone.iter().all(|number| !running.contains(number)), "a generation is removed that a hook runs");
        world.loaded.retain(|number| kept.contains(number));
        Ok(gone.into_iter().map(|number| (number, world.counts.remove(&number).unwrap_or_default())).collect())
    }

    fn patch(&mut self, compiled: &Compiled) -> Result<bool, KernelError> {
        let mut world = self.0.borrow_mut();
        let counts = world.generation.and_then(|number| world.counts.get(&number)).map_or(0, Vec::len);
        let fits = world.takes_patches && counts == compiled.rules.len();
        world.calls.push(format!("patch {}", if fits { "taken" } else { "refused" }));
        Ok(fits)
    }

    fn attach(&mut self, ifindex: u32, name: &str) -> Result<Attachment, KernelError> {
        let mut world = self.0.borrow_mut();
        world.calls.push(format!("attach {name}"));
        if world.refuse_attach.contains(&ifindex) {
            return Err(refused("no room for a program"));
        }
        let generation = world.generation.expect("attach before install");
        world.attached.insert(ifindex, generation);
        world.names.insert(ifindex, name.to_owned());
        drop(world);
        Ok(self.attachment(ifindex))
    }

    fn attachment(&self, ifindex: u32) -> Attachment {
        let world = self.0.borrow();
        let native = !world.refuse_native.contains(&ifindex);
        let name = world.names.get(&ifindex).cloned().unwrap_or_default();
        let generic = (!native).then(|| format!("{name}: generic XDP"));
        Attachment {
            ingress: if native { "xdp-native" } else { "xdp-generic" },
            egress: "tcx",
            warning: world.tells_tags.then(|| format!("{name}: tags beside the frame")).or(generic),
        }
    }

    fn attach_arrival(&mut self, ifindex: u32, _: &str) -> Result<(), KernelError> {
        let world = self.0.borrow();
        if world.refuse_attach.contains(&ifindex) { Err(refused("no room for a program")) } else { Ok(()) }
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
        world.calls.push(format!("detach {ifindex}"));
        world.attached.remove(&ifindex);
        Ok(())
    }

    fn rename(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError> {
        self.0.borrow_mut().calls.push(format!("rename {ifindex} {name}"));
        Ok(())
    }

    fn remove(&mut self) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
        *world = World { calls: std::mem::take(&mut world.calls), ..World::default() };
        world.calls.push("remove".into());
        Ok(())
    }

    fn attached(&self) -> Vec<u32> {
        self.0.borrow().attached.keys().copied().collect()
    }

    fn set_interface(&mut self, number: u32, ifindex: u32, interface: Option<Interface>) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
        if world.generation != Some(number) {
            // Tests look at what the generation in force knows.
            return Ok(());
        }
        world.calls.push(format!("interface {ifindex} {:?}", interface.map(|it| it.flags)));
        if ifindex >= world.room.unwrap_or(u32::MAX) {
            return Err(KernelError { wants_room: true, ..refused("ifindex too large") });
        }
        match interface {
            Some(interface) => world.interfaces.insert(ifindex, interface),
            None => world.interfaces.remove(&ifindex),
        };
        Ok(())
    }

    fn set_local(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        self.0.borrow_mut().local = addresses.iter().copied().collect();
        Ok(())
    }

    fn set_settings(&mut self, settings: &Settings) -> Result<(), KernelError> {
        self.0.borrow_mut().settings = *settings;
        Ok(())
    }

    fn settings(&self) -> Result<Settings, KernelError> {
        Ok(self.0.borrow().settings)
    }

    fn rule_counts(&self, number: u32) -> Result<Vec<Count>, KernelError> {
        Ok(self.0.borrow().counts.get(&number).cloned().unwrap_or_default())
    }

    fn reason_counts(&self) -> Result<ReasonCounts, KernelError> {
        Ok(self.0.borrow().reasons)
    }

    fn suppressed(&self) -> Result<[u64; suppressed::COUNT as usize], KernelError> {
        Ok(self.0.borrow().suppressed)
    }

    fn event_fd(&self) -> Result<Option<OwnedFd>, KernelError> {
        Ok(None)
    }

    fn take_events(&mut self, limit: usize, sink: &mut dyn FnMut(Option<Event>)) -> usize {
        let mut world = self.0.borrow_mut();
        let count = limit.min(world.events.len());
        world.events.drain(..count).for_each(sink);
        count
    }
}
