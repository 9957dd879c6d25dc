//! BTF by the words of the format, so that every broken form can be said as well.
//!
//! For tests of those who read types: [`Build`] checks nothing. Numbers of kinds and encodings are those of the format.

#![forbid(unsafe_code)]

/// BTF that is being written. Each type is numbered in the order in which it is added, from 1, or from where the base
/// ended.
#[derive(Clone, Default)]
pub struct Build {
    /// The types so far.
    pub words: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
    first_type: u32,
    first_string: u32,
    /// Whether numbers have their highest byte first.
    pub big_endian: bool,
}

/// Encoding of an integer that can be below 0.
pub const SIGNED: u32 = 1;
/// Encoding of a boolean.
pub const BOOL: u32 = 4;

/// Name, type, bits from the beginning, and bits of a bit-field or 0.
pub type Member<'m> = (&'m str, u32, u32, u32);

impl Build {
    /// No types yet, lowest byte first.
    #[must_use]
    pub fn new() -> Self {
        Self { strings: vec![0], first_type: 1, ..Self::default() }
    }

    /// No types yet, highest byte first.
    #[must_use]
    pub fn big_endian() -> Self {
        Self { big_endian: true, ..Self::new() }
    }

    /// What goes on where this one ends.
    #[must_use]
    pub fn split(&self) -> Self {
        Self {
            first_type: self.next(),
            first_string: self.first_string + self.strings.len() as u32,
            big_endian: self.big_endian,
            ..Self::default()
        }
    }

    /// The number of the type that is added next.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.first_type + self.count
    }

    /// Where a text begins, which is added unless it is there.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let whole = [text.as_bytes(), b"\0"].concat();
        let mut at = 0;
        let found = self.strings.split_inclusive(|byte| *byte == 0).find_map(|string| {
            at += string.len();
            (string == whole).then(|| at - string.len())
        });
        let place = found.unwrap_or_else(|| {
            self.strings.extend(&whole);
            self.strings.len() - whole.len()
        });
        self.first_string + place as u32
    }

    /// A record by its words.
    pub fn raw(&mut self, name: &str, info: u32, tail: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        self.words.extend([name, info, tail]);
        self.words.extend(rest);
        self.count += 1;
        self.next() - 1
    }

    /// An integer of all the bits of its bytes.
    pub fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.int_of_bits(name, size, encoding, 0, size * 8)
    }

    /// An integer that has some of the bits of its bytes.
    pub fn int_of_bits(&mut self, name: &str, size: u32, encoding: u32, offset: u32, bits: u32) -> u32 {
        self.raw(name, 1 << 24, size, &[encoding << 24 | offset << 16 | bits])
    }

    /// A pointer.
    pub fn pointer(&mut self, target: u32) -> u32 {
        self.raw("", 2 << 24, target, &[])
    }

    /// An array.
    pub fn array(&mut self, element: u32, elements: u32) -> u32 {
        self.raw("", 3 << 24, 0, &[element, element, elements])
    }

    /// A struct (4) or union (5).
    pub fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        let flag = members.iter().any(|(.., bits)| *bits != 0);
        let words: Vec<u32> = members
            .iter()
            .flat_map(|(name, of, offset, bits)| {
                [self.string(name), *of, if flag { bits << 24 | offset } else { *offset }]
            })
            .collect();
        self.raw(name, u32::from(flag) << 31 | kind << 24 | members.len() as u32, size, &words)
    }

    /// A struct.
    pub fn structure(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        self.composite(4, name, size, members)
    }

    /// A union.
    pub fn union(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        self.composite(5, name, size, members)
    }

    /// An enum of 4 bytes.
    pub fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> u32 {
        let words: Vec<u32> =
            values.iter().flat_map(|(name, value)| [self.string(name), value.cast_unsigned()]).collect();
        self.raw(name, u32::from(signed) << 31 | 6 << 24 | values.len() as u32, 4, &words)
    }

    /// A struct that is defined elsewhere.
    pub fn forward(&mut self, name: &str) -> u32 {
        self.raw(name, 7 << 24, 0, &[])
    }

    /// Another name.
    pub fn typedef(&mut self, name: &str, target: u32) -> u32 {
        self.raw(name, 8 << 24, target, &[])
    }

    /// A `const`.
    pub fn constant(&mut self, target: u32) -> u32 {
        self.raw("", 10 << 24, target, &[])
    }

    /// A function and its prototype: parameters by name and type.
    pub fn function(&mut self, name: &str, parameters: &[(&str, u32)], value: u32) -> u32 {
        let words: Vec<u32> = parameters.iter().flat_map(|(name, of)| [self.string(name), *of]).collect();
        let prototype = self.raw("", 13 << 24 | parameters.len() as u32, value, &words);
        self.raw(name, 12 << 24 | 1, prototype, &[])
    }

    /// All of it, behind its header.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let types = self.words.len() as u32 * 4;
        let mut out = if self.big_endian { vec![0xeb, 0x9f, 1, 0] } else { vec![0x9f, 0xeb, 1, 0] };
        let header = [24, 0, types, types, self.strings.len() as u32];
        for word in header.iter().chain(&self.words) {
            out.extend(if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
        }
        out.extend(&self.strings);
        out
    }
}
