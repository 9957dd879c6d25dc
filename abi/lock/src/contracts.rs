//! Contracts to a lock: they know units, and what a map is asked by and holds.

use gabion_contracts::{Contracts, Layout, Place, Type as Said};

use crate::error::Error;
use crate::model::{Field, Lock, Record, Slot, Type};
use crate::parse;

impl Lock {
    /// Adds what contracts say, without maps and globals: how many entries those have is said by an object alone.
    pub(crate) fn add(&mut self, contracts: &Contracts) {
        self.sets.insert(contracts.name.clone(), contracts.version);
        contracts.records.iter().for_each(|record| self.layout(&record.layout));
        self.services.extend(contracts.services.iter().map(|service| (service.name.clone(), service.clone())));
    }

    fn layout(&mut self, layout: &Layout) {
        if self.records.contains_key(&layout.name) {
            return;
        }
        let fields = layout.fields.iter().map(|field| Field {
            name: field.name.clone(),
            bit: field.offset.saturating_mul(8),
            width: None,
            unit: field.unit.clone(),
            ty: said(&field.ty),
        });
        let record = Record { union: false, size: layout.size, align: Some(layout.align), fields: fields.collect() };
        self.records.insert(layout.name.clone(), record);
        layout.fields.iter().filter_map(|field| field.ty.record()).for_each(|inner| self.layout(inner));
    }

    /// Gives a map the types that a contract knows.
    pub(crate) fn place(&mut self, place: &Place) -> Result<(), Error> {
        let Some(map) = self.maps.get(&place.name) else { return Ok(()) };
        let typed = |what: &str, slot: &Slot, spelled: &str| {
            let ty = spelled_type(spelled);
            match self.size(&ty) {
                // The map of a ring has no size for what it carries.
                Some(bytes) if slot.bytes == 0 || bytes == slot.bytes => Ok(Slot { ty: Some(ty), bytes: slot.bytes }),
                found => Err(Error::Definition {
                    map: place.name.clone(),
                    what: format!("its {what} has {} bytes, and {spelled} has {}", slot.bytes, found.unwrap_or(0)),
                }),
            }
        };
        let key = place.key.as_ref().map(|key| typed("key", &map.key, key)).transpose()?;
        let value = typed("value", &map.value, &place.value)?;
        if let Some(map) = self.maps.get_mut(&place.name) {
            map.value = value;
            map.key = key.unwrap_or_else(|| map.key.clone());
        }
        Ok(())
    }
}

fn said(ty: &Said) -> Type {
    match ty {
        Said::Integer { signed, bytes, big } => Type::Integer { signed: *signed, bytes: *bytes, big: *big },
        Said::Array { element, length } => Type::Array { element: Box::new(said(element)), length: *length },
        Said::Record(layout) => Type::Record(layout.name.clone()),
    }
}

/// A type as contracts spell it: a record is its bare name. It was checked when the contracts were read.
fn spelled_type(text: &str) -> Type {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some((element, length)) = inner.and_then(|inner| inner.rsplit_once("; "))
        && let Ok(length) = length.parse()
    {
        return Type::Array { element: Box::new(spelled_type(element)), length };
    }
    match parse::ty(text, 1) {
        Ok(ty @ Type::Integer { .. }) => ty,
        _ => Type::Record(text.to_owned()),
    }
}
