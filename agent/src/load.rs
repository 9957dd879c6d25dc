//! The real way from text to tables: `policy/model`, then `policy/compile`.

use std::sync::Arc;

use gabion_policy_compile::{Options, compile_again};
use gabion_policy_model::finding::{Finding, Severity};
use gabion_policy_model::text::{Source, parse};
use gabion_policy_model::{PolicySet, emergency};
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::api::wire::Problem;
use crate::emergency::Lists;
use crate::policy::{Known, Loaded, SourceFile};

/// Columns of rendered findings.
const WIDTH: usize = 100;

/// Most bytes of tables, unless stated: as many as a map of a generation can hold.
pub const TABLE_BYTES: usize = 256 << 20;

/// Parses and compiles, with deny lists, to at most so many bytes of tables.
pub fn load(files: &[SourceFile], lists: &Lists, table_bytes: usize, known: &mut Known) -> Result<Loaded, Problem> {
    let sources = sources(files);
    let mut set = known.text.parse(&sources).map_err(|findings| refused(&findings, &sources))?;
    for list in lists.values() {
        set = emergency::with(set, &list.name, &deny_list(&list.files)?);
    }
    let compiled =
        compile_again(&set, &Options { table_bytes, ..Options::default() }, &mut known.meaning).map_err(|error| {
            Problem {
                code: String::from("policy-too-large"),
                blame: String::from("input"),
                message: error.to_string(),
                details: error.to_string(),
            }
        })?;
    Ok(Loaded { set: Arc::new(set), compiled, warnings: Vec::new() })
}

fn sources(files: &[SourceFile]) -> Vec<Source> {
    files.iter().map(|file| Source::new(file.name.as_str(), Arc::clone(&file.text))).collect()
}

/// Documents that deny, and do nothing else.
///
/// # Errors
/// They do, and where.
pub fn deny_list(files: &[SourceFile]) -> Result<PolicySet, Problem> {
    let sources = sources(files);
    let refused = |findings: &[Finding]| Problem { blame: String::from("refused"), ..refused(findings, &sources) };
    let list = parse(&sources).map_err(|findings| refused(&findings))?;
    let more = emergency::check(&list);
    if more.is_empty() { Ok(list) } else { Err(refused(&more)) }
}

fn refused(findings: &[Finding], sources: &[Source]) -> Problem {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(WIDTH);
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.code.severity() == Severity::Error).collect();
    let mut details = String::new();
    for finding in &errors {
        if handler.render_report(&mut details, &finding.report(sources)).is_err() {
            // Rendering writes to a String; only a defect of the renderer can fail, and the one line is still true.
            details.push_str(&finding.to_string());
        }
        details.push('\n');
    }
    let first = errors.first();
    let message = match (first, errors.len()) {
        (Some(first), 1) => first.to_string(),
        (Some(first), count) => format!("{first} (and {} more)", count - 1),
        (None, _) => String::from("the policy was refused without a reason"),
    };
    let code = first.map_or("policy", |finding| finding.code.as_str()).to_owned();
    Problem { code, blame: String::from("input"), message, details }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_policy_is_refused_with_place_and_text() {
        let file = SourceFile {
            name: "/etc/gabion/site.yaml".into(),
            text: "apiVersion: gabion.dev/v1alpha1\nkind: Sight\nmetadata: {name: x}\n".into(),
        };
        let problem = load(&[file], &Lists::new(), TABLE_BYTES, &mut Known::default()).unwrap_err();
        assert_eq!(problem.blame, "input");
        assert!(problem.message.contains("site.yaml:2"), "{}", problem.message);
        assert!(problem.details.contains("Sight"), "{}", problem.details);
    }
}
