//! Findings with the text they speak of, for [`miette`] to render.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::finding::{Finding, Related, Severity};
use crate::set::Location;
use crate::text::Source;

impl Finding {
    /// As a [`miette::Diagnostic`] that quotes the sources it was found in.
    #[must_use]
    pub fn report<'a>(&'a self, sources: &'a [Source]) -> Report<'a> {
        let find = |location: &Location| {
            sources
                .iter()
                .find(|source| source.name == location.source)
                .map(|source| Quoted { source, length: location.length })
        };
        let other = self.related.iter().filter(|related| related.location.source != self.location.source);
        let elsewhere = other
            .map(|related| Elsewhere { related, severity: self.code.severity(), quoted: find(&related.location) })
            .collect();
        Report { finding: self, quoted: find(&self.location), elsewhere }
    }
}

/// A finding together with the text it speaks of.
#[derive(Debug)]
pub struct Report<'a> {
    finding: &'a Finding,
    quoted: Option<Quoted<'a>>,
    elsewhere: Vec<Elsewhere<'a>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Report<'_> {}

fn miette_severity(severity: Severity) -> miette::Severity {
    match severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    }
}

fn span(location: &Location) -> SourceSpan {
    (location.offset, location.length).into()
}

impl Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code.as_str()))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(miette_severity(self.finding.code.severity()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.quoted.as_ref().map(|quoted| quoted as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.quoted.as_ref()?;
        let own = LabeledSpan::new_primary_with_span(self.finding.label.clone(), span(&self.finding.location));
        let same_source =
            self.finding.related.iter().filter(|related| related.location.source == self.finding.location.source);
        let others =
            same_source.map(|related| LabeledSpan::new_with_span(Some(related.label.clone()), span(&related.location)));
        Some(Box::new(std::iter::once(own).chain(others)))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.elsewhere.is_empty()).then(|| {
            Box::new(self.elsewhere.iter().map(|other| other as &dyn Diagnostic)) as Box<dyn Iterator<Item = _>>
        })
    }
}

#[derive(Debug)]
struct Elsewhere<'a> {
    related: &'a Related,
    severity: Severity,
    quoted: Option<Quoted<'a>>,
}

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.related.label)
    }
}

impl std::error::Error for Elsewhere<'_> {}

impl Diagnostic for Elsewhere<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette_severity(self.severity))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.quoted.as_ref().map(|quoted| quoted as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.quoted.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span(&self.related.location)))))
    }
}

/// A source as it is quoted: long lines only around the place that is meant, so that a report
/// about a file of one line does not repeat the file.
#[derive(Debug)]
struct Quoted<'a> {
    source: &'a Source,
    length: usize,
}

/// Longest line that is quoted whole, and what is quoted to both sides of a place in a longer one.
const LINE_LIMIT: usize = 200;
const AROUND: usize = 60;

impl SourceCode for Quoted<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = &*self.source.text;
        let whole = text.read_span(span, before, after)?;
        let named = |data: &'a [u8], span: SourceSpan, line, column, count| {
            MietteSpanContents::new_named(self.source.name.to_string(), data, span, line, column, count)
        };
        if whole.data().split(|&byte| byte == b'\n').all(|line| line.len() <= LINE_LIMIT) {
            return Ok(Box::new(named(whole.data(), *whole.span(), whole.line(), whole.column(), whole.line_count())));
        }
        let line_start = text[..floor(text, span.offset())].rfind('\n').map_or(0, |at| at + 1);
        let start = floor(text, span.offset().saturating_sub(AROUND).max(line_start));
        let rest = &text[start..];
        let wanted = span.offset() - start + span.len().clamp(self.length.min(AROUND), AROUND) + AROUND;
        let end = start + rest.find('\n').unwrap_or(rest.len()).min(floor(rest, wanted.min(rest.len())));
        let line = text[..line_start].matches('\n').count();
        let column = text[line_start..start].chars().count();
        let data = &text.as_bytes()[start..end];
        Ok(Box::new(named(data, (start, end - start).into(), line, column, 1)))
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
