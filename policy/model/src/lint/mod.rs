//! What looks wrong with a policy that can be used: findings of severity warning.
//!
//! A lint speaks only when it is sure. Comparisons are bounded by [`WORK_LIMIT`]; a lint that stops
//! there says so.

mod cover;
mod filed;
mod kinds;
mod meet;
mod order;
mod single;

use crate::finding::{Code, Finding, excerpt};
use crate::set::{Location, PolicySet};
use crate::text::{Source, by_name};

/// Comparisons of two rules in brief, over all lints of a set: what a machine does in a good half
/// second. One in full counts as many in brief.
pub const WORK_LIMIT: usize = 40_000_000;

/// Overlaps of allow and deny that are shown.
pub const OVERLAP_LIMIT: usize = 100;

/// Looks for what a policy probably does not mean.
#[must_use]
pub fn lint(set: &PolicySet) -> Vec<Finding> {
    let mut findings = Vec::new();
    single::lint(set, &mut findings);
    order::lint(set, &mut findings);
    findings.sort_by(|a, b| place(a).cmp(&place(b)));
    findings
}

/// What findings are sorted by: those without a place stand at the end.
fn place(finding: &Finding) -> (bool, &str, usize, Code) {
    let Location { source, offset, line, .. } = &finding.location;
    (*line == 0, source, *offset, finding.code)
}

/// Looks for what a policy probably does not mean, and quotes the text it was read from.
#[must_use]
pub fn lint_text(set: &PolicySet, sources: &[Source]) -> Vec<Finding> {
    let mut findings = lint(set);
    let by_name = by_name(sources);
    for finding in &mut findings {
        let place = &finding.location;
        let source = by_name.get(&*place.source).map(|&position| &sources[position]);
        let text = source.and_then(|source| source.text.get(place.offset..place.offset + place.length));
        finding.text = excerpt(text.unwrap_or_default());
    }
    findings
}
