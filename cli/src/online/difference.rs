//! `gabion generation diff`: what two generations say differently, as the agent compared them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Connection, failed};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, columns};
use crate::progress::Progress;

/// What the last change did.
pub(super) fn last(connection: &Connection, format: Format) -> Result<Exit, Failure> {
    let compared: Value =
        connection.ask(|client| async move { client.get("/v1/generations/diff").await.map_err(failed) })?;
    output::show(format, &compared, table)?;
    Ok(Exit::Fine)
}

/// What a change would do that is not made.
pub(super) fn dry(connection: &Connection, format: Format, query: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/generations/diff?{query}");
    let progress = Progress::begin("trying it");
    let compared: Value =
        connection.ask(|client| async move { client.post(&path, Vec::new()).await.map_err(failed) })?;
    drop(progress);
    output::show(format, &compared, dry_table)?;
    let some = |key: &str| !all(&compared, key).is_empty();
    Ok(match () {
        () if some("missed") || some("defects") => Exit::Refused,
        () if some("policy") || some("changed") || some("notAsked") => Exit::No,
        () => Exit::Fine,
    })
}

fn all<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn dry_table(compared: &Value) -> String {
    let mut text = table(compared);
    // Writing to a String cannot fail.
    for missed in all(compared, "missed") {
        let _ = writeln!(text, "REFUSED: golden packet {}", word(missed));
    }
    if let Some(why) = compared["untried"].as_str() {
        let _ = writeln!(text, "its programs were not tried: {why}");
    }
    for alarm in all(compared, "alarms") {
        let _ = writeln!(text, "ALARM: {}", word(alarm));
    }
    text
}

fn table(compared: &Value) -> String {
    let all = |key: &str| all(compared, key);
    let mut text = String::new();
    let rules: Vec<Vec<String>> = all("policy")
        .iter()
        .map(|it| [&it["kind"], &it["what"], &it["name"], &it["direction"]].map(word).to_vec())
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "policy: {} changes", rules.len());
    text.push_str(&columns(&rules));
    let count = |key: &str| compared[key].as_u64().unwrap_or(0);
    let (probes, same) = (count("probes"), count("same"));
    let _ = writeln!(text, "\npackets of late: {probes} tried, {same} judged as before by the same rule");
    let said = |it: &Value| format!("{} by {}", word(&it["verdict"]), word(&it["rule"]));
    let rows = ["changed", "byAnotherRule", "notAsked"].into_iter().flat_map(|kind| {
        let name = match kind {
            "changed" => "changed",
            "byAnotherRule" => "another rule",
            _ => "changed, not held to the policies",
        };
        all(kind).iter().map(move |it| {
            let ends = format!("{} -> {}", word(&it["source"]), word(&it["destination"]));
            let verdicts = format!("{} => {}", said(&it["old"]), said(&it["new"]));
            vec![name.to_owned(), ends, word(&it["content"]), verdicts]
        })
    });
    text.push_str(&columns(&rows.collect::<Vec<_>>()));
    for defect in all("defects") {
        let _ = writeln!(text, "DEFECT: {}: {}", word(&defect["probe"]), word(&defect["what"]));
    }
    text
}
