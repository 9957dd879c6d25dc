//! Fields of Kubernetes objects, taken strictly: a field that is not known is refused, because a
//! policy with a misspelt selector would select everyone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use gabion_policy_model::inventory::DEFAULT_NAMESPACE;
use gabion_policy_model::set::Location;
use gabion_policy_model::text::names::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value};

use crate::diagnostic::Diagnostic;
use crate::names;
use crate::source::Lines;
use crate::yaml::{Node, Value};

/// A text that is being read, with what was found wrong in it.
pub(super) struct Text<'l, 'a> {
    pub lines: &'l Lines<'a>,
    pub errors: &'l RefCell<Vec<Diagnostic>>,
    pub warnings: &'l RefCell<Vec<Diagnostic>>,
}

impl Text<'_, '_> {
    /// Records an error; callers go on so that one run shows all of them.
    pub fn refuse(&self, node: &Node, message: impl Into<String>, remedy: impl Into<String>) {
        self.errors.borrow_mut().push(self.lines.diagnose(node.range.clone(), message, remedy));
    }

    pub fn warn(&self, node: &Node, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(self.lines.diagnose(node.range.clone(), message, remedy));
    }

    pub fn locate(&self, node: &Node) -> Location {
        self.lines.locate(node.range.clone())
    }

    /// A string. What other readers of YAML take for a number or a truth value wants quotes, because
    /// the API server refuses it too.
    pub fn string<'n>(&self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain } if !*plain || !is_other_than_string(text) => Some(text),
            Value::Scalar { .. } if !node.is_null() => {
                self.refuse(node, format!("{what} is a string"), "put quotes around it");
                None
            }
            _ => {
                self.refuse(node, format!("{what} is a string, this is {}", node.kind()), "write a string");
                None
            }
        }
    }

    pub fn number(&self, node: &Node, what: &str, limits: std::ops::RangeInclusive<u32>) -> Option<u32> {
        if let Value::Scalar { text, plain: true } = &node.value
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
            && let Ok(number) = text.parse()
            && limits.contains(&number)
        {
            return Some(number);
        }
        let (low, high) = limits.into_inner();
        self.refuse(
            node,
            format!("{what} is a number from {low} to {high}"),
            format!("write a number from {low} to {high} without quotes"),
        );
        None
    }

    /// A truth value. `yes` and `on` are ones to some readers of YAML and strings to others, so that they are refused.
    pub fn flag(&self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Value::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "True" | "TRUE") => Some(true),
            Value::Scalar { text, plain: true } if matches!(text.as_str(), "false" | "False" | "FALSE") => Some(false),
            _ => {
                self.refuse(node, format!("{what} is true or false"), "write true or false, without quotes");
                None
            }
        }
    }

    /// The elements of a list; nothing at all counts as an empty one, as everywhere in Kubernetes.
    pub fn list<'n>(&self, node: Option<&'n Node>, what: &str) -> &'n [Rc<Node>] {
        match node.map(|node| (&node.value, node)) {
            None => &[],
            Some((Value::Sequence(elements), _)) => elements,
            Some((_, node)) if node.is_null() => &[],
            Some((_, node)) => {
                let message = format!("{what} is a list, this is {}", node.kind());
                self.refuse(node, message, "start each element with `- `");
                &[]
            }
        }
    }

    /// A map of labels.
    pub fn labels(&self, node: Option<&Node>) -> BTreeMap<String, String> {
        let Some(fields) = node.and_then(|node| Fields::open(self, node, "labels")) else { return BTreeMap::new() };
        let pairs = fields.pairs.iter().zip(&fields.keys);
        pairs
            .filter_map(|(&(key, value), node)| {
                self.label_key(node, key)?;
                let value = self.label_value(value)?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    pub fn label_key(&self, node: &Node, key: &str) -> Option<()> {
        let fits = is_label_key(key);
        if !fits {
            let remedy = "write at most 63 letters, digits, `-`, `_` and `.`, before it a domain and `/` if need be";
            self.refuse(node, "not the key of a label", remedy);
        }
        fits.then_some(())
    }

    pub fn label_value<'n>(&self, node: &'n Node) -> Option<&'n str> {
        let value = self.string(node, "the value of a label")?;
        if !is_label_value(value) {
            let remedy = "write at most 63 letters, digits, `-`, `_` and `.`, a letter or digit first and last";
            self.refuse(node, "not the value of a label", remedy);
            return None;
        }
        Some(value)
    }
}

/// Plain scalars that YAML 1.1 or JSON read as something else than a string.
fn is_other_than_string(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    matches!(word.as_str(), "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off")
        || text.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit())
            && (text.parse::<f64>().is_ok() || word.trim_start_matches(['+', '-']).starts_with("0x"))
}

/// The fields of one map.
pub(super) struct Fields<'n> {
    pairs: Vec<(&'n str, &'n Node)>,
    keys: Vec<&'n Node>,
    pub node: &'n Node,
}

impl<'n> Fields<'n> {
    /// A map that may hold any field.
    pub fn open(text: &Text<'_, '_>, node: &'n Node, what: &str) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            text.refuse(node, format!("{what} is a map, this is {}", node.kind()), "write `field: value`");
            return None;
        };
        let mut fields = Self { pairs: Vec::new(), keys: Vec::new(), node };
        let mut seen = std::collections::HashSet::new();
        for (key, value) in entries {
            let Value::Scalar { text: name, .. } = &key.value else {
                text.refuse(key, format!("a field name in {what} is a string"), "write `field: value`");
                continue;
            };
            if !seen.insert(name.as_str()) {
                text.refuse(key, format!("{what} says this twice"), "keep one of the two");
                continue;
            }
            fields.pairs.push((name, value));
            fields.keys.push(key);
        }
        Some(fields)
    }

    /// A map that may hold these fields only.
    pub fn closed(text: &Text<'_, '_>, node: &'n Node, what: &str, known: &[&str]) -> Option<Self> {
        let fields = Self::open(text, node, what)?;
        for ((name, _), key) in fields.pairs.iter().zip(&fields.keys) {
            if known.contains(name) {
                continue;
            }
            let remedy = match names::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{what} has the fields {}", known.join(", ")),
            };
            text.refuse(key, format!("{what} has no such field"), remedy);
        }
        Some(fields)
    }

    /// A field; one that is `null` counts as absent.
    pub fn of(&self, name: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(key, _)| *key == name).map(|&(_, value)| value).filter(|value| !value.is_null())
    }

    /// A field that has to be there.
    pub fn required(&self, text: &Text<'_, '_>, name: &str, what: &str) -> Option<&'n Node> {
        let found = self.of(name);
        if found.is_none() {
            text.refuse(self.node, format!("{what} has no `{name}`"), format!("add `{name}`"));
        }
        found
    }

    /// How many fields are there and not `null`.
    pub fn stated(&self) -> usize {
        self.pairs.iter().filter(|(_, value)| !value.is_null()).count()
    }
}

/// Fields of `ObjectMeta`.
const METADATA: [&str; 16] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "clusterName",
];

/// What objects are called by.
pub(super) struct Metadata {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
}

impl Metadata {
    pub fn read(text: &Text<'_, '_>, object: &Fields<'_>, kind: &str) -> Option<Self> {
        let node = object.required(text, "metadata", kind)?;
        let fields = Fields::closed(text, node, "metadata", &METADATA)?;
        let name = text.string(fields.required(text, "name", "metadata")?, "the name")?;
        let namespace = match fields.of("namespace") {
            Some(node) => text.string(node, "the namespace")?,
            None => DEFAULT_NAMESPACE,
        };
        if let Some(node) = fields.of("name")
            && !is_dns_subdomain(name)
        {
            let remedy = "write at most 253 of a-z, 0-9, `-` and `.`, a letter or digit first and last";
            text.refuse(node, "not a name that Kubernetes takes", remedy);
            return None;
        }
        if let Some(node) = fields.of("namespace")
            && !is_dns_label(namespace)
        {
            let remedy = "write at most 63 of a-z, 0-9 and `-`, a letter or digit first and last";
            text.refuse(node, "not a namespace that Kubernetes takes", remedy);
            return None;
        }
        let labels = text.labels(fields.of("labels"));
        Some(Self { name: name.to_owned(), namespace: namespace.to_owned(), labels })
    }
}
