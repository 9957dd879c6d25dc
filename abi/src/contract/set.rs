//! What one side has to say: records, where they lie, and services.

use core::marker::PhantomData;

use super::signature::Sink;
use super::{Contract, Service, Shape};

/// Section of an object that holds the text of its [`Set`].
pub const SECTION: &str = ".gabion.contracts";

/// A map, or a global, and what lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// What it is, one word.
    pub kind: &'static str,
    /// What it is asked by, if not by a number.
    pub key: Option<&'static Shape>,
    /// What it holds.
    pub value: &'static Shape,
}

impl Place {
    /// A map of values by number, a ring, or memory.
    #[must_use]
    pub const fn of<V: Contract>(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind, key: None, value: V::SHAPE }
    }

    /// A map of values by key.
    #[must_use]
    pub const fn keyed<K: Contract, V: Contract>(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind, key: Some(K::SHAPE), value: V::SHAPE }
    }
}

/// The word for a map of one element that both sides address as memory: records of one type, one behind the other.
const MEMORY: &str = "memory";

/// Such a map, and the type of its records. Whoever opens it by this name gets these, and no others.
#[derive(Debug)]
pub struct Memory<T> {
    name: &'static str,
    records: PhantomData<fn() -> T>,
}

impl<T: Contract> Memory<T> {
    /// The map of that name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, records: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// As one of the places of a [`Set`].
    #[must_use]
    pub const fn place(&self) -> Place {
        Place::of::<T>(self.name, MEMORY)
    }
}

/// All that one side says. Its text begins with the version of this form, and each record with its digest:
///
/// ```text
/// gabion contracts 1
/// set object version 1
/// contract 5be2a9bd84bb5d0a Count
///   size 16 align 8
///   packets: u64 at 0 unit packets
///   bytes: u64 at 8 unit bytes
/// map RULES memory of Count
/// map LOCAL hash of LocalKey to u8
/// service events version 1 of Event
/// ```
///
/// Maps and services name records that the same text declares.
#[derive(Clone, Copy, Debug)]
pub struct Set<'s> {
    /// What it is about, one word.
    pub name: &'s str,
    /// Raised by hand when what it means changes and nothing below does.
    pub version: u32,
    /// Records, each once, no two of one name.
    pub records: &'s [&'static Shape],
    /// Maps and globals.
    pub places: &'s [Place],
    /// Services.
    pub services: &'s [Service],
}

impl Set<'_> {
    /// Bytes of the text.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.write(&mut [])
    }

    /// The text, which has [`length`](Self::length) bytes: what is longer than `N` is cut off.
    #[must_use]
    pub const fn text<const N: usize>(&self) -> [u8; N] {
        let mut out = [b'\n'; N];
        self.write(&mut out);
        out
    }

    /// Writes the text, as far as there is room; how long it is.
    pub const fn write(&self, out: &mut [u8]) -> usize {
        // A constant evaluator takes its time over a digest, and who only counts needs none.
        let counting = out.is_empty();
        let mut sink = Sink::new(out);
        sink.text("gabion contracts 1\nset ");
        sink.text(self.name);
        sink.text(" version ");
        sink.number(self.version as u128);
        sink.text("\n");
        let mut at = 0;
        while at < self.records.len() {
            sink.text("contract ");
            sink.hexadecimal(if counting { 0 } else { self.records[at].digest() });
            sink.text(" ");
            sink.signature(self.records[at]);
            at += 1;
        }
        at = 0;
        while at < self.places.len() {
            place(&mut sink, &self.places[at]);
            at += 1;
        }
        at = 0;
        while at < self.services.len() {
            let service = &self.services[at];
            sink.text("service ");
            sink.text(service.name);
            sink.text(" version ");
            sink.number(service.version as u128);
            sink.text(" of ");
            sink.type_name(service.payload);
            sink.text("\n");
            at += 1;
        }
        sink.length()
    }
}

const fn place(sink: &mut Sink<'_>, place: &Place) {
    sink.text("map ");
    sink.text(place.name);
    sink.text(" ");
    sink.text(place.kind);
    sink.text(" of ");
    if let Some(key) = place.key {
        sink.type_name(key);
        sink.text(" to ");
    }
    sink.type_name(place.value);
    sink.text("\n");
}
