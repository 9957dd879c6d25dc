//! Hooks and the kernel's view of interfaces, in line with the links and addresses that are there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Agent, Guard};
use crate::interfaces::{Link, Links, guarded, kernel_view};
use crate::kernel::Attachment;

impl Agent {
    pub(super) fn guarded_by(&self, patterns: &[(String, Option<String>)]) -> impl Iterator<Item = u32> + use<> {
        let patterns: Vec<String> = patterns.iter().map(|(name, _)| name.clone()).collect();
        let indices: Vec<u32> = guarded(&self.links, &patterns).map(|(index, _)| index).collect();
        indices.into_iter()
    }

    pub(crate) fn is_attached(&self, index: u32) -> bool {
        self.guards.get(&index).is_some_and(|guard| guard.problem.is_none())
    }

    /// Brings hooks and the kernel's view of the interfaces in line with the links that are there and the site in
    /// force.
    pub fn sync_interfaces(&mut self) {
        let Some(current) = self.current() else { return };
        if !current.record.is_known() {
            // Which interfaces it is for went with the store: those where it stands, until somebody says more.
            for index in self.kernel.attached() {
                let guard = Guard { attachment: self.kernel.attachment(index), problem: None };
                self.guards.insert(index, guard);
            }
            return;
        }
        let wanted: BTreeSet<u32> = self.guarded_by(&current.record.interfaces).collect();

        let mut standing: BTreeSet<u32> = self.kernel.attached().into_iter().collect();
        standing.extend(self.guards.keys());
        let superfluous: Vec<u32> = standing.difference(&wanted).copied().collect();
        let missing = wanted.iter().any(|index| !self.is_attached(*index));
        let _expedited = if missing || !superfluous.is_empty() { self.kernel.expedite() } else { None };
        // First nobody relies on their verdicts any more, then they go.
        for index in &superfluous {
            self.guards.remove(index);
        }
        self.write_view();
        for index in superfluous {
            match self.kernel.detach(index) {
                Ok(()) => tracing::info!(ifindex = index, "interface no longer guarded"),
                Err(error) => {
                    // Of an interface that is gone the hooks went with it.
                    if self.links.contains_key(&index) {
                        tracing::error!(ifindex = index, "cannot detach: {error}");
                    }
                }
            }
        }
        let missing: Vec<u32> = wanted.into_iter().filter(|index| !self.is_attached(*index)).collect();
        if missing.len() > 1 {
            for index in &missing {
                let name = self.links.get(index).map(|link| link.name.clone()).unwrap_or_default();
                // What is refused here is refused again below, and reported there.
                let _ = self.kernel.attach_arrival(*index, &name);
            }
            tracing::info!(interfaces = missing.len(), "what arrives is judged");
        }
        for index in missing {
            self.attach(index);
        }
        self.write_view();
    }

    fn attach(&mut self, index: u32) {
        let Some(link) = self.links.get(&index) else { return };
        let name = link.name.clone();
        let guard = match self.kernel.attach(index, &name) {
            Ok(attachment) => {
                tracing::info!(
                    interface = name,
                    ifindex = index,
                    ingress = attachment.ingress,
                    egress = attachment.egress,
                    "interface guarded"
                );
                if let Some(warning) = &attachment.warning {
                    tracing::warn!(interface = name, "{warning}");
                }
                Guard { attachment, problem: None }
            }
            Err(error) => {
                self.wants_room |= error.wants_room;
                let known = self.guards.get(&index).and_then(|guard| guard.problem.as_deref());
                if known != Some(error.message.as_str()) {
                    tracing::error!(interface = name, ifindex = index, "NOT GUARDED: {error}");
                }
                Guard { attachment: Attachment::default(), problem: Some(error.message) }
            }
        };
        self.guards.insert(index, guard);
    }

    /// Tells every generation what it is to know of interfaces: also the one that may have to come back.
    fn write_view(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        // What is not remembered keeps what it was told: what its classes are called is not known.
        for (&number, generation) in kept.iter_mut().filter(|(_, generation)| generation.record.is_known()) {
            let view = kernel_view(&self.links, &|index| self.is_attached(index), &generation.record.classes);
            let indices: BTreeSet<u32> = view.keys().chain(generation.view.keys()).copied().collect();
            for index in indices {
                let new = view.get(&index).copied();
                if generation.view.get(&index).copied() == new {
                    continue;
                }
                if let Err(error) = self.kernel.set_interface(number, index, new) {
                    tracing::error!(
                        ifindex = index,
                        generation = number,
                        "the kernel does not take what is known of this interface: {error}"
                    );
                    self.wants_room |= error.wants_room;
                    if let Some(guard) = self.guards.get_mut(&index) {
                        guard.attachment.warning = Some(error.message);
                    }
                }
            }
            generation.view = view;
        }
        self.kept = kept;
    }

    /// A link is there, or has changed. Whether that calls for [`Self::sync_interfaces`].
    pub fn link_changed(&mut self, index: u32, link: Link) -> bool {
        let again = self.guards.get(&index).is_some_and(|guard| guard.problem.is_some());
        let before = self.links.insert(index, link);
        let Some(link) = self.links.get(&index) else { return true };
        if before.as_ref().is_some_and(|before| before.name != link.name) && self.is_attached(index) {
            let name = link.name.clone();
            tracing::info!(ifindex = index, name, "interface renamed");
            if let Err(error) = self.kernel.rename(index, &name) {
                tracing::error!(ifindex = index, name, "the pins keep the old name: {error}");
            }
        }
        again || before.as_ref() != self.links.get(&index)
    }

    /// Whether the tables have no room for an interface, so that a new generation is wanted. Asked once.
    pub fn take_wants_room(&mut self) -> bool {
        std::mem::take(&mut self.wants_room)
    }

    /// A link is gone.
    pub fn link_gone(&mut self, index: u32) {
        self.links.remove(&index);
        let before = self.addresses.len();
        self.addresses.retain(|(at, _)| *at != index);
        if self.addresses.len() != before {
            self.write_local();
        }
    }

    /// An address of the node came or went.
    pub fn address_changed(&mut self, index: u32, address: IpAddr, present: bool) {
        let changed = match present {
            true => self.addresses.insert((index, address)),
            false => self.addresses.remove(&(index, address)),
        };
        if changed {
            self.write_local();
        }
    }

    /// All links and addresses, listed afresh: what is not among them is gone.
    pub fn relist(&mut self, links: Links, addresses: BTreeSet<(u32, IpAddr)>) {
        self.links = links;
        self.addresses = addresses;
        self.write_local();
    }

    pub(super) fn write_local(&mut self) {
        // Several interfaces may have the same address.
        let addresses: BTreeSet<IpAddr> = self.addresses.iter().map(|(_, address)| *address).collect();
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        self.local_problem = self.kernel.set_local(&addresses).err().map(|error| {
            tracing::error!("the kernel does not take the node's own addresses: {error}");
            error.message
        });
    }
}
