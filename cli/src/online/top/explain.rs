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
    add("hop-limit", event.hop_limit.map(|limit| limit.to_string()));
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
    if !answer.would_allow.is_empty() {
        lines.extend([String::new(), String::from("What would have let it pass:")]);
        for remedy in &answer.would_allow {
            lines.push(format!("- {}: {}", text(remedy, "direction"), text(remedy, "text")));
            lines.extend(text(remedy, "yaml").lines().map(|line| format!("    {line}")));
        }
    }
    if !answer.close.is_empty() {
        lines.extend([String::new(), String::from("Rules that came close:")]);
        for close in &answer.close {
            lines.push(format!("- {} ({}, {})", text(close, "rule"), text(close, "action"), text(close, "direction")));
            let missed = close.get("missed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for it in missed {
                lines.push(format!("    {}: wants {}, has {}", text(it, "field"), text(it, "wants"), text(it, "has")));
            }
            if missed.is_empty() {
                lines.push(String::from("    matches too, but another decides first"));
            }
        }
    }
    if !answer.notes.is_empty() {
        lines.push(String::new());
        lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    }
    lines
}

/// A field that is text; nothing when it is not there.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
