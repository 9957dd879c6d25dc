//! `gabion policy test`: probes with the verdicts that a policy's owner expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_policy_explain::answer::verdict_name;
use gabion_policy_explain::{Directory, Oracle, verdict};
use gabion_policy_model::PolicySet;
use gabion_policy_model::finding::Severity;
use gabion_policy_model::set::Location;
use gabion_policy_model::text::{API_VERSION, Source};
use gabion_policy_probes::document::{At, KIND};
use gabion_policy_probes::{Document, Expected, Malformed};
use serde::Serialize;
use serde_json::json;

use crate::command::TestArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::report::{self, Problem};
use crate::sources;

/// What came of probes.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// Verdicts as expected.
    pub passed: usize,
    /// Others.
    pub failed: usize,
    /// Probes that make no sense.
    pub errors: usize,
    tests: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    file: String,
    line: u64,
    column: u64,
    /// `passed`, `failed` or `error`.
    outcome: &'static str,
    expected: Wanted,
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<Got>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Wanted {
    verdict: Expected,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
}

#[derive(Debug, Serialize)]
struct Got {
    verdict: &'static str,
    rule: String,
    tier: String,
    reason: String,
}

pub fn run(arguments: &TestArgs) -> Result<Exit, Failure> {
    let read = sources::read_files(&arguments.files);
    let mut problems = read.problems.clone();
    let mut documents = Vec::new();
    for source in &read.texts {
        match self::read(source) {
            Ok(parsed) => documents.extend(parsed.into_iter().map(|document| (source, document))),
            Err(problem) => problems.push(*problem),
        }
    }
    if !problems.is_empty() {
        report::print(&problems, &read.texts);
        return Err(Failure::reported(read.exit()));
    }
    let mut results = Results::default();
    for (source, document) in &documents {
        try_all(source, document, &arguments.policy, &mut results)?;
    }
    output::show(arguments.output.output, &results, table)?;
    Ok(match results {
        Results { errors: 1.., .. } => Exit::Input,
        Results { failed: 1.., .. } => Exit::No,
        _ => Exit::Fine,
    })
}

/// Probes about this policy, whatever policy they name themselves.
pub fn ask(probes: &[Source], set: &PolicySet) -> Result<Results, Box<Problem>> {
    let mut results = Results::default();
    for source in probes {
        for document in read(source)? {
            try_each(source, &document, set, &mut results);
        }
    }
    Ok(results)
}

fn read(source: &Source) -> Result<Vec<Document<'_>>, Box<Problem>> {
    Document::read(&source.text).map_err(|Malformed { at: At { line, column }, message }| {
        let location = Location {
            source: Arc::clone(&source.name),
            offset: offset(&source.text, line, column),
            length: 0,
            line: line as u32,
            column: column as u32,
        };
        let problem = Problem::new(Severity::Error, "policy-test", location, message);
        let help = "`gabion policy test --help` shows a file, `gabion policy schema --kind PolicyTest` all of it";
        Box::new(problem.help(help))
    })
}

/// Byte offset of a line and column (from 1, in characters).
fn offset(text: &str, line: u64, column: u64) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1) as usize).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column.saturating_sub(1) as usize).map_or(rest.len(), |(at, _)| at)
}

fn try_all(
    source: &Source,
    document: &Document<'_>,
    instead: &[PathBuf],
    results: &mut Results,
) -> Result<(), Failure> {
    // A source is called by its path; stdin has no folder, and stands in the current one.
    let beside = Path::new(&*source.name).parent().unwrap_or(Path::new(""));
    let paths: Vec<_> = if !instead.is_empty() {
        instead.to_vec()
    } else if document.policies.is_empty() {
        vec![beside.join(".")]
    } else {
        document.policies.iter().map(|policy| beside.join(policy)).collect()
    };
    try_each(source, document, &sources::load(&paths)?, results);
    Ok(())
}

fn try_each(source: &Source, document: &Document<'_>, set: &PolicySet, results: &mut Results) {
    let directory = Directory::new(set);
    for (at, probe) in document.cases() {
        let mut outcome = Outcome {
            name: probe.name.clone(),
            file: source.name.to_string(),
            line: at.line,
            column: at.column,
            outcome: "passed",
            expected: Wanted { verdict: probe.expect, rule: probe.rule.clone(), tier: probe.tier.clone() },
            got: None,
            error: None,
        };
        let query = probe.query();
        match directory.packet(&query) {
            Err(error) => {
                outcome.outcome = "error";
                outcome.error = Some(error.to_string());
                results.errors += 1;
            }
            Ok(packet) => {
                let verdict = verdict(&Oracle(set), &directory, &packet);
                let named = verdict.deciding();
                let got = Got {
                    verdict: verdict_name(verdict.is_allowed()),
                    rule: named.map_or_else(String::new, |(way, d)| d.rule.name(set, way)),
                    tier: named.map_or_else(String::new, |(_, d)| d.rule.tier(set).to_owned()),
                    reason: verdict.reason(set),
                };
                let as_expected = verdict.is_allowed() == (probe.expect == Expected::Allow)
                    && probe.rule.as_ref().is_none_or(|rule| *rule == got.rule)
                    && probe.tier.as_ref().is_none_or(|tier| *tier == got.tier);
                if as_expected {
                    results.passed += 1;
                } else {
                    outcome.outcome = "failed";
                    results.failed += 1;
                }
                outcome.got = Some(got);
            }
        }
        results.tests.push(outcome);
    }
}

/// For people.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    let (red, green) = (anstyle::AnsiColor::Red.on_default().bold(), anstyle::AnsiColor::Green.on_default().bold());
    for test in &results.tests {
        let Outcome { name, file, line, column, .. } = test;
        match (&test.got, &test.error) {
            (_, Some(error)) => text += &format!("{red}error{red:#} {file}:{line}:{column}: {name}\n      {error}\n"),
            (Some(got), _) if test.outcome == "failed" => {
                text += &format!("{red}FAIL{red:#}  {file}:{line}:{column}: {name}\n");
                let mut line = |what: &str, wanted: Option<&str>, got: &str| {
                    if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
                        text += &format!("      - {what}: {wanted}\n      + {what}: {got}\n");
                    }
                };
                line("verdict", Some(test.expected.verdict.name()), got.verdict);
                line("rule", test.expected.rule.as_deref(), &got.rule);
                line("tier", test.expected.tier.as_deref(), &got.tier);
                text += &format!("      {}: {}\n", got.rule, got.reason);
            }
            _ => text += &format!("{green}ok{green:#}    {name}\n"),
        }
    }
    text + &format!("{} passed, {} failed, {} not asked\n", results.passed, results.failed, results.errors)
}

/// JSON Schema of a file of probes.
pub fn schema() -> serde_json::Value {
    let scalar = json!({"type": ["string", "integer"]});
    let word = json!({"type": "string"});
    let probe = json!({
        "type": "object",
        "required": ["name", "expect"],
        "additionalProperties": false,
        "properties": {
            "name": word,
            "expect": {"enum": ["allow", "deny"]},
            "rule": {"description": "Full name of the rule or default that decides", "type": "string"},
            "tier": word,
            "from": {"description": "IP address, MAC address or inventory entry", "type": "string"},
            "to": {"description": "IP address, MAC address or inventory entry", "type": "string"},
            "fromMac": word,
            "toMac": word,
            "protocol": scalar,
            "port": scalar,
            "sourcePort": scalar,
            "in": word,
            "out": word,
            "etherType": scalar,
            "llc": scalar,
            "icmp": scalar,
            "hopLimit": scalar,
            "tcpFlags": scalar,
            "vlan": scalar,
            "innerVlan": scalar,
            "fragment": {"enum": ["none", "first", "later"]},
            "unparsed": word,
        },
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": KIND,
        "description": "Probes with the verdicts that a policy's owner expects",
        "type": "object",
        "required": ["apiVersion", "kind", "tests"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": {
                "type": "object", "required": ["name"], "additionalProperties": false, "properties": {"name": word}
            },
            "policies": {
                "description": "Files or folders of policy, relative to this file; its own folder when absent",
                "type": "array", "items": word
            },
            "tests": {"type": "array", "minItems": 1, "items": probe},
        },
    })
}
