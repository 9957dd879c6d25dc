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
use gabion_policy_compile::Compiled;

use super::{Attachment, Kernel, KernelError, Plan, ReasonCounts, Swapped};

/// What outlives an agent, and what a test can look at and break.
#[derive(Debug, Default)]
pub struct World {
    pub generation: Option<u32>,
    pub attached: BTreeMap<u32, u32>,
    pub names: BTreeMap<u32, String>,
    pub interfaces: BTreeMap<u32, Interface>,
    pub local: BTreeSet<IpAddr>,
    pub settings: Settings,
    pub counts: Vec<Count>,
    pub reasons: ReasonCounts,
    pub suppressed: [u64; suppressed::COUNT as usize],
    pub events: VecDeque<Option<Event>>,
    pub calls: Vec<String>,
    pub refuse_install: bool,
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

    fn adopted(&self) -> Option<u32> {
        self.0.borrow().generation
    }

    fn last_number(&self) -> u32 {
        self.0.borrow().generation.unwrap_or(0)
    }

    fn install(&mut self, plan: &Plan<'_>) -> Result<Swapped, KernelError> {
        let mut world = self.0.borrow_mut();
        world.calls.push(format!("install {}", plan.number));
        if world.refuse_install {
            return Err(refused("the verifier says no"));
        }
        let previous_counts = std::mem::replace(&mut world.counts, vec![Count::default(); plan.compiled.rules.len()]);
        world.generation = Some(plan.number);
        world.room = None;
        world.interfaces.clone_from(plan.interfaces);
        world.settings = *plan.settings;
        for generation in world.attached.values_mut() {
            *generation = plan.number;
        }
        Ok(Swapped { previous_counts })
    }

    fn patch(&mut self, compiled: &Compiled) -> Result<bool, KernelError> {
        let mut world = self.0.borrow_mut();
        let fits = world.takes_patches && world.counts.len() == compiled.rules.len();
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

    fn set_interface(&mut self, ifindex: u32, interface: Option<Interface>) -> Result<(), KernelError> {
        let mut world = self.0.borrow_mut();
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

    fn rule_counts(&self) -> Result<Vec<Count>, KernelError> {
        Ok(self.0.borrow().counts.clone())
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
