//! Offsets in a source → lines and columns.

use std::sync::Arc;

use crate::finding::{Code, Finding, excerpt};
use crate::set::Location;

/// Bytes of a source, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

/// Characters between two checkpoints of a source that is not ASCII.
const STRIDE: usize = 128;

/// A source with what is needed to find a line quickly.
pub(crate) struct Place<'s> {
    pub name: Arc<str>,
    pub text: &'s str,
    lines: Vec<u32>,
    /// Byte offset of every [`STRIDE`]th character; empty for ASCII, where they are the same.
    checkpoints: Vec<u32>,
}

impl<'s> Place<'s> {
    /// Looks through the text once. Longer sources than `u32::MAX` are refused before they get here.
    pub fn new(name: Arc<str>, text: &'s str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at as u32 + 1)).collect();
        let checkpoints = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(STRIDE).map(|(at, _)| at as u32).collect()
        };
        Self { name, text, lines, checkpoints }
    }

    /// Byte offset of a character by its number.
    pub fn byte(&self, character: usize) -> u32 {
        let byte = if self.checkpoints.is_empty() {
            character
        } else {
            let checkpoint = (character / STRIDE).min(self.checkpoints.len() - 1);
            let start = self.checkpoints[checkpoint] as usize;
            let rest = &self.text[start..];
            start + rest.char_indices().nth(character - checkpoint * STRIDE).map_or(rest.len(), |(at, _)| at)
        };
        byte.min(self.text.len()) as u32
    }

    fn character(&self, byte: u32) -> usize {
        if self.checkpoints.is_empty() {
            return byte as usize;
        }
        let checkpoint = self.checkpoints.partition_point(|&at| at <= byte).saturating_sub(1);
        let start = self.checkpoints[checkpoint] as usize;
        checkpoint * STRIDE + self.text[start..byte as usize].chars().count()
    }

    fn line_index(&self, byte: u32) -> usize {
        self.lines.partition_point(|&start| start <= byte) - 1
    }

    /// First byte of the line that a byte is in.
    pub fn line_start(&self, byte: u32) -> u32 {
        self.lines[self.line_index(byte)]
    }

    /// The line that a byte is in, without its break.
    pub fn line_of(&self, byte: u32) -> &'s str {
        let rest = &self.text[self.line_start(byte) as usize..];
        rest.split('\n').next().unwrap_or(rest)
    }

    /// A span without blanks, breaks and comments at its end.
    pub fn trim(&self, span: Span) -> Span {
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        Span { start: span.start, end: span.start + text.trim_end().len() as u32 }
    }

    /// The first line of a span: enough to point at a map.
    pub fn first_line(&self, span: Span) -> Span {
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        let line = text.split('\n').next().unwrap_or("").trim_end();
        Span { start: span.start, end: span.start + line.len() as u32 }
    }

    /// Line and column of a span.
    pub fn locate(&self, span: Span) -> Location {
        let line = self.line_index(span.start);
        Location {
            source: Arc::clone(&self.name),
            offset: span.start as usize,
            length: span.end.saturating_sub(span.start) as usize,
            line: line as u32 + 1,
            column: (self.character(span.start) - self.character(self.lines[line])) as u32 + 1,
        }
    }

    /// A finding at a span, with the text there.
    pub fn finding(&self, code: Code, span: Span, message: impl Into<String>) -> Finding {
        let mut finding = Finding::new(code, self.locate(span), message);
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        finding.text = excerpt(text);
        finding
    }
}
