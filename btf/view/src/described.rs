//! The views of an object as it describes them. The object is hostile: what is no view is an error that says where.

use alloc::string::String;
use alloc::vec::Vec;

use gabion_btf::extract::Need;
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};

use crate::{Field, Kind, View, id, site, text};

/// Longest text.
const BYTES: usize = 1 << 20;

/// Why an object's views are not known.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is no object.
    #[error("this is no object of kernel programs: {0}")]
    Object(#[from] object::Error),
    /// The text is too long.
    #[error("{section} has {found} bytes, the limit is {BYTES}", section = text::SECTION)]
    Long {
        /// How long it is.
        found: usize,
    },
    /// It is not UTF-8.
    #[error("{section} is not text", section = text::SECTION)]
    NotText,
    /// A line that says something else.
    #[error("line {line} of {section}: expected {expected}, found {found:?}", section = text::SECTION)]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What has to be there.
        expected: &'static str,
        /// The beginning of what is there.
        found: String,
    },
    /// Programs with placeholders that nothing describes.
    #[error(
        "it has placeholders ({}) and no {}: it was built with another version of the views",
        site::SECTION,
        text::SECTION
    )]
    Silent,
}

/// A view as its object describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<'o> {
    /// See [`View`].
    pub name: &'o str,
    /// See [`View`].
    pub of: &'o str,
    /// See [`View`].
    pub fields: Vec<Field<'o>>,
}

impl Described<'_> {
    /// The view.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { name: self.name, of: self.of, fields: &self.fields }
    }
}

/// The views of an object; none if it has none.
///
/// # Errors
/// [`Unread`].
pub fn described(object: &[u8]) -> Result<Vec<Described<'_>>, Unread> {
    let elf = ElfFile64::<Endianness>::parse(object)?;
    let mut views = Vec::new();
    // A compiler may give each text a section of its own, all of one name.
    for section in elf.sections().filter(|section| section.name() == Ok(text::SECTION)) {
        views.extend(parse(section.data()?)?);
    }
    if views.is_empty() && elf.section_by_name(site::SECTION).is_some() {
        return Err(Unread::Silent);
    }
    Ok(views)
}

fn parse(bytes: &[u8]) -> Result<Vec<Described<'_>>, Unread> {
    if bytes.len() > BYTES {
        return Err(Unread::Long { found: bytes.len() });
    }
    let text = str::from_utf8(bytes).map_err(|_| Unread::NotText)?;
    let mut views: Vec<Described<'_>> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let wrong = |expected| Unread::Line { line: number, expected, found: line.chars().take(60).collect() };
        if let Some(rest) = line.strip_prefix("view ") {
            let named = rest.split_once(" of ").filter(|(name, of)| is_name(name) && is_name(of));
            let (name, of) = named.ok_or_else(|| wrong("view NAME of TYPE"))?;
            views.push(Described { name, of, fields: Vec::new() });
            continue;
        }
        let field = line.strip_prefix("  ").ok_or_else(|| wrong("view NAME of TYPE, or a field"))?;
        let view = views.last_mut().ok_or_else(|| wrong("a view before its fields"))?;
        let field = self::field(view.of, field).ok_or_else(|| wrong("NAME: [optional] [bits] TYPE = PATH"))?;
        view.fields.push(field);
    }
    Ok(views)
}

fn field<'o>(of: &str, line: &'o str) -> Option<Field<'o>> {
    let (name, rest) = line.split_once(": ").filter(|(name, _)| is_name(name))?;
    let (mut ty, path) = rest.split_once(" = ")?;
    let mut said = |word: &str| {
        let rest = ty.strip_prefix(word);
        ty = rest.unwrap_or(ty);
        rest.is_some()
    };
    let (is_optional, is_bits) = (said("optional "), said("bits "));
    let (kind, size) = shape(ty)?;
    let mut hops = path.split('|').map(|way| way.matches("->").count());
    let first = hops.next()?;
    if path.contains(char::is_control) || hops.any(|other| other != first) {
        return None;
    }
    let hops = u32::try_from(first).ok()?;
    if kind == Kind::Existence && (existence(path).is_none() || is_optional || is_bits) {
        return None;
    }
    Some(Field { name, path, id: id(of, path), kind, size, hops, is_optional, is_bits })
}

/// What a question for existence asks for.
pub(crate) fn existence(path: &str) -> Option<Need<'_>> {
    let (kind, name) = path.split_once(' ').filter(|(_, name)| !name.is_empty())?;
    match kind {
        "type" => Some(Need::Type(name)),
        "function" => Some(Need::Function(name)),
        "value" => name.split_once('.').map(|(within, name)| Need::Enumerator { within, name }),
        _ => None,
    }
}

fn shape(ty: &str) -> Option<(Kind, u32)> {
    match ty {
        "address" => return Some((Kind::Address, 8)),
        "exists" => return Some((Kind::Existence, 1)),
        _ => {}
    }
    if let Some(length) = ty.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')) {
        return Some((Kind::Bytes, length.parse().ok()?));
    }
    let (kind, bits) = match ty.split_at_checked(1)? {
        ("u", bits) => (Kind::Unsigned, bits),
        ("i", bits) => (Kind::Signed, bits),
        _ => return None,
    };
    let bits: u32 = bits.parse().ok()?;
    matches!(bits, 8 | 16 | 32 | 64).then_some((kind, bits / 8))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || c == ':')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    const VIEW: View<'static> = View { name: "Task", of: "task_struct", fields: &FIELDS };
    const FIELDS: [Field<'static>; 6] = [
        one("pid", "pid", Kind::Signed, 4),
        Field { is_optional: true, hops: 1, ..one("total", "mm->total_vm", Kind::Unsigned, 8) },
        Field { is_bits: true, ..one("in_execve", "in_execve | execve", Kind::Unsigned, 1) },
        one("comm", "comm", Kind::Bytes, 16),
        one("cred", "cred", Kind::Address, 8),
        one("can_loop", "function bpf_loop", Kind::Existence, 1),
    ];

    const fn one(name: &'static str, path: &'static str, kind: Kind, size: u32) -> Field<'static> {
        let id = id("task_struct", path);
        Field { name, path, id, kind, size, hops: 0, is_optional: false, is_bits: false }
    }

    const TEXT: [u8; text::length(&VIEW)] = text::text(&VIEW);

    #[test]
    fn what_is_written_is_read() {
        let written = "view Task of task_struct\n  pid: i32 = pid\n  total: optional u64 = mm->total_vm\n  \
                       in_execve: bits u8 = in_execve | execve\n  comm: [u8; 16] = comm\n  cred: address = cred\n  \
                       can_loop: exists = function bpf_loop\n";
        assert_eq!(str::from_utf8(&TEXT).unwrap(), written);
        let twice = [TEXT, TEXT].concat();
        let read = parse(&twice).unwrap();
        let task = Described { name: "Task", of: "task_struct", fields: FIELDS.to_vec() };
        assert_eq!(read, [task.clone(), task]);
    }

    #[test]
    fn what_is_no_description_says_where_and_what() {
        let cases = [
            ("pid: i32", "line 1 of .gabion.fields: expected view NAME of TYPE, or a field, found \"pid: i32\""),
            ("  pid: i32 = pid", "line 1 of .gabion.fields: expected a view before its fields, found "),
            ("view Task\n", "line 1 of .gabion.fields: expected view NAME of TYPE, found \"view Task\""),
            ("view T of t\n  pid: i33 = pid", "line 2 of .gabion.fields: expected NAME: [optional] [bits] TYPE = PATH"),
            ("view T of t\n  pid: bits optional u8 = pid", "line 2 "),
            ("view T of t\n  pid: i32 = a->b | c", "line 2 "),
            ("view T of t\n  comm: [u8; -1] = comm", "line 2 "),
            ("view T of t\n  there: exists = comm", "line 2 "),
            ("view T of t\n  there: exists = value BPF_LOOP", "line 2 "),
            ("view T of t\n  there: optional exists = type x", "line 2 "),
        ];
        for (text, expected) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        assert!(matches!(parse(&[0xff]), Err(Unread::NotText)));
        assert!(matches!(parse(&[b'\n'; BYTES + 1]), Err(Unread::Long { .. })));
        assert!(described(b"text").is_err());
    }
}
