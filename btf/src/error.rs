//! What can be wrong, with whose bytes, where, and what to do about it.

use std::sync::Arc;

use crate::record::Kind;
use crate::wanted::Wanted;

/// What was wrong, and with which BTF.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct Error {
    /// Which BTF: a file, a kernel release, or what the caller named it.
    pub origin: Arc<str>,
    /// What is wrong with it.
    #[source]
    pub problem: Box<Problem>,
}

impl Error {
    pub(crate) fn new(origin: &Arc<str>, problem: impl Into<Problem>) -> Self {
        Self { origin: Arc::clone(origin), problem: Box::new(problem.into()) }
    }

    /// This kernel does not have what was asked for: a field that is optional is then left out. Everything else is a
    /// fault of the BTF or of the question.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        self.problem.is_absence()
    }
}

/// Of which field an error speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The type that the path starts from.
    pub root: String,
    /// The path, with all its alternatives.
    pub path: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "field {} of {}", self.path, self.root)
    }
}

/// What is wrong. Types are said as in C, with all that they are made of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {error}{}", remedy(.error))]
    Read {
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// Neither the magic number of BTF nor that of ELF.
    #[error("is neither BTF (0x9feb, 0xeb9f) nor ELF: begins with {found:02x?}")]
    Magic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// An ELF file that cannot be read as one.
    #[error("is not sound ELF: {0}")]
    Elf(#[source] object::Error),
    /// An ELF file without types.
    #[error("has no section .BTF; build it with BTF (clang -g, bpf-linker --btf, pahole -J)")]
    NoSection,
    /// BTF that breaks its own format.
    #[error("is not sound BTF: {0}")]
    Malformed(#[from] Defect),
    /// No type of that name.
    #[error("there is no {expected} {name}{}", near(.similar))]
    AbsentType {
        /// What kind of type was looked for.
        expected: String,
        /// Its name.
        name: String,
        /// A name that is there, and nearly the same.
        similar: Option<String>,
    },
    /// None of the alternatives is there. Says where the last of them ended.
    #[error("{place}: {within} has no member {member}{}", near(.similar))]
    AbsentField {
        /// Which field.
        place: Place,
        /// The struct or union that was searched.
        within: String,
        /// What it does not have.
        member: String,
        /// A member that it has, and nearly of that name.
        similar: Option<String>,
    },
    /// No value of that name in the enum.
    #[error("enum {within} has no value {name}{}", near(.similar))]
    AbsentEnumerator {
        /// The enum.
        within: String,
        /// The value's name.
        name: String,
        /// A name that it has, and nearly the same.
        similar: Option<String>,
    },
    /// A type that is declared, but whose definition this BTF does not have.
    #[error(
        "{place}: {found} is only declared here; take the BTF that defines it (the module's, with vmlinux as its base)"
    )]
    Incomplete {
        /// Which field.
        place: Place,
        /// The type without a definition.
        found: String,
    },
    /// The path goes on below something that has no members.
    #[error("{place}: {member} is looked for in {found}, which has no members")]
    NoMembers {
        /// Which field.
        place: Place,
        /// What was to be found there.
        member: String,
        /// The type that was met.
        found: String,
    },
    /// The path has an index where there is no array.
    #[error("{place}: [{index}] asks for an array, and this is {found}")]
    NotAnArray {
        /// Which field.
        place: Place,
        /// The first element that was asked for.
        index: u32,
        /// The type that was met.
        found: String,
    },
    /// The path leaves an array.
    #[error("{place}: element {index} of {found}; the last is {}", .length.saturating_sub(1))]
    OutOfBounds {
        /// Which field.
        place: Place,
        /// The element that is not there.
        index: u32,
        /// How many elements there are.
        length: u32,
        /// The array.
        found: String,
    },
    /// Several types have that name, and they disagree about the field.
    #[error("{place}: several types have that name and disagree: {first}; {second}")]
    Ambiguous {
        /// Which field.
        place: Place,
        /// One answer.
        first: String,
        /// Another one.
        second: String,
    },
    /// What was found is not what the program reads.
    #[error(
        "{place}: expected {expected}, found {found}; change the field of the view to what the kernel has, or its path"
    )]
    Misfit {
        /// Which field.
        place: Place,
        /// What the program reads.
        expected: Wanted,
        /// What the kernel has.
        found: String,
    },
    /// A bit-field that no single load of up to 8 bytes covers.
    #[error("{place}: {width} bits at bit {offset} do not fit one load of 8 bytes; read the bytes around them instead")]
    WideBits {
        /// Which field.
        place: Place,
        /// First bit, from the start of the last struct.
        offset: u32,
        /// Number of bits.
        width: u32,
    },
}

impl Problem {
    fn is_absence(&self) -> bool {
        matches!(self, Self::AbsentType { .. } | Self::AbsentField { .. } | Self::AbsentEnumerator { .. })
    }
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; a kernel has BTF when it is built with CONFIG_DEBUG_INFO_BTF",
        _ => "",
    }
}

fn near(similar: &Option<String>) -> String {
    similar.as_ref().map_or_else(String::new, |name| format!("; there is {name}"))
}

/// How BTF breaks its own format. Positions are bytes from the start of the BTF, ids those of types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// Shorter than a header.
    #[error("{length} bytes are too few for a header of 24")]
    ShortHeader {
        /// How many there are.
        length: usize,
    },
    /// A version that is not 1.
    #[error("version {found}, where 1 is the only one; a newer reader may know it")]
    Version {
        /// The version.
        found: u8,
    },
    /// Flags, of which none is defined.
    #[error("flags {found:#x}, where none is defined; a newer reader may know them")]
    Flags {
        /// The flags.
        found: u8,
    },
    /// A header length below 24 or beyond the end.
    #[error("the header says that it has {found} bytes")]
    HeaderLength {
        /// What it says.
        found: u32,
    },
    /// A part that is not inside of the bytes, or not aligned.
    #[error("the {part} are said to be the {length} bytes from {offset}, of {available} behind the header")]
    Part {
        /// "types" or "strings".
        part: &'static str,
        /// Where they are said to begin, behind the header.
        offset: u32,
        /// Their length.
        length: u32,
        /// What is there behind the header.
        available: usize,
    },
    /// Types and strings share bytes.
    #[error("types and strings overlap")]
    Overlap,
    /// Strings that do not begin and end with a NUL.
    #[error("the strings do not begin and end with a NUL")]
    Strings,
    /// A split BTF in another byte order than its base.
    #[error("its byte order is not that of its base; take both from the same kernel")]
    ByteOrder,
    /// More types or strings than a 32-bit number can name.
    #[error("base and split together have more types or strings than 32 bits can name")]
    TooLarge,
    /// A record that ends behind the types.
    #[error("type {id} at {at} ends outside of the types")]
    TruncatedType {
        /// The type.
        id: u32,
        /// Where it begins.
        at: usize,
    },
    /// A kind that this reader does not know, so that it cannot know how long the record is.
    #[error("type {id} is of kind {found}, and {} is the last known; a newer reader may know it", Kind::LAST)]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        found: u32,
    },
    /// Bits that must be zero.
    #[error("type {id} has reserved bits set (info {info:#010x}); a newer reader may know them")]
    ReservedBits {
        /// The type.
        id: u32,
        /// The word that holds kind and length.
        info: u32,
    },
    /// The name of something is outside of the strings, or not the beginning of text.
    #[error("there is no name at {offset}; a module's BTF is read together with its base")]
    Name {
        /// Where it should be in the strings.
        offset: u32,
    },
    /// A type that is referred to and does not exist.
    #[error("type {found} is referred to, and the last is {last}")]
    TypeId {
        /// The id.
        found: u32,
        /// The last one that exists.
        last: u32,
    },
    /// Typedefs, qualifiers, arrays or anonymous members within one another, deeper than any compiler nests them.
    /// What is cyclic ends here, too.
    #[error("type {id} leads through more than {limit} types, or in a circle")]
    TooDeep {
        /// Where the chain began.
        id: u32,
        /// How long a chain may be.
        limit: u32,
    },
    /// Something that is longer, or further away, than 32 bits can say.
    #[error("type {id} is longer, or further away, than 32 bits can say")]
    TooLong {
        /// The type.
        id: u32,
    },
    /// Something that is not a bit-field and begins within a byte.
    #[error("a member of type {id} is no bit-field, and begins within a byte")]
    Unaligned {
        /// Its type.
        id: u32,
    },
    /// More members than a search may look at.
    #[error("a search looked at more than {limit} members")]
    TooMuch {
        /// How many it may look at.
        limit: u32,
    },
    /// A member that is not inside of what contains it.
    #[error("a member of type {id} (bit {offset}, {bits} bits) is not inside of it")]
    Outside {
        /// The struct or union.
        id: u32,
        /// Bits from its beginning.
        offset: u32,
        /// Bits of the member.
        bits: u64,
    },
    /// Something without a size where there must be one.
    #[error("type {id} ({kind}) has no size, and a member is of it")]
    NoSize {
        /// The type.
        id: u32,
        /// Its kind.
        kind: Kind,
    },
    /// A variable, a section or a tag where a type belongs.
    #[error("type {id} ({kind}) is no type that anything can be of")]
    NoType {
        /// The one that is referred to.
        id: u32,
        /// Its kind.
        kind: Kind,
    },
    /// An integer, enum or float whose size or bits no machine has.
    #[error("type {id} ({kind}) has {bits} bits in {size} bytes")]
    Width {
        /// The type.
        id: u32,
        /// Its kind.
        kind: Kind,
        /// Bytes.
        size: u32,
        /// Bits.
        bits: u32,
    },
}
