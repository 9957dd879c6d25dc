//! YAML documents (and so JSON) as trees whose nodes know their place.
//!
//! The limits are against texts that are small and trees that are not: nesting, and aliases that
//! repeat what they stand for.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::diagnostic::Diagnostic;
use crate::source::Lines;

/// How deep lists and maps may nest.
const DEPTH_LIMIT: usize = 64;
/// How many nodes the aliases of one text may stand for together.
const ALIASED_LIMIT: usize = 100_000;

/// A node of a document.
#[derive(Debug)]
pub(crate) struct Node {
    pub value: Value,
    /// Bytes of the source.
    pub range: Range<usize>,
    /// Nodes in this tree, itself included.
    weight: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// Nothing was written, or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What kind of thing it is, for errors.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
        }
    }
}

/// A list or a map that is not complete yet.
struct Open {
    start: usize,
    anchor: usize,
    weight: usize,
    mapping: bool,
    children: Vec<Rc<Node>>,
}

/// The documents of a text; empty ones are left out.
pub(crate) fn documents(lines: &Lines<'_>) -> Result<Vec<Rc<Node>>, Diagnostic> {
    let mut composer = Composer { lines, open: Vec::new(), anchors: HashMap::new(), aliased: 0, roots: Vec::new() };
    for event in Parser::new_from_str(lines.text) {
        match event {
            Ok((event, span)) => composer.take(event, span)?,
            Err(error) => {
                let at = lines.offset_of(error.marker().line(), error.marker().col());
                let rest = lines.text[at..].lines().next().unwrap_or_default().len();
                return Err(lines.diagnose(
                    at..at + rest,
                    format!("not YAML: {}", error.info()),
                    "correct the text; a value with special characters wants quotes",
                ));
            }
        }
    }
    composer.roots.retain(|root| !root.is_null());
    Ok(composer.roots)
}

struct Composer<'l, 'a> {
    lines: &'l Lines<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    aliased: usize,
    roots: Vec<Rc<Node>>,
}

impl Composer<'_, '_> {
    fn range(&self, span: Span) -> Range<usize> {
        let start = self.lines.offset_of(span.start.line(), span.start.col());
        start..self.lines.offset_of(span.end.line(), span.end.col()).max(start)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                let node = Node { value, range: self.range(span), weight: 1 };
                self.place(node, anchor);
            }
            Event::SequenceStart(anchor, _) => self.begin(span, anchor, false)?,
            Event::MappingStart(anchor, _) => self.begin(span, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, mapping: bool) -> Result<(), Diagnostic> {
        let range = self.range(span);
        if self.open.len() == DEPTH_LIMIT {
            return Err(self.lines.diagnose(
                range,
                format!("lists and maps nest deeper than {DEPTH_LIMIT}"),
                "no object that is read here nests so deep; remove the nesting",
            ));
        }
        self.open.push(Open { start: range.start, anchor, weight: 1, mapping, children: Vec::new() });
        Ok(())
    }

    fn end(&mut self, span: Span) {
        // The parser balances starts and ends.
        let Some(open) = self.open.pop() else { return };
        let value = if open.mapping {
            let mut children = open.children.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                pairs.push((key, value));
            }
            Value::Mapping(pairs)
        } else {
            Value::Sequence(open.children)
        };
        let end = self.range(span).end.max(open.start);
        self.place(Node { value, range: open.start..end, weight: open.weight }, open.anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        let range = self.range(span);
        let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
            return Err(self.lines.diagnose(range, "no such anchor before this place", "write the value itself"));
        };
        self.aliased += node.weight;
        if self.aliased > ALIASED_LIMIT {
            return Err(self.lines.diagnose(
                range,
                format!("the aliases stand for more than {ALIASED_LIMIT} values"),
                "write the values themselves",
            ));
        }
        self.attach(node);
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
    }

    fn attach(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            Some(open) => {
                open.weight = open.weight.saturating_add(node.weight);
                open.children.push(node);
            }
            None => self.roots.push(node),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::documents;
    use crate::source::{Lines, Source};

    fn read(text: &str) -> Result<usize, String> {
        let lines = Lines::new(&Source { name: "t.yaml", text });
        documents(&lines).map(|documents| documents.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_documents_are_left_out() {
        assert_eq!(read("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n"), Ok(2));
        assert_eq!(read(""), Ok(0));
    }

    #[test]
    fn deep_nesting_is_refused_before_it_can_overflow_a_stack() {
        let error = read(&"[".repeat(200)).unwrap_err();
        assert!(error.contains("nest deeper than 64"), "{error}");
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let error = read(&text).unwrap_err();
        assert!(error.contains("aliases stand for more than 100000"), "{error}");
    }

    #[test]
    fn a_place_behind_multi_byte_characters_is_counted_in_characters() {
        let error = read("a: \"äöü\" b\n").unwrap_err();
        assert!(error.starts_with("t.yaml:1:"), "{error}");
    }
}
