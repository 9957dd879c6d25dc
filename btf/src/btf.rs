//! BTF, alone or split from a base: types by number and by name.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::bytes::{self, Bytes};
use crate::error::{Defect, Error, Problem};
use crate::index::{Entry, Index, hash_in, hash_of};
use crate::record::{Enumerator, Kind, Type};
use crate::section::{Before, Section, is_root};

/// The types of a kernel, of a module on top of it, or of an object file. Cheap to clone.
#[derive(Clone)]
pub struct Btf {
    origin: Arc<str>,
    inner: Arc<Inner>,
}

struct Inner {
    section: Section,
    before: Before,
    base: Option<Btf>,
    /// Names that the first pass left out, of functions above all.
    others: OnceLock<Index>,
    pointer: OnceLock<u32>,
}

impl Btf {
    /// BTF, or an ELF file with BTF in it.
    ///
    /// # Errors
    /// When the bytes are neither, or break the format.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        Self::from_bytes("BTF in memory".into(), None, bytes.into())
    }

    /// A file of BTF such as `/sys/kernel/btf/vmlinux`, or an ELF file with BTF in it. Errors call it by its path, or
    /// by the release of the kernel that runs.
    ///
    /// # Errors
    /// When it cannot be read, or breaks the format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let origin = origin(path);
        let bytes = bytes::read(path).map_err(|problem| Error::new(&origin, problem))?;
        Self::from_bytes(origin, None, bytes)
    }

    /// Types of a module, which go on where those of its base end.
    ///
    /// # Errors
    /// When the bytes are not BTF, or break the format.
    pub fn split(base: &Self, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let origin = format!("BTF in memory, on {}", base.origin()).into();
        Self::from_bytes(origin, Some(base.clone()), bytes.into())
    }

    /// A file of a module's types, such as those beside `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When it cannot be read, or breaks the format.
    pub fn open_split(base: &Self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let origin = origin(path);
        let bytes = bytes::read(path).map_err(|problem| Error::new(&origin, problem))?;
        Self::from_bytes(origin, Some(base.clone()), bytes)
    }

    /// Calls it something else in errors, such as the kernel that it was taken from.
    #[must_use]
    pub fn named(self, origin: &str) -> Self {
        Self { origin: origin.into(), ..self }
    }

    fn from_bytes(origin: Arc<str>, base: Option<Self>, bytes: Bytes) -> Result<Self, Error> {
        let parsed = bytes::locate(&bytes).and_then(|range| {
            let before = match &base {
                Some(base) => base.end().ok_or(Defect::TooLarge)?,
                // 0 is void.
                None => Before { types: 1, strings: 0 },
            };
            let section = Section::parse(bytes, range, before, base.as_ref())?;
            Ok((section, before))
        });
        let (section, before) = parsed.map_err(|problem| Error::new(&origin, problem))?;
        let inner = Inner { section, before, base, others: OnceLock::new(), pointer: OnceLock::new() };
        Ok(Self { origin, inner: Arc::new(inner) })
    }

    /// Where a split BTF would go on.
    fn end(&self) -> Option<Before> {
        let Inner { before, section, .. } = &*self.inner;
        let strings = u32::try_from(section.strings().len()).ok()?;
        Some(Before { types: before.types.checked_add(section.count)?, strings: before.strings.checked_add(strings)? })
    }

    /// What errors call it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What it was split from.
    #[must_use]
    pub fn base(&self) -> Option<&Self> {
        self.inner.base.as_ref()
    }

    /// Whether its numbers, and those of the machine that it describes, have their highest byte first.
    #[must_use]
    pub fn is_big_endian(&self) -> bool {
        self.inner.section.is_big_endian()
    }

    /// Types with a number, without void and with those of the base.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.inner.before.types - 1 + self.inner.section.count
    }

    /// Whether there is no type in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of a number. 0 is void.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, id: u32) -> Result<Type<'_>, Error> {
        self.at(id).map_err(|defect| self.error(defect))
    }

    pub(crate) fn at(&self, id: u32) -> Result<Type<'_>, Defect> {
        if id == 0 {
            return Ok(Type::void(self, &self.inner.section));
        }
        let holder = self.levels().find(|btf| id >= btf.inner.before.types);
        let found = holder.and_then(|btf| {
            let number = id - btf.inner.before.types;
            (number < btf.inner.section.count)
                .then(|| Type::new(self, &btf.inner.section, btf.inner.section.place(number), id))
        });
        found.ok_or(Defect::TypeId { found: id, last: self.len() })
    }

    /// Its own types in the order of their numbers, without those of its base.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        let Inner { section, before, .. } = &*self.inner;
        let mut at = 0;
        (0..section.count).map(move |number| {
            let found = Type::new(self, section, at, before.types + number);
            at = section.after(at);
            found
        })
    }

    /// The first type of that kind and name, of its own before those of its base.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<Type<'_>> {
        self.find_all(kind, name).next()
    }

    /// All types of that kind and name: kernels have a few structs that share one.
    pub fn find_all<'b>(&'b self, kind: Kind, name: &str) -> impl Iterator<Item = Type<'b>> {
        let indices = self.levels().map(move |btf| if is_root(kind) { btf.names() } else { btf.others() });
        self.in_indices(indices, name).filter(move |found| found.kind() == kind)
    }

    /// All types of that name that a path can start from.
    pub(crate) fn roots<'b>(&'b self, name: &str) -> impl Iterator<Item = Type<'b>> {
        self.in_indices(self.levels().map(Self::names), name)
    }

    fn in_indices<'b>(
        &'b self,
        indices: impl Iterator<Item = &'b Index>,
        name: &str,
    ) -> impl Iterator<Item = Type<'b>> {
        let hash = hash_of(name);
        // The same names have the same offset nearly always, so that comparing is done once for all that collide.
        let mut same = None;
        indices.flat_map(move |index| index.ids(hash)).filter_map(move |id| {
            let found = self.at(id).ok()?;
            let offset = found.name_offset();
            if same != Some(offset) {
                self.string_is(offset, name).ok()?.then(|| same = Some(offset))?;
            }
            Some(found)
        })
    }

    fn names(&self) -> &Index {
        &self.inner.section.names
    }

    fn others(&self) -> &Index {
        self.inner.others.get_or_init(|| {
            let mut entries = Vec::new();
            for found in self.types().filter(|found| found.name_offset() != 0 && !is_root(found.kind())) {
                match self.strings_from(found.name_offset()) {
                    Ok([]) | Ok([0, ..]) | Err(_) => {}
                    Ok(name) => entries.push(Entry { hash: hash_in(name), id: found.id() }),
                }
            }
            Index::new(&entries)
        })
    }

    /// The function of that name, or that there is none.
    ///
    /// # Errors
    /// When there is none.
    pub fn function(&self, name: &str) -> Result<Type<'_>, Error> {
        self.find(Kind::Func, name).ok_or_else(|| self.absent_type("function", name))
    }

    /// The type of that name: a struct, union, enum, typedef, integer or float, or any of them with `struct`,
    /// `union`, `enum` in front for one of that kind.
    ///
    /// # Errors
    /// When there is none, or only a declaration.
    pub fn type_named(&self, name: &str) -> Result<Type<'_>, Error> {
        self.all_named(name).next().ok_or_else(|| self.absent_named(name))
    }

    /// All types that [`Btf::type_named`] could mean.
    pub(crate) fn all_named<'b>(&'b self, name: &str) -> impl Iterator<Item = Type<'b>> {
        let (prefix, bare) = prefixed(name);
        self.roots(bare).filter(move |found| match prefix {
            None => found.kind() != Kind::Fwd,
            Some(Kind::Enum) => matches!(found.kind(), Kind::Enum | Kind::Enum64),
            Some(kind) => found.kind() == kind,
        })
    }

    pub(crate) fn absent_named(&self, name: &str) -> Error {
        let (prefix, bare) = prefixed(name);
        self.absent_type(prefix.map_or("type".into(), |kind| kind.to_string()).as_str(), bare)
    }

    /// A value of an enum; with an empty name of the enum, of any enum that has it.
    ///
    /// # Errors
    /// When there is no such enum, or no such value in it.
    pub fn enumerator(&self, within: &str, name: &str) -> Result<(Type<'_>, Enumerator<'_>), Error> {
        let within = within.strip_prefix("enum ").unwrap_or(within);
        let value = |found: Type<'_>| self.value_of(found.id(), name);
        if within.is_empty() {
            let mut enums =
                self.levels().flat_map(Self::types).filter(|t| matches!(t.kind(), Kind::Enum | Kind::Enum64));
            let found = enums.find_map(|found| value(found).transpose()).transpose()?;
            return found.ok_or_else(|| self.absent_type("enum with a value", name));
        }
        let mut last = None;
        for found in self.roots(within).filter(|found| matches!(found.kind(), Kind::Enum | Kind::Enum64)) {
            if let Some(found) = value(found)? {
                return Ok(found);
            }
            last = Some(found);
        }
        let Some(last) = last else { return Err(self.absent_type("enum", within)) };
        let names = last.enumerators().filter_map(|value| value.name().ok());
        let similar = crate::describe::nearest(name, names);
        let (within, name) = (within.to_owned(), name.to_owned());
        Err(self.error(Problem::AbsentEnumerator { within, name, similar }))
    }

    fn value_of(&self, id: u32, name: &str) -> Result<Option<(Type<'_>, Enumerator<'_>)>, Error> {
        let found = self.get(id)?;
        for value in found.enumerators() {
            if value.name()? == name {
                return Ok(Some((found, value)));
            }
        }
        Ok(None)
    }

    /// Bytes of a pointer, as BTF tells it: by the size of `long`; 8 where it has none.
    #[must_use]
    pub fn pointer_size(&self) -> u32 {
        *self.inner.pointer.get_or_init(|| {
            let long = ["long unsigned int", "unsigned long", "long int", "long"]
                .iter()
                .find_map(|name| self.find(Kind::Int, name)?.size());
            long.filter(|size| *size == 4).unwrap_or(8)
        })
    }

    /// This one, its base, the base of that.
    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |btf| btf.inner.base.as_ref())
    }

    /// The strings from this offset to the end of those that it is among.
    pub(crate) fn strings_from(&self, offset: u32) -> Result<&[u8], Defect> {
        let holder = self.levels().find(|btf| offset >= btf.inner.before.strings);
        let found =
            holder.and_then(|btf| btf.inner.section.strings().get((offset - btf.inner.before.strings) as usize..));
        match found {
            Some([]) if offset == 0 => Ok(&[]),
            Some([]) | None => Err(Defect::Name { offset }),
            Some(strings) => Ok(strings),
        }
    }

    pub(crate) fn string(&self, offset: u32) -> Result<&str, Error> {
        let text = self.strings_from(offset).and_then(|strings| {
            // The last string ends with a NUL as well.
            let length = strings.iter().position(|byte| *byte == 0).unwrap_or(strings.len());
            std::str::from_utf8(&strings[..length]).map_err(|_| Defect::Name { offset })
        });
        text.map_err(|defect| self.error(defect))
    }

    pub(crate) fn string_is(&self, offset: u32, name: &str) -> Result<bool, Defect> {
        let strings = self.strings_from(offset)?;
        // A name with a NUL in it is no name.
        let ends = strings.get(name.len()).is_none_or(|byte| *byte == 0);
        Ok(ends && strings.starts_with(name.as_bytes()) && !name.contains('\0'))
    }

    pub(crate) fn error(&self, problem: impl Into<Problem>) -> Error {
        Error::new(&self.origin, problem)
    }

    pub(crate) fn absent_type(&self, expected: &str, name: &str) -> Error {
        let indices = self.levels().map(|btf| if expected == "function" { btf.others() } else { btf.names() });
        let ids = indices.flat_map(Index::all);
        let names = ids.filter_map(|id| self.at(id).ok()?.name().ok());
        let similar = crate::describe::nearest(name, names);
        self.error(Problem::AbsentType { expected: expected.to_owned(), name: name.to_owned(), similar })
    }
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} types)", self.origin(), self.len())
    }
}

/// `struct name` is a struct and its name.
pub(crate) fn prefixed(name: &str) -> (Option<Kind>, &str) {
    let kinds =
        [("struct ", Kind::Struct), ("union ", Kind::Union), ("enum ", Kind::Enum), ("typedef ", Kind::Typedef)];
    let found = kinds.iter().find_map(|(prefix, kind)| Some((Some(*kind), name.strip_prefix(prefix)?.trim_start())));
    found.unwrap_or((None, name))
}

/// What errors call a file: the kernel that runs, if it is one of its files.
fn origin(path: &Path) -> Arc<str> {
    let shown = path.display();
    if path.starts_with("/sys/kernel/btf") {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        return format!("kernel {} ({shown})", release.trim()).into();
    }
    shown.to_string().into()
}
