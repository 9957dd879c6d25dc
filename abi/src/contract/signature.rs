//! The canonical text of a shape.
//!
//! One line for each field, indented by two spaces for each record that it lies in:
//!
//! ```text
//! Event
//!   size 120 align 8
//!   time_ns: u64 at 0 unit ns
//!   facts: Facts at 8
//!     size 80 align 8
//!     source: Address at 0
//!       size 16 align 8
//!       words: [u32; 4] at 0
//! ```
//!
//! Offsets count from the record that the field lies in. An integer of more than a byte ends in `be` on targets that
//! put the highest byte first.

use super::digest::SipHash;
use super::{Argument, Kind, Shape};

/// Where text goes: it is counted, kept as far as there is room, and hashed if wanted.
pub(super) struct Sink<'o> {
    out: &'o mut [u8],
    length: usize,
    hash: Option<SipHash>,
}

impl<'o> Sink<'o> {
    pub(super) const fn new(out: &'o mut [u8]) -> Self {
        Self { out, length: 0, hash: None }
    }

    pub(super) const fn length(&self) -> usize {
        self.length
    }

    pub(super) const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.length < self.out.len() {
            self.out[self.length] = byte;
        }
        self.length += 1;
        if let Some(hash) = &mut self.hash {
            hash.byte(byte);
        }
    }

    pub(super) const fn number(&mut self, value: u128) {
        let mut divisor = 1;
        while value / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            self.byte(b'0' + (value / divisor % 10) as u8);
            divisor /= 10;
        }
    }

    /// All 16 digits.
    pub(super) const fn hexadecimal(&mut self, value: u64) {
        let mut shift = 64;
        while shift > 0 {
            shift -= 4;
            let digit = (value >> shift & 15) as u8;
            self.byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }

    const fn indent(&mut self, depth: usize) {
        let mut left = depth;
        while left > 0 {
            self.text("  ");
            left -= 1;
        }
    }

    /// The name of a type, with those of its arguments.
    pub(super) const fn type_name(&mut self, shape: &Shape) {
        match shape.kind {
            Kind::Integer { signed } => {
                self.text(if signed { "i" } else { "u" });
                self.number(shape.size as u128 * 8);
                if cfg!(target_endian = "big") && shape.size > 1 {
                    self.text("be");
                }
            }
            Kind::Array { element, length } => {
                self.text("[");
                self.type_name(element);
                self.text("; ");
                self.number(length as u128);
                self.text("]");
            }
            Kind::Record { name, arguments, .. } => {
                self.text(name);
                self.arguments(arguments);
            }
        }
    }

    const fn arguments(&mut self, arguments: &[Argument]) {
        let mut at = 0;
        while at < arguments.len() {
            self.text(if at == 0 { "<" } else { ", " });
            match arguments[at] {
                Argument::Type { shape } => self.type_name(shape),
                Argument::Number { value } => {
                    if value < 0 {
                        self.text("-");
                    }
                    self.number(value.unsigned_abs());
                }
            }
            at += 1;
        }
        if at > 0 {
            self.text(">");
        }
    }

    const fn body(&mut self, shape: &Shape, depth: usize) {
        let Kind::Record { fields, .. } = shape.kind else { return };
        self.indent(depth);
        self.text("size ");
        self.number(shape.size as u128);
        self.text(" align ");
        self.number(shape.align as u128);
        self.text("\n");
        let mut at = 0;
        while at < fields.len() {
            let field = &fields[at];
            self.indent(depth);
            self.text(field.name);
            self.text(": ");
            self.type_name(field.shape);
            self.text(" at ");
            self.number(field.offset as u128);
            if let Some(unit) = field.unit {
                self.text(" unit ");
                self.text(unit);
            }
            self.text("\n");
            if let Some(record) = field.shape.record() {
                self.body(record, depth + 1);
            }
            at += 1;
        }
    }

    pub(super) const fn signature(&mut self, shape: &Shape) {
        self.type_name(shape);
        self.text("\n");
        if let Some(record) = shape.record() {
            self.body(record, 1);
        }
    }
}

impl Shape {
    /// 64 bits of the signature. Two different signatures share them with a chance of 2^-64; among 1,000 different
    /// contracts there is a pair that does with one of 2.7 × 10^-14.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        let mut sink = Sink { out: &mut [], length: 0, hash: Some(SipHash::new()) };
        sink.signature(self);
        match sink.hash {
            Some(hash) => hash.finish(),
            None => 0,
        }
    }

    /// Bytes of the signature.
    #[must_use]
    pub const fn signature_length(&self) -> usize {
        let mut sink = Sink::new(&mut []);
        sink.signature(self);
        sink.length
    }

    /// The signature, which has [`signature_length`](Self::signature_length) bytes: what is longer than `N` is cut off.
    #[must_use]
    pub const fn signature<const N: usize>(&self) -> [u8; N] {
        let mut out = [b'\n'; N];
        Sink::new(&mut out).signature(self);
        out
    }
}
