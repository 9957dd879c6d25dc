//! From a denial to a question about it, and from the answer to lines.

use gabion_agent::api::wire::Event;
use serde_json::Value;

use super::super::events::encoded;
use super::view::Answer;

/// The question that describes this packet, as a query string.
pub(super) fn query_of(event: &Event) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    let by_address = event.source.is_some();
    add("src", event.source.clone().or_else(|| event.source_mac.clone()));
    add("dst", event.destination.clone().or_else(|| event.destination_mac.clone()));
    if by_address {
        add("src-mac", event.source_mac.clone());
        add("dst-mac", event.destination_mac.clone());
        add("proto", event.protocol.clone());
    } else {
        add("ethertype", Some(event.ethertype.clone()).filter(|it| it.starts_with("0x")));
    }
    add("sport", event.source_port.map(|port| port.to_string()));
    add("dport", event.destination_port.map(|port| port.to_string()));
    add("icmp", event.icmp.clone());
    add("flags", event.tcp_flags.clone().filter(|flags| flags != "none"));
    add("vlan", event.vlan.map(|vlan| vlan.to_string()));
    add("inner-vlan", event.inner_vlan.map(|vlan| vlan.to_string()));
    add("fragment", event.fragment.clone());
    add("unparsed", event.unparsed.clone());
    add(if event.hook == "xdp" { "in" } else { "out" }, Some(event.interface.clone()));
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// The answer, paragraph by paragraph; the screen wraps them.
pub(super) fn lines(answer: &Answer) -> Vec<String> {
    let mut lines = vec![format!("{}, by {} ({}, {})", answer.verdict, answer.rule, answer.tier, answer.direction)];
    lines.push(answer.reason.clone());
    if let Some(content) = answer.packet.get("content").and_then(Value::as_str) {
        lines.push(format!("packet: {content}"));
    }
    section(&mut lines, "What would have let it pass", &answer.would_allow);
    section(&mut lines, "Rules that came close", &answer.close);
    if !answer.notes.is_empty() {
        lines.push(String::new());
        lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    }
    lines
}

fn section(lines: &mut Vec<String>, title: &str, items: &[Value]) {
    if items.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!("{title}:"));
    for item in items {
        lines.push(format!("- {}", sentence(item)));
        if let Some(text) = item.get("yaml").and_then(Value::as_str) {
            lines.extend(text.lines().map(|line| format!("    {line}")));
        }
    }
}

/// A near miss or a remedy in a line: its own words where it has some, else all its fields.
fn sentence(item: &Value) -> String {
    match item {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let mut parts = Vec::new();
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "yaml" || text.is_empty() => {}
                    Value::String(text) => parts.push(format!("{name}: {text}")),
                    Value::Array(items) => {
                        let items: Vec<String> = items.iter().map(sentence).collect();
                        parts.push(format!("{name}: {}", items.join(", ")));
                    }
                    Value::Object(_) => parts.push(format!("{name}: {}", sentence(value))),
                    Value::Null => {}
                    other => parts.push(format!("{name}: {other}")),
                }
            }
            parts.join("; ")
        }
        other => other.to_string(),
    }
}
