//! What of ours the kernel holds, and who refers to it: pins on every bpffs that can be reached, links, filters, and
//! descriptors of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use aya_obj::generated::bpf_cmd;
use gabion_kernel_object::map;

use crate::clsact;
use crate::error::{Doing, Error};
use crate::object::{bpf, descriptor, zeroed};

/// Names of programs of ours begin so.
const PREFIX: &str = "gabion_";
/// Letters of a name that the kernel keeps (`BPF_OBJ_NAME_LEN` less the zero at the end).
const NAME_LETTERS: usize = 15;
/// Folders below the mount of a bpffs that are gone into.
const DEPTH: usize = 8;

/// A kind of object, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Id {
    Program(u32),
    Map(u32),
    Link(u32),
}

/// A program that is named as ours are.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadedProgram {
    pub(crate) name: String,
    pub(crate) maps: Vec<u32>,
}

/// A link that runs such a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedLink {
    pub(crate) program: u32,
    /// 0 when the interface is gone; none when it is no link of an interface.
    pub(crate) ifindex: Option<u32>,
}

/// A process with a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) programs: BTreeMap<u32, LoadedProgram>,
    /// Maps that such a program uses, and those that are named as ours are.
    pub(crate) maps: BTreeMap<u32, String>,
    pub(crate) links: BTreeMap<u32, LoadedLink>,
    pub(crate) pins: Vec<(PathBuf, Id)>,
    /// Folders of bpffs, empty ones too.
    pub(crate) folders: BTreeSet<PathBuf>,
    pub(crate) holders: BTreeMap<Id, BTreeSet<Holder>>,
    /// Filters of this network namespace, by program.
    pub(crate) filters: BTreeMap<u32, BTreeSet<String>>,
}

impl Census {
    /// Counts everything.
    pub(crate) fn take() -> Result<Self, Error> {
        let mut census = Self::default();
        for info in loaded_programs() {
            let Some(info) = still(info.doing("list the programs of the kernel"))? else { continue };
            let Some(name) = info.name_as_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            // It may be gone again.
            let maps = info.map_ids().ok().flatten().unwrap_or_default();
            census.programs.insert(info.id(), LoadedProgram { name: name.to_owned(), maps });
        }
        let used: BTreeSet<u32> = census.programs.values().flat_map(|program| program.maps.iter().copied()).collect();
        for info in loaded_maps() {
            // Whoever sees programs sees maps, but for those that a gatekeeper keeps to itself.
            let Ok(info) = info else { continue };
            let name = info.name_as_str().unwrap_or_default();
            if used.contains(&info.id()) || is_ours(name) {
                census.maps.insert(info.id(), name.to_owned());
            }
        }
        census.take_links()?;
        census.take_pins()?;
        census.take_holders();
        for (index, name) in interfaces() {
            for program in clsact::all_programs(index).unwrap_or_default() {
                census.filters.entry(program).or_default().insert(name.clone());
            }
        }
        Ok(census)
    }

    fn take_links(&mut self) -> Result<(), Error> {
        let mut last = 0;
        while let Some(id) = next(bpf_cmd::BPF_LINK_GET_NEXT_ID, last).doing("list the links of the kernel")? {
            last = id;
            let Ok(link) = by_id(bpf_cmd::BPF_LINK_GET_FD_BY_ID, id) else { continue };
            let said = described(link.as_fd());
            if let Some(&program) = said.get("prog_id").filter(|program| self.programs.contains_key(program)) {
                self.links.insert(id, LoadedLink { program, ifindex: said.get("ifindex").copied() });
            }
        }
        Ok(())
    }

    fn take_pins(&mut self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for mount in mounts() {
            // The same file system may be mounted in many places.
            if seen.insert(mount.device) {
                self.walk(&mount.path, DEPTH);
            }
        }
        Ok(())
    }

    fn walk(&mut self, folder: &Path, depth: usize) {
        // What cannot be listed is not ours to judge.
        let Ok(entries) = fs::read_dir(folder) else { return };
        self.folders.insert(folder.to_owned());
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth > 0 {
                    self.walk(&path, depth - 1);
                }
            } else if let Some(id) = open(&path).ok().and_then(|pinned| identified(&described(pinned.as_fd()))) {
                self.pins.push((path, id));
            }
        }
    }

    fn take_holders(&mut self) {
        let ourselves = std::process::id();
        for pid in processes().filter(|&pid| pid != ourselves) {
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for file in files.flatten() {
                let is_bpf =
                    fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("anon_inode:bpf"));
                let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(file.file_name());
                let Some(id) =
                    is_bpf.then(|| fs::read_to_string(info).ok().and_then(|text| identified(&read(&text)))).flatten()
                else {
                    continue;
                };
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
                self.holders.entry(id).or_default().insert(Holder { pid, name });
            }
        }
    }
}

/// What was there when it was asked about; objects come and go meanwhile.
fn still<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if error.is_permission() => Err(error),
        answer => Ok(answer.ok()),
    }
}

/// Whether a map is named as one of ours is.
fn is_ours(name: &str) -> bool {
    let own = crate::staged::OWN;
    let kept = |known: &str| known.get(..NAME_LETTERS).unwrap_or(known) == name;
    // Short names are anybody's: of these only what our programs use counts.
    map::STATE.iter().chain(&own).any(|known| known.starts_with(".data.") && kept(known))
}

/// The next number of a kind; none at the end.
fn next(command: bpf_cmd, last: u32) -> io::Result<Option<u32>> {
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    unsafe { &mut attr.__bindgen_anon_6 }.__bindgen_anon_1.start_id = last;
    // SAFETY: the attribute points to nothing.
    match unsafe { bpf(command, &mut attr) } {
        // SAFETY: the command filled in this member.
        Ok(_) => Ok(Some(unsafe { attr.__bindgen_anon_6 }.next_id)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn by_id(command: bpf_cmd, id: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    unsafe { &mut attr.__bindgen_anon_6 }.__bindgen_anon_1.start_id = id;
    // SAFETY: the attribute points to nothing, and the command returns a descriptor.
    unsafe { descriptor(command, &mut attr) }
}

/// Opens what is pinned, whatever it is.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = zeroed();
    // SAFETY: zero so far, see `zeroed`.
    unsafe { &mut attr.__bindgen_anon_4 }.pathname = path.as_ptr() as u64;
    // SAFETY: the path is alive and ends in a zero byte, and the command returns a descriptor.
    unsafe { descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// What /proc says of a descriptor of ours.
fn described(file: BorrowedFd<'_>) -> BTreeMap<String, u32> {
    fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd()))
        .map(|text| read(&text))
        .unwrap_or_default()
}

/// Numbers by name, of lines like `ifindex: 3 (eth0)`.
fn read(text: &str) -> BTreeMap<String, u32> {
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(line).collect()
}

/// Which object that is. Links name their program as well.
fn identified(said: &BTreeMap<String, u32>) -> Option<Id> {
    let of = |name: &str| said.get(name).copied();
    of("link_id").map(Id::Link).or_else(|| of("map_id").map(Id::Map)).or_else(|| of("prog_id").map(Id::Program))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A mounted bpffs.
struct Mount {
    device: String,
    path: PathBuf,
}

/// Every bpffs that some process sees: those of this mount namespace first, by their own paths.
fn mounts() -> Vec<Mount> {
    let mut namespaces = BTreeSet::new();
    let mut found = Vec::new();
    let ours = fs::read_link("/proc/thread-self/ns/mnt").ok();
    namespaces.extend(ours);
    found.extend(mounts_of("/proc/thread-self", Path::new("/")));
    for pid in processes() {
        let process = format!("/proc/{pid}");
        let Ok(namespace) = fs::read_link(format!("{process}/ns/mnt")) else { continue };
        if namespaces.insert(namespace) {
            let root = PathBuf::from(format!("{process}/root"));
            found.extend(mounts_of(&process, &root));
        }
    }
    found
}

fn mounts_of(process: &str, root: &Path) -> Vec<Mount> {
    let text = fs::read_to_string(format!("{process}/mountinfo")).unwrap_or_default();
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("bpf") {
            return None;
        }
        let mut fields = place.split(' ').skip(2);
        let (device, point) = (fields.next()?, fields.nth(1)?);
        Some(Mount { device: device.to_owned(), path: root.join(unescaped(point).trim_start_matches('/')) })
    };
    text.lines().filter_map(mount).collect()
}

/// A path as `mountinfo` writes it: blanks as `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Interfaces of this network namespace.
fn interfaces() -> Vec<(i32, String)> {
    let names = nix::net::if_::if_nameindex();
    let pair = |interface: &nix::net::if_::Interface| {
        Some((i32::try_from(interface.index()).ok()?, interface.name().to_str().ok()?.to_owned()))
    };
    names.map(|names| names.iter().filter_map(pair).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_of_a_descriptor_tells_what_it_is() {
        let link =
            "pos:\t0\nflags:\t02000002\nlink_type:\ttcx\nlink_id:\t9\nprog_tag:\tab\nprog_id:\t7\nifindex:\t3 (eth0)\n";
        assert_eq!(identified(&read(link)), Some(Id::Link(9)));
        assert_eq!(read(link).get("ifindex"), Some(&3));
        let map = "pos:\t0\nmap_type:\t2\nmap_id:\t12\nfrozen:\t0\n";
        assert_eq!(identified(&read(map)), Some(Id::Map(12)));
        assert_eq!(identified(&read("prog_type:\t6\nprog_id:\t5\n")), Some(Id::Program(5)));
        assert_eq!(identified(&read("pos:\t0\n")), None);
    }

    #[test]
    fn blanks_of_a_mount_point_are_read() {
        assert_eq!(unescaped("/a\\040b/c\\134"), "/a b/c\\");
        assert_eq!(unescaped("/plain\\9"), "/plain\\9");
    }
}
