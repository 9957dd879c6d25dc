//! `gabion status`.

use std::fmt::Write as _;

use clap::Args;
use gabion_agent::api::wire::{Apply, Gate, Status, Trial};

use super::amounts::{bytes, count, duration};
use super::{Connection, emergencies, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, columns};

/// Flags of `gabion status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with 1 when something needs attention (state: degraded)
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(arguments: &StatusArgs) -> Result<Exit, Failure> {
    let status: Status =
        arguments.connection.ask(|client| async move { client.get("/v1/status").await.map_err(failed) })?;
    output::show(arguments.output.output, &status, table)?;
    Ok(if arguments.check && status.state == "degraded" { Exit::No } else { Exit::Fine })
}

fn table(status: &Status) -> String {
    let mut text = columns(&facts(status));
    if !status.interfaces.is_empty() {
        text.push('\n');
        text.push_str(&columns(&interfaces(status)));
    }
    text.push_str(&emergencies::table(&status.emergencies));
    text.push('\n');
    text.push_str(&columns(&totals(status)));
    if !status.warnings.is_empty() {
        text.push_str("\nneeds attention\n");
        for warning in &status.warnings {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  - {warning}");
        }
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn facts(status: &Status) -> Vec<Vec<String>> {
    let generation = &status.generation;
    let mode = match &status.mode.overridden_since {
        Some(since) => format!(
            "{} (chosen by an operator at {since}; the policy says {})",
            status.mode.current, status.mode.policy
        ),
        None => status.mode.current.clone(),
    };
    let digest: String = generation.digest.trim_start_matches("sha256:").chars().take(12).collect();
    let adopted = if generation.adopted { ", adopted from an earlier agent" } else { "" };
    let suppressed: Vec<String> = status
        .events
        .suppressed
        .iter()
        .filter(|one| one.count != 0)
        .map(|one| format!("{} {}", count(one.count), one.reason))
        .collect();
    let suppressed = if suppressed.is_empty() { String::from("none") } else { suppressed.join(", ") };
    vec![
        vec![String::from("state"), status.state.clone()],
        vec![String::from("site"), status.site.clone()],
        vec![
            String::from("generation"),
            match generation.number {
                0 => String::from("none"),
                number => {
                    format!("{number} since {}, {} rules, policy {digest}{adopted}", generation.since, generation.rules)
                }
            },
        ],
        vec![String::from("trial"), generation.trial.as_ref().map_or_else(|| String::from("none"), trial)],
        vec![String::from("mode"), mode],
        vec![String::from("fail-safe"), status.failsafe.join(", ")],
        vec![String::from("gate"), gate(&status.gate)],
        vec![String::from("policy"), status.policy_paths.join(", ")],
        vec![String::from("last apply"), status.last_apply.as_ref().map_or_else(|| String::from("-"), last_apply)],
        vec![String::from("events"), format!("{} received, suppressed: {suppressed}", count(status.events.received))],
        vec![
            String::from("agent"),
            format!("gabion {}, pid {}, up {}", status.version, status.pid, duration(status.uptime_s)),
        ],
    ]
}

fn gate(gate: &Gate) -> String {
    let mut text = match gate.state.as_str() {
        "sealed" => {
            let since = gate.since.as_deref().unwrap_or("-");
            format!("sealed since {since}, {} programs may be loaded", gate.programs)
        }
        "failed" => format!("NOT SEALED: {}", gate.problem.as_deref().unwrap_or("-")),
        // An older agent does not know of it.
        "" => String::from("-"),
        other => other.to_owned(),
    };
    if let Some(last) = gate.callers.first() {
        let often = count(gate.attempts);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "; {often} attempts refused, the last by {}[{}] at {} ({})",
            last.name, last.pid, last.last, last.reason
        );
    }
    text
}

fn trial(trial: &Trial) -> String {
    let Trial { number, back_to, window_s, left_s, only } = trial;
    let ports = if only.is_empty() { String::new() } else { format!(" on {}", only.join(", ")) };
    format!("generation {number}{ports}, {left_s} of {window_s} s left; {back_to} comes back when the node gets worse")
}

fn last_apply(apply: &Apply) -> String {
    let outcome = match (&apply.error, apply.unchanged) {
        (Some(problem), _) => format!("FAILED: {}", problem.message),
        (None, true) => String::from("unchanged"),
        (None, false) if apply.in_place => {
            format!("generation {} changed in place in {:.1} ms", apply.generation, apply.took_us as f64 / 1_000.0)
        }
        (None, false) => format!("generation {} in {:.1} ms", apply.generation, apply.took_us as f64 / 1_000.0),
    };
    format!("{} ({}): {outcome}", apply.time, apply.trigger)
}

fn interfaces(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![row(["INTERFACE", "ROLE", "INGRESS", "EGRESS", "LINK"])];
    for interface in &status.interfaces {
        let link = if interface.up { "up" } else { "down" };
        rows.push(vec![
            interface.name.clone(),
            interface.role.clone().unwrap_or_else(|| String::from("-")),
            interface.ingress.clone(),
            interface.egress.clone(),
            if interface.l3 { format!("{link}, IP only") } else { link.to_owned() },
        ]);
    }
    rows
}

fn totals(status: &Status) -> Vec<Vec<String>> {
    let totals = &status.totals;
    let mut rows = vec![row(["LEDGER", "PACKETS", "BYTES"])];
    for (name, amount) in [("seen", totals.seen), ("passed", totals.passed), ("dropped", totals.dropped)] {
        rows.push(vec![name.to_owned(), amount.packets.to_string(), bytes(amount.bytes)]);
    }
    for reason in &totals.reasons {
        rows.push(vec![
            format!("  {} by {}", reason.action, reason.reason),
            reason.amount.packets.to_string(),
            bytes(reason.amount.bytes),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use gabion_agent::api::wire::{Generation, Interface, Problem};

    use super::*;

    #[test]
    fn what_needs_attention_is_said_last_and_in_words() {
        let status = Status {
            state: "degraded".into(),
            generation: Generation { number: 3, rules: 2, ..Generation::default() },
            interfaces: vec![Interface { name: "eth0".into(), ingress: "none".into(), ..Interface::default() }],
            last_apply: Some(Apply {
                error: Some(Problem { message: "site.yaml:3: no such key".into(), ..Problem::default() }),
                ..Apply::default()
            }),
            warnings: vec!["eth0 is NOT GUARDED: no room".into()],
            ..Status::default()
        };
        let text = table(&status);
        assert!(text.ends_with("  - eth0 is NOT GUARDED: no room\n"), "{text}");
        assert!(text.contains("FAILED: site.yaml:3"), "{text}");
    }
}
