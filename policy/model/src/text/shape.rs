//! What stands where: the one table that text is checked against, that the JSON Schema and the
//! reference page are made from, and the check itself.
//!
//! The check finds what is wrong with keys and types, everywhere at once. Decoding then looks at
//! what the values say, and passes over what the check refused.

use super::form::Form;
use super::place::{Place, Span};
use super::tree::{Key, Node, Plain, Value, resolve};
use crate::finding::{Code, Finding, list, nearest, quote};

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    Text(&'static Form),
    Integer {
        min: u64,
        max: u64,
    },
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list; with a remedy when it may not be empty.
    List {
        of: &'static Shape,
        empty: Option<&'static str>,
    },
    /// A map with keys of the user's, which `key` says in the plural.
    Table {
        key: &'static str,
        keys: &'static Form,
        value: &'static Shape,
    },
    /// A map with these keys.
    Record(&'static Record),
    /// The first that takes a scalar, a list or a map, whichever is there.
    Either(&'static [Shape]),
}

/// A map with known keys.
#[derive(Debug)]
pub(crate) struct Record {
    /// Name in the schema and the reference.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub doc: &'static str,
    pub fields: &'static [Field],
    /// Groups of keys of which exactly one group must be there; empty for no such rule.
    pub groups: &'static [&'static [&'static str]],
    /// What else the schema says, as the keywords of JSON Schema; the decoder is what decides.
    pub also: &'static str,
}

/// A key of a [`Record`].
#[derive(Debug)]
pub(crate) struct Field {
    pub key: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub doc: &'static str,
}

/// Keys that other policy languages have in places where ours are named differently.
const FOREIGN: &[(&str, &str)] = &[
    ("podSelector", "write `subject`, or `labels` in a peer"),
    ("namespaceSelector", "write `namespaces`"),
    ("ipBlock", "write `cidr` and `except`"),
    ("policyTypes", "leave a direction out to leave it alone; an empty list isolates"),
    ("endPort", "write a range in `ports`, as in \"8000-8100\""),
    ("port", "write `ports`"),
    ("peers", "write `from` or `to`"),
    ("priority", "write `order`; lower is consulted first"),
    ("selector", "write `subject`"),
    ("ipAddresses", "write `addresses`"),
    ("ethertype", "write `etherType`"),
    ("protocols", "write `protocol`; it takes a list"),
    ("service", "write `services`, a list"),
    ("vlans", "write `vlan`; it takes a list"),
];

/// Words that other policy languages have, and what to write here.
const FOREIGN_WORDS: &[(&str, &str)] = &[
    ("drop", "write deny"),
    ("reject", "write deny; nothing is answered"),
    ("accept", "write allow"),
    ("permit", "write allow"),
    ("log", "write `log: true` in the rule"),
];

/// Words that a message lists; more are listed in the remedy.
const WORDS_IN_MESSAGE: usize = 6;

impl Record {
    /// As a message writes it: `a cluster rule`, without the article.
    pub fn said(&self) -> String {
        let mut said = String::new();
        for c in self.name.trim_end_matches("Spec").chars() {
            if c.is_ascii_uppercase() && !said.is_empty() {
                said.push(' ');
            }
            said.push(c.to_ascii_lowercase());
        }
        said
    }

    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

impl Shape {
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Text(_) | Self::Integer { .. } | Self::Bool | Self::Word(_) => matches!(value, Value::Scalar { .. }),
            Self::List { .. } => matches!(value, Value::List(_)),
            Self::Table { .. } | Self::Record(_) => matches!(value, Value::Map(_)),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.takes(value)),
        }
    }

    /// To stand behind "must be".
    pub fn describe(&self) -> String {
        match self {
            Self::Text(form) => form.what.to_owned(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Word([word]) => format!("the word `{word}`"),
            Self::Word(words) if words.len() > WORDS_IN_MESSAGE => format!("one of {} words", words.len()),
            Self::Word(words) => format!("one of {}", list(words.iter().copied())),
            Self::List { of: Self::Record(record), .. } => format!("a list of {}", plural(&record.said())),
            Self::List { of, .. } => format!("a list of which each is {}", of.describe()),
            Self::Table { key, value, .. } => format!("a map from {key} to {}", value.describe()),
            Self::Record(record) => format!("a map with keys of {}", list(record.fields.iter().map(|f| f.key))),
            Self::Either(shapes) => {
                // A list of the same is said in fewer words.
                if let [one, Self::List { .. }] = shapes
                    && matches!(one, Self::Text(_))
                {
                    return format!("{}, or a list of such", one.describe());
                }
                shapes.iter().map(Self::describe).collect::<Vec<_>>().join(", or ")
            }
        }
    }
}

fn plural(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{name}s"),
    }
}

fn found(node: &Node) -> &'static str {
    match &node.value {
        Value::Scalar { text, plain: true } => match resolve(text) {
            Plain::Null => "nothing",
            Plain::Bool(_) => "true or false",
            Plain::Integer => "a number",
            Plain::Float => "a decimal number",
            Plain::Text => "text",
        },
        Value::Scalar { .. } => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// Checks a value against its shape. `name` is the key it stands under.
pub(crate) fn check(place: &Place<'_>, node: &Node, shape: &Shape, name: &str, findings: &mut Vec<Finding>) {
    Check { place, findings }.value(node, shape, name);
}

struct Check<'a, 's> {
    place: &'a Place<'s>,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_, '_> {
    fn report(&mut self, code: Code, span: Span, message: String, help: Option<String>) {
        let mut finding = self.place.finding(code, span, message);
        finding.help = help;
        self.findings.push(finding);
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape, name: &str) {
        let span = self.place.first_line(node.span);
        let message = format!("{} is {}, and must be {}", quote(name), found(node), shape.describe());
        self.report(Code::WrongType, span, message, None);
    }

    fn value(&mut self, node: &Node, shape: &Shape, name: &str) {
        if let Value::Scalar { text, plain: true } = &node.value
            && resolve(text) == Plain::Null
        {
            let message = format!("{} has no value; it must be {}", quote(name), shape.describe());
            self.report(Code::NoValue, node.span, message, Some(format!("write a value, or leave `{name}` out")));
            return;
        }
        match (shape, &node.value) {
            (Shape::Either(shapes), value) => match shapes.iter().find(|shape| shape.takes(value)) {
                Some(taken) => self.value(node, taken, name),
                None => self.wrong_type(node, shape, name),
            },
            (_, value) if !shape.takes(value) => self.wrong_type(node, shape, name),
            (Shape::Record(record), Value::Map(pairs)) => self.record(node, pairs, record),
            (Shape::Table { value: shape, .. }, Value::Map(pairs)) => {
                for (key, value) in pairs {
                    self.value(value, shape, &key.text);
                }
            }
            (Shape::List { of, empty }, Value::List(items)) => {
                if items.is_empty()
                    && let Some(help) = empty
                {
                    let message = format!("{} is an empty list", quote(name));
                    self.report(Code::EmptyList, node.span, message, Some((*help).to_owned()));
                }
                for item in items {
                    self.value(item, of, name);
                }
            }
            (_, Value::Scalar { text, plain }) => self.scalar(node, text, *plain, shape, name),
            _ => {}
        }
    }

    fn scalar(&mut self, node: &Node, text: &str, plain: bool, shape: &Shape, name: &str) {
        let kind = if plain { resolve(text) } else { Plain::Text };
        match shape {
            Shape::Text(form) if kind != Plain::Text && !(form.is_number() && kind == Plain::Integer) => {
                let message = format!("{} is {}, and must be {}", quote(name), found(node), form.what);
                let help = form.quotable.then(|| format!("put it in quotes: \"{text}\""));
                self.report(Code::WrongType, node.span, message, help);
            }
            Shape::Bool if !matches!(kind, Plain::Bool(_)) => {
                let meant = match (text.to_ascii_lowercase().as_str(), plain) {
                    ("yes" | "on" | "true", _) => Some("write true, without quotes".to_owned()),
                    ("no" | "off" | "false", _) => Some("write false, without quotes".to_owned()),
                    _ => None,
                };
                let message = format!("{} must be `true` or `false`, not {}", quote(name), quote(text));
                self.report(Code::WrongType, node.span, message, meant);
            }
            Shape::Integer { min, max } => {
                if kind != Plain::Integer {
                    let message = format!("{} must be {}, not {}", quote(name), shape.describe(), found(node));
                    let help = (resolve(text) == Plain::Integer).then(|| format!("leave the quotes out: {text}"));
                    self.report(Code::WrongType, node.span, message, help);
                } else if !integer(text).is_some_and(|number| (*min..=*max).contains(&number)) {
                    let message = format!("{} must be {}, and is {}", quote(name), shape.describe(), quote(text));
                    self.report(Code::OutOfRange, node.span, message, None);
                }
            }
            Shape::Word(words) if kind != Plain::Text || !words.contains(&text) => {
                let message = format!("{} must be {}, not {}", quote(name), shape.describe(), quote(text));
                if text == "pass" && words.contains(&"audit") && words.contains(&"deny") {
                    let help = "a Policy stands in no tier; allow, deny or audit here, or write a ClusterPolicy";
                    self.report(
                        Code::Pass,
                        node.span,
                        "only a ClusterPolicy can pass to the next tier".to_owned(),
                        Some(help.to_owned()),
                    );
                    return;
                }
                let foreign = FOREIGN_WORDS.iter().find(|(word, _)| words.contains(&"deny") && *word == text);
                let meant = nearest(text, words.iter().copied())
                    .map(|word| format!("did you mean `{word}`?"))
                    .or(foreign.map(|(_, help)| (*help).to_owned()))
                    .or((words.len() > WORDS_IN_MESSAGE)
                        .then(|| format!("the words are {}", list(words.iter().copied()))));
                self.report(Code::UnknownWord, node.span, message, meant);
            }
            _ => {}
        }
    }

    fn record(&mut self, node: &Node, pairs: &[(Key, Node)], record: &Record) {
        let mut meant = Vec::new();
        for (key, value) in pairs {
            match record.field(&key.text) {
                Some(field) => self.value(value, &field.shape, field.key),
                None => {
                    // What stands under a misspelt key is checked as what was meant.
                    if let Some(field) = self.unknown_key(key, record) {
                        self.value(value, &field.shape, field.key);
                        meant.push(field.key);
                    }
                }
            }
        }
        let there = |wanted: &str| meant.contains(&wanted) || pairs.iter().any(|(key, _)| &*key.text == wanted);
        for field in record.fields.iter().filter(|field| field.required && !there(field.key)) {
            let message = format!("this {} has no `{}`", record.said(), field.key);
            let help = format!("add `{}`: {}", field.key, field.doc);
            self.report(Code::MissingKey, self.place.first_line(node.span), message, Some(help));
        }
        if record.groups.is_empty() {
            return;
        }
        let named: Vec<_> = record
            .groups
            .iter()
            .filter_map(|group| pairs.iter().find(|(key, _)| group.contains(&&*key.text)))
            .collect();
        if named.is_empty() && !meant.is_empty() {
            return;
        }
        let keys = list(record.groups.iter().map(|group| group[0]));
        if let [first, second, ..] = named[..] {
            let message = format!(
                "one {} is of one kind, not of {} and {}",
                record.said(),
                quote(&first.0.text),
                quote(&second.0.text)
            );
            let finding = self
                .place
                .finding(Code::Subject, second.0.span, message)
                .related(self.place.locate(first.0.span), "the first kind")
                .help(format!("keep one of {keys}; in a list of peers, write each as its own item"));
            self.findings.push(finding);
        } else if named.is_empty() {
            let message = format!("this {} names nobody", record.said());
            self.report(Code::Subject, self.place.first_line(node.span), message, Some(format!("write one of {keys}")));
        }
    }

    /// Reports a key that does not exist, and gives back the one that was probably meant.
    fn unknown_key(&mut self, key: &Key, record: &Record) -> Option<&'static Field> {
        let known = || record.fields.iter().map(|field| field.key);
        let said = record.said();
        let article = if said.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let message = format!("{} is not a key of {article} {said}", quote(&key.text));
        let foreign = FOREIGN.iter().find(|(word, _)| *word == &*key.text).map(|(_, help)| (*help).to_owned());
        let meant = nearest(&key.text, known());
        let help = meant
            .map(|meant| format!("did you mean `{meant}`?"))
            .or(foreign)
            .unwrap_or_else(|| format!("its keys are {}", list(known())));
        self.report(Code::UnknownKey, key.span, message, Some(help));
        meant.and_then(|meant| record.field(meant))
    }
}

/// A whole number as YAML writes it: decimal or `0x`. Leading zeroes are not read, because one
/// reader takes them for octal and the next does not.
pub(crate) fn integer(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten();
    }
    decimal(text)
}

/// Digits without leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let fine = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    fine.then(|| text.parse().ok()).flatten()
}
