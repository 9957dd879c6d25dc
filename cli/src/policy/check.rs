//! `gabion policy check`: every error, then what looks wrong, then what it amounts to.

use std::collections::BTreeSet;

use gabion_policy_model::PolicySet;
use gabion_policy_model::lint::lint_text;
use gabion_policy_model::rule::Rule;
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::Subject;
use gabion_policy_model::text;
use serde::Serialize;

use crate::command::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::progress::{Progress, doing};
use crate::report::{self, Problem};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    ok: bool,
    errors: usize,
    warnings: usize,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
}

/// What the documents amount to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    files: usize,
    documents: usize,
    policies: usize,
    cluster_policies: usize,
    rules: usize,
    subjects: usize,
    inventory_entries: usize,
    site: Option<String>,
}

pub fn run(arguments: &CheckArgs) -> Result<Exit, Failure> {
    let progress = Progress::begin("reading policy");
    let read = sources::read(&arguments.policy.paths);
    let exit_of_files = read.exit();
    let readable = read.problems.is_empty();
    let mut problems = read.problems;
    let mut summary = None;
    if readable || !read.texts.is_empty() {
        match text::parse_counting(&read.texts) {
            Ok((set, documents)) => {
                if readable {
                    doing("looking for what is dubious");
                    problems.extend(lint_text(&set, &read.texts).into_iter().map(Problem::from));
                    summary = Some(summarise(&set, read.texts.len(), documents));
                }
            }
            Err(findings) => problems.extend(findings.into_iter().map(Problem::from)),
        }
    }
    drop(progress);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let exit = if !readable {
        exit_of_files
    } else if errors > 0 {
        Exit::Input
    } else if warnings > 0 && arguments.deny_warnings {
        Exit::No
    } else {
        Exit::Fine
    };
    let checked = Checked { ok: exit == Exit::Fine, errors, warnings, problems, summary };
    if arguments.output.output == Format::Table {
        report::print(&checked.problems, &read.texts);
    }
    output::show(arguments.output.output, &checked, table)?;
    Ok(exit)
}

fn table(checked: &Checked) -> String {
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let found =
        format!("{}, {}", plural(checked.errors, "error", "errors"), plural(checked.warnings, "warning", "warnings"));
    let Some(summary) = &checked.summary else {
        return format!("not usable: {found}\n");
    };
    format!(
        "{}: {}; {}, {}, {} in {}\n",
        if checked.ok { "fine" } else { "warned" },
        found,
        plural(summary.documents, "document", "documents"),
        plural(summary.rules, "rule", "rules"),
        plural(summary.subjects, "subject", "subjects"),
        plural(summary.files, "file", "files"),
    )
}

fn summarise(set: &PolicySet, files: usize, documents: usize) -> Summary {
    let mut subjects = BTreeSet::new();
    let mut rules = 0;
    let mut note = |rule: &Spanned<Rule>| {
        rules += 1;
        let peers = rule.from.iter().chain(&rule.to).flatten();
        subjects.extend(peers.map(Subject::describe));
    };
    for policy in &set.policies {
        policy.ingress.iter().chain(&policy.egress).flatten().for_each(&mut note);
    }
    for policy in &set.cluster_policies {
        policy.ingress.iter().chain(&policy.egress).for_each(&mut note);
    }
    subjects.extend(set.policies.iter().map(|policy| policy.subject.describe()));
    subjects.extend(set.cluster_policies.iter().map(|policy| policy.subject.describe()));
    Summary {
        files,
        documents,
        policies: set.policies.len(),
        cluster_policies: set.cluster_policies.len(),
        rules,
        subjects: subjects.len(),
        inventory_entries: set.inventory.entries.len(),
        site: set.site.as_ref().map(|site| site.name.clone()),
    }
}
