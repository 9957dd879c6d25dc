//! What an object says of its own views: text in a section that no kernel sees.
//!
//! The records beside the placeholders know a field by a number alone. Whoever has nothing but the object learns from
//! this text what those numbers stand for:
//!
//! ```text
//! view Task of task_struct
//!   pid: i32 = pid
//!   start: u64 = start_boottime | real_start_time
//!   in_execve: bits u8 = in_execve
//!   absent: optional u64 = gabion_was_here
//!   comm: [u8; 16] = comm
//!   can_loop: exists = function bpf_loop
//! ```

use crate::{Field, Kind, View};

/// The section.
pub const SECTION: &str = ".gabion.fields";

/// Bytes of the text of a view.
#[must_use]
pub const fn length(view: &View<'_>) -> usize {
    Writer::<0>::of(view).at
}

/// The text of a view, of [`length`] bytes.
#[must_use]
pub const fn text<const N: usize>(view: &View<'_>) -> [u8; N] {
    let written = Writer::<N>::of(view);
    assert!(written.at == N, "the text is as long as `length` says");
    written.bytes
}

/// Counts what it has no room for.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn of(view: &View<'_>) -> Self {
        let mut writer = Self { bytes: [0; N], at: 0 };
        writer.put("view ");
        writer.put(view.name);
        writer.put(" of ");
        writer.put(view.of);
        writer.put("\n");
        let mut field = 0;
        while field < view.fields.len() {
            writer.field(&view.fields[field]);
            field += 1;
        }
        writer
    }

    const fn field(&mut self, field: &Field<'_>) {
        self.put("  ");
        self.put(field.name);
        self.put(": ");
        if field.is_optional {
            self.put("optional ");
        }
        if field.is_bits {
            self.put("bits ");
        }
        match field.kind {
            Kind::Unsigned => self.number("u", field.size * 8),
            Kind::Signed => self.number("i", field.size * 8),
            Kind::Address => self.put("address"),
            Kind::Existence => self.put("exists"),
            Kind::Bytes => {
                self.number("[u8; ", field.size);
                self.put("]");
            }
        }
        self.put(" = ");
        self.put(field.path);
        self.put("\n");
    }

    const fn number(&mut self, before: &str, number: u32) {
        self.put(before);
        let mut unit = 1;
        while number / unit >= 10 {
            unit *= 10;
        }
        while unit > 0 {
            self.byte(b'0' + (number / unit % 10) as u8);
            unit /= 10;
        }
    }

    const fn put(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.at < N {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
    }
}
