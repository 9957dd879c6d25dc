//! YAML → a tree in which every key and value knows its place.
//!
//! Only what policies need: maps with text keys, lists and scalars. Anchors, aliases and tags are
//! refused, so that no document can grow while it is read; depth and size are bounded.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::place::{Place, Span};
use crate::finding::{Code, Finding, excerpt, quote};

/// Bytes of one source.
pub const SOURCE_LIMIT: usize = 64 << 20;
/// Maps and lists inside each other.
pub const DEPTH_LIMIT: usize = 32;
/// Keys, values, maps and lists of one source.
pub const NODE_LIMIT: usize = 4 << 20;

/// Keys of a map that are compared with each other more quickly than they are hashed. Nearly all maps have no more.
const FEW: usize = 16;

#[derive(Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub span: Span,
    pub text: Box<str>,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Text as written (plain) or between quotes.
    Scalar { text: Box<str>, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the text, each key once.
    Map(Vec<(Key, Node)>),
}

/// What a plain scalar is by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Integer,
    Float,
    Text,
}

/// Resolves a plain scalar.
pub(crate) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |digits: &str, test: fn(&char) -> bool| !digits.is_empty() && digits.chars().all(|c| test(&c));
    if all(unsigned, char::is_ascii_digit)
        || text.strip_prefix("0x").is_some_and(|digits| all(digits, char::is_ascii_hexdigit))
        || text.strip_prefix("0o").is_some_and(|digits| all(digits, |c| matches!(c, '0'..='7')))
    {
        return Plain::Integer;
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || (numeric && unsigned.parse::<f64>().is_ok()) {
        return Plain::Float;
    }
    Plain::Text
}

enum Open {
    List(Vec<Node>),
    Map { pairs: Vec<(Key, Node)>, key: Option<Option<Key>> },
}

/// Reads all documents of a source, one after the other. What is wrong is reported; documents
/// before a syntax error are still handed on. Gives the number of nodes.
pub(crate) fn read(
    place: &Place<'_>,
    findings: &mut Vec<Finding>,
    mut each: impl FnMut(&Node, &mut Vec<Finding>),
) -> usize {
    if place.text.len() > SOURCE_LIMIT {
        let message = format!("{} bytes are more than the {SOURCE_LIMIT} that one source may have", place.text.len());
        let finding = Finding::new(Code::TooLarge, place.locate(Span { start: 0, end: 0 }), message);
        findings.push(finding.help("split it into several files"));
        return 0;
    }
    let mut builder = Builder { place, findings, open: Vec::new(), nodes: 0, refused: false };
    let mut parser = Parser::new_from_str(place.text);
    while let Some(next) = parser.next_event() {
        let (event, at) = match next {
            Ok(event) => event,
            Err(error) => {
                let offset = place.byte(error.marker().index());
                builder.syntax(error.info(), offset);
                return builder.nodes;
            }
        };
        let span = Span { start: place.byte(at.start.index()), end: place.byte(at.end.index()) };
        match builder.event(event, span) {
            Step::Document(node) => {
                if !std::mem::take(&mut builder.refused) {
                    each(&node, builder.findings);
                }
            }
            Step::More => {}
            Step::Stop => return builder.nodes,
        }
    }
    builder.nodes
}

enum Step {
    More,
    Document(Node),
    Stop,
}

struct Builder<'p, 'f> {
    place: &'p Place<'p>,
    findings: &'f mut Vec<Finding>,
    open: Vec<(Span, Open)>,
    nodes: usize,
    /// The document at hand has something that stands for an unknown value.
    refused: bool,
}

impl Builder<'_, '_> {
    fn report(&mut self, code: Code, span: Span, message: String, help: &str) {
        let finding = self.place.finding(code, span, message);
        self.findings.push(if help.is_empty() { finding } else { finding.help(help) });
    }

    fn syntax(&mut self, info: &str, offset: u32) {
        let line = self.place.line_of(offset);
        let before = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        let (span, help) = if before.contains('\t') {
            let start = self.place.line_start(offset) + before.find('\t').unwrap_or(0) as u32;
            (Span { start, end: start + 1 }, "YAML indents with spaces; replace the tab")
        } else {
            (Span { start: offset, end: offset }, "check indentation, quotes and brackets here and in the line above")
        };
        let mut finding = self.place.finding(Code::Syntax, span, format!("this is not YAML: {info}")).help(help);
        // The place is a point, often behind what is wrong: the line is what can be shown.
        finding.text = excerpt(line.trim());
        self.findings.push(finding);
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            self.report(Code::Alias, span, "anchors are not used in policies".into(), "write the value out");
        }
        if tag {
            self.report(Code::Alias, span, "tags are not used in policies".into(), "leave the tag out");
        }
        match event {
            Event::Alias(_) => {
                self.report(Code::Alias, span, "aliases are not used in policies".into(), "write the value out");
                self.refused = true;
                self.place_node(Node { span, value: Value::List(Vec::new()) })
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let span = self.place.trim(span);
                self.place_node(Node { span, value: Value::Scalar { text: text.into(), plain } })
            }
            Event::SequenceStart(..) => self.enter(span, Open::List(Vec::new())),
            Event::MappingStart(..) => self.enter(span, Open::Map { pairs: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            _ => Step::More,
        }
    }

    fn count(&mut self, span: Span) -> bool {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            let message = format!("more than {NODE_LIMIT} keys and values in one source");
            self.report(Code::TooLarge, span, message, "split it into several files");
            return false;
        }
        true
    }

    fn enter(&mut self, span: Span, open: Open) -> Step {
        if self.open.len() >= DEPTH_LIMIT {
            let message = format!("more than {DEPTH_LIMIT} maps and lists inside each other");
            self.report(Code::TooLarge, span, message, "no policy is nested so deeply");
            return Step::Stop;
        }
        if !self.count(span) {
            return Step::Stop;
        }
        self.open.push((span, open));
        Step::More
    }

    fn leave(&mut self, end: Span) -> Step {
        let Some((start, open)) = self.open.pop() else { return Step::More };
        let value = match open {
            Open::List(items) => Value::List(items),
            Open::Map { pairs, .. } => Value::Map(self.unique(pairs)),
        };
        let span = self.place.trim(Span { start: start.start, end: end.end.max(start.start) });
        self.attach(Node { span, value })
    }

    fn place_node(&mut self, node: Node) -> Step {
        if self.count(node.span) { self.attach(node) } else { Step::Stop }
    }

    fn attach(&mut self, node: Node) -> Step {
        match self.open.last_mut() {
            None => return Step::Document(node),
            Some((_, Open::List(items))) => items.push(node),
            Some((_, Open::Map { pairs, key })) => match key.take() {
                Some(Some(key)) => pairs.push((key, node)),
                Some(None) => {}
                None => {
                    let (key_node, span) = match node.value {
                        Value::Scalar { text, plain } if !plain || resolve(&text) == Plain::Text => {
                            (Some(Key { span: node.span, text }), None)
                        }
                        _ => (None, Some(node.span)),
                    };
                    *key = Some(key_node);
                    if let Some(span) = span {
                        self.report(Code::KeyNotText, span, "this key is not text".into(), "put it in quotes");
                    }
                }
            },
        }
        Step::More
    }

    fn unique(&mut self, pairs: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let mut repeated = Vec::new();
        if pairs.len() <= FEW {
            for (index, (key, _)) in pairs.iter().enumerate() {
                let earlier = pairs[..index].iter().find(|(earlier, _)| earlier.text == key.text);
                repeated.extend(earlier.map(|(earlier, _)| (index, earlier.span)));
            }
        } else {
            let mut first: HashMap<&str, Span> = HashMap::with_capacity(pairs.len());
            for (index, (key, _)) in pairs.iter().enumerate() {
                if let Some(&earlier) = first.get(&*key.text) {
                    repeated.push((index, earlier));
                } else {
                    first.insert(&key.text, key.span);
                }
            }
        }
        if repeated.is_empty() {
            return pairs;
        }
        let mut drop = vec![false; pairs.len()];
        for (index, earlier) in repeated {
            let key = &pairs[index].0;
            drop[index] = true;
            let finding = self
                .place
                .finding(Code::DuplicateKey, key.span, format!("the key {} stands twice", quote(&key.text)))
                .label("again here")
                .related(self.place.locate(earlier), "first here")
                .help("keep one of the two");
            self.findings.push(finding);
        }
        pairs.into_iter().zip(drop).filter(|(_, drop)| !drop).map(|(pair, _)| pair).collect()
    }
}
