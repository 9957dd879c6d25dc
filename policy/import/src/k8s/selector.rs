//! Label selectors and protocols, as all of the kinds write them.

use gabion_abi::facts::protocol;
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::subject::{AnySubject, Cidr, LabelSelector, LabelTest, Labels, Namespaces};
use gabion_policy_model::text::parse_block;
use ipnet::IpNet;

use super::object::{Fields, Text};
use crate::yaml::Node;

/// A `LabelSelector`; an empty one selects everything.
pub(super) fn selector(text: &Text<'_, '_>, node: &Node, what: &str) -> Option<LabelSelector> {
    let fields = Fields::closed(text, node, what, &["matchLabels", "matchExpressions"])?;
    let match_labels = text.labels(fields.of("matchLabels"));
    let mut match_expressions = Vec::new();
    for element in text.list(fields.of("matchExpressions"), "matchExpressions") {
        match_expressions.extend(expression(text, element));
    }
    Some(LabelSelector { match_labels, match_expressions })
}

fn expression(text: &Text<'_, '_>, node: &Node) -> Option<LabelTest> {
    let what = "a match expression";
    let fields = Fields::closed(text, node, what, &["key", "operator", "values"])?;
    let node = fields.required(text, "key", what)?;
    let key = text.string(node, "the key")?.to_owned();
    text.label_key(node, &key)?;
    let operator = fields.required(text, "operator", what)?;
    let mut values = Vec::new();
    for value in text.list(fields.of("values"), "values") {
        values.push(text.label_value(value)?.to_owned());
    }
    let name = text.string(operator, "the operator")?;
    let wants_values = match name {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        _ => {
            text.refuse(operator, "no such operator", "write In, NotIn, Exists or DoesNotExist");
            return None;
        }
    };
    if wants_values == values.is_empty() {
        let (message, remedy) = if wants_values {
            ("this operator wants values", "list at least one under `values`")
        } else {
            ("this operator takes no values", "remove `values`")
        };
        text.refuse(operator, message, remedy);
        return None;
    }
    Some(match name {
        "In" => LabelTest::In(key, values),
        "NotIn" => LabelTest::NotIn(key, values),
        "Exists" => LabelTest::Exists(key),
        _ => LabelTest::DoesNotExist(key),
    })
}

pub(super) fn labels(selector: LabelSelector, namespaces: Namespaces) -> AnySubject {
    AnySubject::Labels(Labels { selector, namespaces })
}

/// TCP unless stated.
pub(super) fn transport(text: &Text<'_, '_>, node: Option<&Node>) -> Option<u8> {
    let Some(node) = node else { return Some(protocol::TCP) };
    match text.string(node, "the protocol")? {
        "TCP" => Some(protocol::TCP),
        "UDP" => Some(protocol::UDP),
        "SCTP" => Some(protocol::SCTP),
        _ => {
            text.refuse(node, "no protocol that Kubernetes knows", "write TCP, UDP or SCTP");
            None
        }
    }
}

/// A block in CIDR form; bits behind the prefix do not count, as in Kubernetes.
pub(super) fn block(text: &Text<'_, '_>, node: &Node) -> Option<IpNet> {
    let word = text.string(node, "the block")?;
    let parsed = parse_block(word).map(|net| net.trunc());
    if parsed.is_none() {
        text.refuse(node, "not an address block", "write CIDR form, `192.168.1.0/24` or `2001:db8::/64`");
    }
    parsed
}

pub(super) fn cidr(block: IpNet, except: Vec<IpNet>) -> AnySubject {
    AnySubject::Cidr(Cidr { block, except })
}

pub(super) fn one(number: u32) -> RangeSet {
    RangeSet::from_range(number..=number)
}
