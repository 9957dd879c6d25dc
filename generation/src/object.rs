//! The kernel object, on its way into the kernel: maps made or opened, programs relocated and loaded.
//!
//! aya's own loader reads and parses the kernel's types (5 MB of BTF) before it does anything else, and
//! loads one program after the other. These programs need no relocation against kernel types, and the
//! verifier takes most of a start, so both are loaded here at once; parsing and relocating stay aya's.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use aya_obj::{EbpfSectionKind, Function, Map, Object, Program, ProgramSection};
use gabion_contracts::Said;
use gabion_kernel_object::{EGRESS, INGRESS, object};
use sha2::{Digest as _, Sha256};

use crate::contracts;
use crate::error::{Doing, Error};

/// Everything that the type information may use: all of it is in Linux 6.1, the oldest kernel we run on.
const TYPES: BtfFeatures = BtfFeatures::new(true, true, true, true, true, true, true, true);
/// Bytes of the verifier's log that are asked for when it refuses.
const LOG_BYTES: usize = 4 << 20;
/// Flag of programs that take packets in several buffers (`BPF_F_XDP_HAS_FRAGS`).
const HAS_FRAGS: u32 = 1 << 5;

/// The object with its maps in the kernel.
pub(crate) struct Loading {
    object: Object,
    maps: HashMap<String, MapData>,
    types: OwnedFd,
}

/// How large a map is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As the object says.
    AsDeclared,
    /// So many entries.
    Entries(u32),
    /// One entry of so many bytes, which we and the programs share as memory. All of it is zero, whatever the object
    /// says.
    Memory(u32),
}

impl Size {
    fn apply(self, definition: &mut Map) {
        match self {
            Self::AsDeclared => {}
            Self::Entries(entries) => definition.set_max_entries(entries),
            Self::Memory(bytes) => lengthen(definition, bytes),
        }
    }
}

/// A map that is wanted: how large, or where it is pinned.
pub(crate) enum Wanted {
    /// Made for this generation.
    Made(Size),
    /// Opened by its pin.
    Pinned(PathBuf),
}

/// An object, parsed: the pattern of each generation's programs.
pub struct Programs {
    object: Object,
    digest: [u8; 32],
    said: Said<'static>,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Programs").field(&self.object.programs.keys()).finish()
    }
}

impl Programs {
    /// Parses the object that this build embeds, if its programs share the records that we know with us. A few
    /// milliseconds, which a start can spend on another thread.
    pub fn parse() -> Result<Self, Error> {
        Self::of(object()?)
    }

    /// Parses an object that came by another way. Its records must be ours.
    pub fn of(elf: &[u8]) -> Result<Self, Error> {
        let said = contracts::of_object(elf)?;
        let object = Object::parse(elf).doing("parse the object of kernel programs")?;
        Ok(Self { object, digest: Sha256::digest(elf).into(), said })
    }

    /// SHA-256 of the object.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// What they say of their maps.
    pub(crate) fn said(&self) -> &Said<'static> {
        &self.said
    }
}

/// Makes one of the object's maps.
pub(crate) fn make_map(object: &Object, name: &'static str, size: Size) -> Result<MapData, Error> {
    let mut map = object.maps.get(name).ok_or(Error::Object { what: name })?.clone();
    size.apply(&mut map);
    MapData::create(map, name, None).doing(format!("make the map {name}"))
}

impl Loading {
    /// Fills in the globals, makes and opens the maps, and points the programs to them.
    pub fn new(
        mut object: Object,
        globals: &[(&str, &[u8])],
        wanted: &[(&'static str, Wanted)],
    ) -> Result<Self, Error> {
        let globals = globals.iter().map(|&(name, value)| (name, (value, true))).collect();
        object.patch_map_data(globals).doing("fill in the globals")?;
        let types = object.fixup_and_sanitize_btf(&TYPES).doing("prepare the types of the object")?;
        let types = types.ok_or(Error::Object { what: "type information" })?.to_bytes();
        let types = load_types(&types).doing("load the types of the object")?;

        let mut maps = HashMap::new();
        let mut definitions = Vec::new();
        for (name, mut definition) in object.maps.drain() {
            let place = wanted.iter().find(|(wanted, _)| *wanted == name).map(|(_, place)| place);
            if let Some(Wanted::Made(size)) = place {
                size.apply(&mut definition);
            }
            let map = if let Some(Wanted::Pinned(path)) = place {
                MapData::from_pin(path).doing(format!("open {}", path.display()))?
            } else {
                let map = MapData::create(definition.clone(), &name, None).doing(format!("make the map {name}"))?;
                if matches!(place, Some(Wanted::Made(Size::Memory(_)))) {
                    // The caller's to fill, and to change while programs read it: neither filled nor frozen here.
                } else if !definition.data().is_empty() {
                    fill(map.fd().as_fd(), definition.data()).doing(format!("fill the map {name}"))?;
                    if definition.section_kind() == EbpfSectionKind::Rodata {
                        freeze(map.fd().as_fd()).doing(format!("freeze the map {name}"))?;
                    }
                }
                map
            };
            definitions.push((name.clone(), map.fd().as_fd().as_raw_fd(), definition));
            maps.insert(name, map);
        }
        let sections = object.functions.keys().map(|&(section, _)| section).collect();
        object
            .relocate_maps(definitions.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &sections)
            .doing("point the programs to their maps")?;
        object.relocate_calls(&sections).doing("link the programs' functions")?;
        Ok(Self { object, maps, types })
    }

    /// One of its maps.
    pub fn map(&self, name: &'static str) -> Result<&MapData, Error> {
        self.maps.get(name).ok_or(Error::Object { what: name })
    }

    /// All of its maps, for those who keep them and drop the object.
    pub fn into_maps(self) -> HashMap<String, MapData> {
        self.maps
    }

    /// Loads both programs at once, ingress first; they are gone with their descriptors.
    pub fn load_both(&self) -> Result<[OwnedFd; 2], Error> {
        std::thread::scope(|scope| {
            let egress = scope.spawn(|| self.load_one(EGRESS));
            let ingress = self.load_one(INGRESS)?;
            // A panic there is a defect here.
            let egress = egress.join().unwrap_or(Err(Error::Object { what: EGRESS }))?;
            Ok([ingress, egress])
        })
    }

    /// Loads both programs at once and pins them into `folder` under their names.
    pub fn load(&self, folder: &Path) -> Result<(), Error> {
        let load = |name: &'static str| -> Result<(), Error> {
            pin(self.load_one(name)?.as_fd(), &folder.join(name)).doing(format!("pin {name}"))
        };
        std::thread::scope(|scope| {
            let egress = scope.spawn(|| load(EGRESS));
            let ingress = load(INGRESS);
            // A panic there is a defect here.
            let egress = egress.join().unwrap_or(Err(Error::Object { what: EGRESS }));
            ingress.and(egress)
        })
    }

    /// Loads one of the programs, which is gone with its descriptor unless somebody pins it.
    pub fn load_one(&self, name: &'static str) -> Result<OwnedFd, Error> {
        let (program, function) = self.linked(name)?;
        self.load_program(name, program, function)
    }

    /// Functions of a program with all that it calls: name and instructions in the object, in the order in which the
    /// kernel gets them, and by which type it knows each.
    pub fn functions(&self, name: &'static str) -> Result<Vec<(String, u32, usize)>, Error> {
        let (_, function) = self.linked(name)?;
        let parts = &function.func_info.func_info;
        let ends = parts.iter().skip(1).map(|next| next.insn_off as usize).chain([function.instructions.len()]);
        let named = |id| {
            let of = |function: &&Function| function.func_info.func_info.first().is_some_and(|info| info.type_id == id);
            self.object.functions.values().find(of).map_or("?", |function| &function.name).to_owned()
        };
        Ok(parts
            .iter()
            .zip(ends)
            .map(|(part, end)| (named(part.type_id), part.type_id, end.saturating_sub(part.insn_off as usize)))
            .collect())
    }

    fn linked(&self, name: &'static str) -> Result<(&Program, &Function), Error> {
        let program = self.object.programs.get(name).ok_or(Error::Object { what: name })?;
        let function = self.object.functions.get(&program.function_key()).ok_or(Error::Object { what: name })?;
        Ok((program, function))
    }

    fn load_program(&self, name: &'static str, program: &Program, function: &Function) -> Result<OwnedFd, Error> {
        let (kind, attach, flags) = match program.section {
            ProgramSection::Xdp { frags, .. } => {
                let flags = if frags { HAS_FRAGS } else { 0 };
                (bpf_prog_type::BPF_PROG_TYPE_XDP, bpf_attach_type::BPF_XDP as u32, flags)
            }
            ProgramSection::SchedClassifier => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, 0, 0),
            _ => return Err(Error::Object { what: name }),
        };
        let (lines, functions) = (function.line_info.line_info_bytes(), function.func_info.func_info_bytes());
        let attempt = |log: &mut [u8]| {
            let mut attr = zeroed();
            // SAFETY: all bytes of the union are zero, which every one of its members may be.
            let load = unsafe { &mut attr.__bindgen_anon_3 };
            for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
                *to = from.cast_signed();
            }
            load.prog_flags = flags;
            load.prog_type = kind as u32;
            load.expected_attach_type = attach;
            load.insns = function.instructions.as_ptr() as u64;
            load.insn_cnt = function.instructions.len() as u32;
            load.license = program.license.as_ptr() as u64;
            load.prog_btf_fd = self.types.as_raw_fd().cast_unsigned();
            load.line_info = lines.as_ptr() as u64;
            load.line_info_cnt = function.line_info.len() as u32;
            load.line_info_rec_size = function.line_info_rec_size as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = function.func_info.len() as u32;
            load.func_info_rec_size = function.func_info_rec_size as u32;
            if !log.is_empty() {
                load.log_level = 1;
                load.log_buf = log.as_mut_ptr() as u64;
                load.log_size = log.len() as u32;
            }
            // SAFETY: what the attribute points to lives in this function and its caller.
            unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
        };
        match attempt(&mut []) {
            // The kernel gives up when a signal waits (a BTF or program load can be long).
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => attempt(&mut []),
            done => done,
        }
        .or_else(|_| {
            let mut log = vec![0; LOG_BYTES];
            // A log that does not fit is an error of its own (ENOSPC) and still tells the beginning.
            attempt(&mut log).map_err(|error| {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let text = String::from_utf8_lossy(&log[..end]);
                let mut last: Vec<&str> = text.lines().rev().take(20).collect();
                last.reverse();
                Error::Verifier { program: name, log: format!("{error}\n{}", last.join("\n")) }
            })
        })
    }
}

/// Makes a section's map as large as its contents will be, with memory that we share.
fn lengthen(definition: &mut Map, bytes: u32) {
    if let Map::Legacy(map) = definition {
        map.def.value_size = bytes;
        // Not BPF_F_RDONLY_PROG: the kernel lets nobody share such memory for writing.
        map.def.map_flags = BPF_F_MMAPABLE;
    }
}

pub(crate) fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers: all zeroes is a value of each.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// What `attr` points to must be alive, and as large as the command takes it to be.
pub(crate) unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attribute is as large as we say; what it points to is the caller's promise.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size_of::<bpf_attr>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// # Safety
/// As [`bpf`], and the command must return a new descriptor.
pub(crate) unsafe fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a pinned link off its hook, at once. Without it the hook goes with the last holder of the link, which for
/// a pin is some time after its removal.
pub(crate) fn take_off(pinned: &Path) -> io::Result<()> {
    let path = CString::new(pinned.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    unsafe { &mut attr.__bindgen_anon_4 }.pathname = path.as_ptr() as u64;
    // SAFETY: the path is alive and ends in a zero byte, and the command returns a descriptor.
    let link = unsafe { descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr) }?;
    let mut attr = zeroed();
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    // SAFETY: the attribute points to nothing.
    unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
}

fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = types.len() as u32;
    // SAFETY: `types` is alive and of that size, and the command returns a descriptor.
    unsafe { descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attr) }
}

/// Writes the one element of a map of globals, or of memory.
pub(crate) fn fill(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0u32;
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd().cast_unsigned();
    update.key = &raw const key as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    // SAFETY: the key is a u32 and the value as long as the section that the map was made for.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// The only element of an array, whose values have so many bytes.
pub(crate) fn read(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Vec<u8>> {
    let (key, mut value) = (0_u32, vec![0; bytes]);
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    let lookup = unsafe { &mut attr.__bindgen_anon_2 };
    lookup.map_fd = map.as_raw_fd().cast_unsigned();
    lookup.key = &raw const key as u64;
    lookup.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    // SAFETY: the key is a u32, and the value is as long as the map says.
    unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }.map(|_| value)
}

fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    unsafe { &mut attr.__bindgen_anon_2 }.map_fd = map.as_raw_fd().cast_unsigned();
    // SAFETY: the attribute points to nothing.
    unsafe { bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr) }.map(drop)
}

fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = object.as_raw_fd().cast_unsigned();
    // SAFETY: the path is alive and ends in a zero byte.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}
