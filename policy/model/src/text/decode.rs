//! Checked trees → typed documents. What the table of shapes has refused is passed over here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::kinds::{API_VERSION, KINDS};
use super::names;
use super::place::{Place, Span};
use super::shape::{Shape, check, integer};
use super::subject::Scope;
use super::tree::{Key, Node, Plain, Value, resolve};
use crate::finding::{Code, Finding, list, nearest, quote};
use crate::inventory::{DEFAULT_NAMESPACE, Entry};
use crate::rule::{Action, ClusterPolicy, Policy, Rule, Stage, Tier};
use crate::set::{Location, Spanned};
use crate::site::Site;
use crate::subject::AnySubject;

/// One document.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Policy(Policy),
    ClusterPolicy(ClusterPolicy),
    Inventory(Vec<Spanned<Entry>>, Vec<(String, BTreeMap<String, String>, Location)>),
    Site(Box<Site>),
}

/// Kinds that are imported.
const KUBERNETES_KINDS: [&str; 5] =
    ["NetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "Pod", "Namespace"];

/// Decodes the documents of one source.
pub(crate) struct Decoder<'a, 's> {
    pub place: &'a Place<'s>,
    pub findings: &'a mut Vec<Finding>,
}

impl Node {
    /// Value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pairs().iter().find(|(k, _)| &*k.text == key).map(|(_, value)| value)
    }

    /// Pairs of a map; nothing of anything else.
    pub fn pairs(&self) -> &[(Key, Node)] {
        if let Value::Map(pairs) = &self.value { pairs } else { &[] }
    }

    /// Items of a list; nothing of anything else.
    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// Items of a list, or the one thing that stands for a list of one.
    pub fn one_or_more(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { std::slice::from_ref(self) }
    }

    /// Text of a scalar that was checked to be text or a number.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain } => {
                let kind = if *plain { resolve(text) } else { Plain::Text };
                matches!(kind, Plain::Text | Plain::Integer).then_some(text)
            }
            _ => None,
        }
    }

    /// Text of a scalar that was checked to be text only.
    pub fn word(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain } => (!*plain || resolve(text) == Plain::Text).then_some(text),
            _ => None,
        }
    }

    /// A flag; none if it is refused already.
    pub fn flag(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, plain: true } => match resolve(text) {
                Plain::Bool(flag) => Some(flag),
                _ => None,
            },
            _ => None,
        }
    }

    /// A 32-bit number; none if it is refused already.
    pub fn number(&self) -> Option<u32> {
        match &self.value {
            Value::Scalar { text, plain: true } => integer(text).and_then(|number| number.try_into().ok()),
            _ => None,
        }
    }
}

impl Decoder<'_, '_> {
    pub fn report(&mut self, code: Code, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let finding = self.place.finding(code, span, message).help(help);
        self.findings.push(finding);
    }

    /// One document of any kind.
    pub fn document(&mut self, node: &Node) -> Option<Document> {
        let line = self.place.first_line(node.span);
        if let Value::Scalar { text, plain: true } = &node.value
            && resolve(text) == Plain::Null
        {
            return None;
        }
        if !matches!(node.value, Value::Map(_)) {
            let message = "a document is a map with `apiVersion`, `kind`, `metadata` and `spec`";
            self.report(Code::WrongType, line, message, "see `gabion policy schema`");
            return None;
        }
        let kinds = || KINDS.iter().map(|kind| kind.name);
        let Some(kind) = node.get("kind") else {
            let help = format!("add `kind`: one of {}", list(kinds()));
            self.report(Code::MissingKey, line, "this document has no `kind`", help);
            return None;
        };
        let known = kind.word().and_then(|word| KINDS.iter().find(|known| known.name == word));
        let Some(shape) = known else {
            let word = kind.word().unwrap_or("");
            let help = nearest(word, kinds())
                .map_or_else(|| format!("kinds are {}", list(kinds())), |meant| format!("did you mean `{meant}`?"));
            let help = match word {
                "PolicyTest" => "tests stand in files of their own, which `gabion policy test` reads".to_owned(),
                word if KUBERNETES_KINDS.contains(&word) => {
                    "`gabion policy import k8s` turns it into Gabion's kinds".to_owned()
                }
                _ => help,
            };
            self.report(
                Code::Kind,
                self.place.first_line(kind.span),
                format!("{} is not a kind of document", quote(word)),
                help,
            );
            return None;
        };
        if let Some(version) = node.get("apiVersion")
            && let Some(word) = version.word()
            && word != API_VERSION
        {
            let message =
                format!("this document is of version {}, and this program reads `{API_VERSION}`", quote(word));
            self.report(Code::ApiVersion, version.span, message, format!("write `apiVersion: {API_VERSION}`"));
            return None;
        }
        check(self.place, node, &Shape::Record(shape), "document", self.findings);
        let (metadata, spec) = (node.get("metadata")?, node.get("spec")?);
        match shape.name {
            "Policy" => self.policy(node, metadata, spec).map(Document::Policy),
            "ClusterPolicy" => self.cluster_policy(node, metadata, spec).map(Document::ClusterPolicy),
            "Inventory" => {
                self.name_of(metadata);
                Some(self.inventory(spec))
            }
            _ => self.site(node, metadata, spec).map(|site| Document::Site(Box::new(site))),
        }
    }

    fn name_of(&mut self, metadata: &Node) -> Option<String> {
        let name = metadata.get("name")?;
        self.dns_name(name, names::is_dns_subdomain, "a name", 253)
    }

    /// A name that is checked by one of the rules of DNS.
    pub fn dns_name(&mut self, node: &Node, rule: fn(&str) -> bool, what: &str, limit: usize) -> Option<String> {
        let name = node.word()?;
        if !rule(name) {
            let message = format!("{} is not {what}", quote(name));
            let dots = if limit > 63 { "`-` and `.`" } else { "and `-`" };
            let help = format!("up to {limit} lower-case letters, digits, {dots}, with a letter or digit at both ends");
            self.report(Code::Name, node.span, message, help.replace("digits, and", "digits and"));
        }
        Some(name.to_owned())
    }

    pub fn namespace(&mut self, node: Option<&Node>) -> String {
        node.and_then(|node| self.dns_name(node, names::is_dns_label, "a namespace", 63))
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
    }

    fn policy(&mut self, node: &Node, metadata: &Node, spec: &Node) -> Option<Policy> {
        let name = self.name_of(metadata);
        let namespace = self.namespace(metadata.get("namespace"));
        let scope = Scope::Namespace(&namespace);
        let subject = spec.get("subject").and_then(|node| self.subject(node, scope));
        let reserved = namespace == DEFAULT_NAMESPACE && name.as_deref() == Some("default");
        let ingress = spec.get("ingress").map(|rules| self.rules(rules, "ingress", scope, reserved));
        let egress = spec.get("egress").map(|rules| self.rules(rules, "egress", scope, reserved));
        self.unique_rules(&[ingress.as_deref(), egress.as_deref()]);
        let location = self.document_location(node, metadata);
        let subject = Arc::new(subject?);
        Some(Policy { name: name?, namespace: namespace.clone(), subject, ingress, egress, location })
    }

    fn cluster_policy(&mut self, node: &Node, metadata: &Node, spec: &Node) -> Option<ClusterPolicy> {
        let name = self.name_of(metadata);
        let subject = spec.get("subject").and_then(|node| self.subject(node, Scope::Cluster));
        let reserved = name.as_deref() == Some("default");
        let mut rules =
            |key: &str| spec.get(key).map(|rules| self.rules(rules, key, Scope::Cluster, reserved)).unwrap_or_default();
        let (ingress, egress) = (rules("ingress"), rules("egress"));
        self.unique_rules(&[Some(&ingress), Some(&egress)]);
        let order = spec.get("order").map_or(Some(0), Node::number);
        let tier = spec.get("tier").and_then(|node| self.tier(node));
        let location = self.document_location(node, metadata);
        Some(ClusterPolicy { name: name?, tier: tier?, order: order?, subject: subject?, ingress, egress, location })
    }

    fn tier(&mut self, node: &Node) -> Option<Tier> {
        let name_node = node.get("name")?;
        let name = self.dns_name(name_node, names::is_dns_label, "the name of a tier", 63)?;
        if name == crate::trace::POLICY_TIER || name == crate::trace::DEFAULT_TIER {
            let message = format!("a tier cannot be named {}", quote(&name));
            let help = "verdicts of Policy documents and of defaults are shown under that name; choose another";
            self.report(Code::ReservedName, name_node.span, message, help);
        }
        let stage = match node.get("stage").map(Node::word) {
            None | Some(Some("admin")) => Stage::Admin,
            Some(Some("baseline")) => Stage::Baseline,
            Some(_) => return None,
        };
        Some(Tier { name, stage, order: node.get("order")?.number()? })
    }

    fn document_location(&self, node: &Node, metadata: &Node) -> Location {
        self.place.locate(metadata.get("name").map_or_else(|| self.place.first_line(node.span), |name| name.span))
    }

    fn rules(&mut self, list: &Node, direction: &str, scope: Scope<'_>, reserved: bool) -> Vec<Spanned<Rule>> {
        let items = list.items().iter().enumerate();
        items.filter_map(|(index, node)| self.rule(node, index, direction, scope, reserved)).collect()
    }

    fn rule(
        &mut self,
        node: &Node,
        index: usize,
        direction: &str,
        scope: Scope<'_>,
        reserved: bool,
    ) -> Option<Spanned<Rule>> {
        if !matches!(node.value, Value::Map(_)) {
            return None;
        }
        let name = self.rule_name(node, index, direction, scope, reserved);
        let action = match node.get("action") {
            None => Some(Action::Allow),
            Some(action) => self.action(action, scope),
        };
        let from = self.peers(node.get("from"), scope);
        let to = self.peers(node.get("to"), scope);
        let services = self.services(node.get("services"));
        let flag = |key: &str| node.get(key).map_or(Some(false), Node::flag);
        let at = node.get("name").map_or_else(|| self.place.first_line(node.span), |name| name.span);
        let rule = Rule {
            name: name?,
            action: action?,
            from: from?,
            to: to?,
            services: services?,
            stateless: flag("stateless")?,
            log: flag("log")?,
        };
        Some(Spanned::new(rule, self.place.locate(at)))
    }

    fn rule_name(
        &mut self,
        node: &Node,
        index: usize,
        direction: &str,
        scope: Scope<'_>,
        reserved: bool,
    ) -> Option<String> {
        let Some(name_node) = node.get("name") else { return Some(format!("{direction}-{index}")) };
        let name = name_node.word()?;
        if !names::is_qualified(name, 100) {
            let message = format!("{} is not the name of a rule", quote(name));
            let help = "up to 100 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
            self.report(Code::Name, name_node.span, message, help);
        }
        let of_default = reserved
            && (matches!(name, "ingress" | "egress" | "link-control" | "unparsed") || name.starts_with("subject-"));
        let isolation = matches!(scope, Scope::Namespace(_)) && name == "isolation";
        if of_default || isolation {
            let message = format!("a rule cannot be named {} here", quote(name));
            let help = "verdicts that no rule decides are shown under that name; choose another";
            self.report(Code::ReservedName, name_node.span, message, help);
        }
        Some(name.to_owned())
    }

    fn action(&mut self, node: &Node, scope: Scope<'_>) -> Option<Action> {
        match node.word()? {
            "allow" => Some(Action::Allow),
            "deny" => Some(Action::Deny),
            "audit" => Some(Action::Audit),
            "pass" if matches!(scope, Scope::Cluster) => Some(Action::Pass),
            _ => None,
        }
    }

    fn peers(&mut self, node: Option<&Node>, scope: Scope<'_>) -> Option<Option<Vec<AnySubject>>> {
        let Some(node) = node else { return Some(None) };
        if node.word() == Some("nobody") {
            return Some(Some(Vec::new()));
        }
        let peers: Vec<_> = node.items().iter().map(|peer| self.subject(peer, scope)).collect();
        if peers.is_empty() {
            return None;
        }
        peers.into_iter().collect::<Option<Vec<_>>>().map(Some)
    }

    fn unique_rules(&mut self, lists: &[Option<&[Spanned<Rule>]>]) {
        let mut seen = BTreeMap::new();
        for rule in lists.iter().flatten().copied().flatten() {
            if let Some(first) = seen.insert(&rule.name, &rule.location) {
                let span = Span {
                    start: rule.location.offset as u32,
                    end: (rule.location.offset + rule.location.length) as u32,
                };
                let finding = self
                    .place
                    .finding(
                        Code::DuplicateName,
                        span,
                        format!("two rules of this document are named {}", quote(&rule.name)),
                    )
                    .label("again here")
                    .related(first.clone(), "first here")
                    .help("verdicts and counters are told apart by these names; rename one");
                self.findings.push(finding);
            }
        }
    }

    /// An address, as the standard library reads it.
    pub fn address(&mut self, node: &Node) -> Option<IpAddr> {
        let text = node.word()?;
        let address = text.parse().ok();
        if address.is_none() {
            let help = if text.contains('/') {
                "an entry and an interface have single addresses: leave the prefix length out".to_owned()
            } else {
                "write four numbers from 0 to 255 without leading zeroes, or an IPv6 address".to_owned()
            };
            self.report(Code::Address, node.span, format!("{} is not an IP address", quote(text)), help);
        }
        address
    }

    pub fn interface_name(&mut self, node: &Node, pattern: bool) -> Option<String> {
        let text = node.word()?;
        let stem = if pattern { text.strip_suffix('*').unwrap_or(text) } else { text };
        let fine = names::is_interface(stem) || (pattern && text == "*");
        if !fine {
            let help = if !pattern && text.ends_with('*') {
                "patterns stand only in `interfaces` of the Site; name one interface here".to_owned()
            } else {
                "1 to 15 characters without `/`, `:`, `*` and blanks".to_owned()
            };
            self.report(Code::Interface, node.span, format!("{} is not the name of an interface", quote(text)), help);
        }
        fine.then(|| text.to_owned())
    }

    /// Labels of an entry, a namespace or a selector.
    pub fn labels(&mut self, node: Option<&Node>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (key, value) in node.map(Node::pairs).unwrap_or_default() {
            self.label_key(&key.text, key.span);
            if let Some(text) = value.word() {
                self.label_value(text, value.span);
                labels.insert(key.text.to_string(), text.to_owned());
            }
        }
        labels
    }

    pub fn label_key(&mut self, key: &str, span: Span) {
        if !names::is_label_key(key) {
            let help = "up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; \
                        before it a DNS name and `/`, if wanted";
            self.report(Code::Label, span, format!("{} is not a label key", quote(key)), help);
        }
    }

    pub fn label_value(&mut self, value: &str, span: Span) {
        if !names::is_label_value(value) {
            let help = "up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
            self.report(Code::Label, span, format!("{} is not a label value", quote(value)), help);
        }
    }
}
