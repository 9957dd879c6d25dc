//! Named texts, and places in them.

use std::ops::Range;
use std::sync::Arc;

use gabion_policy_model::set::Location;

use crate::diagnostic::Diagnostic;
use crate::names;

/// A text with the name that errors call it by.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Usually the path.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// The name without folders and without what follows the last dot, fit to begin a rule's name.
    pub(crate) fn stem(&self, otherwise: &str) -> String {
        let file = self.name.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = match file.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem,
            _ => file,
        };
        // Room for the number of the rule.
        names::fit(stem, names::RULE_NAME_LIMIT - 12, otherwise)
    }
}

/// A source with its lines counted.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    pub name: Arc<str>,
    pub text: &'a str,
    starts: Vec<usize>,
}

/// Characters of offending text that an error repeats.
const EXCERPT_CHARS: usize = 80;

impl<'a> Lines<'a> {
    pub fn new(source: &Source<'a>) -> Self {
        let starts = std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: source.name.into(), text: source.text, starts }
    }

    /// The place of a range of bytes; out of range it is the end of the text.
    pub fn locate(&self, range: Range<usize>) -> Location {
        let offset = range.start.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        Location {
            source: Arc::clone(&self.name),
            offset,
            length: range.end.min(self.text.len()).saturating_sub(offset),
            line: line as u32,
            column: before.chars().count() as u32 + 1,
        }
    }

    /// Byte offset of a line (from 1) and a column (from 0, in characters).
    pub fn offset_of(&self, line: usize, column: usize) -> usize {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    pub fn diagnose(&self, range: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        let location = self.locate(range);
        let text = self.text.get(location.offset..location.offset + location.length).unwrap_or_default();
        Diagnostic { text: excerpt(text), location, message: printable(&message.into()), remedy: remedy.into() }
    }
}

/// Text from outside without what would steer a terminal.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}")
}

/// The first line of a text, cut to a length that fits on a terminal.
fn excerpt(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", printable(&line[..end])),
        None => printable(line),
    }
}
