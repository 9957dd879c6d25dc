//! The egress program on kernels before 6.6, which have no tcx: filters under the clsact qdisc.
//!
//! A filter is no link. It lives as long as its interface, whether anybody holds it or not, and anybody may take it
//! away. A pin of the program says only that we put one there; whether it is still there, the kernel is asked.

use std::fs;
use std::io;
use std::path::PathBuf;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, TcAttachType};
use gabion_kernel_object::EGRESS;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{self, TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Doing, Error};
use crate::folder::Folder;
use crate::staged::Staged;

/// Hook names of pins: under a qdisc that we made, and under one that was there before.
pub(crate) const HOOKS: [&str; 2] = [OURS, THEIRS];
/// The pin of the filter where packets come in, which sees tags beside the frame.
pub(crate) const TAGS: &str = "tagsc";
const OURS: &str = "clsact";
const THEIRS: &str = "clsactb";

/// Place of our filter among others. The same for each generation, so that a new one replaces the old.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// The pin of an interface, if there is one.
pub(crate) fn pin(folder: &Folder, name: &str) -> Option<PathBuf> {
    HOOKS.map(|hook| folder.link(name, hook)).into_iter().find(|path| path.exists())
}

/// Attaches, and pins to say so.
pub(crate) fn attach(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let step = || format!("attach to the egress of {name}");
    // A filter of ours without a pin: an agent died between the two.
    take_off(name, TcAttachType::Egress).doing(step())?;
    // It fails when it is there already, and when it cannot be had the filter's refusal says why.
    let hook = if qdisc_add_clsact(name).is_ok() { OURS } else { THEIRS };
    add(generation, name, TcAttachType::Egress).doing(step())?;
    repin(generation, folder.link(name, hook))
}

/// Attaches where packets come in, beside the filter of departure, whose pin says whose qdisc it is.
pub(crate) fn attach_tags(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let step = || format!("attach to the ingress of {name}");
    if pin(folder, name).is_none() {
        attach(folder, generation, name)?;
    }
    take_off(name, TcAttachType::Ingress).doing(step())?;
    add(generation, name, TcAttachType::Ingress).doing(step())?;
    repin(generation, folder.link(name, TAGS))
}

fn add(generation: &mut Staged, name: &str, side: TcAttachType) -> Result<(), ProgramError> {
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    let program = &mut generation.egress;
    let id = program.attach_with_options(name, side, TcAttachOptions::Netlink(options))?;
    // Its drop would take the filter away.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn replace(generation: &mut Staged, name: &str, side: TcAttachType) -> Result<(), ProgramError> {
    let link = SchedClassifierLink::attached(name, side, PRIORITY, HANDLE, None)?;
    let program = &mut generation.egress;
    let id = program.attach_to_link(link)?;
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes our filter away, if there is one.
fn take_off(name: &str, side: TcAttachType) -> Result<(), ProgramError> {
    if program_id(name, side)?.is_some() {
        qdisc_detach_program(name, side, EGRESS)?;
    }
    Ok(())
}

/// Replaces the program of the filter, in place. A filter that is gone (its interface was made anew, or somebody
/// removed it) is put back.
pub(crate) fn swap(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let Some(path) = pin(folder, name) else { return Ok(()) };
    let step = || format!("swap the egress program of {name}");
    if program_id(name, TcAttachType::Egress).doing(step())?.is_none() {
        fs::remove_file(&path).doing(format!("remove {}", path.display()))?;
        return attach(folder, generation, name);
    }
    replace(generation, name, TcAttachType::Egress).doing(step())?;
    repin(generation, path)
}

/// The same where packets come in; a policy that does not tell VLANs apart needs no filter there.
pub(crate) fn swap_tags(folder: &Folder, generation: &mut Staged, name: &str) -> Result<(), Error> {
    let path = folder.link(name, TAGS);
    if !path.exists() {
        return Ok(());
    }
    let step = || format!("swap the program at the ingress of {name}");
    if !generation.tells_tags() {
        take_off(name, TcAttachType::Ingress).doing(step())?;
        return fs::remove_file(&path).doing(format!("remove {}", path.display()));
    }
    if program_id(name, TcAttachType::Ingress).doing(step())?.is_none() {
        return attach_tags(folder, generation, name);
    }
    replace(generation, name, TcAttachType::Ingress).doing(step())?;
    repin(generation, path)
}

/// Takes the filter away, and the qdisc when we made it and nobody else uses it. The pins stay.
pub(crate) fn detach(folder: &Folder, name: &str) -> Result<(), Error> {
    let Some(path) = pin(folder, name) else { return Ok(()) };
    let step = || format!("detach from the egress of {name}");
    take_off(name, TcAttachType::Egress).doing(step())?;
    take_off(name, TcAttachType::Ingress).doing(step())?;
    if path == folder.link(name, OURS) {
        remove_unused(name).doing(step())?;
    }
    Ok(())
}

fn repin(generation: &mut Staged, path: PathBuf) -> Result<(), Error> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).doing(format!("remove {}", path.display()));
        }
        _ => {}
    }
    generation.egress.pin(&path).doing(format!("pin the egress program at {}", path.display()))
}

/// The id of the program that our filter runs; none when there is no such filter.
fn program_id(name: &str, side: TcAttachType) -> io::Result<Option<u32>> {
    let parent = match side {
        TcAttachType::Ingress => tc::TcHandle::MIN_INGRESS,
        _ => tc::TcHandle::MIN_EGRESS,
    };
    Ok(filters(index(name)?, parent)?.iter().find_map(ours))
}

/// The program of a filter that has our place and our name.
fn ours(filter: &TcMessage) -> Option<u32> {
    if filter.header.info >> 16 != u32::from(PRIORITY) || u32::from(filter.header.handle) != u32::from(HANDLE) {
        return None;
    }
    named_as_ours(filter)
}

/// The programs of all filters of an interface that have our name, wherever they stand.
pub(crate) fn all_programs(index: i32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for direction in [tc::TcHandle::MIN_INGRESS, tc::TcHandle::MIN_EGRESS] {
        found.extend(filters(index, direction)?.iter().filter_map(named_as_ours));
    }
    Ok(found)
}

fn named_as_ours(filter: &TcMessage) -> Option<u32> {
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let bpf = |option: &TcOption| match option {
        TcOption::Bpf(option) => Some(option.clone()),
        _ => None,
    };
    let options: Vec<TcFilterBpfOption> = options.iter().filter_map(bpf).collect();
    let named = |option: &TcFilterBpfOption| matches!(option, TcFilterBpfOption::ProgName(name) if name == EGRESS);
    let id = |option: &TcFilterBpfOption| match option {
        TcFilterBpfOption::ProgId(id) => Some(*id),
        _ => None,
    };
    if options.iter().any(named) { options.iter().find_map(id) } else { None }
}

/// Removes clsact when it holds no filter.
fn remove_unused(name: &str) -> io::Result<()> {
    let index = index(name)?;
    for direction in [tc::TcHandle::MIN_INGRESS, tc::TcHandle::MIN_EGRESS] {
        if !filters(index, direction)?.is_empty() {
            return Ok(());
        }
    }
    let mut qdisc = TcMessage::with_index(index);
    qdisc.header.handle = tc::TcHandle { major: u16::MAX, minor: 0 };
    qdisc.header.parent = tc::TcHandle::CLSACT;
    match ask(RouteNetlinkMessage::DelQueueDiscipline(qdisc), NLM_F_ACK) {
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer.map(drop),
    }
}

fn index(name: &str) -> io::Result<i32> {
    Ok(nix::net::if_::if_nametoindex(name)?.cast_signed())
}

/// All filters of one direction of clsact. Without the qdisc there are none.
fn filters(index: i32, direction: u16) -> io::Result<Vec<TcMessage>> {
    let mut message = TcMessage::with_index(index);
    message.header.parent = tc::TcHandle { major: u16::MAX, minor: direction };
    ask(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP)
}

/// One request in the network namespace of the calling thread; the filters of the answer.
fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<TcMessage>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while let Some((length, _)) = rest.split_first_chunk() {
            let length = (u32::from_ne_bytes(*length) as usize).next_multiple_of(4).clamp(4, rest.len());
            let (message, more) = rest.split_at(length);
            rest = more;
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                // A filter of a kind that cannot be read is still one.
                found.push(TcMessage::default());
                continue;
            };
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(filter)) => found.push(filter),
                _ => {}
            }
        }
    }
}
