//! Types as views into the bytes: made when asked for, and nothing of them is kept.

use std::fmt;

use crate::btf::Btf;
use crate::error::{Defect, Error};
use crate::section::{Head, Section};

/// What a type is. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    /// No type: what `void *` points to, and what a function without a value returns.
    Void = 0,
    /// An integer, a character or a boolean.
    Int = 1,
    /// A pointer.
    Ptr = 2,
    /// An array; of no elements when its length is not part of the type.
    Array = 3,
    /// A struct.
    Struct = 4,
    /// A union.
    Union = 5,
    /// An enum whose values fit into 32 bits.
    Enum = 6,
    /// A struct or union that is declared, and defined elsewhere.
    Fwd = 7,
    /// Another name of a type.
    Typedef = 8,
    /// `volatile`.
    Volatile = 9,
    /// `const`.
    Const = 10,
    /// `restrict`.
    Restrict = 11,
    /// A function.
    Func = 12,
    /// Parameters and value of a function.
    FuncProto = 13,
    /// A variable.
    Var = 14,
    /// Variables of one ELF section.
    Datasec = 15,
    /// A floating-point number.
    Float = 16,
    /// A note about a declaration.
    DeclTag = 17,
    /// A note about a type, such as `__user` and `__rcu`.
    TypeTag = 18,
    /// An enum of 64-bit values.
    Enum64 = 19,
}

impl Kind {
    /// The highest number that is known.
    pub const LAST: u32 = Self::Enum64 as u32;

    const ALL: [Self; 20] = [
        Self::Void,
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    fn of(info: u32) -> Self {
        // No record of an unknown kind is let through.
        Self::ALL.get((info >> 24 & 0x1f) as usize).copied().unwrap_or(Self::Void)
    }

    /// Types that stand for the one they refer to.
    #[must_use]
    pub fn is_modifier(self) -> bool {
        matches!(self, Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag)
    }

    /// Types with members.
    #[must_use]
    pub fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Void => "void",
            Self::Int => "int",
            Self::Ptr => "pointer",
            Self::Array => "array",
            Self::Struct => "struct",
            Self::Union => "union",
            Self::Enum => "enum",
            Self::Fwd => "forward declaration",
            Self::Typedef => "typedef",
            Self::Volatile => "volatile",
            Self::Const => "const",
            Self::Restrict => "restrict",
            Self::Func => "function",
            Self::FuncProto => "function prototype",
            Self::Var => "variable",
            Self::Datasec => "data section",
            Self::Float => "float",
            Self::DeclTag => "declaration tag",
            Self::TypeTag => "type tag",
            Self::Enum64 => "enum of 64 bits",
        };
        f.write_str(word)
    }
}

/// One type of a [`Btf`].
#[derive(Clone, Copy)]
pub struct Type<'b> {
    btf: &'b Btf,
    section: &'b Section,
    at: usize,
    id: u32,
    head: Head,
}

/// The integer that an `Int` is: `bits` bits from `offset` in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Whether it has a sign.
    pub signed: bool,
    /// Whether it is a boolean.
    pub boolean: bool,
    /// First bit; not zero only in bit-fields as compilers described them before members said it.
    pub offset: u32,
    /// Number of bits.
    pub bits: u32,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub struct Member<'b> {
    btf: &'b Btf,
    name: u32,
    /// Its type.
    pub type_id: u32,
    /// Bits from the beginning of what contains it.
    pub bit_offset: u32,
    /// Bits of a bit-field; zero for what is not one, and for a bit-field whose type says it.
    pub bits: u32,
}

/// A value of an enum.
#[derive(Clone, Copy, Debug)]
pub struct Enumerator<'b> {
    btf: &'b Btf,
    name: u32,
    /// The value, whatever its width and sign. Before kernel 6.0 BTF did not say that an enum has a sign: -1 is 2^32
    /// - 1 then.
    pub value: i128,
    /// Its place among the values of the enum.
    pub(crate) place: u32,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'b> {
    btf: &'b Btf,
    name: u32,
    /// Its type; 0 for the dots of a function that takes any number of them.
    pub type_id: u32,
}

impl<'b> Type<'b> {
    pub(crate) fn new(btf: &'b Btf, section: &'b Section, at: usize, id: u32) -> Self {
        Self { btf, section, at, id, head: section.head(at) }
    }

    /// Void, which has no record.
    pub(crate) fn void(btf: &'b Btf, section: &'b Section) -> Self {
        Self { btf, section, at: 0, id: 0, head: Head { name: 0, info: 0, tail: 0 } }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::of(self.head.info)
    }

    /// Its name; empty if it has none.
    ///
    /// # Errors
    /// When the name is not text.
    pub fn name(&self) -> Result<&'b str, Error> {
        self.btf.string(self.head.name)
    }

    pub(crate) fn name_offset(&self) -> u32 {
        self.head.name
    }

    /// The flag whose meaning the kind gives: bit-fields, signed values, a union that is declared.
    #[must_use]
    pub fn flag(&self) -> bool {
        self.head.info >> 31 != 0
    }

    /// How many members, values, parameters or variables it has. For a function, its linkage.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.head.info & 0xffff
    }

    /// Bytes, of the kinds that say it themselves.
    #[must_use]
    pub fn size(&self) -> Option<u32> {
        match self.kind() {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Datasec => {
                Some(self.head.tail)
            }
            _ => None,
        }
    }

    /// The type that it refers to: of a pointer, modifier, function, variable or tag, the value of a prototype, the
    /// element of an array.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        match self.kind() {
            Kind::Array => Some(self.extra(0)),
            Kind::Ptr | Kind::Func | Kind::FuncProto | Kind::Var | Kind::DeclTag => Some(self.head.tail),
            kind if kind.is_modifier() => Some(self.head.tail),
            _ => None,
        }
    }

    /// Elements of an array.
    #[must_use]
    pub fn elements(&self) -> Option<u32> {
        (self.kind() == Kind::Array).then(|| self.extra(2))
    }

    /// The type that an array is indexed by, which no program reads.
    pub(crate) fn index_type(&self) -> Option<u32> {
        (self.kind() == Kind::Array).then(|| self.extra(1))
    }

    /// What an integer is.
    #[must_use]
    pub fn int(&self) -> Option<Int> {
        (self.kind() == Kind::Int).then(|| {
            let word = self.extra(0);
            let encoding = word >> 24 & 0xf;
            Int { signed: encoding & 1 != 0, boolean: encoding & 4 != 0, offset: word >> 16 & 0xff, bits: word & 0xff }
        })
    }

    /// The word of an integer that holds [`Type::int`] as it is written.
    pub(crate) fn int_word(&self) -> Option<u32> {
        (self.kind() == Kind::Int).then(|| self.extra(0))
    }

    /// Members, if it is a struct or union.
    pub fn members(&self) -> impl ExactSizeIterator<Item = Member<'b>> + use<'b> {
        let (this, flag) = (*self, self.flag());
        let count = if self.kind().is_composite() { self.length() as usize } else { 0 };
        (0..count).map(move |member| {
            let offset = this.extra(member * 3 + 2);
            let (bit_offset, bits) = if flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            Member {
                btf: this.btf,
                name: this.extra(member * 3),
                type_id: this.extra(member * 3 + 1),
                bit_offset,
                bits,
            }
        })
    }

    /// Values, if it is an enum.
    pub fn enumerators(&self) -> impl ExactSizeIterator<Item = Enumerator<'b>> + use<'b> {
        let (this, signed) = (*self, self.flag());
        let (count, words) = match self.kind() {
            Kind::Enum => (self.length() as usize, 2),
            Kind::Enum64 => (self.length() as usize, 3),
            _ => (0, 0),
        };
        (0..count).map(move |place| {
            let low = this.extra(place * words + 1);
            let value = match (words, signed) {
                (2, true) => i128::from(low.cast_signed()),
                (2, false) => i128::from(low),
                (_, signed) => {
                    let value = u64::from(this.extra(place * words + 2)) << 32 | u64::from(low);
                    if signed { i128::from(value.cast_signed()) } else { i128::from(value) }
                }
            };
            // A record has at most 65,535 values.
            Enumerator { btf: this.btf, name: this.extra(place * words), value, place: place as u32 }
        })
    }

    /// Parameters, if it is a prototype.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = Parameter<'b>> + use<'b> {
        let this = *self;
        let count = if self.kind() == Kind::FuncProto { self.length() as usize } else { 0 };
        (0..count).map(move |place| Parameter {
            btf: this.btf,
            name: this.extra(place * 2),
            type_id: this.extra(place * 2 + 1),
        })
    }

    /// The words of the record behind its head.
    pub(crate) fn extra(&self, place: usize) -> u32 {
        self.section.word(self.at + 12 + place * 4)
    }
}

impl fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} {:?}", self.id, self.kind(), self.name().unwrap_or("?"))
    }
}

impl<'b> Member<'b> {
    /// Its name; empty if it has none.
    ///
    /// # Errors
    /// When the name is not text.
    pub fn name(&self) -> Result<&'b str, Error> {
        self.btf.string(self.name)
    }

    pub(crate) fn is_named(&self, name: &str) -> Result<bool, Defect> {
        self.btf.string_is(self.name, name)
    }

    pub(crate) fn is_anonymous(&self) -> Result<bool, Defect> {
        self.is_named("")
    }
}

impl<'b> Enumerator<'b> {
    /// Its name.
    ///
    /// # Errors
    /// When the name is not text.
    pub fn name(&self) -> Result<&'b str, Error> {
        self.btf.string(self.name)
    }
}

impl<'b> Parameter<'b> {
    /// Its name; empty if it has none.
    ///
    /// # Errors
    /// When the name is not text.
    pub fn name(&self) -> Result<&'b str, Error> {
        self.btf.string(self.name)
    }
}
