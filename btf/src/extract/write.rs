//! Types as records, numbered anew.

use std::collections::{BTreeSet, HashMap};

use super::Plan;
use crate::btf::Btf;
use crate::error::{Defect, Error};
use crate::record::{Kind, Type};

/// The kept types in the order of their numbers, as a whole BTF.
pub(super) fn written(btf: &Btf, plan: &Plan, kept: &BTreeSet<u32>) -> Result<Vec<u8>, Error> {
    let numbers = kept.iter().zip(1..).map(|(id, number)| (*id, number)).collect();
    let mut writer = Writer {
        btf,
        plan,
        numbers,
        big_endian: btf.is_big_endian(),
        types: Vec::new(),
        strings: vec![0],
        places: HashMap::new(),
    };
    for id in kept {
        writer.record(btf.get(*id)?)?;
    }
    writer.finished()
}

struct Writer<'w> {
    btf: &'w Btf,
    plan: &'w Plan,
    numbers: HashMap<u32, u32>,
    big_endian: bool,
    types: Vec<u8>,
    strings: Vec<u8>,
    places: HashMap<&'w str, u32>,
}

impl<'w> Writer<'w> {
    fn record(&mut self, found: Type<'w>) -> Result<(), Error> {
        let name = self.string(found.name()?)?;
        let size = found.size().unwrap_or(0);
        match found.kind() {
            kind if kind.is_composite() => self.composite(found, name)?,
            Kind::Enum | Kind::Enum64 => self.enumeration(found, name, size)?,
            Kind::Int => {
                self.head(found, name, 0, size);
                self.word(found.int_word().unwrap_or(0));
            }
            Kind::Float => self.head(found, name, 0, size),
            Kind::Array => {
                self.head(found, name, 0, 0);
                let (element, index) = (found.target().unwrap_or(0), found.index_type().unwrap_or(0));
                self.reference(element)?;
                self.reference(index)?;
                self.word(found.elements().unwrap_or(0));
            }
            Kind::FuncProto => {
                let value = self.number(found.target().unwrap_or(0))?;
                self.head(found, name, found.length(), value);
                for parameter in found.parameters() {
                    let name = self.string(parameter.name()?)?;
                    self.word(name);
                    self.reference(parameter.type_id)?;
                }
            }
            // The length of a function is its linkage.
            Kind::Func => {
                let prototype = self.number(found.target().unwrap_or(0))?;
                self.head(found, name, found.length(), prototype);
            }
            Kind::Fwd => self.head(found, name, 0, 0),
            _ => {
                let target = self.number(found.target().unwrap_or(0))?;
                self.head(found, name, 0, target);
            }
        }
        Ok(())
    }

    fn composite(&mut self, found: Type<'w>, name: u32) -> Result<(), Error> {
        let none = BTreeSet::new();
        let members = self.plan.members.get(&found.id());
        // What has no name cannot be declared; it is there without its members.
        let Some(members) = members.or((name == 0).then_some(&none)) else {
            // The flag says that it is of a union.
            let flag = u32::from(found.kind() == Kind::Union) << 31;
            self.word(name);
            self.word(flag | (Kind::Fwd as u32) << 24);
            self.word(0);
            return Ok(());
        };
        // A record has at most 65,535 members.
        self.head(found, name, members.len() as u32, found.size().unwrap_or(0));
        for (member, _) in found.members().zip(0..).filter(|(_, place)| members.contains(place)) {
            let name = self.string(member.name()?)?;
            self.word(name);
            self.reference(member.type_id)?;
            self.word(member.bits << 24 | member.bit_offset);
        }
        Ok(())
    }

    fn enumeration(&mut self, found: Type<'w>, name: u32, size: u32) -> Result<(), Error> {
        let none = BTreeSet::new();
        let values = self.plan.values.get(&found.id()).unwrap_or(&none);
        // A record has at most 65,535 values.
        self.head(found, name, values.len() as u32, size);
        for value in found.enumerators().filter(|value| values.contains(&value.place)) {
            let name = self.string(value.name()?)?;
            self.word(name);
            // The lower and the upper half of what was read from there.
            let bits = value.value as u64;
            self.word(bits as u32);
            if found.kind() == Kind::Enum64 {
                self.word((bits >> 32) as u32);
            }
        }
        Ok(())
    }

    fn head(&mut self, found: Type<'w>, name: u32, length: u32, tail: u32) {
        self.word(name);
        self.word(u32::from(found.flag()) << 31 | (found.kind() as u32) << 24 | length);
        self.word(tail);
    }

    fn reference(&mut self, id: u32) -> Result<(), Error> {
        let number = self.number(id)?;
        self.word(number);
        Ok(())
    }

    fn number(&self, id: u32) -> Result<u32, Error> {
        if id == 0 {
            return Ok(0);
        }
        let last = self.btf.len();
        self.numbers.get(&id).copied().ok_or_else(|| self.btf.error(Defect::TypeId { found: id, last }))
    }

    fn word(&mut self, word: u32) {
        self.types.extend(if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
    }

    /// Where a string is; each is there once.
    fn string(&mut self, text: &'w str) -> Result<u32, Error> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(place) = self.places.get(text) {
            return Ok(*place);
        }
        let place = u32::try_from(self.strings.len()).map_err(|_| self.btf.error(Defect::TooLarge))?;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.places.insert(text, place);
        Ok(place)
    }

    fn finished(self) -> Result<Vec<u8>, Error> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| self.btf.error(Defect::TooLarge));
        let (types, strings) = (length(&self.types)?, length(&self.strings)?);
        let mut out = Vec::with_capacity(24 + self.types.len() + self.strings.len());
        out.extend(if self.big_endian { [0xeb, 0x9f] } else { [0x9f, 0xeb] });
        // Version and flags.
        out.extend([1, 0]);
        for word in [24, 0, types, types, strings] {
            out.extend(if self.big_endian { u32::to_be_bytes(word) } else { word.to_le_bytes() });
        }
        out.extend(self.types);
        out.extend(self.strings);
        Ok(out)
    }
}
