//! Subjects: whom a policy, a peer list or a default names.

use std::net::IpAddr;

use ipnet::IpNet;

use super::decode::Decoder;
use super::names;
use super::shape::decimal;
use super::tree::{Node, Value};
use crate::finding::{Code, quote};
use crate::subject::{
    Any, AnySubject, Cidr, InterfaceName, LabelSelector, LabelTest, Labels, Mac, Namespaces, ServiceAccount,
    SpiffeMatch, SpiffePath,
};

/// Where a subject stands: what it means when it does not name a namespace.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// In a `Policy` of this namespace.
    Namespace(&'a str),
    /// Anywhere else.
    Cluster,
}

impl Decoder<'_, '_> {
    pub fn subject(&mut self, node: &Node, scope: Scope<'_>) -> Option<AnySubject> {
        if node.word() == Some("any") {
            return Some(AnySubject::Any(Any));
        }
        if !matches!(node.value, Value::Map(_)) {
            return None;
        }
        if let Some(account) = node.get("serviceAccount") {
            return self.service_account(account, scope).map(AnySubject::ServiceAccount);
        }
        if let Some(id) = node.get("spiffeId") {
            return self.spiffe(id).map(AnySubject::Spiffe);
        }
        if let Some(mac) = node.get("mac") {
            return self.mac(mac).map(AnySubject::Mac);
        }
        if let Some(interface) = node.get("interface") {
            return self.interface_name(interface, false).map(|name| AnySubject::Interface(InterfaceName(name)));
        }
        if node.get("cidr").is_some() || node.get("except").is_some() {
            return self.cidr(node).map(AnySubject::Cidr);
        }
        if ["labels", "matchLabels", "matchExpressions", "namespaces"].iter().all(|key| node.get(key).is_none()) {
            return None;
        }
        let namespaces = match node.get("namespaces") {
            Some(namespaces) => self.namespaces(namespaces),
            None => Some(match scope {
                Scope::Namespace(name) => Namespaces::Named(name.to_owned()),
                Scope::Cluster => Namespaces::All,
            }),
        };
        let selector = self.selector(node);
        Some(AnySubject::Labels(Labels { selector: selector?, namespaces: namespaces? }))
    }

    fn namespaces(&mut self, node: &Node) -> Option<Namespaces> {
        match &node.value {
            Value::Map(_) => self.selector(node).map(Namespaces::Matching),
            _ if node.word()? == "*" => Some(Namespaces::All),
            _ => self.dns_name(node, names::is_dns_label, "a namespace", 63).map(Namespaces::Named),
        }
    }

    fn selector(&mut self, node: &Node) -> Option<LabelSelector> {
        if let (Some(_), Some(again)) = (node.get("labels"), node.get("matchLabels")) {
            let help = "both say which labels must be there; write one of them";
            let span = self.place.first_line(again.span);
            self.report(Code::Contradiction, span, "`labels` and `matchLabels` stand side by side", help);
        }
        let match_labels = self.labels(node.get("labels").or_else(|| node.get("matchLabels")));
        let tests = node.get("matchExpressions").map(Node::items).unwrap_or_default();
        let tests: Vec<_> = tests.iter().map(|test| self.label_test(test)).collect();
        Some(LabelSelector { match_labels, match_expressions: tests.into_iter().collect::<Option<_>>()? })
    }

    fn label_test(&mut self, node: &Node) -> Option<LabelTest> {
        let key_node = node.get("key")?;
        let key = key_node.word()?.to_owned();
        self.label_key(&key, key_node.span);
        let operator_node = node.get("operator")?;
        let operator = operator_node.word()?;
        let mut values = Vec::new();
        for value in node.get("values").map(Node::items).unwrap_or_default() {
            let text = value.word()?;
            self.label_value(text, value.span);
            values.push(text.to_owned());
        }
        let takes_values = matches!(operator, "In" | "NotIn");
        if takes_values == values.is_empty() {
            let (message, help) = if takes_values {
                (format!("{operator} has no values to compare with"), "add `values: [..]`")
            } else {
                (format!("{operator} takes no values"), "leave `values` out, or write In")
            };
            self.report(Code::LabelTest, operator_node.span, message, help);
        }
        match operator {
            "In" => Some(LabelTest::In(key, values)),
            "NotIn" => Some(LabelTest::NotIn(key, values)),
            "Exists" => Some(LabelTest::Exists(key)),
            "DoesNotExist" => Some(LabelTest::DoesNotExist(key)),
            _ => None,
        }
    }

    fn service_account(&mut self, node: &Node, scope: Scope<'_>) -> Option<ServiceAccount> {
        let text = node.word()?;
        let (namespace, name) = match text.split_once('/') {
            Some(("*", name)) => (None, name),
            Some((namespace, name)) => (Some(namespace), name),
            None => match scope {
                Scope::Namespace(namespace) => (Some(namespace), text),
                Scope::Cluster => (None, text),
            },
        };
        if !namespace.is_none_or(names::is_dns_label) || !names::is_dns_subdomain(name) {
            let message = format!("{} is not a service account", quote(text));
            let help = "write `namespace/name`, or `*/name` for that name in any namespace";
            self.report(Code::Name, node.span, message, help);
            return None;
        }
        Some(ServiceAccount { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    fn spiffe(&mut self, node: &Node) -> Option<SpiffeMatch> {
        let text = node.word()?;
        let (id, below) = match text.strip_suffix("/*") {
            Some(id) => (id, true),
            None => (text, false),
        };
        match split_spiffe_id(id) {
            Ok((domain, path)) => Some(SpiffeMatch {
                trust_domain: domain.to_owned(),
                path: match (below, path) {
                    (true, "") => SpiffePath::Any,
                    (true, path) => SpiffePath::Prefix(path.to_owned()),
                    (false, path) => SpiffePath::Exact(path.to_owned()),
                },
            }),
            Err(problem) => {
                self.report(Code::SpiffeId, node.span, format!("{} is not a SPIFFE ID", quote(text)), problem);
                None
            }
        }
    }

    /// The SPIFFE ID of an entry.
    pub fn spiffe_id(&mut self, node: &Node) -> Option<String> {
        let text = node.word()?;
        if let Err(problem) = split_spiffe_id(text) {
            self.report(Code::SpiffeId, node.span, format!("{} is not a SPIFFE ID", quote(text)), problem);
            return None;
        }
        Some(text.to_owned())
    }

    fn cidr(&mut self, node: &Node) -> Option<Cidr> {
        let Some(block_node) = node.get("cidr") else {
            let span = self.place.first_line(node.span);
            self.report(
                Code::MissingKey,
                span,
                "`except` stands without `cidr`",
                "add `cidr`: the block it is taken out of",
            );
            return None;
        };
        let block = self.block(block_node);
        let mut except = Vec::new();
        for exception_node in node.get("except").map(Node::items).unwrap_or_default() {
            let Some(exception) = self.block(exception_node) else { continue };
            if let Some(block) = block
                && !block.contains(&exception)
            {
                let message = format!("the exception {exception} is not inside {block}");
                let finding = self
                    .place
                    .finding(Code::Except, exception_node.span, message)
                    .related(self.place.locate(block_node.span), "the block")
                    .help("an exception takes a part of its block out; leave out what is not in it");
                self.findings.push(finding);
            }
            except.push(exception);
        }
        Some(Cidr { block: block?, except })
    }

    fn block(&mut self, node: &Node) -> Option<IpNet> {
        let text = node.word()?;
        let problem = format!("{} is not an address block", quote(text));
        if let Ok(address) = text.parse::<IpAddr>() {
            let help = format!("write {} for this address alone", IpNet::from(address));
            self.report(Code::Cidr, node.span, format!("{problem}: it has no prefix length"), help);
            return None;
        }
        let Some(block) = parse_block(text) else {
            let help = match text.split_once('/') {
                Some((address, length)) if address.parse::<IpAddr>().is_ok() => {
                    let limit = if address.contains(':') { 128 } else { 32 };
                    format!("the prefix length is a number from 0 to {limit}, and is {}", quote(length))
                }
                _ => {
                    "write an address, `/` and a prefix length without leading zeroes, as 10.1.0.0/16 or 2001:db8::/32"
                        .to_owned()
                }
            };
            self.report(Code::Cidr, node.span, problem, help);
            return None;
        };
        if block.trunc() != block {
            let message = format!("{} has bits set beyond its prefix length", quote(text));
            let help =
                format!("write {} for the block, or {} for the address", block.trunc(), IpNet::from(block.addr()));
            self.report(Code::HostBits, node.span, message, help);
            return None;
        }
        Some(block)
    }

    pub fn mac(&mut self, node: &Node) -> Option<Mac> {
        let text = node.word()?;
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut count = 0;
        let mut fine = true;
        for part in text.split(separator) {
            let octet = if part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()) {
                u8::from_str_radix(part, 16).ok()
            } else {
                None
            };
            match (octets.get_mut(count), octet) {
                (Some(place), Some(octet)) => *place = octet,
                _ => fine = false,
            }
            count += 1;
        }
        if !fine || count != 6 {
            let help = "write six pairs of hexadecimal digits, as 00:30:a7:01:02:03";
            self.report(Code::Mac, node.span, format!("{} is not a MAC address", quote(text)), help);
            return None;
        }
        if octets == [0; 6] {
            let help = "all zeroes stand for a packet without an Ethernet header";
            self.report(Code::Mac, node.span, "nobody has the MAC address of all zeroes", help);
            return None;
        }
        Some(Mac(octets))
    }
}

/// An address block: an address as the standard library reads it, `/` and a prefix length. Leading zeroes are not read
/// in either, because one reader takes them for octal and the next does not.
#[must_use]
pub fn parse_block(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, decimal(length)?.try_into().ok()?).ok()
}

/// Trust domain and path of a SPIFFE ID (SPIFFE-ID specification, section 2), or what is wrong.
fn split_spiffe_id(id: &str) -> Result<(&str, &str), String> {
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return Err("it begins with `spiffe://`, in lower case".to_owned());
    };
    if id.len() > 2048 {
        return Err(format!("it has {} bytes, and at most 2048 are allowed", id.len()));
    }
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let of_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(of_domain) {
        return Err(format!(
            "the trust domain {} must be 1 to 255 lower-case letters, digits, `.`, `-` and `_`",
            quote(domain)
        ));
    }
    let of_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    for segment in path.split('/').skip(1) {
        if segment.is_empty() {
            return Err("its path has an empty segment, or a `/` at the end".to_owned());
        }
        if matches!(segment, "." | "..") {
            return Err("its path has a `.` or `..` segment".to_owned());
        }
        if segment == "*" {
            return Err("`*` can only be the last segment, and only in a subject".to_owned());
        }
        if !segment.bytes().all(of_path) {
            return Err(format!("the segment {} must be of letters, digits, `.`, `-` and `_`", quote(segment)));
        }
    }
    Ok((domain, path))
}
