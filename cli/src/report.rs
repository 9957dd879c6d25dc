//! What is wrong with text that was given: for a terminal, for a log, for a program.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;

use gabion_policy_import::Diagnostic;
use gabion_policy_model::finding::{Finding, Severity};
use gabion_policy_model::set::Location;
use gabion_policy_model::text::Source;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};
use serde::Serialize;

use crate::output;

/// One error or warning, as programs read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// File.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The offending text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Place>,
    /// The finding behind it, which can quote the text.
    #[serde(skip)]
    finding: Option<Box<Finding>>,
    #[serde(skip)]
    location: Location,
}

/// Another place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    file: String,
    line: u32,
    column: u32,
    message: String,
}

impl From<Finding> for Problem {
    fn from(finding: Finding) -> Self {
        let related = finding.related.iter().map(|related| Place {
            file: related.location.source.to_string(),
            line: related.location.line,
            column: related.location.column,
            message: related.label.clone(),
        });
        let severity = finding.code.severity();
        Self {
            related: related.collect(),
            text: finding.text.clone(),
            help: finding.help.clone(),
            ..Self::at(finding.location.clone(), severity, finding.code.as_str(), finding.message.clone())
        }
        .with(finding)
    }
}

impl Problem {
    fn at(location: Location, severity: Severity, code: &str, message: String) -> Self {
        Self {
            severity: match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: code.to_owned(),
            message,
            file: location.source.to_string(),
            line: (location.line > 0).then_some(location.line),
            column: (location.line > 0).then_some(location.column),
            text: String::new(),
            help: None,
            related: Vec::new(),
            finding: None,
            location,
        }
    }

    fn with(mut self, finding: Finding) -> Self {
        self.finding = Some(Box::new(finding));
        self
    }

    /// Something about a place that is no finding of the policy language.
    pub fn new(severity: Severity, code: &str, location: Location, message: impl Into<String>) -> Self {
        Self::at(location, severity, code, message.into())
    }

    /// Something about a whole file.
    pub fn file(code: &str, path: &str, message: impl Into<String>) -> Self {
        let location = Location { source: Arc::from(path), ..Location::default() };
        Self::at(location, Severity::Error, code, message.into())
    }

    /// What an importer says.
    pub fn imported(diagnostic: &Diagnostic, severity: Severity) -> Self {
        let (location, message) = (diagnostic.location.clone(), diagnostic.message.clone());
        Self { text: diagnostic.text.clone(), ..Self::at(location, severity, "import", message) }
            .help(diagnostic.remedy.clone())
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = (!help.is_empty()).then_some(help);
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

/// Says problems on stderr: with quoted text on a terminal, a few plain lines each elsewhere.
pub fn print(problems: &[Problem], sources: &[Source]) {
    let stderr = std::io::stderr();
    let text = if stderr.is_terminal() {
        let colours = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        fancy(problems, sources, colours)
    } else {
        plain(problems)
    };
    output::say(&text);
}

/// One problem after the other, each line fit for a log.
pub fn plain(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let mut place = problem.file.clone();
        if let (Some(line), Some(column)) = (problem.line, problem.column) {
            let _ = write!(place, ":{line}:{column}");
        }
        if !place.is_empty() {
            place.push_str(": ");
        }
        let _ = writeln!(text, "{place}{}[{}]: {}", problem.severity, problem.code, problem.message);
        if !problem.text.is_empty() {
            let _ = writeln!(text, "  text: {}", harmless(&problem.text));
        }
        for related in &problem.related {
            let _ = writeln!(text, "  see: {}:{}:{}: {}", related.file, related.line, related.column, related.message);
        }
        if let Some(help) = &problem.help {
            let _ = writeln!(text, "  help: {help}");
        }
    }
    text
}

/// Text as it stands, but for what would steer a terminal or break the line.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\'' | '\\') { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}

fn fancy(problems: &[Problem], sources: &[Source], colours: bool) -> String {
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    let mut text = String::new();
    for problem in problems {
        let rendered = match &problem.finding {
            Some(finding) => handler.render_report(&mut text, &finding.report(sources)),
            None => render_plainly_quoted(&handler, &mut text, problem, sources),
        };
        if rendered.is_err() {
            // A place that does not fit the text is still worth a line.
            text.push_str(&plain(std::slice::from_ref(problem)));
        }
        text.push('\n');
    }
    text
}

fn render_plainly_quoted(
    handler: &GraphicalReportHandler,
    text: &mut String,
    problem: &Problem,
    sources: &[Source],
) -> std::fmt::Result {
    let mut diagnostic = MietteDiagnostic::new(problem.message.clone()).with_code(problem.code.clone());
    diagnostic.severity = Some(if problem.is_error() { miette::Severity::Error } else { miette::Severity::Warning });
    diagnostic.help.clone_from(&problem.help);
    let quoted = sources.iter().find(|source| source.name == problem.location.source && problem.line.is_some());
    let report = match quoted {
        Some(source) => {
            let span = (problem.location.offset, problem.location.length);
            let diagnostic = diagnostic.with_label(LabeledSpan::new_with_span(None, span));
            miette::Report::new(diagnostic).with_source_code(NamedSource::new(&source.name, source.text.clone()))
        }
        None => {
            let place = if problem.file.is_empty() { String::new() } else { format!("{}: ", problem.file) };
            diagnostic.message = format!("{place}{}", problem.message);
            miette::Report::new(diagnostic)
        }
    };
    handler.render_report(text, report.as_ref())
}
