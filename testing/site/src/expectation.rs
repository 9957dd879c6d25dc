//! What was sent, what arrived, and what the policy promises: compared.

use std::net::IpAddr;

use serde_json::Value;

use crate::link::Mac;

/// What the policy promises about a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// All of it arrives.
    Pass,
    /// None of it arrives.
    Refuse,
}

/// How the agent's events about a conversation are recognised. Every field that is there must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub port: Option<u16>,
    /// IP protocol by name.
    pub protocol: Option<&'static str>,
    /// EtherType as `0x88b8`.
    pub ethertype: Option<&'static str>,
    /// Source MAC.
    pub source_mac: Option<Mac>,
    /// Interface of the hook.
    pub interface: Option<&'static str>,
    /// Only packets that could not be parsed (true) or could (false).
    pub unparsed: Option<bool>,
    /// Only fragments (true) or whole packets (false).
    pub fragment: Option<bool>,
}

impl Signature {
    /// Whether an event of the agent's API (one JSON object) is about this.
    #[must_use]
    pub fn fits(&self, event: &Value) -> bool {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        let address = |key: &str| text(key).and_then(|text| text.parse::<IpAddr>().ok());
        self.source.is_none_or(|wanted| address("source") == Some(wanted))
            && self.destination.is_none_or(|wanted| address("destination") == Some(wanted))
            && self
                .port
                .is_none_or(|wanted| event.get("destination_port").and_then(Value::as_u64) == Some(wanted.into()))
            && self.protocol.is_none_or(|wanted| text("protocol") == Some(wanted))
            && self.ethertype.is_none_or(|wanted| text("ethertype") == Some(wanted))
            && self.source_mac.is_none_or(|wanted| text("source_mac") == Some(&words(wanted)))
            && self.interface.is_none_or(|wanted| text("interface") == Some(wanted))
            && self.unparsed.is_none_or(|wanted| text("unparsed").is_some() == wanted)
            && self.fragment.is_none_or(|wanted| text("fragment").is_some() == wanted)
    }
}

/// A MAC as text.
#[must_use]
pub fn words(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Who to whom.
    pub who: String,
    /// What it is.
    pub what: String,
    /// What the policy promises.
    pub promise: Promise,
    /// Packets or requests sent.
    pub sent: u64,
    /// Of them, those that arrived (requests: were answered).
    pub delivered: u64,
    /// How events about it are found.
    pub signature: Signature,
}

impl Case {
    /// Whether the promise was kept on the wire. What was not even sent keeps no promise.
    #[must_use]
    pub fn kept(&self) -> bool {
        match self.promise {
            Promise::Pass => self.sent > 0 && self.delivered >= self.sent,
            Promise::Refuse => self.sent > 0 && self.delivered == 0,
        }
    }

    /// What happened on the wire.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.delivered {
            0 => "refused",
            some if some >= self.sent => "passed",
            _ => "in part",
        }
    }

    /// Why, in the agent's words: `rule (reason) xN`, the most frequent first; empty when it said nothing.
    #[must_use]
    pub fn why(&self, events: &[Value]) -> String {
        let wanted = if self.promise == Promise::Refuse { "deny" } else { "allow" };
        let mut causes: Vec<(String, u64)> = Vec::new();
        for event in events.iter().filter(|event| self.signature.fits(event)) {
            let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("?");
            if text("verdict") != wanted {
                continue;
            }
            let mut cause = format!("{} ({}", text("rule"), text("reason"));
            if let Some(unparsed) = event.get("unparsed").and_then(Value::as_str) {
                cause += ", ";
                cause += unparsed;
            }
            cause.push(')');
            match causes.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, count)) => *count += 1,
                None => causes.push((cause, 1)),
            }
        }
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut told: Vec<_> = causes.iter().take(2).map(|(cause, count)| format!("{cause} ×{count}")).collect();
        if causes.len() > 2 {
            told.push(format!("and {} more", causes.len() - 2));
        }
        told.join(", ")
    }
}

/// The whole table, as text.
#[must_use]
pub fn table(cases: &[Case], events: &[Value]) -> String {
    let width = |field: fn(&Case) -> usize, least: usize| cases.iter().map(field).max().unwrap_or(0).max(least);
    let (who, what) = (width(|case| case.who.chars().count(), 3), width(|case| case.what.chars().count(), 4));
    let mut text = format!(
        "  {:who$}  {:what$}  {:>6} {:>9}  {:<8} {:<8} {}\n",
        "who", "what", "sent", "delivered", "promised", "wire", "why (agent's events)"
    );
    for case in cases {
        let promise = if case.promise == Promise::Pass { "pass" } else { "refuse" };
        let mark = if case.kept() { "✓" } else { "✗" };
        text += &format!(
            "{mark} {:who$}  {:what$}  {:>6} {:>9}  {promise:<8} {:<8} {}\n",
            case.who,
            case.what,
            case.sent,
            case.delivered,
            case.outcome(),
            case.why(events)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(promise: Promise, sent: u64, delivered: u64) -> Case {
        let signature = Signature { port: Some(502), ..Signature::default() };
        Case { who: "a".into(), what: "b".into(), promise, sent, delivered, signature }
    }

    #[test]
    fn one_packet_too_many_breaks_a_promise() {
        assert!(case(Promise::Refuse, 10, 0).kept());
        assert!(!case(Promise::Refuse, 10, 1).kept());
        assert!(case(Promise::Pass, 10, 10).kept());
        assert!(!case(Promise::Pass, 10, 9).kept());
        assert!(!case(Promise::Refuse, 0, 0).kept(), "nothing was tried");
    }

    #[test]
    fn causes_come_from_events_that_fit_and_agree() {
        let event = |port: u16, verdict: &str| {
            let rule = "r";
            serde_json::json!({"destination_port": port, "verdict": verdict, "rule": rule, "reason": "rule"})
        };
        let events = [event(502, "deny"), event(502, "deny"), event(503, "deny"), event(502, "allow")];
        assert_eq!(case(Promise::Refuse, 1, 0).why(&events), "r (rule) ×2");
        assert_eq!(case(Promise::Refuse, 1, 0).why(&events[2..3]), "");
    }
}
