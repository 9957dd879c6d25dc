//! libbpf, found where the system has it. It has no public way to follow a path: the steps are ours, over its types.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use gabion_btf::{Path, Step};
use libloading::{Library, Symbol};

use crate::fields::FIELDS;
use crate::{Clock, Places, VMLINUX};

const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];

/// `struct btf_type`.
#[repr(C)]
struct Head {
    name: u32,
    info: u32,
    tail: u32,
}

struct Libbpf<'l> {
    find: Symbol<'l, unsafe extern "C" fn(*const c_void, *const c_char, u32) -> c_int>,
    by_id: Symbol<'l, unsafe extern "C" fn(*const c_void, u32) -> *const Head>,
    name: Symbol<'l, unsafe extern "C" fn(*const c_void, u32) -> *const c_char>,
    size: Symbol<'l, unsafe extern "C" fn(*const c_void, u32) -> i64>,
    btf: *const c_void,
}

fn library() -> Result<Library, String> {
    // SAFETY: the initialisers of the system's libbpf, and of the libelf and zlib that it needs, have no conditions.
    unsafe { Library::new("libbpf.so.1") }.map_err(|error| format!("no libbpf to compare with: {error}"))
}

pub fn version() -> Result<String, String> {
    let library = library()?;
    // SAFETY: `const char *libbpf_version_string(void)`, whose text is static.
    unsafe {
        let symbol = library.get::<unsafe extern "C" fn() -> *const c_char>(b"libbpf_version_string\0");
        let version = symbol.map_err(|error| error.to_string())?;
        Ok(CStr::from_ptr(version()).to_string_lossy().into_owned())
    }
}

pub fn resolve(clock: &mut Clock) -> Result<Places, String> {
    let library = library()?;
    // A program that is linked with it has it already.
    clock.begin();
    let text = |error: libloading::Error| error.to_string();
    let path = CString::new(VMLINUX).expect("a path without a NUL");
    // SAFETY: the types are those of libbpf's btf.h of all 1.x; btf__parse takes a null for the second, and says an
    // error by a null.
    let libbpf = unsafe {
        type Parse = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> *const c_void;
        let parse = library.get::<Parse>(b"btf__parse\0").map_err(text)?;
        let find = library.get(b"btf__find_by_name_kind\0").map_err(text)?;
        let by_id = library.get(b"btf__type_by_id\0").map_err(text)?;
        let name = library.get(b"btf__name_by_offset\0").map_err(text)?;
        let size = library.get(b"btf__resolve_size\0").map_err(text)?;
        Libbpf { find, by_id, name, size, btf: parse(path.as_ptr(), std::ptr::null_mut()) }
    };
    if libbpf.btf.is_null() {
        return Err("libbpf does not parse it".to_owned());
    }
    clock.opened();
    FIELDS.iter().map(|(root, text)| libbpf.place(root, text).ok_or(format!("libbpf has no {root}.{text}"))).collect()
}

impl Libbpf<'_> {
    fn place(&self, root: &str, text: &str) -> Option<(Vec<u64>, u64)> {
        let name = CString::new(root).ok()?;
        // SAFETY: the BTF lives as long as this process, and the name as long as this call.
        let root = unsafe { (self.find)(self.btf, name.as_ptr(), STRUCT) };
        let root = u32::try_from(root).ok()?;
        Path::parse(text).ok()?.alternatives().find_map(|path| self.walk(root, path))
    }

    fn walk(&self, root: u32, path: Path<'_>) -> Option<(Vec<u64>, u64)> {
        let (mut here, mut chain, mut bits) = (root, Vec::new(), 0);
        for step in path.steps() {
            match step {
                Step::Member(name) => {
                    if self.head(here)?.kind() == PTR {
                        chain.push(bits / 8);
                        bits = 0;
                        here = self.bare(self.head(here)?.tail)?;
                    }
                    let (offset, found) = self.member(here, name.as_bytes())?;
                    bits += offset;
                    here = found;
                }
                Step::Element(index) | Step::Range(index, _) => {
                    let array = self.head(here).filter(|array| array.kind() == ARRAY)?;
                    let element = array.extra(0);
                    // SAFETY: as in `place`.
                    let size = unsafe { (self.size)(self.btf, element) };
                    bits += u64::from(index) * u64::try_from(size).ok()? * 8;
                    here = self.bare(element)?;
                }
            }
        }
        Some((chain, bits))
    }

    fn member(&self, within: u32, name: &[u8]) -> Option<(u64, u32)> {
        let within = self.head(self.bare(within)?).filter(|head| matches!(head.kind(), STRUCT | UNION))?;
        for member in 0..(within.info & 0xffff) as usize {
            let (of, offset) = (within.extra(member * 3 + 1), within.extra(member * 3 + 2));
            let offset = u64::from(if within.info >> 31 != 0 { offset & 0xff_ffff } else { offset });
            // SAFETY: as in `place`; the text lives as long as the BTF.
            let called = unsafe { CStr::from_ptr((self.name)(self.btf, within.extra(member * 3))) }.to_bytes();
            if called == name {
                return Some((offset, self.bare(of)?));
            }
            if called.is_empty()
                && let Some((below, found)) = self.member(of, name)
            {
                return Some((offset + below, found));
            }
        }
        None
    }

    fn bare(&self, mut id: u32) -> Option<u32> {
        while MODIFIERS.contains(&self.head(id)?.kind()) {
            id = self.head(id)?.tail;
        }
        Some(id)
    }

    fn head(&self, id: u32) -> Option<&Head> {
        // SAFETY: libbpf gives a null or a pointer into the BTF, which lives as long as this process.
        unsafe { (self.by_id)(self.btf, id).as_ref() }
    }
}

impl Head {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// The words behind the head.
    fn extra(&self, place: usize) -> u32 {
        // SAFETY: libbpf checked that each record is whole, and only words that its kind and length have are asked for.
        unsafe { std::ptr::from_ref(self).add(1).cast::<u32>().add(place).read() }
    }
}
