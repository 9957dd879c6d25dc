//! Definitions of maps: by types, as libbpf defines them, and by numbers in a section, as before that.

use gabion_btf::{Kind, Type as Found};

use crate::error::{Error, checked};
use crate::model::{Map, Slot};
use crate::types::Types;

/// Structs around the one that defines a map: languages that need one for a static.
const WRAPPED: u32 = 4;

impl Types<'_> {
    /// The map that a variable of the section `.maps` defines.
    pub(crate) fn map(&mut self, name: &str, id: u32) -> Result<(), Error> {
        self.defined(name, id, true)
    }

    fn defined(&mut self, name: &str, id: u32, outer: bool) -> Result<(), Error> {
        let name = checked(name)?;
        let wrong = |what: String| Error::Definition { map: name.to_owned(), what };
        let (mut found, _) = self.plain(id, name)?;
        for _ in 0..WRAPPED {
            let mut members = found.members();
            match (members.next(), members.next()) {
                (Some(only), None) if !known(only.name()?) => found = self.plain(only.type_id, name)?.0,
                _ => break,
            }
        }
        if found.kind() != Kind::Struct {
            return Err(wrong(format!("expected a struct that defines it, found {}", self.btf.describe(id))));
        }
        let mut map = Map {
            kind: 0,
            key: Slot::default(),
            value: Slot::default(),
            entries: 0,
            flags: 0,
            extra: 0,
            pinned: false,
        };
        let (mut key_size, mut value_size) = (None, None);
        for member in found.members() {
            let word = member.name()?;
            let narrow = |number: u64| {
                u32::try_from(number).map_err(|_| wrong(format!("{word} is {number}, and has 32 bits at most")))
            };
            match word {
                "type" => map.kind = narrow(self.number(name, word, member.type_id)?)?,
                "max_entries" => map.entries = self.number(name, word, member.type_id)?,
                "map_flags" => map.flags = self.number(name, word, member.type_id)?,
                "map_extra" => map.extra = self.number(name, word, member.type_id)?,
                "pinning" => map.pinned = self.number(name, word, member.type_id)? != 0,
                "key_size" => key_size = Some(self.number(name, word, member.type_id)?),
                "value_size" => value_size = Some(self.number(name, word, member.type_id)?),
                "key" => map.key = self.slot(name, word, member.type_id)?,
                "value" => map.value = self.slot(name, word, member.type_id)?,
                // What the maps in this one look like; programs in it have no layout.
                "values" => {
                    let inner = self.inner(name, member.type_id)?;
                    if let (Some(id), true) = (inner, outer) {
                        self.defined(&format!("{name}.values"), id, false)?;
                    }
                    // Maps are kept, and asked for, by number.
                    value_size = value_size.or(Some(4));
                }
                // On which node its memory lies is nobody's layout.
                "numa_node" => {}
                other => return Err(wrong(format!("{other:?} is no member of a definition that is known here"))),
            }
        }
        for (slot, size, what) in [(&mut map.key, key_size, "key"), (&mut map.value, value_size, "value")] {
            match (&slot.ty, size) {
                (_, None) => {}
                (None, Some(size)) => slot.bytes = size,
                // A ring: its map has no size for what it carries.
                (_, Some(0)) => slot.bytes = 0,
                (Some(_), Some(size)) if size == slot.bytes => {}
                (Some(ty), Some(size)) => {
                    return Err(wrong(format!("{what}_size is {size}, and {ty} has {} bytes", slot.bytes)));
                }
            }
        }
        self.add(name, map)
    }

    fn add(&mut self, name: &str, map: Map) -> Result<(), Error> {
        if map.kind == 0 {
            let what = "it has no type; is this a definition of a map?".to_owned();
            return Err(Error::Definition { map: name.to_owned(), what });
        }
        match self.lock.maps.insert(name.to_owned(), map) {
            None => Ok(()),
            Some(_) => Err(Error::Twice { within: "the object".to_owned(), name: name.to_owned() }),
        }
    }

    /// What `int (*member)[NUMBER]` says, or an enum of one value.
    fn number(&self, map: &str, member: &str, id: u32) -> Result<u64, Error> {
        let wrong = || Error::Definition {
            map: map.to_owned(),
            what: format!("{member} is expected as a pointer to an array, found {}", self.btf.describe(id)),
        };
        let (found, _) = self.plain(id, map)?;
        let target = match found.kind() {
            Kind::Ptr => self.plain(found.target().unwrap_or(0), map)?.0,
            _ => found,
        };
        let mut values = target.enumerators();
        let number = match (target.kind(), values.next(), values.next()) {
            (Kind::Array, ..) if found.kind() == Kind::Ptr => target.elements().map(u64::from),
            (_, Some(only), None) => u64::try_from(only.value).ok(),
            _ => None,
        };
        number.ok_or_else(wrong)
    }

    /// The type that a member points to.
    fn slot(&mut self, map: &str, member: &str, id: u32) -> Result<Slot, Error> {
        let (found, _) = self.plain(id, map)?;
        if found.kind() != Kind::Ptr {
            let what = format!("{member} is expected as a pointer to its type, found {}", self.btf.describe(id));
            return Err(Error::Definition { map: map.to_owned(), what });
        }
        let target = found.target().unwrap_or(0);
        let (plain, _) = self.plain(target, map)?;
        // Nothing, as languages say it that need a type for that.
        if matches!((plain.kind(), plain.size()), (Kind::Void, _) | (Kind::Int | Kind::Struct, Some(0))) {
            return Ok(Slot::default());
        }
        let (ty, bytes) = self.of(target, &format!("{map}.{member}"))?;
        Ok(Slot { ty: Some(ty), bytes })
    }

    /// The definition of the maps within a map: `struct inner *values[]`.
    fn inner(&self, map: &str, id: u32) -> Result<Option<u32>, Error> {
        let (found, _) = self.plain(id, map)?;
        let element = |found: Found<'_>| found.target().unwrap_or(0);
        if found.kind() == Kind::Array {
            let (pointer, _) = self.plain(element(found), map)?;
            let (target, _) = self.plain(element(pointer), map)?;
            match (pointer.kind(), target.kind()) {
                (Kind::Ptr, Kind::Struct) => return Ok(Some(target.id())),
                (Kind::Ptr, Kind::FuncProto) => return Ok(None),
                _ => {}
            }
        }
        let what = format!("values is expected as an array of pointers, found {}", self.btf.describe(id));
        Err(Error::Definition { map: map.to_owned(), what })
    }
}

fn known(member: &str) -> bool {
    let members = ["type", "max_entries", "map_flags", "map_extra", "pinning", "key_size", "value_size"];
    members.contains(&member) || matches!(member, "key" | "value" | "values" | "numa_node")
}

/// The map that the numbers at one symbol of a section `maps` define: `struct bpf_map_def`, perhaps with an id and
/// whether it is pinned.
pub(crate) fn legacy(name: &str, bytes: &[u8], big_endian: bool) -> Result<Map, Error> {
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .take(7)
        .filter_map(|word| word.try_into().ok())
        .map(|word| if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
        .collect();
    let [kind, key, value, entries, flags, rest @ ..] = words.as_slice() else {
        let what = format!("{} bytes are too few for a definition of 20", bytes.len());
        return Err(Error::Definition { map: name.to_owned(), what });
    };
    let slot = |bytes: u32| Slot { ty: None, bytes: bytes.into() };
    Ok(Map {
        kind: *kind,
        key: slot(*key),
        value: slot(*value),
        entries: (*entries).into(),
        flags: (*flags).into(),
        extra: 0,
        pinned: rest.get(1).is_some_and(|pinning| *pinning != 0),
    })
}
