//! `GET /metrics`: the Prometheus text format, version 0.0.4.
//!
//! Names and labels are an interface: they are added to, not changed. One `HELP`, one `TYPE`, then all samples of a
//! family, as the format wants.

use std::fmt::Write as _;

use super::wire::{Rules, Status};

/// What `Content-Type` says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families of samples.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail; so throughout this file.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push_str(if index == 0 { "{" } else { "," });
            let _ = write!(self.0, "{label}=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// All metrics.
pub fn render(status: &Status, rules: &Rules) -> String {
    let mut text = Text::default();
    rule_families(&mut text, rules);
    traffic_families(&mut text, status);
    let name = "gabion_interface_guarded";
    text.family(name, "gauge", "1 when both hooks stand on the interface of the site.");
    for interface in &status.interfaces {
        let labels = [
            ("interface", interface.name.as_str()),
            ("role", interface.role.as_deref().unwrap_or("")),
            ("ingress", interface.ingress.as_str()),
            ("egress", interface.egress.as_str()),
        ];
        text.sample(name, &labels, u64::from(interface.problem.is_none()));
    }
    event_families(&mut text, status);
    gate_families(&mut text, status);
    agent_families(&mut text, status);
    text.0
}

fn rule_families(text: &mut Text, rules: &Rules) {
    let families =
        [("gabion_rule_packets_total", "Packets that a rule decided."), ("gabion_rule_bytes_total", "Bytes of them.")];
    for (index, (name, help)) in families.into_iter().enumerate() {
        text.family(name, "counter", help);
        for rule in &rules.rules {
            let labels =
                [("rule", rule.name.as_str()), ("tier", rule.tier.as_str()), ("direction", rule.direction.as_str())];
            text.sample(name, &labels, if index == 0 { rule.amount.packets } else { rule.amount.bytes });
        }
    }
}

fn traffic_families(text: &mut Text, status: &Status) {
    let families =
        [("gabion_packets_total", "Packets by verdict and reason."), ("gabion_bytes_total", "Bytes of them.")];
    for (index, (name, help)) in families.into_iter().enumerate() {
        text.family(name, "counter", help);
        for total in &status.totals.reasons {
            let labels = [("action", total.action.as_str()), ("reason", total.reason.as_str())];
            text.sample(name, &labels, if index == 0 { total.amount.packets } else { total.amount.bytes });
        }
    }
}

fn event_families(text: &mut Text, status: &Status) {
    let name = "gabion_events_suppressed_total";
    text.family(name, "counter", "Events that the kernel programs did not send, by reason.");
    for suppressed in &status.events.suppressed {
        text.sample(name, &[("reason", &suppressed.reason)], suppressed.count);
    }
    let counter = "counter";
    let events = &status.events;
    text.single("gabion_events_received_total", counter, "Events taken from the ring.", events.received);
    text.single("gabion_events_malformed_total", counter, "Records that were no event.", events.malformed);
    text.single(
        "gabion_events_follower_lost_total",
        counter,
        "Events lost to followers that were too slow.",
        events.lost_to_followers,
    );
    text.single("gabion_events_followers", "gauge", "Followers of the event stream.", u64::from(events.followers));
    text.single(
        "gabion_api_connections_refused_total",
        counter,
        "Connections to the API that were turned away.",
        events.connections_refused,
    );
}

fn gate_families(text: &mut Text, status: &Status) {
    let gate = &status.gate;
    let sealed = u64::from(gate.state == "sealed");
    text.single("gabion_gate_sealed", "gauge", "1 when nobody but the agent loads BPF programs.", sealed);
    let failed = u64::from(gate.state == "failed");
    text.single("gabion_gate_failed", "gauge", "1 when the site wants the gate sealed, and it is not.", failed);
    text.single("gabion_gate_programs", "gauge", "Programs that the agent may load.", gate.programs as u64);
    text.single("gabion_gate_attempts_total", "counter", "Attempts to pass the gate that were refused.", gate.attempts);
}

fn agent_families(text: &mut Text, status: &Status) {
    let generation = u64::from(status.generation.number);
    text.single("gabion_generation", "gauge", "Number of the generation in force.", generation);
    let trial = status.generation.trial.as_ref().map_or(0, |trial| u64::from(trial.number));
    text.single("gabion_generation_on_trial", "gauge", "Number of the generation on trial; 0 is none.", trial);
    let pinned = u64::from(status.generation.pinned.is_some());
    text.single("gabion_generation_pinned", "gauge", "1 when an operator lets nothing change.", pinned);
    let (name, help) = ("gabion_generations_rolled_back_total", "Generations that were rolled back.");
    text.single(name, "counter", help, status.generation.rolled_back);
    let emergencies = status.emergencies.len() as u64;
    text.single("gabion_emergencies", "gauge", "Deny lists in force beside the policy.", emergencies);
    let audit = u64::from(status.mode.current == "audit");
    text.single("gabion_audit_mode", "gauge", "1 when denials are only reported.", audit);
    let degraded = u64::from(status.state == "degraded");
    text.single("gabion_degraded", "gauge", "1 when something needs a person; see `gabion status`.", degraded);
    let ok = u64::from(status.last_apply.as_ref().is_some_and(|apply| apply.ok));
    text.single("gabion_last_apply_ok", "gauge", "1 when the last policy that was tried is in force.", ok);
    text.single("gabion_agent_uptime_seconds", "gauge", "Seconds since the agent started.", status.uptime_s);
    text.family("gabion_agent_build_info", "gauge", "The agent's version.");
    text.sample("gabion_agent_build_info", &[("version", &status.version)], 1);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::api::wire::{Amount, Rule};

    #[test]
    fn labels_are_escaped_and_families_stay_together() {
        let amount = Amount { packets: 3, bytes: 180 };
        let rule = Rule {
            name: "a\"b\\c\nd".into(),
            tier: "t".into(),
            direction: "ingress".into(),
            amount,
            ..Rule::default()
        };
        let text = render(&Status::default(), &Rules { generation: 1, rules: vec![rule] });
        assert!(
            text.contains("gabion_rule_packets_total{rule=\"a\\\"b\\\\c\\nd\",tier=\"t\",direction=\"ingress\"} 3\n")
        );
        let mut seen = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
        }
        assert!(text.contains("gabion_generation 0\n"));
    }
}
