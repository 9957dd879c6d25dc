//! A program by what it shares, laid out as C does and written as an object with types.

use std::collections::BTreeMap;

use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use gabion_testing_types::{BOOL, Build, SIGNED};

#[derive(Clone)]
pub enum Ty {
    U(u32),
    I(u32),
    Bool,
    Ptr(&'static str),
    Arr(Box<Ty>, u32),
    Rec(&'static str),
    Enum(&'static str),
    /// A bit-field of an unsigned int.
    Bits(u32),
    /// Another name of an unsigned int.
    Alias(&'static str),
}

pub use Ty::{Alias, Bits, Bool, Enum, I, Ptr, Rec, U};

pub fn arr(element: Ty, length: u32) -> Ty {
    Ty::Arr(Box::new(element), length)
}

#[derive(Clone, Default)]
pub struct Record {
    pub name: &'static str,
    pub union: bool,
    pub fields: Vec<(&'static str, Ty)>,
    /// Bytes behind the fields.
    pub more: u32,
}

#[derive(Clone)]
pub struct Map {
    pub name: &'static str,
    pub numbers: BTreeMap<&'static str, u32>,
    pub key: Option<Ty>,
    pub value: Option<Ty>,
    /// A map within.
    pub inner: Option<Box<Map>>,
}

/// Records are defined before those that they lie in.
#[derive(Clone, Default)]
pub struct Program {
    pub records: Vec<Record>,
    pub enums: Vec<(&'static str, Vec<(&'static str, i32)>)>,
    pub maps: Vec<Map>,
    /// Section, name, type.
    pub variables: Vec<(&'static str, &'static str, Ty)>,
    pub big_endian: bool,
}

impl Program {
    pub fn record(&mut self, name: &str) -> &mut Record {
        self.records.iter_mut().find(|record| record.name == name).unwrap()
    }

    pub fn values(&mut self, name: &str) -> &mut Vec<(&'static str, i32)> {
        &mut self.enums.iter_mut().find(|found| found.0 == name).unwrap().1
    }

    pub fn map(&mut self, name: &str) -> &mut Map {
        self.maps.iter_mut().find(|map| map.name == name).unwrap()
    }

    pub fn set(&mut self, map: &str, what: &'static str, number: u32) {
        self.map(map).numbers.insert(what, number);
    }

    pub fn variable(&mut self, name: &str) -> &mut (&'static str, &'static str, Ty) {
        self.variables.iter_mut().find(|variable| variable.1 == name).unwrap()
    }

    pub fn object(&self) -> Vec<u8> {
        Writer::new(self).object()
    }
}

impl Record {
    pub fn push(&mut self, name: &'static str, ty: Ty) {
        self.fields.push((name, ty));
    }

    pub fn at(&mut self, name: &str) -> usize {
        self.fields.iter().position(|field| field.0 == name).unwrap()
    }

    pub fn retype(&mut self, name: &str, ty: Ty) {
        let at = self.at(name);
        self.fields[at].1 = ty;
    }

    pub fn rename(&mut self, name: &str, new: &'static str) {
        let at = self.at(name);
        self.fields[at].0 = new;
    }

    pub fn remove(&mut self, name: &str) {
        let at = self.at(name);
        self.fields.remove(at);
    }
}

/// A map of those numbers.
pub fn map(name: &'static str, numbers: &[(&'static str, u32)], key: Option<Ty>, value: Option<Ty>) -> Map {
    Map { name, numbers: numbers.iter().copied().collect(), key, value, inner: None }
}

struct Writer<'p> {
    program: &'p Program,
    btf: Build,
    ints: BTreeMap<&'static str, u32>,
    /// Number, size, alignment.
    named: BTreeMap<&'static str, [u32; 3]>,
}

impl<'p> Writer<'p> {
    fn new(program: &'p Program) -> Self {
        let mut btf = if program.big_endian { Build::big_endian() } else { Build::new() };
        let mut ints = BTreeMap::new();
        for (name, size, encoding) in [
            ("unsigned char", 1, 0),
            ("unsigned short", 2, 0),
            ("unsigned int", 4, 0),
            ("unsigned long", 8, 0),
            ("signed char", 1, SIGNED),
            ("short", 2, SIGNED),
            ("int", 4, SIGNED),
            ("long", 8, SIGNED),
            ("_Bool", 1, BOOL),
        ] {
            ints.insert(name, btf.int(name, size, encoding));
        }
        let mut writer = Self { program, btf, ints, named: BTreeMap::new() };
        for (name, values) in &program.enums {
            let id = writer.btf.enumeration(name, values.iter().any(|value| value.1 < 0), values);
            writer.named.insert(name, [id, 4, 4]);
        }
        program.records.iter().for_each(|record| writer.record(record));
        writer
    }

    /// Number, bytes and alignment of a type.
    fn ty(&mut self, ty: &Ty) -> [u32; 3] {
        let int = |size: u32, signed| match (size, signed) {
            (1, false) => "unsigned char",
            (2, false) => "unsigned short",
            (4, false) => "unsigned int",
            (_, false) => "unsigned long",
            (1, true) => "signed char",
            (2, true) => "short",
            (4, true) => "int",
            (_, true) => "long",
        };
        match ty {
            U(size) => [self.ints[int(*size, false)], *size, *size],
            I(size) => [self.ints[int(*size, true)], *size, *size],
            Bool => [self.ints["_Bool"], 1, 1],
            Bits(_) => [self.ints["unsigned int"], 4, 4],
            Alias(name) => [self.btf.typedef(name, self.ints["unsigned int"]), 4, 4],
            Ptr(name) => {
                let target = self.named.get(name).map(|found| found[0]);
                let target = target.unwrap_or_else(|| self.btf.forward(name));
                [self.btf.pointer(target), 8, 8]
            }
            Ty::Arr(element, length) => {
                let [id, size, align] = self.ty(element);
                [self.btf.array(id, *length), size * length, align]
            }
            Rec(name) | Enum(name) => self.named[name],
        }
    }

    fn record(&mut self, record: &Record) {
        let (mut bit, mut end, mut most) = (0_u32, 0_u32, 1_u32);
        let mut members = Vec::new();
        for (name, ty) in &record.fields {
            let [id, size, align] = self.ty(ty);
            if record.union {
                bit = 0;
            }
            let width = if let Bits(width) = ty { *width } else { 0 };
            bit = if width == 0 { bit.next_multiple_of(align * 8) } else { bit };
            members.push((*name, id, bit, width));
            bit += if width == 0 { size * 8 } else { width };
            (end, most) = (end.max(bit), most.max(align));
        }
        let size = end.div_ceil(8).next_multiple_of(most) + record.more;
        let id = self.btf.composite(if record.union { 5 } else { 4 }, record.name, size, &members);
        if !record.name.is_empty() {
            self.named.insert(record.name, [id, size, most]);
        }
    }

    /// The struct that defines a map.
    fn definition(&mut self, map: &Map) -> u32 {
        let mut members = Vec::new();
        for (name, number) in &map.numbers {
            let array = self.btf.array(self.ints["int"], *number);
            members.push((*name, self.btf.pointer(array)));
        }
        for (name, ty) in [("key", &map.key), ("value", &map.value)] {
            if let Some(ty) = ty {
                let [id, ..] = self.ty(ty);
                members.push((name, self.btf.pointer(id)));
            }
        }
        let mut size = 8 * members.len() as u32;
        if let Some(inner) = &map.inner {
            let inner = self.definition(inner);
            let pointer = self.btf.pointer(inner);
            members.push(("values", self.btf.array(pointer, 0)));
        }
        let placed: Vec<_> = members.iter().zip(0..).map(|((name, id), place)| (*name, *id, place * 64, 0)).collect();
        size = size.max(8);
        self.btf.structure("", size, &placed)
    }

    fn object(mut self) -> Vec<u8> {
        let endianness = if self.program.big_endian { Endianness::Big } else { Endianness::Little };
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
        let mut sections: BTreeMap<&str, Vec<(&str, u32, u32, u32)>> = BTreeMap::new();
        for map in &self.program.maps {
            let id = self.definition(map);
            sections.entry(".maps").or_default().push((map.name, id, 32, 8));
        }
        for (section, name, ty) in &self.program.variables {
            let [id, size, align] = self.ty(ty);
            sections.entry(section).or_default().push((name, id, size, align));
        }
        for (section, variables) in sections {
            let at = object.add_section(Vec::new(), section.into(), SectionKind::Data);
            let (mut place, mut words) = (0_u32, Vec::new());
            for (name, id, size, align) in variables {
                place = place.next_multiple_of(align);
                let var = self.btf.raw(name, 14 << 24, id, &[1]);
                // The place is left to the linker, as clang does it.
                words.extend([var, 0, size]);
                object.add_symbol(Symbol {
                    name: name.into(),
                    value: place.into(),
                    size: size.into(),
                    kind: SymbolKind::Data,
                    scope: SymbolScope::Linkage,
                    weak: false,
                    section: SymbolSection::Section(at),
                    flags: SymbolFlags::None,
                });
                place += size;
            }
            object.append_section_data(at, &vec![0; place as usize], 8);
            self.btf.raw(section, (15 << 24) | (words.len() as u32 / 3), 0, &words);
        }
        let btf = object.add_section(Vec::new(), b".BTF".into(), SectionKind::Other);
        object.append_section_data(btf, &self.btf.bytes(), 4);
        object.write().unwrap()
    }
}

/// What the cases change.
pub fn base() -> Program {
    let record = |name, fields: &[(&'static str, Ty)]| Record { name, fields: fields.to_vec(), ..Record::default() };
    Program {
        records: vec![
            record("place", &[("line", U(4)), ("column", U(4))]),
            record("key", &[("address", U(4)), ("port", U(2)), ("zero", U(2))]),
            record("value", &[("packets", U(8)), ("bytes", U(4)), ("flags", U(4))]),
            record("count", &[("hits", U(8)), ("misses", U(4))]),
            record("slot", &[("number", U(4))]),
            record("table", &[("slots", arr(Rec("slot"), 4)), ("used", U(4))]),
            record("last", &[("at", U(4)), ("place", Rec("place"))]),
            record("middle", &[("place", Rec("place")), ("at", U(4))]),
            Record { union: true, ..record("address", &[("v4", U(4)), ("v6", arr(U(1), 16))]) },
            record(
                "event",
                &[
                    ("time", U(8)),
                    ("pid", I(4)),
                    ("kind", Enum("kind")),
                    ("from", Rec("address")),
                    ("urgent", Bits(3)),
                    ("retries", Bits(5)),
                    ("owner", Ptr("task_struct")),
                ],
            ),
        ],
        enums: vec![("kind", vec![("OPEN", 0), ("CLOSE", 1), ("MOVE", 2)])],
        maps: vec![
            map("flows", &[("type", 1), ("max_entries", 1024), ("pinning", 1)], Some(Rec("key")), Some(Rec("value"))),
            map("counts", &[("type", 6), ("max_entries", 16)], Some(U(4)), Some(Rec("count"))),
            map("tables", &[("type", 2), ("max_entries", 4)], Some(U(4)), Some(Rec("table"))),
            map("events", &[("type", 27), ("max_entries", 4096)], None, None),
            map("programs", &[("type", 3), ("key_size", 4), ("value_size", 4), ("max_entries", 8)], None, None),
            Map {
                inner: Some(Box::new(map("", &[("type", 2), ("max_entries", 8)], Some(U(4)), Some(U(8))))),
                ..map("outer", &[("type", 13), ("max_entries", 8), ("map_flags", 1)], Some(U(4)), None)
            },
        ],
        variables: vec![
            (".bss", "total", U(8)),
            (".bss", "latest", Rec("last")),
            (".bss", "first", Rec("middle")),
            (".rodata", "limit", U(4)),
            (".rodata", "unused_event", Ptr("event")),
        ],
        ..Program::default()
    }
}
