//! What is attached to an interface, by its pins.
//!
//! XDP and tcx have links, which are pinned. Kernels before 6.6 have no tcx: [`crate::clsact`].

use std::io::ErrorKind;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, TcAttachType, XdpMode};
use aya::sys::SyscallError;

use crate::clsact;
use crate::error::{Doing, Error};
use crate::folder::Folder;
use crate::object;
use crate::staged::Staged;

const XDP: &str = "xdp";
const XDP_GENERIC: &str = "xdpg";
const TCX: &str = "tcx";
/// The egress program where packets come in, for tags that XDP does not see.
const TCX_TAGS: &str = "tags";
const LINKS: [&str; 4] = [XDP, XDP_GENERIC, TCX, TCX_TAGS];
const HOOKS: [&str; 7] = [XDP, XDP_GENERIC, TCX, TCX_TAGS, clsact::HOOKS[0], clsact::HOOKS[1], clsact::TAGS];

/// How XDP is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpWay {
    /// By the driver.
    Native,
    /// By the network stack, after it built an skb: slower, and worth a warning.
    Generic,
}

/// How the egress program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressHook {
    /// A link.
    Tcx,
    /// A filter under clsact, for kernels before 6.6.
    Clsact,
}

/// How one interface is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// On arrival; nothing when that hook is missing (a crash between two attachments: attach again).
    pub xdp: Option<XdpWay>,
    /// On departure; likewise.
    pub egress: Option<EgressHook>,
    /// What the operator should know.
    pub warning: Option<String>,
}

/// What of an interface is pinned.
pub(crate) fn look(folder: &Folder, interface: &str) -> Attachment {
    let there = |hook| folder.link(interface, hook).exists();
    let xdp = if there(XDP) {
        Some(XdpWay::Native)
    } else if there(XDP_GENERIC) {
        Some(XdpWay::Generic)
    } else {
        None
    };
    let egress = if there(TCX) {
        Some(EgressHook::Tcx)
    } else if clsact::pin(folder, interface).is_some() {
        Some(EgressHook::Clsact)
    } else {
        None
    };
    let warning = if [TCX_TAGS, clsact::TAGS].into_iter().any(there) {
        Some(format!(
            "{interface}: policy tells VLANs apart, and XDP does not see a tag that lies beside the frame; such a \
             frame passes only when policy lets it pass without its tag too. Have tags put inside: ethtool -K \
             {interface} rxvlan off for a card, txvlan off at the other end of a veth"
        ))
    } else {
        (xdp == Some(XdpWay::Generic)).then(|| {
            format!(
                "{interface}: its driver has no XDP; packets are judged after the kernel built an skb, which is slower"
            )
        })
    };
    Attachment { interface: interface.to_owned(), xdp, egress, warning }
}

/// All interfaces that have a pin.
pub(crate) fn all(folder: &Folder) -> Result<Vec<Attachment>, Error> {
    let mut names: Vec<String> = folder.pinned_links()?.into_iter().map(|(interface, _)| interface).collect();
    names.dedup();
    Ok(names.iter().map(|name| look(folder, name)).collect())
}

/// Ids of the programs that an interface runs, as far as the kernel says.
pub(crate) fn program_ids(folder: &Folder, interface: &str) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    for hook in LINKS {
        let path = folder.link(interface, hook);
        if path.exists() {
            ids.push(link(&path)?.info().doing(format!("ask about {}", path.display()))?.program_id());
        }
    }
    if let Some(path) = clsact::pin(folder, interface) {
        ids.push(ProgramInfo::from_pin(&path).doing(format!("open {}", path.display()))?.id());
    }
    Ok(ids)
}

fn link(path: &Path) -> Result<FdLink, Error> {
    Ok(PinnedLink::from_pin(path).doing(format!("open {}", path.display()))?.into())
}

/// Attaches what is not attached yet.
pub(crate) fn attach(folder: &Folder, generation: &mut Staged, name: &str, ifindex: u32) -> Result<Attachment, Error> {
    if look(folder, name).xdp.is_none() {
        attach_xdp(folder, generation, name, ifindex)?;
    }
    attach_tags(folder, generation, name)?;
    if look(folder, name).egress.is_none() {
        attach_egress(folder, generation, name)?;
    }
    Ok(look(folder, name))
}

/// Attaches the hook of arrival if it is not attached yet.
pub(crate) fn attach_arrival(folder: &Folder, generation: &mut Staged, name: &str, ifindex: u32) -> Result<(), Error> {
    if look(folder, name).xdp.is_none() {
        attach_xdp(folder, generation, name, ifindex)?;
    }
    attach_tags(folder, generation, name)
}

fn attach_xdp(folder: &Folder, generation: &mut Staged, name: &str, ifindex: u32) -> Result<(), Error> {
    let program = &mut generation.ingress;
    let (id, hook) = match program.attach_to_if_index(ifindex, XdpMode::Driver) {
        Ok(id) => (id, XDP),
        Err(native) => match program.attach_to_if_index(ifindex, XdpMode::Skb) {
            Ok(id) => (id, XDP_GENERIC),
            // The second refusal is often about the mode; the first says what the driver minds.
            Err(_) => return Err(native).doing(format!("attach XDP to {name}")),
        },
    };
    let link = program.take_link(id).doing(format!("attach XDP to {name}"))?;
    let link = FdLink::try_from(link).doing(format!("attach XDP to {name} by a link"))?;
    link.pin(folder.link(name, hook)).doing(format!("pin the XDP link of {name}"))?;
    Ok(())
}

fn attach_egress(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let program = &mut generation.egress;
    let step = || format!("attach to the egress of {name}");
    match program.attach_with_options(name, TcAttachType::Egress, TcAttachOptions::TcxOrder(LinkOrder::first())) {
        Ok(id) => {
            let link = FdLink::try_from(program.take_link(id).doing(step())?).doing(step())?;
            link.pin(folder.link(name, TCX)).doing(format!("pin the egress link of {name}"))?;
            Ok(())
        }
        Err(error) if lacks_tcx(&error) => clsact::attach(folder, generation, name),
        Err(error) => Err(error).doing(step()),
    }
}

/// Attaches what sees tags beside the frame, when policy tells VLANs apart.
fn attach_tags(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    if !generation.tells_tags() || [TCX_TAGS, clsact::TAGS].iter().any(|hook| folder.link(name, hook).exists()) {
        return Ok(());
    }
    let program = &mut generation.egress;
    let step = || format!("attach to the ingress of {name}");
    match program.attach_with_options(name, TcAttachType::Ingress, TcAttachOptions::TcxOrder(LinkOrder::first())) {
        Ok(id) => {
            let link = FdLink::try_from(program.take_link(id).doing(step())?).doing(step())?;
            link.pin(folder.link(name, TCX_TAGS)).doing(format!("pin the ingress link of {name}"))?;
            Ok(())
        }
        Err(error) if lacks_tcx(&error) => clsact::attach_tags(folder, generation, name),
        Err(error) => Err(error).doing(step()),
    }
}

/// Kernels before 6.6 do not know the attach type.
fn lacks_tcx(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else { return false };
    io_error.kind() == ErrorKind::InvalidInput
}

/// Replaces the programs of an interface: one link update for each hook.
pub(crate) fn swap(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let step = |hook: &str| format!("swap the {hook} program of {name}");
    // Before the program that relies on it.
    attach_tags(folder, generation, name)?;
    for hook in [XDP, XDP_GENERIC] {
        let path = folder.link(name, hook);
        if path.exists() {
            let link = XdpLink::try_from(link(&path)?).doing(step(hook))?;
            match generation.ingress.attach_to_link(link) {
                // Closes the descriptor; the pin holds the link.
                Ok(id) => drop(generation.ingress.take_link(id).doing(step(hook))?),
                Err(error) if is_defunct(&error) => unpin(&path)?,
                Err(error) => return Err(error).doing(step(hook)),
            }
        }
    }
    for hook in [TCX, TCX_TAGS] {
        let path = folder.link(name, hook);
        if !path.exists() {
            continue;
        }
        if hook == TCX_TAGS && !generation.tells_tags() {
            // Where it cannot be taken off at once, it goes with its pin.
            let _ = object::take_off(&path);
            unpin(&path)?;
            continue;
        }
        let link = SchedClassifierLink::try_from(link(&path)?).doing(step(hook))?;
        match generation.egress.attach_to_link(link) {
            Ok(id) => drop(generation.egress.take_link(id).doing(step(hook))?),
            Err(error) if is_defunct(&error) => unpin(&path)?,
            Err(error) => return Err(error).doing(step(hook)),
        }
    }
    clsact::swap_tags(folder, generation, name)?;
    clsact::swap(folder, generation, name)
}

/// The link outlived its interface; one of the same name that came since is to be attached anew.
fn is_defunct(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(nix::libc::ENOLINK))
}

fn unpin(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).doing(format!("remove {}", path.display()))
}

/// Whether the interface is in this network namespace. Not by /sys, which shows the namespace that mounted it.
pub(crate) fn exists(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// Gives the pins of an interface its new name.
pub(crate) fn rename(folder: &Folder, old: &str, new: &str) -> Result<(), Error> {
    for hook in HOOKS {
        let path = folder.link(old, hook);
        if path.exists() {
            std::fs::rename(&path, folder.link(new, hook)).doing(format!("rename {}", path.display()))?;
        }
    }
    Ok(())
}

/// Takes everything off an interface. One that is gone took its hooks along; only the pins are left then.
pub(crate) fn detach(folder: &Folder, name: &str) -> Result<(), Error> {
    if exists(name) {
        clsact::detach(folder, name)?;
    }
    for hook in HOOKS {
        let path = folder.link(name, hook);
        if path.exists() {
            if LINKS.contains(&hook) {
                // Or whoever attaches next finds the hook taken. Where it cannot be done (the interface is gone), the
                // pin is the last of it.
                let _ = object::take_off(&path);
            }
            unpin(&path)?;
        }
    }
    Ok(())
}
