//! Where bytes come from: memory, a file, or a section of an ELF file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{Advice, MmapMut, MmapOptions};
use object::{Object as _, ObjectSection as _, ReadCache, ReadRef};

use crate::error::Problem;

/// Bytes that hold BTF, owned by whoever reads them.
pub struct Bytes(Holder);

enum Holder {
    Owned(Vec<u8>),
    Static(&'static [u8]),
    Other(Box<dyn AsRef<[u8]> + Send + Sync>),
    Copied { memory: MmapMut, length: usize },
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Holder::Owned(bytes))
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Holder::Static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Bytes {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self(Holder::Static(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Holder::Owned(bytes) => bytes,
            Holder::Static(bytes) => bytes,
            Holder::Other(owner) => (**owner).as_ref(),
            Holder::Copied { memory, length } => &memory[..*length],
        }
    }
}

impl Bytes {
    /// Bytes that something else keeps, such as a file that the caller mapped.
    #[must_use]
    pub fn kept_by(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Holder::Other(Box::new(owner)))
    }
}

const ELF: [u8; 4] = *b"\x7fELF";

/// Where the BTF is in bytes that are BTF or an ELF file.
pub(crate) fn locate(bytes: &[u8]) -> Result<Range<usize>, Problem> {
    if bytes.starts_with(&ELF) {
        let (start, length) = section(bytes)?;
        let end = start.checked_add(length).filter(|end| *end <= bytes.len() as u64);
        // Both ends are below a length of memory.
        return end.map(|end| start as usize..end as usize).ok_or_else(cut_short);
    }
    is_btf(bytes).then_some(0..bytes.len()).ok_or_else(|| magic(bytes))
}

/// The BTF of a file. Of an ELF file, which may be a kernel with all of its debugging information, only the headers
/// and that section are read.
pub(crate) fn read(path: &Path) -> Result<Bytes, Problem> {
    let mut file = File::open(path).map_err(unreadable)?;
    let mut first = [0; 4];
    let length = file.read(&mut first).map_err(unreadable)?;
    if first == ELF {
        let (start, length) = section(&ReadCache::new(&file))?;
        let mut bytes = Vec::new();
        file.seek(io::SeekFrom::Start(start)).map_err(unreadable)?;
        file.take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        return if bytes.len() as u64 == length { Ok(bytes.into()) } else { Err(cut_short()) };
    }
    if !is_btf(&first) {
        return Err(magic(&first[..length]));
    }
    file.rewind().map_err(unreadable)?;
    copied(&mut file).map_err(unreadable)
}

fn is_btf(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x9f, 0xeb]) || bytes.starts_with(&[0xeb, 0x9f])
}

fn unreadable(error: io::Error) -> Problem {
    Problem::Read { error }
}

fn cut_short() -> Problem {
    unreadable(io::ErrorKind::UnexpectedEof.into())
}

fn magic(bytes: &[u8]) -> Problem {
    Problem::Magic { found: bytes.iter().take(4).copied().collect() }
}

/// Where the section .BTF is in the file, and how long it is.
fn section<'data, R: ReadRef<'data>>(data: R) -> Result<(u64, u64), Problem> {
    let file = object::File::parse(data).map_err(Problem::Elf)?;
    let section = file.section_by_name(".BTF").ok_or(Problem::NoSection)?;
    section.file_range().ok_or(Problem::NoSection)
}

/// A copy of a file. Its memory is asked for in huge pages: faults of 1,300 small ones cost more than reading 5 MB
/// does.
fn copied(file: &mut File) -> io::Result<Bytes> {
    const HUGE: usize = 2 << 20;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length < HUGE {
        let mut bytes = Vec::with_capacity(length);
        file.read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    let room = length.checked_next_multiple_of(HUGE).ok_or(io::ErrorKind::FileTooLarge)?;
    let mut memory = MmapOptions::new().len(room).map_anon()?;
    // Where there are no huge pages, small ones do.
    let _ = memory.advise(Advice::HugePage);
    let mut length = 0;
    loop {
        match file.read(&mut memory[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes(Holder::Copied { memory, length }))
}
